"""What became of a teaching."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import number_of

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class TaughtClass:
    """One class."""

    name: str
    marks: int
    pixels: int
    """That were learned from."""
    scenes: int
    area_share: float
    """Of the scenes, 0..1, estimated."""
    words_iou: float | None
    """Estimated intersection over union of a map by words alone, on marks that are left out; None: not checked."""
    taught_iou: float | None
    """The same after teaching."""

    def row(self) -> list[str]:
        """For a table."""
        return [self.name, f"{self.marks:,}", f"{self.scenes:,}", f"{self.area_share:.0%}", _percent(self.words_iou),
                _percent(self.taught_iou)]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TriedHead:
    """One way to learn, on marks that it had not seen."""

    head: str
    miou: float
    accuracy: float
    better: float | None
    """Share of resamples in which it beats the words alone, 0..1."""


@dataclass(frozen=True, kw_only=True)
class TeachReport:
    """What was learned, from what, and how well it does where it was not taught."""

    folder: Path | None
    """None: it is in memory alone."""
    chosen: str
    """The head: `words` where marks did not help."""
    left_out: str
    """What each figure's marks were left out by."""
    classes: tuple[TaughtClass, ...]
    tried: tuple[TriedHead, ...]
    temperature: float
    windows: int
    """That were computed; what an earlier teaching knew is not computed again."""
    notes: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "folder": None if self.folder is None else str(self.folder)}

    def to_dataframe(self) -> DataFrame:
        """A row a class, with the fields of `TaughtClass`."""
        import pandas as pd

        return pd.DataFrame([asdict(c) for c in self.classes])

    def tried_dataframe(self) -> DataFrame:
        """A row for each way that was tried, with the fields of `TriedHead`, the best first."""
        import pandas as pd

        return pd.DataFrame([asdict(t) for t in self.tried]).sort_values("miou", ascending=False, ignore_index=True)

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        marks = sum(c.marks for c in self.classes)
        title = f"{self.folder or 'taught'}: {number_of(marks, 'mark')}, head {self.chosen}, {self.seconds:.1f} s; "
        title += f"IoU on {self.left_out}"
        columns = ("class", "marks", "scenes", "area", "IoU by words", "IoU taught")
        return title, columns, [c.row() for c in self.classes]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"
