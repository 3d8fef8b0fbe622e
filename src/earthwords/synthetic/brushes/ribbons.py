"""Roads, railways, runways, paths and piers: where they lie on the ground and what is painted on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.synthetic.brushes.canvas import Canvas, Ints, splat
from earthwords.synthetic.materials import MATERIAL_LABEL
from earthwords.synthetic.noise import GroundView, Plane, resize
from earthwords.synthetic.plan import Area, Ribbon, Stamps


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a kind of ribbon is built."""

    surface: str
    """Material of the ribbon itself."""
    shoulder: str = ""
    """Material of the strips beside it; empty: none."""
    shoulder_width: float = 0.0
    """Of one strip, metres."""
    marks: str = ""
    """A row of `MARKS`; empty: nothing is painted on it."""
    bridged: bool = True
    """Whether it goes on over water."""
    deck: float = 0.0
    """Height in metres at which it runs; over water it is at least that of a bridge."""


_BRIDGE = 6.0
"""Height of bridges in metres."""

KINDS: dict[str, Kind] = {
    "street": Kind(surface="asphalt", shoulder="paving", shoulder_width=1.6, marks="centre"),
    "lane": Kind(surface="asphalt"),
    "avenue": Kind(surface="asphalt", shoulder="paving", shoulder_width=2.5, marks="lanes"),
    "country road": Kind(surface="asphalt", shoulder="soil", shoulder_width=1.0, marks="centre"),
    "viaduct": Kind(surface="asphalt", marks="highway", deck=8.0),
    "highway": Kind(surface="asphalt", shoulder="soil", shoulder_width=3.0, marks="highway"),
    "track": Kind(surface="dirt", marks="ruts", bridged=False),
    "path": Kind(surface="paving", bridged=False),
    "pier": Kind(surface="concrete", deck=1.0),
    "taxiway": Kind(surface="concrete", shoulder="lot", shoulder_width=4.0, marks="taxi line"),
    "runway": Kind(surface="runway", shoulder="lot", shoulder_width=5.0, marks="runway"),
    "circus": Kind(surface="asphalt", shoulder="paving", shoulder_width=2.0),
    "island": Kind(surface="lawn"),
    "paved island": Kind(surface="paving"),
    "railway": Kind(surface="ballast", marks="rails"),
    "town street": Kind(surface="asphalt", shoulder="paving", shoulder_width=2.2),
    "cobbled lane": Kind(surface="cobbles"),
    "earth lane": Kind(surface="dirt", shoulder="trodden", shoulder_width=0.6, bridged=False),
    "farm track": Kind(surface="dirt", shoulder="meadow", shoulder_width=1.2, marks="ruts", bridged=False),
}


@dataclass(frozen=True, kw_only=True)
class Track:
    """The pixels of all ribbons' surfaces, one row each."""

    pixel: Ints
    ribbon: NDArray[np.int32]
    across: Plane
    """Metres from the centre line, positive to the right of the line's direction."""
    along: Plane
    """Metres from the line's start."""


def ribbon_areas(ribbons: list[Ribbon]) -> list[Area]:
    """Two areas per ribbon: its surface and its shoulder."""
    areas = []
    for ribbon in ribbons:
        kind = KINDS[ribbon.kind]
        for material in (kind.surface, kind.shoulder or kind.surface):
            areas.append(Area(outline=ribbon.line, material=material, variant=ribbon.variant))
    return areas


def lay_ribbons(
    view: GroundView, ribbons: list[Ribbon], index: NDArray[np.int32], *, first: int, water: NDArray[np.bool_]
) -> Track:
    """Write `first + 2 i` (surface) and `first + 2 i + 1` (shoulder) into the area index, in place.

    Where ribbons meet, the surface of the last one wins over the others, and any surface over
    any shoulder. `water` `(row, col)` is True where only bridges and piers may lie.
    """
    if not ribbons:
        return Track(pixel=np.zeros(0, np.int64), ribbon=np.zeros(0, np.int32), across=_none(), along=_none())
    segments, owner, start = _segments(ribbons)
    half = np.array([r.width / 2 for r in ribbons], dtype=np.float32)
    skirt = np.array([KINDS[r.kind].shoulder_width for r in ribbons], dtype=np.float32)
    bridged, wet = np.array([KINDS[r.kind].bridged for r in ribbons]), water.reshape(-1)
    best = np.full(index.size, np.inf, dtype=np.float32)
    found: list[tuple[Ints, NDArray[np.int32], Plane, Plane, Plane, NDArray[np.bool_]]] = []
    for cells in splat(view, segments):
        beyond = np.maximum(np.abs(cells.u) - (segments.length - segments.width)[cells.stamp] / 2, 0)
        distance = np.hypot(beyond, cells.v)
        ribbon = owner[cells.stamp]
        near = (distance < (half + skirt)[ribbon]) & (bridged[ribbon] | ~wet[cells.pixel])
        pixel, ribbon, distance = cells.pixel[near], ribbon[near], distance[near]
        surface = distance <= half[ribbon]
        score = (len(ribbons) - ribbon) + distance / (half + skirt + 0.1)[ribbon]
        score = np.where(surface, score, score + len(ribbons) + 1).astype(np.float32)
        np.minimum.at(best, pixel, score)
        found.append((pixel, ribbon, cells.v[near], (start[cells.stamp] + cells.u)[near], score, surface))
    if not found:
        return lay_ribbons(view, [], index, first=first, water=water)
    pixel, ribbon, across, along, score, surface = (np.concatenate(c) for c in zip(*found, strict=True))
    wins = score <= best[pixel]
    flat = index.reshape(-1)
    flat[pixel[wins]] = first + 2 * ribbon[wins] + np.where(surface[wins], 0, 1)
    wins &= surface
    return Track(pixel=pixel[wins], ribbon=ribbon[wins], across=across[wins], along=along[wins])


