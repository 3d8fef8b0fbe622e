"""What is hidden: GDAL's `read_masks` is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, MaskFlags

from earthwords.errors import SourceError, UsageError
from earthwords.geo.scene import open_scene
from tests.geo.test_scene import SHAPE, Make, distinct, whole

HOLE = (slice(4, 15), slice(20, 41))
LOWEST32 = float(np.finfo("float32").min)


def with_hole(rng: np.random.Generator, dtype: str, value: float) -> np.ndarray:
    """A hole of `value` in all bands, and a smaller one in the first band alone."""
    data = distinct(rng, dtype)
    data[:, *HOLE] = value
    data[0, 30:33, 1:9] = value
    return data


def masked(path: Path, numbers: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
    """`(3, row, col)`: where GDAL shows a pixel of a band."""
    with rasterio.open(path) as dataset:
        return np.stack([dataset.read_masks(number) != 0 for number in numbers])


def valid(path: Path, **options: Any) -> np.ndarray:
    with open_scene(path, **options) as scene:
        return scene.read_native(whole(scene)).valid


@pytest.mark.parametrize(
    ("dtype", "value", "declared"),
    [
        ("float32", LOWEST32, -3.402823e38),
        ("float32", -3.4028230607370965e38, LOWEST32),
        ("float32", -3.4e38, LOWEST32),
        ("float32", -9999.0, -9999.0005),
        ("float32", -9999.0, -9999.5),
        ("float32", 0.1, 0.1),
        ("float32", 1e-30, 0.0),
        ("float64", 0.1, 0.1 + 1e-17),
        ("float64", -1.7976931348623157e308, -1.797693134862315e308),
        ("int16", -32768, -32768),
        ("int32", -(2**31), -(2**31)),
        ("int64", -(2**53), -(2**53)),
        ("uint64", 2**53, 2**53),
        ("uint8", 0, 0),
    ],
)
def test_nodata_values_hide_what_gdal_masks(
    make_raster: Make, rng: np.random.Generator, dtype: str, value: float, declared: float
) -> None:
    path = make_raster(with_hole(rng, dtype, value), nodata=declared)
    expected = masked(path).any(axis=0)
    np.testing.assert_array_equal(valid(path), expected)
    assert (~expected).sum() == (11 * 21 if declared != -9999.5 and value != 1e-30 else 0)


@pytest.mark.parametrize(
    ("dtype", "value", "given"),
    [
        ("float32", LOWEST32, -3.402823e38),
        ("float32", -3.4e38, LOWEST32),
        ("float32", -9999.0, -9999.0005),
        ("float32", -9999.0, -9999.5),
        ("float64", -9999.0, -9999.0000000001),
        ("float64", -9999.0, -9999.0005),
        ("float64", -9999.0, -9999.5),
        ("float64", 0.1, 0.1 + 1e-17),
        ("int64", -(2**53), -(2**53)),
        ("uint16", 65535, 65535),
    ],
)
def test_a_given_nodata_value_compares_as_gdal_does(
    make_raster: Make, rng: np.random.Generator, dtype: str, value: float, given: float
) -> None:
    """The same value, told by the file instead, is the oracle."""
    data = with_hole(rng, dtype, value)
    told = make_raster(data, nodata=given, name="told.tif")
    untold = make_raster(data, name="untold.tif")
    options = {"nodata": given, "stretch": "0,4000"}
    np.testing.assert_array_equal(valid(untold, **options), masked(told).any(axis=0))


def test_infinities_and_nan_are_hidden_in_any_band(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "float32")
    data[1, 3, 4], data[2, 5, 6] = np.nan, -np.inf
    data[:, 7, 8] = np.nan
    for nodata in (None, np.nan, -9999.0):
        path = make_raster(data, nodata=nodata, name=f"{nodata}.tif")
        expected = np.isfinite(data).all(axis=0) & masked(path).any(axis=0)
        np.testing.assert_array_equal(valid(path), expected)
        assert (~expected).sum() == 3


VRT_BAND = (
    '<VRTRasterBand dataType="{kind}" band="{band}">{nodata}<SimpleSource><SourceFilename relativeToVRT="1">scene.tif'
    "</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
)


def vrt(path: Path, kind: str, nodata: tuple[float | str | None, ...]) -> Path:
    """A VRT of `path` whose bands are of a type and have nodata values."""
    bands = [
        VRT_BAND.format(kind=kind, band=i, nodata="" if v is None else f"<NoDataValue>{v}</NoDataValue>")
        for i, v in enumerate(nodata, start=1)
    ]
    place = path.with_suffix(".vrt")
    place.write_text(f'<VRTDataset rasterXSize="{SHAPE[2]}" rasterYSize="{SHAPE[1]}">{"".join(bands)}</VRTDataset>')
    return place


@pytest.mark.parametrize(
    ("kind", "nodata", "hidden"),
    [
        ("Byte", (9, 9, 9), 231),
        ("Byte", (9, 8, 7), 0),  # where all three differ, no pixel has all of them
        ("Byte", (9, None, 9), 0),
        ("Byte", (-9999, -9999, -9999), 0),
        ("Byte", (265, 265, 265), 0),
        ("Byte", (9.5, 9.5, 9.5), 231),
        ("Byte", ("nan", "nan", "nan"), 0),
        ("UInt16", (70000, 70000, 70000), 0),
        ("Int16", (9.0000001, 9.0000001, 9.0000001), 231),
        ("Int64", (9, 9, 9), 231),
        ("UInt64", (9, 9, 9), 231),
        ("Int64", ("9223372036854775807",) * 3, 0),
    ],
)
def test_nodata_values_of_each_band(
    make_raster: Make, rng: np.random.Generator, kind: str, nodata: tuple[Any, ...], hidden: int
) -> None:
    path = vrt(make_raster(with_hole(rng, "uint8", 9)), kind, nodata)
    shown = masked(path)
    np.testing.assert_array_equal(valid(path), shown.any(axis=0))
    assert (~shown.any(axis=0)).sum() == hidden


def test_nodata_values_of_the_whole_file(make_raster: Make, rng: np.random.Generator) -> None:
    """The metadata NODATA_VALUES mask all bands at once, and are not met by one band alone."""
    data = distinct(rng, "uint8")
    data[:, *HOLE] = np.array([9, 8, 7], np.uint8)[:, None, None]
    path = make_raster(data)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(NODATA_VALUES="9 8 7")
    shown = masked(path)
    assert (~shown).sum(axis=(1, 2)).tolist() == [231] * 3
    np.testing.assert_array_equal(valid(path), shown[0])


@pytest.mark.parametrize("internal", ["YES", "NO"])
def test_a_mask_of_the_file_goes_before_its_nodata_value(
    make_raster: Make, rng: np.random.Generator, internal: str
) -> None:
    mask = np.full(SHAPE[1:], 255, np.uint8)
    mask[20:, 3:9] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = make_raster(with_hole(rng, "uint8", 9), nodata=9, mask=mask)
    assert (masked(path)[0] == (mask != 0)).all()
    np.testing.assert_array_equal(valid(path), mask != 0)
    given = valid(path, nodata=9)  # asked for, on top of the mask
    np.testing.assert_array_equal(given, (mask != 0) & ~_hole())


def _hole() -> np.ndarray:
    hole = np.zeros(SHAPE[1:], bool)
    hole[HOLE] = True
    return hole


@pytest.mark.parametrize("count", [4, 5])
def test_alpha_hides_wherever_the_band_is(make_raster: Make, rng: np.random.Generator, count: int) -> None:
    data = distinct(rng, "uint8", (count, 37, 53))
    data[-1] = 255
    data[-1, *HOLE] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, *[ColorInterp.undefined] * (count - 4)]
    path = make_raster(data, colours=[*colours, ColorInterp.alpha])
    np.testing.assert_array_equal(valid(path), ~_hole())
    if count == 4:
        np.testing.assert_array_equal(masked(path)[0], ~_hole())


def test_masks_of_single_bands_hide_together(make_raster: Make, rng: np.random.Generator) -> None:
    """The mask of a VRT's band belongs to no other: GDAL's flags are empty then."""
    mask = np.full((3, *SHAPE[1:]), 255, np.uint8)
    mask[:, 2:5, 7:30] = 0
    mask[1, 9:14, 7:30] = 0
    make_raster(mask, name="mask.tif")
    path = vrt(make_raster(distinct(rng, "uint8")), "Byte", (None,) * 3)
    text = path.read_text()
    for i in (1, 2, 3):
        shape = '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">mask.tif'
        rest = f"</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand></MaskBand>"
        text = text.replace(f'band="{i}">', f'band="{i}">{shape}{rest}', 1)
    path.write_text(text)
    with rasterio.open(path) as dataset:
        assert MaskFlags.per_dataset not in dataset.mask_flag_enums[0]
    assert (masked(path) == (mask != 0)).all()
    np.testing.assert_array_equal(valid(path), (mask != 0).any(axis=0))


def test_the_sample_leaves_out_what_is_hidden(make_raster: Make, rng: np.random.Generator) -> None:
    """Of a band alone too: its nodata value is no measurement even where the pixel is valid."""
    data = distinct(rng, "float32")
    clean = make_raster(data, name="clean.tif")
    holed = data.copy()
    holed[:, *HOLE] = LOWEST32
    holed[0, 30:33, 1:9] = LOWEST32
    with (
        open_scene(clean) as whole_scene,
        open_scene(make_raster(holed, nodata=-3.402823e38, name="holed.tif")) as scene,
    ):
        assert np.allclose(scene.stretch.low, whole_scene.stretch.low, rtol=0.5)
        assert np.allclose(scene.stretch.high, whole_scene.stretch.high, rtol=0.1)


# What stands for "nothing here" without being declared


@pytest.mark.parametrize("value", [-3.4e38, 3.4e38, -1e31])
def test_a_stretch_that_no_sensor_measures_is_refused(
    make_raster: Make, rng: np.random.Generator, value: float
) -> None:
    data = distinct(rng, "float32")
    data[1, *HOLE] = value
    path = make_raster(data)
    with pytest.raises(SourceError, match=r"chosen band 2 reach from .*no sensor measures.*--nodata.*--stretch"):
        open_scene(path)
    with open_scene(path, stretch="0,4000") as scene:
        assert scene.stretch.high == (4000,) * 3
    data[:, *HOLE] = value
    path = make_raster(data)
    with open_scene(path, nodata=value) as scene:
        assert max(scene.stretch.high) < 4001


@pytest.mark.parametrize("text", ["-1e31,0", "0,1e31", "-3.4e38,3.4e38"])
def test_limits_that_no_sensor_measures_are_refused(
    make_raster: Callable[..., Path], rng: np.random.Generator, text: str
) -> None:
    with pytest.raises(UsageError, match="leaves what a sensor can measure"):
        open_scene(make_raster(distinct(rng, "uint8")), stretch=text)
