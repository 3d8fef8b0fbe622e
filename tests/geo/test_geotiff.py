"""Rows written come back from a COG that overlays its grid exactly."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.errors import NotGeoreferencedWarning

from earthwords.errors import OutputError, UsageError
from earthwords.files.output_sets import staging_all
from earthwords.geo.drivers import missing_drivers
from earthwords.geo.geotiff import RasterWriter, cog_options
from earthwords.types import Grid, Vocabulary

COLOURS = ((220, 60, 50), (120, 120, 130), (31, 119, 220))


def write(path: Path, grid: Grid, data: np.ndarray, *, cuts: Sequence[int] = (), **options: Any) -> None:
    edges = [0, *cuts, grid.height]
    count = data.shape[0] if data.ndim == 3 else 1
    with RasterWriter(path, grid=grid, count=count, **{"dtype": data.dtype, **options}) as writer:
        for start, stop in pairwise(edges):
            writer.write(start, data[..., start:stop, :])


def random_labels(rng: np.random.Generator, shape: tuple[int, int], dtype: str = "uint8") -> np.ndarray:
    return rng.integers(0, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_labels_carry_colours_names_and_tags(tmp_path: Path, grid: Grid, rng: np.random.Generator, dtype: str) -> None:
    path = tmp_path / "labels.tif"
    labels = random_labels(rng, grid.shape, dtype)
    names = ("building", "road", "water & ice <m>")
    nodata = np.iinfo(dtype).max
    write(
        path,
        grid,
        labels,
        nodata=nodata,
        colours=COLOURS,
        categories=names,
        band_names=["labels"],
        tags={"EARTHWORDS_STRETCH": "none"},
        resampling="mode",
    )
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), labels)
        assert dataset.nodata == nodata
        assert [dataset.colormap(1)[i][:3] for i in range(3)] == list(COLOURS)
        assert dataset.descriptions == ("labels",)
        tags = dataset.tags()
    assert tags["EARTHWORDS_STRETCH"] == "none"
    assert [tags[f"CLASS_{i}"] for i in range(3)] == list(names)
    assert categories(path) == list(names)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.tif", "labels.tif.aux.xml"]


def categories(path: Path) -> list[str | None]:
    """The category names as GDAL sees them: its VRT driver writes them down."""
    from xml.etree import ElementTree

    rasterio.shutil.copy(str(path), "/vsimem/categories.vrt", driver="VRT")
    with rasterio.open("/vsimem/categories.vrt") as dataset:
        text = dataset.tags(ns="xml:VRT")["xml:VRT"]
    rasterio.shutil.delete("/vsimem/categories.vrt")
    return [element.text for element in ElementTree.fromstring(text).iter("Category")]


TURNED = Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(2, -2)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32617", Affine(0.1, 0, 404211.9, 0, -0.1, 3285142.9000000004)),
        ("EPSG:4326", Affine(0.00080848375, 0, -74.7224, 0, -0.00080848375, -8.2821)),
        ("EPSG:32617", TURNED),
        ("EPSG:3857", Affine(10, 0, 5e5, 0, 10, 4e6)),
        ("EPSG:2056+5728", Affine(2, 0, 2.6e6, 0, -2, 1.2e6)),
        ("+proj=laea +lat_0=10 +lon_0=20 +ellps=bessel", Affine(2, 0, 5, 0, -2, 7)),
        (None, Affine.identity()),
        (None, Affine(2, 0, 5e5, 0, -2, 4e6)),
    ],
    ids=["utm", "degrees", "rotated", "south-up", "compound", "custom", "none", "world file"],
)
@pytest.mark.filterwarnings("error")
def test_the_output_lies_exactly_on_its_grid(
    tmp_path: Path, rng: np.random.Generator, crs: str | None, transform: Affine
) -> None:
    grid = Grid(height=37, width=53, transform=transform, crs=CRS.from_user_input(crs) if crs else None)
    write(tmp_path / "a.tif", grid, random_labels(rng, grid.shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(tmp_path / "a.tif")
    with dataset:
        np.testing.assert_array_equal(dataset.transform[:6], transform[:6])
        assert dataset.shape == grid.shape
        if grid.crs is None:
            assert dataset.crs is None
        else:
            assert CRS.from_wkt(dataset.crs.to_wkt()).equals(grid.crs, ignore_axis_order=True)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_bands_come_back(tmp_path: Path, grid: Grid, rng: np.random.Generator, dtype: str) -> None:
    data = (rng.random((4, *grid.shape)) * [[[9]], [[99]], [[50]], [[120]]]).astype(dtype)
    write(tmp_path / "a.tif", grid, data, cuts=(5, 6), band_names=list("abcd"))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), data)
        assert dataset.descriptions == tuple("abcd")
        assert dataset.dtypes == (dtype,) * 4


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 599), max_size=9))
def test_the_cuts_between_rows_do_not_matter(tmp_path: Path, cuts: set[int]) -> None:
    grid = Grid(height=600, width=71, transform=TURNED, crs=CRS.from_epsg(32617))
    labels = random_labels(np.random.default_rng(0), grid.shape)
    write(tmp_path / "a.tif", grid, labels, cuts=sorted(cuts), overwrite=True)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), labels)


def test_it_is_a_cog_with_overviews_of_the_majority(tmp_path: Path, rng: np.random.Generator) -> None:
    grid = Grid(height=700, width=1100, transform=TURNED, crs=CRS.from_epsg(32617))
    coarse = random_labels(rng, (350, 550))
    labels = coarse.repeat(2, 0).repeat(2, 1)
    labels[::2, ::2] = 7
    write(tmp_path / "a.tif", grid, labels, resampling="mode")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.compression.name == "deflate"
        assert dataset.overviews(1)[0] == 2
        with rasterio.open(tmp_path / "a.tif", overview_level=0) as overview:
            np.testing.assert_array_equal(overview.read(1), coarse)


def test_rows_kept_by_the_caller_may_be_reused(tmp_path: Path, grid: Grid) -> None:
    buffer = np.zeros((1, grid.width), np.uint8)
    with RasterWriter(tmp_path / "a.tif", grid=grid, dtype="uint8") as writer:
        for row in range(grid.height):
            buffer[:] = row
            writer.write(row, buffer)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1)[:, 0], np.arange(grid.height))


def test_creation_options_reach_gdal(tmp_path: Path, grid: Grid, rng: np.random.Generator) -> None:
    options = {"compress": "lzw", "BLOCKSIZE": "128"}
    write(tmp_path / "a.tif", grid, random_labels(rng, grid.shape), creation_options=options)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.compression.name == "lzw"
        assert dataset.block_shapes == [(128, 128)]


def test_floats_get_their_predictor() -> None:
    assert cog_options("float32")["PREDICTOR"] == "FLOATING_POINT"
    assert "PREDICTOR" not in cog_options("uint8")
    assert "PREDICTOR" not in cog_options("float32", given={"COMPRESS": "LERC"})


@pytest.mark.parametrize(
    ("given_options", "words"),
    [
        ({"COMPRES": "LZW"}, r"Unknown creation option 'COMPRES'. "),
        ({"TARGET_SRS": "EPSG:3857"}, r"Unknown creation option 'TARGET_SRS'"),
        ({"COMPRESS": "DEFALTE"}, r"Unknown value for COMPRESS 'DEFALTE'. "),
        ({"COMPRESS": "JPEG"}, r"Unknown value for COMPRESS 'JPEG'"),
        ({"COMPRESS": "WEBP"}, r"Unknown value for COMPRESS 'WEBP'"),
        ({"NBITS": "1"}, r"Unknown creation option 'NBITS'"),
        ({"MAX_Z_ERROR": "1"}, r"Unknown creation option 'MAX_Z_ERROR'"),
        ({"BLOCKSIZE": "large"}, r"BLOCKSIZE is a whole number, not 'large'"),
        ({"BLOCKSIZE": "0"}, r"BLOCKSIZE is a multiple of 16 between 128 and 4096, not 0"),
        ({"BLOCKSIZE": "200"}, r"BLOCKSIZE is a multiple of 16"),
        ({"LEVEL": "-1"}, r"LEVEL is a whole number, not '-1'"),
        ({"predictor": "floating_point"}, r"PREDICTOR=floating_point is for floating-point numbers, and uint8 is none"),
    ],
)
def test_wrong_creation_options_are_refused(given_options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cog_options("uint8", given=given_options)


def test_unknown_resampling_is_refused(tmp_path: Path, grid: Grid) -> None:
    with pytest.raises(UsageError, match=r"Unknown resampling 'nearist'. Did you mean 'nearest'\?"):
        RasterWriter(tmp_path / "a.tif", grid=grid, dtype="uint8", resampling="nearist")


@pytest.mark.parametrize(
    ("options", "words"), [({"BLOCKSIZE": "17"}, "TileWidth"), ({"COMPRESS": "WEBP"}, "truncated")]
)
def test_a_value_gdal_refuses_leaves_nothing(
    tmp_path: Path,
    grid: Grid,
    rng: np.random.Generator,
    options: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With or without a word from GDAL: WEBP, for one, leaves all tiles out and calls it done."""
    monkeypatch.setattr("earthwords.geo.geotiff._check_option", lambda key, value, dtype: None)
    with pytest.raises(OutputError, match=rf"Cannot write .*a.tif \(.*{words}"):
        write(tmp_path / "a.tif", grid, random_labels(rng, grid.shape), creation_options=options)
    assert list(tmp_path.iterdir()) == []


