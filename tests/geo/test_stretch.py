"""One stretch per scene."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import SourceError, UsageError
from earthwords.geo.stretch import Stretch, make_stretch

SAMPLE = [np.arange(101) * 10, np.arange(101) - 50.0, np.full(9, 7)]


def never() -> list[np.ndarray]:
    raise AssertionError("no sample needed")


@pytest.mark.parametrize(
    ("how", "dtype", "top"),
    [
        ("auto", "uint8", 255),
        ("none", "uint8", 255),
        ("none", "uint16", 65535),
        ("none", "int16", 32767),
        ("none", "float32", 1),
    ],
)
def test_none_divides_by_what_the_type_can_hold(how: str, dtype: str, top: float) -> None:
    stretch = make_stretch(how, dtype=np.dtype(dtype), sample=never)
    assert stretch == Stretch("none", (0.0,) * 3, (top,) * 3)


@pytest.mark.parametrize(("how", "dtype"), [("auto", "uint16"), ("auto", "float64"), ("percentile", "uint8")])
def test_percentiles_per_band(how: str, dtype: str) -> None:
    stretch = make_stretch(how, dtype=np.dtype(dtype), sample=lambda: SAMPLE)
    assert stretch.name == "percentile 2-98"
    np.testing.assert_allclose(stretch.low, (20, -48, 7))
    np.testing.assert_allclose(stretch.high, (980, 48, 14))


def test_a_band_nearly_constant_falls_back_to_its_extremes() -> None:
    values = np.r_[np.zeros(1000), 5.0]
    stretch = make_stretch("percentile", dtype=np.dtype("float32"), sample=lambda: [values] * 3)
    assert (stretch.low[0], stretch.high[0]) == (0, 5)


def test_fixed_limits() -> None:
    assert make_stretch("-2,3e3", dtype=np.dtype("int16"), sample=never) == Stretch("fixed", (-2.0,) * 3, (3000.0,) * 3)


def test_apply_clips_and_keeps_bands_apart() -> None:
    stretch = Stretch("fixed", (0.0, 10.0), (10.0, 30.0))
    data = np.array([[[-5, 5, 50]], [[10, 25, 99]]], np.int16)
    out = stretch.apply(data)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, [[[0, 0.5, 1]], [[0, 0.75, 1]]])


def test_apply_turns_nan_into_zero() -> None:
    out = Stretch("none", (0.0,), (1.0,)).apply(np.array([[[np.nan, np.inf, -np.inf]]]))
    np.testing.assert_array_equal(out, [[[0, 1, 0]]])


def test_uint8_is_divided_by_255_exactly() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 1, -1)
    out = Stretch("none", (0.0,), (255.0,)).apply(values)
    np.testing.assert_array_equal(out, (values / 255).astype(np.float32))


def test_describe_names_the_bands() -> None:
    text = Stretch("percentile 2-98", (120.0, 98.5), (3000.0, 2510.0)).describe(("red", "nir"))
    assert text == "percentile 2-98: red 120..3000, nir 98.5..2510"


def test_unknown_stretch_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"Unknown stretch 'percentiles'. Did you mean 'percentile'\?"):
        make_stretch("percentiles", dtype=np.dtype("uint16"), sample=never)


@pytest.mark.parametrize("text", ["3,3", "5,1", "0,inf", "nan,1"])
def test_limits_must_ascend(text: str) -> None:
    with pytest.raises(UsageError, match="LOW below HIGH"):
        make_stretch(text, dtype=np.dtype("uint16"), sample=never)


AMPLITUDE = np.random.default_rng(3).rayleigh(0.2, 4000)
DELIVERED = {"amplitude": AMPLITUDE, "power": AMPLITUDE**2, "db": 20 * np.log10(AMPLITUDE)}


class TestRadar:
    """One image, delivered as amplitude, as power and in decibels, is shown alike."""

    @pytest.mark.parametrize("kind", DELIVERED)
    def test_percentiles_of_the_amplitude(self, kind: str) -> None:
        values = DELIVERED[kind]
        found = make_stretch(kind, dtype=np.dtype("float32"), sample=lambda: [values] * 3)
        np.testing.assert_allclose((found.low[0], found.high[0]), np.percentile(AMPLITUDE, (2, 98)), rtol=1e-9)
        shown = found.apply(np.tile(values.reshape(1, 40, 100), (3, 1, 1)))
        low, high = np.percentile(AMPLITUDE, (2, 98))
        expected = np.clip((AMPLITUDE - low) / (high - low), 0, 1).reshape(40, 100)
        np.testing.assert_allclose(shown[1], expected, atol=1e-6)

    @pytest.mark.parametrize(
        ("how", "low", "high"), [("db:-20,0", 0.1, 1), ("power:0,0.25", 0, 0.5), ("amplitude:0.1,1", 0.1, 1)]
    )
    def test_limits_are_numbers_of_the_file(self, how: str, low: float, high: float) -> None:
        found = make_stretch(how, dtype=np.dtype("float32"), sample=never)
        np.testing.assert_allclose((found.low[0], found.high[0]), (low, high))
        kind = how.partition(":")[0]
        assert found.describe(["VV"] * 3).startswith(f"fixed, {kind} shown as amplitude: VV {low:g}..{high:g}")

    def test_integers_and_no_echo(self) -> None:
        """16-bit amplitudes; power below the noise, and minus infinity in decibels, are darkness."""
        numbers = np.arange(0, 5000, dtype=np.uint16)
        found = make_stretch("amplitude", dtype=numbers.dtype, sample=lambda: [numbers] * 3)
        np.testing.assert_allclose((found.low[2], found.high[2]), np.percentile(numbers, (2, 98)))
        power = make_stretch("power:0,4", dtype=np.dtype("float32"), sample=never)
        np.testing.assert_allclose(power.apply(np.full((3, 1, 4), [-0.5, 0, 1, np.nan]))[0, 0], [0, 0, 0.5, 0])
        decibels = make_stretch("db:-40,0", dtype=np.dtype("float32"), sample=never)
        np.testing.assert_allclose(
            decibels.apply(np.full((3, 1, 3), [-np.inf, -20, 3e4]))[0, 0], [0, 0.090909, 1], atol=1e-5
        )

    def test_no_limits_at_all(self) -> None:
        for how in ("power:-3,-1", "db:-1e30,-1e29", "db:0,1e30"):
            with pytest.raises(UsageError, match="leaves no amplitudes to show"):
                make_stretch(how, dtype=np.dtype("float32"), sample=never)
        for how in ("db:", "db:3", "dB:-25,0", "sigma:0,1"):
            with pytest.raises(UsageError, match="Unknown stretch"):
                make_stretch(how, dtype=np.dtype("float32"), sample=never)
        lost = [np.r_[AMPLITUDE, np.full(400, -3.4e38)]] * 3
        for how in ("power", "db", "amplitude"):
            with pytest.raises(SourceError, match="--nodata"):
                make_stretch(how, dtype=np.dtype("float32"), sample=lambda: lost)
