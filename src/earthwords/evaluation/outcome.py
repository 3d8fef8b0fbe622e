"""What every `evaluate` comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import number_of

if TYPE_CHECKING:
    from earthwords.evaluation.results import ResultEntry

SCENES, SEGMENTATION, REFERRING = "scenes", "segmentation", "referring"
KINDS = (SCENES, SEGMENTATION, REFERRING)
"""What can be measured; each is a command behind `evaluate`."""
TASK_NAMES = ("zero-shot", "transductive", "linear-probe", "knn", "few-shot", "retrieval", "multi-label", "counting")
"""Of `evaluate scenes`."""
METHODS = ("prototypes", "tip", "tip-f", "lp++", "taskres", "linear")
"""Heads of `few-shot`, beside its probes."""
RESULTS = ("results.json", "results.md", "report.html")
"""What every measurement writes into its folder."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured."""

    out: Path
    entries: tuple[ResultEntry, ...]
    """Of the tasks asked for, in their order."""
    reused: int
    """How many were found done."""
    left_out: tuple[str, ...]
    """Why a task was not measured on a set, where several were asked for."""
    notes: tuple[str, ...] = ()
    """What is known of the worth of the figures."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        results = [asdict(entry) for entry in self.entries]
        notes = {"notes": list(self.notes), "left_out": list(self.left_out)}
        return {"out": str(self.out), "results": results, "reused": self.reused, **notes}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = []
        for entry in self.entries:
            headline = "; ".join(f"{name} {value}" for name, value in entry.headline())
            rows.append([entry.dataset, entry.model, entry.task, headline])
        reused = f" ({self.reused} found done)" if self.reused else ""
        return f"{number_of(len(rows), 'result')}{reused}: {self.out}", ["data set", "model", "task", "figures"], rows
