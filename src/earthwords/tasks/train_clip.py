"""Train a dual encoder on pictures with sentences, and on regions with class words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.tasks._training import check_positive, run

if TYPE_CHECKING:
    from earthwords.models.backbones.clip import ClipBackbone
    from earthwords.training.batches import Sampler


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
    accum_freq: int = 1,
    image_size: Annotated[Sequence[int], Parameter(negative="", consume_multiple=True)] = (128,),
    augmentation: Literal["sensor", "remoteclip"] = "sensor",
    lr: float = 1e-3,
    warmup: int = 500,
    wd: float = 0.05,
    beta2: float = 0.98,
    grad_clip_norm: float = 1.0,
    ema: float = 0.999,
    precision: Literal["fp32", "amp_bf16"] = "fp32",
    seed: int = 0,
    lock_image: bool = False,
    lock_image_unlocked_groups: int = 0,
    lock_text: bool = False,
    lock_text_unlocked_groups: int = 0,
    lora_rank: int = 0,
    siglip: bool = False,
    caption_weight: float = 1.0,
    label_weight: float = 0.5,
    region_weight: float = 1.0,
    attention: Annotated[Sequence[str], Parameter(negative="", consume_multiple=True)] = ("segearth",),
    zoom: tuple[float, float] = (0.5, 2.0),
    mix: Annotated[Sequence[str], Parameter(negative="", consume_multiple=True)] = (),
    save_frequency: int = 500,
    layout: Literal["transformers", "open_clip", "both"] = "transformers",
    report_to: Literal["tensorboard"] | None = None,
    device: str = "auto",
    resume: bool = True,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> Trained:
    """Train a CLIP from scratch, or further from weights, on a list of images.

    An interrupted run goes on where its last checkpoint stands. The result is a folder that `--model` and
    transformers' `from_pretrained` read. Several GPUs: `torchrun --nproc-per-node 4 -m earthwords train clip ...`;
    sentences are compared over the pictures of all of them.

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
        Pictures a step and process.
    region_batch
        Crops of masked images a step; 0 trains on pictures alone.
    accum_freq
        Parts of a batch that are encoded one after the other, to save memory; losses are of the whole batch.
    image_size
        Side of the images in pixels; of several, one is drawn each step.
    augmentation
        sensor (crops of half or more, other colours, haze, blur and noise) or remoteclip (crops of nine tenths or
        more); both turn and mirror.
    lr
        Largest learning rate of AdamW.
    warmup
        Steps of linear warm-up; cosine decay follows.
    wd
        Weight decay of matrices.
    beta2
        Of AdamW.
    grad_clip_norm
        Greatest norm of the gradient.
    ema
        Decay of the running average of the weights that is delivered; 0 delivers the last weights.
    precision
        fp32, or bfloat16 autocast (faster on GPUs, and on CPUs with AVX512-BF16 or AMX).
    seed
        Of weights and of everything drawn.
    lock_image
        Freeze the image tower.
    lock_image_unlocked_groups
        But for its last groups: projection, last block with the final norm, block before, ...
    lock_text
        Freeze the text tower.
    lock_text_unlocked_groups
        But for its last groups.
    lora_rank
        Train low-rank additions of this rank beside the attention's projections instead of the weights (peft); they
        are merged in the end.
    siglip
        Compare sentences by SigLIP's pairwise sigmoid loss instead of InfoNCE.
    caption_weight
        Weight of the comparison of pictures and sentences of a batch.
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
    layout
        Of the result: a transformers folder, open_clip_model.safetensors, or both.
    report_to
        tensorboard: figures also as event files in OUT/tensorboard, beside OUT/log.csv.
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
    from earthwords.training.distributed import own_device
    from earthwords.training.loop import Schedule
    from earthwords.training.start import check_layout, start

    check_positive(batch_size=batch_size, epochs=epochs, steps=steps, lr=lr, save_frequency=save_frequency)
    check_positive(image_size=min(image_size, default=0), accum_freq=accum_freq, grad_clip_norm=grad_clip_norm)
    began, place = time.process_time(), choose_device(own_device(device))
    manifest = read_manifest(train_data)
    backbone = start(manifest, architecture=architecture, model=model, seed=seed).to(place)
    check_layout(backbone, layout)
    locks = {"image": (lock_image, lock_image_unlocked_groups), "text": (lock_text, lock_text_unlocked_groups)}
    adapted = _adapt(backbone, locks, lora_rank=lora_rank, siglip=siglip, seed=seed)
    sampler = Sampler(manifest, zoom=zoom, mix=_shares(mix), augmentation=augmentation)
    _check_something(sampler, train_data)
    objective = Objective(
        batch_size=batch_size if sampler.pictures else 0,
        region_batch=region_batch if sampler.masked else 0,
        sides=tuple(image_size), accum_freq=accum_freq, siglip=siglip, caption_weight=caption_weight,
        label_weight=label_weight, region_weight=region_weight, attention=tuple(attention),
    )  # fmt: skip
    steps = steps or max(1, epochs * max(1, len(sampler.pictures)) // batch_size)
    schedule = Schedule(
        steps=steps, lr=lr, warmup=warmup, weight_decay=wd, beta2=beta2, clip_norm=grad_clip_norm, ema=ema,
        precision=precision, seed=seed,
    )  # fmt: skip
    finish = partial(_deliver, backbone, Path(out), layout=layout, adapted=lora_rank > 0)
    values = run(
        backbone, lambda group: Contrastive(sampler, objective, group=group, settings=adapted), schedule,
        folder=Path(out), place=place, quiet=quiet, finish=finish, resume=resume,
        save_every=save_frequency, report_to=report_to,
    )  # fmt: skip
    return trained(Path(out), steps, values, began, images=objective.batch_size + objective.region_batch)


def _deliver(backbone: ClipBackbone, out: Path, *, layout: str, adapted: bool) -> None:
    """Write the finished model; low-rank additions become part of its weights."""
    from earthwords.training.adapt import merge_lora
    from earthwords.training.start import store

    if adapted:
        merge_lora(backbone)
    store(backbone, out, layout=layout)


def _check_something(sampler: Sampler, train_data: Path) -> None:
    if not sampler.pictures and not sampler.masked:
        raise UsageError(f"{train_data} lists no captions, labels or masks: there is nothing to learn from.")


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


def _adapt(
    backbone: ClipBackbone, locks: dict[str, tuple[bool, int]], *, lora_rank: int, siglip: bool, seed: int
) -> dict[str, str]:
    """Freeze, add and prepare what the options ask for; gives what a resumed run must have in common."""
    import torch

    from earthwords.training.adapt import add_lora, lock

    for tower, (locked, groups) in locks.items():
        if groups and not locked:
            raise UsageError(f"--lock-{tower}-unlocked-groups needs --lock-{tower}.")
        if locked:
            lock(backbone, tower, unlocked_groups=groups)
    if lora_rank:
        if any(locked for locked, _ in locks.values()):
            raise UsageError("--lora-rank freezes both towers already; leave --lock-image and --lock-text away.")
        add_lora(backbone, rank=lora_rank, seed=seed)
    if siglip:
        backbone.logit_bias = torch.nn.Parameter(torch.tensor(-10.0, device=backbone.device))
    return {"locks": str(locks), "lora_rank": str(lora_rank)}


def _shares(mix: Sequence[str]) -> dict[str, float]:
    shares = {}
    for pair in mix:
        name, _, weight = pair.partition("=")
        try:
            shares[name] = float(weight)
        except ValueError:
            raise UsageError(f"--mix {pair!r} is not SET=WEIGHT, such as dubai=2.") from None
    return shares
