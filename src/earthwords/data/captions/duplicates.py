"""Which images are left out because they are there already, and the tables that tell of it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.data.annotations.example import Annotated
from earthwords.data.annotations.image_io import read_rgb
from earthwords.data.captions import perceptual_hash
from earthwords.data.captions.perceptual_hash import Hashes
from earthwords.data.captions.records import CaptionTask, example_of
from earthwords.errors import SourceError
from earthwords.files.output_tags import save_png
from earthwords.files.plaintext import csv_cell
from earthwords.viz.captioned_sheet import EMPTY, LINE, MARGIN, PAPER, captioned_sheet

SIDE, COLUMNS = 128, 4
MOST = 48
"""Pairs on a sheet."""

Flags: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.int64]
Record: TypeAlias = dict[str, Any]
"""A line of `records.examine`."""


@dataclass(frozen=True, kw_only=True)
class DuplicateSearch:
    """How duplicates are looked for."""

    within: bool = True
    """Whether duplicates among the sources are left out; those of test sets always are."""
    threshold: int = perceptual_hash.THRESHOLD
    """Largest distance of duplicates."""
    orientations: int = len(perceptual_hash.ORIENTATIONS)
    """How many of `perceptual_hash.ORIENTATIONS` count."""


@dataclass(frozen=True, kw_only=True)
class ImageHashes:
    """All images of all parts, sources first, one entry each."""

    hashes: Hashes
    flat: Flags
    wanted: Flags
    """With captions."""
    bad: Flags
    tests: Flags
    errors: list[str]

    @staticmethod
    def read(parts: Iterable[Iterable[Record]], units: Sequence[CaptionTask]) -> ImageHashes:
        """Stream the records of all units."""
        rows: list[tuple[int, bool, bool, bool, bool]] = []
        errors = []
        for records, unit in zip(parts, units, strict=True):
            for record in records:
                value = int(record.get("hash", "0"), 16)
                bad, good = "error" in record, bool(record.get("captions"))
                rows.append((value, record.get("flat", False), good, bad, unit.test))
                if bad:
                    errors.append(record["error"])
        columns = list(zip(*rows, strict=True)) or [()] * 5
        flags = [np.array(column, dtype=bool) for column in columns[1:]]
        return ImageHashes(
            hashes=np.array(columns[0], dtype=np.uint64),
            flat=flags[0],
            wanted=flags[1],
            bad=flags[2],
            tests=flags[3],
            errors=errors,
        )


@dataclass(kw_only=True)
class Copies:
    """Of every image the one that it is a copy of, or -1."""

    like: Numbers
    distance: Numbers
    orientation: Numbers
    is_test: Flags

    @property
    def dropped(self) -> Flags:
        return np.asarray(self.like >= 0)

    @property
    def by_test(self) -> Flags:
        """Whether it is a copy of an image of a test set."""
        return np.asarray(self.dropped & self.is_test[self.like])

    def mark_tests(self, hashes: Hashes, mine: Numbers, tests: Numbers, how: DuplicateSearch) -> None:
        """Drop what is near a test image."""
        for j, i, distance, orientation in _rows(
            perceptual_hash.near(hashes[mine], hashes[tests], threshold=how.threshold, orientations=how.orientations)
        ):
            if self.like[mine[j]] < 0 or distance < self.distance[mine[j]]:
                self._drop(mine[j], tests[i], distance, orientation)

    def mark_within(self, hashes: Hashes, mine: Numbers, how: DuplicateSearch) -> None:
        """Drop what is near one before it that is kept. Of equal hashes only the first takes part in the search."""
        unique, first, inverse = np.unique(hashes[mine], return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        heads = mine[first[order]]
        for j, i, distance, orientation in _rows(
            perceptual_hash.near(unique[order], threshold=how.threshold, orientations=how.orientations)
        ):
            if self.like[heads[i]] < 0 and self.like[heads[j]] < 0:
                self._drop(heads[j], heads[i], distance, orientation)
        for which, head in zip(mine.tolist(), mine[first[inverse]].tolist(), strict=True):
            if which != head and self.like[head] < 0:
                self._drop(which, head, 0, 0)
            elif which != head:
                self._drop(which, self.like[head], self.distance[head], self.orientation[head])

    def _drop(self, which: int, like: int, distance: int, orientation: int) -> None:
        self.like[which], self.distance[which], self.orientation[which] = like, distance, orientation


def find_copies(finds: ImageHashes, search: DuplicateSearch) -> Copies:
    """Copies of test images, then copies of images that come before."""
    nobody = np.full(len(finds.wanted), -1)
    copies = Copies(like=nobody, distance=nobody.copy(), orientation=nobody.copy(), is_test=finds.tests)
    for flat in (False, True):
        mine = np.flatnonzero(finds.wanted & (finds.flat == flat))
        tests = np.flatnonzero(finds.tests & ~finds.bad & (finds.flat == flat))
        # the hash of a flat image is one of its pixels
        how = DuplicateSearch(threshold=0, orientations=1) if flat else search
        if len(tests):
            copies.mark_tests(finds.hashes, mine, tests, how)
        if search.within:
            copies.mark_within(finds.hashes, mine[copies.like[mine] < 0], how)
    return copies


def list_copies(copies: Copies, records: Iterable[Record], *, table: Path, sheet: Path) -> None:
    """A row for every image that is left out, and a sheet of the pairs, the least alike first."""
    dropped = np.flatnonzero(copies.dropped)
    involved = set(dropped.tolist()) | set(copies.like[dropped].tolist())
    known = {i: record for i, record in enumerate(records) if i in involved}
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "name", "like_image", "like_name", "in", "distance", "looks"])
        for i in dropped.tolist():
            one, like = known[i], known[int(copies.like[i])]
            where = "test set" if copies.by_test[i] else "sources"
            row = one["image"], one["name"], like["image"], like["name"], where
            orientation = perceptual_hash.ORIENTATIONS[copies.orientation[i]]
            writer.writerow([*map(csv_cell, row), int(copies.distance[i]), orientation])
    order = dropped[np.argsort(-copies.distance[dropped], kind="stable")]
    pairs = [
        (
            example_of(known[i]),
            example_of(known[int(copies.like[i])]),
            f"{copies.distance[i]} bits, {perceptual_hash.ORIENTATIONS[copies.orientation[i]]}",
        )
        for i in order[:MOST].tolist()
    ]
    save_png(_sheet(pairs), sheet, kind="duplicates")


def _sheet(pairs: Sequence[tuple[Annotated, Annotated, str]]) -> Image.Image:
    """What was left out as a copy, beside what it is a copy of."""

    def side_by_side(one: Annotated, other: Annotated) -> Image.Image:
        both = Image.new("RGB", (2 * SIDE + 2, SIDE), PAPER)
        both.paste(_thumbnail(one), (0, 0))
        both.paste(_thumbnail(other), (SIDE + 2, 0))
        return both

    cells = ((side_by_side(one, other), [text]) for one, other, text in pairs)
    cell = 2 * SIDE + 2 * MARGIN, SIDE + LINE + 2 * MARGIN
    return captioned_sheet(cells, count=len(pairs), columns=COLUMNS, cell=cell, top=SIDE)


def _thumbnail(example: Annotated) -> Image.Image:
    """Squeezed into a square, as the hash sees it; grey where it cannot be read any more."""
    try:
        rgb = read_rgb(example.image, example.window, example.bands)
        return Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    except SourceError:
        return Image.new("RGB", (SIDE, SIDE), EMPTY)


def _rows(pairs: perceptual_hash.Pairs) -> Iterator[tuple[int, int, int, int]]:
    """Second, first, distance, orientation."""
    columns = (pairs.second, pairs.first, pairs.distance, pairs.orientation)
    return zip(*(column.tolist() for column in columns), strict=True)
