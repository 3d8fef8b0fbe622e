"""What was measured: an entry a task, set and model, as `results.json` holds it, and which figures tables show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthwords.errors import UsageError, brief
from earthwords.evaluation.suite import TASKS
from earthwords.files.reading import read_json

TASK = "segmentation"
OWN = "own"
"""Group of the sets that have no row."""
HEADINGS = {
    "multi-class": "several classes",
    "building": "buildings",
    "road": "roads",
    "water": "water",
    "natural": "photographs",
    "local": "small sets",
    OWN: "your own sets",
}
"""Group of sets to what it is called."""
UNSURE = "?"
RESULTS, TABLE = "results.json", "results.md"
HEADLINES = {
    **{name: task.headline for name, task in TASKS.items()},
    "referring": ("gIoU", "cIoU", "Pr@0.5", "Pr@0.7", "Pr@0.9"),
    "change": ("F1", "IoU", "precision", "recall", "kappa", "OA", "SeK", "Fscd"),
    TASK: (),
}
"""The figures a table shows."""
WAYS = {"i2t": "image to text", "t2i": "text to image"}
_PLAIN_NAMES = {
    "top1": "top-1", "top3": "top-3", "top5": "top-5", "mean_per_class": "mean per class", "mean_recall": "mean recall",
    "zero_shot_top1": "top-1 of words alone", "mean_absolute_error": "mean absolute error",
    "guessed_mAP": "mAP of guessing",
    **{f"{way}_r{k}": f"{name} R@{k}" for way, name in WAYS.items() for k in (1, 5, 10)},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ResultEntry:
    """One task on one data set with one model."""

    task: str
    dataset: str
    model: str
    settings: dict[str, Any]
    """Everything the figures depend on."""
    classes: tuple[str, ...]
    figures: dict[str, Any]
    seconds: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is only one of in a report."""
        return self.dataset, self.model, self.task

    @property
    def stem(self) -> str:
        """Begin of the names of its plots."""
        return ".".join(re.sub(r"[^A-Za-z0-9_-]+", "-", part).strip("-") for part in self.key)

    def headline(self) -> list[tuple[str, str]]:
        """The figures a table shows, with their names."""
        if self.task == TASK:
            return list(headlines(self.figures))
        names = [name for name in HEADLINES[self.task] if name in self.figures]
        return [(_PLAIN_NAMES.get(name, name), f"{self.figures[name]:.2f}") for name in names]


def read_results(folder: Path) -> list[ResultEntry]:
    """The entries of a folder's `results.json`; none if it is not there.

    Raises:
        UsageError: it is something else.
    """
    path = folder / RESULTS
    if not path.exists():
        return []
    try:
        entries = read_json(path, most=None)["results"]
        return [
            ResultEntry(**{**entry, "classes": tuple(entry["classes"])})
            for entry in entries
            if entry["task"] in HEADLINES
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a result of evaluate ({brief(error)}); choose another --out or move it away."
        ) from error


def headline(part: dict[str, Any], metric: str) -> float | None:
    """What tables print of the figures at a threshold, percent."""
    value = part["foreground_IoU" if metric == "IoU" else "mIoU"]
    return None if value is None else float(value)


def headlines(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values for a table of all tasks."""
    metric = figures["metric"]
    for which in ("tuned", "fixed"):
        part = figures[which]
        yield f"{metric} at {part['threshold']:g}", shown(headline(part, metric))
        if figures["fixed"]["threshold"] == part["threshold"]:
            break
    yield "aAcc", shown(figures["tuned"]["aAcc"])
    yield "boundary IoU", shown(figures["tuned"]["boundary_IoU"])


def shown(value: float | None) -> str:
    """Percent with two digits, or a dash."""
    return "-" if value is None else f"{value:.2f}"
