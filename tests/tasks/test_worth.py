"""What the verbs say about the worth of a result: words, resolution, colours, competition; and `--strict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine

import earthwords
from earthwords.errors import Caution, UsageError
from earthwords.inference.cautions import GREY
from tests.conftest import Command, Outcome, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import labels_of, names

KNOWN = ["-t", "building", "-t", "road", "-t", "water", "-t", "trees"]
AT_90_M = Affine(90.0, 0.0, 326_417.5, 0.0, -90.0, 2_781_133.0)

Map = Callable[..., Outcome]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 x 112 pixels of 0.5 m, three different bands."""
    pixels = np.moveaxis(patchwork(80, 112), -1, 0)
    return write_raster(tmp_path_factory.mktemp("worth") / "scene.tif", pixels, photometric="RGB")


@pytest.fixture
def map_words(command: Command, tiny: Path, source: Path, tmp_path: Path) -> Map:
    """`map_words("-t", "tree")`: segment with the embedded model into the folder `out`."""

    def run(*options: object, src: Path = source) -> Outcome:
        return command("segment", src, tmp_path / "out", "--upsampler", "none", *options)

    return run


@pytest.fixture
def anything(tmp_path: Path) -> Path:
    """The embedded model as a preset in which every pixel fits a word."""
    path = tmp_path / "anything.toml"
    path.write_text('base = "tiny"\nnothing = -1\n')
    return path


def notes_of(folder: Path) -> list[str]:
    return list(json.loads((folder / "report.json").read_text(encoding="utf-8"))["notes"])


def test_known_words_at_a_known_resolution_are_mapped_without_a_caution(map_words: Map, tmp_path: Path) -> None:
    done = map_words(*KNOWN, "-t", "grass", "--strict")
    assert done.code == 0 and "Caution" not in done.err
    assert [note for note in notes_of(tmp_path / "out") if not note.startswith("Hardly found")] == []


def test_what_no_word_means_is_a_note_where_some_is_left(map_words: Map, anything: Path) -> None:
    done = map_words(*KNOWN, "--preset", anything, "--strict")
    assert done.code == 0 and "Note: Pixels get the likeliest of these words" in done.err
    assert "none of them means grass, cropland, bare land:" in done.err


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["zxqv blorp"], ["'zxqv blorp' is not among the words that tiny learned", "it knows, for example"]),
        (["solar panel"], ["'solar panel' was learned by tiny from rendered scenes only", "roof, building"]),
        (["bilding"], ["'bilding' is not among the words", "it knows, for example: building"]),
        (["дом"], ["'дом' is not among the words that tiny learned"]),
    ],
)
def test_words_never_learned_are_said(map_words: Map, tmp_path: Path, words: list[str], fragments: list[str]) -> None:
    done = map_words(*KNOWN, "-t", *words)
    cautions = [line for line in done.err.splitlines() if line.startswith("Caution") and "has no class" not in line]
    (line,) = cautions  # most of this painted scene fits no word, which is said too
    assert done.code == 0 and all(fragment in line for fragment in fragments), line
    assert line.removeprefix("Caution: ") in notes_of(tmp_path / "out")


def test_strict_makes_an_error_of_it_and_writes_nothing(map_words: Map, tmp_path: Path) -> None:
    done = map_words(*KNOWN, "-t", "zxqv", "--strict", "--quiet")
    done.failed(2, "'zxqv' is not among the words", "--strict")
    assert names(tmp_path / "out") == set()


def test_quiet_says_nothing_and_the_report_all(map_words: Map, tmp_path: Path) -> None:
    done = map_words(*KNOWN, "-t", "zxqv", "--quiet")
    assert (done.out, done.err) == ("", "")
    assert any("zxqv" in note for note in notes_of(tmp_path / "out"))


