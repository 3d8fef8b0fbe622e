"""`evaluate count`: counted things against true ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from earthwords.errors import SourceError, UsageError
from earthwords.files.atomic import check_local, exists
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.evaluation.counted import CountMeasurement
else:
    CountMeasurement = object  # it loads much, and a command line reads the annotations


@opt.documented
def evaluate_count(
    predictions: Annotated[Path, opt.ARGUMENTS],
    truth: Annotated[Path, opt.ARGUMENTS],
    *,
    out: Annotated[Path | None, opt.option(opt.ARGUMENTS, name=["--out", "-o"], metavar="FILE.json")] = None,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
) -> CountMeasurement:
    """Measure counts: errors of the numbers, F1 of counts by InstructSAM's rule and by the right one, F1 of places.

    A thing of the truth is found by a box or mask of IoU 0.5, or by a middle that lies in it.

    Args:
        predictions: What was found: a file of features with a column class, a folder that `count` wrote, a folder of
            such files or folders, a scene each, or COCO's list of results (.json).
        truth: What is there: a file of features in any CRS, a folder of such files with the names of the scenes, or
            COCO's annotations (.json).
        out: All figures as JSON.

    Returns:
        The figures of every class.

    Raises:
        UsageError: the two do not belong together, or the output exists.
        SourceError: a file is missing or damaged.
        OutputError: the output cannot be written.

    Example:
        >>> earthwords.evaluate_count("found", "truth.gpkg").classes[0].counts.mae
    """
    console = Console(quiet=quiet)
    predictions, truth = Path(predictions), Path(truth)
    for path in (predictions, truth):
        if not path.exists():
            raise SourceError(f"{path} does not exist; check the path.")
    if out is not None:
        check_local(out)
        if out.suffix.lower() != ".json":
            raise UsageError(f"Figures are written as .json, not {out.name}.")
        if out.exists() and not overwrite:
            raise exists(out)
    from earthwords.evaluation.counted import measure_counts, write_measurement
    from earthwords.files.atomic import atomic_path

    found = measure_counts(predictions, truth)
    console.notes(found.notes)
    if out is not None:
        with atomic_path(out, overwrite=overwrite) as part:
            write_measurement(found, part)
    return found
