"""Maps of probabilities that `segment --probabilities` wrote, read in rows."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from earthwords.errors import SourceError, UsageError
from earthwords.files.output_tags import TAG, wrote
from earthwords.geo.grids.georeference import Bounds, grid_of, window_of_bounds
from earthwords.geo.sources.find import find_sources, is_pattern
from earthwords.geo.sources.gdal_dataset import aside, open_dataset, reading
from earthwords.geo.sources.network import Network
from earthwords.types import SCORE_STEPS, Grid

KIND = "probabilities"
NAME = "probabilities.tif"
"""Of a folder that `segment` made."""
_HOW = "make one by `segment SRC DST -t WORDS --probabilities uint8`, or name the classes here by -t"


@dataclass(kw_only=True)
class ProbabilityMap:
    """An open map; a context manager. Make one with `open_map`."""

    path: str
    grid: Grid
    titles: tuple[str, ...]
    """Of the classes, a band each."""
    tags: dict[str, str]
    """`EARTHWORDS_...`: how it was made."""
    _dataset: DatasetReader
    _first: tuple[int, int] = (0, 0)
    """Row and column of the grid in the file."""

    def within(self, bounds: Bounds) -> ProbabilityMap:
        """The part that bounds touch.

        Raises:
            UsageError: they touch nothing.
        """
        part = window_of_bounds(self.grid, bounds)
        return replace(self, grid=self.grid.window(part), _first=(part.row, part.col))

    def rows(self, row: int, height: int) -> NDArray[np.float32]:
        """`(class, height, width)` 0..1, NaN where nothing was observed.

        Raises:
            SourceError: the file is damaged there.
        """
        return self._read(row, 0, height, self.grid.width)

    def pixel(self, row: int, col: int) -> NDArray[np.float32]:
        """`(class,)`, as `rows`."""
        return self._read(row, col, 1, 1)[:, 0, 0]

    def _read(self, row: int, col: int, height: int, width: int) -> NDArray[np.float32]:
        window = RasterWindow(self._first[1] + col, self._first[0] + row, width, height)

        def read() -> NDArray[np.generic]:
            with reading(self.path, f"rows {row} to {row + height}", Network.NONE):
                return np.asarray(self._dataset.read(window=window))

        values = aside(read)
        if values.dtype != np.uint8:
            return values.astype(np.float32)
        return np.where(values == 255, np.float32(np.nan), values.astype(np.float32) / np.float32(self._scale))

    @property
    def is_rounded(self) -> bool:
        """Whether the file holds whole steps."""
        return str(self._dataset.dtypes[0]) == "uint8"

    @property
    def _scale(self) -> float:
        text = self.tags.get("EARTHWORDS_SCALE", "").rpartition("/")[2].strip()
        return float(text) if text else float(SCORE_STEPS)

    @property
    def threshold(self) -> float:
        """Least probability of a label in the map beside it, 0 without one; a single class's own goes before."""
        for part in reversed(self.tags.get("EARTHWORDS_THRESHOLD", "").split(";")):
            title, _, number = part.strip().rpartition(" ")
            if title in ("", *self.titles[:1]) and (not title or len(self.titles) == 1):
                try:
                    return float(number)
                except ValueError:
                    return 0.0
        return 0.0

    def __enter__(self) -> ProbabilityMap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        aside(self._dataset.close)


def open_map(path: str) -> ProbabilityMap:
    """Open a raster of probabilities.

    Raises:
        SourceError: missing, no raster, or not of probabilities.
    """

    def start() -> ProbabilityMap:
        dataset = open_dataset(path, network=Network.NONE)
        with reading(path, "the header", Network.NONE):
            tags = dict(dataset.tags())
            if tags.get(TAG) != KIND:
                dataset.close()
                raise SourceError(f"{path} is no map of probabilities; {_HOW}.")
            titles = tuple(name or f"class {i}" for i, name in enumerate(dataset.descriptions))
            return ProbabilityMap(path=path, grid=grid_of(dataset)[0], titles=titles, tags=tags, _dataset=dataset)

    return aside(start)


def find_maps(src: str) -> list[str]:
    """The maps of probabilities that `src` means: one, that of a folder of `segment` or of labels, or many.

    Raises:
        UsageError: a map of labels has no probabilities beside it.
    """
    if os.path.isdir(src):
        own = Path(src, NAME)
        inside = [own] if own.is_file() else sorted(Path(src).rglob("*.tif"))
        return _of_kind(map(str, inside))
    if src.startswith("@"):
        return _of_kind(find_sources(src) or [])
    if is_pattern(src):
        return _of_kind(sorted(filter(os.path.isfile, glob.glob(src, recursive=True))))
    if not os.path.isfile(src) or not wrote(src):
        return []
    if found := _of_kind([src]):
        return found
    path = Path(src)
    beside = path.with_name(NAME) if path.name == "labels.tif" else path.with_name(f"{path.stem}_{NAME}")
    if beside.is_file():
        return _of_kind([str(beside)])
    raise UsageError(f"{src} is a map without probabilities ({beside.name} is not beside it); {_HOW}.")


def no_map(src: str) -> UsageError:
    """Neither a map nor words."""
    return UsageError(f"{src} holds no map of probabilities; {_HOW}.")


def is_map(path: str) -> bool:
    """Whether a file is a map of probabilities that earthwords wrote."""

    def ask() -> bool:
        with open_dataset(path, network=Network.NONE) as dataset:
            return bool(dataset.tags().get(TAG) == KIND)

    return os.path.isfile(path) and wrote(path) and aside(ask)


def _of_kind(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if is_map(path)]
