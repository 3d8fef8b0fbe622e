"""An index of an archive, asked by words, by an image, by place and by day."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from earthwords.archive.embedder import Embedder, Vector, tiles_notes
from earthwords.archive.result import SearchResult
from earthwords.archive.storage import Stored, opening
from earthwords.errors import Caution, UsageError
from earthwords.geo.grids.footprints import area_of
from earthwords.geo.grids.georeference import Bounds
from earthwords.geo.sources.dates import iso_day
from earthwords.geo.sources.network import Network
from earthwords.inference.cautions import colour_cautions, enforce
from earthwords.jobs.progress import Report
from earthwords.presets import load_preset
from earthwords.text.known_words import word_cautions
from earthwords.text.vocabulary import sentence_in_english
from earthwords.types import VectorLayer


class Index:
    """An open index; a context manager. Make one with `earthwords.index`, open it with `Index.open`.

    Example:
        >>> with earthwords.Index.open("archive.index") as index:
        ...     found = index.search("harbour with many ships", top=5)
        >>> found.to_geodataframe()
    """

    def __init__(
        self,
        stored: Stored,
        *,
        model: str | Path | None,
        device: str,
        offline: bool,
        allow_remote_parts: bool,
        report: Report,
    ) -> None:
        self._stored = stored
        self._network = Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)
        self._load: dict[str, Any] = {"model": model, "device": device, "offline": offline, "report": report}
        self._load["allow_remote_parts"] = allow_remote_parts

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        offline: bool = False,
        allow_remote_parts: bool = False,
        report: Report = lambda done, total: None,
    ) -> Index:
        """Open the folder of an index; weights are loaded at the first search.

        Args:
            path: the folder.
            model: where the weights are now, if not where they were; they must be the same.
            device: `auto`, `cpu`, `cuda`, `mps`.
            offline: never use the network.
            allow_remote_parts: read sources of the index from servers too, for pictures of results.
            report: told about downloads.

        Returns:
            It, ready to search.

        Raises:
            UsageError: there is no index.
            SourceError: it is damaged.
        """
        how: dict[str, Any] = {"offline": offline, "allow_remote_parts": allow_remote_parts, "report": report}
        return cls(Stored(Path(path)), model=model, device=device, **how)

    def __len__(self) -> int:
        """Tiles."""
        return len(self._stored.vectors)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._stored.folder

    @property
    def about(self) -> dict[str, Any]:
        """What it was made with."""
        return self._stored.about

    @cached_property
    def embedder(self) -> Embedder:
        """The model that made the vectors.

        Raises:
            UsageError: the weights are others.
        """
        about, load = self.about, dict(self._load)
        model = load.pop("model") or about["model"]
        try:
            preset: Any = load_preset(about["preset"])
        except UsageError:  # a file that has moved; of it the templates count
            preset = load_preset("tiny")
        embedder = Embedder.from_preset(preset, model=model, **load)
        if embedder.weights_hash != self._stored.settings["weights"]:
            raise UsageError(
                f"The index {self.folder} was made with weights {self._stored.settings['weights']} ({about['model']}), "
                f"but {model} has {embedder.weights_hash}; name the same ones by --model."
            )
        return embedder

    def search(
        self,
        words: str | None = None,
        *,
        like: str | Path | ArrayLike | None = None,
        like_bounds: Bounds | None = None,
        like_bands: Sequence[int | str] | None = None,
        weight: float = 0.5,
        bounds: Bounds | None = None,
        within: str | Path | None = None,
        after: str | None = None,
        before: str | None = None,
        top: int = 20,
        distinct: bool = False,
        strict: bool = False,
    ) -> SearchResult:
        """The tiles nearest to words, an image, or both, best first; exact.

        Args:
            words: a sentence; it is put into the preset's templates.
            like: an image or raster to be similar to: a path, or an array `(row, col, 3)`.
            like_bounds: west south east north in that raster's CRS: only this part of it.
            like_bands: its bands used as red, green and blue; default: for a source of the index those that it was
                indexed with, else as the file says.
            weight: share of the words where both are given, 0..1.
            bounds: west south east north in degrees: only tiles that touch it; west above east crosses 180 degrees.
            within: a file of polygons: only tiles that touch them.
            after: first day, `YYYY-MM-DD`; tiles without a day are left out.
            before: last day.
            top: results at most.
            distinct: no two results share ground in one source; the better one stays.
            strict: words that the model has not learned are an error, not a note.

        Returns:
            The tiles, with score, source, place and day; it saves itself like the command `search`.

        Raises:
            UsageError: nothing to look for, or impossible limits.
            SourceError: the image cannot be read.
        """
        if top < 1:
            raise UsageError(f"At least one result must be asked for, got {top}.")
        days = _days(after, before)
        area = area_of(bounds, None if within is None else Path(within))
        typed, words = words, None if words is None else sentence_in_english(words)
        notes = self._notes(typed, words)
        enforce(notes, strict=strict)
        query = self._query(words, like, like_bounds, like_bands, weight)
        if like is not None:
            notes += self._like_notes(like, like_bounds, like_bands)
            enforce(notes, strict=strict)
        allowed = self._allowed(area, days)
        rows, scores, layer = self._first(query, top, allowed, distinct=distinct)
        query_facts = {
            "words": typed, "like": None if like is None else str(like) if isinstance(like, (str, Path)) else "array",
            "weight": weight if words is not None and like is not None else None, "bounds": bounds,
            "within": None if within is None else str(within), "after": days[0], "before": days[1], "top": top,
            "distinct": distinct, "tiles": len(self), "allowed": len(self) if allowed is None else int(allowed.sum()),
        }  # fmt: skip
        kept = {name: value for name, value in query_facts.items() if value is not None}
        notes += self._result_notes(layer)
        enforce(notes, strict=strict)
        return SearchResult(
            rows=rows, scores=scores, layer=layer, query=kept, index=self.folder, settings=self._stored.settings,
            notes=notes, network=self._network.of_stored(),
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the files."""
        self._stored.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Index({str(self.folder)!r}, {len(self):,} tiles, model {self.about['model']!r})"

    def _query(
        self,
        words: str | None,
        like: str | Path | ArrayLike | None,
        like_bounds: Bounds | None,
        like_bands: Sequence[int | str] | None,
        weight: float,
    ) -> Vector:
        """`(dim,)`, of unit length."""
        if words is None and like is None:
            raise UsageError("Say what to search for: words, an image (--like IMAGE), or both.")
        if (like_bounds is not None or like_bands is not None) and like is None:
            raise UsageError("The bounds and bands of an image need the image: --like IMAGE.")
        if not 0 <= weight <= 1:
            raise UsageError(f"The weight of the words is 0 to 1, not {weight:g}.")
        if words is not None and not words.strip():
            raise UsageError("There are no words to search for; say something, or give an image.")
        if like is None:
            return self.embedder.words(str(words))
        image = self.embedder.image(like, bounds=like_bounds, **self._how(like, like_bands))
        if words is None:
            return image
        mean = weight * self.embedder.words(words).astype(np.float64) + (1 - weight) * image
        return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)

    def _how(self, like: str | Path | ArrayLike, like_bands: Sequence[int | str] | None) -> dict[str, Any]:
        """How an image to be similar to is opened: a source of the index as it was indexed."""
        how = opening(self._stored.settings) if self._holds(like) else {}
        return how | ({} if like_bands is None else {"bands": like_bands})

    def _notes(self, typed: str | None, words: str | None) -> tuple[str, ...]:
        """What is known of the words, and what they are read as."""
        if words is None or not words.strip():
            return ()
        read = () if words == typed else (f"Read as English: {typed} ({words}).",)
        return (*read, *word_cautions([words], self.embedder.backbone.lexicon, self.embedder.model_name))

    def _like_notes(
        self, like: str | Path | ArrayLike, like_bounds: Bounds | None, like_bands: Sequence[int | str] | None
    ) -> tuple[str, ...]:
        """What is known of the colours of the image to be similar to."""
        with self.embedder.open(like, bounds=like_bounds, **self._how(like, like_bands)) as scene:
            notes = (*scene.notes, *colour_cautions(scene))
        return tuple(note for note in notes if isinstance(note, Caution))

    def _result_notes(self, layer: VectorLayer) -> tuple[str, ...]:
        """What the resolution at which results were seen says of their worth."""
        return tiles_notes(self.embedder, layer.columns["gsd"], what="results")

    def _holds(self, like: str | Path | ArrayLike) -> bool:
        """Whether it is one of the sources."""
        return isinstance(like, (str, Path)) and not {str(like), os.path.abspath(like)}.isdisjoint(self.sources)

    @cached_property
    def sources(self) -> frozenset[str]:
        """Paths and addresses of everything in it."""
        return frozenset(self._stored.entries())

    @cached_property
    def _boxes(self) -> NDArray[np.float64]:
        return self._stored.tiles.boxes()

    @cached_property
    def _dates(self) -> NDArray[np.str_]:
        return self._stored.tiles.days()

    def _allowed(self, area: Any, days: tuple[str | None, str | None]) -> NDArray[np.bool_] | None:
        """`(tile,)`; None: all."""
        after, before = days
        if area is None and after is None and before is None:
            return None
        allowed = np.ones(len(self), bool)
        if after is not None or before is not None:
            allowed &= (self._dates >= (after or "0")) & (self._dates <= (before or "9999")) & (self._dates != "")
        if area is not None:
            west, south, east, north = shapely.bounds(area)
            x0, y0, x1, y1 = self._boxes.T
            with np.errstate(invalid="ignore"):
                allowed &= (x0 <= east) & (x1 >= west) & (y0 <= north) & (y1 >= south)
            shapely.prepare(area)
            for rows, shapes in self._stored.tiles.geometries(np.flatnonzero(allowed)):
                allowed[rows] = shapely.intersects(area, shapes)
        return allowed

    def _first(
        self, query: Vector, top: int, allowed: NDArray[np.bool_] | None, *, distinct: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], VectorLayer]:
        """Rows, scores and what is known of them."""
        count = top
        while True:
            rows, scores = self._stored.vectors.nearest(query, count, allowed=allowed)
            layer = self._stored.tiles.rows(rows)
            if not distinct:
                return rows, scores, layer
            kept = _apart(layer, top)
            if len(kept) == top or len(rows) < count:
                return rows[kept], scores[kept], _part(layer, kept)
            count *= 4


