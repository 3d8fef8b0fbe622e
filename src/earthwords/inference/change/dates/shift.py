"""How far the second date is displaced against the first: phase correlation of edges.

Colours change with season and light, edges stay: what is correlated is the gradient, as a complex number whose length
counts by its square root, so that a few bright roofs do not decide. The cross-power spectra of several parts of the
scenes are added before the peak is looked for (Kuglin and Hines 1975), with a Gaussian over the frequencies, so that
the peak is a Gaussian too and three places tell its top.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from earthwords.geo.aligned import AlignedScene
from earthwords.geo.scene import Scene
from earthwords.types import Raster, Window

SEARCH = 64.0
"""Pixels in either direction within which a shift is believed."""
SURE = 1.5
"""So many times higher than any other the peak of a shift is at least."""
SIDE = 1024
"""Longest side of the overview, pixels; smaller scenes are looked at as they are."""
PART = 512
"""Side of the parts that are looked at in full resolution."""
PARTS = 3
"""Of them along each axis."""
LEAST = 1 / 3
"""Share of a part that both dates show."""
SMOOTH = 0.7
"""Standard deviation of the peak, pixels."""
_NEAR = 4
"""Pixels around a peak that belong to it."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Where on the second date the ground of the first date is found."""

    rows: float
    cols: float
    """Pixels of the first date by which it is further down and to the right."""
    peak: float
    """Height of the peak over the next highest one: what it is worth."""

    @property
    def pixels(self) -> float:
        """Its length."""
        return math.hypot(self.rows, self.cols)

    @property
    def is_sure(self) -> bool:
        """Whether the peak stands out."""
        return self.peak >= SURE

    def is_beyond(self, search: float) -> bool:
        """Whether it is larger than what is believed."""
        return max(abs(self.rows), abs(self.cols)) > search


UNKNOWN = Shift(rows=0.0, cols=0.0, peak=0.0)
"""Nothing was found."""


def find_shift(before: Scene, after: AlignedScene) -> Shift:
    """How far `after` is displaced against `before`, beyond what it is shifted by already.

    First on an overview of what both show, then on parts of it in full resolution.
    """
    region = after.region
    shrink = max(1.0, max(region.height, region.width) / SIDE)
    rough = _rough(before, after, region, shrink)
    if shrink == 1 or not rough.is_sure:
        return rough
    moved = after.shifted((after.shift[0] + rough.rows, after.shift[1] + rough.cols))
    spectrum = None
    for part in parts(moved.region):
        found = _spectrum(before.read_rgb(part), moved.read_rgb(part))
        if found is not None:
            spectrum = found if spectrum is None else spectrum + found
    if spectrum is None:
        return rough
    fine = _peak(spectrum, within=4 * shrink)
    return Shift(rows=rough.rows + fine.rows, cols=rough.cols + fine.cols, peak=fine.peak)


def correlate(before: Raster, after: Raster, *, within: float | None = None) -> Shift:
    """How far one picture is displaced against another of the same grid, in its pixels.

    Args:
        within: pixels in either direction that are looked at; None: half of the sides.
    """
    spectrum = _spectrum(before, after)
    return UNKNOWN if spectrum is None else _peak(spectrum, within=within)


def _rough(before: Scene, after: AlignedScene, region: Window, shrink: float) -> Shift:
    """On an overview; pixels of the first date."""
    if shrink == 1:
        return correlate(before.read_rgb(region), after.read_rgb(region))
    first, second = before.shrunk(region, most=SIDE), after.shrunk(region, most=SIDE)
    found = correlate(first, second)
    down, across = region.height / first.valid.shape[0], region.width / first.valid.shape[1]
    return Shift(rows=found.rows * down, cols=found.cols * across, peak=found.peak)


def parts(region: Window) -> Iterator[Window]:
    """Parts spread over a region."""
    height, width = min(PART, region.height), min(PART, region.width)
    rows = np.unique(np.linspace(0, region.height - height, PARTS).astype(int))
    cols = np.unique(np.linspace(0, region.width - width, PARTS).astype(int))
    for row in rows.tolist():
        for col in cols.tolist():
            yield Window(row=region.row + row, col=region.col + col, height=height, width=width)


def _spectrum(before: Raster, after: Raster) -> NDArray[np.complex64] | None:
    """The cross-power spectrum `(row, col)`, each frequency of length 1; None: they have too little in common."""
    valid = before.valid & after.valid
    if valid.mean() < LEAST or min(valid.shape) < 4 * _NEAR:
        return None
    edges = [_edges(raster, valid) for raster in (before, after)]
    if not all(part.any() for part in edges):
        return None
    shape = [fft.next_fast_len(length) for length in valid.shape]
    first, second = (fft.fft2(part, shape) for part in edges)
    cross = second * np.conj(first)
    length = np.abs(cross)
    found: NDArray[np.complex64] = np.divide(cross, length, out=np.zeros_like(cross), where=length > 0)
    return found


def _edges(raster: Raster, valid: NDArray[np.bool_]) -> NDArray[np.complex64]:
    """Gradients of the brightness, 0 at the border of what both show, fading towards the border of the picture."""
    bright = raster.data.mean(axis=0)
    down, across = np.gradient(bright)
    inside = valid.copy()
    inside[1:-1] &= valid[2:] & valid[:-2]
    inside[:, 1:-1] &= valid[:, 2:] & valid[:, :-2]
    fade = np.outer(np.hanning(valid.shape[0] + 2)[1:-1], np.hanning(valid.shape[1] + 2)[1:-1])
    steep = np.hypot(down, across)
    share = np.divide(1, np.sqrt(steep), out=np.zeros_like(steep), where=steep > 0)
    found: NDArray[np.complex64] = ((across + 1j * down) * share * inside * fade).astype(np.complex64)
    return found


def _peak(spectrum: NDArray[np.complex64], *, within: float | None) -> Shift:
    """The highest place of the correlation, between pixels, and how far it stands out."""
    height, width = spectrum.shape
    rows, cols = np.fft.fftfreq(height), np.fft.fftfreq(width)
    fade = np.exp(-2 * (np.pi * SMOOTH) ** 2 * (rows[:, None] ** 2 + cols[None] ** 2))
    surface = fft.fftshift(fft.ifft2(spectrum * fade).real)
    middle = height // 2, width // 2
    if within is not None:
        reach = [min(m, max(2 * _NEAR, math.ceil(within))) for m in middle]
        surface = surface[middle[0] - reach[0] : middle[0] + reach[0], middle[1] - reach[1] : middle[1] + reach[1]]
        middle = reach[0], reach[1]
    row, col = np.unravel_index(int(surface.argmax()), surface.shape)
    others = surface.copy()
    others[max(0, row - _NEAR) : row + _NEAR + 1, max(0, col - _NEAR) : col + _NEAR + 1] = -np.inf
    next_best = float(others.max())
    peak = float(surface[row, col]) / next_best if next_best > 0 else math.inf
    return Shift(
        rows=float(row - middle[0] + _top(surface[:, col], int(row))),
        cols=float(col - middle[1] + _top(surface[row], int(col))),
        peak=min(peak, 100.0),
    )


def _top(line: NDArray[np.float32], at: int) -> float:
    """Where between its neighbours the top of a Gaussian lies, -0.5 to 0.5."""
    if not 0 < at < len(line) - 1 or min(line[at - 1 : at + 2]) <= 0:
        return 0.0
    low, mid, high = np.log(line[at - 1 : at + 2].astype(np.float64))
    bend = low - 2 * mid + high
    return float(np.clip((low - high) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
