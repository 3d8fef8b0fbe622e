"""Arrays with named dimensions are read as scenes: xarray's own where it is installed, and a stand-in for it always."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from earthwords.errors import SourceError, UsageError
from earthwords.geo.scene import open_scene
from earthwords.types import Window
from tests.geo.conftest import TRANSFORM

Make = Callable[..., Path]
SHAPE = (37, 53)
PART = Window(row=5, col=7, height=20, width=31)
X = TRANSFORM.c + TRANSFORM.a * (np.arange(53) + 0.5)
Y = TRANSFORM.f + TRANSFORM.e * (np.arange(37) + 0.5)
WKT = CRS.from_epsg(32617).to_wkt()


@dataclass
class Coordinate:
    """A coordinate of the stand-in."""

    values: Any
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Plain:
    """The least that an array with named dimensions has: nothing to cut it by name."""

    values: np.ndarray
    dims: tuple[str, ...]
    coords: dict[str, Coordinate] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype


@dataclass
class Cuttable(Plain):
    """One that is cut by name, and counts how much of it was loaded."""

    loaded: list[int] = field(default_factory=list)

    def isel(self, where: dict[str, Any]) -> Cuttable:
        values, dims = self.values_, list(self.dims)
        for name, index in where.items():
            values = values[(slice(None),) * dims.index(name) + (index,)]
            if isinstance(index, int):
                dims.remove(name)
        return Cuttable(values, tuple(dims), loaded=self.loaded)

    def transpose(self, *order: str) -> Cuttable:
        return Cuttable(self.values_.transpose([self.dims.index(d) for d in order]), order, loaded=self.loaded)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values_.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values_.dtype

    def __post_init__(self) -> None:
        self.values_ = self.__dict__.pop("values")

    def __getattr__(self, name: str) -> Any:
        if name != "values":
            raise AttributeError(name)
        self.loaded.append(self.values_.size)
        return self.values_


def xarray() -> Any:
    try:
        return importlib.import_module("xarray")
    except ImportError:
        pytest.skip("xarray is not installed")


@pytest.fixture(params=["plain", "cuttable", "xarray"])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`make(values, dims, coords={name: values or (values, attrs)}, attrs={...})`."""

    def made(values: np.ndarray, dims: tuple[str, ...], coords: Any = None, attrs: Any = None) -> Any:
        pairs = {name: v if isinstance(v, tuple) else (v, {}) for name, v in (coords or {}).items()}
        if request.param != "xarray":
            kind = Plain if request.param == "plain" else Cuttable
            told = {name: Coordinate(np.asarray(v), a) for name, (v, a) in pairs.items()}
            return kind(values, dims, told, dict(attrs or {}))
        given = {name: (name if name in dims else (), v, a) for name, (v, a) in pairs.items()}
        return xarray().DataArray(values, dims=dims, coords=given, attrs=attrs)

    return made


def georeferenced(**more: Any) -> dict[str, Any]:
    return {"y": Y, "x": X, "spatial_ref": (0, {"crs_wkt": WKT}), **more}


def stack(rng: np.random.Generator, dtype: str = "uint16", count: int = 4) -> np.ndarray:
    return rng.integers(300, 3000, (count, *SHAPE)).astype(dtype)


@pytest.mark.parametrize("order", [("band", "y", "x"), ("y", "x", "band"), ("x", "band", "y")])
def test_it_is_read_as_the_same_raster_is(
    make: Any, make_raster: Make, rng: np.random.Generator, order: tuple[str, ...]
) -> None:
    data = stack(rng)
    data[:, 3, 4] = 7
    values = data.transpose([("band", "y", "x").index(dim) for dim in order])
    array = make(values, order, georeferenced(band=["B02", "B03", "B04", "B08"]), {"_FillValue": 7})
    path = make_raster(data, names=("B02", "B03", "B04", "B08"), nodata=7)
    options: dict[str, Any] = {"gsd": 5, "bounds": (404221.9, 3285080.9, 404281.9, 3285122.9)}
    with open_scene(path, **options) as file, open_scene(array, **options) as scene:
        assert (scene.native.crs, scene.native.shape) == (file.native.crs, file.native.shape)
        assert scene.native.transform.almost_equals(file.native.transform, 1e-6)
        assert (scene.grid.shape, scene.region) == (file.grid.shape, file.region)
        assert scene.stretch == file.stretch
        assert scene.notes == file.notes and "B04, B03, B02" in scene.notes[0]
        for window in (PART, file.region):
            for read in ("read_native", "read_rgb"):
                found, expected = getattr(scene, read)(window), getattr(file, read)(window)
                np.testing.assert_array_equal(found.data, expected.data)
                np.testing.assert_array_equal(found.valid, expected.valid)
        whole = Window(row=0, col=0, height=scene.grid.height, width=scene.grid.width)
        np.testing.assert_allclose(scene.read(whole).data, file.read(whole).data, atol=1e-6)
    with pytest.raises(SourceError, match="was closed"):
        scene.read_native(PART)