def test_tiles_of_nodata_may_be_left_out(tmp_path: Path, grid: Grid) -> None:
    empty = np.full(grid.shape, 255, np.uint8)
    for sparse in ("YES", "NO"):
        path = tmp_path / f"{sparse}.tif"
        write(path, grid, empty, nodata=255, creation_options={"SPARSE_OK": sparse})
        with rasterio.open(path) as dataset:
            np.testing.assert_array_equal(dataset.read(1), empty)
            assert (dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1) is None) == (sparse == "YES")


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_older_file(tmp_path: Path, grid: Grid, error: BaseException) -> None:
    path = tmp_path / "a.tif"
    path.write_text("older")
    with pytest.raises(type(error)), RasterWriter(path, grid=grid, dtype="uint8", overwrite=True) as writer:
        writer.write(0, np.zeros((5, grid.width), np.uint8))
        raise error
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.tif": "older"}


def test_missing_rows_are_an_error(tmp_path: Path, grid: Grid) -> None:
    with (
        pytest.raises(OutputError, match=r"Only 5 of 37 rows of .*a.tif were written"),
        RasterWriter(tmp_path / "a.tif", grid=grid, dtype="uint8") as writer,
    ):
        writer.write(0, np.zeros((5, grid.width), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("row", "data", "words"),
    [
        (1, np.zeros((5, 53), "uint8"), r"must come in order: expected row 0 of 37, got rows 1\.\.6"),
        (0, np.zeros((38, 53), "uint8"), r"got rows 0\.\.38"),
        (0, np.zeros((5, 52), "uint8"), r"must be \(1, rows, 53\), got \(5, 52\)"),
        (0, np.zeros((2, 5, 53), "uint8"), r"must be \(1, rows, 53\), got \(2, 5, 53\)"),
        (0, np.full((5, 53), 256), "between 256 and 256 do not fit into uint8"),
        (0, np.full((5, 53), -1), "between -1 and -1 do not fit into uint8"),
        (0, np.full((5, 53), 0.5), "do not fit into uint8"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, grid: Grid, row: int, data: np.ndarray, words: str) -> None:
    with (
        pytest.raises(UsageError, match=words),
        RasterWriter(tmp_path / "a.tif", grid=grid, dtype="uint8") as writer,
    ):
        writer.write(row, data)
    assert list(tmp_path.iterdir()) == []


def test_wider_integers_that_fit_are_taken(tmp_path: Path, grid: Grid) -> None:
    write(tmp_path / "a.tif", grid, np.full(grid.shape, 200), dtype="uint8")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.dtypes == ("uint8",)
        assert (dataset.read(1) == 200).all()


def test_an_existing_file_needs_overwrite(tmp_path: Path, grid: Grid) -> None:
    (tmp_path / "a.tif").write_text("older")
    with pytest.raises(UsageError, match="exists"), RasterWriter(tmp_path / "a.tif", grid=grid, dtype="uint8"):
        pass
    assert (tmp_path / "a.tif").read_text() == "older"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float32", "colours": COLOURS}, "A colour table needs one band of uint8 or uint16"),
        ({"dtype": "uint8", "count": 2, "colours": COLOURS}, "A colour table needs one band"),
        ({"dtype": "uint8", "count": 2, "band_names": ["a"]}, "2 bands need as many names, got 1"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, grid: Grid, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        RasterWriter(tmp_path / "a.tif", grid=grid, **options)


FULL_DISK = """
import resource, signal, sys
import numpy as np
from affine import Affine
from earthwords.errors import OutputError
from earthwords.geo.geotiff import RasterWriter
from earthwords.types import Grid

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
grid = Grid(height=900, width=1000, transform=Affine(2, 0, 5e5, 0, -2, 4e6), crs=None)
rng = np.random.default_rng(0)
try:
    with RasterWriter(sys.argv[1], grid=grid, dtype="uint8", categories=["a"], overwrite=True) as writer:
        for row in range(0, 900, 100):
            writer.write(row, rng.integers(0, 250, (100, 1000), dtype=np.uint8))
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX systems can")
@pytest.mark.parametrize("limit", [300_000, 890_000, 1_000_000, 1_100_000])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """At the start, between closing and copying, and while the COG is written: GDAL is silent on some."""
    path = tmp_path / "a.tif"
    path.write_text("older")
    command = [sys.executable, "-c", FULL_DISK, str(path), str(limit)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"Cannot write {path} (")
    assert len(ran.stdout.strip().splitlines()) == 1
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.tif": "older"}


BOUNDED = """
import resource, sys
import numpy as np
from affine import Affine
from earthwords.geo.geotiff import RasterWriter
from earthwords.types import Grid, Window

grid = Grid(height=12000, width=12000, transform=Affine(2, 0, 5e5, 0, -2, 4e6), crs=None)
rows = np.zeros((250, 12000), np.uint8)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
import rasterio
with rasterio.Env(GDAL_CACHEMAX=32):
    with RasterWriter(sys.argv[1], grid=grid.window(Window(row=0, col=0, height=9, width=9)), dtype="uint8") as writer:
        writer.write(0, np.zeros((9, 9), np.uint8))
    before = peak()
    with RasterWriter(sys.argv[1], grid=grid, dtype="uint8", overwrite=True) as writer:
        for row in range(0, 12000, 250):
            writer.write(row, rows)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux reports it")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """144 MB of pixels go through."""
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "a.tif")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 90


def test_the_nouns_fit(tmp_path: Path, grid: Grid, vocabulary: Vocabulary, rng: np.random.Generator) -> None:
    write(
        tmp_path / "a.tif",
        grid,
        random_labels(rng, grid.shape),
        nodata=vocabulary.nodata,
        dtype=vocabulary.label_dtype,
        colours=[c.colour for c in vocabulary.classes],
        categories=vocabulary.titles,
    )
    assert categories(tmp_path / "a.tif") == ["building", "road", "water & ice"]


def test_drivers_are_all_there() -> None:
    assert missing_drivers() == ()


def test_it_may_be_staged_with_others(tmp_path: Path, grid: Grid, rng: np.random.Generator) -> None:
    with staging_all({"labels": tmp_path / "labels.tif"}, settings={}) as places:
        write(places["labels"], grid, random_labels(rng, grid.shape), categories=["a", "b"])
    assert categories(tmp_path / "labels.tif") == ["a", "b"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.tif", "labels.tif.aux.xml"]
