"""`evaluate change`: how well changes are found, on pairs of images with masks of change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from earthwords.errors import UsageError
from earthwords.evaluation.outcome import CHANGE, RESULTS, Evaluation, check_alone
from earthwords.geo.sources.find import check_apart
from earthwords.inference.change.dates.words import check_can_change
from earthwords.inference.change.mask_options import MaskOptions
from earthwords.inference.checks import check_paths, check_positive
from earthwords.inference.options import SegmenterSpec, output_options, reach, scene_spec, with_rivals, words_of
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET
from earthwords.tasks import _options as opt
from earthwords.tasks.change import Method


@opt.documented
def evaluate_change(
    *folders: Annotated[str, opt.ARGUMENTS],
    out: opt.ResultsFolder,
    text: opt.Text = (),
    against: opt.Against = None,
    split: Annotated[str | None, opt.option(opt.READING, metavar="NAME")] = None,
    method: Annotated[Method, opt.MODEL] = "dense",
    threshold: Annotated[float | None, opt.option(opt.WORDS, metavar="SCORE")] = None,
    scales: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 2,
    network: Annotated[Path | None, opt.option(opt.MODEL, metavar="DIR")] = None,
    align: Annotated[bool, opt.option(opt.READING, negative="")] = False,
    match_histogram: Annotated[bool, opt.option(opt.READING, negative="")] = False,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    batch_size: opt.BatchSize = None,
    device: opt.Device = "auto",
    resume: opt.ResumeMeasuring = True,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Evaluation:
    """Measure `change` on pairs with masks of change: F1, IoU, kappa, and by class SeK and Fscd.

    Pixels of all pairs of a set count together. Writes report.html, results.json and results.md; what is done with the
    same settings is not computed again.

    Args:
        folders: Sets of pairs: LEVIR-CD, WHU-CD, S2Looking, SECOND, DSIFN, OSCD, CLCD as they are unpacked, or any
            folder with A, B and label in it. Without -t a set with classes of its own is measured by these.
        split: Part of each set, such as test; default: its last one.
        method: As for `change`.
        threshold: Least score (0..1) of a changed pixel; default: the method's.
        scales: As for `change`.
        network: Folder of `train change`, for the method learned.
        align: Take the shift of the second image out.
        match_histogram: Give the second image the histogram of the first.

    Returns:
        The figures of every set.

    Raises:
        UsageError: no folder, no words for a set without classes, or a wrong option.
        SourceError: an image or a mask is missing or damaged.
        OutputError: the folder cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> earthwords.evaluate_change("levir", out="results", text=["building,roof,house"]).entries[0].figures["F1"]
    """
    check_alone(CHANGE, folders)
    if not folders:
        raise UsageError("Name the folders of pairs: earthwords evaluate change FOLDER -t WORDS --out DIR.")
    check_paths(folders, what="a folder with A, B and label")
    model_spec = SegmenterSpec.of(preset, model=model, batch=batch_size, device=device, offline=offline)
    check_positive(scales=scales)
    check_apart(out, RESULTS, {"--model": model, **{f"the set {name}": name for name in folders}})
    words = check_can_change(with_rivals(words_of(model_spec.row, text or ["building"], None, None), against, None))
    from earthwords.evaluation.benchmark.change import ChangeMeasuring, evaluate_pairs
    from earthwords.inference.change.dates.request import ChangeRequest

    how = (None, None, None, "auto", None, reach(offline, False))
    request = ChangeRequest(
        spec=scene_spec("", None, *how), after=scene_spec("", None, *how), vocabulary=words, method=method,
        threshold=threshold, network=None if network is None else str(network), by_masks=MaskOptions().checked(method),
        scales=scales, align=align, match_histogram=match_histogram,
        options=output_options("no", 0.0, 0.0, (), False),
    )  # fmt: skip
    console = Console(quiet=quiet)

    def load() -> ChangeMeasuring:
        segmenter = model_spec.load(console)
        name = f"{model or preset}, {method}"
        return ChangeMeasuring(
            segmenter=segmenter, request=request, own_words=bool(text), model=name, offline=offline
        )  # fmt: skip

    entries, reused = evaluate_pairs(folders, Path(out), console, load, split=split, resume=resume)
    return Evaluation(out=Path(out), entries=entries, reused=reused, left_out=(), notes=())