@pytest.mark.parametrize("names", ["lon lat", "longitude latitude", "easting northing", "X Y"])
def test_dimensions_by_other_names(make: Any, rng: np.random.Generator, names: str) -> None:
    x, y = names.split()
    data = stack(rng, "uint8", 3)
    coords = {x: X, y: Y, "spatial_ref": (0, {"spatial_ref": WKT})}
    with open_scene(make(data, ("channel", y, x), coords)) as scene:
        np.testing.assert_array_equal(scene.read_native(scene.region).data, data)
        assert scene.native.crs == CRS.from_epsg(32617)


@pytest.mark.parametrize("flip", ["y", "x"])
def test_rows_and_columns_may_run_the_other_way(make: Any, rng: np.random.Generator, flip: str) -> None:
    data = stack(rng, "uint8", 3)
    axis = {"y": 1, "x": 2}[flip]
    coords = georeferenced() | ({"y": Y[::-1]} if flip == "y" else {"x": X[::-1]})
    with open_scene(make(np.flip(data, axis), ("band", "y", "x"), coords)) as scene:
        np.testing.assert_array_equal(scene.read_native(scene.region).data, np.flip(data, axis))
        expected = {"y": Affine(2, 0, TRANSFORM.c, 0, 2, TRANSFORM.f - 74),
                    "x": Affine(-2, 0, TRANSFORM.c + 106, 0, -2, TRANSFORM.f)}[flip]  # fmt: skip
        assert scene.native.transform.almost_equals(expected, 1e-6)
        assert scene.native.gsd_m == pytest.approx(2, rel=1e-3)


def test_places_of_float32_are_even_enough(make: Any, rng: np.random.Generator) -> None:
    """A step of 1e-4 degrees near 100 degrees is 13 float32 units."""
    lon = (100.2 + 1e-4 * np.arange(53)).astype("f4")
    lat = (13.7 - 1e-4 * np.arange(37)).astype("f4")
    attrs = {"units": "degrees_east"}, {"units": "degrees_north"}
    array = make(stack(rng, "uint8", 3), ("band", "lat", "lon"), {"lon": (lon, attrs[0]), "lat": (lat, attrs[1])})
    with open_scene(array) as scene:
        assert scene.native.crs == CRS.from_epsg(4326)
        assert scene.native.gsd_m == pytest.approx(11, rel=0.05)
        assert "taken as WGS 84" in scene.notes[0]


