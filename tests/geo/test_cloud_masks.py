"""Clouds and fill as "no observation": quality bands of the scene, rasters on the same ground, values and bits."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import Resampling, reproject

from earthwords.errors import SourceError, UsageError
from earthwords.geo import masks
from earthwords.geo.masks import KINDS, MaskRule, split_mask
from earthwords.geo.scene import SceneSpec, open_scene
from earthwords.types import Window
from tests.geo.conftest import TRANSFORM

Make = Callable[..., Path]
SHAPE = (37, 53)
NAMES = ("B2", "B3", "B4", "SCL", "QA_PIXEL", "QA60")


def scene_data(rng: np.random.Generator) -> np.ndarray:
    """Blue, green, red, and three quality bands, all different."""
    data = rng.integers(300, 3000, (6, *SHAPE)).astype("uint16")
    data[3] = rng.integers(0, 12, SHAPE)
    data[4] = rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 21824, 22280], SHAPE)
    data[5] = rng.choice([0, 1024, 2048, 512], SHAPE)
    return data


def valid_of(path: Path, mask: Any, **options: Any) -> np.ndarray:
    with open_scene(path, mask=mask, **options) as scene:
        return scene.read_rgb(scene.region).valid


def bits(values: np.ndarray, *numbers: int) -> np.ndarray:
    return np.any([(values // 2**number) % 2 == 1 for number in numbers], axis=0)


def test_scene_classes_hide_clouds_and_shadow_but_not_snow(make_raster: Make, rng: np.random.Generator) -> None:
    data = scene_data(rng)
    hidden = np.isin(data[3], [0, 1, 3, 8, 9, 10])
    path = make_raster(data, names=NAMES)
    np.testing.assert_array_equal(valid_of(path, "scl"), ~hidden)
    with open_scene(path, mask="SCL") as scene:
        assert scene.choice.numbers == (3, 2, 1)
        expected = f"The mask SCL (band 4: values 0-1, 3, 8-10) hides {100 * hidden.mean():.1f} % of what was observed."
        assert expected in scene.notes
        assert scene.tags()["EARTHWORDS_MASK"] == "SCL (band 4: values 0-1, 3, 8-10)"


@pytest.mark.parametrize(
    ("mask", "band", "numbers"),
    [("qa", 4, None), ("qa_pixel", 4, (0, 1, 2, 3, 4)), ("QA60", 5, (10, 11)), ("qa_pixel:bit5", 4, (5,))],
)
def test_bits_of_quality_bands(
    make_raster: Make, rng: np.random.Generator, mask: str, band: int, numbers: tuple[int, ...] | None
) -> None:
    data = scene_data(rng)
    names = NAMES if numbers else (*NAMES[:3], "AOT", "QA_PIXEL", "x")  # `qa` takes the first that there is
    path = make_raster(data, names=names)
    np.testing.assert_array_equal(valid_of(path, mask), ~bits(data[band], *(numbers or (0, 1, 2, 3, 4))))


@pytest.mark.parametrize(
    ("mask", "hidden"),
    [
        ("scl:3,8-10", lambda data: np.isin(data[3], [3, 8, 9, 10])),
        ("4:11", lambda data: data[3] == 11),
        ("band 4:0-5", lambda data: data[3] <= 5),
        ("QA60:1024,bit9", lambda data: np.isin(data[5], [1024, 512])),
        ("6", lambda data: data[5] == 0),
        (6, lambda data: data[5] == 0),
        ("cirrus", lambda data: data[5] == 0),
    ],
)
def test_values_are_chosen(make_raster: Make, rng: np.random.Generator, mask: str, hidden: Any) -> None:
    data = scene_data(rng)
    names = NAMES if mask != "cirrus" else (*NAMES[:5], "Cirrus")
    np.testing.assert_array_equal(valid_of(make_raster(data, names=names), mask), ~hidden(data))


@pytest.mark.parametrize(
    ("name", "make", "hidden"),
    [
        ("clear.tif", lambda rng, s: rng.integers(0, 2, s).astype("uint8") * 255, lambda v: v == 0),
        ("clear.tif", lambda rng, s: np.where(rng.random(s) < 0.3, np.nan, rng.integers(0, 3, s)).astype("f4"),
         lambda v: (v == 0) | np.isnan(v)),
        ("T32TQM_20220125_SCL_20m.tif", lambda rng, s: rng.integers(0, 12, s).astype("uint8"),
         lambda v: np.isin(v, [0, 1, 3, 8, 9, 10])),
        ("LC08_L2SP_193024_QA_PIXEL.TIF", lambda rng, s: rng.choice([21824, 22280, 1, 64], s).astype("uint16"),
         lambda v: bits(v, 0, 1, 2, 3, 4)),
        ("20220101_3B_udm.tif", lambda rng, s: rng.integers(0, 4, s).astype("uint8"), lambda v: v != 0),
        ("HLS.L30.T10TEM.2022001.Fmask.tif", lambda rng, s: rng.choice([0, 1, 2, 4, 8, 64, 255], s).astype("uint8"),
         lambda v: bits(v, 1, 2, 3)),
    ],
)  # fmt: skip
def test_a_file_says_by_its_name_what_it_means(
    make_raster: Make, rng: np.random.Generator, name: str, make: Any, hidden: Any
) -> None:
    path = make_raster(scene_data(rng), names=NAMES)
    values = make(rng, SHAPE)
    mask = make_raster(values[None], name=name)
    np.testing.assert_array_equal(valid_of(path, mask), ~hidden(values))


def test_snow_stays_in_planets_mask(make_raster: Make, rng: np.random.Generator) -> None:
    udm2 = rng.integers(0, 2, (8, *SHAPE)).astype("uint8")
    udm2[1] &= 1 - udm2[0]
    path = make_raster(scene_data(rng), names=NAMES)
    mask = make_raster(udm2, name="20220101_101010_00_2440_3B_udm2_clip.tif", photometric="minisblack")
    np.testing.assert_array_equal(valid_of(path, mask), (udm2[0] == 1) | (udm2[1] == 1))
    assert not np.array_equal(udm2[0] == 1, (udm2[0] == 1) | (udm2[1] == 1))


@pytest.mark.parametrize("size", [0.3, 1.0, 4.0, 7.0, 20.0])
@pytest.mark.parametrize("angle", [0.0, 20.0])
def test_another_resolution_is_read_by_nearest_neighbour(
    make_raster: Make, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, size: float, angle: float
) -> None:
    """rasterio's warper is the oracle, on a mask that reaches beyond the scene and may be rotated."""
    x, y = TRANSFORM @ (SHAPE[1] / 2, SHAPE[0] / 2)
    monkeypatch.setattr(masks, "_MOST_PIXELS", 5000)  # cut where a mask is much finer
    side = int(200 / size)
    transform = Affine.translation(x - 0.3, y + 0.7) @ Affine.rotation(angle) @ Affine.scale(size, -size)
    transform = transform @ Affine.translation(-side / 2, -side / 2)
    values = rng.integers(0, 2, (side, side)).astype("uint8")
    mask = make_raster(values[None], name="clear.tif", transform=transform)
    expected = np.full(SHAPE, 9, "uint8")
    crs = rasterio.crs.CRS.from_epsg(32617)
    reproject(values, expected, src_transform=transform, src_crs=crs, dst_transform=TRANSFORM, dst_crs=crs,
              resampling=Resampling.nearest, tolerance=0)  # fmt: skip
    path = make_raster(scene_data(rng), names=NAMES)
    found = valid_of(path, mask)
    assert (found == (expected != 0)).mean() > 0.999  # centres on the border of two pixels may go either way
    with open_scene(path, mask=mask) as scene:
        for window in (Window(row=0, col=0, height=5, width=53), Window(row=11, col=7, height=20, width=13)):
            np.testing.assert_array_equal(scene.read_rgb(window).valid, found[window.slices])


