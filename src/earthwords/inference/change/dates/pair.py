"""Two dates opened on the same pixels, and what of both together is known before they are compared."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution, SourceError, UsageError
from earthwords.files.output_tags import OWN, wrote
from earthwords.geo.aligned import AlignedScene
from earthwords.geo.grids.working import working_grid
from earthwords.geo.scene import Scene, SceneSpec
from earthwords.inference.change.dates.shift import SEARCH, UNKNOWN, Shift, find_shift, parts
from earthwords.inference.change.histogram_matching import match_counts
from earthwords.types import Window

COARSER = 1.2
"""So many times larger pixels of the second date make both be looked at in their size."""
NOTED = 0.5
"""Pixels from which on a shift is told to matter."""
LEAST = 0.1
"""Pixels below which no shift is told: it is not known better."""
SEASON = 60
"""Days within the year from which on the season is told."""
LIGHT = 1.8
"""So many times brighter, or of so much more contrast, one of the dates is told to be."""
LEVELS = 256
"""Values of a byte."""
_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class PairFacts:
    """What is found of two dates once and then taken for granted, by every process alike."""

    found: Shift = UNKNOWN
    """How far the second date is displaced."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns that are taken out."""
    tones: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0,) * 6, (1.0,) * 6)
    """Mean and standard deviation of red, green and blue of the first date, then of the second."""
    table: bytes | None = None
    """`AlignedScene.table`, which matches the histogram of the second date to that of the first."""
    theta: float | None = None
    """Degrees, the angle that decides for both dates where none was told."""
    query: tuple[float, ...] = ()
    """Feature of the things that were clicked, `(dim,)`; empty: everything is looked for."""
    query_area: float = 0.0
    """Pixels of the working grid that one of them has."""


@dataclass(frozen=True, kw_only=True)
class PairSpec:
    """How to open two dates, here or in another process."""

    before: SceneSpec
    after: SceneSpec
    facts: PairFacts = field(default_factory=PairFacts)

    def check(self) -> None:
        """Refuse the same raster twice.

        Raises:
            UsageError: it is.
        """
        first, second = self.before.source, self.after.source
        same = first == second or (os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second))
        if same and self.before == replace(self.after, source=first):
            raise UsageError(f"BEFORE and AFTER are both {first}: name two dates.")

    def open(self) -> DatePair:
        """Both dates on the pixels of the first one; `region` is what both cover.

        Raises:
            SourceError, UsageError: as `open_scene`; or there is no common ground, or one of them has no CRS.
        """
        self.check()
        before = self.before.open()
        try:
            after = self._opened_after()
            try:
                return self._aligned(before, after)
            except BaseException:
                after.close()
                raise
        except BaseException:
            before.close()
            raise

    def _opened_after(self) -> Scene:
        try:
            return self.after.open()
        except UsageError as error:
            if "--bands" not in str(error):
                raise
            raise UsageError(f"{error} That is AFTER, {self.after.source}: --bands-after names its bands.") from error

    def _aligned(self, before: Scene, after: Scene) -> DatePair:
        if (before.native.crs is None) != (after.native.crs is None):
            known, unknown = (before, after) if after.native.crs is None else (after, before)
            raise SourceError(
                f"{unknown.source} has no CRS and {known.source} has one, so where they lie on each other is unknown; "
                "give it its CRS, such as by gdal_edit.py -a_srs."
            )
        moved = AlignedScene(after, before, shift=self.facts.shift)
        if self.facts.table is not None:
            moved.table = np.frombuffer(self.facts.table, np.float32).reshape(3, LEVELS)
        before.region = moved.region
        return DatePair(before, moved)