@pytest.mark.parametrize(
    ("coords", "words"),
    [
        ({"x": np.random.default_rng(1).permutation(X)}, r"coordinate x .* not evenly spaced .*sortby\('x'\)"),
        ({"x": np.delete(np.append(X, X[-1] + 2), 20)}, r"coordinate x .* not evenly spaced \(steps of 2 to 4\)"),
        ({"y": np.sin(np.linspace(0, 1, 37))}, "coordinate y .* not evenly spaced"),
        ({"y": np.full(37, 5.0)}, "coordinate y .* not evenly spaced"),
        ({"x": np.where(np.arange(53) == 9, np.nan, X)}, "coordinate x of the array must hold numbers"),
        ({"y": np.array([f"r{i}" for i in range(37)])}, "coordinate y of the array must hold numbers"),
    ],
)
def test_uneven_places_are_refused(make: Any, rng: np.random.Generator, coords: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_scene(make(stack(rng, "uint8", 3), ("band", "y", "x"), georeferenced() | coords))


def test_a_rotated_raster_is_placed_by_its_grid_mapping(make: Any, rng: np.random.Generator) -> None:
    rotated = TRANSFORM @ Affine.rotation(30)
    told = {"crs_wkt": WKT, "GeoTransform": " ".join(map(str, rotated.to_gdal()))}
    with open_scene(make(stack(rng, "uint8", 3), ("band", "y", "x"), {"spatial_ref": (0, told)})) as scene:
        assert scene.native.transform.almost_equals(rotated, 1e-6)
        assert scene.native.crs == CRS.from_epsg(32617)


def test_a_part_of_an_array_is_where_its_coordinates_say(make: Any, rng: np.random.Generator) -> None:
    """The GeoTransform is still that of the whole."""
    told = {"crs_wkt": WKT, "GeoTransform": " ".join(map(str, TRANSFORM.to_gdal()))}
    coords = {"y": Y[10:30], "x": X[20:21], "spatial_ref": (0, told)}
    with open_scene(make(stack(rng, "uint8", 3)[:, 10:30, 20:21], ("band", "y", "x"), coords)) as scene:
        assert scene.native.transform.almost_equals(TRANSFORM @ Affine.translation(20, 10), 1e-6)


def test_coordinates_of_the_corners_of_pixels(make: Any, rng: np.random.Generator) -> None:
    """stackstac's are, and the transform tells; a part of the array has the transform of the whole."""
    x, y = X - 1, Y + 1
    attrs = {"transform": TRANSFORM, "crs": "EPSG:32617"}
    with open_scene(make(stack(rng, "uint8", 3), ("band", "y", "x"), {"x": x, "y": y}, attrs)) as scene:
        assert scene.native.transform.almost_equals(TRANSFORM, 1e-6)
    part = make(stack(rng, "uint8", 3)[:, 10:, 20:], ("band", "y", "x"), {"x": x[20:], "y": y[10:]}, attrs)
    with open_scene(part) as scene:
        assert scene.native.transform.almost_equals(TRANSFORM @ Affine.translation(20, 10), 1e-6)


def test_without_a_place_it_is_an_array_that_can_be_told(make: Any, rng: np.random.Generator) -> None:
    data, dims = stack(rng, "uint8", 3), ("band", "y", "x")
    with open_scene(make(data, dims)) as scene:
        assert scene.native.crs is None and scene.native.transform.is_identity
    with open_scene(make(data, dims), gsd=0.5) as scene:
        assert scene.native.gsd_m == pytest.approx(0.5) and scene.asked_gsd is None
    with open_scene(make(data, dims), transform=TRANSFORM, crs=32617) as scene:
        assert scene.native.transform == TRANSFORM and scene.native.crs == CRS.from_epsg(32617)
    with open_scene(make(data, dims, {"x": X, "y": Y}), crs=32617) as scene:
        assert scene.native.crs == CRS.from_epsg(32617)
    with open_scene(make(data, dims, {"spatial_ref": (0, {"crs_wkt": WKT})})) as scene:
        assert scene.native.crs is None and "A CRS but no coordinates" in scene.notes[0]
    with pytest.raises(UsageError, match="has its own CRS; leave crs= out"):
        open_scene(make(data, dims, georeferenced()), crs=32618)


@pytest.mark.parametrize(
    ("attrs", "coords"),
    [({"crs": "EPSG:32617"}, {}), ({}, {"epsg": 32617}), ({}, {"crs": (0, {"crs_wkt": WKT})}),
     ({"grid_mapping": "utm"}, {"utm": (0, {"spatial_ref": WKT})})],
)  # fmt: skip
def test_a_crs_in_all_the_usual_places(make: Any, rng: np.random.Generator, attrs: Any, coords: Any) -> None:
    array = make(stack(rng, "uint8", 3), ("band", "y", "x"), {"x": X, "y": Y, **coords}, attrs)
    with open_scene(array) as scene:
        assert scene.native.crs == CRS.from_epsg(32617)


@pytest.mark.parametrize(
    ("coords", "attrs", "numbers"),
    [
        ({"band": ["nir", "red", "green", "blue"]}, {}, (2, 3, 4)),
        ({"band": [1, 2, 3, 4]}, {"long_name": ("Blue", "Green", "Red", "NIR")}, (3, 2, 1)),
        ({}, {"descriptions": ("B08", "B04", "B03", "B02")}, (2, 3, 4)),
        ({"band": ["SR_B5", "SR_B4", "SR_B3", "SR_B2"]}, {}, (2, 3, 4)),
        ({"band": [4, 3, 2, 1]}, {}, (1, 2, 3)),
    ],
)
def test_names_of_bands(make: Any, rng: np.random.Generator, coords: Any, attrs: Any, numbers: tuple[int, ...]) -> None:
    with open_scene(make(stack(rng), ("band", "y", "x"), georeferenced() | coords, attrs)) as scene:
        assert scene.choice.numbers == numbers


def test_bands_sensors_and_masks_as_with_files(make: Any, rng: np.random.Generator) -> None:
    data = stack(rng, count=5)
    data[4] = rng.integers(0, 12, SHAPE)
    data[:, :5] = 0
    array = make(data, ("band", "y", "x"), georeferenced(band=["B02", "B03", "B04", "B08", "SCL"]))
    with open_scene(array, bands="sentinel-2", mask="scl", nodata=None) as scene:
        raster = scene.read_native(scene.region)
        np.testing.assert_allclose(raster.data, data[[2, 1, 0]] * 1e-4, rtol=1e-6)
        np.testing.assert_array_equal(raster.valid, ~np.isin(data[4], [0, 1, 3, 8, 9, 10]))
        (told,) = [note for note in scene.notes if "The mask" in note]
        seen = data[4, 5:]
        assert f"hides {100 * np.isin(seen, [0, 1, 3, 8, 9, 10]).mean():.1f} %" in told
        assert scene.tags()["EARTHWORDS_SENSOR"].startswith("sentinel-2: 0.0001 x number")


def test_scale_offset_nan_and_alpha(make: Any, rng: np.random.Generator) -> None:
    data = stack(rng)
    array = make(data, ("band", "y", "x"), georeferenced(), {"scale_factor": 0.5, "add_offset": -7.0})
    with open_scene(array) as scene:
        np.testing.assert_allclose(scene.read_native(PART).data, data[:3, 5:25, 7:38] * 0.5 - 7)
    floats = data.astype("f4")
    floats[1, 4, 6] = np.nan
    floats[3] = rng.integers(0, 2, SHAPE)
    array = make(floats, ("band", "y", "x"), georeferenced(band=["red", "green", "blue", "alpha"]))
    with open_scene(array) as scene:
        expected = floats[3] != 0
        expected[4, 6] = False
        np.testing.assert_array_equal(scene.read_native(scene.region).valid, expected)


@pytest.mark.parametrize("dims", [("y", "x"), ("band", "y", "x"), ("y", "x", "time")])
def test_one_band_is_repeated(make: Any, rng: np.random.Generator, dims: tuple[str, ...]) -> None:
    data = stack(rng, "uint8", 1)
    values = {2: data[0], 3: data if dims[0] == "band" else data[0][..., None]}[len(dims)]
    with open_scene(make(values, dims, georeferenced())) as scene:
        np.testing.assert_array_equal(scene.read_native(scene.region).data, np.repeat(data, 3, axis=0))
        assert "repeated three times" in scene.notes[0]


@pytest.mark.parametrize(
    ("shape", "dims", "words"),
    [
        ((2, 3, 9, 9), ("time", "band", "y", "x"), r"more than rows, columns and bands; .*\.isel\(time=0\)"),
        ((5, 9, 9), ("time", "y", "x"), r"choose one of them, for example \.isel\(time=0\)"),
        ((2, 3, 9, 9), ("level", "band", "y", "x"), r"\.isel\(band=0\)"),
        ((3, 9, 9), ("band", "dim_1", "dim_2"), r"it needs y and x, and a third for bands"),
        ((2, 9, 9), ("band", "y", "x"), "has 2 bands and three are needed"),
    ],
)
def test_other_dimensions_are_refused(make: Any, shape: tuple[int, ...], dims: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_scene(make(np.ones(shape, "uint8"), dims))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "datetime64[s]"])
def test_what_holds_no_numbers_is_refused(make: Any, dtype: str) -> None:
    with pytest.raises(UsageError, match=f"must hold numbers, got {dtype[:5]}"):
        open_scene(make(np.ones((3, 9, 9), "int64").astype(dtype), ("band", "y", "x")))


