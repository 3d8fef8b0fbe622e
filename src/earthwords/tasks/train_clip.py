"""Train a dual encoder on pictures with sentences, and on regions with class words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.tasks._progress import Talk


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    folder: Path
    steps: int
    losses: dict[str, float]
    cpu_seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "folder": str(self.folder)}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = [[name, f"{value:.4f}"] for name, value in self.losses.items()]
        return f"{self.steps} steps, {self.cpu_seconds:.0f} CPU seconds: {self.folder}", ["loss", "last"], rows


def train_clip(
    train_data: Path,
    out: Path,
    *,
    architecture: str = "tiny",
    model: str | None = None,
    steps: int | None = None,
    epochs: int = 32,
    batch_size: int = 96,
    region_batch: int = 48,
    image_size: Annotated[Sequence[int], Parameter(negative="", consume_multiple=True)] = (128,),
    lr: float = 1e-3,
    warmup: int = 500,
    wd: float = 0.05,
    precision: Literal["fp32", "amp_bf16"] = "fp32",
    seed: int = 0,
    caption_weight: float = 1.0,
    label_weight: float = 0.5,
    region_weight: float = 1.0,
    attention: Annotated[Sequence[str], Parameter(negative="", consume_multiple=True)] = ("segearth",),
    zoom: tuple[float, float] = (0.5, 2.0),
    mix: Annotated[Sequence[str], Parameter(negative="", consume_multiple=True)] = (),
    save_frequency: int = 500,
    device: str = "auto",
    resume: bool = True,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> Trained:
    """Train a CLIP from scratch, or further from weights, on a list of images.

    An interrupted run goes on where its last checkpoint stands. The result is a folder that `--model` and
    transformers' `from_pretrained` read.

    Parameters
    ----------
    train_data
        JSON lines: image, set, and captions, label or mask with classes (see docs/train-clip.md).
    out
        Folder of the checkpoint, the log and the finished model.
    architecture
        Architecture trained from scratch.
    model
        Begin from these weights instead.
    steps
        Number of steps; overrides --epochs.
    epochs
        Passes over the pictures.
    batch_size
        Pictures a step.
    region_batch
        Crops of masked images a step; 0 trains on pictures alone.
    image_size
        Side of the images in pixels; of several, one is drawn each step.
    lr
        Largest learning rate of AdamW.
    warmup
        Steps of linear warm-up; cosine decay follows.
    wd
        Weight decay of matrices.
    precision
        fp32, or bfloat16 autocast (faster on GPUs, and on CPUs with AVX512-BF16 or AMX).
    seed
        Of weights and of everything drawn.
    caption_weight
        Weight of InfoNCE over the sentences of a batch.
    label_weight
        Weight of the cross-entropy over the labels of a picture's set.
    region_weight
        Weight of the class-balanced cross-entropy of dense features and class words.
    attention
        Dense methods that regions are read with; of several, one is drawn each step.
    zoom
        Least and largest number of source pixels a training pixel of a region.
    mix
        Share of a masked set among the regions, SET=WEIGHT; 1 each by default.
    save_frequency
        Steps between checkpoints.
    device
        auto, cpu, cuda.
    resume
        Go on from a checkpoint in the folder.
    quiet
        No progress.
    """
    from earthwords.data.manifest import read_manifest
    from earthwords.inference.segmenter import choose_device
    from earthwords.training.batches import Sampler
    from earthwords.training.contrastive import Contrastive, Objective
    from earthwords.training.loop import Schedule, train
    from earthwords.training.start import start, store

    talk = Talk(quiet=quiet)
    check_positive(batch_size=batch_size, epochs=epochs, steps=steps, lr=lr, save_frequency=save_frequency)
    check_positive(image_size=min(image_size, default=0))
    began = time.process_time()
    manifest = read_manifest(train_data)
    backbone = start(manifest, architecture=architecture, model=model, seed=seed).to(choose_device(device))
    sampler = Sampler(manifest, zoom=zoom, mix=_shares(mix))
    if not sampler.pictures and not sampler.masked:
        raise UsageError(f"{train_data} lists no captions, labels or masks: there is nothing to learn from.")
    objective = Objective(
        batch_size=batch_size if sampler.pictures else 0,
        region_batch=region_batch if sampler.masked else 0,
        sides=tuple(image_size),
        caption_weight=caption_weight,
        label_weight=label_weight,
        region_weight=region_weight,
        attention=tuple(attention),
    )
    steps = steps or max(1, epochs * max(1, len(sampler.pictures)) // batch_size)
    schedule = Schedule(steps=steps, lr=lr, warmup=warmup, weight_decay=wd, precision=precision, seed=seed)
    values: dict[str, float] = {}
    done = 0
    with talk.bar("training", steps, unit="steps") as tick:
        task = Contrastive(sampler, objective)
        for progress in train(
            backbone, task, schedule, folder=Path(out), save_every=save_frequency, log_every=10, resume=resume
        ):
            tick(progress.step - done)
            done, values = progress.step, progress.values
    store(backbone, Path(out))
    losses = {name: round(v, 6) for name, v in values.items() if name in ("caption", "label", "region")}
    return Trained(folder=Path(out), steps=steps, losses=losses, cpu_seconds=round(time.process_time() - began, 1))


def check_positive(**options: float | None) -> None:
    """Raises `UsageError` for an option that is given and not above 0."""
    for name, value in options.items():
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0, got {value:g}.")


def _shares(mix: Sequence[str]) -> dict[str, float]:
    shares = {}
    for pair in mix:
        name, _, weight = pair.partition("=")
        try:
            shares[name] = float(weight)
        except ValueError:
            raise UsageError(f"--mix {pair!r} is not SET=WEIGHT, such as dubai=2.") from None
    return shares
