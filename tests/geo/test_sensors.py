"""Bands, scale and fill of sensors that are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.geo.bands import Band, choose_bands
from earthwords.geo.scene import open_scene
from earthwords.geo.sensors import SENSORS, code_of, find_sensor
from earthwords.types import Window

Make = Callable[..., Path]
S2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


def bands(*names: str, roles: tuple[str, ...] = ()) -> list[Band]:
    roles = roles or ("undefined",) * len(names)
    return [Band(number=i + 1, role=r, description=n) for i, (n, r) in enumerate(zip(names, roles, strict=True))]


@pytest.mark.parametrize(
    ("sensor", "names", "numbers"),
    [
        ("sentinel-2", S2, (4, 3, 2)),  # Earth Engine
        ("sentinel-2", (*S2, "AOT", "WVP", "SCL", "TCI_R", "TCI_G", "TCI_B", "QA60"), (4, 3, 2)),
        ("sentinel-2", ("B02", "B03", "B04", "B08"), (3, 2, 1)),  # Planetary Computer
        ("sentinel-2", ("B08", "B04", "B03", "B02"), (2, 3, 4)),
        ("sentinel-2", ("red", "green", "blue", "nir"), (1, 2, 3)),  # Earth Search
        ("sentinel-2", ("B4, central wavelength 665 nm", "B3, central wavelength 560 nm",
                        "B2, central wavelength 490 nm", "B8, central wavelength 842 nm"), (1, 2, 3)),  # GDAL
        ("sentinel-2", ("T32TQM_20220125T101311_B02_10m", "T32TQM_20220125T101311_B03_10m",
                        "T32TQM_20220125T101311_B04_10m"), (3, 2, 1)),
        ("sentinel-2", ("0_B8", "0_B4", "0_B3", "0_B2"), (2, 3, 4)),  # toBands of Earth Engine
        ("sentinel-2", ("band 4", "band 3", "band 2"), (1, 2, 3)),
        ("landsat-8", ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "ST_B10", "QA_PIXEL"), (4, 3, 2)),
        ("landsat-8", ("sr_band2", "sr_band3", "sr_band4"), (3, 2, 1)),  # Collection 1
        ("landsat-8", ("LC08_L2SP_193024_20220714_20220722_02_T1_SR_B4.TIF",
                       "LC08_L2SP_193024_20220714_20220722_02_T1_SR_B3.TIF",
                       "LC08_L2SP_193024_20220714_20220722_02_T1_SR_B2.TIF"), (1, 2, 3)),
        ("landsat-8", ("B02", "B03", "B04", "B05", "B06", "B07", "Fmask"), (3, 2, 1)),  # HLS
        ("landsat-5", ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", "ST_B6"), (3, 2, 1)),
        ("landsat-5", ("B1", "B2", "B3", "B4", "B5", "B6", "B7"), (3, 2, 1)),
        ("naip", ("R", "G", "B", "N"), (1, 2, 3)),  # Earth Engine
        ("naip", ("NIR", "Red", "Green", "Blue"), (2, 3, 4)),
        ("planetscope", ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"), (6, 4, 2)),
        ("planetscope", ("Coastal Blue", "Blue", "Green I", "Green", "Yellow", "Red", "Red Edge", "NIR"), (6, 4, 2)),
        ("planetscope", ("B1", "B2", "B3", "B4"), (3, 2, 1)),  # only says which is which
        ("planetscope", tuple(f"Band {i}" for i in range(1, 9)), (6, 4, 2)),
        ("pleiades", ("B2", "B1", "B0", "B3"), (1, 2, 3)),
        ("pleiades", ("B0", "B1", "B2", "B3"), (3, 2, 1)),
        ("pleiades", ("blue", "green", "red", "nir"), (3, 2, 1)),
    ],
)  # fmt: skip
def test_bands_are_found_by_name(sensor: str, names: tuple[str, ...], numbers: tuple[int, ...]) -> None:
    choice = choose_bands(bands(*names), [sensor])
    assert choice.numbers == numbers
    assert (choice.sensor, choice.parts, choice.true_colour) == (sensor, ("red", "green", "blue"), True)
    assert sensor in choice.notes[0]


@pytest.mark.parametrize(
    ("sensor", "count", "numbers"),
    [
        ("sentinel-2", 13, (4, 3, 2)), ("sentinel-2", 12, (4, 3, 2)), ("sentinel-2", 10, (3, 2, 1)),
        ("sentinel-2", 6, (3, 2, 1)), ("sentinel-2", 4, (3, 2, 1)), ("sentinel-2", 3, (1, 2, 3)),
        ("landsat-8", 11, (4, 3, 2)), ("landsat-8", 7, (4, 3, 2)), ("landsat-8", 6, (3, 2, 1)),
        ("landsat-8", 4, (3, 2, 1)), ("landsat-5", 7, (3, 2, 1)), ("landsat-5", 6, (3, 2, 1)),
        ("landsat-5", 4, (3, 2, 1)), ("naip", 4, (1, 2, 3)), ("naip", 3, (1, 2, 3)),
        ("planetscope", 4, (3, 2, 1)), ("planetscope", 8, (6, 4, 2)), ("planetscope", 3, (1, 2, 3)),
        ("pleiades", 4, (1, 2, 3)), ("pleiades", 3, (1, 2, 3)),
    ],
)  # fmt: skip
def test_bands_without_names_are_taken_in_order(sensor: str, count: int, numbers: tuple[int, ...]) -> None:
    choice = choose_bands(bands(*[""] * count), [sensor])
    assert choice.numbers == numbers
    assert "by the order" in choice.notes[0] and "does not name them" in choice.notes[0]


def test_colours_of_the_file_count_more_than_the_order() -> None:
    roles = ("blue", "green", "red", "undefined")
    choice = choose_bands(bands(*[""] * 4, roles=roles), ["pleiades"])
    assert choice.numbers == (3, 2, 1)
    assert choice.notes == ("Bands 3,2,1 chosen as red, green, blue (pleiades, by their colour interpretation).",)


def test_alpha_is_not_counted() -> None:
    roles = ("gray", "undefined", "undefined", "undefined", "alpha")
    assert choose_bands(bands(*[""] * 5, roles=roles), ["planetscope"]).numbers == (3, 2, 1)


@pytest.mark.parametrize(
    ("sensor", "names", "words"),
    [
        ("sentinel-2", ("",) * 5, r"has 5 bands that it does not name, and sentinel-2 comes with 3, 4, 6, 10, 12, 13"),
        ("planetscope", ("",) * 5, r"planetscope comes with 3, 4, 8"),
        ("naip", ("",), r"has 1 band that it does not name, and naip comes with 3, 4"),
        (
            "naip",
            ("B08", "B04", "B03", "B02"),
            r"named B08, B04, .*, of which none is the red, green, blue of naip",
        ),
        ("sentinel-2", ("SR_B4", "SR_B3", "SR_B2"), r"none is the red, green, blue of sentinel-2"),
        ("sentinel-2", ("VV", "VH", "ratio"), r"named VV, VH, ratio"),
        ("sentinel-2", ("B8", "B4", "B3"), r"none is the blue of sentinel-2"),
        ("landsat-8", ("B2", "B3", "B4", "B8A"), r"Band 4 is named 'B8A', and landsat-8 has no such band"),
        ("landsat-5", ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B6"), r"'SR_B6', and landsat-5 has no such band"),
        (
            "sentinel-2",
            ("0_B4", "0_B3", "0_B2", "1_B4", "1_B3", "1_B2"),
            r"Several bands are red: 1 \(0_B4\), 4 \(1_B4\)",
        ),
    ],
)
def test_another_raster_is_refused_in_one_sentence(sensor: str, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        choose_bands(bands(*names), [sensor])
    assert f"--bands {'3,2,1' if len(names) > 1 else '1,1,1'}" in str(refused.value)


@pytest.mark.parametrize("name", ["Sentinel-2", "sentinel_2", "S2", "landsat 9", "LANDSAT-7", "Pléiades", "planet"])
def test_names_are_taken_as_people_write_them(name: str) -> None:
    assert find_sensor(name) is not None


def test_a_sensor_that_there_is_not() -> None:
    with pytest.raises(UsageError, match=r"Unknown band or sensor 'sentinal-2'. Did you mean 'sentinel-2'\?"):
        choose_bands(bands(*[""] * 4), ["sentinal-2"])


def test_every_row_can_be_used() -> None:
    for row in SENSORS.values():
        counts = [len(order.split()) for order in row.orders]
        assert len(set(counts)) == len(counts)
        assert all({"red", "green", "blue"} <= set(order.split()) for order in row.orders)
        for colour in ("red", "green", "blue"):
            assert row.part(colour) == colour
            assert all(code_of(code) == code for code in row.codes.get(colour, "").split())


# numbers


def stack(rng: np.random.Generator, count: int, dtype: str, low: int = 1100, high: int = 9000) -> np.ndarray:
    data = rng.integers(low, high, (count, 37, 53)).astype(dtype)
    return data + np.arange(count, dtype=dtype)[:, None, None]


@pytest.mark.parametrize(
    ("sensor", "dtype", "name", "scale", "offset", "words"),
    [
        ("sentinel-2", "uint16", "S2B_MSIL2A_20220225T101309_N0400_R022_T32TQM_20220225T130000.tif", 1e-4, -0.1,
         "baseline 04.00 or later)"),
        ("sentinel-2", "uint16", "S2A_MSIL2A_20240225T101309_N0510_R022_T32TQM_20240225T130000.tif", 1e-4, -0.1,
         "baseline 04.00 or later)"),
        ("sentinel-2", "uint16", "S2A_MSIL2A_20190225T101309_N0211_R022_T32TQM_20190225T130000.tif", 1e-4, 0.0,
         "before 04.00)"),
        ("sentinel-2", "uint16", "stack.tif", 1e-4, 0.0, "which is assumed"),
        ("landsat-8", "uint16", "LC08_L2SP_193024_20220714_20220722_02_T1_stack.tif", 2.75e-5, -0.2, "Level 2)"),
        ("landsat-8", "uint16", "LC09_L1TP_193024_20220714_20220722_02_T1_stack.tif", 2e-5, -0.1, "top of the atm"),
        ("landsat-5", "uint16", "stack.tif", 2.75e-5, -0.2, "Level 2, which is assumed"),
        ("landsat-8", "int16", "stack.tif", 1e-4, 0.0, "Collection 1"),
        ("planetscope", "uint16", "20220101_101010_00_2440_3B_AnalyticMS_SR.tif", 1e-4, 0.0, "surface reflectance)"),
        ("planetscope", "uint16", "20220101_101010_00_2440_3B_AnalyticMS_SR_clip.tif", 1e-4, 0.0, "surface refl"),
    ],
)  # fmt: skip
def test_numbers_become_reflectance(
    make_raster: Make,
    rng: np.random.Generator,
    sensor: str,
    dtype: str,
    name: str,
    scale: float,
    offset: float,
    words: str,
) -> None:
    data = stack(rng, 4, dtype)
    with open_scene(make_raster(data, name=name), bands=sensor) as scene:
        assert scene.choice.numbers == (3, 2, 1)
        raster = scene.read_native(Window(row=3, col=5, height=20, width=31))
        low, high = np.percentile(scale * data[2].astype(float) + offset, (2, 98))
    expected = scale * data[[2, 1, 0], 3:23, 5:36].astype(np.float64) + offset
    assert raster.data.dtype == np.float32
    np.testing.assert_allclose(raster.data, expected, rtol=1e-6)
    assert scene.stretch.low[0] == pytest.approx(low, abs=1e-6) and scene.stretch.high[0] == pytest.approx(
        high, abs=1e-6
    )
    assert any(words in note and "reflectance" in note for note in scene.notes)
    assert scene.tags()["EARTHWORDS_SENSOR"].startswith(f"{sensor}: {scale:g} x number")
    assert scene.tags()["EARTHWORDS_SENSOR"].endswith(f" - {-offset:g}" if offset else "number")


def test_a_processing_baseline_in_the_tags(make_raster: Make, rng: np.random.Generator) -> None:
    import rasterio

    path = make_raster(stack(rng, 4, "uint16"))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(PROCESSING_BASELINE="05.09")
    with open_scene(path, bands=["sentinel-2"]) as scene:
        assert any("04.00 or later" in note for note in scene.notes)


def test_the_scale_of_the_file_wins(make_raster: Make, rng: np.random.Generator) -> None:
    data = stack(rng, 4, "uint16")
    path = make_raster(data, scales=(0.01,) * 4, offsets=(5.0,) * 4)
    with open_scene(path, bands="landsat-8") as scene:
        found = scene.read_native(Window(row=0, col=0, height=9, width=7)).data
    np.testing.assert_allclose(found, 0.01 * data[[2, 1, 0], :9, :7] + 5, rtol=1e-6)
    assert "Scale and offset are the file's own." in scene.notes


@pytest.mark.parametrize(
    ("dtype", "words"), [("uint8", None), ("float32", "Floating-point numbers"), ("int32", "int32")]
)
def test_other_numbers_stay_as_they_are(make_raster: Make, rng: np.random.Generator, dtype: str, words: str) -> None:
    data = stack(rng, 4, dtype, low=1, high=200)
    with open_scene(make_raster(data, colours=None, photometric="minisblack"), bands="sentinel-2") as scene:
        found = scene.read_native(Window(row=0, col=0, height=37, width=53)).data
    np.testing.assert_array_equal(found, data[[2, 1, 0]])
    taken = [note for note in scene.notes if "taken as they are" in note]
    assert len(taken) == (words is not None) and all(words in note for note in taken)


def test_radiance_of_planetscope_is_no_reflectance(make_raster: Make, rng: np.random.Generator) -> None:
    data = stack(rng, 4, "uint16")
    with open_scene(make_raster(data, name="20220101_3B_AnalyticMS.tif"), bands="planetscope") as scene:
        np.testing.assert_array_equal(scene.read_native(scene.region).data, data[[2, 1, 0]])


def test_fill_is_no_observation_where_the_file_names_none(make_raster: Make, rng: np.random.Generator) -> None:
    data = stack(rng, 4, "uint16")
    data[:, :5, :9] = 0
    data[0, 20, 20] = 0  # one dark band is an observation
    with open_scene(make_raster(data), bands="sentinel-2") as scene:
        valid = scene.read_native(scene.region).valid
    expected = np.ones((37, 53), bool)
    expected[:5, :9] = False
    np.testing.assert_array_equal(valid, expected)
    assert any(note.startswith("0 in all three bands means no observation") for note in scene.notes)
    with open_scene(make_raster(data, nodata=7, name="own.tif"), bands="sentinel-2") as scene:
        assert scene.read_native(scene.region).valid.all()
        assert not any("no observation" in note for note in scene.notes)
    with open_scene(make_raster(data), bands="sentinel-2", nodata=9) as scene:
        assert scene.read_native(scene.region).valid.all()


def test_fill_of_another_type(make_raster: Make, rng: np.random.Generator) -> None:
    data = stack(rng, 6, "int16")
    data[:, 30:, :] = -9999
    with open_scene(make_raster(data), bands="landsat-5") as scene:
        assert not scene.read_native(scene.region).valid[30:].any()
        assert scene.stretch.low[0] > 0.1  # the fill does not count


def test_the_fourth_of_four_bands_of_bytes_is_no_alpha(make_raster: Make, rng: np.random.Generator) -> None:
    """GDAL calls a stack of bytes red, green, blue and alpha, whatever is in it."""
    data = stack(rng, 4, "uint8", low=1, high=200)
    data[3, 5:9] = 0  # water in infrared
    path = make_raster(data)
    with open_scene(path) as scene:
        assert scene.choice.numbers == (1, 2, 3) and not scene.read_native(scene.region).valid[5:9].any()
    for sensor, numbers in (("sentinel-2", (3, 2, 1)), ("naip", (1, 2, 3))):
        with open_scene(path, bands=sensor) as scene:
            assert scene.choice.numbers == numbers
            raster = scene.read_native(scene.region)
            np.testing.assert_array_equal(raster.data, data[[number - 1 for number in numbers]])
            assert raster.valid.all()
            assert "Band 4 holds many values: it is not taken for transparency." in scene.notes
    named = make_raster(data, name="named.tif", names=("Red", "Green", "Blue", "NIR"))
    with open_scene(named) as scene:
        assert scene.choice.numbers == (1, 2, 3) and scene.read_native(scene.region).valid.all()
        assert "Band 4 is named 'NIR': it is not taken for transparency." in scene.notes


def test_transparency_stays_transparency(make_raster: Make, rng: np.random.Generator) -> None:
    data = stack(rng, 4, "uint8", low=1, high=200)
    data[3] = np.where(rng.random((37, 53)) < 0.5, 0, 255)
    data[:3, 30:] = 0  # black, and opaque where the alpha says so
    with open_scene(make_raster(data), bands="planetscope") as scene:
        assert scene.choice.numbers == (1, 2, 3)
        np.testing.assert_array_equal(scene.read_native(scene.region).valid, data[3] != 0)
