"""Marks of any kind as pixels of scenes: points, polygons, label rasters, folders of images with masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from earthwords.errors import Caution, UsageError, number_of, some_of
from earthwords.geo.class_raster import ClassRaster, open_classes
from earthwords.geo.grids.georeference import pixel_to_crs
from earthwords.geo.scene import Scene
from earthwords.geo.vectors.feature_pixels import marked_pixels, within
from earthwords.geo.vectors.features import as_text, read_features
from earthwords.geo.vectors.into_pixels import IntoPixels

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

MOST_OF_ONE = 25
"""Pixels of a polygon that are learned from."""
MOST_OF_CLASS = 2000
"""Marks of a class that are learned from."""
RASTER_SAMPLE = 400
"""Pixels of a class and scene of a label raster that are learned from."""
BLOCK = 64
"""Side of a piece of a label raster, in its pixels, whose pixels of one class are one mark."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Marked pixels of one scene."""

    pixels: NDArray[np.int64]
    """`(n, 2)` row and column in the scene's own grid."""
    titles: NDArray[np.object_]
    """`(n,)` what each is marked as."""
    mark: NDArray[np.int64]
    """`(n,)`: pixels of one point, polygon or piece have one number, the same in all scenes."""

    def __len__(self) -> int:
        return len(self.pixels)

    shapes: NDArray[np.object_] | None = None
    """The points and polygons in pixels, which mark more pixels than are learned from."""

    def part(self, kept: NDArray[np.bool_]) -> Marks:
        """Some of them."""
        return replace(self, pixels=self.pixels[kept], titles=self.titles[kept], mark=self.mark[kept])

    def covers(self, pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether pixels `(n, 2)` are marked, learned from or not."""
        found = np.zeros(len(pixels), bool)
        if self.shapes is not None and len(pixels):
            found[within(pixels, self.shapes)[0]] = True
        return found


def _moved(source: str, crs: Any, scene: Scene) -> list[str]:
    """A word about marks in another CRS than their scene: they are reprojected, or taken as they are."""
    own = scene.native.crs
    if own is None and crs:
        name = f"{Path(source).name} (CRS {CRS.from_user_input(crs).name})"
        return [f"{Path(scene.source).name} has no CRS: coordinates of the marks of {name} are taken as its own."]
    if own is None or not IntoPixels(crs, scene.native, source=source).moved:
        return []
    return [f"Marks were reprojected to the CRS of their scenes, {own.name}."]


def tidy(title: str) -> str:
    """A class as a word: one line of what can be printed, spaces for underscores."""
    return " ".join("".join(c for c in title.replace("_", " ") if c.isprintable()).split())


class VectorLabels:
    """A vector file: features with a column of classes."""

    def __init__(self, marks: Path | GeoDataFrame, *, column: str | None, seed: int) -> None:
        features = read_features(marks, kinds="mixed", what="marks")
        self.column = features.column(column)
        titles = np.array([tidy(as_text(value)) for value in features.columns[self.column]], dtype=object)
        named = titles != ""
        self.notes: list[str] = []
        if not named.any():
            raise UsageError(
                f"The column {self.column!r} of {features.source} is empty: write the class of each mark into it."
            )
        if features.left_out:
            self.notes.append(f"{number_of(features.left_out, 'mark')} without a shape left out.")
        if not named.all():
            self.notes.append(
                f"{number_of(int((~named).sum()), 'mark')} of {Path(features.source).name} without a class left out."
            )
        self.titles = titles[named]
        self.features = features.part(named)
        self.seed = seed
        self.source = features.source
        self._thin()
        self.used = np.zeros(len(self.titles), bool)

    def _thin(self) -> None:
        """At most so many features a class."""
        kept, rng = np.ones(len(self.titles), bool), np.random.default_rng(self.seed)
        thinned: list[str] = []
        for title in sorted(set(self.titles)):
            own = np.flatnonzero(self.titles == title)
            if len(own) > MOST_OF_CLASS:
                kept[rng.permutation(own)[MOST_OF_CLASS:]] = False
                thinned.append(f"{title!r} ({len(own):,})")
        if thinned:
            self.notes.append(f"Of the marks of {some_of(thinned)}, {MOST_OF_CLASS:,} each were drawn.")
        self.titles, self.features = self.titles[kept], self.features.part(kept)

    def on(self, scene: Scene) -> Marks:
        """The marks of a scene."""
        pixels, owner, shapes = marked_pixels(self.features, scene.native, most=MOST_OF_ONE, seed=self.seed)
        self.used[np.unique(owner)] = True
        self.notes += _moved(self.source, self.features.crs, scene) if len(pixels) else []
        marks = Marks(pixels=pixels, titles=self.titles[owner], mark=owner, shapes=shapes)
        return self._without_contradictions(marks, shapes, scene) if len(marks) else marks

    def _without_contradictions(self, marks: Marks, shapes: NDArray[np.object_], scene: Scene) -> Marks:
        """Without pixels that are marked as several classes."""
        pixel, shape = within(marks.pixels, shapes)
        other = self.titles[shape] != marks.titles[pixel]
        kept = np.ones(len(marks), bool)
        kept[pixel[other]] = False
        if other.any():
            titles = zip(marks.titles[pixel[other]], self.titles[shape[other]], strict=True)
            pairs = sorted({tuple(sorted(map(str, pair))) for pair in titles})
            both = "; ".join(f"{a!r} and {b!r}" for a, b in pairs[:3])
            name, where = Path(scene.source).name, number_of(int((~kept).sum()), "pixel")
            self.notes.append(Caution(f"In {name} the marks {both} overlap: {where} left out; mend them."))
        return marks.part(kept)

    def finish(self, scenes: int) -> list[str]:
        """What to say when all scenes were seen.

        Raises:
            UsageError: no mark lies in any.
        """
        missed = int((~self.used).sum())
        if missed == len(self.used):
            raise UsageError(
                f"None of the {number_of(missed, 'mark')} of {self.source} lies in {number_of(scenes, 'scene')}; look "
                "at both on a map, and at their CRS."
            )
        return [
            *dict.fromkeys(self.notes),
            *([f"{number_of(missed, 'mark')} beside the scenes left out."] if missed else []),
        ]


class RasterLabels:
    """A label raster over the scenes."""

    def __init__(self, path: Path, *, names: Path | None, titles: Sequence[str], seed: int) -> None:
        self.source = str(path)
        self.raster: ClassRaster = open_classes(path, names=names)
        self.titles = titles
        """Of values that the raster gives no name, in their order."""
        self.seed = seed
        self.notes: list[str] = []
        self.found = 0

    def title(self, value: int) -> str | None:
        """The class of a value; None: nobody says."""
        if value in self.raster.names:
            return tidy(self.raster.names[value].title)
        return self.titles[value] if not self.raster.names and 0 <= value < len(self.titles) else None

    def on(self, scene: Scene) -> Marks:
        """Some pixels of every class, drawn from a few pieces."""
        own = self.raster.grid
        same = own.crs is None and scene.native.crs is None and own.shape == scene.native.shape
        rows, cols, values = self._sampled()
        if same:
            places, inside = np.stack([rows, cols], axis=1), np.ones(len(rows), bool)
        else:
            way = IntoPixels(own.crs, scene.native, source=self.source, onto=scene.source)
            places, inside = way.pixels(np.stack(pixel_to_crs(own, cols + 0.5, rows + 0.5), axis=1))
            self.notes += _moved(self.source, own.crs, scene) if inside.any() and own.crs is not None else []
        self.found += int(inside.sum())
        piece = rows // BLOCK * (own.width // BLOCK + 1) + cols // BLOCK
        mark = np.unique(np.stack([piece, values], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        titles = np.array([self.title(int(v)) for v in values], dtype=object)
        return Marks(pixels=places[inside], titles=titles[inside], mark=mark[inside].astype(np.int64))

    def _sampled(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row, column and value of pixels: of each value at most `RASTER_SAMPLE`, from whole pieces where possible."""
        drawn: dict[int, list[NDArray[np.int64]]] = {}
        seen: dict[int, int] = {}
        unnamed: set[int] = set()
        for row, values, valid in self.raster.strips():
            for value in np.unique(values[valid]).tolist():
                if self.title(value) is None:
                    unnamed.add(value)
                    continue
                down, across = np.nonzero(valid & (values == value))
                seen[value] = seen.get(value, 0) + len(down)
                some = _first(_drawn(down + row, across, self.seed), 4 * RASTER_SAMPLE)
                drawn.setdefault(value, []).append(np.stack([down[some] + row, across[some]], axis=1))
        found, thinned = [], []
        for value, parts in sorted(drawn.items()):
            places = np.concatenate(parts)
            tall, wide = (places // BLOCK).T
            piece = tall * (self.raster.grid.width // BLOCK + 1) + wide
            order = np.lexsort((_drawn(places[:, 0], places[:, 1], self.seed), piece, _drawn(tall, wide, self.seed)))
            taken = _spread(order, piece, most=RASTER_SAMPLE)
            found.append(np.column_stack([places[taken], np.full(len(taken), value)]))
            if seen[value] > RASTER_SAMPLE:
                thinned.append(f"{self.title(value)!r} ({len(taken):,} of {seen[value]:,})")
        if thinned:
            self.notes.append(f"Pixels were drawn of {some_of(thinned)}.")
        if unnamed:
            shown = ", ".join(map(str, sorted(unnamed)[:8]))
            self.notes.append(f"Values without a name left out: {shown}.")
        if not found:
            raise UsageError(f"{self.source} holds no pixel of a class that has a name; give names with --names FILE.")
        rows, cols, values = np.concatenate(found).T
        return rows, cols, values

    def close(self) -> None:
        """Close the file."""
        self.raster.__exit__()

    def finish(self, scenes: int) -> list[str]:
        """As `VectorLabels.finish`."""
        self.close()
        if not self.found:
            where = number_of(scenes, "scene")
            raise UsageError(f"No labelled pixel of {self.source} lies in {where}; look at both on a map.")
        return list(dict.fromkeys(self.notes))


class MaskFolder:
    """Images, each with a mask of its own."""

    def __init__(
        self, folder: Path, pairs: Sequence[tuple[Path, Path]], *, names: Path | None, titles: Sequence[str], seed: int
    ) -> None:
        self.folder = folder
        self.masks = {str(image): mask for image, mask in pairs}
        self.names = names
        self.titles = titles
        self.seed = seed
        self.notes: list[str] = []
        self.found = self.marks = 0

    def on(self, scene: Scene) -> Marks:
        """Some pixels of the scene's mask."""
        labels = RasterLabels(self.masks[scene.source], names=self.names, titles=self.titles, seed=self.seed)
        try:
            if labels.raster.grid.shape != scene.native.shape:
                (tall, wide), (high, broad) = labels.raster.grid.shape, scene.native.shape
                raise UsageError(
                    f"{labels.source} has {tall} x {wide} pixels and its image {high} x {broad}; a mask has the size "
                    "of its image."
                )
            marks = labels.on(scene)
        finally:
            labels.close()
        self.notes += [note for note in labels.notes if "drawn" not in note]
        marks = replace(marks, mark=marks.mark + self.marks)
        self.found, self.marks = self.found + len(marks), int(marks.mark.max(initial=self.marks)) + 1
        return marks

    def finish(self, scenes: int) -> list[str]:
        """As `VectorLabels.finish`."""
        if not self.found:
            raise UsageError(f"No mask of {self.folder} holds a pixel of a class that has a name.")
        drawn = f"Of each mask at most {RASTER_SAMPLE} pixels of a class were drawn."
        return [drawn, *dict.fromkeys(self.notes)]


def _drawn(rows: NDArray[np.int64], cols: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A random number for each place, the same wherever it is asked for: a mended map draws the same pixels elsewhere.

    The mixing is that of SplitMix64 (https://doi.org/10.1145/2660193.2660195).
    """
    mixed = rows.astype(np.uint64) << np.uint64(32) ^ cols.astype(np.uint64) ^ np.uint64(seed << 1 & 2**63 - 1)
    for factor, shift in ((0x9E3779B97F4A7C15, 30), (0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        mixed = mixed * np.uint64(factor)
        mixed = mixed ^ mixed >> np.uint64(shift)
    return mixed


def _first(numbers: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    """Indices of the smallest ones, ascending by number."""
    some = np.argpartition(numbers, most)[:most] if len(numbers) > most else np.arange(len(numbers))
    return some[np.argsort(numbers[some], kind="stable")]


def _spread(order: NDArray[np.int64], piece: NDArray[np.int64], *, most: int) -> NDArray[np.int64]:
    """The first of an order, at most 1/20 of `most` of a piece, until there are `most`."""
    each = max(1, most // 20)
    _, first, count = np.unique(piece[order], return_index=True, return_counts=True)
    within = np.empty(len(order), np.int64)
    for begin, number in zip(first, count, strict=True):
        within[begin : begin + number] = np.arange(number)
    return order[within < each][:most]