def test_a_window_loads_no_more_than_it_needs(rng: np.random.Generator) -> None:
    array = Cuttable(rng.integers(1, 9, (8, 300, 400)).astype("uint8"), ("band", "y", "x"))
    with open_scene(array, bands=[5, 3, 2]) as scene:
        assert array.loaded == []
        scene.read_native(Window(row=100, col=200, height=20, width=31))
        assert array.loaded == [3 * 20 * 31]


def test_a_failure_while_loading_is_one_sentence(rng: np.random.Generator) -> None:
    class Broken(Cuttable):
        def isel(self, where: dict[str, Any]) -> Cuttable:
            raise RuntimeError("chunk 7 is gone")

    scene = open_scene(Broken(np.ones((3, 9, 9), "uint8"), ("band", "y", "x")))
    with pytest.raises(SourceError, match=r"Cannot read array \(RuntimeError: chunk 7 is gone\)"):
        scene.read_native(scene.region)


def test_an_empty_array_is_refused(make: Any) -> None:
    array = make(np.full((3, 700, 9), np.nan, "f4"), ("band", "y", "x"))
    with pytest.raises(SourceError, match="no valid pixel"):
        open_scene(array)


# xarray's own


def test_variables_of_a_dataset_are_bands(rng: np.random.Generator) -> None:
    data = stack(rng)
    names = ("B02", "B03", "B04", "SCL")
    variables = {name: (("time", "y", "x"), values[None]) for name, values in zip(names, data, strict=True)}
    variables["spatial_ref"] = ((), 0, {"crs_wkt": WKT})
    coords = {"y": Y, "x": X, "time": np.array(["2022-07-14T10:11:12"], "datetime64[ns]")}
    dataset = xarray().Dataset(variables, coords=coords)
    with open_scene(dataset, bands="sentinel-2", mask="scl:0-999") as scene:
        np.testing.assert_allclose(scene.read_native(PART).data, data[[2, 1, 0], 5:25, 7:38] * 1e-4, rtol=1e-6)
        np.testing.assert_array_equal(scene.read_native(scene.region).valid, data[3] > 999)
        assert scene.native.crs == CRS.from_epsg(32617) and scene.date() == "2022-07-14"
    with pytest.raises(UsageError, match=r"No variable of the dataset has the dimensions y and x; its variables: a"):
        open_scene(xarray().Dataset({"a": ("t", [1, 2])}))


