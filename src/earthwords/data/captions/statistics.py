"""What was made: counted record by record, told as JSON and Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earthwords.errors import number_of


@dataclass(kw_only=True)
class CaptionTally:
    """Counts of the images that are kept."""

    images: Counter[str] = field(default_factory=Counter)
    """Set -> images."""
    boxes: Counter[str] = field(default_factory=Counter)
    """Class -> boxes."""
    with_class: Counter[str] = field(default_factory=Counter)
    """Class -> images."""
    captions: Counter[str] = field(default_factory=Counter)
    """Caption -> how often it was written."""
    most_boxes: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Count an image."""
        self.images[record["set"]] += 1
        self.boxes.update(record["classes"])
        self.with_class.update(set(record["classes"]))
        self.captions.update(record["captions"])
        self.most_boxes = max(self.most_boxes, len(record["boxes"]))

    def figures(self) -> dict[str, Any]:
        """Plain values."""
        images, boxes, total = self.images.total(), self.boxes.total(), self.captions.total()
        lengths = Counter[int]()
        for caption, number in self.captions.items():
            lengths[len(caption.split())] += number
        return {
            "images": dict(sorted(self.images.items())),
            "boxes": boxes,
            "boxes_per_image": {"mean": _ratio(boxes, images), "most": self.most_boxes},
            "classes": {
                name: {"boxes": number, "images": self.with_class[name]} for name, number in self.boxes.most_common()
            },
            "captions": total,
            "distinct_captions": len(self.captions),
            "words_per_caption": {
                "least": min(lengths, default=0),
                "mean": _ratio(sum(length * number for length, number in lengths.items()), total),
                "most": max(lengths, default=0),
            },
        }


@dataclass(frozen=True, kw_only=True)
class PairsReport:
    """What became of the sources."""

    output: Path
    read: int
    """Images, or tiles, that were found."""
    kept: int
    empty: int
    """Without objects, hence without captions."""
    damaged: tuple[str, ...]
    """What was wrong, image by image."""
    duplicates: int
    """Images left out because one before them is the same."""
    in_tests: int
    """Images left out because a test set has them."""
    settings: dict[str, Any]
    figures: dict[str, Any]
    """Of what is kept; see `CaptionTally`."""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "output": str(self.output), "damaged": list(self.damaged)}

    def counts(self) -> list[tuple[str, str]]:
        """What, and how many."""
        f = self.figures
        words, per = f["words_per_caption"], f["boxes_per_image"]
        return [
            ("images found", f"{self.read:,}"),
            ("left out: no objects", f"{self.empty:,}"),
            ("left out: damaged", f"{len(self.damaged):,}"),
            ("left out: in a test set", f"{self.in_tests:,}"),
            ("left out: duplicates", f"{self.duplicates:,}"),
            ("images kept", f"{self.kept:,}"),
            ("boxes", f"{f['boxes']:,} ({per['mean']} an image, at most {per['most']:,})"),
            ("captions", f"{f['captions']:,}, {f['distinct_captions']:,} of them distinct"),
            ("words a caption", f"{words['mean']} ({words['least']}-{words['most']})"),
        ]

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        title = f"{number_of(self.kept, 'image')} with captions, {self.seconds:.1f} s: {self.output}"
        return title, ("what", "number"), [list(row) for row in self.counts()]

    def markdown(self) -> str:
        """The same for people, with the classes."""
        lines = ["# Pairs", "", "| what | number |", "|---|---|", *(f"| {what} | {n} |" for what, n in self.counts())]
        lines += ["", "| class | boxes | images |", "|---|---|---|"]
        lines += [f"| {_cell(n)} | {c['boxes']:,} | {c['images']:,} |" for n, c in self.figures["classes"].items()]
        lines += ["", "| set | images kept |", "|---|---|"]
        lines += [f"| {_cell(name)} | {number:,} |" for name, number in self.figures["images"].items()]
        lines += ["", "## Settings", "", *(f"* {key}: `{value}`" for key, value in self.settings.items())]
        lines += ["", "## Damaged", "", *(f"* {what}" for what in self.damaged)] if self.damaged else []
        return "\n".join(lines) + "\n"


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 2) if whole else 0.0


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
