"""Our own rasters of labels and of scores, read in rows and at single pixels."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow

from earthwords.geo.grids.georeference import grid_of
from earthwords.geo.sources.gdal_dataset import aside, open_dataset, reading
from earthwords.geo.sources.network import Network
from earthwords.types import Colour


class LabelRows:
    """An open local raster; a context manager."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            SourceError: it is missing, or no raster.
        """
        self.path = path
        self._dataset = aside(lambda: open_dataset(str(path), network=Network.NONE))
        self.shape: tuple[int, int] = self._dataset.shape
        self.grid = aside(lambda: grid_of(self._dataset)[0])

    def rows(self, row: int, height: int) -> NDArray[Any]:
        """`(row, col)` of full-width rows of the first band.

        Raises:
            SourceError: the file is damaged there.
        """
        return self._read(RasterWindow(0, row, self.shape[1], height))

    def pixel(self, row: int, col: int) -> int:
        """The value of a pixel."""
        return int(self._read(RasterWindow(col, row, 1, 1))[0, 0])

    def _read(self, window: RasterWindow) -> NDArray[Any]:
        def read() -> NDArray[Any]:
            with reading(str(self.path), f"rows from {window.row_off}", Network.NONE):
                return np.asarray(self._dataset.read(1, window=window))

        return aside(read)

    def colours(self) -> dict[int, Colour]:
        """Value to colour; none without a colour table."""

        def read() -> dict[int, Colour]:
            try:
                table = self._dataset.colormap(1)
            except ValueError:
                return {}
            return {value: (colour[0], colour[1], colour[2]) for value, colour in table.items()}

        return aside(read)

    def __enter__(self) -> LabelRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        aside(self._dataset.close)
