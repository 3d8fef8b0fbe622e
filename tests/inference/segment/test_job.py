"""One pass over a scene, many outputs: each right, none left behind after a failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.enums import ColorInterp

from earthwords import __version__
from earthwords.errors import OutputError, UsageError
from earthwords.geo.destinations import plan_outputs
from earthwords.geo.scene import SceneSpec
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.result import SegmentationResult
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.outputs import OutputOptions
from earthwords.reports import SceneReport
from earthwords.text.vocabulary import parse_classes
from tests.conftest import TRANSFORM
from tests.micro import patchwork

WORDS = ["building,roof", "road", "water", "trees"]


def request(words: list[str], source: str, **options: Any) -> SegmentRequest:
    return SegmentRequest(vocabulary=parse_classes(words), spec=SceneSpec(source=source), **options)


def run(
    segmenter: Segmenter,
    source: Path,
    outputs: Mapping[str, Path],
    *,
    words: list[str] = WORDS,
    tick: Callable[[int], None] = lambda windows: None,
    threshold: float | None = None,
    **options: Any,
) -> SceneReport:
    with segmenter.open(source) as scene:
        job = SceneJob(
            segmenter=segmenter,
            scene=scene,
            request=request(words, scene.source, options=OutputOptions(**options), threshold=threshold),
            outputs=outputs,
        )
        return job.run(tick=tick, loading_s=0.5)


@pytest.fixture(scope="module")
def folder(segmenter: Segmenter, scene_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything, with float probabilities."""
    folder = tmp_path_factory.mktemp("job") / "deep" / "out"
    plan = plan_outputs(folder, probabilities=True, overwrite=False)
    report = run(segmenter, scene_file, plan, probabilities="float32")
    returned = json.loads(json.dumps(report.as_json()))
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == returned
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def expected(segmenter: Segmenter, scene_file: Path) -> SegmentationResult:
    return segmenter.predict(scene_file, WORDS, probabilities=True)


def test_everything_is_there_and_nothing_else(folder: Path, report: dict[str, Any]) -> None:
    names = {Path(path).name for path in report["outputs"].values()}
    assert {p.name for p in folder.iterdir()} == names | {"labels.tif.aux.xml"}
    assert set(report["outputs"]) == {
        "labels", "style", "polygons", "polygons_style", "preview", "report", "probabilities",
    }  # fmt: skip


def test_labels(folder: Path, expected: SegmentationResult, scene_file: Path) -> None:
    with rasterio.open(folder / "labels.tif") as written, rasterio.open(scene_file) as source:
        np.testing.assert_array_equal(written.read(1), expected.labels)
        assert (written.crs, written.transform, written.shape) == (source.crs, source.transform, source.shape)
        assert written.nodata == 255 and written.dtypes == ("uint8",) and written.count == 1
        assert written.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert written.profile["tiled"]
        assert written.colorinterp == (ColorInterp.palette,)
        table = written.colormap(1)
        assert [table[i][:3] for i in range(4)] == [c.colour for c in expected.vocabulary.classes]
        assert table[0] != table[1]


def test_tags_say_how_labels_came_about(folder: Path, micro: Path, scene_file: Path) -> None:
    with rasterio.open(folder / "labels.tif") as written:
        tags = written.tags()
    assert [tags[f"CLASS_{i}"] for i in range(4)] == ["building", "road", "water", "trees"]
    wanted = {
        "VERSION": __version__,
        "PRESET": "micro",
        "WEIGHTS": str(micro),
        "ATTENTION": "segearth",
        "TEMPLATES": "aerial",
        "VOCABULARY": "building,roof; road; water; trees",
        "SOURCE": str(scene_file),
        "BANDS": "1,2,3 (red, green, blue)",
        "STRETCH": "none: red 0..255, green 0..255, blue 0..255",
        "THRESHOLD": "0",
        "GSD": "0.5 m",
    }
    assert {key: tags[f"EARTHWORDS_{key}"] for key in wanted} == wanted


