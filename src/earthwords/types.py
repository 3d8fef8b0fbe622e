"""The nouns that travel between the parts of earthwords.

Said once, for all of them:

* arrays are row-major `(row, col)`; coordinates in a CRS are `(x, y)`;
* masks are True where a pixel is *valid* or *belongs to the object*;
* tensors are NCHW float, images are 0..1 before mean and standard deviation;
* nouns are frozen and keyword-only; they do no I/O and hold no models.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from earthwords.errors import UsageError

Tensor: TypeAlias = Any
"""A `torch.Tensor`; named here without importing torch."""

Colour: TypeAlias = tuple[int, int, int]

SCORE_STEPS = 250
"""A score or probability of 1 as a byte: in rasters, in score pictures and in areas by score; 255 is nodata."""
_TRUE_ENOUGH = 0.02
_BASELINE_M = 1000.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle of pixels: first row and column, height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def row_stop(self) -> int:
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        return self.col + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """`(rows, cols)`, to index a `(row, col)` array."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def intersect(self, other: Window) -> Window | None:
        """The common rectangle, or None when there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_stop, other.row_stop) - row
        width = min(self.col_stop, other.col_stop) - col
        return Window(row=row, col=col, height=height, width=width) if height > 0 and width > 0 else None

    def slices_in(self, whole: Window) -> tuple[slice, slice]:
        """`(rows, cols)`, to index an array of a window that holds this one."""
        row, col = self.row - whole.row, self.col - whole.col
        return slice(row, row + self.height), slice(col, col + self.width)

    def halves(self, axis: int) -> tuple[Window, Window]:
        """The upper and the lower half, or (axis 1) the left and the right one."""
        if axis == 0:
            top = self.height // 2
            return replace(self, height=top), replace(self, row=self.row + top, height=self.height - top)
        left = self.width // 2
        return replace(self, width=left), replace(self, col=self.col + left, width=self.width - left)


@dataclass(frozen=True, kw_only=True)
class SourceCrs:
    """A CRS in the words of its source, which say more than other words for the same."""

    wkt: str
    """As GDAL gives it: WKT 1, or WKT 2 where that has no word for it."""
    epoch: float | None = None
    """Decimal year of the coordinates, where the source tells it and the earth moves in the CRS."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the pixels are, without the pixels."""

    height: int
    width: int
    transform: Affine
    """Maps `(col, row)` of a pixel corner to `(x, y)` in the CRS (GDAL's convention)."""
    crs: CRS | None
    """What is measured with; None: the raster carries no CRS, or none that leads to places on the ground."""
    source_crs: SourceCrs | None = None
    """What outputs carry, also where `crs` is None; None: `crs`."""

    def __post_init__(self) -> None:
        if self.height <= 0 or self.width <= 0:
            raise UsageError(f"A grid needs at least one pixel, got {self.height} x {self.width}.")

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def coordinate_crs(self) -> SourceCrs | None:
        """`source_crs`, where x and y are its coordinates and not pixels."""
        return None if self.transform.is_identity else self.source_crs

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """`(west, south, east, north)` in CRS units, also for rotated or south-up grids."""
        corners = [self.transform @ c for c in ((0, 0), (self.width, 0), (0, self.height), self.shape[::-1])]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def resolution(self) -> tuple[float, float]:
        """Size of a pixel `(along columns, along rows)` in CRS units, positive."""
        t = self.transform
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)

    @property
    def ground_pixel_m(self) -> tuple[float, float] | None:
        """Metres on the ground of a pixel `(along columns, along rows)` at the grid's centre; None without a CRS.

        Geodesic lengths on the CRS's own ellipsoid, so a degree of longitude shrinks towards the poles and
        a metre of Web Mercator too. A projection that is true to within 2 % (UTM) is taken at its word.
        """
        return None if self.crs is None else _ground_pixel(self.crs, self.transform, self.height, self.width)

    @property
    def gsd_m(self) -> float | None:
        """Ground sample distance in metres at the grid's centre, the mean of both axes; None without a CRS."""
        sides = self.ground_pixel_m
        return None if sides is None else math.sqrt(math.prod(sides))

    def window(self, window: Window) -> Grid:
        """The grid of a part of this one."""
        return self._moved(window.height, window.width, Affine.translation(window.col, window.row))

    def resized(self, height: int, width: int) -> Grid:
        """The same ground cut into `height x width` pixels."""
        return self._moved(height, width, Affine.scale(self.width / width, self.height / height))

    def _moved(self, height: int, width: int, change: Affine) -> Grid:
        """Other pixels in the same coordinates; those of a grid without a geotransform are pixels, in no CRS."""
        transform = self.transform @ change
        lost = self.transform.is_identity and not transform.is_identity
        return Grid(
            height=height,
            width=width,
            transform=transform,
            crs=self.crs,
            source_crs=None if lost else self.source_crs,
        )


def metres_per_unit(crs: CRS) -> float:
    """Length of the CRS's unit in metres; radians of a degree for a geographic one."""
    axes = crs.axis_info
    return float(axes[0].unit_conversion_factor) if axes else 1.0


