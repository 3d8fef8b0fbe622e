"""From linear light to the bytes of an image: sky, haze, tone, optics, noise, compression."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from earthwords.synthetic.brushes.canvas import Canvas
from earthwords.synthetic.conditions import ImagingConditions, SimulatedSensor
from earthwords.synthetic.light import shadow
from earthwords.synthetic.noise import GroundView, Plane, fractal

_SKY = np.array([0.82, 0.95, 1.25], dtype=np.float32)
"""Colour of the light that reaches shadows."""
_AIR = np.array([0.62, 0.70, 0.80], dtype=np.float32)
"""Colour of haze."""


def expose(canvas: Canvas, conditions: ImagingConditions, *, tilt: tuple[float, float]) -> NDArray[np.uint8]:
    """`(row, col, 3)` RGB image of the canvas under the sky of the day, through its sensor."""
    surface = canvas.height if canvas.decks is None else np.maximum(canvas.height, canvas.decks)
    if canvas.terrain is not None:
        surface = surface + (canvas.terrain - canvas.terrain.min())
    direct = canvas.shade * (1 - shadow(surface, conditions.sun, gsd=canvas.view.gsd, tilt=tilt))
    air = conditions.haze * (
        1 + np.float32(0.25) * fractal(canvas.view, longest=2000.0, shortest=300.0, seed=conditions.seed)
    )
    bands = []
    for band in range(3):
        light = direct * np.float32(1 - conditions.ambient) + np.float32(conditions.ambient) * _SKY[band]
        radiance = canvas.rgb[:, :, band] * light
        radiance += (_AIR[band] - radiance) * np.maximum(air, 0)
        tone = np.sqrt(np.maximum(radiance * np.float32(conditions.exposure * conditions.cast[band]), 0))
        bands.append(_shoulder((tone - np.float32(0.38)) * np.float32(conditions.contrast) + np.float32(0.38)))
    image = _optics(np.stack(bands), conditions)
    return _compress(_digitise(image, conditions, canvas.view), conditions.sensor)


def _shoulder(tone: Plane) -> Plane:
    """Roll highlights off above 0.75, so that bright roofs keep their drawing."""
    over = np.maximum(tone - np.float32(0.75), 0)
    return np.minimum(tone, np.float32(0.75)) + over / (1 + over / np.float32(0.25))


def _optics(image: Plane, conditions: ImagingConditions) -> Plane:
    """`(3, row, col)`: blur brightness and colour apart, sharpen, set the saturation."""
    sensor = conditions.sensor
    grey = image.mean(axis=0)
    colour = (image - grey) * np.float32(conditions.saturation / np.sqrt(conditions.contrast))
    spread = float(np.hypot(sensor.blur, sensor.chroma_blur))
    colour = np.stack([ndimage.gaussian_filter(band, spread, truncate=2.5) for band in colour])
    grey = ndimage.gaussian_filter(grey, sensor.blur, truncate=3.0)
    if sensor.sharpen:
        wide = ndimage.gaussian_filter(grey, sensor.blur + 0.8, truncate=2.5)
        grey = grey + np.float32(sensor.sharpen) * (grey - wide)
    return colour + grey


def _digitise(image: Plane, conditions: ImagingConditions, view: GroundView) -> NDArray[np.uint8]:
    """`(3, row, col)` 0..1 -> `(row, col, 3)` bytes with noise that grows with the light."""
    corner = (abs(round(view.x0 / view.gsd)), abs(round(view.y0 / view.gsd)))
    rng = np.random.default_rng([conditions.seed, 0x5E, *corner])
    noise = rng.standard_normal(image.shape[1:], dtype=np.float32)
    level = np.float32(conditions.sensor.noise) * (np.float32(0.6) + np.float32(0.8) * image.mean(axis=0))
    common = noise * level
    out = np.empty((*image.shape[1:], 3), dtype=np.uint8)
    for band in range(3):
        own = rng.standard_normal(image.shape[1:], dtype=np.float32) * (level * np.float32(0.4))
        out[:, :, band] = np.clip(image[band] * 255 + common + own + np.float32(0.5), 0, 255).astype(np.uint8)
    return out


def _compress(image: NDArray[np.uint8], sensor: SimulatedSensor) -> NDArray[np.uint8]:
    """What JPEG leaves of the image."""
    if sensor.quality == 0:
        return image
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=sensor.quality)
    return np.asarray(Image.open(buffer).convert("RGB"), dtype=np.uint8)
