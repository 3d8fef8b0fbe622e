"""The loop around a loss: schedule, averaging, log, checkpoints and resuming.

Everything random in a step comes from generators seeded with `(seed, step)`, of several processes also with which one
it is, torch's own included, so a run that was interrupted and resumed computes what an uninterrupted one does, bit for
bit on the same machine.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from earthwords.errors import UsageError, WeightsError, unknown
from earthwords.files.atomic import atomic_path, writing
from earthwords.files.reading import read_bytes
from earthwords.models.weights.checkpoint import read_pytorch
from earthwords.training.distributed import ALONE, Group

PRECISIONS = ("fp32", "amp_bf16")
OPTIMIZERS = ("adamw", "nadam")
CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
_LATER = {
    "warmup_from": "None",
    "floor": "0.0",
    "hold": "0",
    "span": "0",
    "decays_all": "False",
    "slow": "",
    "slow_share": "1.0",
    "class_dropout": "0.0",
}
"""Settings that checkpoints of earlier versions do not tell, and what they were."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How weights move; by default AdamW with linear warm-up and cosine decay to zero."""

    steps: int
    lr: float = 1e-3
    warmup: int = 500
    warmup_from: float | None = None
    """Share of the rate that warm-up begins with; None: it rises from zero, which no step has."""
    decays: bool = True
    """By a cosine; else the rate stays."""
    floor: float = 0.0
    """Share of the rate that the cosine ends at."""
    hold: int = 0
    """Step before which the cosine does not begin."""
    span: int = 0
    """Steps of the whole cosine, which may be more than are left; 0: those."""
    optimizer: str = "adamw"
    """One of `OPTIMIZERS`."""
    weight_decay: float = 0.05
    decays_all: bool = False
    """Weight decay for norms and biases too; else for matrices and filters only."""
    beta2: float = 0.98
    clip_norm: float = 1.0
    """Greatest norm of the gradient."""
    first_steps: int = 0
    first_clip_norm: float = 1.0
    """Greatest norm in the first `first_steps` steps."""
    slow: str = ""
    """Beginning of the names of parameters that learn at `slow_share` of the rate; empty: none do."""
    slow_share: float = 1.0
    ema: float = 0.999
    """Decay of the average of the weights that is kept, and delivered in the end."""
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warmup:
            if self.warmup_from is None:
                return self.lr * (step + 1) / self.warmup
            return self.lr * (self.warmup_from + (1 - self.warmup_from) * step / max(1, self.warmup - 1))
        if not self.decays:
            return self.lr
        begins = max(self.warmup, self.hold)
        progress = max(0, step - begins) / max(1, self.span or self.steps - begins)
        return self.lr * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))

    def limit(self, step: int) -> float:
        """Greatest norm of a step's gradient."""
        return self.first_clip_norm if step < self.first_steps else self.clip_norm


class TrainingTask(Protocol):
    """What is learned."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What a run that goes on must have in common with the one that began."""

    def draw(self, rng: np.random.Generator) -> Any:
        """The batch of a step."""

    def losses(self, model: Any, batch: Any) -> dict[str, Tensor]:
        """Losses by name; their sum is minimised."""


Validate = Callable[[Any], dict[str, float]]