def test_large_labels_have_overviews(segmenter: Segmenter, make_scene: Callable[..., Path], tmp_path: Path) -> None:
    wide = np.moveaxis(patchwork(70, 1100), -1, 0)
    run(segmenter, make_scene(wide), {"labels": tmp_path / "wide.tif"})
    with rasterio.open(tmp_path / "wide.tif") as written:
        assert written.overviews(1)[0] == 2
        fine = written.read(1)
    with rasterio.open(tmp_path / "wide.tif", overview_level=0) as overview:
        coarse = overview.read(1)
    assert coarse.shape == (35, 550)
    blocks = fine.reshape(35, 2, 550, 2).transpose(0, 2, 1, 3).reshape(35, 550, 4)
    votes = (blocks[..., None] == np.arange(4)).sum(axis=2)
    first, second = np.sort(votes, axis=-1)[..., ::-1][..., :2].transpose(2, 0, 1)
    majority = (first > second) & (first < 4)
    assert majority.sum() > 100
    np.testing.assert_array_equal(coarse[majority], votes.argmax(axis=-1)[majority])


def test_float_probabilities(folder: Path, expected: SegmentationResult) -> None:
    with rasterio.open(folder / "probabilities.tif") as written:
        data = written.read()
        assert written.descriptions == ("building", "road", "water", "trees")
        assert np.isnan(written.nodata) and written.dtypes[0] == "float32"
        assert written.transform == TRANSFORM
        assert written.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert expected.probabilities is not None
    np.testing.assert_array_equal(data, expected.probabilities)
    valid = expected.valid
    assert np.isnan(data[:, ~valid]).all()
    np.testing.assert_array_equal(data[:, valid].argmax(axis=0), expected.labels[valid])
    np.testing.assert_array_equal(data[:, valid].max(axis=0), expected.score[valid])


def test_byte_probabilities(
    segmenter: Segmenter, scene_file: Path, expected: SegmentationResult, tmp_path: Path
) -> None:
    run(segmenter, scene_file, {"probabilities": tmp_path / "p.tif"}, probabilities="uint8")
    with rasterio.open(tmp_path / "p.tif") as written:
        data, tags = written.read(), written.tags()
        assert written.nodata == 255 and written.dtypes[0] == "uint8"
    assert tags["EARTHWORDS_SCALE"] == "probability = value / 250"
    assert (data[:, ~expected.valid] == 255).all()
    assert data[:, expected.valid].max() <= 250
    assert expected.probabilities is not None
    exact = expected.probabilities[:, expected.valid]
    np.testing.assert_allclose(data[:, expected.valid] / 250, exact, atol=0.5 / 250 + 1e-6)


def test_polygons_and_report_tell_the_same(folder: Path, report: dict[str, Any], expected: SegmentationResult) -> None:
    frame = geopandas.read_file(folder / "polygons.gpkg")
    assert frame.crs.to_epsg() == 32640 and frame.geometry.is_valid.all()
    assert len(frame) == len(expected.to_geodataframe()) > 20
    seen = expected.labels[expected.valid]
    for row in report["classes"]:
        mine = frame[frame["class"] == row["name"]]
        of_class = expected.labels == row["label"]
        assert len(mine) == row["polygons"] > 0
        assert mine["area_m2"].sum() == pytest.approx(row["area_m2"], rel=1e-4)
        assert row["pixels"] == of_class.sum()
        assert row["share"] == pytest.approx(of_class.sum() / seen.size, abs=1e-6)
        assert row["mean_score"] == pytest.approx(expected.score[of_class].mean(), abs=1e-4)
        assert row["area_m2"] == pytest.approx(0.25 * of_class.sum(), rel=2e-3)
    assert [row["name"] for row in report["classes"]] == ["building", "road", "water", "trees"]
    assert report["nodata_share"] == pytest.approx(1 - seen.size / expected.labels.size, abs=1e-6)