def test_chinese_words_are_read_as_english_and_stay_as_typed(map_words: Map, source: Path, tmp_path: Path) -> None:
    done = map_words("-t", "建筑，房子", "-t", "道路", "-t", "水体", "-t", "树")
    assert done.code == 0 and "建筑,房子 (building,house)" in done.err and "树 (tree)" in done.err
    assert "Caution" not in done.err
    with rasterio.open(tmp_path / "out" / "labels.tif") as dataset:
        tags = dataset.tags()
        chinese = dataset.read(1)
    assert [tags[f"CLASS_{i}"] for i in range(4)] == ["建筑", "道路", "水体", "树"]
    assert "树 (tree)" in tags["EARTHWORDS_VOCABULARY"]
    words = ["building,house", "road", "water", "tree"]
    english = earthwords.Segmenter.from_preset(replace(earthwords.load_preset("tiny"), upsampler=None))
    np.testing.assert_array_equal(chinese, english.predict(source, words).labels)


def test_chinese_words_that_are_not_in_the_glossary_are_refused(map_words: Map, tmp_path: Path) -> None:
    done = map_words("-t", "建筑屋", "-t", "道路")
    done.failed(2, "'建筑屋' is not in the glossary", "建筑", "building")
    map_words("-t", "建筑", "-t", "building").failed(2, "'建筑' and 'building' are both read as 'building'")
    assert names(tmp_path) == set()


def test_a_lone_word_competes_with_what_scenes_consist_of(map_words: Map, tmp_path: Path) -> None:
    done = map_words("-t", "tree")
    (line,) = [line for line in done.err.splitlines() if "background compete" in line]
    assert "As background compete: building" in line and "trees" not in line
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in report["classes"]] == ["tree", "background"]
    assert report["classes"][0]["share"] < 0.5 < report["classes"][1]["share"]
    assert set(geopandas.read_file(tmp_path / "out" / "polygons.gpkg")["class"]) <= {"tree", "background"}


def test_who_competes_can_be_said(map_words: Map, tmp_path: Path, anything: Path) -> None:
    done = map_words("-t", "tree", "--against", "none", "--overwrite", "--preset", anything)
    assert done.code == 0 and "Pixels get the likeliest of these words" in done.err
    assert np.unique(labels_of(tmp_path / "out" / "labels.tif")).tolist() == [0]
    map_words("-t", "tree", "--against", "none", "--overwrite")
    assert 255 in labels_of(tmp_path / "out" / "labels.tif"), "where it fits nothing"
    done = map_words("-t", "tree", "-t", "road", "--against", "building,water", "--overwrite")
    assert "As background compete: building, water." in done.err and "Pixels get" not in done.err
    map_words("-t", "tree", "--against", "tree", "--overwrite").failed(2, "'tree' is a class")


def test_few_words_for_a_whole_scene_are_told(map_words: Map) -> None:
    done = map_words("-t", "building", "-t", "road")
    assert "none of them means trees, grass, cropland, bare land, water" in done.err and "--against auto" in done.err


def test_a_resolution_that_was_never_learned_is_told(map_words: Map, tmp_path: Path) -> None:
    coarse = write_raster(tmp_path / "landsat.tif", np.moveaxis(patchwork(60, 70), -1, 0), transform=AT_90_M)
    done = map_words(*KNOWN, src=coarse)
    assert "Caution: Worked at 90 m a pixel, but tiny learned 0.25 to 4 m" in done.err
    map_words(*KNOWN, "--strict", "--overwrite", "--quiet", src=coarse).failed(2, "90 m a pixel", "--strict")


def test_grey_and_false_colours_are_told(map_words: Map, tmp_path: Path) -> None:
    pixels = np.moveaxis(patchwork(60, 70), -1, 0)
    grey = write_raster(tmp_path / "grey.tif", pixels[:1])
    done = map_words(*KNOWN, src=grey)
    assert done.code == 0 and done.err.count(GREY) == 1
    false = write_raster(tmp_path / "false.tif", pixels)
    with rasterio.open(false, "r+") as dataset:
        for band, name in enumerate(("nir", "red", "green"), 1):
            dataset.set_band_description(band, name)
    done = map_words(*KNOWN, "--bands", "nir,red,green", "--overwrite", src=false)
    assert "Caution: The bands nir, red, green are no true colours" in done.err


