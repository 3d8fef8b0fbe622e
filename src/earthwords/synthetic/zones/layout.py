"""Where things go: bent street frames, rectangles cut into blocks, wiggly lines, scattered points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Street coordinates `(s, t)` in metres -> ground `(x, y)`: turned, then gently bent."""

    angle: float
    """Radians."""
    centre: tuple[float, float]
    """Ground point of `(0, 0)`."""
    bend: float = 0.0
    """Amplitude of the bends in metres."""
    wavelength: float = 600.0
    """Of the bends, metres."""
    phases: tuple[float, float] = (0.0, 0.0)

    def ground(self, s: ArrayLike, t: ArrayLike) -> Points:
        """`(k, 2)` ground points."""
        s, t = np.broadcast_arrays(np.asarray(s, dtype=np.float64), np.asarray(t, dtype=np.float64))
        wave = 2 * np.pi / self.wavelength
        u = s + self.bend * np.sin(wave * t + self.phases[0])
        v = t + self.bend * np.sin(wave * s + self.phases[1])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = self.centre[0] + u * cos - v * sin
        y = self.centre[1] + u * sin + v * cos
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def angle_at(self, s: ArrayLike, t: ArrayLike) -> NDArray[np.float64]:
        """Direction of growing `s` on the ground, radians."""
        step = 0.5
        s = np.asarray(s, dtype=np.float64)
        d = self.ground(s + step, t) - self.ground(s - step, t)
        return np.arctan2(d[:, 1], d[:, 0])

    def line(self, p: tuple[float, float], q: tuple[float, float], *, step: float = 8.0) -> Points:
        """The straight street line from p to q, as a bent ground line."""
        if self.bend == 0:
            step = 1e9
        count = max(2, int(np.ceil(np.hypot(q[0] - p[0], q[1] - p[1]) / step)) + 1)
        return self.ground(np.linspace(p[0], q[0], count), np.linspace(p[1], q[1], count))