@lru_cache(maxsize=256)
def _ground_pixel(crs: CRS, transform: Affine, height: int, width: int) -> tuple[float, float]:
    """See `Grid.ground_pixel_m`."""
    unit = metres_per_unit(crs)
    planar = math.hypot(transform.a, transform.d) * unit, math.hypot(transform.b, transform.e) * unit
    geodetic = crs if crs.is_geographic else crs.geodetic_crs
    if geodetic is None:
        return planar
    to_degrees = math.degrees(metres_per_unit(geodetic))
    inverse = None if crs.is_geographic else Transformer.from_crs(crs, geodetic, always_xy=True)
    geod = crs.get_geod() or Geod(ellps="WGS84")
    true = []
    for axis in (0, 1):
        # long enough that the rounding of inverse projections does not show
        steps = 1.0 if inverse is None else max(1.0, _BASELINE_M / planar[axis])
        ends = [(width / 2 + s * (axis == 0), height / 2 + s * (axis == 1)) for s in (-steps / 2, steps / 2)]
        points = [transform @ end for end in ends]
        lonlat = [inverse.transform(*p) if inverse else p for p in points]
        if not all(math.isfinite(v) for p in lonlat for v in p):
            return planar
        (x0, y0), (x1, y1) = ((x * to_degrees, y * to_degrees) for x, y in lonlat)
        true.append(float(geod.inv(x0, y0, x1, y1)[2]) / steps)
    if inverse is not None and all(abs(t - p) <= _TRUE_ENOUGH * p for t, p in zip(true, planar, strict=True)):
        return planar
    return true[0], true[1]


@dataclass(frozen=True, kw_only=True)
class Raster:
    """Pixels of a scene, in memory."""

    data: NDArray[np.generic]
    """`(band, row, col)`, any dtype."""
    valid: NDArray[np.bool_]
    """`(row, col)`, True where all bands hold an observation."""
    grid: Grid
    bands: tuple[str, ...] = ()
    """A name per band, such as `("red", "green", "blue")`."""


@dataclass(frozen=True, kw_only=True)
class ClassName:
    """One class that the user asked for."""

    names: tuple[str, ...]
    """Synonyms as they were typed; the first one is the class's title."""
    colour: Colour
    """RGB, 0..255."""
    read_as: tuple[str, ...] = ()
    """What the model reads instead of the names: a translation, or what a background consists of."""

    @property
    def title(self) -> str:
        return self.names[0]

    @property
    def queries(self) -> tuple[str, ...]:
        """What the model reads."""
        return self.read_as or self.names

    @property
    def described(self) -> str:
        """The names, and in brackets what they are read as where that differs."""
        return ",".join(self.names) + (f" ({','.join(self.read_as)})" if self.read_as else "")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The classes asked for, in label order: class `i` has label `i`."""

    classes: tuple[ClassName, ...]
    background: int | None = None
    """Label given to pixels below the probability threshold; None: they become nodata."""

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def titles(self) -> tuple[str, ...]:
        return tuple(c.title for c in self.classes)

    @property
    def described(self) -> str:
        """All names of all classes, as outputs tell them."""
        return "; ".join(c.described for c in self.classes)

    @property
    def queries(self) -> tuple[str, ...]:
        """What the model reads: all synonyms of all classes, class after class."""
        return tuple(query for c in self.classes for query in c.queries)

    @property
    def query_class(self) -> NDArray[np.int64]:
        """`(query,)`: the class each query belongs to."""
        return np.repeat(np.arange(len(self.classes)), [len(c.queries) for c in self.classes])

    @property
    def nodata(self) -> int:
        """The label of pixels without an observation: 255, or 65535 beyond 255 classes."""
        return 255 if len(self.classes) <= 255 else 65535

    @property
    def label_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.nodata == 255 else np.uint16)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Gaussians of the tokens of a scene, one a query; see `inference.windows.mixture`."""

    means: NDArray[np.float64]
    """`(query, dim)`, of unit length."""
    variance: NDArray[np.float64]
    """`(dim,)`, the same for all."""
    temperature: float
    """How little distances count."""
    tokens: int
    """That it was fitted to."""
    changed: float
    """Share of them that belong to another query than by their cosines."""


@dataclass(frozen=True, kw_only=True)
class TextBank:
    """The words as vectors."""

    vectors: NDArray[np.float32]
    """`(query, dim)`, each of unit length; of any length where they were taught."""
    query_class: NDArray[np.int64]
    """`(query,)`, the class of each query."""
    vocabulary: Vocabulary
    weights_id: str
    """Identity of the text tower that made them."""
    bias: NDArray[np.float32] | None = None
    """`(query,)`, added to the cosines; None: nothing."""
    cues: NDArray[np.float32] | None = None
    """`(query, cue)`, the products of which with standardised cues of a pixel are added too."""
    mixture: Mixture | None = None
    """Of a scene whose tokens decide together; None: each by itself."""

    @property
    def digest(self) -> str:
        """Of the vectors: 16 hexadecimal digits of their SHA-256."""
        parts = [part.tobytes() for part in (self.vectors, self.bias, self.cues) if part is not None]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """Dense features of a batch of images, as the backbone gives them (not normalised)."""

    values: Tensor
    """`(batch, dim, h, w)` float."""
    cls: Tensor | None
    """`(batch, dim)` float: the global token of the same block; None where a method has none."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A labelled grid."""

    labels: NDArray[np.unsignedinteger[Any]]
    """`(row, col)`, class index, `vocabulary.nodata` where nothing was observed."""
    score: NDArray[np.float32]
    """`(row, col)`, probability of the most probable class, 0..1, 0 where nothing was observed. Where it is below
    the threshold the label is the background's or nodata."""
    grid: Grid
    vocabulary: Vocabulary
    probabilities: NDArray[np.float32] | None = None
    """`(class, row, col)`, only when asked for."""
    tags: dict[str, str] = field(default_factory=dict)
    """How it was made: preset, weights, stretch, version, ..."""


@dataclass(frozen=True, kw_only=True)
class VectorLayer:
    """Polygons with attributes."""

    geometries: NDArray[np.object_]
    """`(n,)` shapely geometries in `crs` coordinates."""
    columns: dict[str, NDArray[Any]]
    """Attribute name -> `(n,)` array."""
    crs: CRS | None

    def __len__(self) -> int:
        return len(self.geometries)
