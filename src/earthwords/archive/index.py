"""An index of an archive, asked by words, by examples, by place and by day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.archive.embedder import Embedder, Vector, tiles_notes
from earthwords.archive.examples import Examples
from earthwords.archive.nearest import Rows, Scores
from earthwords.archive.query import UNLIKE_WEIGHT, Combine, Query, images_of
from earthwords.archive.result import SearchResult
from earthwords.archive.storage import Stored
from earthwords.errors import UsageError
from earthwords.geo.grids.footprints import area_of
from earthwords.geo.grids.georeference import Bounds
from earthwords.geo.sources.dates import iso_day
from earthwords.geo.sources.network import Network
from earthwords.inference.cautions import enforce
from earthwords.jobs.progress import Report
from earthwords.presets import load_preset
from earthwords.text.known_words import word_cautions
from earthwords.text.vocabulary import sentence_in_english
from earthwords.types import VectorLayer

_Allowed = NDArray[np.bool_] | None
_First = tuple[Rows, Scores, VectorLayer]


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
        like: Any = None,
        unlike: Any = None,
        like_bounds: Bounds | None = None,
        like_bands: Sequence[int | str] | None = None,
        like_geometry: str | Path | None = None,
        unlike_geometry: str | Path | None = None,
        weight: float = 0.5,
        unlike_weight: float = UNLIKE_WEIGHT,
        combine: Combine = "mean",
        bounds: Bounds | None = None,
        within: str | Path | None = None,
        after: str | None = None,
        before: str | None = None,
        top: int = 20,
        distinct: bool = False,
        strict: bool = False,
    ) -> SearchResult:
        """The tiles nearest to words, to examples, or both, best first; exact.

        Args:
            words: a sentence; it is put into the preset's templates.
            like: an image or raster to be similar to: a path, or an array `(row, col, 3)`; or a list of them.
            unlike: the same, to be unlike.
            like_bounds: west south east north in the CRS of the one raster to be similar to: only this part of it, seen
                in tiles of the index's size and resolution.
            like_bands: bands of the examples used as red, green and blue; default: for a source of the index those
                that it was indexed with, else as the file says.
            like_geometry: a file of polygons: only what lies under them, of the rasters to be similar to; without any,
                of the index, for each polygon the tile that holds most of it.
            unlike_geometry: the same, to be unlike.
            weight: share of the words beside examples, 0..1.
            unlike_weight: what the examples to be unlike count, 0..1.
            combine: several examples as their `mean`, or each for itself: a tile has the score of the `nearest`.
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
            SourceError: an image cannot be read.
        """
        limits = _Limits.of(bounds, within, after, before, top, distinct=distinct)
        query = Query(
            words=words, like=images_of(like), unlike=images_of(unlike), bounds=like_bounds, bands=like_bands,
            like_geometry=None if like_geometry is None else Path(like_geometry),
            unlike_geometry=None if unlike_geometry is None else Path(unlike_geometry),
            weight=weight, unlike_weight=unlike_weight, combine=combine,
        )  # fmt: skip
        vectors, notes = self._asked(query, strict=strict)
        allowed = self._allowed(limits)
        first = self._first(vectors, limits, allowed)
        return self._result(query, limits, allowed, first, notes, strict=strict)

    def search_each(
        self,
        words: Sequence[str],
        *,
        bounds: Bounds | None = None,
        within: str | Path | None = None,
        after: str | None = None,
        before: str | None = None,
        top: int = 20,
        distinct: bool = False,
        strict: bool = False,
    ) -> list[SearchResult]:
        """A `search` for every one of many words or sentences, with one pass over the index for all of them.

        Args:
            words: sentences.
            bounds, within, after, before, top, distinct, strict: as for `search`.

        Returns:
            As many results, in their order.

        Raises:
            UsageError: as `search`; or `words` is a single text.
        """
        if isinstance(words, str):
            raise UsageError(f"Give a list of words, not the single text {words!r}; that is for Index.search.")
        limits = _Limits.of(bounds, within, after, before, top, distinct=distinct)
        asked = [(query, *self._asked(query, strict=strict)) for query in [Query(words=text) for text in words]]
        allowed = self._allowed(limits)
        if not asked:
            return []
        if distinct:  # how many must be looked at differs
            first = [self._first(vectors, limits, allowed) for _, vectors, _ in asked]
        else:
            queries = np.concatenate([vectors for _, vectors, _ in asked])
            found = self._stored.vectors.nearest_each(queries, top, allowed=allowed)
            first = [(rows, scores, self._stored.tiles.rows(rows)) for rows, scores in found]
        pairs = zip(asked, first, strict=True)
        return [self._result(query, limits, allowed, part, notes, strict=strict) for (query, _, notes), part in pairs]

    def _asked(self, query: Query, *, strict: bool) -> tuple[Vector, tuple[str, ...]]:
        """`(query, dim)` unit vectors, and what is known of words and examples."""
        typed = query.words
        words = None if typed is None else sentence_in_english(typed)
        notes = self._notes(typed, words)
        enforce(notes, strict=strict)
        examples = Examples(stored=self._stored, embedder=self.embedder, sources=self.sources, bands=query.bands)
        like, like_notes = examples.vectors(query.like, bounds=query.bounds, geometry=query.like_geometry)
        unlike, unlike_notes = examples.vectors(query.unlike, geometry=query.unlike_geometry)
        notes = tuple(dict.fromkeys((*notes, *like_notes, *unlike_notes)))
        enforce(notes, strict=strict)
        return query.vectors(None if words is None else self.embedder.words(words), like, unlike), notes

    def _result(
        self, query: Query, limits: _Limits, allowed: _Allowed, first: _First, notes: tuple[str, ...], *, strict: bool
    ) -> SearchResult:
        rows, scores, layer = first
        facts = query.facts() | limits.facts()
        facts |= {"tiles": len(self), "allowed": len(self) if allowed is None else int(allowed.sum())}
        kept = {name: value for name, value in facts.items() if value is not None}
        notes += tiles_notes(self.embedder, layer.columns["gsd"], what="results")
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

    def _notes(self, typed: str | None, words: str | None) -> tuple[str, ...]:
        """What is known of the words, and what they are read as."""
        if words is None or not words.strip():
            return ()
        read = () if words == typed else (f"Read as English: {typed} ({words}).",)
        return (*read, *word_cautions([words], self.embedder.backbone.lexicon, self.embedder.model_name))

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

    def _allowed(self, limits: _Limits) -> _Allowed:
        """`(tile,)`; None: all."""
        area, after, before = limits.area, limits.after, limits.before
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

    def _first(self, queries: Vector, limits: _Limits, allowed: _Allowed) -> _First:
        """Rows, scores and what is known of them, of the tiles that are nearest to any of the queries."""
        count = top = limits.top
        while True:
            rows, scores = _merged(self._stored.vectors.nearest_each(queries, count, allowed=allowed), count)
            layer = self._stored.tiles.rows(rows)
            if not limits.distinct:
                return rows, scores, layer
            kept = _apart(layer, top)
            if len(kept) == top or len(rows) < count:
                return rows[kept], scores[kept], _part(layer, kept)
            count *= 4


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """Which tiles count, and how many are wanted."""

    area: Any
    bounds: Bounds | None
    within: str | None
    after: str | None
    before: str | None
    top: int
    distinct: bool

    @classmethod
    def of(
        cls, bounds: Bounds | None, within: str | Path | None, after: str | None, before: str | None, top: int,
        *, distinct: bool,
    ) -> _Limits:  # fmt: skip
        """
        Raises:
            UsageError: impossible ones.
        """
        if top < 1:
            raise UsageError(f"At least one result must be asked for, got {top}.")
        days = _days(after, before)
        area = area_of(bounds, None if within is None else Path(within))
        within = None if within is None else str(within)
        return cls(area=area, bounds=bounds, within=within, after=days[0], before=days[1], top=top, distinct=distinct)

    def facts(self) -> dict[str, Any]:
        """What a report tells of them."""
        return {name: value for name, value in vars(self).items() if name != "area"}


def _merged(found: Sequence[tuple[Rows, Scores]], count: int) -> tuple[Rows, Scores]:
    """The best of several queries, a row with its largest score; ties by row."""
    if len(found) == 1:
        return found[0]
    rows, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((rows, -scores))
    _, first = np.unique(rows[order], return_index=True)
    best = order[np.sort(first)][:count]
    return rows[best], scores[best]


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
