"""Random crops of a folder of rasters: the unlabelled images that upsamplers learn from."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.sources.network import Network
from earthwords.types import Window

OPEN = 64
"""Scenes kept open at once."""
LEAST_VALID = 0.75
"""Share of a crop that must be observed, if the scene has such a place."""
TRIES = 8
"""Places that are looked at in a scene with holes before the best of them is taken."""


class Crops:
    """Square crops, of an image drawn uniformly and a place drawn uniformly in it.

    Images smaller than a crop are continued by reflection, as SimFeatUp does (https://arxiv.org/abs/2410.01768);
    pixels that were not observed get the mean colour of the crop.
    """

    def __init__(
        self,
        sources: Sequence[str],
        *,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
        network: Network = Network.NAMED,
    ) -> None:
        """Take the rasters `sources`, each opened when it is drawn; the options are those of `open_scene`."""
        if not sources:
            raise SourceError("There are no images to take crops from.")
        self.sources = tuple(sources)
        self._how: dict[str, Any] = {"bands": bands, "gsd": gsd, "nodata": nodata, "stretch": stretch}
        self._network = network
        self._open: OrderedDict[str, Scene] = OrderedDict()

    @property
    def digest(self) -> str:
        """Names the sources, in order, and how they are read."""
        return hashlib.sha256(repr((self.sources, self._how)).encode()).hexdigest()[:16]

    def __call__(self, rng: np.random.Generator, count: int, side: int) -> NDArray[np.float32]:
        """`(count, 3, side, side)`, red, green and blue in 0..1.

        Raises:
            SourceError: an image that was drawn cannot be read.
        """
        chosen = rng.integers(len(self.sources), size=count)
        return np.stack([self._crop(self._scene(self.sources[i]), rng, side) for i in chosen])

    def _crop(self, scene: Scene, rng: np.random.Generator, side: int) -> NDArray[np.float32]:
        height, width = min(side, scene.grid.height), min(side, scene.grid.width)
        best: tuple[float, NDArray[np.float32]] | None = None
        for _ in range(TRIES):
            row, col = (int(rng.integers(n - m + 1)) for n, m in zip(scene.grid.shape, (height, width), strict=True))
            raster = scene.read(Window(row=row, col=col, height=height, width=width))
            share = float(raster.valid.mean())
            if best is None or share > best[0]:
                best = share, _filled(raster.data.astype(np.float32, copy=False), raster.valid)
            if share >= LEAST_VALID:
                break
        assert best is not None
        rows, cols = side - height, side - width
        if not rows and not cols:
            return best[1]
        around = ((0, 0), (rows // 2, rows - rows // 2), (cols // 2, cols - cols // 2))
        return np.pad(best[1], around, mode="reflect" if min(height, width) > 1 else "edge")

    def _scene(self, source: str) -> Scene:
        scene = self._open.pop(source, None)
        if scene is None:
            scene = open_scene(source, **self._how, **self._network.as_options())
        self._open[source] = scene
        if len(self._open) > OPEN:
            self._open.popitem(last=False)[1].close()
        return scene


def _filled(data: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Unobserved pixels in the mean colour of the others."""
    if valid.all():
        return data
    mean = data[:, valid].mean(axis=1) if valid.any() else np.full(3, 0.5, np.float32)
    return np.where(valid, data, mean[:, None, None].astype(np.float32))
