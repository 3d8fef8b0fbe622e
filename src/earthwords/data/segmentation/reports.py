"""What a preparation and a check came to, as tables and plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a preparation came to."""

    name: str
    title: str
    folder: str
    items: int
    expected: int | None
    images: int
    """Originals read, in this run and those before it that were interrupted."""
    made: int
    """Items written by this run; 0: all were there."""
    skipped: tuple[str, ...]
    """Files without a partner."""
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """Title, columns, rows."""
        expected = "unknown" if self.expected is None else f"{self.expected:,}"
        row = [self.name, self.folder, f"{self.images:,}", f"{self.items:,}", expected, f"{self.made:,}"]
        title = f"{self.title}: {'prepared' if self.made else 'was prepared already'} ({self.seconds:.1f} s)"
        return title, ["set", "folder", "originals", "items", "expected", "written now"], [row]


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """A line of the table."""

    what: str
    expected: str
    found: str
    ok: bool | None
    """None: for information."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check came to."""

    in_files: ClassVar[bool] = False
    """Nothing is written: the folder is what was looked at."""
    name: str
    title: str
    folder: str
    items: int
    lines: tuple[CheckRow, ...]
    pixels: dict[str, int]
    """Of each class by its title; `ignored` too."""
    problems: tuple[str, ...]
    """The first of them."""

    @property
    def exit_code(self) -> int:
        """1 if anything is wrong."""
        return int(any(line.ok is False for line in self.lines))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ok": not self.exit_code, **asdict(self)}

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """Title, columns, rows."""
        verdict = {True: "ok", False: "wrong", None: ""}
        rows = [[line.what, line.expected, line.found, verdict[line.ok]] for line in self.lines]
        total = max(1, sum(self.pixels.values()))
        rows += [[f"pixels of {title}", "", f"{count / total:.2%}", ""] for title, count in self.pixels.items()]
        state = "is complete and right" if not self.exit_code else "is not what it should be"
        return f"{self.title} in {self.folder} {state}", ["what", "expected", "found", ""], rows
