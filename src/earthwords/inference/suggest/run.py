"""From scenes or maps to the places that are marked next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import EarthwordsError, SourceError, UsageError, some_of
from earthwords.inference.cautions import Tally
from earthwords.inference.suggest import fast, regions, strategic
from earthwords.inference.suggest.lattice import Coverage
from earthwords.inference.suggest.marked import MarkSet
from earthwords.inference.suggest.result import Place, Suggestions, check_placed
from earthwords.inference.suggest.scan import MOST, MOST_TILES, Scanned, ScanOptions, scan
from earthwords.inference.suggest.select import RULES, CandidatePool, Rule
from earthwords.inference.suggest.sources import Mapped
from earthwords.jobs.job import Tick

Open = Callable[[], AbstractContextManager[tuple[Mapped, Tick]]]
"""Opens a scene, and gives what is told about its progress."""


@dataclass(frozen=True, kw_only=True)
class SuggestOptions:
    """What to suggest."""

    n: int = 20
    rule: str = "margin-diversity"
    tiles: int | None = None
    """Side of tiles, pixels; None: points."""
    point_tiles: int = strategic.TILE
    """Side of the tiles that rules of tiles judge where points are wanted."""
    seed: int = 0
    on_error: str = "stop"
    """What a scene that cannot be read does: `stop`, or `skip`."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"At least one place must be suggested, got -n {self.n}.")
        if self.tiles is not None and self.tiles < 8:
            raise UsageError(f"Tiles have at least 8 pixels a side, got --tiles {self.tiles}.")

    @property
    def row(self) -> Rule:
        return RULES[self.rule]

    def scanning(self, scenes: int) -> ScanOptions:
        """How each of so many scenes is looked at."""
        rule = self.row
        tile = self.tiles or (self.point_tiles if rule.of_tiles else None)
        most = max(self.n, (MOST if tile is None else MOST_TILES) // scenes)
        return ScanOptions(
            tile=tile,
            most=min(most, rule.most_each or most),
            key=self.rule if self.rule in ("entropy", "random") else "margin",
            edges=self.rule == "strategic",
            regions=self.rule == "fast",
            features=self.rule in ("margin-diversity", "hslabeling", "fast"),
        )


def suggest_places(scenes: dict[str, Open], options: SuggestOptions, marks: MarkSet | None = None) -> Suggestions:
    """Choose places to mark.

    Args:
        scenes: name to what opens it, one after another.
        marks: what is marked already.

    Raises:
        UsageError: more places than there are candidates, or maps of different classes.
        SourceError: no scene has a valid pixel.
    """
    found, failures = _scanned(scenes, options, marks)
    titles = found[0].titles
    coverage = Coverage()
    for part in found:
        coverage.add(part.coverage)
    total = sum(len(part.cells) for part in found)
    _check_enough(total, coverage, found, options)
    pool = _pool(found, options)
    chosen = options.row.choose(pool, options.n, np.random.default_rng(options.seed))
    return Suggestions(
        places=_places(found, chosen), titles=titles, options=options, coverage=coverage, candidates=total,
        scenes=tuple(part.name for part in found), failures=tuple(failures), marks=sum(part.marks for part in found),
        notes=(*_of_scenes(found), *_notes(found, options, marks)),
    )  # fmt: skip


def _of_scenes(found: list[Scanned]) -> tuple[str, ...]:
    """What is known of the scenes and the words; that of many counted together."""
    tally = Tally()
    for part in found:
        tally.add(dict.fromkeys(part.notes))
    return tally.lines(len(found), what="scenes")


def _scanned(
    scenes: dict[str, Open], options: SuggestOptions, marks: MarkSet | None
) -> tuple[list[Scanned], list[str]]:
    how, random = options.scanning(len(scenes)), np.random.default_rng(options.seed)
    found: list[Scanned] = []
    names: list[str] = []  # of maps, of which several may be of one scene
    failures: list[str] = []
    for name, opener in scenes.items():
        try:
            with opener() as (mapped, tick):
                if found and mapped.titles != found[0].titles:
                    raise UsageError(
                        f"{names[0]} is a map of {some_of(found[0].titles)}, {name} one of {some_of(mapped.titles)}; "
                        "suggest places for maps of the same classes."
                    )
                check_placed([*(part.grid for part in found), mapped.grid], [*names, name])
                names.append(name)
                found.append(scan(mapped, how, marks, random, tick))
        except UsageError:
            raise
        except EarthwordsError as error:
            if options.on_error == "stop":
                raise
            failures.append(f"{name}: {error}")
    if not found:
        raise SourceError(f"None of the {len(scenes)} scenes could be read; the first: {failures[0]}")
    return found, failures


def _check_enough(total: int, coverage: Coverage, found: list[Scanned], options: SuggestOptions) -> None:
    if coverage.observed == 0:
        raise SourceError(f"{found[0].name} has no valid pixel in the part asked for; nothing can be suggested.")
    if total >= options.n:
        return
    tile = options.scanning(len(found)).tile
    what = "places" if tile is None else f"tiles of {tile} x {tile} pixels"
    advice = "ask for fewer by -n" if tile is None else "ask for fewer by -n, or for smaller ones by --tiles"
    avoided = sum(part.avoided for part in found)
    near = f", beside {avoided:,} near marks" if avoided else ""
    raise UsageError(f"-n {options.n} is more than the {total:,} {what} there are to choose from{near}; {advice}.")


def _pool(found: list[Scanned], options: SuggestOptions) -> CandidatePool:
    counts = [len(part.cells) for part in found]
    some = [part for part in found if len(part.cells)]
    has_known = [i for i, part in enumerate(found) if len(part.known)]
    features = np.concatenate([part.features for part in some]) if len(some[0].features) else np.zeros((sum(counts), 1))
    dim = features.shape[1]
    known = np.concatenate([np.zeros((0, dim)), *(found[i].known for i in has_known)])
    pool = CandidatePool(
        scenes=np.repeat(np.arange(len(found)), counts),
        margin=np.concatenate([part.cells.margin for part in found]),
        entropy=np.concatenate([part.cells.entropy for part in found]),
        labels=np.concatenate([part.cells.labels.T for part in found]),
        features=features,
        known=known,
        known_scenes=np.repeat(has_known, [len(found[i].known) for i in has_known]).astype(np.int64),
    )
    if options.rule == "strategic":
        edges = np.array([value for part in found for value in part.edges])
        if np.isnan(edges).any():
            raise UsageError(
                "The rule strategic compares edges of the picture, which is not at hand for every map; choose another."
            )
        return replace(pool, edges=edges)
    return _as_images(pool, found, options) if options.rule == "fast" else pool


def _as_images(pool: CandidatePool, found: list[Scanned], options: SuggestOptions) -> CandidatePool:
    """With what FAST knows of tiles."""

    views = [view for part in found for view in part.views]
    marked = [(part.known, part.known_classes) for part in found if len(part.known)]
    known = np.concatenate([part for part, _ in marked]) if marked else np.zeros((0, 1))
    named, _ = regions.prototypes(views, known, [c for _, names in marked for c in names], seed=options.seed)
    return replace(
        pool,
        rank_by=np.array([view.uncertainty for view in views]),
        diversity=lambda index: np.array([fast.diversity(views[i].matched, named) for i in index.tolist()]),
    )


def _places(found: list[Scanned], chosen: NDArray[np.int64]) -> tuple[Place, ...]:
    starts = np.cumsum([0, *(len(part.cells) for part in found)])
    places = []
    for rank, index in enumerate(chosen.tolist(), 1):
        number = int(np.searchsorted(starts, index, side="right")) - 1
        part, at = found[number], index - int(starts[number])
        order = np.argsort(-part.cells.probabilities[:, at], kind="stable")
        places.append(
            Place(
                rank=rank, scene=number, source=part.name, grid=part.grid, row=int(part.cells.rows[at]),
                col=int(part.cells.cols[at]), window=part.windows[at] if part.windows else None,
                guess=part.titles[order[0]], runner_up=part.titles[order[1]] if len(order) > 1 else None,
                uncertainty=float(part.cells.margin[at]), side=part.side,
            )
        )  # fmt: skip
    return tuple(places)


def _notes(found: list[Scanned], options: SuggestOptions, marks: MarkSet | None) -> Iterator[str]:
    if len(found[0].titles) == 1:
        yield (
            f"{found[0].titles[0]!r} is the only class: a pixel is uncertain where its probability is near the "
            f"threshold {found[0].threshold or 0.5:g}."
        )
    if marks is not None:
        inside = sum(part.marks for part in found)
        if any(marks.differs(part.grid) for part in found):
            yield f"The marks of {marks.path} are in another CRS than the scenes, and were reprojected."
        if marks.unmarked:
            yield f"{marks.unmarked:,} features of {marks.path} have no class yet and count as not marked."
        if not inside:
            yield f"None of the marks of {marks.path} lies in a scene."
        if inside and not any(part.avoided for part in found):
            yield f"No candidate lies near the {inside:,} marks of {marks.path}."
    tile = options.scanning(len(found)).tile
    thinned = [part for part in found if part.thinned]
    if thinned and tile is None:
        block, part = max(((part.thinned, part) for part in thinned), key=lambda pair: pair[0])
        most = {"entropy": "of most entropy", "random": "drawn at random"}.get(options.rule, "the most uncertain one")
        yield (
            f"Candidates were thinned: one of every {block} x {block} cells of {part.side} pixels, {most}"
            f"{'' if len(thinned) == len(found) == 1 else f', in {len(thinned)} of {len(found)} scenes'}."
        )
    elif thinned:
        left_out = sum(part.thinned for part in thinned)
        yield f"Candidates were thinned: {left_out:,} less uncertain tiles were not compared."
    empty = sum(part.empty_tiles for part in found)
    if empty:
        yield f"{empty:,} tiles at borders or with too little observed were left out."
    coarse = next((part.side for part in found if tile and tile % part.side), None)
    if tile and coarse:
        yield f"Tiles are whole cells of {coarse} pixels: {max(1, round(tile / coarse)) * coarse} pixels a side."