class BestWeights:
    """The averaged weights with the best held-out figure, which are delivered instead of the last ones; those that the
    training began with are among them."""

    def __init__(self, figure: str, *, before: float, patience: int = 0) -> None:
        """
        Args:
            figure: name of what `validate` gives; larger is better.
            before: its value before training.
            patience: validations in a row without a better one after which training ends; 0: it does not.
        """
        self.figure, self.patience = figure, patience
        self.value = -math.inf if math.isnan(before) else before
        self.step = 0
        """That they are of."""
        self.missed = 0
        """Validations since."""
        self.weights: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        """Whether patience has ended."""
        return 0 < self.patience <= self.missed

    def see(self, step: int, figures: Mapping[str, float], average: Mapping[str, Tensor]) -> None:
        """Keep the weights of a step if they are better."""
        if figures[self.figure] > self.value:
            self.step, self.value, self.missed = step, figures[self.figure], 0
            self.weights = _copied(average)
        else:
            self.missed += 1

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"step": self.step, "value": self.value, "missed": self.missed, "weights": self.weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.step, self.value, self.missed = int(state["step"]), float(state["value"]), int(state["missed"])
        self.weights = dict(state["weights"])


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is told after every logged step."""

    step: int
    steps: int
    values: dict[str, float]
    """Mean losses since the last report, learning rate, validation figures."""


def train(
    model: nn.Module,
    task: TrainingTask,
    schedule: Schedule,
    *,
    folder: Path,
    validate: Validate | None = None,
    validate_every: int = 0,
    save_every: int = 500,
    log_every: int = 50,
    resume: bool = True,
    stop_at: int | None = None,
    group: Group = ALONE,
    kept: frozenset[str] | None = None,
    best: BestWeights | None = None,
) -> Iterator[Progress]:
    """Train `model` in place and report as it goes; at the end it holds the averaged weights.

    Args:
        folder: where `checkpoint.pt` and `log.csv` stand; a checkpoint found there is continued.
        validate: figures of the averaged model, computed every `validate_every` steps and at the end.
        stop_at: leave after this step, with a checkpoint, as an interruption would.
        group: processes that train together, each with a model of the same weights; the first one writes and reports.
        kept: names of the state that training changes, all that a checkpoint holds; None: the whole state.
        best: of the first process gets the best weights by `validate`, which the model holds at the end then; training
            ends with its patience.

    Raises:
        UsageError: the checkpoint in `folder` was made with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(model, schedule)
    average = _copied(_state(model, kept))
    if best is not None:
        best.weights = _copied(average)
    settings = {**{name: str(value) for name, value in asdict(schedule).items()}, **task.settings}
    settings["processes"] = str(group.size)
    before = _Resumed()
    group.wait()  # for the checkpoint of a run that ended here a moment ago
    if resume and (folder / CHECKPOINT).exists():
        before = _restore(folder / CHECKPOINT, model, optimizer, average, settings)
        if best is not None:
            best.restore(before.best)
    group.wait()
    start, sums = before.step, before.sums
    if group.leads:
        _mend(folder / LOG, start)
    began = time.process_time() - before.spent
    reported = start, time.perf_counter()
    for step in range(start, start if best is not None and best.is_over else schedule.steps):
        losses = _step(model, task, optimizer, schedule, step, group)
        _update(average, model, min(schedule.ema, (1 + step) / (10 + step)))
        for name, value in losses.items():
            sums.setdefault(name, []).append(value)
        done = step + 1
        figures: dict[str, float] = {}
        over = False
        if validate is not None and ((validate_every and done % validate_every == 0) or done == schedule.steps):
            if group.leads:
                figures = _validated(model, average, validate, kept)
            if best is not None:
                if group.leads:
                    best.see(done, figures, average)
                over = group.from_first(best.is_over, next(model.parameters()).device)
        last = done in (schedule.steps, stop_at) or over
        values = {}
        if done % log_every == 0 or last:
            values = {name: sum(parts) / len(parts) for name, parts in sums.items()}
            values |= {"lr": schedule.rate(step), "cpu_seconds": time.process_time() - began}
            values["steps_per_s"] = (done - reported[0]) / (time.perf_counter() - reported[1])
            sums, reported = {}, (done, time.perf_counter())
        values |= figures
        if values and group.leads:
            _log(folder / LOG, done, values)  # before the checkpoint, which says how far the log counts
        if group.leads and (done % save_every == 0 or last):
            state = {"model": _state(model, kept), "optimizer": optimizer.state_dict(), "average": average}
            about = {"step": done, "sums": sums, "spent": time.process_time() - began, "settings": settings}
            about |= {} if best is None else {"best": best.state()}
            _save(folder / CHECKPOINT, {**state, **about})
        if values and group.leads:
            yield Progress(step=done, steps=schedule.steps, values=values)
        if done == stop_at:
            return
        if over:
            break
    model.load_state_dict(average if best is None else best.weights, strict=kept is None)


def _step(
    model: nn.Module, task: TrainingTask, optimizer: torch.optim.Optimizer, schedule: Schedule, step: int, group: Group
) -> dict[str, float]:
    model.train()
    for parameters in optimizer.param_groups:
        parameters["lr"] = schedule.rate(step) * parameters.get("share", 1.0)  # checkpoints of before have none
    batch = task.draw(np.random.default_rng((schedule.seed, step, group.rank)[: 3 if group.size > 1 else 2]))
    torch.manual_seed((schedule.seed * 1_000_003 + step) * group.size + group.rank)
    with _autocast(schedule.precision, model):
        losses = task.losses(model, batch)
    total = torch.stack(list(losses.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    values = torch.stack([value.detach().float() for value in losses.values()])
    group.average_gradients(model)
    group.average([values])
    nn.utils.clip_grad_norm_(model.parameters(), schedule.limit(step))
    optimizer.step()
    return dict(zip(losses, values.tolist(), strict=True))


def _autocast(precision: str, model: nn.Module) -> AbstractContextManager[Any]:
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=precision == "amp_bf16")


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}
    return kinds[schedule.optimizer](_groups(model, schedule), lr=schedule.lr, betas=(0.9, schedule.beta2))


