"""`evaluate referring`: how well sentences point, on lists of described images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from earthwords.errors import UsageError
from earthwords.evaluation.outcome import REFERRING, RESULTS, Evaluation, check_alone
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_described
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt


@opt.documented
def evaluate_referring(
    *lists: Annotated[str, opt.ARGUMENTS],
    out: opt.ResultsFolder,
    preset: Annotated[str, opt.option(opt.MODEL, metavar="NAME")] = "refseg-tiny",
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="PATH")] = None,
    batch_size: Annotated[int, opt.option(opt.RUNNING, metavar="N")] = 64,
    device: opt.Device = "auto",
    resume: opt.ResumeMeasuring = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Evaluation:
    """Measure a referring model on lists of described images: gIoU, cIoU, Pr@0.5 to 0.9.

    Writes report.html, results.json, results.md and pictures; what is done with the same settings is not computed
    again.

    Args:
        lists: JSON lines of `expressions`: image, mask of object numbers, sentences.
        preset: Name of a referring preset (see `earthwords models`); with --model of a checkpoint of the authors, its
            architecture.
        model: Trained weights: a folder of `train refer`, or a checkpoint of RSRefSeg's authors.
        batch_size: Sentences at once.

    Returns:
        The figures of every list.

    Raises:
        UsageError: no list, or no trained model.
        SourceError: a list, an image or a mask is missing or damaged.
        OutputError: the folder cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> earthwords.evaluate_referring("val.jsonl", model="my-refer", out="results").entries[0].figures["gIoU"]
    """
    check_alone(REFERRING, lists)
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, got {batch_size}.")
    if not lists:
        raise UsageError("Name the lists of described images: earthwords evaluate referring LIST.jsonl --out DIR.")
    check_described(*lists, preset=preset, model=model)
    check_apart(out, RESULTS, {"--model": model, **{f"the list {name}": name for name in lists}})
    from earthwords.evaluation.benchmark.referring import referring

    entries, reused, notes = referring(
        lists, Path(out), Console(quiet=quiet), preset=preset, model=model, batch=batch_size, device=device,
        offline=offline, resume=resume, strict=strict,
    )  # fmt: skip
    return Evaluation(out=Path(out), entries=entries, reused=reused, left_out=(), notes=notes)
