"""From the values of a sensor to 0..1, once for a whole scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError, did_you_mean

PERCENTILES = (2.0, 98.0)
RADAR: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "amplitude": lambda values: np.maximum(values, 0.0),
    "power": lambda values: np.sqrt(np.maximum(values, 0.0)),
    "db": lambda values: np.power(10.0, values / 20.0),
}
"""What the numbers of a radar image are, to amplitude; where noise was taken away powers below 0 are no echo."""
NAMES = ("auto", "percentile", "none", *RADAR)
FARTHEST = 1e30
"""No sensor measures such values; what lies beyond stands for "no observation", declared or not."""


@dataclass(frozen=True)
class Stretch:
    """Per band, the value that becomes 0 and the value that becomes 1; beyond them is clipped."""

    name: str
    """How the limits were found: `"none"`, `"percentile 2-98"` or `"fixed"`."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    radar: str | None = None
    """A name of `RADAR`: limits are of the amplitude, which the values are turned into first."""

    def apply(self, data: NDArray[Any]) -> NDArray[np.float32]:
        """`(band, row, col)` in the sensor's values to float32 0..1; NaN becomes 0."""
        result = np.empty(data.shape, np.float32)
        for values, low, high, out in zip(data, self.low, self.high, result, strict=True):
            with np.errstate(invalid="ignore", over="ignore"):  # invalid pixels may hold anything
                scaled = (self._shown(values) - low) / (high - low)
            out[...] = np.nan_to_num(np.clip(scaled, 0, 1), nan=0.0)
        return result

    def _shown(self, values: NDArray[Any]) -> NDArray[np.float64]:
        exact = values.astype(np.float64)
        return exact if self.radar is None else RADAR[self.radar](exact)

    def describe(self, bands: Sequence[str]) -> str:
        """Such as `"percentile 2-98: red 120..3000, green 98..2510, blue 77..2204"`."""
        limits = zip(bands, self.low, self.high, strict=True)
        shown = "" if self.radar is None else f", {self.radar} shown as amplitude"
        return f"{self.name}{shown}: " + ", ".join(f"{band} {low:.9g}..{high:.9g}" for band, low, high in limits)


def make_stretch(how: str, *, dtype: np.dtype[Any], sample: Callable[[], Sequence[NDArray[Any]]]) -> Stretch:
    """The stretch of a scene.

    Args:
        how: `"auto"` (8-bit stays as it is, all else `"percentile"`), `"percentile"` (2 and 98, per band),
            `"none"` (integers by their type's largest value, floats taken as 0..1) or `"LOW,HIGH"`. Of radar
            `"amplitude"`, `"power"` or `"db"`, what the numbers are: they are shown as amplitude, between its
            percentiles or, with `"db:-25,0"`, between limits that are numbers of the file.
        dtype: of the scene's pixels, after scale and offset.
        sample: gives valid values `(n,)` of each band, from all over the scene; called only if needed.

    Raises:
        UsageError: `how` is none of these, HIGH does not exceed LOW, or one of them is beyond `FARTHEST`.
        SourceError: the percentiles are.
    """
    if how == "auto":
        how = "none" if dtype == np.uint8 else "percentile"
    if how == "none":
        top = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
        return Stretch("none", (0.0,) * 3, (top,) * 3)
    kind, _, rest = how.partition(":")
    radar = kind if kind in RADAR else None
    if how in ("percentile", *RADAR):
        values = list(sample())
        low, high = zip(*(_limits(band) for band in values), strict=True)
        _check_measured(low, high)
        if radar is not None:
            low, high = zip(*(_limits(_amplitude(band, radar)) for band in values), strict=True)
        return Stretch("percentile {:g}-{:g}".format(*PERCENTILES), low, high, radar)
    low_high = parse_limits(how if radar is None else rest)
    if radar is not None:
        low_high = _radar_limits(how, radar, low_high)
    return Stretch("fixed", (low_high[0],) * 3, (low_high[1],) * 3, radar)


def _amplitude(values: NDArray[Any], radar: str) -> NDArray[np.float64]:
    """Of valid values; no echo at all is minus infinity in dB."""
    with np.errstate(over="ignore"):
        return RADAR[radar](values.astype(np.float64))


def _radar_limits(how: str, radar: str, limits: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(v) for v in _amplitude(np.array(limits), radar))
    if not (np.isfinite(high) and low < high <= FARTHEST):
        raise UsageError(
            f"The stretch {how!r} leaves no amplitudes to show; its limits are {radar} as in the file, for example "
            f"{'db:-25,0' if radar == 'db' else f'{radar}:0,1'}."
        )
    return low, high


def parse_limits(text: str) -> tuple[float, float]:
    """`"LOW,HIGH"` as two numbers; see `make_stretch` for the error."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"Unknown stretch {text!r}. {did_you_mean(text, (*NAMES, 'LOW,HIGH', 'db:LOW,HIGH'))}"
        ) from None
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UsageError(f"The stretch {text!r} needs LOW below HIGH, for example 0,3000.")
    if max(-low, high) > FARTHEST:
        raise UsageError(
            f"The stretch {text!r} leaves what a sensor can measure (-{FARTHEST:g} to {FARTHEST:g}); take LOW and HIGH "
            "from the values of the bands, for example 0,3000."
        )
    return low, high


def _check_measured(low: Sequence[float], high: Sequence[float]) -> None:
    """Refuse percentiles that show a value for "no observation" which the file does not declare."""
    for number, limits in enumerate(zip(low, high, strict=True), start=1):
        if max(-limits[0], limits[1]) > FARTHEST:
            raise SourceError(
                f"The values of chosen band {number} reach from {limits[0]:g} to {limits[1]:g} (percentiles "
                f"{PERCENTILES[0]:g} and {PERCENTILES[1]:g}), and no sensor measures values beyond {FARTHEST:g}: they "
                "must mean that nothing was observed; name that value by --nodata, or give --stretch LOW,HIGH."
            )


def _limits(values: NDArray[Any]) -> tuple[float, float]:
    """Percentiles, else the extremes, else one unit: never two equal numbers."""
    values = values.astype(np.float64)
    low, high = (float(v) for v in np.percentile(values, PERCENTILES))
    if low == high:
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low, low + max(1.0, abs(low)))
