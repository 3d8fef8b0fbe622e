"""What `classify` comes to: a row an image, and the table they are written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError, did_you_mean, number_of
from earthwords.evaluation.outcome import ShotsReport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES = (".csv", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image's class."""

    source: str
    name: str
    score: float
    """Probability among the classes, 0..1."""
    second: str
    """The next best class, empty for a single class."""
    second_score: float

    def plain(self) -> dict[str, Any]:
        """Columns of the table."""
        return {"source": self.source, "class": self.name, "score": self.score, "second": self.second,
                "second_score": self.second_score}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Classes of images, in the order of the sources."""

    rows: tuple[Row, ...]
    model: str
    method: str
    """`zero-shot` or `transductive`."""
    failures: tuple[str, ...]
    """Why a source was left out."""
    notes: tuple[str, ...] = ()
    """What is known of the worth of the answers."""
    shots: ShotsReport | None = None
    """Of examples, where there were any."""

    @property
    def exit_code(self) -> int:
        """1 if a source was left out."""
        return int(bool(self.failures))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"model": self.model, "method": self.method, "images": [row.plain() for row in self.rows],
                "notes": list(self.notes), "failures": list(self.failures),
                **({} if self.shots is None else {"shots": self.shots.as_json()})}  # fmt: skip

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = [[r.source, r.name, f"{r.score:.2f}", r.second, f"{r.second_score:.2f}"] for r in self.rows]
        left = f", {len(self.failures)} left out" if self.failures else ""
        title = f"{number_of(len(rows), 'image')}, {self.method}, {self.model}{left}"
        return title, ["source", "class", "score", "second", "score"], rows

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write .csv, .json or .parquet, by the suffix, whole or not at all."""
        from earthwords.files.atomic import atomic_path

        target = check_suffix(Path(path))
        with atomic_path(target, overwrite=overwrite) as staged:
            self.write(staged)
        return target

    def write(self, path: Path) -> None:
        """Write the table, whatever is there."""
        from earthwords.files.plaintext import csv_cell, write_json

        if path.suffix == ".json":
            write_json(path, self.as_json())
            return
        import pandas

        as_csv = path.suffix == ".csv"
        cell = csv_cell if as_csv else _utf8_cell
        rows = [{name: cell(value) for name, value in row.plain().items()} for row in self.rows]
        frame = pandas.DataFrame(rows, columns=list(_COLUMNS))
        frame.to_csv(path, index=False) if as_csv else frame.to_parquet(path, index=False)


_COLUMNS = ("source", "class", "score", "second", "second_score")


def _utf8_cell(value: Any) -> Any:
    """A cell of a Parquet table, which takes no other text."""
    from earthwords.files.plaintext import utf8

    return utf8(value) if isinstance(value, str) else value


def check_suffix(path: Path) -> Path:
    """Raises `UsageError` for a table of an unknown kind."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"Unknown kind of table {path.name!r}. {did_you_mean(path.suffix, SUFFIXES)}")
    return path


def best_synonym(cosines: NDArray[np.floating], query_class: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """`(image, class)`: of each class the synonym that fits best."""
    import numpy as np

    out = np.full((len(cosines), classes), -np.inf)
    for query, label in enumerate(query_class):
        out[:, label] = np.maximum(out[:, label], cosines[:, query])
    return out


def rows_of(sources: Sequence[str], scores: NDArray[np.float64], titles: Sequence[str]) -> tuple[Row, ...]:
    """The best two classes of every source, from `(image, class)` scores."""
    import numpy as np

    order = np.argsort(-scores, axis=1, kind="stable")
    rows = []
    for source, best, values in zip(sources, order, scores, strict=True):
        second = int(best[1]) if len(best) > 1 else None
        rows.append(
            Row(
                source=source,
                name=titles[int(best[0])],
                score=round(float(values[best[0]]), 6),
                second="" if second is None else titles[second],
                second_score=0.0 if second is None else round(float(values[second]), 6),
            )
        )
    return tuple(rows)