def test_what_rioxarray_opens(make_raster: Make, rng: np.random.Generator) -> None:
    xarray()
    rioxarray = pytest.importorskip("rioxarray", reason="rioxarray is not installed")
    data = stack(rng)
    data[:, 2, 3] = 7
    path = make_raster(data, names=("B02", "B03", "B04", "B08"), nodata=7)
    scaled = make_raster(data, name="scaled.tif", scales=(0.5,) * 4, offsets=(3.0,) * 4)
    for source, options in ((path, {}), (path, {"masked": True}), (path, {"band_as_variable": True}), (scaled, {})):
        array = rioxarray.open_rasterio(source, **options)
        with array, open_scene(source) as file, open_scene(array) as scene:
            assert scene.native.crs == file.native.crs
            assert scene.native.transform.almost_equals(file.native.transform, 1e-6)
            found, expected = scene.read_native(scene.region), file.read_native(file.region)
            np.testing.assert_array_equal(found.valid, expected.valid)
            np.testing.assert_allclose(found.data[:, found.valid], expected.data[:, found.valid], rtol=1e-6)


def test_dask_stays_where_it_is(rng: np.random.Generator) -> None:
    xr = xarray()
    dask = pytest.importorskip("dask.array", reason="dask is not installed")
    computed = []

    def chunk(block_info: Any = None) -> np.ndarray:
        computed.append(1)
        return np.full((3, 100, 100), len(computed) % 250 + 1, "uint8")

    lazy = dask.map_blocks(chunk, chunks=((3,), (100,) * 6, (100,) * 7), dtype="uint8", meta=np.empty((0,) * 3, "u1"))
    with open_scene(xr.DataArray(lazy, dims=("band", "y", "x"))) as scene:
        assert not computed
        scene.read_native(Window(row=110, col=120, height=50, width=70))
        assert len(computed) == 1