def raise_decks(canvas: Canvas, ribbons: list[Ribbon], track: Track, water: NDArray[np.bool_]) -> None:
    """Note the height of bridges, of their ramps and of viaducts, which cast shadows."""
    if not len(track.pixel):
        return
    decks = np.array([KINDS[r.kind].deck for r in ribbons], dtype=np.float32)
    over_water = np.where(decks > 0, decks, np.float32(_BRIDGE))
    height = np.where(water.reshape(-1)[track.pixel], over_water[track.ribbon], decks[track.ribbon])
    if not height.any():
        return
    raised = np.zeros(canvas.view.shape, dtype=np.float32)
    raised.reshape(-1)[track.pixel] = height
    step = max(1, round(2.0 / canvas.view.gsd))
    away = ndimage.distance_transform_edt(raised[::step, ::step] == 0).astype(np.float32) * (step * canvas.view.gsd)
    ramp = np.float32(_BRIDGE) - np.float32(0.2) * resize(away, *canvas.view.shape)
    canvas.decks = np.zeros_like(raised)
    canvas.decks.reshape(-1)[track.pixel] = np.maximum(height, np.clip(ramp.reshape(-1)[track.pixel], 0, height.max()))


def _none() -> Plane:
    return np.zeros(0, dtype=np.float32)


def _segments(ribbons: list[Ribbon]) -> tuple[Stamps, NDArray[np.int32], Plane]:
    """Every side of every line as a stamp with round caps, its ribbon, and metres at its middle."""
    p = np.concatenate([r.line[:-1] for r in ribbons])
    q = np.concatenate([r.line[1:] for r in ribbons])
    counts = [len(r.line) - 1 for r in ribbons]
    owner = np.repeat(np.arange(len(ribbons), dtype=np.int32), counts)
    length = np.hypot(*(q - p).T)
    ends = np.concatenate([np.cumsum(part) for part in np.split(length, np.cumsum(counts)[:-1])])
    width = np.array([r.width + 2 * KINDS[r.kind].shoulder_width for r in ribbons])[owner]
    d, middle = q - p, (p + q) / 2
    zero = np.zeros(len(p), dtype=np.float32)
    columns = {
        "x": middle[:, 0], "y": middle[:, 1], "length": length + width, "width": width,
        "angle": np.arctan2(d[:, 1], d[:, 0]),
    }  # fmt: skip
    stamps = Stamps(
        **{name: np.asarray(value, dtype=np.float32) for name, value in columns.items()},
        height=zero, base=zero, red=zero, green=zero, blue=zero, style=zero, key=zero,
        thing=zero.astype(np.int32),
    )  # fmt: skip
    return stamps, owner, (ends - length / 2).astype(np.float32)


def line_cover(distance: Plane, width: float, gsd: float) -> Plane:
    """Share of a pixel that a painted line covers, from the distance to the line's middle."""
    reach = np.float32(max(width, gsd) / 2 + gsd / 2)
    peak = np.float32(min(1.0, width / gsd))
    return np.clip((reach - np.abs(distance)) / np.float32(gsd), 0.0, 1.0) * peak


def _dashes(along: Plane, on: float, period: float) -> Plane:
    return (np.mod(along, np.float32(period)) < on).astype(np.float32)


Mark = Callable[[Plane, Plane, Plane, float], Plane]
"""`(across, along, half width, gsd) -> ` white paint 0..1, or dark tyre marks -1..0."""


def _centre(across: Plane, along: Plane, half: Plane, gsd: float) -> Plane:
    return line_cover(across, 0.18, gsd) * _dashes(along, 3.0, 9.0) * (half > 2.8) * np.float32(0.7)


