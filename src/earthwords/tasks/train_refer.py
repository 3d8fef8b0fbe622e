"""Train a model that sentences point with: RSRefSeg on its base weights, or a small one from scratch."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_described, check_positive
from earthwords.tasks import _options as opt
from earthwords.training.launch import Trained, run, trained

if TYPE_CHECKING:
    import torch

    from earthwords.data.manifests.expressions import ReferringManifest
    from earthwords.models.refseg.model import RefSeg
    from earthwords.refer_presets import ReferPreset
    from earthwords.training.loop import Schedule

HELD_OUT_IMAGES = 64


@opt.documented
def train_refer(
    train_data: Annotated[Path, opt.ARGUMENTS],
    out: opt.TrainOut,
    *,
    preset: Annotated[str, opt.option(opt.MODEL, metavar="NAME")] = "refseg-tiny",
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="FOLDER")] = None,
    segmenter: Annotated[str | None, opt.option(opt.MODEL, metavar="ID|PATH")] = None,
    words: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    lora_rank: Annotated[int | None, opt.option(opt.MODEL, metavar="N")] = None,
    padding: Annotated[Literal["fixed", "longest"] | None, opt.MODEL] = None,
    norm: Annotated[Literal["group", "batch"] | None, opt.MODEL] = None,
    local: Annotated[Literal["words", "all"] | None, opt.MODEL] = None,
    faithful: Annotated[bool, opt.option(opt.MODEL, negative="")] = False,
    val_data: Annotated[Path | None, opt.option(opt.READING, metavar="FILE")] = None,
    augmentation: Annotated[Literal["none", "sensor", "mirror"], opt.READING] = "none",
    steps: Annotated[int | None, opt.option(opt.TRAINING, metavar="N")] = None,
    epochs: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 200,
    batch_size: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 4,
    expressions: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 1,
    lr: Annotated[float | None, opt.option(opt.TRAINING, metavar="RATE")] = None,
    warmup: Annotated[int | None, opt.option(opt.TRAINING, metavar="STEPS")] = None,
    wd: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 0.05,
    beta2: opt.Beta2 = 0.999,
    grad_clip_norm: Annotated[float | None, opt.option(opt.TRAINING, metavar="NORM")] = None,
    ema: Annotated[float | None, opt.option(opt.TRAINING, metavar="DECAY")] = None,
    dice: Annotated[bool, opt.option(opt.TRAINING, negative="")] = False,
    precision: Annotated[Literal["auto", "fp32", "amp_bf16"], opt.TRAINING] = "auto",
    grad_checkpointing: Annotated[bool, opt.option(opt.TRAINING, negative="")] = False,
    seed: opt.Seed = 0,
    val_frequency: Annotated[int, opt.option(opt.TRAINING, metavar="STEPS")] = 500,
    save_frequency: opt.SaveFrequency = 500,
    report_to: opt.ReportTo = None,
    device: opt.Device = "auto",
    resume: opt.ResumeTraining = True,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Trained:
    """Train RSRefSeg: an image and a sentence to a mask.

    OUT gets `refseg.json` and `refseg.safetensors`: what was learned, and the ids of the base weights. An interrupted
    run goes on where its last checkpoint stands. Several GPUs: `torchrun --nproc-per-node 4 -m earthwords train refer
    ...`.

    Args:
        train_data: JSON lines: image, mask of object numbers, sentences (see docs/train-refer.md).
        out: Folder of the checkpoint, the log and the finished model.
        preset: refseg-tiny (from scratch, on the embedded model), rsrefseg-b, rsrefseg-l or rsrefseg2.
        model: Begin from this folder of an earlier training instead; its preset counts.
        segmenter: SAM's weights instead of the preset's: a Hugging Face id or a folder.
        words: The dual encoder's weights instead of the preset's, likewise.
        lora_rank: Rank of the additions to the towers; default: 16.
        padding: Of sentences: fixed (as the text tower was trained) or longest of the batch (the authors').
        norm: Of the prompter: group, or batch (the authors'; across GPUs).
        local: Local attention averages over words, or over all tokens (the authors').
        faithful: Everything as in the authors' code.
        val_data: Described images for held-out figures.
        augmentation: none (the authors'), sensor (colour, haze, blur, noise) or mirror (that and mirror images;
            English sentences).
        steps: Number of steps; overrides --epochs.
        epochs: Passes over the sentences.
        batch_size: Images a step and process.
        expressions: Sentences an image, which is encoded once for them.
        lr: Largest learning rate of AdamW; default: 1e-4, of refseg-tiny 1e-3.
        warmup: Steps of linear warm-up from a hundredth of the rate; default: one in 40. A cosine to a thousandth
            follows.
        wd: Weight decay of all that learns.
        grad_clip_norm: Greatest norm of the gradient; default: of refseg-tiny 1, of rsrefseg2 3, otherwise any.
        ema: Decay of the running average of the weights that is delivered; 0 delivers the last weights; default: the
            preset's.
        dice: Add RSRefSeg 2's Dice loss (which rsrefseg2 has).
        precision: auto (bfloat16 autocast on GPUs, else fp32), fp32 or amp_bf16.
        grad_checkpointing: Compute the insides of blocks again for the gradient: less memory, more time.
        val_frequency: Steps between held-out figures.

    Returns:
        The folder, the last losses and held-out figures, and the time it took.

    Raises:
        UsageError: a wrong option, a list without sentences, or a checkpoint of another training.
        SourceError: the list or an image is missing or damaged.
        WeightsError: the base weights are missing or damaged.

    Example:
        >>> earthwords.train_refer("expressions.jsonl", "my-refer", steps=2000)
        >>> earthwords.refer("ortho.tif", "found.gpkg", text=["the largest roof"], model="my-refer")
    """
    check_positive(batch_size=batch_size, expressions=expressions, epochs=epochs, steps=steps, lr=lr)
    check_positive(save_frequency=save_frequency, val_frequency=val_frequency, grad_clip_norm=grad_clip_norm)
    check_described(train_data, val_data, preset=preset, model=model)
    from earthwords.data.manifests.expressions import read_referring
    from earthwords.models.device import choose_device
    from earthwords.models.refseg.adapters import checkpoint_gradients
    from earthwords.models.refseg.load import CARD, WEIGHTS_FILE, kept, store_refseg
    from earthwords.training.distributed import Group, process_device
    from earthwords.training.loop import CHECKPOINT, LOG
    from earthwords.training.referring import ReferringSettings, ReferringTask

    began, place = time.process_time(), choose_device(process_device(device))
    bases = {"--model": model, "--segmenter": segmenter, "--words": words}
    check_apart(out, (CHECKPOINT, LOG, CARD, WEIGHTS_FILE), {"the list": train_data, "--val-data": val_data, **bases})
    manifest = read_referring(train_data)
    held_out = read_referring(val_data) if val_data is not None else None
    changes = {
        "segmenter": segmenter, "words": words, "lora_rank": lora_rank, "lora_alpha": lora_rank, "padding": padding,
        "norm": norm, "local": local, "lr": lr, "ema": ema, "clip_norm": grad_clip_norm,
    }  # fmt: skip
    net, row = _begin(preset, model, changes, faithful=faithful, seed=seed, offline=offline)
    net.to(place)
    if grad_checkpointing:
        checkpoint_gradients(net)
    losses = tuple(dict.fromkeys((*row.losses, "dice"))) if dice else row.losses
    aim = ReferringSettings(batch_size=batch_size, expressions=expressions, losses=losses, augmentation=augmentation)
    steps = steps or max(1, epochs * manifest.expressions // (batch_size * expressions))
    how = _precision(precision, place)
    schedule = _schedule(row, steps=steps, warmup=warmup, wd=wd, beta2=beta2, precision=how, seed=seed)

    def task(group: Group) -> ReferringTask:
        _synchronise(net, group, place)
        about = {"preset": repr(replace(row, paper="", note="")), "model": str(model)}
        return ReferringTask(manifest, aim, fit=net, settings=about, group=group)

    notice = f"{manifest.expressions:,} sentences about {len(manifest.lines):,} images; {row.name} on {place}."
    about = {"steps": steps, "list": manifest.digest}
    values = run(
        net, task, schedule, folder=Path(out), place=place, quiet=quiet, resume=resume, save_every=save_frequency,
        report_to=report_to, finish=lambda: store_refseg(net, row, Path(out), notes=about),
        notice=notice, kept=kept(net, row), validate=_validate(held_out), validate_every=val_frequency,
    )  # fmt: skip
    return trained(Path(out), steps, values, began, images=batch_size)


def _begin(
    preset: str, model: str | None, changes: dict[str, Any], *, faithful: bool, seed: int, offline: bool
) -> tuple[RefSeg, ReferPreset]:
    """The model to train and the row that says what it is."""
    from earthwords.models.refseg.load import assemble, load_refseg, refer_preset

    given = {name: value for name, value in changes.items() if value is not None}
    if model is not None:
        fixed = [name for name in ("segmenter", "words", "lora_rank", "padding", "norm", "local") if name in given]
        if fixed or faithful:
            option = fixed[0].replace("_", "-") if fixed else "faithful"
            raise UsageError(f"--{option} is decided by the model in {model}; leave it out.")
        loaded = load_refseg(model, preset=preset, offline=offline)
        return _short(loaded.model, loaded.preset), replace(loaded.preset, **given)
    row = refer_preset(preset)
    if row.segmenter is None and "segmenter" in given:
        raise UsageError(f"{row.name} trains its own segmenter; --segmenter is for rsrefseg-b and rsrefseg-l.")
    row = replace(row.faithful() if faithful else row, **given)
    return _short(assemble(row, seed=seed, offline=offline), row), row


def _short(model: RefSeg, row: ReferPreset) -> RefSeg:
    """Set to train fast, if its towers are the small ones that are trained from scratch."""
    from earthwords.training.initialise import attend_eagerly

    if row.segmenter is None:
        attend_eagerly(model)
    return model


def _schedule(
    row: ReferPreset, *, steps: int, warmup: int | None, wd: float, beta2: float, precision: str, seed: int
) -> Schedule:
    """The authors': AdamW, decay of everything that learns, warm-up from 1 %, a cosine to the row's floor."""
    from earthwords.training.loop import Schedule

    return Schedule(
        steps=steps, lr=row.lr, warmup=int(steps * row.warmup) if warmup is None else warmup, warmup_from=0.01,
        hold=int(steps * row.hold), floor=row.floor, span=int(steps * row.span), weight_decay=wd, decays_all=True,
        beta2=beta2, clip_norm=row.clip_norm or float("inf"), ema=row.ema, precision=precision, seed=seed,
    )  # fmt: skip


def _precision(asked: str, place: torch.device) -> str:
    if asked != "auto":
        return asked
    return "amp_bf16" if place.type == "cuda" else "fp32"


def _synchronise(net: RefSeg, group: Any, place: torch.device) -> None:
    """Batch statistics over all processes, as the authors have them; PyTorch can on GPUs only."""
    if group.size > 1 and place.type == "cuda":
        from torch import nn

        net.prompter = nn.SyncBatchNorm.convert_sync_batchnorm(net.prompter)


def _validate(manifest: ReferringManifest | None) -> Any:
    if manifest is None:
        return None
    from earthwords.data.manifests.expressions import ReferringManifest
    from earthwords.evaluation.benchmark.referring_protocol import measure, pointing
    from earthwords.training.referring import held_out_loss

    part = ReferringManifest(lines=manifest.lines[:: max(1, -(-len(manifest.lines) // HELD_OUT_IMAGES))])

    def figures(model: Any) -> dict[str, float]:
        return {
            "heldout_bce": held_out_loss(model, part),
            "heldout_gIoU": measure(pointing(model), part).scores.gIoU * 100,
        }

    return figures