def test_a_mask_elsewhere_is_refused(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(scene_data(rng), names=NAMES)
    ones = np.ones((1, *SHAPE), "uint8")
    with pytest.raises(UsageError, match=r"is in WGS 84 / UTM zone 18N and the scene in WGS 84 / UTM zone 17N"):
        open_scene(path, mask=make_raster(ones, name="a.tif", crs="EPSG:32618"))
    with pytest.raises(UsageError, match=r"does not cover the scene: its bounds are \(404231.9"):
        open_scene(path, mask=make_raster(ones, name="b.tif", transform=TRANSFORM @ Affine.translation(10, 0)))
    with pytest.raises(UsageError, match="cannot be laid on each other: one has no georeference, and they have 9 x 53"):
        open_scene(path, mask=make_raster(ones[:, :9], name="c.tif", crs=None, transform=Affine.identity()))
    for name in ("d.tif", "e.tif"):  # the same size without a place is taken pixel by pixel
        valid = valid_of(path, make_raster(ones, name=name, crs=None, transform=Affine.identity()))
        assert valid.all()


def test_a_mask_that_there_is_not(make_raster: Make, rng: np.random.Generator, tmp_path: Path) -> None:
    path = make_raster(scene_data(rng)[:3], names=NAMES[:3])
    with pytest.raises(UsageError, match=r"No band of the scene is named SCL \(its bands: B2, B3, B4\)"):
        open_scene(path, mask="scl")
    with pytest.raises(UsageError, match="No band of the scene is named SCL or QA_PIXEL or"):
        open_scene(path, mask="qa")
    with pytest.raises(SourceError, match=r"clouds\.tif does not exist"):
        open_scene(path, mask=tmp_path / "clouds.tif")
    with pytest.raises(UsageError, match=r"'sdl' is neither a raster nor a band of the scene. Did you mean 'scl'\?"):
        open_scene(path, mask="sdl")
    (tmp_path / "notes.tif").write_text("no raster")
    with pytest.raises(SourceError, match="is not a raster"):
        open_scene(path, mask=tmp_path / "notes.tif")


@pytest.mark.parametrize(
    ("text", "what", "rule"),
    [
        ("scl", "scl", None),
        ("a/b.tif:3,8-10", "a/b.tif", MaskRule(ranges=((3, 3), (8, 10)))),
        ("a.tif: 1 , bit4", "a.tif", MaskRule(ranges=((1, 1),), bits=(4,))),
        ("a.tif:-9999", "a.tif", MaskRule(ranges=((-9999, -9999),))),
        ("https://host/a.tif", "https://host/a.tif", None),
        ("https://host:8080/a.tif:0", "https://host:8080/a.tif", MaskRule(ranges=((0, 0),))),
        ("GPKG:a.gpkg:layer", "GPKG:a.gpkg:layer", None),
        (r"C:\a.tif:2", r"C:\a.tif", MaskRule(ranges=((2, 2),))),
    ],
)
def test_what_and_values(text: str, what: str, rule: MaskRule | None) -> None:
    assert split_mask(text) == (what, rule)


@pytest.mark.parametrize(("text", "words"), [("", "empty"), ("a.tif:9-3", "'9-3' of the mask"), ("a:bit99", "'bit99'")])
def test_values_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        split_mask(text)


def test_a_file_with_a_colon_in_its_name(make_raster: Make, rng: np.random.Generator) -> None:
    mask = make_raster(np.ones((1, *SHAPE), "uint8"), name="at 12:30")
    assert split_mask(str(mask)) == (str(mask), None)


def test_each_scene_has_a_mask_of_its_name(make_raster: Make, rng: np.random.Generator, tmp_path: Path) -> None:
    for i in range(2):
        make_raster(scene_data(rng), names=NAMES, name=f"s{i}.tif")
        make_raster(np.full((1, *SHAPE), 7 + i, "uint8"), name=f"s{i}_clouds.tif")
    pattern = f"{tmp_path}/{{stem}}_clouds.tif:8"
    assert valid_of(tmp_path / "s0.tif", pattern).all()
    with pytest.raises(SourceError, match=r"no valid pixel.*here also by the mask s1_clouds.tif \(band 1: values 8\)"):
        open_scene(tmp_path / "s1.tif", mask=pattern)


def test_what_is_hidden_does_not_count_for_the_stretch(make_raster: Make, rng: np.random.Generator) -> None:
    data = scene_data(rng)
    cloudy = np.isin(data[3], [0, 1, 3, 8, 9, 10])
    data[:3, cloudy] = 60000
    with open_scene(make_raster(data, names=NAMES), mask="scl") as scene:
        for band, low, high in zip((2, 1, 0), scene.stretch.low, scene.stretch.high, strict=True):
            assert (low, high) == pytest.approx(tuple(np.percentile(data[band][~cloudy], (2, 98))))


def test_the_sample_of_a_large_scene_leaves_the_clouds_out(make_raster: Make, rng: np.random.Generator) -> None:
    """The overview is coarser than the scene, the mask coarser than both; both must be laid on each other."""
    height, width = 2100, 1300
    clouds = np.repeat(np.repeat(rng.integers(0, 2, (21, 13)), 100, 0), 100, 1)
    data = np.where(clouds, 60000, rng.integers(300, 900, (3, height, width))).astype("uint16")
    path = make_raster(data, compress="deflate")
    coarse = clouds[5::10, 5::10].astype("uint8")[None]
    mask = make_raster(coarse, name="m.tif", transform=TRANSFORM @ Affine.scale(10))
    with open_scene(path, mask=f"{mask}:1") as scene:
        assert max(scene.stretch.high) < 1000
        (told,) = [note for note in scene.notes if "The mask" in note]
        assert float(told.split("hides about ")[1].split(" %")[0]) == pytest.approx(100 * clouds.mean(), abs=0.5)


def test_shrinking_averages_what_is_seen(make_raster: Make, rng: np.random.Generator) -> None:
    data = scene_data(rng)
    data[3] = np.arange(53) % 2 * 8
    data[:3, :, 0::2], data[:3, :, 1::2] = 1000, 50000
    with open_scene(make_raster(data, names=NAMES), mask="scl:8", stretch="0,2000", gsd=6) as scene:
        whole = scene.read(Window(row=0, col=0, height=scene.grid.height, width=scene.grid.width))
    np.testing.assert_allclose(whole.data[:, whole.valid], 0.5)


def test_masks_travel(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(scene_data(rng), names=NAMES)
    mask = make_raster(rng.integers(0, 2, (1, *SHAPE)).astype("uint8"), name="m.tif")
    spec = SceneSpec(source=str(path), mask=str(mask))
    with pickle.loads(pickle.dumps(spec)).open() as scene:
        files = scene.identity()
        assert str(mask) in files and str(path) in files
        here = scene.read_rgb(scene.region).valid
    np.testing.assert_array_equal(here, valid_of(path, mask))


def test_an_array_is_a_mask_too(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(scene_data(rng), names=NAMES)
    shown = rng.random(SHAPE) < 0.5
    np.testing.assert_array_equal(valid_of(path, shown), shown)
    with pytest.raises(UsageError, match=r"array of the scene's 37 x 53 pixels.*got bool of shape \(53, 37\)"):
        open_scene(path, mask=shown.T)
    image = rng.integers(1, 255, (*SHAPE, 3)).astype("uint8")
    with open_scene(image, mask=shown.astype("uint8") * 255) as scene:
        np.testing.assert_array_equal(scene.read_rgb(scene.region).valid, shown)
        assert any("The mask an array (zeros) hides" in note for note in scene.notes)


def test_a_mask_that_cannot_be_read_is_named(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(scene_data(rng), names=NAMES)
    mask = make_raster(rng.integers(1, 9, (1, *SHAPE)).astype("uint8"), name="m.tif")
    mask.write_bytes(mask.read_bytes()[:-500])
    with pytest.raises(SourceError, match=r"m\.tif"):
        valid_of(path, mask)


def test_kinds_say_what_they_hide() -> None:
    assert {name: str(rule) for name, rule in KINDS.items()} == {
        "scl": "values 0-1, 3, 8-10",
        "qa_pixel": "bits 0, 1, 2, 3, 4",
        "pixel_qa": "bits 0, 3, 5",
        "bqa": "bits 0, 4",
        "qa60": "bits 10, 11",
        "fmask": "bits 1, 2, 3",
        "udm2": "zeros",
        "udm": "values 1-255",
    }
