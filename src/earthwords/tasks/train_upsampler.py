"""Train a feature upsampler for a backbone on images without labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.tasks._sources import find_sources
from earthwords.tasks._training import check_positive, run
from earthwords.tasks.segment import split_bands
from earthwords.tasks.train_clip import Trained, trained

if TYPE_CHECKING:
    import torch

    from earthwords.training.loop import Schedule
    from earthwords.training.teacher import Teacher

HELD_OUT_EVERY = 20
"""Of the images, every so manieth is kept for the held-out figures, unless other ones are named."""
HELD_OUT_BATCHES = 4


def train_upsampler(
    images: str,
    out: Path,
    *,
    method: Literal["simfeatup", "jbu", "anyup"] = "simfeatup",
    backbone: Annotated[Sequence[str], Parameter(negative="", consume_multiple=True)] = ("tiny",),
    features: str | None = None,
    held_out: str | None = None,
    steps: int = 2000,
    batch_size: int = 4,
    image_size: int | None = None,
    width: int | None = None,
    lr: float | None = None,
    faithful: bool = False,
    bands: str | None = None,
    gsd: float | None = None,
    precision: Literal["fp32", "amp_bf16"] = "fp32",
    seed: int = 0,
    validate_every: int = 200,
    save_frequency: int = 100,
    report_to: Literal["tensorboard"] | None = None,
    device: str = "auto",
    offline: bool = False,
    resume: bool = True,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> Trained:
    """Train FeatUp's, SimFeatUp's or AnyUp's upsampler for any backbone, on images without labels.

    The result is `upsampler.safetensors` in OUT, for `--upsampler-weights`, beside the log and the checkpoint that an
    interrupted run goes on from. Several GPUs: `torchrun --nproc-per-node 4 -m earthwords train upsampler ...`.

    Parameters
    ----------
    images
        Folder, pattern or list (@FILE) of images or georeferenced rasters of any size.
    out
        Folder of the checkpoint, the log and the finished upsampler.
    method
        simfeatup (one stage of radius 5, content kept), jbu (FeatUp: four stages of radius 3) or anyup.
    backbone
        CLIP weights whose features are learned from; anyup takes several.
    features
        penultimate (tokens that enter the last block) or the name of a dense attention. By default penultimate for
        simfeatup, maskclip for jbu, segearth for anyup.
    held_out
        Images for the held-out figures, as IMAGES; by default every 20th of these, which is then not trained on.
    steps
        Number of steps.
    batch_size
        Crops a step and process.
    image_size
        Side of the crops in pixels; 224 by default, 448 for anyup, whose crops hold smaller ones of half the side.
    width
        Channels of anyup's queries and keys, a multiple of 8; 128 by default.
    lr
        Learning rate; 1e-3 with NAdam, 2e-4 with AdamW for anyup.
    faithful
        Compute simfeatup and jbu as their authors do, channel by channel and row by row: far slower, same expectation.
    bands
        Three band numbers or names, such as 4,3,2.
    gsd
        Ground sample distance to read rasters at, metres.
    precision
        fp32, or bfloat16 autocast.
    seed
        Of weights and of everything drawn.
    validate_every
        Steps between held-out figures.
    save_frequency
        Steps between checkpoints.
    report_to
        tensorboard: figures also as event files in OUT/tensorboard, beside OUT/log.csv.
    device
        auto, cpu, cuda.
    offline
        Never use the network.
    resume
        Go on from a checkpoint in the folder.
    quiet
        No progress.
    """
    check_positive(steps=steps, batch_size=batch_size, image_size=image_size, width=width, lr=lr)
    check_positive(save_frequency=save_frequency, validate_every=validate_every)
    if method != "anyup" and len(backbone) != 1:
        raise UsageError(f"{method} learns from one backbone, got {len(backbone)}; anyup takes several.")
    if method != "anyup" and width is not None:
        raise UsageError(f"--width is for anyup; {method} has no such choice.")
    learned, kept = _split(images, held_out)

    import torch

    from earthwords.inference.segmenter import choose_device
    from earthwords.training.distributed import own_device
    from earthwords.training.lessons import Choices, Reading, lesson
    from earthwords.training.start import store_upsampler

    place = choose_device(own_device(device))
    torch.manual_seed(seed)
    teachers = [_teacher(name, features, method=method, place=place, offline=offline) for name in backbone]
    course = lesson(
        method,
        teachers,
        Reading(bands=split_bands(bands), gsd=gsd, device=place),
        learned,
        kept,
        Choices(batch=batch_size, side=image_size, width=width, faithful=faithful),
    )
    schedule = _schedule(method, steps=steps, lr=lr, precision=precision, seed=seed)
    told = {"method": method, "teachers": ", ".join(teacher.name for teacher in teachers), "steps": str(steps)}
    began = time.process_time()
    values = run(
        course.model,
        lambda group: course.task,
        schedule,
        folder=Path(out),
        place=place,
        quiet=quiet,
        report_to=report_to,
        finish=lambda: store_upsampler(course.upsampler, Path(out), told=told),
        notice=f"{len(learned)} images to learn from, {len(kept)} held out; {method} on {place}.",
        validate=course.validate(seed, HELD_OUT_BATCHES),
        validate_every=validate_every,
        save_every=save_frequency,
        resume=resume,
    )
    return trained(Path(out), steps, values, began, images=batch_size)


def _split(images: str, held_out: str | None) -> tuple[list[str], list[str]]:
    """Images to learn from, and held-out ones."""
    found = find_sources(images) or [images]
    if held_out is not None:
        return found, find_sources(held_out) or [held_out]
    kept = found[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return [source for source in found if source not in set(kept)], kept or found


def _teacher(name: str, features: str | None, *, method: str, place: torch.device, offline: bool) -> Teacher:
    from earthwords.models.weights import load_clip
    from earthwords.training.teacher import teacher

    usual = {"simfeatup": "penultimate", "jbu": "maskclip", "anyup": "segearth"}[method]
    return teacher(load_clip(name, offline=offline, device=place).eval(), features or usual)


def _schedule(method: str, *, steps: int, lr: float | None, precision: str, seed: int) -> Schedule:
    """As the authors move their weights: a constant rate, no averaging."""
    from earthwords.training.loop import Schedule

    row = Schedule(
        steps=steps, lr=lr or 1e-3, warmup=0, decays=False, optimizer="nadam", weight_decay=0, beta2=0.999,
        clip_norm=float("inf"), first_steps=10, first_clip_norm=1e-4, ema=0, precision=precision, seed=seed,
    )  # fmt: skip
    if method == "anyup":
        row = replace(row, lr=lr or 2e-4, optimizer="adamw", weight_decay=1e-5, first_steps=0)
    return row
