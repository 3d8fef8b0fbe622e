"""Train a feature upsampler for a backbone on images without labels."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.errors import UsageError, number_of
from earthwords.geo.sources.find import Say, check_apart, find_sources
from earthwords.inference.checks import check_images, check_positive
from earthwords.inference.options import reach, split_bands
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt
from earthwords.training.launch import Trained, run, trained

if TYPE_CHECKING:
    import torch

    from earthwords.training.loop import Schedule
    from earthwords.training.teacher import Teacher

HELD_OUT_EVERY = 20
"""Of the images, every so manieth is kept for the held-out figures, unless other ones are named."""
HELD_OUT_BATCHES = 4
GUIDED = ("anyup", "naf")
"""Methods whose queries come from the image: they have a width, and learn by AdamW."""


@opt.documented
def train_upsampler(
    images: Annotated[str, opt.ARGUMENTS],
    out: opt.TrainOut,
    *,
    method: Annotated[Literal["simfeatup", "jbu", "anyup", "naf"], opt.MODEL] = "simfeatup",
    backbone: Annotated[Sequence[str], opt.several(opt.MODEL, "NAME|ID|PATH...")] = ("tiny",),
    features: Annotated[opt.Features | None, opt.MODEL] = None,
    width: Annotated[int | None, opt.option(opt.MODEL, metavar="CHANNELS")] = None,
    held_out: Annotated[str | None, opt.option(opt.READING, metavar="IMAGES")] = None,
    image_size: Annotated[int | None, opt.option(opt.READING, metavar="PIXELS")] = None,
    bands: opt.Bands = None,
    gsd: Annotated[float | None, opt.option(opt.READING, metavar="METRES")] = None,
    nodata: opt.Nodata = None,
    stretch: opt.Stretch = "auto",
    allow_remote_parts: opt.AllowRemoteParts = False,
    steps: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 2000,
    batch_size: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 4,
    lr: Annotated[float | None, opt.option(opt.TRAINING, metavar="RATE")] = None,
    faithful: Annotated[bool, opt.option(opt.TRAINING, negative="")] = False,
    precision: Annotated[Literal["fp32", "amp_bf16"], opt.TRAINING] = "fp32",
    seed: opt.Seed = 0,
    validate_every: Annotated[int, opt.option(opt.TRAINING, metavar="STEPS")] = 200,
    save_frequency: opt.SaveFrequency = 100,
    report_to: opt.ReportTo = None,
    device: opt.Device = "auto",
    resume: opt.ResumeTraining = True,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Trained:
    """Train FeatUp's, SimFeatUp's, AnyUp's or NAF's upsampler for any backbone, on images without labels.

    The result is `upsampler.safetensors` in OUT, for `--upsampler-weights`, beside the log and the checkpoint that an
    interrupted run goes on from. Several GPUs: `torchrun --nproc-per-node 4 -m earthwords train upsampler ...`.

    Args:
        images: Folder, pattern or list (@FILE) of images or georeferenced rasters of any size.
        out: Folder of the checkpoint, the log and the finished upsampler.
        method: simfeatup (one stage of radius 5, content kept), jbu (FeatUp: four stages of radius 3),
            anyup or naf.
        backbone: CLIP weights whose features are learned from; anyup takes several.
        features: penultimate (tokens that enter the last block) or the name of a dense attention; default: penultimate
            for simfeatup, maskclip for jbu, segearth for anyup and naf.
        width: Channels of queries and keys, a multiple of 8 for anyup (default: 128), of 16 for naf (default: 256).
        held_out: Images for the held-out figures, as IMAGES; default: every 20th of these, at least one, which is then
            not trained on.
        image_size: Side of the crops in pixels; default: 224, for anyup 448, whose crops hold smaller ones of half the
            side, for naf 32 patches of the backbone.
        gsd: Ground sample distance to read rasters at, metres a pixel.
        steps: Number of steps.
        batch_size: Crops a step and process.
        lr: Learning rate; default: 1e-3 with NAdam, 2e-4 with AdamW for anyup and naf.
        faithful: Compute simfeatup and jbu as their authors do, channel by channel and row by row: far slower, same
            expectation.
        precision: fp32, or bfloat16 autocast.
        validate_every: Steps between held-out figures.

    Returns:
        The folder, the last losses and held-out figures, and the time it took.

    Raises:
        UsageError: a wrong option, no image, or a checkpoint of another training.
        SourceError: an image is missing or damaged.
        WeightsError: the weights of the backbone are missing or damaged.

    Example:
        >>> earthwords.train_upsampler("scenes", "my-upsampler", backbone=["tiny"], steps=500)
        >>> earthwords.segment("ortho.tif", "out", text=["road"], upsampler="simfeatup",
        ...                    upsampler_weights="my-upsampler/upsampler.safetensors")
    """
    check_positive(steps=steps, batch_size=batch_size, image_size=image_size, width=width, lr=lr)
    check_positive(save_frequency=save_frequency, validate_every=validate_every)
    if method != "anyup" and len(backbone) != 1:
        raise UsageError(f"{method} learns from one backbone, got {len(backbone)}; anyup takes several.")
    if method not in GUIDED and width is not None:
        raise UsageError(f"--width is for {' and '.join(GUIDED)}; {method} has no such choice.")
    check_images(images, held_out, backbone=backbone)
    learned, kept = _split(images, held_out, Console(quiet=quiet or os.environ.get("RANK", "0") != "0").say)

    import torch

    from earthwords.models.device import choose_device
    from earthwords.models.weights.table import UPSAMPLER
    from earthwords.training.distributed import process_device
    from earthwords.training.initialise import store_upsampler
    from earthwords.training.loop import CHECKPOINT, LOG
    from earthwords.training.recipes import CropOptions, Overrides, make_recipe

    lists = [name for name in (images, held_out) if name is not None and name.startswith("@")]
    read = {**{f"the list {name}": name[1:] for name in lists}, **{f"the backbone {name}": name for name in backbone}}
    check_apart(out, (CHECKPOINT, LOG, UPSAMPLER), read)
    place = choose_device(process_device(device))
    torch.manual_seed(seed)
    teachers = [_teacher(name, features, method=method, place=place, offline=offline) for name in backbone]
    reading = CropOptions(
        bands=split_bands(bands), gsd=gsd, nodata=nodata, stretch=stretch, device=place,
        network=reach(offline, allow_remote_parts),
    )  # fmt: skip
    choices = Overrides(batch=batch_size, side=image_size, width=width, faithful=faithful)
    recipe = make_recipe(method, teachers, reading, learned, kept or learned, choices)
    schedule = _schedule(method, steps=steps, lr=lr, precision=precision, seed=seed)
    about = {"method": method, "teachers": ", ".join(teacher.name for teacher in teachers), "steps": str(steps)}
    began = time.process_time()
    values = run(
        recipe.model,
        lambda group: recipe.task,
        schedule,
        folder=Path(out),
        place=place,
        quiet=quiet,
        report_to=report_to,
        finish=lambda: store_upsampler(recipe.upsampler, Path(out), metadata=about),
        notice=_notice(learned, kept, method, place),
        validate=recipe.validate(seed, HELD_OUT_BATCHES),
        validate_every=validate_every,
        save_every=save_frequency,
        resume=resume,
    )
    return trained(Path(out), steps, values, began, images=batch_size)


def _split(images: str, held_out: str | None, say: Say) -> tuple[list[str], list[str]]:
    """Images to learn from, and held-out ones."""
    found = find_sources(images, say=say) or [images]
    if held_out is not None:
        return found, find_sources(held_out, say=say) or [held_out]
    kept = found[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or found[1:][-1:]
    return [source for source in found if source not in set(kept)], kept


def _notice(learned: Sequence[str], kept: Sequence[str], method: str, place: torch.device) -> str:
    """What is learned from, and what the figures are measured on."""
    if kept:
        return f"{number_of(len(learned), 'image')} to learn from, {len(kept)} held out; {method} on {place}."
    return (
        f"One image to learn from and none held out: figures are of that image, --held-out names others; {method} on "
        f"{place}."
    )


def _teacher(name: str, features: str | None, *, method: str, place: torch.device, offline: bool) -> Teacher:
    from earthwords.models.weights.table import load_clip
    from earthwords.training.teacher import teacher

    usual = {"simfeatup": "penultimate", "jbu": "maskclip", "anyup": "segearth", "naf": "segearth"}[method]
    return teacher(load_clip(name, offline=offline, device=place).eval(), features or usual)


def _schedule(method: str, *, steps: int, lr: float | None, precision: str, seed: int) -> Schedule:
    """As the authors move their weights: a constant rate, no averaging."""
    from earthwords.training.loop import Schedule

    row = Schedule(
        steps=steps, lr=lr or 1e-3, warmup=0, decays=False, optimizer="nadam", weight_decay=0, beta2=0.999,
        clip_norm=float("inf"), first_steps=10, first_clip_norm=1e-4, ema=0, precision=precision, seed=seed,
    )  # fmt: skip
    if method in GUIDED:
        row = replace(row, lr=lr or 2e-4, optimizer="adamw", weight_decay=1e-5, first_steps=0)
    return row
