"""Train a head that judges all words of a window jointly, over a dual encoder, or the dual encoder itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_file, check_parts, check_positive
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, PRESET_FILE, SegmentPreset, load_preset
from earthwords.tasks import _options as opt
from earthwords.tasks.train_clip import shares
from earthwords.training.launch import Trained, run, trained

if TYPE_CHECKING:
    import torch

    from earthwords.data.manifests.captions import Manifest
    from earthwords.models.aggregation.head import HeadSettings
    from earthwords.models.clip.model import ClipBackbone
    from earthwords.training.batches import Sampler
    from earthwords.training.heads.aggregation import HeadedEncoder
    from earthwords.training.loop import BestWeights, Schedule, TrainingTask

HELD_OUT_IMAGES = 32
"""Of each set."""
THRESHOLD = 0.5
"""Of the preset: a pixel that no word reaches it in is nothing of what is asked for."""
ENCODER = "encoder"
"""Folder of an encoder that learned."""
RATES = {"aggregation": 1e-3, "lora": 1e-3, "image": 2e-4, "all": 2e-4}
"""Learning rate by what learns."""
VAL_FREQUENCY = {"aggregation": 500, "none": 20}
BEFORE, MIOU = "before_mIoU", "heldout_mIoU"
"""Names of held-out figures."""


@opt.documented
def train_segment(
    train_data: Annotated[Path, opt.ARGUMENTS],
    out: opt.TrainOut,
    *,
    head: Annotated[Literal["aggregation", "none"], opt.MODEL] = "aggregation",
    preset: Annotated[str, opt.option(opt.MODEL, metavar="NAME|FILE")] = DEFAULT_PRESET,
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    aggregator: Annotated[Literal["rskt-seg", "gsnet"], opt.MODEL] = "rskt-seg",
    dim: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 64,
    layers: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 2,
    rotations: Annotated[Literal[1, 4], opt.MODEL] = 1,
    unlock: Annotated[bool, opt.option(opt.MODEL, negative="")] = False,
    learn: Annotated[Literal["lora", "image", "all"] | None, opt.MODEL] = None,
    lora_rank: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 8,
    lora_blocks: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 4,
    val_data: Annotated[Path | None, opt.option(opt.READING, metavar="FILE")] = None,
    image_size: Annotated[Sequence[int], opt.several(opt.READING, "PIXELS...")] = (128,),
    zoom: Annotated[tuple[float, float], opt.option(opt.READING, metavar="LEAST LARGEST")] = (0.5, 2.0),
    mix: Annotated[Sequence[str], opt.several(opt.READING, "SET=WEIGHT...", show_default=False)] = (),
    unlabelled: Annotated[Literal["left-out", "absent"], opt.READING] = "left-out",
    steps: Annotated[int | None, opt.option(opt.TRAINING, metavar="N")] = None,
    epochs: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 32,
    batch_size: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 16,
    lr: Annotated[float | None, opt.option(opt.TRAINING, metavar="RATE")] = None,
    encoder_lr: Annotated[float, opt.option(opt.TRAINING, metavar="SHARE")] = 0.01,
    warmup: Annotated[int | None, opt.option(opt.TRAINING, metavar="STEPS")] = None,
    wd: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 1e-4,
    beta2: opt.Beta2 = 0.999,
    grad_clip_norm: Annotated[float, opt.option(opt.TRAINING, metavar="NORM")] = 1.0,
    ema: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 0.999,
    class_dropout: Annotated[float, opt.option(opt.TRAINING, metavar="SHARE")] = 0.1,
    patience: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 5,
    precision: Annotated[Literal["fp32", "amp_bf16"], opt.TRAINING] = "fp32",
    seed: opt.Seed = 0,
    val_frequency: Annotated[int | None, opt.option(opt.TRAINING, metavar="STEPS")] = None,
    save_frequency: opt.SaveFrequency = 500,
    report_to: opt.ReportTo = None,
    device: opt.Device = "auto",
    resume: opt.ResumeTraining = True,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Trained:
    """Train a segmentation head on images with masks and words, or the dual encoder itself.

    The head refines the cosines of all words of a window jointly (cost aggregation, as GSNet and RSKT-Seg do) over a
    dual encoder. OUT gets `head.safetensors`, `head.json` and `preset.toml`, which `segment --preset` takes. With
    `--head none` the encoder is fine-tuned instead: OUT gets `encoder` and `preset.toml`. An interrupted run goes on
    where its last checkpoint stands.

    Args:
        train_data: JSON lines: image, set, mask with classes (see docs/train-segment.md).
        out: Folder of the checkpoint, the log, the head and its preset.
        head: Kind of head; none fine-tunes the dual encoder, which needs no head then.
        preset: Preset to begin from: its weights, attention, prompts and windows; a name or a TOML file.
        model: Other weights of the dual encoder.
        aggregator: rskt-seg (attention on reduced keys) or gsnet (shifted windows).
        dim: Channels of the aggregator; the authors' have 128.
        layers: Layers of the aggregator; the authors' have 2 (gsnet) and 3 (rskt-seg).
        rotations: Quarter turns at which an image is seen: 1, or RSKT-Seg's 4 (four times as long to encode).
        unlock: Queries, values and positions of the image tower learn too, as the authors have it.
        learn: Without a head: lora (low-rank additions beside the attention of the last image blocks; default for plain
            vision transformers), image (the whole image tower; default for tiny) or all (both towers).
        lora_rank: Rank of the additions.
        lora_blocks: Last blocks of the image tower that get them.
        val_data: Masked images for held-out figures, of what is trained and of the preset as it is. Without a head the
            best weights by them are delivered.
        image_size: Side of the crops in pixels, whole patches; of several, one is drawn each step.
        zoom: Least and largest number of source pixels a training pixel.
        mix: Share of a set among the crops, SET=WEIGHT; 1 each by default.
        unlabelled: Pixels whose value is not listed are left-out, or teach that every class is absent (the authors').
        steps: Number of steps; overrides --epochs.
        epochs: Passes over the masked images.
        batch_size: Crops a step and process.
        lr: Largest learning rate of AdamW; default: 1e-3 (the authors': 2e-4), of an image tower or all 2e-4.
        encoder_lr: Share of the rate for an unlocked image tower.
        warmup: Steps of linear warm-up; cosine decay follows. Default: 100, without a head a tenth of the steps.
        wd: Weight decay of matrices.
        grad_clip_norm: Greatest norm of the gradient; the authors' is 0.01.
        ema: Decay of the running average of the weights that is delivered; 0 delivers the last weights.
        class_dropout: Without a head: share of the classes that are not asked for in a step; their pixels shall fit no
            word.
        patience: Without a head: held-out figures in a row without a better one after which training ends; 0: never.
        precision: fp32, or bfloat16 autocast (faster on GPUs, and on CPUs with AVX512-BF16 or AMX).
        val_frequency: Steps between held-out figures; default: 500, without a head 20.

    Returns:
        The folder, the last losses and held-out figures, and the time it took.

    Raises:
        UsageError: a wrong option, a list without masks, or a checkpoint of another training.
        SourceError: the list or an image is missing or damaged.
        WeightsError: the weights to begin from are missing or damaged.

    Example:
        >>> earthwords.train_segment("masks.jsonl", "my-head", val_data="held-out.jsonl", steps=2000)
        >>> earthwords.segment("ortho.tif", "out", text=["road", "roof"], preset="my-head/preset.toml")
        >>> earthwords.train_segment("masks.jsonl", "my-clip", head="none", learn="image", val_data="held-out.jsonl")
    """
    check_positive(batch_size=batch_size, epochs=epochs, steps=steps, lr=lr, save_frequency=save_frequency)
    rest = {"grad_clip_norm": grad_clip_norm, "val_frequency": val_frequency, "encoder_lr": encoder_lr}
    check_positive(image_size=min(image_size, default=0), lora_rank=lora_rank, lora_blocks=lora_blocks, **rest)
    row = _row(preset)
    _check_fit(head, learn, unlock=unlock, unlabelled=unlabelled)
    _check_shares(patience, class_dropout)
    _check_lists(train_data, val_data)
    check_parts(row, model=model)
    from earthwords.training.batches import Sampler
    from earthwords.training.loop import Schedule

    began, place = time.process_time(), _place(device)
    named = {"the list": train_data, "--val-data": val_data, "--model": model, "--preset": preset}
    check_apart(out, _results(head, unlock=unlock), named)
    backbone, upsampler, row = _loaded(row, model, place, offline=offline)
    kind = head if head != "none" else learn or _fitting(backbone)
    manifest, held_out = _masked(train_data), None if val_data is None else _masked(val_data)
    _check_sides(image_size, backbone.patch)
    sampler = Sampler(manifest, zoom=zoom, mix=shares(mix))
    steps = steps or max(1, epochs * sum(map(len, sampler.masked.values())) // batch_size)
    schedule = Schedule(
        steps=steps, lr=lr or RATES[kind], warmup=_warmup(warmup, steps, head), weight_decay=wd, beta2=beta2,
        clip_norm=grad_clip_norm, ema=ema, precision=precision, seed=seed,
    )  # fmt: skip
    work = _Work(
        out=Path(out), row=row, backbone=backbone, upsampler=upsampler, sampler=sampler, held_out=held_out,
        schedule=schedule, place=place, batch_size=batch_size, sides=tuple(image_size),
        val_frequency=val_frequency or VAL_FREQUENCY[head],
        running={"quiet": quiet, "resume": resume, "save_every": save_frequency, "report_to": report_to},
    )  # fmt: skip
    if head == "none":
        tuned = work.encoder(kind, rank=lora_rank, blocks=lora_blocks, class_dropout=class_dropout, patience=patience)
        return trained(work.out, steps, tuned, began, images=batch_size)
    settings = _head(aggregator, dim, layers, rotations, row, patch=backbone.patch)
    values = work.head(settings, unlock=unlock, share=encoder_lr, unlabelled=unlabelled)
    return trained(work.out, steps, values, began, images=batch_size)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A training, but for what learns."""

    out: Path
    row: SegmentPreset
    backbone: ClipBackbone
    upsampler: torch.nn.Module | None
    sampler: Sampler
    held_out: Manifest | None
    schedule: Schedule
    place: torch.device
    batch_size: int
    sides: tuple[int, ...]
    val_frequency: int
    running: dict[str, Any]

    def head(self, settings: HeadSettings, *, unlock: bool, share: float, unlabelled: str) -> dict[str, float]:
        """Train a head; the last figures."""
        from earthwords.models.aggregation.head import make_head
        from earthwords.text.templates import load_templates
        from earthwords.training.heads.aggregation import SLOW, AggregationTask, HeadedEncoder, HeadObjective, deliver

        row, schedule = self.row, self.schedule
        net = HeadedEncoder(
            self.backbone, make_head(settings, self.backbone, seed=schedule.seed).to(self.place), unlock=unlock
        )
        aim = HeadObjective(batch_size=self.batch_size, sides=self.sides, unlabelled=unlabelled)
        task = AggregationTask(
            self.sampler, aim, self.backbone, load_templates(row.templates), settings=_told(net, row)
        )
        about = {"steps": schedule.steps, "words": len(task.vectors), "digest": self.sampler.manifest.digest}

        def finish() -> None:
            deliver(net, row, self.out, notes=about, threshold=THRESHOLD, encoder=ENCODER, preset=PRESET_FILE)

        return self._run(
            net, task, replace(schedule, slow=SLOW if unlock else "", slow_share=share if unlock else 1.0),
            what=f"{len(task.vectors):,} words; {settings.aggregator} on {row.weights}", finish=finish,
            kept=net.learned, validate=_validate(self.held_out, row, net, self.upsampler),
        )  # fmt: skip

    def encoder(self, learn: str, *, rank: int, blocks: int, class_dropout: float, patience: int) -> dict[str, float]:
        """Fine-tune the dual encoder; the last figures, and the step that is delivered."""
        from earthwords.models.aggregation.head import encoder_hash
        from earthwords.models.clip.model import DenseMethod
        from earthwords.training.contrastive import Objective
        from earthwords.training.heads.tuned_encoder import TunedEncoder, TunedTask, deliver
        from earthwords.training.loop import BestWeights

        row, held_out, manifest = self.row, self.held_out, self.sampler.manifest
        weights = f"{row.weights} ({encoder_hash(self.backbone)})"
        if self.backbone.words is not None:
            self.backbone.words = manifest.words().joined(self.backbone.words)
        net = TunedEncoder(self.backbone, learn=learn, rank=rank, blocks=blocks, seed=self.schedule.seed)
        method = DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)
        aim = Objective(
            region_batch=self.batch_size, sides=self.sides, class_dropout=class_dropout, templates=row.templates
        )
        told = {"weights": weights, "learn": learn, "patience": str(patience), "val_data": "none"}
        if learn == "lora":
            told |= {"lora_rank": str(rank), "lora_blocks": str(blocks)}
        if held_out is not None:
            told |= {"val_data": held_out.digest, "val_frequency": str(self.val_frequency)}
        measure = None if held_out is None else _Measure(held_out, row, net.backbone, self.upsampler)
        best = None if measure is None else BestWeights(MIOU, before=measure.before[BEFORE], patience=patience)
        learning = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
        values = self._run(
            net, TunedTask(self.sampler, aim, method, settings=told), self.schedule, kept=net.learned, best=best,
            what=f"{learning:,} parameters of {row.weights} learn ({learn})", validate=measure,
            finish=lambda: deliver(net, row, self.out, encoder=ENCODER, preset=PRESET_FILE),
        )  # fmt: skip
        console = Console(quiet=self.running["quiet"])
        if measure is None or best is None:
            console.say("Delivered are the averaged weights of the end; without --val-data nobody knows their worth.")
        else:
            console.say(_delivered(best, before=measure.before[BEFORE]))
            values = measure.before | values
            values |= {"best_step": float(best.step), f"best_{MIOU}": best.value}
        return values

    def _run(
        self, net: torch.nn.Module, task: TrainingTask, schedule: Schedule, *, what: str, **options: Any
    ) -> dict[str, float]:
        masks = sum(map(len, self.sampler.masked.values()))
        return run(
            net, lambda group: task, schedule, folder=self.out, place=self.place,
            notice=f"{masks:,} masks, {what}; on {self.place}.",
            validate_every=self.val_frequency, **self.running, **options,
        )  # fmt: skip


def _delivered(best: BestWeights, *, before: float) -> str:
    """Which weights the folder holds, and whether training ended early."""
    early = f" Training ended early: {best.missed} figures in a row were no better." if best.is_over else ""
    if best.step:
        better = f"held-out mIoU {best.value:.1f}, before {before:.1f}"
        return f"Delivered are the weights of step {best.step:,}: {better}.{early}"
    return (
        f"No step was better on held-out images than the weights that training began with (mIoU {before:.1f}): "
        f"they are delivered unchanged.{early}"
    )


def _check_fit(head: str, learn: str | None, *, unlock: bool, unlabelled: str) -> None:
    """
    Raises:
        UsageError: options that do not fit together.
    """
    if head == "none" and (unlock or unlabelled != "left-out"):
        raise UsageError("--unlock and --unlabelled belong to a head; without one --learn says what learns.")
    if head != "none" and learn is not None:
        raise UsageError(f"--learn {learn} is for --head none; with a head --unlock lets the image tower learn.")


def _fitting(backbone: ClipBackbone) -> str:
    """What learns unless told: a small tower with a convolutional trunk, which holds most of it, as a whole."""
    return "image" if backbone.guides_are_fine else "lora"


def _check_shares(patience: int, class_dropout: float) -> None:
    if patience < 0:
        raise UsageError(f"--patience is a number of held-out figures, 0 for no end, got {patience}.")
    if not 0 <= class_dropout < 1:
        raise UsageError(f"--class-dropout must be a share from 0 to below 1, got {class_dropout:g}.")


def _warmup(asked: int | None, steps: int, head: str) -> int:
    return asked if asked is not None else 100 if head != "none" else steps // 10


def _place(device: str) -> torch.device:
    from earthwords.models.device import choose_device
    from earthwords.training.distributed import process_device

    return choose_device(process_device(device))


def _results(head: str, *, unlock: bool) -> list[str]:
    """Files that a training writes into its folder."""
    from earthwords.models.aggregation.head import CARD, WEIGHTS_FILE
    from earthwords.training.initialise import FOLDER
    from earthwords.training.loop import CHECKPOINT, LOG

    own = [CARD, WEIGHTS_FILE] if head != "none" else []
    return [CHECKPOINT, LOG, PRESET_FILE, *own, *(f"{ENCODER}/{name}" for name in FOLDER if unlock or head == "none")]


def _loaded(
    row: SegmentPreset, model: str | None, place: torch.device, *, offline: bool
) -> tuple[ClipBackbone, torch.nn.Module | None, SegmentPreset]:
    """Backbone and upsampler, and the preset with the weights that are really used."""
    from earthwords.models.weights.resolve import resolve

    found = resolve(row, model=model)
    backbone, upsampler = found.load(device=place, offline=offline)
    return backbone, upsampler, found.row


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


class _Measure:
    """Held-out figures of an encoder, and those of the preset as it is, which are measured once, before anything is
    learned."""

    def __init__(
        self, manifest: Manifest, row: SegmentPreset, backbone: ClipBackbone, upsampler: torch.nn.Module | None
    ) -> None:
        from earthwords.evaluation.benchmark.listed import HeldOut
        from earthwords.inference.windows.sliding import Encoder
        from earthwords.models.clip.model import DenseMethod

        self.held_out, self.row = HeldOut(manifest, row, most=HELD_OUT_IMAGES), row
        method = DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)
        self.encoder = Encoder(
            backbone=backbone, method=method, upsampler=upsampler, cls_weight=row.cls_weight, energy=row.energy
        )
        self.before = self.held_out.figures(self.encoder, before=row.threshold)

    def __call__(self, model: Any) -> dict[str, float]:
        """Of the encoder, which has learned."""
        return self.held_out.figures(self.encoder, heldout=self.row.threshold) | self.before

    def with_head(self, model: HeadedEncoder) -> dict[str, float]:
        """Of a head over it."""
        encoder = replace(self.encoder, head=model.head)
        return self.held_out.figures(encoder, heldout=THRESHOLD, best_word=0.0) | self.before


def _validate(
    manifest: Manifest | None, row: SegmentPreset, net: HeadedEncoder, upsampler: torch.nn.Module | None
) -> Any:
    return None if manifest is None else _Measure(manifest, row, net.backbone, upsampler).with_head
