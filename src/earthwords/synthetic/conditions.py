"""The day a scene is seen: region, season, sun, air and sensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from earthwords.synthetic.brushes.canvas import Sun
from earthwords.synthetic.materials import Season, linear
from earthwords.synthetic.regions import REGION, Region


@dataclass(frozen=True, kw_only=True)
class SimulatedSensor:
    """From light to bytes."""

    blur: float
    """Standard deviation of the point spread function, pixels."""
    chroma_blur: float
    """The same for colour differences, as after pan-sharpening."""
    sharpen: float
    """Strength of the edge enhancement of the producer, 0: none."""
    noise: float
    """Standard deviation of the noise, grey levels."""
    quality: int
    """JPEG quality the image has gone through; 0: never compressed."""


@dataclass(frozen=True, kw_only=True)
class ImagingConditions:
    """How the ground of a plan appears."""

    region: Region
    season: Season
    sun: Sun
    ambient: float
    """Light of the sky in shadow, as a share of the full light."""
    haze: float
    """Share of air light, 0..0.3."""
    exposure: float
    contrast: float
    saturation: float
    cast: tuple[float, float, float]
    """Gain of red, green and blue."""
    sensor: SimulatedSensor
    seed: int


def draw_season(region: Region, rng: np.random.Generator) -> Season:
    """A day of the year that suits the region."""
    green = float(np.clip(region.lush + rng.normal(0, 0.25), 0, 1))
    late = float(np.clip(1 - green + rng.normal(0, 0.2), 0, 1)) ** 1.5
    cold = region.name in ("temperate", "northeast", "dry plain")
    return Season(green=green, turned=late, bare=float(rng.uniform(0.3, 1.0)) if cold else 0.05)


def draw_sun(rng: np.random.Generator) -> Sun:
    """Late morning: images are north-up, so the sun stands below (northern hemisphere) as a rule."""
    south = np.pi / 2 if rng.random() < 0.85 else -np.pi / 2
    return Sun(
        azimuth=float(south + rng.normal(0, 0.7)),
        elevation=float(np.radians(rng.uniform(32, 68))),
    )


def draw_sensor(rng: np.random.Generator) -> SimulatedSensor:
    """A sensor from a wide family: sharp or soft, clean or noisy, raw or compressed."""
    sharpen = float(rng.choice([0.0, rng.uniform(0.2, 0.6), rng.uniform(0.6, 1.4)], p=[0.45, 0.35, 0.2]))
    return SimulatedSensor(
        blur=float(rng.choice([rng.uniform(0.28, 0.5), rng.uniform(0.5, 0.85)], p=[0.7, 0.3])),
        chroma_blur=float(rng.choice([0.0, rng.uniform(0.8, 2.0)])),
        sharpen=sharpen,
        noise=float(rng.uniform(0.5, 4.0)),
        quality=int(rng.choice([0, int(rng.integers(60, 95))])),
    )


def brightness(region: Region) -> float:
    """Mean linear light of the region's open ground."""
    return float(np.mean([linear(c).mean() for m in ("grass", "soil", "sand") for c in region.grounds[m]]))


def draw_conditions(*, region: str, seed: int, salt: int = 0, special: tuple[str, ...] = ()) -> ImagingConditions:
    """Random conditions; the same for the same region, seed, salt and special conditions.

    `special` are rows of `SPECIAL`; they draw from a generator of their own, so that what they do
    not touch is the same with and without them. Bright regions are exposed shorter, as the
    producers of images stretch what they sell.
    """
    rng = np.random.default_rng([seed, salt, 0x10C])
    chosen = REGION[region]
    warm = rng.normal(0, 0.05)
    gain = (0.22 / brightness(chosen)) ** 0.7
    drawn = ImagingConditions(
        region=chosen,
        season=draw_season(chosen, rng),
        sun=draw_sun(rng),
        ambient=float(rng.uniform(0.12, 0.30)),
        haze=float(rng.choice([rng.uniform(0, 0.04), rng.uniform(0.04, 0.2)], p=[0.6, 0.4])),
        exposure=float(gain * np.exp(rng.normal(-0.12, 0.26))),
        contrast=float(rng.uniform(1.1, 1.7)),
        saturation=float(rng.uniform(0.65, 1.35)),
        cast=(float(1 + warm), float(1 + rng.normal(0, 0.025)), float(1 - warm)),
        sensor=draw_sensor(rng),
        seed=seed,
    )
    own = np.random.default_rng([seed, salt, 0x5EC])
    for name, change in SPECIAL.items():
        changed = change(drawn, own)
        drawn = changed if name in special else drawn
    return drawn


