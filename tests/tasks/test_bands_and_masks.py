"""Sensors and masks through the commands, and what the commands say about arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

import earthwords
from earthwords.inference.segment.block_store import BlockStore
from earthwords.inference.windows import blocks
from tests.conftest import HEIGHT, WIDTH, Command, Outcome

WORDS = ["-t", "building,roof", "-t", "road", "-t", "water"]
NAMES = ("B02", "B03", "B04", "B08", "SCL")


@pytest.fixture
def sentinel(make_scene: Callable[..., Path], image: np.ndarray) -> Path:
    """The image as a stack of Sentinel-2 bands with its scene classes, without a nodata value."""
    red, green, blue = np.moveaxis(image.astype("uint16") * 12, -1, 0)
    classes = np.full((HEIGHT, WIDTH), 4, "uint16")
    classes[10:40, 20:90], classes[60:80, 100:150], classes[90:95] = 9, 3, 11
    path = make_scene(np.stack([blue, green, red, red // 2, classes]))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = NAMES
    return path


def labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def cloudy() -> np.ndarray:
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[10:40, 20:90], hidden[60:80, 100:150] = True, True
    return hidden


@pytest.fixture
def run(command: Command, micro: Path) -> Callable[..., Outcome]:
    """`run(source, dst, *options)`: `segment` with the toy model."""

    def segment(source: Any, dst: Path, *options: Any) -> Outcome:
        return command("segment", source, dst, *WORDS, "--model", micro, "--device", "cpu", "--gsd", 0.5, *options)

    return segment


def test_a_sensor_and_its_clouds(
    run: Callable[..., Outcome], sentinel: Path, image: np.ndarray, tmp_path: Path
) -> None:
    done = run(sentinel, tmp_path / "out", "--bands", "sentinel-2", "--mask", "scl")
    assert done.code == 0, done.err
    assert "Bands 3,2,1 chosen as red, green, blue (sentinel-2, by their names B04, B03, B02)." in done.err
    assert "0 in all three bands means no observation (sentinel-2)" in done.err
    observed = image.any(axis=2)
    share = 100 * (cloudy() & observed).sum() / observed.sum()
    assert f"The mask SCL (band 5: values 0-1, 3, 8-10) hides {share:.1f} % of what was observed." in done.err
    np.testing.assert_array_equal(labels(tmp_path / "out" / "labels.tif") == 255, cloudy() | ~observed)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("The mask SCL" in note for note in report["notes"])
    with rasterio.open(tmp_path / "out" / "labels.tif") as dataset:
        tags = dataset.tags()
    assert tags["EARTHWORDS_SENSOR"] == "sentinel-2: 0.0001 x number"
    assert tags["EARTHWORDS_MASK"] == "SCL (band 5: values 0-1, 3, 8-10)"


def test_workers_see_the_same_mask(
    run: Callable[..., Outcome], sentinel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "PIXELS", 32 * WIDTH)
    options = ("--bands", "sentinel-2", "--mask", "scl:9")
    one = run(sentinel, tmp_path / "one.tif", *options)
    two = run(sentinel, tmp_path / "two.tif", *options, "--workers", 2)
    assert (one.code, two.code) == (0, 0), two.err
    np.testing.assert_array_equal(labels(tmp_path / "one.tif"), labels(tmp_path / "two.tif"))
    assert (labels(tmp_path / "two.tif")[10:40, 20:90] == 255).all()


def test_many_scenes_with_masks_of_their_names(
    run: Callable[..., Outcome], make_scene: Callable[..., Path], image: np.ndarray, tmp_path: Path
) -> None:
    for i in range(2):
        make_scene(np.moveaxis(image, -1, 0), name=f"s{i}.tif", photometric="rgb")
        mask = np.ones((1, HEIGHT, WIDTH), "uint8")
        mask[:, 30 * i : 30 * i + 30] = 0
        with rasterio.open(make_scene(mask, name=f"s{i}.tif.mask")):
            pass
    sources = tmp_path / "sources"
    done = run(f"{sources}/*.tif", tmp_path / "maps", "--mask", f"{sources}/{{stem}}.tif.mask")
    assert done.code == 0, done.err
    for i in range(2):
        hidden = (labels(tmp_path / "maps" / f"s{i}" / "labels.tif") == 255).all(axis=1)
        assert np.flatnonzero(hidden).tolist() == list(range(30 * i, 30 * i + 30))


def test_every_verb_that_reads_scenes_takes_a_mask(
    command: Command, micro: Path, sentinel: Path, tmp_path: Path
) -> None:
    how = ("--bands", "sentinel-2", "--mask", "scl", "--device", "cpu")
    model = ("--model", micro)
    done = command("upsample", sentinel, tmp_path / "f.tif", "--method", "bilinear", *how, *model, "--gsd", 0.5)
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "f.tif") as dataset:
        assert np.isnan(dataset.read(1)[cloudy()]).all()
    done = command("refer", sentinel, tmp_path / "r.tif", "-t", "the large building", *how)
    assert done.code == 0 and "The mask SCL" in done.err, done.err
    assert (labels(tmp_path / "r.tif")[cloudy()] == 255).all()
    done = command("classify", sentinel, "-t", "road", "-t", "water", *how, *model, "--out", tmp_path / "c.csv")
    assert done.code == 0, done.err
    done = command("index", sentinel, tmp_path / "idx", *how, *model, "--tile-size", 64, "--min-valid", 0.9)
    assert done.code == 0, done.err
    plain = command("index", sentinel, tmp_path / "all", *how[:2], *model, "--tile-size", 64, "--min-valid", 0.9)
    assert plain.code == 0, plain.err
    counts = [json.loads((tmp_path / name / "index.json").read_text()) for name in ("idx", "all")]
    assert counts[0]["settings"]["mask"] == "scl" and "mask" not in counts[1]["settings"]
    again = command("index", sentinel, tmp_path / "idx", *how[:2], *model, "--tile-size", 64, "--min-valid", 0.9)
    again.failed(2, "was made with mask scl, now it is none")
    with earthwords.Index.open(tmp_path / "idx") as masked, earthwords.Index.open(tmp_path / "all") as everything:
        assert 0 < len(masked) < len(everything)


def test_a_mask_that_cannot_be_used_is_told_before_the_model_is_loaded(
    run: Callable[..., Outcome], sentinel: Path, tmp_path: Path
) -> None:
    run(sentinel, tmp_path / "out", "--mask", "qa_pixel").failed(2, "No band of the scene is named QA_PIXEL")
    run(sentinel, tmp_path / "out", "--mask", tmp_path / "no.tif").failed(1, "no.tif does not exist")
    run(sentinel, tmp_path / "out", "--bands", "naip").failed(2, "none is the red, green, blue of naip")
    run(sentinel, tmp_path / "out", "--bands", "sentinel-3").failed(2, "Did you mean 'sentinel-2'?")
    assert not (tmp_path / "out").exists()


def test_one_band_is_segmented_with_a_note(
    run: Callable[..., Outcome], make_scene: Callable[..., Path], image: np.ndarray, tmp_path: Path
) -> None:
    done = run(make_scene(image[None, ..., 0]), tmp_path / "out.tif")
    assert done.code == 0, done.err
    assert "Note: Band 1 repeated three times as red, green, blue (the only one)." in done.err


@pytest.mark.parametrize("kind", ["array", "dataset", "list"])
@pytest.mark.parametrize(
    ("verb", "options", "instead"),
    [
        ("segment", {"text": ["road"]}, "earthwords.Segmenter.from_preset().predict(array, words)"),
        ("refer", {"text": ["the road"]}, "earthwords.Referrer.from_preset().predict(array, sentences)"),
        ("upsample", {}, "earthwords.Upsampler.from_preset().image(array)"),
        ("index", {}, "earthwords.Embedder.from_preset().image(array)"),
        ("classify", {"text": ["road"]}, "earthwords.Embedder.from_preset().image(array)"),
    ],
)
def test_verbs_say_where_arrays_go(
    verb: str, options: dict[str, Any], instead: str, kind: str, scene_file: Path, tmp_path: Path
) -> None:
    with MemoryFile(scene_file.read_bytes()) as memory, memory.open() as dataset:
        source = {"array": np.zeros((9, 7, 3), "uint8"), "dataset": dataset, "list": [[1, 2], [3, 4]]}[kind]
        said = {"array": r"got ndarray of shape \(9, 7, 3\)", "dataset": "got DatasetReader", "list": "got list"}[kind]
        out = () if verb == "classify" else (tmp_path / "out",)
        with pytest.raises(earthwords.UsageError, match=f"A raster is named here by path or address, {said}") as told:
            getattr(earthwords, verb)(source, *out, **options, quiet=True)
    assert instead in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_mask_in_memory_goes_elsewhere_too(scene_file: Path, tmp_path: Path) -> None:
    mask: Any = np.ones((HEIGHT, WIDTH), bool)
    with pytest.raises(earthwords.UsageError, match=r"A mask is named here by path or address, got ndarray of shape"):
        earthwords.segment(str(scene_file), tmp_path / "out", text=["road"], mask=mask)


def test_an_interrupted_run_does_not_go_on_with_another_mask(
    run: Callable[..., Outcome], sentinel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "PIXELS", 32 * WIDTH)
    save = BlockStore.save

    def stop(self: BlockStore, index: int, result: Any) -> None:
        save(self, index, result)
        raise KeyboardInterrupt

    options = ("--bands", "sentinel-2", "--mask")
    with monkeypatch.context() as patch:
        patch.setattr(BlockStore, "save", stop)
        assert run(sentinel, tmp_path / "out.tif", *options, "scl").code == 130
    run(sentinel, tmp_path / "out.tif", *options, "scl:9", "--quiet").failed(
        2, "its mask was SCL (band 5: values 0-1, 3, 8-10) and is SCL (band 5: values 9) now", "--no-resume"
    )
    assert run(sentinel, tmp_path / "out.tif", *options, "scl").code == 0


@pytest.mark.parametrize("mask", ["{folder}/scene_m.tif", "{folder}/scene_m.tif:0", "{folder}/{{stem}}_m.tif:7"])
@pytest.mark.parametrize("verb", ["segment", "refer", "upsample"])
def test_a_mask_is_never_written_over(
    command: Command, make_scene: Callable[..., Path], sentinel: Path, verb: str, mask: str
) -> None:
    path = make_scene(np.ones((1, HEIGHT, WIDTH), "uint8"), name="scene_m.tif")
    before = path.read_bytes()
    words = () if verb == "upsample" else ("-t", "road")
    named = mask.format(folder=path.parent)
    command(verb, sentinel, path, *words, "--mask", named, "--overwrite", "--quiet").failed(2, "is read as --mask")
    assert path.read_bytes() == before