def test_the_report_says_what_was_done(report: dict[str, Any], scene_file: Path) -> None:
    assert report["source"] == str(scene_file)
    assert report["settings"]["preset"] == "micro" and report["settings"]["min_area"] == "0"
    seconds = report["seconds"]
    assert seconds["loading"] == 0.5
    assert seconds["total"] == pytest.approx(0.5 + seconds["segmenting"] + seconds["finishing"], abs=0.01)


def test_signatures_of_urls_stay_out_of_the_outputs(segmenter: Segmenter, scene_file: Path, tmp_path: Path) -> None:
    outputs = plan_outputs(tmp_path / "out", probabilities=False, overwrite=False)
    with segmenter.open(scene_file) as scene:
        scene.source = "https://host/scene.tif?signature=secret"
        found = SceneJob(segmenter=segmenter, scene=scene, request=request(WORDS, scene.source), outputs=outputs).run()
    assert found.source == "https://host/scene.tif"
    assert not any(b"secret" in path.read_bytes() for path in outputs.values())


def test_a_picture_and_styles(folder: Path, expected: SegmentationResult) -> None:
    with Image.open(folder / "preview.png") as preview:
        preview.load()
        assert preview.format == "PNG" and preview.width > 2 * 190
    labels = ElementTree.parse(folder / "labels.qml").getroot()
    entries = [(e.get("value"), e.get("label"), e.get("color")) for e in labels.iter("paletteEntry")]
    colours = ["#{:02x}{:02x}{:02x}".format(*c.colour) for c in expected.vocabulary.classes]
    assert entries == [(str(i), t, colours[i]) for i, t in enumerate(expected.vocabulary.titles)]
    polygons = ElementTree.parse(folder / "polygons.qml").getroot()
    assert [c.get("value") for c in polygons.iter("category")] == list(expected.vocabulary.titles)


def test_below_the_threshold_without_background_there_is_nothing(
    segmenter: Segmenter, scene_file: Path, expected: SegmentationResult, tmp_path: Path
) -> None:
    outputs = plan_outputs(tmp_path / "out", probabilities=False, overwrite=False)
    found = run(segmenter, scene_file, outputs, threshold=0.6)
    strong = expected.valid & (expected.score >= 0.6)
    assert sum(row.pixels for row in found.classes) == strong.sum()
    assert found.nodata_share == pytest.approx(1 - strong.mean(), abs=1e-6)
    frame = geopandas.read_file(tmp_path / "out" / "polygons.gpkg")
    assert frame.geometry.area.sum() == pytest.approx(0.25 * strong.sum())
    with rasterio.open(tmp_path / "out" / "labels.tif") as written:
        np.testing.assert_array_equal(written.read(1) != 255, strong)
        assert written.tags()["EARTHWORDS_THRESHOLD"] == "0.6"


def test_a_part_of_a_scene(segmenter: Segmenter, scene_file: Path, tmp_path: Path, folder: Path) -> None:
    bounds = (326_430.0, 2_781_085.0, 326_480.0, 2_781_120.5)
    outputs = plan_outputs(tmp_path / "part", probabilities=False, overwrite=False)
    with segmenter.open(scene_file, bounds=bounds) as scene:
        SceneJob(segmenter=segmenter, scene=scene, request=request(WORDS, scene.source), outputs=outputs).run()
    with rasterio.open(tmp_path / "part" / "labels.tif") as part, rasterio.open(folder / "labels.tif") as whole:
        assert tuple(part.bounds) == bounds and part.crs == whole.crs
        window = whole.window(*bounds).round_offsets().round_lengths()
        np.testing.assert_array_equal(part.read(1), whole.read(1, window=window))