def _days(after: str | None, before: str | None) -> tuple[str | None, str | None]:
    found = []
    for name, text in (("after", after), ("before", before)):
        day = None if text is None else iso_day(text)
        if text is not None and day is None:
            raise UsageError(f"--{name} is a day such as 2024-05-31, not {text!r}.")
        found.append(day)
    return found[0], found[1]


def _apart(layer: VectorLayer, most: int) -> list[int]:
    """Rows, best first, that share no pixel with a better one of the same source; `most` of them."""
    places: dict[str, list[tuple[int, int, int, int]]] = {}
    kept: list[int] = []
    columns = layer.columns
    sides: Sequence[NDArray[Any]] = [columns[name] for name in ("row", "col", "height", "width")]
    for i, source in enumerate(columns["source"]):
        row, col, height, width = (int(side[i]) for side in sides)
        taken = places.setdefault(source, [])
        if any(row < r1 and r0 < row + height and col < c1 and c0 < col + width for r0, c0, r1, c1 in taken):
            continue
        taken.append((row, col, row + height, col + width))
        kept.append(i)
        if len(kept) == most:
            break
    return kept


def _part(layer: VectorLayer, rows: list[int]) -> VectorLayer:
    columns = {name: values[rows] for name, values in layer.columns.items()}
    return VectorLayer(geometries=layer.geometries[rows], columns=columns, crs=layer.crs)
