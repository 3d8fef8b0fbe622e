"""Train a network for change on pairs of images with masks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_positive
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt
from earthwords.training.launch import Trained, run, trained

if TYPE_CHECKING:
    import torch

    from earthwords.data.change.pairs import ChangePairs
    from earthwords.models.change.encoders import Encoder
    from earthwords.models.change.network import ChangeNetwork, ChangeSettings
    from earthwords.training.loop import Schedule, TrainingTask

RATES = {"lora": 1e-3, "adapter": 1e-3, "ia3": 1e-3, "frozen": 1e-3, "all": 3e-4}
"""Learning rate by what of the encoder learns; the authors' is 3e-4 on their encoders."""
WARMUP = 3 / 40
"""Share of the steps, the authors'."""
F1, IOU = "heldout_F1", "heldout_IoU"
SIDE = 128
"""Of the crops, pixels, where whole patches have it."""
THRESHOLDS = tuple(i / 20 for i in range(1, 20))
HELD_OUT_PAIRS = 64


@opt.documented
def train_change(
    train_data: Annotated[Path, opt.ARGUMENTS],
    out: opt.TrainOut,
    *,
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    tuning: Annotated[Literal["lora", "adapter", "ia3", "frozen", "all"], opt.MODEL] = "lora",
    width: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 64,
    layout: Annotated[str | None, opt.option(opt.READING, metavar="NAME")] = None,
    val_data: Annotated[Path | None, opt.option(opt.READING, metavar="DIR")] = None,
    image_size: Annotated[int | None, opt.option(opt.READING, metavar="PIXELS")] = None,
    zoom: Annotated[tuple[float, float], opt.option(opt.READING, metavar="LEAST LARGEST")] = (0.75, 1.5),
    steps: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 1000,
    batch_size: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 8,
    lr: Annotated[float | None, opt.option(opt.TRAINING, metavar="RATE")] = None,
    warmup: Annotated[int | None, opt.option(opt.TRAINING, metavar="STEPS")] = None,
    wd: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 1e-4,
    grad_clip_norm: Annotated[float, opt.option(opt.TRAINING, metavar="NORM")] = 1.0,
    ema: Annotated[float, opt.option(opt.TRAINING, metavar="DECAY")] = 0.99,
    coral: Annotated[float, opt.option(opt.TRAINING, metavar="WEIGHT")] = 0.0,
    patience: Annotated[int, opt.option(opt.TRAINING, metavar="N")] = 0,
    precision: Annotated[Literal["fp32", "amp_bf16"], opt.TRAINING] = "fp32",
    seed: opt.Seed = 0,
    val_frequency: Annotated[int, opt.option(opt.TRAINING, metavar="STEPS")] = 100,
    save_frequency: opt.SaveFrequency = 100,
    report_to: opt.ReportTo = None,
    device: opt.Device = "auto",
    resume: opt.ResumeTraining = True,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Trained:
    """Train a network for change on pairs of images with masks, as PeftCD does.

    Both dates share an encoder of which little learns and a decoder; `change --network OUT` takes what comes out. An
    interrupted run goes on where its last checkpoint stands.

    Args:
        train_data: Folder of a set for change, see `earthwords data list`, or with folders A, B and label; of a set
            with parts its part train.
        out: Folder of the checkpoint, the log and the network (change.safetensors, change.json).
        model: Weights of the encoder: a CLIP, a SAM 2.1 (sam2.1-hiera-tiny ...), a DINOv2 (dinov2-vit-b-14 ...) or
            a DINOv3, by a name, a Hugging Face id, a folder or a file; default: those of the default preset.
        tuning: What of the encoder learns: lora (rank 8 beside queries, keys and values), adapter (small networks
            before its blocks), ia3 (rescaling vectors), frozen (nothing) or all (the image tower).
        width: Channels of the decoder; the authors' have 256.
        layout: Name of the set whose layout TRAIN_DATA and --val-data have; default: found.
        val_data: Folder of held-out pairs; default: the part val of TRAIN_DATA, if it has one. The best weights by
            them are delivered, and the threshold that is best there.
        image_size: Side of the crops in pixels, whole patches (of SAM 2 multiples of 32); default: 128, or the next
            smaller size of whole patches.
        zoom: Least and largest number of source pixels a training pixel.
        steps: Number of steps.
        batch_size: Crops a step and process.
        lr: Largest learning rate of AdamW; default: 1e-3, of all 3e-4. It falls with the third power to a tenth.
        warmup: Steps of linear warm-up; default: 3 of 40, the authors'.
        wd: Weight decay.
        grad_clip_norm: Greatest norm of the gradient.
        ema: Decay of the running average of the weights that is delivered; 0 delivers the last weights.
        coral: Weight of the distance between both dates' features, which helps at places unlike those of the training
            (the authors': 0.1).
        patience: Held-out figures in a row without a better one after which training ends; 0: never.
        precision: fp32, or bfloat16 autocast (faster on GPUs, and on CPUs with AVX512-BF16 or AMX).
        val_frequency: Steps between held-out figures.

    Returns:
        The folder, the last losses and held-out figures, and the time it took.

    Raises:
        UsageError: a wrong option, a folder without pairs, or a checkpoint of another training.
        SourceError: an image is missing or damaged.
        WeightsError: the weights to begin from are missing or damaged.

    Example:
        >>> earthwords.train_change("LEVIR-CD", "my-change", steps=2000)
        >>> earthwords.change("before.tif", "after.tif", "out", text=["building"], network="my-change")
    """
    check_positive(batch_size=batch_size, steps=steps, lr=lr, save_frequency=save_frequency, width=width)
    check_positive(grad_clip_norm=grad_clip_norm, val_frequency=val_frequency, image_size=image_size)
    _check_least_zero(coral=coral, patience=patience)
    from earthwords.models.change.card import check_encoder

    check_encoder(model or load_preset(DEFAULT_PRESET).weights)
    from earthwords.data.change.pairs import find_pairs

    pairs = find_pairs(Path(train_data), split=_train_part(Path(train_data), layout), name=layout)
    held_out = _held_out(pairs, val_data, layout)
    check_apart(out, _results(), {"TRAIN_DATA": train_data, "--val-data": val_data, "--model": model})
    from earthwords.models.change.encoders import load_encoder
    from earthwords.models.change.network import ChangeSettings
    from earthwords.models.device import choose_device
    from earthwords.training.distributed import process_device
    from earthwords.training.heads.change import ChangeObjective, ChangeTask, CubicSchedule

    began, place = time.process_time(), choose_device(process_device(device))
    encoder = model or load_preset(DEFAULT_PRESET).weights
    backbone = load_encoder(encoder, offline=offline, device=place)
    side = _side(image_size, backbone.patch)
    work = _Work(Path(out), encoder, backbone, ChangeSettings(tuning=tuning, width=width), pairs, held_out, seed)
    schedule = CubicSchedule(
        steps=steps, lr=lr or RATES[tuning], warmup=int(steps * WARMUP) if warmup is None else warmup,
        weight_decay=wd, clip_norm=grad_clip_norm, ema=ema, precision=precision, seed=seed,
    )  # fmt: skip
    aim = ChangeObjective(batch_size=batch_size, side=side, zoom=zoom, coral=coral)
    task = ChangeTask(pairs.pairs, aim, settings={**work.told, "patience": str(patience)})
    values = work.run(
        task, schedule, place=place, patience=patience, quiet=quiet, resume=resume, validate_every=val_frequency,
        save_every=save_frequency, report_to=report_to,
    )  # fmt: skip
    return trained(Path(out), steps, values, began, images=2 * batch_size)


class _Work:
    """A network and what it learns from."""

    def __init__(
        self, out: Path, encoder: str, backbone: Encoder, settings: ChangeSettings, pairs: ChangePairs,
        held_out: ChangePairs | None, seed: int,
    ) -> None:  # fmt: skip
        from earthwords.models.change.card import encoder_facts
        from earthwords.models.change.encoders import encoder_hash
        from earthwords.models.change.folder import make_network

        self.out, self.encoder, self.pairs = out, encoder, pairs
        self.base = encoder_hash(backbone)
        self.facts = encoder_facts(encoder, words=getattr(backbone, "reads", False))
        self.measure = None if held_out is None else HeldOutPairs(held_out)
        self.told = {"encoder": f"{encoder} ({self.base})", "tuning": settings.tuning, "width": str(settings.width)}
        self.net = make_network(settings, backbone, seed=seed)

    def run(
        self, task: TrainingTask, schedule: Schedule, *, place: torch.device, patience: int, quiet: bool, **options: Any
    ) -> dict[str, float]:
        """Train and deliver; the last figures."""
        from earthwords.training.loop import BestWeights

        net, measure = self.net, self.measure
        best = None if measure is None else BestWeights(F1, before=float("nan"), patience=patience)
        learning = sum(p.numel() for p in net.parameters() if p.requires_grad)
        values = run(
            net, lambda group: task, schedule, folder=self.out, place=place, kept=net.learned, best=best, quiet=quiet,
            finish=lambda: self.deliver(schedule.steps if best is None else best.step), validate=measure,
            notice=f"{_told(self.pairs)}, {learning:,} parameters over {self.encoder} (licence: "
            f"{self.facts['licence']}) learn ({net.settings.tuning}); on {place}.",
            **options,
        )  # fmt: skip
        console = Console(quiet=quiet)
        if best is None:
            console.say("Nobody knows the worth of this network: give --val-data for held-out figures.")
        else:
            console.say(f"Delivered are the weights of step {best.step:,}: held-out F1 {best.value:.1f}.")
        return values

    def deliver(self, step: int) -> None:
        """Write what was learned, with the threshold that is best on held-out pairs, and their figures there."""
        from earthwords.models.change.card import HELD_OUT
        from earthwords.models.change.folder import store_network
        from earthwords.models.weights.table import WEIGHTS
        from earthwords.training.heads.preset_file import from_anywhere

        threshold, held_out = 0.5, None
        if self.measure is not None:
            threshold, figures = self.measure.best(self.net.eval())
            rounded = {"f1": round(figures[F1], 2), "iou": round(figures[IOU], 2)}
            held_out = {"pairs": len(self.measure.pairs), **rounded}
        notes = {**self.facts, "steps": step, "pairs": len(self.pairs), "set": self.pairs.spec.name, HELD_OUT: held_out}
        encoder = from_anywhere(self.encoder, WEIGHTS)
        store_network(self.net, self.out, encoder=encoder, base=self.base, threshold=threshold, notes=notes)


class HeldOutPairs:
    """Figures of held-out pairs."""

    def __init__(self, pairs: ChangePairs) -> None:
        self.pairs = [pair.read() for pair in pairs.pairs[:HELD_OUT_PAIRS]]

    def __call__(self, net: ChangeNetwork) -> dict[str, float]:
        """F1 and IoU of change, all pixels together, at the threshold with the best F1."""
        return self.best(net)[1]

    def best(self, net: ChangeNetwork) -> tuple[float, dict[str, float]]:
        """Least probability of a change with the best F1, and the figures there."""
        counts = self._counts(net)
        threshold = max(counts, key=lambda threshold: _f1(counts[threshold]))
        best = counts[threshold]
        return threshold, {F1: _f1(best), IOU: 100 * best[0] / max(1, sum(best))}

    def _counts(self, net: ChangeNetwork) -> dict[float, tuple[int, int, int]]:
        """Threshold -> pixels hit, missed and falsely found."""
        import torch

        from earthwords.models.change.windows import change_probability

        found = dict.fromkeys(THRESHOLDS, (0, 0, 0))
        with torch.inference_mode():
            for before, after, change in self.pairs:
                likely = change_probability(net, before, after)
                true, counted = change == 1, change <= 1
                for threshold, (hit, missed, false) in found.items():
                    said = likely >= threshold
                    found[threshold] = (
                        hit + int((said & true).sum()),
                        missed + int((~said & true).sum()),
                        false + int((said & ~true & counted).sum()),
                    )
        return found


def _f1(counts: tuple[int, int, int]) -> float:
    """In percent; 0 where nothing was hit."""
    hit, missed, false = counts
    return 200 * hit / max(1, 2 * hit + missed + false)


def _train_part(folder: Path, layout: str | None) -> str | None:
    """`train` where the folder has such a part, else all there is."""
    from earthwords.data.change.pairs import find_pairs

    try:
        find_pairs(folder, split="train", name=layout)
    except UsageError:
        return None
    return "train"


def _held_out(pairs: ChangePairs, val_data: Path | None, layout: str | None) -> ChangePairs | None:
    """What `--val-data` holds, or the part val of the set.

    Raises:
        UsageError: `val_data` has no pairs, or some of those that are learned.
    """
    from earthwords.data.change.pairs import find_pairs
    from earthwords.data.change.spec import ANY

    if val_data is None:
        try:
            found = find_pairs(pairs.root, split="val", name=pairs.spec.name)
        except UsageError:
            return None
        return found if found.split != ANY else None
    found = find_pairs(Path(val_data), split=None, name=layout)
    same = {pair.before.resolve() for pair in pairs} & {pair.before.resolve() for pair in found}
    if same:
        raise UsageError(f"--val-data holds {len(same)} pairs that are learned, such as {min(same)}; take others.")
    return found


def _told(pairs: ChangePairs) -> str:
    left = f" ({len(pairs.lonely)} files without partners left out)" if pairs.lonely else ""
    part = "" if pairs.split == "any" else f", part {pairs.split}"
    return f"{len(pairs):,} pairs ({pairs.spec.title}{part}){left}"


def _results() -> list[str]:
    from earthwords.models.change.card import CARD, WEIGHTS_FILE
    from earthwords.training.loop import CHECKPOINT, LOG

    return [CHECKPOINT, LOG, CARD, WEIGHTS_FILE]


def _side(side: int | None, patch: int) -> int:
    """Of the crops, in pixels.

    Raises:
        UsageError: it is not whole patches.
    """
    if side is None:
        return max(1, SIDE // patch) * patch
    if side % patch:
        raise UsageError(f"--image-size must be whole patches of {patch} pixels, got {side}.")
    return side


def _check_least_zero(**numbers: float) -> None:
    for name, value in numbers.items():
        if value < 0:
            raise UsageError(f"--{name} is 0 or more, got {value:g}.")
