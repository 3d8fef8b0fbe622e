"""Train a head that judges all words of a window jointly, over a dual encoder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_file, check_parts, check_positive
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.tasks import _options as opt
from earthwords.tasks.train_clip import shares
from earthwords.training.launch import Trained, run, trained

if TYPE_CHECKING:
    import torch

    from earthwords.data.manifests.captions import Manifest
    from earthwords.models.aggregation.head import HeadSettings
    from earthwords.training.heads.aggregation import HeadedEncoder

HELD_OUT_IMAGES = 32
"""Of each set."""
THRESHOLD = 0.5
"""Of the preset: a pixel that no word reaches it in is nothing of what is asked for."""
PRESET, ENCODER = "preset.toml", "encoder"
"""The preset that uses the head, and the folder of an encoder that learned too."""


@opt.documented
def train_segment(
    train_data: Annotated[Path, opt.ARGUMENTS],
    out: opt.TrainOut,
    *,
    head: Annotated[Literal["aggregation"], opt.MODEL] = "aggregation",
    preset: Annotated[str, opt.option(opt.MODEL, metavar="NAME|FILE")] = DEFAULT_PRESET,
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    aggregator: Annotated[Literal["rskt-seg", "gsnet"], opt.MODEL] = "rskt-seg",
    dim: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 64,
    layers: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 2,
    rotations: Annotated[Literal[1, 4], opt.MODEL] = 1,
    unlock: Annotated[bool, opt.option(opt.MODEL, negative="")] = False,
    val_data: Annotated[Path | None, opt.option(opt.READING, metavar="FILE")] = None,
    image_size: Annotated[Sequence[int], opt.several(opt.READING, "PIXELS...")] = (128,),
    zoom: Annotated[tuple[float, float], opt.option(opt.READING, metavar="LEAST LARGEST")] = (0.5, 2.0),
    mix: Annotated[Sequence[str], opt.several(opt.READING, "SET=WEIGHT...", show_default=False)] = (),
    unlabelled: Annotated[Literal["left-out", "absent"], opt.READING] = "left-out",
    steps: Annotated[int | None, opt.option(opt.TRAINING, metavar="N")] = None,
    epochs: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 32,
    batch_size: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 16,
    lr: Annotated[float, opt.option(opt.TRAINING, metavar="RATE")] = 1e-3,
    encoder_lr: Annotated[float, opt.option(opt.TRAINING, metavar="SHARE")] = 0.01,
    warmup: Annotated[int, opt.option(opt.TRAINING, metavar="STEPS")] = 100,
    wd: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 1e-4,
    beta2: opt.Beta2 = 0.999,
    grad_clip_norm: Annotated[float, opt.option(opt.TRAINING, metavar="NORM")] = 1.0,
    ema: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 0.999,
    precision: Annotated[Literal["fp32", "amp_bf16"], opt.TRAINING] = "fp32",
    seed: opt.Seed = 0,
    val_frequency: Annotated[int, opt.option(opt.TRAINING, metavar="STEPS")] = 500,
    save_frequency: opt.SaveFrequency = 500,
    report_to: opt.ReportTo = None,
    device: opt.Device = "auto",
    resume: opt.ResumeTraining = True,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Trained:
    """Train a segmentation head on images with masks and words.

    The head refines the cosines of all words of a window jointly (cost aggregation, as GSNet and RSKT-Seg do) over a
    dual encoder. OUT gets `head.safetensors`, `head.json` and `preset.toml`, which `segment --preset` takes. An
    interrupted run goes on where its last checkpoint stands.

    Args:
        train_data: JSON lines: image, set, mask with classes (see docs/train-segment.md).
        out: Folder of the checkpoint, the log, the head and its preset.
        head: Kind of head.
        preset: Preset to begin from: its weights, attention, prompts and windows; a name or a TOML file.
        model: Other weights of the dual encoder.
        aggregator: rskt-seg (attention on reduced keys) or gsnet (shifted windows).
        dim: Channels of the aggregator; the authors' have 128.
        layers: Layers of the aggregator; the authors' have 2 (gsnet) and 3 (rskt-seg).
        rotations: Quarter turns at which an image is seen: 1, or RSKT-Seg's 4 (four times as long to encode).
        unlock: Queries, values and positions of the image tower learn too, as the authors have it.
        val_data: Masked images for held-out figures, of the head and of the preset without it.
        image_size: Side of the crops in pixels, whole patches; of several, one is drawn each step.
        zoom: Least and largest number of source pixels a training pixel.
        mix: Share of a set among the crops, SET=WEIGHT; 1 each by default.
        unlabelled: Pixels whose value is not listed are left-out, or teach that every class is absent (the authors').
        steps: Number of steps; overrides --epochs.
        epochs: Passes over the masked images.
        batch_size: Crops a step and process.
        lr: Largest learning rate of AdamW; the authors' is 2e-4.
        encoder_lr: Share of the rate for an unlocked image tower.
        warmup: Steps of linear warm-up; cosine decay follows.
        wd: Weight decay of matrices.
        grad_clip_norm: Greatest norm of the gradient; the authors' is 0.01.
        ema: Decay of the running average of the weights that is delivered; 0 delivers the last weights.
        precision: fp32, or bfloat16 autocast (faster on GPUs, and on CPUs with AVX512-BF16 or AMX).
        val_frequency: Steps between held-out figures.

    Returns:
        The folder, the last losses and held-out figures, and the time it took.

    Raises:
        UsageError: a wrong option, a list without masks, or a checkpoint of another training.
        SourceError: the list or an image is missing or damaged.
        WeightsError: the weights to begin from are missing or damaged.

    Example:
        >>> earthwords.train_segment("masks.jsonl", "my-head", val_data="held-out.jsonl", steps=2000)
        >>> earthwords.segment("ortho.tif", "out", text=["road", "roof"], preset="my-head/preset.toml")
    """
    check_positive(batch_size=batch_size, epochs=epochs, steps=steps, lr=lr, save_frequency=save_frequency)
    rest = {"grad_clip_norm": grad_clip_norm, "val_frequency": val_frequency, "encoder_lr": encoder_lr}
    check_positive(image_size=min(image_size, default=0), **rest)
    row = _row(preset)
    _check_lists(train_data, val_data)
    check_parts(row, model=model)
    from earthwords.models.aggregation.head import CARD, WEIGHTS_FILE, make_head
    from earthwords.models.device import choose_device
    from earthwords.models.weights.resolve import resolve
    from earthwords.text.templates import load_templates
    from earthwords.training.batches import Sampler
    from earthwords.training.distributed import process_device
    from earthwords.training.heads.aggregation import SLOW, AggregationTask, HeadedEncoder, HeadObjective
    from earthwords.training.initialise import FOLDER
    from earthwords.training.loop import CHECKPOINT, LOG, Schedule

    began, place = time.process_time(), choose_device(process_device(device))
    results = (CHECKPOINT, LOG, CARD, WEIGHTS_FILE, PRESET, *(f"{ENCODER}/{name}" for name in FOLDER if unlock))
    check_apart(out, results, {"the list": train_data, "--val-data": val_data, "--model": model, "--preset": preset})
    found = resolve(row, model=model)
    backbone, upsampler = found.load(device=place, offline=offline)
    row = found.row
    settings = _head(aggregator, dim, layers, rotations, row, patch=backbone.patch)
    net = HeadedEncoder(backbone, make_head(settings, backbone, seed=seed).to(place), unlock=unlock)
    manifest, held_out = _masked(train_data), None if val_data is None else _masked(val_data)
    _check_sides(image_size, backbone.patch)
    sampler = Sampler(manifest, zoom=zoom, mix=shares(mix))
    aim = HeadObjective(batch_size=batch_size, sides=tuple(image_size), unlabelled=unlabelled)
    task = AggregationTask(sampler, aim, backbone, load_templates(row.templates), settings=_told(net, row))
    masks = sum(map(len, sampler.masked.values()))
    steps = steps or max(1, epochs * masks // batch_size)
    schedule = Schedule(
        steps=steps, lr=lr, warmup=warmup, weight_decay=wd, beta2=beta2, clip_norm=grad_clip_norm, ema=ema,
        precision=precision, seed=seed, slow=SLOW if unlock else "", slow_share=encoder_lr if unlock else 1.0,
    )  # fmt: skip
    values = run(
        net, lambda group: task, schedule, folder=Path(out), place=place, quiet=quiet, resume=resume,
        finish=lambda: _deliver(net, row, Path(out), steps=steps, words=len(task.vectors), digest=manifest.digest),
        notice=f"{masks:,} masks, {len(task.vectors):,} words; {aggregator} on {row.weights}; on {place}.",
        save_every=save_frequency, report_to=report_to, kept=net.learned,
        validate=_validate(held_out, row, net, upsampler), validate_every=val_frequency,
    )  # fmt: skip
    return trained(Path(out), steps, values, began, images=batch_size)


def _row(preset: str) -> SegmentPreset:
    """The preset, if it has no head yet."""
    row = load_preset(preset)
    if row.head is not None:
        raise UsageError(f"The preset {preset} has a head already; begin from its base.")
    return row


def _check_lists(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            check_file(path, what="a list of images with masks, JSON lines")


def _head(aggregator: str, dim: int, layers: int, rotations: int, row: SegmentPreset, *, patch: int) -> HeadSettings:
    """Widths in the authors' proportions, windows of half the grid of the preset's."""
    from earthwords.models.aggregation.head import HeadSettings

    return HeadSettings(
        aggregator=aggregator,
        dim=dim,
        layers=layers,
        rotations=rotations,
        attention=row.attention,
        decoder=(dim // 2, dim // 4),
        projected=(dim // 4, dim // 8),
        window=max(2, row.tile_size // patch // 2),
    )


def _told(net: HeadedEncoder, row: SegmentPreset) -> dict[str, str]:
    """What a resumed run must have in common, beside what is drawn and the schedule."""
    from earthwords.models.aggregation.head import encoder_hash

    sizes = {name: str(value) for name, value in asdict(net.head.settings).items()}
    weights = f"{row.weights} ({encoder_hash(net.backbone)})"
    return {"weights": weights, "templates": row.templates, "unlock": str(net.unlocked), **sizes}


def _masked(path: Path) -> Manifest:
    """A list, if there is a word to learn in each of its masked sets."""
    from earthwords.data.manifests.captions import read_manifest

    manifest = read_manifest(path)
    sets = {example.set for example in manifest.examples if example.mask is not None}
    if not sets:
        raise UsageError(f"{path} lists no masks: there is nothing to learn from.")
    for name in sorted(sets):
        if not any(manifest.classes[name]):
            raise UsageError(f"{path}: no class of the set {name!r} has a name.")
    return manifest


def _check_sides(sides: Sequence[int], patch: int) -> None:
    for side in sides:
        if side % patch:
            raise UsageError(f"--image-size must be whole patches of {patch} pixels, got {side}.")


def _validate(
    manifest: Manifest | None, row: SegmentPreset, net: HeadedEncoder, upsampler: torch.nn.Module | None
) -> Any:
    """Held-out figures, and those of the preset as it is, which are measured once, before anything is learned."""
    if manifest is None:
        return None
    from earthwords.evaluation.benchmark.listed import HeldOut
    from earthwords.inference.windows.sliding import Encoder
    from earthwords.models.clip.model import DenseMethod

    held_out = HeldOut(manifest, row, most=HELD_OUT_IMAGES)
    method = DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)
    encoder = Encoder(
        backbone=net.backbone, method=method, upsampler=upsampler, cls_weight=row.cls_weight, energy=row.energy
    )
    before = held_out.figures(encoder, before=row.threshold)

    def figures(model: HeadedEncoder) -> dict[str, float]:
        return held_out.figures(replace(encoder, head=model.head), heldout=THRESHOLD, best_word=0.0) | before

    return figures


def _deliver(net: HeadedEncoder, row: SegmentPreset, out: Path, **notes: Any) -> None:
    """Write the head, the encoder if it learned, and last the preset that names them."""
    from earthwords.files.atomic import atomic_path
    from earthwords.models.aggregation.head import store_head
    from earthwords.models.weights.table import WEIGHTS
    from earthwords.text.templates import TEMPLATES
    from earthwords.training.initialise import store

    weights = _from_anywhere(row.weights, WEIGHTS)
    if net.unlocked:
        store(net.backbone, out / ENCODER)
        weights = f"./{ENCODER}"
    store_head(net.head, out, net.backbone, notes=notes)
    kept = ("attention", "tile_size", "overlap", "blend", "gsd", "activation")
    own = {
        "name": f"{row.name}-{net.head.settings.aggregator}",
        "weights": weights,
        "head": ".",
        "threshold": THRESHOLD,
        "templates": _from_anywhere(row.templates, TEMPLATES),
        **{name: getattr(row, name) for name in kept},
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in own.items() if value is not None]
    with atomic_path(out / PRESET, overwrite=True) as part:
        part.write_text("".join(["# Made by `earthwords train segment`.\n", *lines]), encoding="utf-8")


def _from_anywhere(name: str, known: Container[str]) -> str:
    """A path that holds in any folder; a name as it is."""
    return os.path.abspath(name) if name not in known and os.path.exists(name) else name
