"""What every `evaluate` comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError, number_of

if TYPE_CHECKING:
    from earthwords.evaluation.results import ResultEntry

SCENES, SEGMENTATION, REFERRING, CHANGE, COUNT = "scenes", "segmentation", "referring", "change", "count"
KINDS = (SCENES, SEGMENTATION, REFERRING, CHANGE, COUNT)
"""What can be measured; each is a command behind `evaluate`."""
TASK_NAMES = ("zero-shot", "transductive", "linear-probe", "knn", "few-shot", "retrieval", "multi-label", "counting")
"""Of `evaluate scenes`."""
METHODS = ("prototypes", "tip", "tip-f", "lp++", "taskres", "linear", "coop", "clip-lora")
"""Heads of `few-shot`, beside its probes."""
TRAINED = METHODS[-2:]
"""Those that go through the towers, and read a word of each class."""
RESULTS = ("results.json", "results.md", "report.html")
"""What every measurement writes into its folder."""


def check_alone(kind: str, words: Sequence[str]) -> None:
    """Refuse the name of something else that is measured among the sets of `kind`; a file of that name is meant.

    Raises:
        UsageError: there is one.
    """
    other = next((word for word in words if word in (*TASK_NAMES, *KINDS) and not Path(word).exists()), None)
    if other is not None:
        raise UsageError(f"{kind} is measured apart from {other}: ask for one of them.")


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


@dataclass(frozen=True, kw_only=True)
class ShotsReport:
    """What `classify --shots` found out about the examples."""

    folder: str
    examples: dict[str, int]
    """Number of examples of each class."""
    method: str
    without: tuple[str, ...]
    """Classes without a word."""
    parts: int
    """In so many parts examples were left out in turn; 0: no class has two."""
    left_out: int
    """Examples that were left out once."""
    words_accuracy: float | None
    """Percent of these that the baseline classifies as their folder says."""
    shots_accuracy: float | None
    """The same with the other examples known."""
    baseline: str
    """What the first of the two is of."""
    helps: bool
    """Whether the examples are used."""

    def lines(self) -> tuple[str, ...]:
        """What a person is told."""
        told = []
        if self.shots_accuracy is None:
            told.append(
                "No class has two examples, so none can be left out to see whether they help; they are used, and the "
                "scores are surer than they should be."
            )
        else:
            words = "-" if self.words_accuracy is None else f"{self.words_accuracy:.1f} %"
            used = f"examples are used ({self.method})" if self.helps else "examples do not help and are not used"
            told.append(
                f"Of {number_of(self.left_out, 'example')}, left out in turn in {self.parts} parts, {self.baseline}: "
                f"{words} right, with the others as examples: {self.shots_accuracy:.1f} %; {used}."
            )
        if self.without:
            told.append(f"Known by examples alone, without a word: {', '.join(self.without)}.")
        few = [name for name, count in self.examples.items() if count == 1]
        if few and self.shots_accuracy is not None:
            told.append(f"Of {', '.join(few)} there is one example each, which was never left out.")
        return tuple(told)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