def test_the_table_and_the_report_tell_what_is_undecided(map_words: Map, tmp_path: Path) -> None:
    done = map_words(*KNOWN)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    pixels = np.array([entry["pixels"] for entry in report["classes"]])
    shares = np.array([entry["undecided"] or 0 for entry in report["classes"]])
    assert report["undecided_margin"] == 0.2
    assert report["undecided_share"] == pytest.approx((pixels * shares).sum() / pixels.sum(), abs=1e-5)
    assert f"Undecided: {report['undecided_share']:.1%} of the map" in done.out and "undecided" in done.out


def test_what_has_no_class_is_told(map_words: Map, tmp_path: Path) -> None:
    done = map_words(*KNOWN, "--threshold", 0.35)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    missing = float((labels_of(tmp_path / "out" / "labels.tif") == 255).mean())
    assert 0 < missing < 1 and report["unlabelled_share"] == pytest.approx(missing, abs=1e-6)
    assert f"No class: {missing:.1%} of what was observed" in done.out


def test_many_scenes_are_told_together(map_words: Map, command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    pixels = np.moveaxis(patchwork(60, 70), -1, 0)
    write_raster(folder / "fine.tif", pixels)
    for name, size in (("a", 30.0), ("b", 90.0)):
        write_raster(folder / f"{name}.tif", pixels, transform=Affine(size, 0, 0, 0, -size, 0))
    done = command("segment", folder, tmp_path / "maps", "--upsampler", "none", *KNOWN, "-t", "zxqv")
    assert done.code == 0, done.err
    assert "Caution: 2 of 3 scenes: Worked at 30 m a pixel" in done.err and done.err.count("'zxqv'") == 1
    scenes = json.loads((tmp_path / "maps" / "batch.json").read_text(encoding="utf-8"))["scenes"]
    assert sum(any("a pixel" in note for note in scene["notes"]) for scene in scenes) == 2
    done = command("segment", folder, tmp_path / "strict", "--upsampler", "none", *KNOWN, "--strict", "--quiet")
    assert done.code == 1 and "2 failed" in done.out


def test_sentences_with_words_never_learned(command: Command, source: Path, tmp_path: Path) -> None:
    done = command("refer", source, tmp_path / "o.gpkg", "-t", "the unicorn beside the largest zxqv", "-t", "the road")
    (line,) = [line for line in done.err.splitlines() if line.startswith("Caution")]
    assert done.code == 0 and "(unicorn, zxqv)" in line
    command("refer", source, tmp_path / "p.gpkg", "-t", "the zxqv", "--strict", "--quiet").failed(2, "zxqv")
    coarse = write_raster(tmp_path / "coarse.tif", np.moveaxis(patchwork(60, 70), -1, 0), transform=AT_90_M)
    assert "Worked at 90 m a pixel, but refseg-tiny" in command("refer", coarse, tmp_path / "c", "-t", "the road").err
    done = command("refer", source, tmp_path / "q", "-t", "建筑")
    assert done.code == 0 and "建筑 (building)" in done.err
    command("refer", source, tmp_path / "r.gpkg", "-t", "湖边的大楼").failed(2, "Chinese", "湖 = lake", "in English")
    assert names(tmp_path) == {"o.gpkg", "q", "c", "coarse.tif"}


def test_words_searched_for(command: Command, source: Path, tmp_path: Path) -> None:
    coarse = write_raster(tmp_path / "coarse.tif", np.moveaxis(patchwork(80, 90), -1, 0), transform=AT_90_M)
    done = command("index", source, coarse, tmp_path / "index")
    assert done.code == 0 and "Caution: 1 of 2 sources: Worked at 90 m a pixel" in done.err
    done = command("search", tmp_path / "index", "unicorn zxqv", tmp_path / "found")
    assert done.code == 0 and "Caution: 'unicorn zxqv' is not among the words that tiny learned" in done.err
    told = json.loads((tmp_path / "found" / "report.json").read_text(encoding="utf-8"))
    assert any("unicorn" in note for note in told["notes"])
    command("search", tmp_path / "index", "unicorn zxqv", "--strict").failed(2, "unicorn")
    done = command("search", tmp_path / "index", "港口", "--json")
    english = command("search", tmp_path / "index", "harbor", "--json")
    assert done.code == 0 and "Note: Read as English: 港口 (harbor)." in done.err and "not among" not in done.err
    assert json.loads(done.out)["query"]["words"] == "港口"
    assert "Caution: 1 of 2 results: Worked at 90 m a pixel" in done.err
    command("search", tmp_path / "index", "harbor", "--strict").failed(2, "Worked at 90 m")
    grey = write_raster(tmp_path / "grey.tif", np.moveaxis(patchwork(60, 70), -1, 0)[:1])
    assert GREY in command("search", tmp_path / "index", "--like", grey).err
    scores = [[hit["score"] for hit in json.loads(each.out)["results"]] for each in (done, english)]
    assert scores[0] == scores[1]
    command("search", tmp_path / "index", "独角兽").failed(2, "'独角兽'")


def test_what_was_known_of_work_that_is_done_is_said_again(command: Command, source: Path, tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    coarse = write_raster(tmp_path / "scenes" / "a.tif", np.moveaxis(patchwork(80, 90), -1, 0), transform=AT_90_M)
    (tmp_path / "scenes" / "b.tif").write_bytes(source.read_bytes())
    words = [*KNOWN, "-t", "grass", "-t", "zxqv", "--upsampler", "none"]
    line = ["segment", tmp_path / "scenes", tmp_path / "maps", *words]
    told = [[row for row in command(*line).err.splitlines() if row.startswith("Caution")] for _ in range(2)]
    assert told[0] == told[1] and len(told[0]) == 2 and "1 of 2 scenes: Worked at 90 m" in told[0][0]
    done = command(*line, "--strict")
    assert done.code == 1 and "2 scenes, 2 failed" in done.out
    line = ["index", coarse, source, tmp_path / "index"]
    assert command(*line).code == 0
    done = command(*line)
    assert done.code == 0 and "Caution: 1 of 2 sources indexed before: Worked at 90 m" in done.err
    command(*line, "--strict", "--quiet").failed(2, "Worked at 90 m")


def test_words_that_compete_are_words(map_words: Map, tmp_path: Path) -> None:
    done = map_words("-t", "road", "-t", "water", "--against", "建筑，zxqv")
    assert "As background compete: building, zxqv." in done.err
    assert "Caution: 'zxqv' is not among the words" in done.err
    map_words("-t", "road", "--against", "道路", "--overwrite").failed(2, "'road' is a class")
    map_words("-t", "road", "--against", "飞天扫帚", "--overwrite").failed(2, "not in the glossary")
    map_words("-t", "road", "--against", "none,auto", "--overwrite").failed(2, "not both")
    map_words("-t", "background", "--overwrite").failed(2, "say what to look for")


def test_quotes_that_end_too_late_or_never(
    map_words: Map, command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    map_words("-t", "trees -t water").failed(2, "'trees -t water' holds '-t'", "quotes of its own")
    map_words("-t", "trees --quiet").failed(2, "holds '--quiet'")
    assert map_words(*KNOWN, "-t", "low-rise -25 m").code == 0
    assert command("index", source, tmp_path / "index").code == 0
    command("search", tmp_path / "index", "big", "lakes").failed(2, '"big lakes"', "-o lakes")
    assert command("search", tmp_path / "index", "big", "-o", "lakes").code == 0 and Path("lakes").is_dir()
    command("classify", source, source, tmp_path / "t.xlsx", "-t", "road", "-t", "water").failed(
        2, "Unknown kind of table"
    )


def test_a_class_that_gets_nothing_is_named(map_words: Map, tmp_path: Path) -> None:
    """Of many words on one scene some win nowhere."""
    words = ("airport", "beach", "snow", "stadium", "church", "bridge", "ship", "golf course", "vineyard")
    done = map_words(*KNOWN, *[part for word in words for part in ("-t", word)])
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    few = [entry["name"] for entry in report["classes"] if entry["share"] < 0.001]
    (line,) = [note for note in report["notes"] if note.startswith("Hardly found")]
    assert len(few) > 1 and all(name in line for name in few[:8]) and f"Note: {line}" in done.err


def test_sets_to_measure_on_are_looked_at(command: Command, tmp_path: Path) -> None:
    place = {"crs": "EPSG:32640", "transform": AT_90_M}
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    write_raster(tmp_path / "set" / "images" / "a.tif", np.moveaxis(patchwork(60, 70), -1, 0)[:1], **place)
    write_raster(tmp_path / "set" / "masks" / "a.tif", (np.arange(70) // 40 * np.ones((60, 1))).astype(np.uint8)[None])
    (tmp_path / "words.txt").write_text("water\ntrees\n", encoding="utf-8")
    line = ["evaluate", "segmentation", tmp_path / "set", "--classes", tmp_path / "words.txt", "--out", tmp_path / "o"]
    done = command(*line)
    assert done.code == 0 and GREY in done.err and "Worked at 90 m a pixel" in done.err, done.err
    command(*line, "--strict", "--no-resume", "--quiet").failed(2, "--strict")
    for name, side in (("forest", 40), ("river", 50)):
        (tmp_path / "scenes" / name).mkdir(parents=True)
        write_raster(tmp_path / "scenes" / name / f"{name}_1.tif", np.moveaxis(patchwork(60, side), -1, 0)[:1])
    line = ["evaluate", "scenes", "zero-shot", "--data", tmp_path / "scenes", "-o", tmp_path / "p"]
    assert GREY in command(*line).err
    command(*line, "--strict", "--quiet").failed(2, "--strict")


def test_images_told_apart_by_words(command: Command, source: Path, tmp_path: Path) -> None:
    done = command("classify", source, "-t", "airport", "-t", "zxqv", "--json")
    assert done.code == 0 and "'zxqv' is not among the words" in done.err
    assert any("zxqv" in note for note in json.loads(done.out)["notes"])
    assert "the only class" in command("classify", source, "-t", "airport").err
    command("classify", source, "-t", "airport", "--strict", "--quiet").failed(2, "the only class")
    done = command("classify", source, "-t", "机场", "-t", "森林", "--json")
    assert "机场 (airport)" in done.err
    assert json.loads(done.out)["images"][0]["class"] in ("机场", "森林")
    grey = write_raster(tmp_path / "grey.tif", np.moveaxis(patchwork(60, 70), -1, 0)[:1])
    assert GREY in command("classify", grey, "-t", "airport", "-t", "forest").err


def test_the_resolution_at_which_images_are_classified(command: Command, source: Path, tmp_path: Path) -> None:
    """Of a raster whose shorter side is shrunk to what the model sees; of pictures without a place nothing is known."""
    coarse = write_raster(tmp_path / "coarse.tif", np.moveaxis(patchwork(320, 700), -1, 0), transform=AT_90_M)
    words, square = ("-t", "forest", "-t", "airport"), ("--image-size", 128, "--fit", "square")
    assert "Worked at 225 m a pixel, but tiny" in command("classify", coarse, *words, "--image-size", 128).err
    assert "Worked at 492 m a pixel, but tiny" in command("classify", coarse, *words, *square).err
    assert "Worked at" not in command("classify", source, *words).err


def test_python_gets_the_same_notes(source: Path) -> None:
    tiny = earthwords.Segmenter.from_preset(replace(earthwords.load_preset("tiny"), upsampler=None))
    notes = tiny.predict(source, ["building", "road", "water", "zxqv"]).notes
    (caution,) = [note for note in notes if isinstance(note, Caution) and "has no class" not in note]
    assert "'zxqv'" in caution
    with pytest.raises(UsageError, match="zxqv"):
        tiny.predict(source, ["building", "road", "water", "zxqv"], strict=True)
    referrer = earthwords.Referrer.from_preset()
    assert any("unicorn" in note for note in referrer.predict(source, "the unicorn").notes)
