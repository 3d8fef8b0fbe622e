"""Plots as pictures, drawn with PIL: a confusion matrix, and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
INK, GREY, PAPER = (30, 30, 30), (205, 205, 205), (255, 255, 255)
DEEP = (8, 64, 129)
"""Of a cell that holds its whole row."""
HUES: tuple[Colour, ...] = (
    (31, 119, 180), (214, 96, 32), (44, 140, 60), (150, 60, 160), (120, 90, 60), (200, 40, 90), (90, 90, 90),
)  # fmt: skip
TEXT, TITLE = 13, 16
_LETTERS = 26
"""Of a class name shown."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    spread: Sequence[float] | None = None
    """Half the height of the bar at each point."""


def confusion_plot(counts: NDArray[np.integer], names: Sequence[str], title: str) -> Image.Image:
    """Rows (truth) by columns (prediction), each row in shares of its sum; percents are written where they fit."""
    size = len(counts)
    cell = max(9, min(34, 900 // size))
    font, small = _font(min(TEXT, max(8, cell - 1))), _font(max(8, cell // 3))
    labels = [name if len(name) <= _LETTERS else f"{name[: _LETTERS - 3]}..." for name in names]
    left = math.ceil(max(font.getlength(name) for name in labels)) + 34
    top = 48
    width = left + cell * size + 20
    image = Image.new("RGB", (max(width, 380), top + cell * size + left - 10), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((12, 12), title, INK, _font(TITLE))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row in range(size):
        for col in range(size):
            share = float(shares[row, col])
            x, y = left + col * cell, top + row * cell
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), _between(PAPER, DEEP, share), GREY)
            if share >= 0.005 and cell >= 20:
                colour = PAPER if share > 0.5 else INK
                draw.text((x + cell / 2, y + cell / 2), f"{100 * share:.0f}", colour, small, anchor="mm")
        draw.text((left - 6, top + (row + 0.5) * cell), labels[row], INK, font, anchor="rm")
    _upright(image, labels, font, [round(left + (i + 0.5) * cell) for i in range(size)], top + cell * size + 6)
    _turned(image, "truth", _font(TEXT), 4, top + cell * size // 2)
    draw.text((left + cell * size / 2, image.height - 6), "prediction", INK, _font(TEXT), anchor="md")
    return image


def curve_plot(
    lines: Sequence[Curve], title: str, x_name: str, y_name: str, *, limits: tuple[int, int] = (0, 100)
) -> Image.Image:
    """Percents, between two limits, against numbers on a logarithmic axis."""
    width, height, left, top, right, bottom = 640, 420, 64, 48, 20, 56
    image = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(image), _font(TEXT)
    ticks = sorted({x for line in lines for x in line.xs})
    low, high = math.log(ticks[0]), math.log(ticks[-1]) if len(ticks) > 1 else math.log(ticks[0]) + 1

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - low) / (high - low)
        up = (min(limits[1], max(limits[0], y)) - limits[0]) / (limits[1] - limits[0])
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    draw.text((12, 12), title, INK, _font(TITLE))
    for y in range(limits[0], limits[1] + 1, 20 if limits[1] - limits[0] > 50 else 5):
        draw.line((*at(ticks[0], y), *at(ticks[-1], y)), GREY)
        draw.text((left - 8, at(ticks[0], y)[1]), str(y), INK, font, anchor="rm")
    for x in ticks:
        draw.line((*at(x, 0), at(x, 0)[0], at(x, 0)[1] + 5), INK)
        draw.text((at(x, 0)[0], height - bottom + 8), f"{x:g}", INK, font, anchor="ma")
    for i, line in enumerate(lines):
        _draw_line(draw, line, HUES[i % len(HUES)], at)
        draw.text(
            (width - right - 4, height - bottom - 20 * (len(lines) - i)),
            line.name,
            HUES[i % len(HUES)],
            font,
            anchor="ra",
        )
    draw.text(((left + width - right) / 2, height - 8), x_name, INK, font, anchor="md")
    _turned(image, y_name, font, 6, (top + height - bottom) // 2)
    return image


def _draw_line(draw: ImageDraw.ImageDraw, line: Curve, hue: Colour, at: Any) -> None:
    points = [at(x, y) for x, y in zip(line.xs, line.ys, strict=True)]
    draw.line([value for point in points for value in point], hue, 2)
    for i, (x, y) in enumerate(points):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), hue)
        if line.spread is not None:
            ends = [at(line.xs[i], line.ys[i] + sign * line.spread[i])[1] for sign in (-1, 1)]
            draw.line((x, ends[0], x, ends[1]), hue)


def _upright(image: Image.Image, names: Sequence[str], font: Any, xs: Sequence[int], y: int) -> None:
    """Names that run upwards to `y`."""
    for name, x in zip(names, xs, strict=True):
        word = _word(name, font).rotate(90, expand=True)
        image.paste(word, (x - word.width // 2, y))


def _turned(image: Image.Image, text: str, font: Any, x: int, middle: int) -> None:
    word = _word(text, font).rotate(90, expand=True)
    image.paste(word, (x, max(0, middle - word.height // 2)))


def _word(text: str, font: Any) -> Image.Image:
    left, top, right, bottom = font.getbbox(text)
    word = Image.new("RGB", (max(1, math.ceil(right - left) + 2), max(1, math.ceil(bottom - top) + 2)), PAPER)
    ImageDraw.Draw(word).text((1 - left, 1 - top), text, INK, font)
    return word


def _between(light: Colour, dark: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(light, dark, strict=True))
    return red, green, blue


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