def _low_sun(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    """The sun 12 to 30 degrees above the horizon, from any side it can stand so low on."""
    sun = Sun(azimuth=float(rng.uniform(-0.6, np.pi + 0.6)), elevation=float(np.radians(rng.uniform(12, 30))))
    ambient = float(rng.uniform(0.10, 0.34))
    exposure = day.exposure * float(rng.uniform(1.0, 1.3))
    return replace(day, sun=sun, ambient=ambient, exposure=exposure)


def _hazy(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    haze, ambient = float(rng.uniform(0.12, 0.34)), float(rng.uniform(0.25, 0.5))
    return replace(day, haze=haze, ambient=ambient, exposure=day.exposure * 0.85)


def _compressed(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    return replace(day, sensor=replace(day.sensor, quality=int(rng.integers(35, 61))))


def _dim(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    """Dark and almost grey, with black shadows, as many city mosaics are."""
    exposure, saturation = float(rng.uniform(0.4, 0.8)), float(rng.uniform(0.4, 0.85))
    return replace(
        day, exposure=day.exposure * exposure, saturation=day.saturation * saturation,
        ambient=float(rng.uniform(0.05, 0.16)),
    )  # fmt: skip


def _overcast(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    """No shadows to speak of, little contrast."""
    ambient, contrast = float(rng.uniform(0.7, 0.95)), float(rng.uniform(0.9, 1.2))
    return replace(day, ambient=ambient, contrast=contrast, saturation=day.saturation * 0.8)


def _dry_grass(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    return replace(day, season=replace(day.season, green=float(rng.uniform(0.0, 0.15))))


def _autumn(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    season = replace(day.season, turned=float(rng.uniform(0.6, 1.3)), bare=float(rng.uniform(0.0, 0.35)))
    season = replace(season, foliage="autumn", green=float(rng.uniform(0.2, 0.8)))
    return replace(day, season=season, saturation=day.saturation * 0.7, contrast=day.contrast * 0.9)


def _leafless(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    season = replace(day.season, foliage="leafless", turned=float(rng.choice([0.9, 1.6])), bare=1.0)
    season = replace(season, green=float(rng.uniform(0.0, 0.6)))
    return _open_crowns(replace(day, season=season), rng)


def _snow(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    season = replace(day.season, snow=float(rng.uniform(0.45, 1.0)), foliage="leafless", turned=1.6, bare=1.0)
    return _open_crowns(replace(day, season=season, exposure=min(day.exposure, 0.6)), rng)


def _open_crowns(day: ImagingConditions, rng: np.random.Generator) -> ImagingConditions:
    """Light falls through crowns without leaves: softer shadows than a solid dome throws."""
    ambient = max(day.ambient, float(rng.uniform(0.22, 0.42)))
    return replace(day, ambient=ambient, contrast=day.contrast * 0.85, exposure=day.exposure * 1.15)


SPECIAL: dict[str, Callable[[ImagingConditions, np.random.Generator], ImagingConditions]] = {
    "low-sun": _low_sun,
    "haze": _hazy,
    "jpeg": _compressed,
    "dim": _dim,
    "overcast": _overcast,
    "dry-grass": _dry_grass,
    "autumn": _autumn,
    "leafless": _leafless,
    "snow": _snow,
}
"""Conditions that can be asked for by name, in the order they are applied. Append new ones: all are
drawn every time, so that a row draws the same whichever others are asked for."""
