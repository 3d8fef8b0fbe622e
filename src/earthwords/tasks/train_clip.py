"""Train a dual encoder on pictures with sentences, and on regions with class words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.errors import UsageError
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_list, check_positive
from earthwords.tasks import _options as opt
from earthwords.training.launch import Trained, run, trained

if TYPE_CHECKING:
    import torch

    from earthwords.models.clip.model import ClipBackbone
    from earthwords.training.batches import Sampler


@opt.documented
def train_clip(
    train_data: Annotated[Path, opt.ARGUMENTS],
    out: opt.TrainOut,
    *,
    architecture: Annotated[str, opt.option(opt.MODEL, metavar="NAME")] = "tiny",
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    lock_image: Annotated[bool, opt.option(opt.MODEL, negative="")] = False,
    lock_image_unlocked_groups: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 0,
    lock_text: Annotated[bool, opt.option(opt.MODEL, negative="")] = False,
    lock_text_unlocked_groups: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 0,
    lora_rank: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 0,
    lora_form: Annotated[Literal["plain", "clip-lora"], opt.MODEL] = "plain",
    image_size: Annotated[Sequence[int], opt.several(opt.READING, "PIXELS...")] = (128,),
    augmentation: Annotated[Literal["sensor", "strong", "remoteclip"], opt.READING] = "sensor",
    zoom: Annotated[tuple[float, float], opt.option(opt.READING, metavar="LEAST LARGEST")] = (0.5, 2.0),
    mix: Annotated[Sequence[str], opt.several(opt.READING, "SET=WEIGHT...", show_default=False)] = (),
    steps: Annotated[int | None, opt.option(opt.TRAINING, metavar="N")] = None,
    epochs: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 32,
    batch_size: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 96,
    region_batch: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 48,
    accum_freq: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 1,
    lr: Annotated[float, opt.option(opt.TRAINING, metavar="RATE")] = 1e-3,
    warmup: Annotated[int, opt.option(opt.TRAINING, metavar="STEPS")] = 500,
    wd: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 0.05,
    beta2: opt.Beta2 = 0.98,
    grad_clip_norm: Annotated[float, opt.option(opt.TRAINING, metavar="NORM")] = 1.0,
    ema: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 0.999,
    siglip: Annotated[bool, opt.option(opt.TRAINING, negative="")] = False,
    caption_weight: Annotated[float, opt.option(opt.TRAINING, metavar="WEIGHT")] = 1.0,
    label_weight: Annotated[float, opt.option(opt.TRAINING, metavar="WEIGHT")] = 0.5,
    region_weight: Annotated[float, opt.option(opt.TRAINING, metavar="WEIGHT")] = 1.0,
    attention: Annotated[Sequence[str], opt.several(opt.TRAINING, "NAME...")] = ("segearth",),
    class_dropout: Annotated[float, opt.option(opt.TRAINING, metavar="SHARE")] = 0.0,
    precision: Annotated[Literal["fp32", "amp_bf16"], opt.TRAINING] = "fp32",
    seed: opt.Seed = 0,
    save_frequency: opt.SaveFrequency = 500,
    layout: Annotated[Literal["transformers", "open_clip", "both"], opt.OUTPUTS] = "transformers",
    report_to: opt.ReportTo = None,
    device: opt.Device = "auto",
    resume: opt.ResumeTraining = True,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Trained:
    """Train a CLIP from scratch, or further from weights, on a list of images.

    An interrupted run goes on where its last checkpoint stands. The result is a folder that `--model` and
    transformers' `from_pretrained` read. Several GPUs: `torchrun --nproc-per-node 4 -m earthwords train clip ...`;
    sentences are compared over the pictures of all of them.

    Args:
        train_data: JSON lines: image, set, and captions, label or mask with classes (see docs/train-clip.md).
        out: Folder of the checkpoint, the log and the finished model.
        architecture: Architecture trained from scratch.
        model: Begin from these weights instead: a name such as tiny, a Hugging Face id, a folder or a file.
        lock_image: Freeze the image tower.
        lock_image_unlocked_groups: But for its last groups: projection, last block with the final norm, block before,
            ...
        lock_text: Freeze the text tower.
        lock_text_unlocked_groups: But for its last groups.
        lora_rank: Train low-rank additions of this rank beside the attention's projections instead of the weights
            (peft); they are merged in the end.
        lora_form: plain, or as CLIP-LoRA makes them: beside queries, keys and values alone, scaled by 1 / sqrt(rank),
            with dropout 0.25 before them; its rank is 2.
        image_size: Side of the images in pixels; of several, one is drawn each step.
        augmentation: sensor (crops of half or more, other colours, haze, blur and noise), strong (sensor, and the
            colours of other pictures, coarser optics, JPEG) or remoteclip (crops of nine tenths or more); all turn and
            mirror.
        zoom: Least and largest number of source pixels a training pixel of a region.
        mix: Share of a masked set among the regions, SET=WEIGHT; 1 each by default.
        steps: Number of steps; overrides --epochs.
        epochs: Passes over the pictures.
        batch_size: Pictures a step and process.
        region_batch: Crops of masked images a step; 0 trains on pictures alone.
        accum_freq: Parts of a batch that are encoded one after the other, to save memory; losses are of the whole
            batch.
        lr: Largest learning rate of AdamW.
        warmup: Steps of linear warm-up; cosine decay follows.
        wd: Weight decay of matrices.
        grad_clip_norm: Greatest norm of the gradient.
        ema: Decay of the running average of the weights that is delivered; 0 delivers the last weights.
        siglip: Compare sentences by SigLIP's pairwise sigmoid loss instead of InfoNCE.
        caption_weight: Weight of the comparison of pictures and sentences of a batch.
        label_weight: Weight of the cross-entropy over the labels of a picture's set.
        region_weight: Weight of the class-balanced cross-entropy of dense features and class words.
        attention: Dense methods that regions are read with; of several, one is drawn each step.
        class_dropout: Share of the mask classes that are not asked for in a step; their pixels shall fit no word.
        precision: fp32, or bfloat16 autocast (faster on GPUs, and on CPUs with AVX512-BF16 or AMX).
        layout: Of the result: a transformers folder, open_clip_model.safetensors, or both.

    Returns:
        The folder, the last losses and the time it took.

    Raises:
        UsageError: a wrong option, a list without anything to learn from, or a checkpoint of another training.
        SourceError: the list or an image is missing or damaged.
        WeightsError: the weights to begin from are missing or damaged.

    Example:
        >>> earthwords.train_clip("pairs.jsonl", "my-clip", model="tiny", steps=2000)
        >>> earthwords.segment("ortho.tif", "out", text=["road", "roof"], model="my-clip")
    """
    check_positive(batch_size=batch_size, epochs=epochs, steps=steps, lr=lr, save_frequency=save_frequency)
    check_positive(image_size=min(image_size, default=0), accum_freq=accum_freq, grad_clip_norm=grad_clip_norm)
    check_list(train_data, model=model, architecture=architecture)
    from earthwords.data.manifests.captions import read_manifest
    from earthwords.models.device import choose_device
    from earthwords.training.adapt import adapt_towers
    from earthwords.training.batches import Sampler
    from earthwords.training.contrastive import ContrastiveTask, Objective
    from earthwords.training.distributed import process_device
    from earthwords.training.initialise import FOLDER, OPEN_CLIP, check_layout, start
    from earthwords.training.loop import CHECKPOINT, LOG, Schedule

    began, place = time.process_time(), choose_device(process_device(device))
    check_apart(out, (CHECKPOINT, LOG, OPEN_CLIP, *FOLDER), {"the list": train_data, "--model": model})
    manifest = read_manifest(train_data)
    backbone = start(manifest, architecture=architecture, model=model, seed=seed, offline=offline).to(place)
    check_layout(backbone, layout)
    locks = {"image": (lock_image, lock_image_unlocked_groups), "text": (lock_text, lock_text_unlocked_groups)}
    adapted = adapt_towers(backbone, locks, lora_rank=lora_rank, siglip=siglip, seed=seed, lora_form=lora_form)
    sampler = _filled(Sampler(manifest, zoom=zoom, mix=shares(mix), augmentation=augmentation), train_data)
    objective = Objective(
        batch_size=batch_size if sampler.pictures else 0, region_batch=region_batch if sampler.masked else 0,
        sides=tuple(image_size), accum_freq=accum_freq, siglip=siglip, caption_weight=caption_weight,
        label_weight=label_weight, region_weight=region_weight, attention=tuple(attention), class_dropout=class_dropout,
    )  # fmt: skip
    steps = steps or max(1, epochs * max(1, len(sampler.pictures)) // batch_size)
    schedule = Schedule(
        steps=steps, lr=lr, warmup=warmup, weight_decay=wd, beta2=beta2, clip_norm=grad_clip_norm, ema=ema,
        precision=precision, seed=seed,
    )  # fmt: skip
    values = run(
        backbone, lambda group: ContrastiveTask(sampler, objective, group=group, settings=adapted), schedule,
        folder=Path(out), place=place, quiet=quiet, resume=resume,
        finish=partial(_deliver, backbone, Path(out), layout=layout, adapted=lora_rank > 0),
        notice=_notice(sampler, architecture, model, lora_rank, place), save_every=save_frequency, report_to=report_to,
    )  # fmt: skip
    return trained(Path(out), steps, values, began, images=objective.batch_size + objective.region_batch)


def _notice(sampler: Sampler, architecture: str, model: str | None, lora_rank: int, place: torch.device) -> str:
    """What is learned, from what it begins, and where."""
    start = f"the architecture {architecture} from scratch" if model is None else f"the weights {model}"
    how = f", low-rank additions of rank {lora_rank}" if lora_rank else ""
    hint = " (--model tiny begins from the embedded model instead)" if model is None else ""
    masks = sum(map(len, sampler.masked.values()))
    return f"{len(sampler.pictures):,} pictures, {masks:,} masks; begins from {start}{hint}{how}; on {place}."


def _deliver(backbone: ClipBackbone, out: Path, *, layout: str, adapted: bool) -> None:
    """Write the finished model; low-rank additions become part of its weights."""
    from earthwords.training.adapt import merge_lora
    from earthwords.training.initialise import store

    if adapted:
        merge_lora(backbone)
    store(backbone, out, layout=layout)


def _filled(sampler: Sampler, train_data: Path) -> Sampler:
    """The same sampler, if there is something to learn from."""
    if not sampler.pictures and not sampler.masked:
        raise UsageError(f"{train_data} lists no captions, labels or masks: there is nothing to learn from.")
    return sampler


def shares(mix: Sequence[str]) -> dict[str, float]:
    """`SET=WEIGHT` as a table.

    Raises:
        UsageError: something else.
    """
    found = {}
    for pair in mix:
        name, _, weight = pair.partition("=")
        try:
            found[name] = float(weight)
        except ValueError:
            raise UsageError(f"--mix {pair!r} is not SET=WEIGHT, such as dubai=2.") from None
    return found
