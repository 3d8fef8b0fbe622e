"""The planes a scene is drawn on, and the two ways to draw: filled outlines and stamps.

Every pixel holds linear light, a label, an object id, a height (for cast shadows) and a shade
(how squarely its surface meets the sun). Shadows, haze and the sensor come later (`light.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthwords.synthetic.noise import GroundView, Plane, fractal, grain
from earthwords.synthetic.plan import Points, Stamps
from earthwords.synthetic.scene import NONE
from earthwords.types import Window

Ints = NDArray[np.int64]
_CELLS_AT_ONCE = 3_000_000
"""Pixels tried in one go by `splat`; keeps its memory near 200 MB."""


@dataclass(frozen=True, kw_only=True)
class Sun:
    """Where the light comes from."""

    azimuth: float
    """Direction towards the sun on the ground, radians from x (right) towards y (down)."""
    elevation: float
    """Radians above the horizon."""

    @property
    def towards(self) -> tuple[float, float]:
        """Unit `(x, y)` towards the sun."""
        return float(np.cos(self.azimuth)), float(np.sin(self.azimuth))

    def shade(self, gx: Plane | float, gy: Plane | float) -> Plane:
        """Direct light on a surface with height gradient `(gx, gy)`, relative to flat ground."""
        sx, sy = self.towards
        cotangent = 1.0 / np.tan(self.elevation)
        facing = 1.0 - (gx * np.float32(sx) + gy * np.float32(sy)) * np.float32(cotangent)
        tilt = np.sqrt(1.0 + np.square(gx) + np.square(gy))
        return np.clip(facing / tilt, 0.0, 2.2, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class GroundNoise:
    """Noise fields of the ground, `(row, col)`, unit variance: long waves, then shorter ones."""

    macro: Plane
    meso: Plane
    micro: Plane
    grain: Plane

    @staticmethod
    def of(view: GroundView, *, seed: int) -> GroundNoise:
        return GroundNoise(
            macro=fractal(view, longest=240.0, shortest=40.0, seed=seed * 8 + 1),
            meso=fractal(view, longest=28.0, shortest=7.0, seed=seed * 8 + 2),
            micro=fractal(view, longest=4.5, shortest=1.0 if view.gsd >= 0.2 else 0.25, seed=seed * 8 + 3, gain=0.8),
            grain=grain(view, seed=seed * 8 + 4),
        )


@dataclass(kw_only=True)
class Canvas:
    """Planes of a view. Those with a height and a width may be written by any painter."""

    view: GroundView
    sun: Sun
    seed: int
    """Of the ground's noise."""
    rgb: NDArray[np.float32]
    """`(row, col, 3)` linear light under a clear sky."""
    labels: NDArray[np.uint8]
    things: NDArray[np.int32]
    height: Plane
    """Metres above the ground."""
    shade: Plane
    """1: as much direct light as flat ground."""
    noise: GroundNoise
    patches: GroundNoise
    """A second, independent set: where a material shows its second colour."""
    terrain: Plane | None = None
    """Height of mountains in metres, which cast shadows too; None: the ground is flat."""
    decks: Plane | None = None
    """Height of bridges in metres; None: there is none. Only shadows heed it, so that cars can drive on them."""
    slope_shade: Plane | None = None
    """Shade of the bare ground of mountains, which things on it share."""

    @staticmethod
    def blank(view: GroundView, sun: Sun, *, seed: int) -> Canvas:
        return Canvas(
            view=view,
            sun=sun,
            seed=seed,
            rgb=np.zeros((*view.shape, 3), dtype=np.float32),
            labels=np.full(view.shape, NONE, dtype=np.uint8),
            things=np.zeros(view.shape, dtype=np.int32),
            height=np.zeros(view.shape, dtype=np.float32),
            shade=np.ones(view.shape, dtype=np.float32),
            noise=GroundNoise.of(view, seed=2 * seed),
            patches=GroundNoise.of(view, seed=2 * seed + 1),
        )

    def cropped(self, window: Window) -> Canvas:
        """Labels, things and heights of a part; light and noise are left behind."""
        rows, cols = window.slices
        return replace(
            self,
            view=self.view.window(window),
            labels=np.ascontiguousarray(self.labels[rows, cols]),
            things=np.ascontiguousarray(self.things[rows, cols]),
            height=self.height[rows, cols],
        )

    def labels_at(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Labels under ground points, `NONE` outside the view."""
        col = np.floor((x - self.view.x0) / self.view.gsd).astype(np.int64)
        row = np.floor((y - self.view.y0) / self.view.gsd).astype(np.int64)
        inside = (row >= 0) & (row < self.view.height) & (col >= 0) & (col < self.view.width)
        found = np.full(len(col), NONE, dtype=np.uint8)
        found[inside] = self.labels[row[inside], col[inside]]
        return found

    def sample(self, plane: Plane, x: NDArray[np.float32], y: NDArray[np.float32]) -> Plane:
        """Values of a plane under ground points; those outside take the nearest pixel."""
        col = np.clip((x - self.view.x0) / self.view.gsd, 0, self.view.width - 1).astype(np.int64)
        row = np.clip((y - self.view.y0) / self.view.gsd, 0, self.view.height - 1).astype(np.int64)
        return plane[row, col]

    def put(self, cells: Cells, stroke: Stroke, *, label: int, thing: NDArray[np.int32]) -> None:
        """Draw cells: the highest one wins a pixel, cells covering less than half only tint it."""
        pixel = cells.pixel
        heights = self.height.reshape(-1)
        solid = (stroke.cover if stroke.body is None else stroke.body) >= 0.5
        np.maximum.at(heights, pixel[solid], stroke.height[solid])
        wins = (stroke.cover > 0) & (stroke.height >= heights[pixel])
        pixel, alpha = pixel[wins], np.clip(stroke.cover[wins], 0.0, 1.0)
        rgb, shades = self.rgb.reshape(-1, 3), self.shade.reshape(-1)
        shade = stroke.shade[wins]
        if self.slope_shade is not None:
            shade = shade * self.slope_shade.reshape(-1)[pixel]
        old = rgb[pixel]
        rgb[pixel] = old + (stroke.colour[wins] - old) * alpha[:, None]
        shades[pixel] += (shade - shades[pixel]) * alpha
        if label == NONE:
            return
        hard = solid[wins]
        self.labels.reshape(-1)[pixel[hard]] = label
        self.things.reshape(-1)[pixel[hard]] = thing[wins][hard]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Pixels near stamps: one row per pixel and stamp."""

    stamp: Ints
    """Which stamp."""
    pixel: Ints
    """Flat index into the view."""
    u: Plane
    """Metres along the stamp, from its middle."""
    v: Plane
    """Metres across the stamp."""


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """One row per cell."""

    cover: Plane
    """Share of the pixel inside the stamp, 0..1."""
    colour: Plane
    """`(cell, 3)` linear light."""
    height: Plane
    """Metres above the ground."""
    shade: Plane
    """Direct light relative to flat ground."""
    body: Plane | None = None
    """Share of the pixel inside the outline, which decides its label; None: `cover`. It is above
    `cover` where one can see through the thing."""


def splat(view: GroundView, stamps: Stamps, *, margin: float = 0.0) -> Iterator[Cells]:
    """All pixels within the boxes of the stamps (grown by `margin` metres), in a few chunks."""
    cos, sin = np.abs(np.cos(stamps.angle)), np.abs(np.sin(stamps.angle))
    reach_x = (stamps.length * cos + stamps.width * sin) / 2 + margin
    reach_y = (stamps.length * sin + stamps.width * cos) / 2 + margin
    col0 = _pixel_edge(stamps.x - reach_x - view.x0, view.gsd, view.width)
    col1 = _pixel_edge(stamps.x + reach_x - view.x0, view.gsd, view.width, up=True)
    row0 = _pixel_edge(stamps.y - reach_y - view.y0, view.gsd, view.height)
    row1 = _pixel_edge(stamps.y + reach_y - view.y0, view.gsd, view.height, up=True)
    count = np.maximum(col1 - col0, 0) * np.maximum(row1 - row0, 0)
    for part in _chunks(count):
        yield _cells(view, stamps, part, row0[part], col0[part], (col1 - col0)[part], count[part])


def _pixel_edge(metres: Plane, gsd: float, stop: int, *, up: bool = False) -> Ints:
    pixels = np.ceil(metres / gsd + 0.5) if up else np.floor(metres / gsd - 0.5)
    return np.clip(pixels, 0, stop).astype(np.int64)


def _chunks(count: Ints) -> Iterator[Ints]:
    """Indices of the stamps that have pixels, split so that a chunk has a bounded number of them."""
    index = np.flatnonzero(count)
    if len(index):
        group = np.cumsum(count[index]) // _CELLS_AT_ONCE
        yield from np.split(index, np.flatnonzero(np.diff(group)) + 1)


def _cells(view: GroundView, stamps: Stamps, part: Ints, row0: Ints, col0: Ints, width: Ints, count: Ints) -> Cells:
    which = np.repeat(np.arange(len(part)), count)
    k = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    row_in, col_in = np.divmod(k.astype(np.int32), width.astype(np.int32)[which])
    row, col = row0[which] + row_in, col0[which] + col_in
    stamp = part[which]
    dx = ((col + 0.5) * view.gsd + view.x0).astype(np.float32) - stamps.x[stamp]
    dy = ((row + 0.5) * view.gsd + view.y0).astype(np.float32) - stamps.y[stamp]
    cos, sin = np.cos(stamps.angle)[stamp], np.sin(stamps.angle)[stamp]
    return Cells(stamp=stamp, pixel=row * view.width + col, u=dx * cos + dy * sin, v=dy * cos - dx * sin)


def cover(distance: Plane, gsd: float) -> Plane:
    """How much of a pixel lies inside an outline, from its signed distance (negative inside)."""
    return np.clip(0.5 - distance / np.float32(gsd), 0.0, 1.0)


def fill(
    view: GroundView, outlines: Sequence[Points], values: Sequence[int], *, start: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """`(row, col)` int32: each outline's value, later ones on top; `start` (or -1) elsewhere."""
    base = np.full(view.shape, -1, dtype=np.int32) if start is None else start
    image = Image.fromarray(base)
    draw = ImageDraw.Draw(image)
    for outline, value in zip(outlines, values, strict=True):
        points = view.pixels(outline) - 0.5
        if points.max() < -1 or (points.min(axis=0) > (view.width, view.height)).any():
            continue
        draw.polygon(points.ravel().tolist(), fill=int(value))
    return np.asarray(image, dtype=np.int32).copy()