def test_three_hundred_classes(
    segmenter: Segmenter, make_scene: Callable[..., Path], image: np.ndarray, tmp_path: Path
) -> None:
    data = np.moveaxis(image[:70, 100:185], -1, 0)
    words = [*(f"thing {i}" for i in range(296)), "building", "road", "water", "trees"]
    outputs = plan_outputs(tmp_path / "out", probabilities=False, overwrite=False)
    found = run(segmenter, make_scene(data, nodata=0), outputs, words=words)
    with rasterio.open(tmp_path / "out" / "labels.tif") as written:
        assert written.dtypes == ("uint16",) and written.nodata == 65535
        labels = written.read(1)
        assert written.tags()["CLASS_299"] == "trees"
        assert written.colormap(1)[299][:3] == parse_classes(words).classes[299].colour
    assert [row.pixels for row in found.classes] == np.bincount(labels[labels < 300], minlength=300).tolist()
    assert labels[labels < 300].max() > 255


@pytest.mark.parametrize("after", [0, 7])
def test_an_interrupted_run_leaves_nothing(segmenter: Segmenter, scene_file: Path, tmp_path: Path, after: int) -> None:
    done = 0

    def tick(windows: int) -> None:
        nonlocal done
        done += windows
        if done > after:
            raise KeyboardInterrupt

    outputs = plan_outputs(tmp_path / "new" / "deeper", probabilities=True, overwrite=False)
    with pytest.raises(KeyboardInterrupt):
        run(segmenter, scene_file, outputs, tick=tick, probabilities="uint8")
    assert list(tmp_path.iterdir()) == [], "no file, no hidden folder, not even the folders made for it"


def test_an_interrupted_run_keeps_what_was_there(segmenter: Segmenter, scene_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    outputs = plan_outputs(folder, probabilities=False, overwrite=False)
    run(segmenter, scene_file, outputs)
    (folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def tick(windows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(segmenter, scene_file, outputs, words=["road", "water"], tick=tick, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    run(segmenter, scene_file, outputs, words=["road", "water"], overwrite=True)
    assert (folder / "labels.tif").read_bytes() != before["labels.tif"]
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_picture_that_cannot_be_drawn_is_not_drawn_for_an_interrupted_run(
    segmenter: Segmenter, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bool] = []
    monkeypatch.setattr("earthwords.viz.preview.PreviewBuilder.image", lambda self: drawn.append(True))

    def tick(windows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(segmenter, scene_file, {"preview": tmp_path / "p.png"}, tick=tick)
    assert drawn == []


def test_existing_outputs_are_told_before_the_work(segmenter: Segmenter, scene_file: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.tif").write_text("mine")
    ticks: list[int] = []
    with pytest.raises(UsageError, match="exists; pass --overwrite"):
        run(segmenter, scene_file, {"labels": tmp_path / "labels.tif"}, tick=ticks.append)
    assert ticks == [] and (tmp_path / "labels.tif").read_text() == "mine"


def test_a_place_below_a_file(segmenter: Segmenter, scene_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="Cannot make the folder"):
        run(segmenter, scene_file, {"labels": tmp_path / "file" / "labels.tif"})


def test_weights_of_one_name_are_told_apart(segmenter: Segmenter) -> None:
    """Of an unfinished run that was begun before a file of weights was replaced."""
    other = Segmenter.from_preset(segmenter.preset, device="cpu")
    before, after = (request(WORDS, "a.tif").settings(one) for one in (segmenter, other))
    assert before == after
    other = Segmenter.from_preset(segmenter.preset, device="cpu")
    with torch.no_grad():
        next(other.encoder.backbone.model.vision_model.parameters()).add_(1)
    changed = request(WORDS, "a.tif").settings(other)
    assert {name for name in before if before[name] != changed[name]} == {"weights"}
    assert segmenter.preset.weights in changed["weights"]


def test_options_are_checked() -> None:
    for wrong in ({"min_area": -1.0}, {"simplify": float("nan")}, {"min_area": float("inf")}):
        with pytest.raises(UsageError, match="cannot be negative"):
            OutputOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Probabilities are one of no, uint8, float32, not 'float16'"):
        OutputOptions(probabilities="float16")
    with pytest.raises(UsageError, match=r"Unknown value for COMPRESS 'ZTSD'\. Did you mean 'ZSTD'"):
        OutputOptions(creation_options={"compress": "ZTSD"})