class Rect(NamedTuple):
    """A rectangle in street coordinates."""

    s0: float
    t0: float
    s1: float
    t1: float

    @property
    def length(self) -> float:
        return self.s1 - self.s0

    @property
    def depth(self) -> float:
        return self.t1 - self.t0

    @property
    def middle(self) -> tuple[float, float]:
        return (self.s0 + self.s1) / 2, (self.t0 + self.t1) / 2

    def inset(self, margin: float) -> Rect:
        """Smaller by `margin` on every side; never inside out."""
        ds, dt = min(margin, self.length / 2), min(margin, self.depth / 2)
        return Rect(self.s0 + ds, self.t0 + dt, self.s1 - ds, self.t1 - dt)

    def outline(self, frame: Frame) -> Points:
        """`(k, 2)` closed loop on the ground."""
        s = np.array([0.0, 1.0]) if frame.bend == 0 else np.linspace(0, 1, int(self.length / 10) + 2)
        t = np.array([0.0, 1.0]) if frame.bend == 0 else np.linspace(0, 1, int(self.depth / 10) + 2)
        s, t = self.s0 + s * self.length, self.t0 + t * self.depth
        first_t, last_t = np.full(len(s) - 1, self.t0), np.full(len(s) - 1, self.t1)
        first_s, last_s = np.full(len(t) - 1, self.s0), np.full(len(t) - 1, self.s1)
        return frame.ground(
            np.concatenate([s[:-1], last_s, s[:0:-1], first_s]),
            np.concatenate([first_t, t[:-1], last_t, t[:0:-1]]),
        )

    def scatter(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`count` random `(s, t)` inside."""
        return rng.uniform(self.s0, self.s1, count), rng.uniform(self.t0, self.t1, count)

    def lattice(
        self, rng: np.random.Generator, *, spacing: float, jitter: float = 0.5
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`(s, t)` on a square lattice, each moved by up to `jitter` times the spacing."""
        s, t = np.meshgrid(
            np.arange(self.s0 + spacing / 2, self.s1, spacing), np.arange(self.t0 + spacing / 2, self.t1, spacing)
        )
        move = rng.uniform(-jitter, jitter, (2, s.size)) * spacing
        return s.ravel() + move[0], t.ravel() + move[1]


class Cut(NamedTuple):
    """A line between two parts of a rectangle, in street coordinates."""

    p: tuple[float, float]
    q: tuple[float, float]
    width: float


def split(
    rect: Rect, rng: np.random.Generator, *, size: float, widths: tuple[float, ...], depth: int = 0
) -> tuple[list[Rect], list[Cut]]:
    """Cut a rectangle across its long side until the parts are about `size` metres.

    `widths` are the gaps left at the first, second, ... cut; the last one repeats, and 0 leaves
    the parts adjoining. Returns parts and the centre lines of the gaps, main ones first.
    """
    longest = max(rect.length, rect.depth)
    if longest < size * 1.5:
        return [rect], []
    width = widths[min(depth, len(widths) - 1)]
    share = rng.uniform(0.38, 0.62)
    half = width / 2
    if rect.length >= rect.depth:
        m = rect.s0 + share * rect.length
        a, b = rect._replace(s1=m - half), rect._replace(s0=m + half)
        cut = Cut((m, rect.t0 - half), (m, rect.t1 + half), width)
    else:
        m = rect.t0 + share * rect.depth
        a, b = rect._replace(t1=m - half), rect._replace(t0=m + half)
        cut = Cut((rect.s0 - half, m), (rect.s1 + half, m), width)
    parts_a, cuts_a = split(a, rng, size=size, widths=widths, depth=depth + 1)
    parts_b, cuts_b = split(b, rng, size=size, widths=widths, depth=depth + 1)
    return parts_a + parts_b, [cut, *cuts_a, *cuts_b]


def wiggle(line: Points, rng: np.random.Generator, *, rough: float = 0.12, detail: float = 4.0) -> Points:
    """Make an open line natural: midpoints are moved sideways until sides are `detail` metres."""
    while True:
        side = np.diff(line, axis=0)
        length = np.hypot(side[:, 0], side[:, 1])
        if length.mean() <= detail or len(line) > 20_000:
            return line
        normal = np.stack([-side[:, 1], side[:, 0]], axis=1)
        middle = (line[:-1] + line[1:]) / 2 + normal * rng.normal(0, rough, (len(side), 1))
        merged = np.empty((len(line) + len(middle), 2))
        merged[0::2], merged[1::2] = line, middle
        line = merged


def smooth_line(line: Points, *, step: float = 6.0, rounds: int = 3) -> Points:
    """Round the corners of an open line (Chaikin), then sample it every `step` metres."""
    for _ in range(rounds):
        q = line[:-1] * 0.75 + line[1:] * 0.25
        r = line[:-1] * 0.25 + line[1:] * 0.75
        inner = np.stack([q, r], axis=1).reshape(-1, 2)
        line = np.concatenate([line[:1], inner, line[-1:]])
    return resample(line, step=step)


def resample(line: Points, *, step: float) -> Points:
    """Points every `step` metres along an open line, ends kept."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.linspace(0, length[-1], max(2, int(length[-1] / step) + 1))
    return np.stack([np.interp(at, length, line[:, 0]), np.interp(at, length, line[:, 1])], axis=1)


def offset(line: Points, distance: ArrayLike) -> Points:
    """The line moved sideways by `distance` metres (one value, or one per point)."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    return line + normal * np.broadcast_to(np.asarray(distance, dtype=np.float64), len(line))[:, None]


def blob(
    centre: tuple[float, float], rng: np.random.Generator, *, radius: float, rough: float = 0.1, stretch: float = 1.6
) -> Points:
    """A natural closed outline, `(k, 2)`, such as a pond's."""
    phi = np.linspace(0, 2 * np.pi, 40 + int(radius * 2), endpoint=False)
    wave = np.zeros_like(phi)
    for k in range(2, 24):
        wave += rng.normal(0, rough * 3.0 / k) * np.cos(k * phi + rng.uniform(0, 6.28))
    r = radius * np.exp(wave)
    turn, squeeze = rng.uniform(0, np.pi), np.sqrt(rng.uniform(1.0, stretch))
    p = np.stack([r * np.cos(phi) * squeeze, r * np.sin(phi) / squeeze], axis=1)
    cos, sin = np.cos(turn), np.sin(turn)
    return p @ np.array([[cos, sin], [-sin, cos]]) + centre


def along(line: Points, *, spacing: float, start: float = 0.0) -> tuple[Points, NDArray[np.float64]]:
    """Points every `spacing` metres on a line, and the line's direction there in radians."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.arange(start, length[-1], spacing)
    points = np.stack([np.interp(at, length, line[:, 0]), np.interp(at, length, line[:, 1])], axis=1)
    segment = np.clip(np.searchsorted(length, at, side="right") - 1, 0, len(line) - 2)
    d = np.diff(line, axis=0)[segment]
    return points, np.arctan2(d[:, 1], d[:, 0])
