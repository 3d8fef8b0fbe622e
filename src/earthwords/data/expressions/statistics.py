"""What was listed: kinds, words and sizes of referring expressions, counted line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from earthwords.errors import number_of

SIZES = (0.001, 0.01, 0.05, 0.2, 1.0)
"""Upper ends of the groups of targets' sizes, shares of the image."""


@dataclass(kw_only=True)
class ExpressionTally:
    """Counts of the lines that are written."""

    looked: int = 0
    """Images or tiles, those without expressions too."""
    refused: int = 0
    """Expressions that the check dropped."""
    images: Counter[str] = field(default_factory=Counter)
    """Set -> lines."""
    kinds: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    texts: set[str] = field(default_factory=set)
    lengths: Counter[int] = field(default_factory=Counter)
    sizes: list[float] = field(default_factory=list)
    """Of what each expression means, shares of the image."""
    several: int = 0
    """Expressions that mean more than one thing."""

    def add(self, line: Mapping[str, Any], sizes: Mapping[int, float]) -> int:
        """Count a line; returns its number, from 0."""
        number = self.images.total()
        self.images[line["set"]] += 1
        for expression in line["expressions"]:
            self.kinds[expression["kind"]] += 1
            self.classes[expression.get("class", "")] += 1
            words = expression["text"].lower().split()
            self.words.update(words)
            self.lengths[len(words)] += 1
            self.texts.add(expression["text"])
            self.several += len(expression["ids"]) > 1
            if expression["ids"]:
                self.sizes.append(sum(sizes[i] for i in expression["ids"]))
        return number

    def report(self, output: Path, settings: Mapping[str, Any], seconds: float) -> ExpressionsReport:
        """All of it as plain values."""
        total, sizes = self.kinds.total(), np.array(self.sizes or [0.0])
        edges = np.concatenate([[0.0], SIZES])
        groups = np.histogram(np.array(self.sizes), np.concatenate([edges[:-1], [np.inf]]))[0]
        return ExpressionsReport(
            output=output,
            looked=self.looked,
            images=dict(sorted(self.images.items())),
            expressions=total,
            distinct=len(self.texts),
            empty=total - len(self.sizes),
            several=self.several,
            refused=self.refused,
            kinds=dict(self.kinds.most_common()),
            classes={name: number for name, number in self.classes.most_common() if name},
            words={
                "distinct": len(self.words),
                "mean": round(sum(n * times for n, times in self.lengths.items()) / max(total, 1), 2),
                "most": max(self.lengths, default=0),
            },
            sizes={
                "median": float(np.median(sizes)),
                **{f"to {100 * end:g} %": int(n) for end, n in zip(SIZES, groups, strict=True)},
            },
            settings=dict(settings),
            seconds=round(seconds, 2),
        )


@dataclass(frozen=True, kw_only=True)
class ExpressionsReport:
    """What became of the sources."""

    output: Path
    looked: int
    """Images, or tiles, that were found."""
    images: dict[str, int]
    """Set -> lines written."""
    expressions: int
    distinct: int
    empty: int
    """Those that mean nothing in their image."""
    several: int
    """Those that mean more than one thing."""
    refused: int
    """Proposed, but dropped because the check did not come to the same things."""
    kinds: dict[str, int]
    classes: dict[str, int]
    words: dict[str, float]
    """Distinct ones, mean and most of an expression."""
    sizes: dict[str, float]
    """Of what is meant: median share of the image, and how many expressions up to each share."""
    settings: dict[str, Any]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "output": str(self.output)}

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        lines = sum(self.images.values())
        what = f"{number_of(self.expressions, 'expression')} of {number_of(lines, 'image')}"
        title = f"{what}, {self.seconds:.1f} s: {self.output}"
        rows = [
            ["images looked at", f"{self.looked:,}"],
            *([f"lines of {name}", f"{number:,}"] for name, number in self.images.items()),
            ["distinct expressions", f"{self.distinct:,}"],
            ["mean several things", f"{self.several:,}"],
            ["mean nothing there", f"{self.empty:,}"],
            ["dropped by the check", f"{self.refused:,}"],
            ["words an expression", f"{self.words['mean']} (at most {self.words['most']:g})"],
            ["distinct words", f"{self.words['distinct']:g}"],
            ["median size of what is meant", f"{100 * self.sizes['median']:.2f} % of the image"],
            *([f"size {name}", f"{number:,}"] for name, number in self.sizes.items() if name != "median"),
            *([f"kind {name}", f"{number:,}"] for name, number in self.kinds.items()),
            *([f"class {name}", f"{number:,}"] for name, number in self.classes.items()),
        ]
        return title, ("what", "number"), rows
