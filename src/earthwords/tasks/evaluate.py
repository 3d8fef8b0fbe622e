"""Measure a model, whatever is measured: the way in from Python; the command line has a command for each kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from earthwords.errors import UsageError, did_you_mean
from earthwords.evaluation.outcome import CHANGE, REFERRING, SEGMENTATION, Evaluation
from earthwords.tasks.evaluate_change import evaluate_change
from earthwords.tasks.evaluate_referring import evaluate_referring
from earthwords.tasks.evaluate_scenes import evaluate_scenes
from earthwords.tasks.evaluate_segmentation import evaluate_segmentation


def evaluate(*what: str, out: str | Path, **options: Any) -> Evaluation:
    """Measure a model: `evaluate_scenes`, or `evaluate_segmentation`, `evaluate_referring`, `evaluate_change`.

    The first word of `what` that is one of segmentation, referring and change says so.

    Args:
        what: Tasks and data sets of `evaluate_scenes`; or "segmentation" and sets; "referring" and lists; "change"
            and folders of pairs.
        out: Folder of report.html, results.json, results.md, plots and pictures.
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
    """
    measure: Callable[..., Evaluation] = evaluate_scenes
    for kind, function in (
        (SEGMENTATION, evaluate_segmentation),
        (REFERRING, evaluate_referring),
        (CHANGE, evaluate_change),
    ):
        if kind in what:
            what, measure = tuple(word for word in what if word != kind), function
            break
    known = inspect.signature(measure).parameters
    foreign = next((name for name in options if name not in known), None)
    if foreign is not None:
        raise UsageError(f"{measure.__name__} has no option {foreign!r}. {did_you_mean(foreign, known)}")
    return measure(*what, out=Path(out), **options)
