"""`earthwords upsample`: every form of DST, the options, and every way to fail with one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from safetensors import safe_open
from sklearn.decomposition import PCA

import earthwords
from earthwords.errors import UsageError
from earthwords.geo.destinations import FEATURE_FILES
from earthwords.geo.scene import SceneSpec
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.features.job import FeatureJob
from earthwords.inference.features.outputs import block_side, raster_options
from earthwords.inference.features.pca import load_components
from earthwords.inference.features.request import FeatureRequest
from earthwords.inference.features.strips import sample_tokens
from earthwords.inference.features.upsampler import Upsampler
from earthwords.training.implicit import REDUCED, SETTINGS
from earthwords.viz.panels import GAP, MARGIN
from tests.conftest import HEIGHT, TRANSFORM, WIDTH, Command
from tests.micro import patchwork
from tests.tasks.conftest import names
from tests.tasks.upsample.conftest import DIM, Upsample
from tests.upsamplers import write_upsampler

BOUNDS = (326_417.5 + 0.5 * 70, 2_781_133.0 - 0.5 * 91, 326_417.5 + 0.5 * 147, 2_781_133.0 - 0.5 * 50)
"""Rows 50 to 91 and columns 70 to 147 of the scene."""


@pytest.fixture
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("weights")
    return lambda method: write_upsampler(folder, method, DIM)


# ---- what comes out


def test_a_raster(
    upsample: Upsample, scene_file: Path, tmp_path: Path, image: np.ndarray, upsampler: Upsampler
) -> None:
    assert upsample(scene_file, tmp_path / "f.tif").code == 0
    assert names(tmp_path) == {"f.tif", "f.pca.safetensors"}
    components = load_components(tmp_path / "f.pca.safetensors", dim=DIM)
    with rasterio.open(scene_file) as source, rasterio.open(tmp_path / "f.tif") as found:
        assert (found.crs, found.transform, found.shape) == (source.crs, TRANSFORM, (HEIGHT, WIDTH))
        assert found.dtypes == ("float32",) * 3 and np.isnan(found.nodata)
        shares = [f"PC {i + 1} ({100 * share:.1f} % of variance)" for i, share in enumerate(components.shares.tolist())]
        assert list(found.descriptions) == shares
        tags = found.tags()
        values = found.read()
        assert found.overviews(1) == [] and found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert (tags["EARTHWORDS_METHOD"], tags["EARTHWORDS_FEATURES"]) == ("bilinear", "segearth")
    np.testing.assert_allclose([float(v) for v in tags["EARTHWORDS_MEAN"].split()], components.mean, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(values).any(axis=0), ~image.any(axis=2))
    with safe_open(tmp_path / "f.pca.safetensors", "np") as file:
        assert file.metadata()["EARTHWORDS_METHOD"] == "bilinear"
    with upsampler.open(scene_file) as scene:
        tokens = sample_tokens(upsampler, scene).double().numpy()
    oracle = PCA(3, svd_solver="full").fit(tokens)
    np.testing.assert_allclose(components.shares, oracle.explained_variance_ratio_, rtol=1e-4)
    np.testing.assert_allclose(np.abs((components.vectors.numpy() * oracle.components_).sum(axis=1)), 1, atol=1e-4)


@pytest.mark.parametrize("word", ["all", "0"])
def test_all_channels(upsample: Upsample, scene_file: Path, tmp_path: Path, word: str) -> None:
    assert upsample(scene_file, tmp_path / "f.tif").code == 0
    assert upsample(scene_file, tmp_path / "all.tif", "--components", word).code == 0
    assert names(tmp_path) == {"f.tif", "f.pca.safetensors", "all.tif"}
    components = load_components(tmp_path / "f.pca.safetensors", dim=DIM)
    with rasterio.open(tmp_path / "f.tif") as few, rasterio.open(tmp_path / "all.tif") as found:
        assert found.count == DIM and found.descriptions[0] == "feature 1"
        expected = components.project(torch.from_numpy(found.read())).numpy()
        np.testing.assert_allclose(few.read(), expected, atol=1e-4)


def test_a_part_with_the_components_of_the_whole(upsample: Upsample, scene_file: Path, tmp_path: Path) -> None:
    assert upsample(scene_file, tmp_path / "f.tif", "--components", 2).code == 0
    pca = ("--pca", tmp_path / "f.pca.safetensors", "--components", 2)
    assert upsample(scene_file, tmp_path / "part.tif", "--bounds", *BOUNDS, *pca).code == 0
    with rasterio.open(tmp_path / "f.tif") as whole, rasterio.open(tmp_path / "part.tif") as part:
        assert part.bounds == BOUNDS and part.crs == whole.crs
        np.testing.assert_array_equal(part.read(), whole.read()[:, 50:91, 70:147])
        assert part.tags()["EARTHWORDS_COMPONENTS"] == "2 of 16, from f.pca.safetensors"
    upsample(scene_file, tmp_path / "g.tif", *pca[:2]).failed(2, "holds 2 components, 3 were asked for")


def test_a_picture_has_three_different_panels(upsample: Upsample, scene_file: Path, tmp_path: Path) -> None:
    assert upsample(scene_file, tmp_path / "p.png", "--blend-mode", "mean").code == 0
    assert names(tmp_path) == {"p.png"}
    with Image.open(tmp_path / "p.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    zoom = 480 // WIDTH
    panels = [
        pixels[MARGIN : MARGIN + HEIGHT * zoom, left : left + WIDTH * zoom]
        for left in (MARGIN + i * ((pixels.shape[1] - 2 * MARGIN + GAP) // 3) for i in range(3))
    ]
    assert {panel.shape for panel in panels} == {(HEIGHT * zoom, WIDTH * zoom, 3)}
    tokens, fine = panels[1][: 90 * zoom, : 90 * zoom], panels[2][: 90 * zoom, : 90 * zoom]
    assert np.abs(panels[0] - panels[2]).mean() > 20
    assert 2 < np.abs(tokens - fine).mean() < 60  # the same colours, smoothed
    assert np.abs(np.diff(tokens, axis=1)).mean() < np.abs(np.diff(fine, axis=1)).mean() * 1.5
    assert np.corrcoef(tokens.ravel(), fine.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("components", [1, 5, "all"])
def test_a_folder(upsample: Upsample, scene_file: Path, tmp_path: Path, components: object) -> None:
    done = upsample(scene_file, tmp_path / "out", "--components", components, "--json")
    report = json.loads(done.out)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    count = DIM if components == "all" else components
    assert names(tmp_path / "out") == set(FEATURE_FILES.values()) - (
        {FEATURE_FILES["components"]} if count == DIM else set()
    )
    assert (len(report["bands"]), report["method"], report["dst"]) == (count, "bilinear", str(tmp_path / "out"))
    assert len(report["variance"]) == (0 if count == DIM else count) and report["megapixels"] == HEIGHT * WIDTH / 1e6
    assert 0 < report["nodata_share"] < 0.2
    with rasterio.open(tmp_path / "out" / "features.tif") as found:
        assert list(found.descriptions) == report["bands"]


def test_a_picture_without_a_crs(upsample: Upsample, tmp_path: Path) -> None:
    Image.fromarray(patchwork(70, 110)).save(tmp_path / "a.jpg")
    assert upsample(tmp_path / "a.jpg", tmp_path / "a.png").code == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 3 * 110
    assert upsample(tmp_path / "a.jpg", tmp_path / "a.tif").code == 0
    with rasterio.open(tmp_path / "a.tif") as found:
        assert found.crs is None and found.transform.is_identity and found.shape == (70, 110)


def test_what_is_said_and_printed(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    done = command("upsample", scene_file, tmp_path / "f.tif", "--model", micro, "--tile-size", 64, "--device", "cpu")
    assert f"features: {tmp_path / 'f.tif'}" in done.err
    assert "130 x 190 pixels by bilinear" in done.out and "PC 1" in done.out and "together" in done.out
    done = command(
        "upsample",
        scene_file,
        tmp_path / "g.tif",
        "--model",
        micro,
        "--device",
        "cpu",
        "--components",
        "all",
    )
    assert "feature 1 to feature 16" in done.out


@pytest.mark.parametrize("method", ["jbu", "simfeatup", "anyup", "ifa", "resize-conv"])
def test_every_method(
    upsample: Upsample, weights: Callable[[str], Path], scene_file: Path, tmp_path: Path, method: str
) -> None:
    options = ("--method", method, "--upsampler-weights", weights(method))
    assert upsample(scene_file, tmp_path / "f.tif", *options, "--blend-mode", "cosine").code == 0
    assert upsample(scene_file, tmp_path / "b.tif", "--pca", tmp_path / "f.pca.safetensors").code == 0
    with rasterio.open(tmp_path / "f.tif") as found, rasterio.open(tmp_path / "b.tif") as bilinear:
        values, smooth = found.read(), bilinear.read()
        assert found.tags()["EARTHWORDS_UPSAMPLER_WEIGHTS"] == str(weights(method))
    assert bool((np.isnan(values) == np.isnan(smooth)).all())
    assert float(np.nanmean(np.abs(values - smooth))) > 0.01


def test_a_fit_for_every_window(
    command: Command, micro: Path, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(REDUCED, steps=2, views=4, views_per_step=2, max_pad=4, dim=4, pca_views=4, frequencies=4, batch=4)
    monkeypatch.setitem(SETTINGS, "reduced", quick)
    options = ("--model", micro, "--tile-size", 64, "--device", "cpu", "--method", "featup-implicit")
    done = command("upsample", scene_file, tmp_path / "f.tif", *options, "--bounds", *BOUNDS)
    assert done.code == 0
    assert "featup-implicit fits a network to each of 16 windows: about " in done.err
    with rasterio.open(tmp_path / "f.tif") as found:
        assert found.shape == (41, 77) and bool(np.isfinite(found.read()).all())
    Image.fromarray(patchwork(64, 64)).save(tmp_path / "a.png")
    done = command("upsample", tmp_path / "a.png", tmp_path / "one.tif", *options)
    assert done.code == 0 and "fits a network" not in done.err


def test_another_resolution_and_a_python_call(micro: Path, scene_file: Path, tmp_path: Path) -> None:
    report = earthwords.upsample(
        str(scene_file),
        tmp_path / "f.tif",
        model=str(micro),
        features="penultimate",
        gsd=1.1,
        tile_size=48,
        device="cpu",
        quiet=True,
    )
    assert isinstance(report, earthwords.FeatureReport)
    assert report.settings["features"] == "penultimate" and report.settings["gsd"] == "1.10317 m"
    assert report.settings["tile"] == "48 overlap 24" and sum(report.variance) < 1
    with rasterio.open(tmp_path / "f.tif") as found:
        assert (found.transform, found.shape) == (TRANSFORM, (HEIGHT, WIDTH))


def test_a_result_does_not_depend_on_the_batch(upsample: Upsample, scene_file: Path, tmp_path: Path) -> None:
    for batch in (1, 5):
        assert upsample(scene_file, tmp_path / f"{batch}.tif", "--batch-size", batch).code == 0
    with rasterio.open(tmp_path / "1.tif") as one, rasterio.open(tmp_path / "5.tif") as five:
        np.testing.assert_array_equal(one.read(), five.read())


def test_creation_options(upsample: Upsample, scene_file: Path, tmp_path: Path) -> None:
    assert upsample(scene_file, tmp_path / "f.tif", "--co", "COMPRESS=ZSTD", "--co", "blocksize=128").code == 0
    with rasterio.open(tmp_path / "f.tif") as found:
        assert found.profile["compress"] == "zstd" and found.block_shapes[0] == (128, 128)
    assert raster_options(32) == {"BLOCKSIZE": "256"}
    assert raster_options(33) == {"BLOCKSIZE": "128", "OVERVIEWS": "NONE"}
    assert [block_side(bands) for bands in (1, 8, 9, 32, 33, 512)] == [512, 512, 256, 256, 128, 128]


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--method", "anyupp"], 2, 'Invalid value "anyupp" for --method. Choose from: "bilinear"'),
        (["--method", "jbu"], 1, "Upsampler 'jbu' needs trained weights"),
        (["--method", "anyup"], 1, "anyup-multi-backbone is not in"),
        (
            ["--method", "bilinear", "--upsampler-weights", "tiny-jbu"],
            2,
            "Method 'bilinear' has no weights; leave 'tiny-jbu' out",
        ),
        (["--features", "maskclp"], 2, 'Did you mean "maskclip"?'),
        (["--components", 17], 2, "have 16 channels, so there are 1 to 16 components, not 17"),
        (["--components", -1], 2, "The components are a number, or all, not -1"),
        (["--memory", "1MiB"], 2, "of memory, 1 MiB were given; ask for fewer --components"),
        (["--memory", "much"], 2, "The memory is a size"),
        (["--blend-mode", "mead"], 2, 'Did you mean "mean"?'),
        (["--batch-size", 0], 2, "At least one window"),
        (["--overlap", 64], 2, "Windows of 64 pixels with an overlap of 64 are impossible"),
        (["--co", "COMPRES=LZW"], 2, "Did you mean 'COMPRESS'?"),
        (["--pca", "nothing.safetensors"], 1, "nothing.safetensors does not exist; name the components"),
        (["--bounds", 0, 0, 1, 1], 2, "bounds"),
        (["--preset", "segearth"], 2, "Did you mean 'segearth-ov'?"),
    ],
)
def test_refusals(
    upsample: Upsample, scene_file: Path, tmp_path: Path, options: list[object], code: int, sentence: str
) -> None:
    upsample(scene_file, tmp_path / "new" / "f.tif", *options).failed(code, sentence)
    assert names(tmp_path) == set()


def test_places_that_cannot_be_written(upsample: Upsample, scene_file: Path, tmp_path: Path) -> None:
    upsample(scene_file, tmp_path / "f.gpkg").failed(2, "the suffix must be one of .tif, .png, or none for a folder")
    upsample(scene_file, "https://a.b/f.tif").failed(2, "is not a local path")
    upsample(scene_file, scene_file, "--overwrite").failed(2, "is the source itself")
    (tmp_path / "f.pca.safetensors").write_text("mine")
    upsample(scene_file, tmp_path / "f.tif").failed(2, "f.pca.safetensors exists; pass --overwrite")
    assert upsample(scene_file, tmp_path / "f.tif", "--overwrite").code == 0
    upsample(tmp_path / "missing.tif", tmp_path / "g.tif").failed(1, "missing.tif")


def test_weights_of_another_dimension(upsample: Upsample, scene_file: Path, tmp_path: Path) -> None:
    weights = write_upsampler(tmp_path / "w", "jbu", 20)
    done = upsample(scene_file, tmp_path / "f.tif", "--method", "jbu", "--upsampler-weights", weights)
    done.failed(1, "does not fit upsampler 'jbu'; first names that differ: fixup_proj")
    assert names(tmp_path) == {"w"}


@pytest.mark.parametrize("width", [90, 200], ids=["windows see some", "windows see none"])
def test_a_part_without_observations(
    upsample: Upsample, make_scene: Callable[..., Path], tmp_path: Path, width: int
) -> None:
    data = np.moveaxis(patchwork(80, width), -1, 0).copy()
    data[:, :, : width - 20] = 0
    source = make_scene(data, nodata=0)
    part = ("--bounds", 326_417.5, 2_781_133.0 - 20, 326_417.5 + 15, 2_781_133.0)
    for components in (3, "all"):
        done = upsample(source, tmp_path / "f.tif", *part, "--components", components)
        done.failed(1, "no valid pixel in the part asked for")
    assert names(tmp_path) == {"sources"}


def test_need_grows_with_the_width_and_the_bands(upsampler: Upsampler, scene_file: Path, tmp_path: Path) -> None:
    with upsampler.open(scene_file) as scene:
        outputs = {"features": tmp_path / "f.tif"}
        needs = [
            FeatureJob(upsampler=upsampler, scene=scene, outputs=outputs, request=asked(scene, count))._need()
            for count in (3, 16)
        ]
        wide = replace_region(upsampler, scene, outputs)
    assert needs[0] < needs[1] < wide


def asked(scene: earthwords.Scene, components: int | None) -> FeatureRequest:
    return FeatureRequest(spec=SceneSpec(source=scene.source), components=components)


def replace_region(upsampler: Upsampler, scene: earthwords.Scene, outputs: dict[str, Path]) -> int:
    """What the same scene would need if it were 20,000 pixels wide."""
    grid = replace(scene.native, width=20_000)
    scene.native = scene.grid = grid
    scene.region = earthwords.Window(row=0, col=0, height=grid.height, width=grid.width)
    little = ExecutionOptions(memory=2**29)
    job = FeatureJob(upsampler=upsampler, scene=scene, outputs=outputs, request=asked(scene, None), execution=little)
    with pytest.raises(UsageError, match="16 bands of 20,000 pixels a row, from windows of 64 pixels, need"):
        job.check()
    return job._need()


def test_it_says_that_the_upsampler_of_the_preset_is_left_out(
    command: Command, micro: Path, scene_file: Path, tmp_path: Path
) -> None:
    preset = tmp_path / "finer.toml"
    preset.write_text('base = "tiny"\nupsampler = "jbu"\nupsampler_weights = "tiny-jbu"\n')
    options = ("--preset", preset, "--model", micro, "--tile-size", 64)
    done = command("upsample", scene_file, tmp_path / "a.tif", *options)
    assert done.code == 0 and "Note: The upsampler tiny-jbu belongs to tiny and is left out" in done.err
    asked = command("upsample", scene_file, tmp_path / "b.tif", *options, "--method", "bilinear")
    assert asked.code == 0 and "belongs to" not in asked.err