def _lanes(across: Plane, along: Plane, half: Plane, gsd: float) -> Plane:
    lane = half / np.maximum(np.rint(half / np.float32(3.4)), 1.0)
    near = across - np.rint(across / lane) * lane
    inner = (np.abs(across) > lane / 2) & (np.abs(across) < half - lane / 2)
    paint = line_cover(near, 0.18, gsd) * _dashes(along, 3.0, 9.0) * inner
    return np.maximum(paint, line_cover(np.abs(across) - np.float32(0.2), 0.18, gsd)) * np.float32(0.75)


def _highway(across: Plane, along: Plane, half: Plane, gsd: float) -> Plane:
    lane = half * 2 / np.maximum(np.rint(half * 2 / np.float32(3.7)), 1.0)
    near = np.mod(across + half, lane)
    near = np.minimum(near, lane - near)
    inner = np.abs(across) < half - lane / 2
    paint = line_cover(near, 0.2, gsd) * _dashes(along, 4.0, 12.0) * inner
    return np.maximum(paint, line_cover(np.abs(across) - half + np.float32(0.7), 0.25, gsd)) * np.float32(0.8)


def _ruts(across: Plane, along: Plane, half: Plane, gsd: float) -> Plane:
    del along
    return -line_cover(np.abs(across) - np.minimum(half * 0.5, 0.9), 0.4, gsd) * np.float32(0.35)


def _taxi_line(across: Plane, along: Plane, half: Plane, gsd: float) -> Plane:
    del along, half
    return line_cover(across, 0.4, gsd) * np.float32(0.35)


def _runway(across: Plane, along: Plane, half: Plane, gsd: float) -> Plane:
    end = np.minimum(along, along.max() - along) if len(along) else along
    centre = line_cover(across, 0.9, gsd) * _dashes(along, 30.0, 50.0) * (end > 60)
    side = line_cover(np.abs(across) - half + np.float32(1.0), 0.9, gsd)
    bars = (np.mod(np.abs(across), np.float32(3.6)) < 1.8) & (end > 8) & (end < 38)
    bars &= (np.abs(across) > 1.5) & (np.abs(across) < half - 3)
    touch = (np.abs(np.abs(across) - 6) < 2) & (np.abs(end - 350) < 25)
    tyre = np.exp(-np.square(across / np.float32(6.0))) * np.exp(-np.square((end - 330) / np.float32(180.0)))
    return np.maximum.reduce([centre, side, bars * 0.9, touch * 0.9]) - tyre * np.float32(0.35)


def _rails(across: Plane, along: Plane, half: Plane, gsd: float) -> Plane:
    tracks = np.maximum(np.rint(half / np.float32(2.4)), 1.0)
    gap = 2 * half / tracks
    from_track = np.mod(across + half, gap) - gap / 2
    sleepers = -np.float32(0.25) * (np.abs(from_track) < 1.25) * (0.6 + 0.4 * _dashes(along, 0.3, 0.65))
    return sleepers + line_cover(np.abs(from_track) - np.float32(0.72), 0.2, gsd) * np.float32(0.5)


MARKS: dict[str, Mark] = {
    "centre": _centre,
    "lanes": _lanes,
    "highway": _highway,
    "ruts": _ruts,
    "taxi line": _taxi_line,
    "runway": _runway,
    "rails": _rails,
}

_WEAR: dict[str, float] = {"lanes": 0.10, "highway": 0.10, "centre": 0.06}
"""Darkening of the wheel tracks."""


def mark_ribbons(canvas: Canvas, ribbons: list[Ribbon], track: Track) -> None:
    """Paint markings, wheel tracks and rails on the ribbons' surfaces."""
    rgb = canvas.rgb.reshape(-1, 3)
    surfaces = canvas.labels.reshape(-1)
    half = np.array([r.width / 2 for r in ribbons], dtype=np.float32)
    for name, mark in MARKS.items():
        wanted = np.array([KINDS[r.kind].marks == name for r in ribbons], dtype=bool)
        if not wanted.any():
            continue
        labels = {MATERIAL_LABEL[KINDS[r.kind].surface] for r, w in zip(ribbons, wanted, strict=True) if w}
        at = np.flatnonzero(wanted[track.ribbon] & np.isin(surfaces[track.pixel], list(labels)))
        if len(at) == 0:
            continue
        pixel, across, along = track.pixel[at], track.across[at], track.along[at]
        halves = half[track.ribbon[at]]
        paint = mark(across, along, halves, canvas.view.gsd).astype(np.float32)
        old = rgb[pixel]
        wear = 1 - np.float32(_WEAR.get(name, 0.0)) * np.square(np.sin(across * np.float32(1.8)))
        white = np.maximum(paint, 0)[:, None]
        dark = np.minimum(paint, 0)[:, None]
        rgb[pixel] = old * wear[:, None] * (1 + dark) * (1 - white) + np.float32(0.62) * white
