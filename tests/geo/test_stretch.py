"""One stretch per scene."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import UsageError
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
