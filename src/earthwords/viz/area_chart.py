"""Charts of an assessment: areas with their intervals, and probabilities against shares that are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from earthwords.types import Colour
from earthwords.viz.charts import GREY, HUES, INK, PAPER
from earthwords.viz.contact_sheet import fitted
from earthwords.viz.panels import FAINT, Font, font, round_length

_ROW, _LEFT_MOST, _PLOT, _RIGHT = 46, 220, 520, 150
_TOP, _BOTTOM = 84, 52


@dataclass(frozen=True, kw_only=True)
class AreaBar:
    """A class of the chart."""

    name: str
    mapped: float | None
    """Area that the map gives it; None: it is no class of the map."""
    estimated: float
    low: float | None
    high: float | None
    """Ends of the interval; None: there is none."""
    half: float = math.nan
    """Half its length, before it was cut off at 0."""
    colour: Colour | None = None


def area_chart(bars: Sequence[AreaBar], *, title: str, unit: str, counted: bool = False) -> Image.Image:
    """Two bars for each class, one above the other: what the map says, and the estimate with its interval.

    Args:
        bars: from top to bottom.
        title: a line above all.
        unit: of the areas.
        counted: the truth is no estimate.
    """
    letters = font([bar.name for bar in bars])
    left = min(_LEFT_MOST, max(90, *(math.ceil(letters.getlength(bar.name)) + 30 for bar in bars)))
    width, height = left + _PLOT + _RIGHT, _TOP + _ROW * len(bars) + _BOTTOM
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    ends = [value for bar in bars for value in (bar.mapped, bar.estimated, bar.high) if value is not None]
    most = max([value for value in ends if math.isfinite(value)], default=1.0) or 1.0
    heading = font([title])
    draw.text((16, 14), fitted(title, width - 32, heading, keep_end=False), fill=INK, font=heading)
    _legend(draw, "true" if counted else "estimated, with 95 % interval")
    step = round_length(most / 3)
    for i in range(math.floor(most / step * (1 + 1e-9)) + 1):
        x = left + i * step / most * _PLOT
        draw.line((x, _TOP - 6, x, height - _BOTTOM + 4), GREY)
        draw.text((x, height - _BOTTOM + 8), f"{i * step:,g}", INK, font([]), anchor="ma")
    draw.text((left + _PLOT / 2, height - 6), unit, INK, font([unit]), anchor="md")
    for i, bar in enumerate(bars):
        _bar(draw, bar, left, _TOP + i * _ROW, _PLOT / most, letters)
    return image


def _legend(draw: ImageDraw.ImageDraw, second: str) -> None:
    x = 16
    for fill, text in ((GREY, "as mapped"), (FAINT, second)):
        draw.rectangle((x, 48, x + 14, 60), fill=fill)
        draw.text((x + 20, 54), text, INK, font([]), anchor="lm")
        x += 40 + math.ceil(font([]).getlength(text))


def _bar(draw: ImageDraw.ImageDraw, bar: AreaBar, left: int, top: int, scale: float, letters: Font) -> None:
    middle = top + _ROW / 2 - 4
    name = fitted(bar.name, left - 20, letters)
    draw.text((left - 10, middle), name, INK, letters, anchor="rm")
    if bar.mapped is not None:
        draw.rectangle((left, top + 4, left + bar.mapped * scale, top + 13), fill=GREY)
    fill = bar.colour or HUES[0]
    if math.isfinite(bar.estimated):
        draw.rectangle((left, top + 16, left + bar.estimated * scale, top + 30), fill=fill, outline=INK)
    label, end = _number(bar.estimated), bar.estimated if math.isfinite(bar.estimated) else 0.0
    if bar.low is not None and bar.high is not None and math.isfinite(bar.low) and math.isfinite(bar.high):
        low, high, y = left + bar.low * scale, left + bar.high * scale, top + 23
        for colour, wide in ((PAPER, 4), (INK, 2)):
            draw.line((low, y, high, y), colour, wide)
            for x in (low, high):
                draw.line((x, y - 6, x, y + 6), colour, wide)
        label, end = f"{label} ± {_number(bar.half)}", bar.high
    draw.text((left + end * scale + 8, top + 23), label, INK, font([]), anchor="lm")


def _number(value: float) -> str:
    """Three digits or so."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Points of alike probability."""

    confidence: float
    """Their mean probability, 0..1."""
    accuracy: float
    """Share of them that is right, 0..1."""
    share: float
    """Of all points, by weight."""


def reliability_chart(series: Sequence[tuple[str, Sequence[ReliabilityBin]]], *, title: str) -> Image.Image:
    """Share that is right against probability; on the diagonal they agree. Dots are larger where more points are."""
    side, left, top = 380, 64, 70
    image = Image.new("RGB", (left + side + 190, top + side + 56), PAPER)
    draw, letters = ImageDraw.Draw(image), font([])
    draw.text((12, 14), title, INK, font([title]))

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * side, top + (1 - y) * side

    for tick in range(0, 101, 20):
        share = tick / 100
        draw.line((*at(share, 0), *at(share, 1)), GREY)
        draw.line((*at(0, share), *at(1, share)), GREY)
        draw.text((at(share, 0)[0], top + side + 6), str(tick), INK, letters, anchor="ma")
        draw.text((left - 8, at(0, share)[1]), str(tick), INK, letters, anchor="rm")
    draw.line((*at(0, 0), *at(1, 1)), FAINT, 2)
    for i, (name, bins) in enumerate(series):
        hue = HUES[i % len(HUES)]
        places = [at(each.confidence, each.accuracy) for each in bins]
        draw.line([value for place in places for value in place], hue, 2)
        for (x, y), each in zip(places, bins, strict=True):
            radius = 2 + 10 * math.sqrt(each.share)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=hue, width=2)
        draw.text((left + side + 14, top + 10 + 24 * i), name, hue, letters)
    draw.text((left + side / 2, image.height - 8), "probability, %", INK, letters, anchor="md")
    draw.text((12, top - 26), "right, %", INK, letters)
    return image