def _groups(model: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Matrices and filters, and the rest, by what weight decay is for; then those that learn slowly, likewise."""
    learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    slow = {name for name, _ in learning if schedule.slow and name.startswith(schedule.slow)}
    decay = schedule.weight_decay
    groups = []
    for share, names in ((1.0, {name for name, _ in learning} - slow), (schedule.slow_share, slow)):
        flat = [p for name, p in learning if name in names and p.ndim < 2]
        rest = [p for name, p in learning if name in names and p.ndim >= 2]
        groups.append({"params": rest, "weight_decay": decay, "share": share})
        groups.append({"params": flat, "weight_decay": decay if schedule.decays_all else 0.0, "share": share})
    return groups if slow else groups[:2]


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _state(model: nn.Module, kept: frozenset[str] | None) -> dict[str, Tensor]:
    state: dict[str, Tensor] = model.state_dict()
    return state if kept is None else {name: value for name, value in state.items() if name in kept}


@torch.no_grad()
def _update(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    state = model.state_dict()
    for name in average:
        value = state[name]
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


def _validated(
    model: nn.Module, average: dict[str, Tensor], validate: Validate, kept: frozenset[str] | None
) -> dict[str, float]:
    """Figures of the averaged weights; the model gets its own back."""
    own = {name: value.clone() for name, value in _state(model, kept).items()}
    model.load_state_dict(average, strict=kept is None)
    model.eval()
    try:
        with torch.inference_mode():
            return validate(model)
    finally:
        model.load_state_dict(own, strict=kept is None)


def _save(path: Path, state: dict[str, Any]) -> None:
    with atomic_path(path, overwrite=True) as part:
        torch.save(state, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())


@dataclass(frozen=True, kw_only=True)
class _Resumed:
    """How far an earlier run has come."""

    step: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    """Losses that are not in the log yet."""
    spent: float = 0.0
    """CPU seconds."""
    best: dict[str, Any] = field(default_factory=dict)
    """See `BestWeights`."""


def _restore(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
    settings: dict[str, str],
) -> _Resumed:
    advice = "use the same settings, another folder, or --no-resume"
    try:
        state = read_pytorch(path)
        before = dict(state["settings"])
        progress = _Resumed(
            step=int(state["step"]), sums=dict(state.get("sums", {})), spent=float(state["spent"]),
            best=dict(state.get("best", {})),
        )  # fmt: skip
    except (WeightsError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not a checkpoint of this command, or is damaged; {advice}.") from error
    before = {**_LATER, **before}
    changed = next((name for name in settings if before.get(name) != settings[name]), None)
    if changed is not None:
        raise UsageError(f"{path} was trained with {changed} {before.get(changed)}, not {settings[changed]}; {advice}.")
    try:
        if average.keys() != state["model"].keys():
            raise RuntimeError("other names")
        model.load_state_dict(state["model"], strict=len(average) == len(model.state_dict()))
    except RuntimeError as error:
        raise UsageError(f"{path} holds another architecture; {advice}.") from error
    optimizer.load_state_dict(state["optimizer"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    return progress


_HEAD = b"step,name,value\n"
_ROW = re.compile(rb"(\d{1,15}),[^,\0\n]+,[^,\0\n]+\n")


def _mend(path: Path, step: int) -> None:
    """Cut the log to its whole rows of no later steps than `step`, which come again."""
    try:
        lines = read_bytes(path).replace(b"\r\n", b"\n").splitlines(keepends=True)[1:]
    except OSError:
        lines = []
    rows = takewhile(lambda row: row is not None and int(row[1]) <= step, map(_ROW.fullmatch, lines))
    with atomic_path(path, overwrite=True) as part:
        part.write_bytes(_HEAD + b"".join(row[0] for row in rows if row is not None))


def _log(path: Path, step: int, values: dict[str, float]) -> None:
    """One row `step, name, value` a figure: columns stay the same whatever is reported."""
    with writing(path), path.open("ab") as file:
        file.write("".join(f"{step},{name},{value:.6g}\n" for name, value in values.items()).encode())