class DatePair:
    """Two open dates; a context manager that closes both."""

    def __init__(self, before: Scene, after: AlignedScene) -> None:
        self.before = before
        self.after = after

    def __enter__(self) -> DatePair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both."""
        self.before.close()
        self.after.close()

    @property
    def scenes(self) -> tuple[Scene, Scene]:
        """First the earlier one."""
        return self.before, self.after

    @property
    def region(self) -> Window:
        """What both cover, in pixels of the first date."""
        return self.before.region

    @property
    def zoom(self) -> float:
        """Pixels of the first date along a pixel of the working grid, at least 1."""
        return max(1.0, self.before.native.width / self.before.grid.width)

    def within(self, region: Window) -> DatePair:
        """The same files with another region."""
        before, after = copy.copy(self.before), copy.copy(self.after)
        before.region = after.region = region
        return DatePair(before, after)

    def at_working_gsd(self, gsd: float | None, *, asked: float | None = None) -> DatePair:
        """The same files at a ground sample distance, or that of the second date where it is much coarser.

        Args:
            gsd: metres; None: the pixels of the first date.
            asked: what was asked for, which counts whatever the dates are.
        """
        own, other = self.before.native.gsd_m, self.after.own.gsd_m
        if own is not None and other is not None and other > COARSER * (gsd or own):
            gsd = other
        gsd = gsd if asked is None else asked
        grid = self.before.native if gsd is None else working_grid(self.before.native, gsd)
        before, after = self.before.gridded(grid.shape), self.after.gridded(grid.shape)
        assert isinstance(after, AlignedScene)
        return DatePair(before, after)

    def scales(self, count: int, finest: float | None) -> list[DatePair]:
        """The same files at so many resolutions: this one, one twice as fine, and so on.

        Args:
            finest: ground sample distance below which there is none, metres; None: there is no such.
        """
        found: list[DatePair] = [self]
        for _ in range(count - 1):
            height, width = (2 * side for side in found[-1].before.grid.shape)
            before, after = self.before.gridded((height, width)), self.after.gridded((height, width))
            gsd = before.grid.gsd_m
            if finest is not None and gsd is not None and gsd < 0.99 * finest:
                break
            assert isinstance(after, AlignedScene)
            found.append(DatePair(before, after))
        return found

    def find(self, *, align: bool, match_histogram: bool, search: float = SEARCH) -> PairFacts:
        """What is to be known before the dates are compared.

        Args:
            align: take a shift out.
            match_histogram: give the second date the histogram of the first.
            search: pixels in either direction within which a shift is believed.
        """
        found = find_shift(self.before, self.after)
        shift = (found.rows, found.cols) if align and found.is_sure and not found.is_beyond(search) else (0.0, 0.0)
        after = self.after.shifted(shift)
        table = self._table(after) if match_histogram else None
        after.table = table
        tones = _tones(self.before, after)
        return PairFacts(found=found, shift=shift, tones=tones, table=None if table is None else table.tobytes())

    def _table(self, after: AlignedScene) -> NDArray[np.float32]:
        """See `match_counts`, cut to whole values; of all pixels that both show, some rows at a time."""
        counts = np.zeros((2, 3, LEVELS), np.int64)
        for window in _bands(after.region):
            first, second = self.before.read_rgb(window), after.read_rgb(window)
            both = first.valid & second.valid
            for i, raster in enumerate((first, second)):
                levels = np.rint(raster.data[:, both] * 255).astype(np.uint8)
                counts[i] += [np.bincount(band, minlength=LEVELS) for band in levels]
        if not counts.any():
            raise SourceError(f"{self.before.source} and {after.source} show no pixel in common.")
        found = [np.floor(match_counts(*bands)) for bands in zip(counts[1], counts[0], strict=True)]
        return np.stack(found).astype(np.float32) / np.float32(255)

    def own_notes(self) -> Iterator[str]:
        """What is to be said about each date, with its name."""
        common = set(self.before.notes) & set(self.after.notes)
        for scene in self.scenes:
            for note in scene.notes:
                if note.endswith(f"{OWN}."):
                    yield _of_output(scene.source)
                    continue
                whose = "Both dates" if note in common else scene.source
                yield note if scene.source in note else type(note)(f"{whose}: {note}")

    def notes(self, facts: PairFacts, *, align: bool, search: float = SEARCH) -> tuple[str, ...]:
        """What is to be said about the two of them."""
        notes = [
            *self._of_grids(),
            *self._of_dates(),
            *self._of_light(facts),
            _of_shift(facts, self.before.native.ground_pixel_m, align, search),
        ]
        if self.before.is_grey != self.after.is_grey:
            grey, coloured = self.scenes if self.before.is_grey else self.scenes[::-1]
            notes.append(
                Caution(f"{grey.source} is grey and {coloured.source} is not: colours alone look like change.")
            )
        return tuple(notes)

    def _of_grids(self) -> Iterator[str]:
        before, after = self.before, self.after
        if before.native.crs is None:
            yield "Neither date has a CRS: their pixels are taken to lie on each other by their coordinates."
        if after.own.crs != before.native.crs or after.own.transform != before.native.transform:
            how = "other pixels" if after.own.crs == before.native.crs else "another CRS"
            yield f"{after.source} has {how} and is read on those of {before.source}."
        share = self.region.height * self.region.width / (before.native.height * before.native.width)
        if share < 0.999:
            yield f"Both dates cover {share:.1%} of {before.source}."
        own, worked = before.native.gsd_m, before.grid.gsd_m
        other = after.own.gsd_m
        if own is not None and worked is not None and other is not None and other > COARSER * own:
            yield (
                f"{after.source} has pixels of {other:.3g} m, {before.source} of {own:.3g} m: what is smaller "
                f"than the larger ones is missed (worked at {worked:.3g} m)."
            )

    def _of_dates(self) -> Iterator[str]:
        first, second = self.before.date(), self.after.date()
        if first is not None and second is not None and second < first:
            yield Caution(
                f"{self.after.source} is of {second}, before {self.before.source} of {first}: are the dates swapped?"
            )
        if first is not None and second is not None and (apart := _days_apart(first, second)) > SEASON:
            yield f"The dates are about {apart} days apart within the year: plants and water differ by the season."

    def _of_light(self, facts: PairFacts) -> Iterator[str]:
        bright, contrast = (max(sum(part[3:]), 1e-6) / max(sum(part[:3]), 1e-6) for part in facts.tones)
        if max(bright, 1 / bright, contrast, 1 / contrast) > LIGHT:
            yield (
                f"Light or sensor differ: the second date has {bright:.0%} of the first one's brightness and "
                f"{contrast:.0%} of its contrast; --match-histogram evens that out."
            )


def output_cautions(sources: Iterable[str]) -> tuple[Caution, ...]:
    """Dates that are outputs of earthwords, told before any is opened."""
    return tuple(_of_output(source) for source in sources if wrote(source))


def _of_output(source: str) -> Caution:
    return Caution(f"{source} {OWN}: it is a result, no image of a date.")


def _of_shift(facts: PairFacts, pixel: tuple[float, float] | None, align: bool, search: float) -> str:
    """What is known of a shift, in one sentence."""
    found = facts.found
    if not found.is_sure:
        note = "Whether the dates are shifted against each other is unknown: no shift stands out."
        return Caution(f"{note} Nothing was taken out.") if align else note
    size = f"{found.pixels:.1f} px"
    if pixel is not None:
        size += f" ({np.hypot(found.rows * pixel[1], found.cols * pixel[0]):.3g} m)"
    if found.is_beyond(search):
        return Caution(
            f"The dates seem to be shifted by {size}, beyond the {search:g} px that are believed: bring them together "
            "first, or give more by --search."
        )
    if found.pixels < LEAST:
        return f"The dates lie on each other within {LEAST:g} px."
    if found.pixels < NOTED:
        return f"The dates lie on each other within {size}{'; that was taken out' if align else ''}."
    ways = ((found.rows, "down", "up"), (found.cols, "right", "left"))
    where = ", ".join(f"{abs(by):.1f} px {more if by > 0 else less}" for by, more, less in ways if abs(by) >= LEAST / 2)
    if align:
        return f"The second date is shifted by {size}: {where}; that was taken out."
    return Caution(f"The second date is shifted by {size}: {where}; --align takes that out.")


def _days_apart(first: str, second: str) -> int:
    """About how many, of two days `YYYY-MM-DD`, whatever their years."""
    one, other = (30.4 * int(day[5:7]) + int(day[8:10]) for day in (first, second))
    return round(min(abs(one - other), 365 - abs(one - other)))


def _tones(before: Scene, after: AlignedScene) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """See `PairFacts.tones`; of parts spread over what both cover."""
    sums, squares, count = np.zeros(6), np.zeros(6), 0
    for window in parts(after.region):
        first, second = before.read_rgb(window), after.read_rgb(window)
        both = first.valid & second.valid
        values = np.concatenate([first.data[:, both], second.data[:, both]]).astype(np.float64)
        sums, squares, count = sums + values.sum(axis=1), squares + (values**2).sum(axis=1), count + int(both.sum())
    mean = sums / max(count, 1)
    spread = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 1e-6))
    return tuple(mean.tolist()), tuple(spread.tolist())


def _bands(region: Window) -> Iterator[Window]:
    for row in range(0, region.height, _ROWS):
        yield replace(region, row=region.row + row, height=min(_ROWS, region.height - row))
