"""What all `train` verbs have in common: the processes, the bar, the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError
from earthwords.jobs.progress import Console, going_on

if TYPE_CHECKING:
    import torch

    from earthwords.training.distributed import Group
    from earthwords.training.loop import Progress, Schedule, TrainingTask

LOG_EVERY = 10
"""Steps between reports."""


def run(
    model: torch.nn.Module,
    task: Callable[[Group], TrainingTask],
    schedule: Schedule,
    *,
    folder: Path,
    place: torch.device,
    quiet: bool,
    finish: Callable[[], object],
    notice: str = "",
    report_to: str | None = None,
    **options: Any,
) -> dict[str, float]:
    """Train, in one process or as one of those that torchrun started; the first calls `finish` in the end.

    Args:
        task: made when the group of processes is known.
        report_to: `tensorboard`: figures also go into event files in `folder / "tensorboard"`.
        options: for `training.loop.train`.

    Returns:
        The last value of every figure, and `processes`.

    Raises:
        UsageError: another training works in `folder`.
    """
    from earthwords.training.distributed import joined
    from earthwords.training.loop import train

    values: dict[str, float] = {}
    done: int | None = None
    board = None if report_to is None else _Board(folder / "tensorboard")
    resumes = options.get("resume", True)
    with joined(place) as group, alone_in(folder, group, place), going_on(lambda: _kept(folder) if resumes else ""):
        console = Console(quiet=quiet or not group.leads)
        if notice:
            console.say(notice)
        with console.bar("training", schedule.steps, unit="steps") as tick:
            for progress in train(
                model, task(group), schedule, folder=folder, log_every=LOG_EVERY, group=group, **options
            ):
                if done is None:  # a resumed run begins where the other ended
                    done = (progress.step - 1) // LOG_EVERY * LOG_EVERY
                    tick.skip(done)
                tick(progress.step - done)
                done, values = progress.step, {**values, **progress.values}
                if board is not None:
                    board.write(progress)
        if group.leads:
            finish()
        return {**values, "processes": group.size}


@contextmanager
def alone_in(folder: Path, group: Group, place: torch.device) -> Iterator[None]:
    """The folder of a training for its processes alone, swept of what a killed one left.

    Raises:
        UsageError: another training works there; in all processes of this one.
    """
    from earthwords.files.atomic import locked, parents_made_for, sweep, writing

    with ExitStack() as stack:
        free = True
        if group.leads:
            stack.enter_context(parents_made_for(folder / "log.csv"))
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            free = stack.enter_context(locked(folder))
        if not group.from_first(free, place):
            raise UsageError(f"Another process is training into {folder}; wait for it, or choose another folder.")
        if group.leads:
            sweep(folder)
        yield


def _kept(folder: Path) -> str:
    """From where an interrupted training goes on."""
    from earthwords.models.weights.checkpoint import read_pytorch
    from earthwords.training.loop import CHECKPOINT

    path = folder / CHECKPOINT
    if not path.exists():
        return ""
    step = read_pytorch(path, mmap=True)["step"]
    return f"The same command goes on from here: step {step:,}, the last checkpoint."


class _Board:
    """Figures as TensorBoard reads them."""

    def __init__(self, folder: Path) -> None:
        """Raises `UsageError` where TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "--report-to tensorboard needs TensorBoard: pip install 'earthwords[tensorboard]'."
            ) from error
        self._writer: Any = None
        self._make: Callable[..., Any] = partial(SummaryWriter, str(folder))

    def write(self, progress: Progress) -> None:
        """The figures of a step; what an earlier run told of this step and later ones is forgotten."""
        if self._writer is None:
            self._writer = self._make(purge_step=progress.step)
        for name, value in progress.values.items():
            self._writer.add_scalar(name, value, progress.step)
        self._writer.flush()


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    folder: Path
    steps: int
    losses: dict[str, float]
    cpu_seconds: float
    images_per_s: float | None = None
    """Over all processes, between the last two reports."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "folder": str(self.folder)}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = [[name, f"{value:.4f}"] for name, value in self.losses.items()]
        return f"{self.steps} steps, {self.cpu_seconds:.0f} CPU seconds: {self.folder}", ["loss", "last"], rows


def trained(folder: Path, steps: int, values: dict[str, float], began: float, *, images: int) -> Trained:
    """The report of a training that began at `began` (CPU seconds) and saw `images` a step and process."""
    spared = ("lr", "cpu_seconds", "steps_per_s", "processes")
    return Trained(
        folder=folder,
        steps=steps,
        losses={name: round(value, 6) for name, value in values.items() if name not in spared},
        cpu_seconds=round(time.process_time() - began, 1),
        images_per_s=round(values.get("steps_per_s", 0.0) * images * values["processes"], 1),
    )
