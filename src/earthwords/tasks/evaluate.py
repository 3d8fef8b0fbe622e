"""Measure a model, whatever is measured: the way in from Python; the command line has a command for each kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from earthwords.errors import UsageError, did_you_mean
from earthwords.evaluation.outcome import CHANGE, COUNT, REFERRING, SCENES, SEGMENTATION, Evaluation
from earthwords.tasks.evaluate_change import evaluate_change
from earthwords.tasks.evaluate_count import evaluate_count
from earthwords.tasks.evaluate_referring import evaluate_referring
from earthwords.tasks.evaluate_scenes import evaluate_scenes
from earthwords.tasks.evaluate_segmentation import evaluate_segmentation

if TYPE_CHECKING:
    from earthwords.evaluation.counted import CountMeasurement

MEASURES: dict[str, Callable[..., Any]] = {
    SCENES: evaluate_scenes,
    SEGMENTATION: evaluate_segmentation,
    REFERRING: evaluate_referring,
    CHANGE: evaluate_change,
    COUNT: evaluate_count,
}
"""What can be measured -> the function that does it."""


@overload
def evaluate(
    kind: Literal["count"], /, *found_and_truth: str | Path, out: str | Path | None = None, **options: Any
) -> CountMeasurement: ...


@overload
def evaluate(*what: str | Path, out: str | Path, **options: Any) -> Evaluation: ...


def evaluate(*what: str | Path, out: str | Path | None = None, **options: Any) -> Evaluation | CountMeasurement:
    """Measure a model, or what it found: `evaluate_scenes`, `evaluate_segmentation`, `evaluate_referring`,
    `evaluate_change` or `evaluate_count`.

    The first of `what` that is one of scenes, segmentation, referring, change and count says so; without one: scenes.

    Args:
        what: Tasks and data sets of `evaluate_scenes`; or "segmentation" and sets; "referring" and lists; "change"
            and folders of pairs; "count", what was found and what is there.
        out: Folder of report.html, results.json, results.md, plots and pictures; of "count" a file.json, or nothing.
        options: Those of the function that measures.

    Returns:
        Every figure, and what was left out.

    Raises:
        UsageError: an unknown task, set or option.
        SourceError: data are missing or damaged.
        OutputError: the folder cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> earthwords.evaluate("zero-shot", "knn", data="sets/ucmerced21", out="results")
        >>> earthwords.evaluate("segmentation", "loveda", data="sets", out="results", preset="segearth-ov")
        >>> earthwords.evaluate("count", "found", "truth.gpkg")
    """
    named = list(what)
    kind = next((word for word in named if word in MEASURES), None)
    if kind is not None:
        named.remove(kind)
    measure = MEASURES[str(kind or SCENES)]
    known = inspect.signature(measure).parameters
    foreign = next((name for name in options if name not in known), None)
    if foreign is not None:
        raise UsageError(f"{measure.__name__} has no option {foreign!r}. {did_you_mean(foreign, known)}")
    found: Evaluation | CountMeasurement = measure(*named, **({} if out is None else {"out": Path(out)}), **options)
    return found
