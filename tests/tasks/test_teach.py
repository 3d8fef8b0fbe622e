"""`earthwords teach`: from marks to a preset that `segment` takes, and every way to fail with one sentence."""

from __future__ import annotations

import ast
import importlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pytest
import rasterio
import shapely

import earthwords
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.taught import load_taught
from earthwords.presets import as_toml, load_preset
from earthwords.types import Window
from tests.conftest import Command, write_raster

HEIGHT, WIDTH = 120, 200
PLACES = {"stone": (20, 30), "moss": (60, 140), "sand": (100, 30)}
"""Middle row and column of each; a band of four colours, of which three look alike to people."""


def _truth() -> np.ndarray:
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[:, 90:] = 1
    truth[80:, :90] = 2
    return truth


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four bands: the colours are one noise everywhere, the fourth tells two of the classes, its texture the third."""
    rng = np.random.default_rng(5)
    truth = _truth()
    data = rng.integers(90, 120, (4, HEIGHT, WIDTH)).astype(np.float64)
    data[3] = np.array([60.0, 180.0, 120.0])[truth] + rng.normal(size=truth.shape) * np.array([4, 4, 30])[truth]
    path = tmp_path_factory.mktemp("ground") / "ground.tif"
    return write_raster(path, np.clip(data, 1, 255).astype(np.uint8), photometric="MINISBLACK")


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory, micro: Path) -> Path:
    path = tmp_path_factory.mktemp("preset") / "small.toml"
    path.write_text(f'base = "tiny"\nweights = "{micro}"\ntile_size = 64\noverlap = 32\n')
    return path


def _marks(path: Path, ground: Path, *, each: int = 6, titles: Sequence[str] = ("stone", "moss", "sand")) -> Path:
    rng, shapes, named = np.random.default_rng(2), [], []
    with rasterio.open(ground) as dataset:
        transform, crs = dataset.transform, dataset.crs
    for title in titles:
        value = list(PLACES).index(title)
        inside = np.argwhere(_truth() == value)
        for row, col in inside[rng.choice(len(inside), each, replace=False)]:
            shapes.append(shapely.Point(transform @ (col + 0.5, row + 0.5)))
            named.append(title)
    geopandas.GeoDataFrame({"class": named}, geometry=shapes, crs=crs).to_crs(4326).to_file(path)
    return path


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, ground: Path, preset: Path) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    marks = _marks(folder / "marks.gpkg", ground, each=12)
    report = earthwords.teach(marks, folder / "mine", scenes=str(ground), preset=str(preset), device="cpu", quiet=True)
    assert [c.marks for c in report.classes] == [12, 12, 12]
    return folder / "mine"


def test_a_map_by_marks_finds_what_no_word_means(taught: Path, ground: Path, tmp_path: Path) -> None:
    report = json.loads((taught / "report.json").read_text())
    assert report["chosen"].startswith("anchored") and "bands" in report["chosen"]
    earthwords.segment(str(ground), tmp_path / "labels.tif", preset=str(taught), device="cpu", quiet=True)
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        labels = dataset.read(1)
        names = [dataset.tags()[f"CLASS_{i}"] for i in range(3)]
        assert "anchored" in dataset.tags()["EARTHWORDS_TAUGHT"]
    truth = np.array([names.index(title) for title in PLACES])[_truth()]
    assert (labels == truth).mean() > 0.9
    assert report["classes"][0]["taught_iou"] > report["classes"][0]["words_iou"] + 0.2


def test_its_map_has_the_same_bytes_in_parts(taught: Path, ground: Path) -> None:
    segmenter = Segmenter.from_preset(load_preset(str(taught)), device="cpu")
    with segmenter.open(ground) as scene:
        bank = segmenter.text_bank(segmenter.taught.vocabulary)  # type: ignore[union-attr]
        whole = list(segmenter.strips(scene, bank))
        part = list(segmenter.strips(scene, bank, region=Window(row=32, col=0, height=64, width=WIDTH)))
    scores = np.concatenate([strip.score for strip in whole])
    np.testing.assert_array_equal(np.concatenate([strip.score for strip in part]), scores[32:96])
    assert len(np.unique(scores)) > 100


def test_what_is_not_taught_is_found_by_its_word(command: Command, taught: Path, ground: Path, tmp_path: Path) -> None:
    done = command("segment", ground, tmp_path / "m.tif", "-t", "moss", "-t", "road", "--preset", taught)
    assert done.code == 0
    assert "Not taught, by words alone: road" in done.err
    with rasterio.open(tmp_path / "m.tif") as dataset:
        assert [dataset.tags()[f"CLASS_{i}"] for i in range(2)] == ["moss", "road"]


def test_more_marks_on_top_of_it(command: Command, taught: Path, ground: Path, tmp_path: Path) -> None:
    again = _marks(tmp_path / "more.gpkg", ground, each=3, titles=("moss",))
    done = command("teach", again, tmp_path / "both", "--onto", taught, "--scenes", ground, "--json")
    assert done.code == 0, done.err
    classes = {c["name"]: c["marks"] for c in json.loads(done.out)["classes"]}
    assert set(classes) == {"stone", "moss", "sand"}
    assert classes["stone"] == 12 and 12 <= classes["moss"] <= 15
    assert json.loads((tmp_path / "both" / "taught.json").read_text())["candidate"]["head"] == "anchored"
    assert load_preset(str(tmp_path / "both")).taught is not None


def test_one_more_mark_computes_its_own_window_alone(
    command: Command, preset: Path, ground: Path, tmp_path: Path
) -> None:
    """What is taught is the same, to the byte, as from scratch."""
    scene = tmp_path / "ground.tif"
    shutil.copy(ground, scene)
    first = _marks(tmp_path / "first.gpkg", ground, each=4)
    frame = geopandas.read_file(first)
    more = pandas.concat([frame, frame.iloc[:1].set_geometry(frame.geometry[:1].translate(2e-5, 0))])
    more.to_file(tmp_path / "more.gpkg")

    def taught(marks: str, folder: str, *options: object) -> int:
        done = command(
            "teach", tmp_path / marks, tmp_path / folder, "--scenes", scene, "--preset", preset, "--json", *options
        )
        assert done.code == 0, done.err
        return int(json.loads(done.out)["windows"])

    whole = taught("first.gpkg", "a")
    assert whole > 10
    assert taught("first.gpkg", "a", "--overwrite") == 0
    assert taught("more.gpkg", "a", "--overwrite") == 1
    assert taught("more.gpkg", "b") >= whole
    for name in ("taught.safetensors", "examples.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    done = command("teach", first, tmp_path / "c", "--scenes", scene, "--onto", tmp_path / "a", "--json")
    assert json.loads(done.out)["windows"] == 0, done.err
    data = rasterio.open(scene).read()
    write_raster(scene, 255 - data, photometric="MINISBLACK")
    assert taught("more.gpkg", "a", "--overwrite") >= whole, "the scene has changed"


def test_in_python_it_is_the_same(taught: Path, ground: Path, preset: Path, tmp_path: Path) -> None:
    """A table of marks instead of a file, nothing written; then on from there, and what to mark next."""
    segmenter = Segmenter.from_preset(load_preset(str(preset)), device="cpu")
    table = geopandas.read_file(taught.parent / "marks.gpkg")
    mine = segmenter.teach(table, scenes=ground)
    assert segmenter.taught is None and mine.teaching is not None and mine.taught is not None
    stored = Segmenter.from_preset(load_preset(str(taught)), device="cpu")
    np.testing.assert_array_equal(mine.taught.weight, stored.taught.weight)  # type: ignore[union-attr]
    labels = mine.predict(ground).labels
    np.testing.assert_array_equal(labels, stored.predict(ground).labels)
    mine.teaching.save(tmp_path / "saved")
    again = Segmenter.from_preset(load_preset(str(tmp_path / "saved")), device="cpu")
    np.testing.assert_array_equal(again.predict(ground).labels, labels)
    told = json.loads((taught / "report.json").read_text())
    frame = mine.teaching.report.to_dataframe()
    assert frame["name"].tolist() == [c["name"] for c in told["classes"]]
    assert frame["taught_iou"].tolist() == pytest.approx([c["taught_iou"] for c in told["classes"]])
    tried = mine.teaching.report.tried_dataframe()
    assert tried["head"][0] and tried["miou"].is_monotonic_decreasing and len(tried) == len(told["tried"])

    more = _marks(tmp_path / "more.gpkg", ground, each=3, titles=("moss",))
    for before in (mine, again):
        later = before.teach(str(more), scenes=[str(ground)])
        counts = later.teaching.report.to_dataframe().set_index("name")["marks"]  # type: ignore[union-attr]
        assert counts["stone"] == 12 and 12 < counts["moss"] <= 15
    todo = mine.suggest(4)
    assert len(todo.to_geodataframe()) == 4 and todo.marks == 36
    taken = mine.teaching.examples.pixels
    for place in todo.places:
        assert np.abs(taken - (place.row, place.col)).max(axis=1).min() > 4, "away from what is marked"
    with pytest.raises(earthwords.UsageError, match="Name scenes"):
        segmenter.suggest(3, ["road", "water"])
    with pytest.raises(earthwords.UsageError, match="not read with 'bounds'"):
        segmenter.teach(table, scenes=ground, bounds=(0, 0, 1, 1))
    with pytest.raises(earthwords.UsageError, match="a file or a GeoDataFrame, not DataFrame"):
        segmenter.teach(pandas.DataFrame({"class": ["a"], "geometry": [None]}), scenes=ground)
    with pytest.raises(earthwords.UsageError, match="a file or a GeoDataFrame, not GeoSeries"):
        segmenter.teach(table.geometry, scenes=ground)
    with pytest.raises(earthwords.UsageError, match="`words` is a list"):
        segmenter.teach(table, "water", scenes=ground)


def test_words_that_stay_are_as_they_were(command: Command, preset: Path, ground: Path, tmp_path: Path) -> None:
    """Also after a head was learned: what the first preset says of its words holds again."""
    own = tmp_path / "own.toml"
    own.write_text(preset.read_text() + "nothing = -0.3\nthresholds = { moss = 0.2 }\n")
    marks = _marks(tmp_path / "marks.gpkg", ground)
    heads = []
    for before, folder, options in (
        (("--preset", own), "a", ("--head", "anchored")),
        (("--onto", tmp_path / "a"), "b", ("--head", "words")),
        (("--preset", tmp_path / "a"), "c", ("--head", "words")),
        (("--preset", own), "d", ("--head", "lp++")),
    ):
        done = command(
            "teach", marks, tmp_path / folder, "--scenes", ground, *before, *options, "-t", "moss", "--overwrite"
        )
        assert done.code == 0, done.err
        row, head = load_preset(str(tmp_path / folder)), json.loads((tmp_path / folder / "taught.json").read_text())
        heads.append(head["candidate"]["head"])
        if heads[-1] == "words":
            assert (row.nothing, row.sum_to_one, row.thresholds) == (-0.3, False, (("moss", 0.2),)), folder
        else:
            assert (row.nothing, row.sum_to_one, row.thresholds) == (None, True, ())
    assert heads == ["anchored", "words", "words", "lp++"], "what was asked for"
    assert "is not surely better than the words alone: mIoU 0." in done.err


def test_how_scenes_are_read_goes_with_the_preset(command: Command, preset: Path, ground: Path, tmp_path: Path) -> None:
    marks = _marks(tmp_path / "marks.gpkg", ground)
    with rasterio.open(ground) as dataset:
        gsd = 2 * dataset.res[0]
    how = ("--bands", "4,1,4", "--gsd", gsd, "--nodata", 7, "--stretch", "20,4000", "--head", "prototypes")
    done = command("teach", marks, tmp_path / "t", "--scenes", ground, "--preset", preset, *how, "--quiet")
    assert done.code == 0, done.err
    row = load_preset(str(tmp_path / "t"))
    assert (row.taught_bands, row.taught_gsd, row.taught_stretch) == ((4, 1, 4), gsd, "20,4000")
    (tmp_path / "nan.toml").write_text(as_toml(replace(row, taught=None, taught_nodata=math.nan)))
    assert "--nodata nan" in load_preset(str(tmp_path / "nan.toml")).taught_options

    def tags(name: str, *options: object) -> tuple[dict[str, str], str]:
        done = command("segment", ground, tmp_path / name, "--preset", tmp_path / "t", *options)
        assert done.code == 0, done.err
        with rasterio.open(tmp_path / name) as dataset:
            return dataset.tags(), done.err

    told, said = tags("a.tif")
    assert told["EARTHWORDS_BANDS"].startswith("4,1,4") and told["EARTHWORDS_GSD"] == f"{gsd:.6g} m"
    assert told["EARTHWORDS_STRETCH"].startswith("fixed") and "20..4000" in told["EARTHWORDS_STRETCH"]
    assert f"taught with --bands 4,1,4 --gsd {gsd:g} --nodata 7 --stretch 20,4000, and reads scenes so" in said
    told, _ = tags("b.tif", "--bands", "1,2,3", "--gsd", gsd / 2, "--stretch", "none")
    assert told["EARTHWORDS_BANDS"].startswith("1,2,3") and told["EARTHWORDS_GSD"] == f"{gsd / 2:.6g} m"
    assert told["EARTHWORDS_STRETCH"].startswith("none")
    segmenter = Segmenter.from_preset(row, device="cpu")
    with segmenter.open(ground) as scene:
        assert scene.choice.numbers == (4, 1, 4) and scene.grid.height == HEIGHT // 2
        assert scene.stretch.high == (4000,) * 3
    more = segmenter.teach(marks, scenes=ground).teaching
    assert more is not None and more.row.taught_options == row.taught_options
    (tmp_path / "bad.toml").write_text('base = "tiny"\ntaught_bands = [4.5, 3, 2]\n')
    with pytest.raises(earthwords.UsageError, match="taught_bands must be a list of numbers or names of bands"):
        load_preset(str(tmp_path / "bad.toml"))


def test_marks_of_what_a_class_is_not(command: Command, preset: Path, ground: Path, tmp_path: Path) -> None:
    path = _marks(tmp_path / "marks.gpkg", ground, titles=("stone", "moss"))
    frame = geopandas.read_file(path)
    frame["class"] = ["water" if title == "moss" else "not water" for title in frame["class"]]
    frame.to_file(path)
    done = command("teach", path, tmp_path / "w", "--scenes", ground, "-t", "water", "--preset", preset, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [c["name"] for c in report["classes"]] == ["water", "background"]
    assert [c["marks"] for c in report["classes"]] == [6, 6]
    assert any("Negative marks count as background" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("titles", "options", "said"),
    [
        ("not water", ("-t", "water"), "All marks are 'not water': mark some water, too."),
        ("background", ("-t", "water"), "All marks are 'background': mark some water, too."),
        ("not water", ("-t", "water", "-t", "road", "-t", "trees"), "mark some water, too."),
    ],
)
def test_marks_of_nothing_but_what_a_class_is_not(
    command: Command, preset: Path, ground: Path, tmp_path: Path, titles: str, options: tuple[str, ...], said: str
) -> None:
    path = _marks(tmp_path / "marks.gpkg", ground, titles=("moss",))
    frame = geopandas.read_file(path)
    frame.assign(**{"class": titles}).to_file(path)
    done = command("teach", path, tmp_path / "w", "--scenes", ground, "--preset", preset, *options)
    done.failed(2, said)


@pytest.mark.parametrize(
    ("titles", "options", "chosen", "said"),
    [
        (("moss", "sand"), (), "words", "nothing could be checked and the words stay as they are"),
        (("moss", "sand"), ("--head", "words"), "words", "nothing could be checked"),
        (("moss", "sand"), ("--head", "linear"), "linear", "nothing could be checked, and linear replaces the words"),
        (("moss", "某某暖房"), (), "anchored 4", "nothing could be checked, and anchored 4 replaces the words"),
        (("moss", "sand"), ("--background", "sand"), "words", "the words stay"),
        (("moss", "某某暖房"), ("--background", "某某暖房"), "anchored 4", "replaces the words"),
    ],
)
def test_where_nothing_can_be_checked(
    command: Command, preset: Path, ground: Path, tmp_path: Path, titles: tuple[str, ...], options: tuple[str, ...],
    chosen: str, said: str,
) -> None:  # fmt: skip
    """A mark a class. Words stay where there are words and no head was asked for; a class of marks is a background."""
    path = _marks(tmp_path / "marks.gpkg", ground, each=1, titles=("moss", "sand"))
    geopandas.read_file(path).assign(**{"class": titles}).to_file(path)
    words = ("-t", "moss")
    done = command("teach", path, tmp_path / "w", "--scenes", ground, "--preset", preset, *words, *options)
    assert done.code == 0 and said in done.err, done.err
    card = json.loads((tmp_path / "w" / "report.json").read_text())
    assert card["chosen"] == chosen
    if "--background" in options:
        assert load_taught(tmp_path / "w").vocabulary.background == 1


def _boxes(path: Path, ground: Path, boxes: dict[str, tuple[int, int, int, int]]) -> Path:
    """Rectangles by name: first row, first column, last row, last column."""
    with rasterio.open(ground) as dataset:
        transform, crs = dataset.transform, dataset.crs
    shapes = [shapely.Polygon([transform @ corner for corner in ((b, a), (d, a), (d, c), (b, c))])
              for a, b, c, d in boxes.values()]  # fmt: skip
    geopandas.GeoDataFrame({"class": [name.split("/")[0] for name in boxes]}, geometry=shapes, crs=crs).to_file(path)
    return path


def test_later_polygons_replace_what_they_cover(command: Command, preset: Path, ground: Path, tmp_path: Path) -> None:
    """All 50 pixels of the first two are learned from 25 each; the later one covers one of them whole."""
    first = _boxes(tmp_path / "a.gpkg", ground, {"road": (10, 10, 30, 30), "water/1": (60, 100, 80, 130),
                                                "water/2": (90, 10, 110, 40)})  # fmt: skip
    done = command("teach", first, tmp_path / "t", "--scenes", ground, "--preset", preset, "--json", "-t", "water")
    assert done.code == 0, done.err
    assert {c["name"]: c["pixels"] for c in json.loads(done.out)["classes"]} == {"water": 50, "road": 25}
    later = _boxes(tmp_path / "b.gpkg", ground, {"road": (85, 5, 115, 45)})
    done = command("teach", later, tmp_path / "t", "--scenes", ground, "--onto", tmp_path / "t", "--json")
    assert done.code == 0, done.err
    assert {c["name"]: c["pixels"] for c in json.loads(done.out)["classes"]} == {"water": 25, "road": 50}


def test_points_and_polygons_in_one_file_and_classes_as_typed(
    command: Command, preset: Path, ground: Path, tmp_path: Path
) -> None:
    path = _boxes(tmp_path / "a.gpkg", ground, {"Building , ROOF": (10, 10, 30, 30), "bare_land": (60, 100, 80, 130)})
    points = _marks(tmp_path / "p.gpkg", ground, titles=("sand",))
    both = geopandas.read_file(path)
    more = geopandas.read_file(points).to_crs(both.crs).replace("sand", "not bare land")
    pandas.concat([both, more]).to_file(tmp_path / "both.gpkg")
    words = ("-t", "building,roof", "-t", "bare land")
    done = command(
        "teach", tmp_path / "both.gpkg", tmp_path / "t", "--scenes", ground, *words, "--preset", preset, "--json"
    )
    assert done.code == 0, done.err
    assert {c["name"]: c["marks"] for c in json.loads(done.out)["classes"]} == {"building": 7, "bare land": 1}


def test_damaged_teachings(command: Command, taught: Path, ground: Path, tmp_path: Path) -> None:
    marks = _marks(tmp_path / "marks.gpkg", ground)
    card = json.loads((taught / "taught.json").read_text())
    for wrong in ({"words": 5}, {"candidate": {}}, {"candidate": card["candidate"] | {"head": "x"}}, {"scenes": []}):
        shutil.copytree(taught, tmp_path / "bad", dirs_exist_ok=True)
        (tmp_path / "bad/taught.json").write_text(json.dumps(card | wrong))
        done = command("teach", marks, tmp_path / "o", "--scenes", ground, "--onto", tmp_path / "bad", "--quiet")
        done.failed(1, "bad")
    assert not (tmp_path / "o").exists()
    assert {path.stat().st_mode & 0o077 for path in taught.iterdir()} == {0o044}


def test_classes_that_no_model_can_read(command: Command, preset: Path, ground: Path, tmp_path: Path) -> None:
    """Chinese of no glossary, and one class in two spellings."""
    path = _marks(tmp_path / "marks.gpkg", ground)
    frame = geopandas.read_file(path)
    names = {"stone": "某某暖房", "moss": "Water", "sand": "water"}
    frame["class"] = [names[title] for title in frame["class"]]
    frame.to_file(path)
    done = command("teach", path, tmp_path / "c", "--scenes", ground, "--preset", preset, "--json")
    assert done.code == 0, done.err
    marks = {c["name"]: c["marks"] for c in json.loads(done.out)["classes"]}
    assert marks["某某暖房"] == 6 and sorted(marks.values()) == [6, 12]
    assert "Known by its marks alone: '某某暖房'; micro never learned the word." in done.err
    done = command("segment", ground, tmp_path / "m.tif", "--preset", tmp_path / "c")
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "m.tif") as dataset:
        assert "某某暖房" in dataset.tags().values()


def test_many_classes_are_said_in_few_lines(command: Command, preset: Path, ground: Path, tmp_path: Path) -> None:
    """Of 40 classes that no word means, with a mark or two each."""
    rng = np.random.default_rng(3)
    with rasterio.open(ground) as dataset:
        points = [shapely.Point(dataset.transform @ tuple(xy)) for xy in rng.uniform(1, 119, (80, 2))]
        frame = geopandas.GeoDataFrame({"class": [f"某{i % 40}" for i in range(80)]}, geometry=points, crs=dataset.crs)
    frame.to_file(tmp_path / "marks.gpkg")
    done = command(
        "teach", tmp_path / "marks.gpkg", tmp_path / "t", "--scenes", ground, "--preset", preset, "--head",
        "prototypes", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert len(report["classes"]) == 40 and len(report["notes"]) < 12
    assert any(note.startswith("Known by their marks alone: ") and "and 32 more" in note for note in report["notes"])
    assert max(map(len, report["notes"])) < 250


def test_a_folder_of_images_and_masks(command: Command, preset: Path, ground: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    (tmp_path / "set/images/a.tif").write_bytes(ground.read_bytes())
    write_raster(tmp_path / "set/masks/a.tif", np.where(_truth() == 2, 7, _truth())[None].astype(np.uint8))
    words = ("-t", "road", "-t", "water")
    done = command("teach", tmp_path / "set", tmp_path / "m", *words, "--preset", preset, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    write_raster(tmp_path / "set/masks/a.tif", np.zeros((1, 50, 60), np.uint8))
    wrong = command("teach", tmp_path / "set", tmp_path / "n", *words, "--preset", preset)
    wrong.failed(2, f"has 50 x 60 pixels and its image {HEIGHT} x {WIDTH}; a mask has the size of its image")
    assert [(c["name"], c["pixels"]) for c in report["classes"]] == [("road", 4 * 20), ("water", 6 * 20)]
    assert any("Values without a name left out: 7" in note for note in report["notes"])


@pytest.mark.parametrize("verb", ["segment", "suggest", "count", "change", "teach"])
def test_every_verb_that_maps_reads_scenes_as_the_preset_was_taught(verb: str) -> None:
    """Each hands the preset over where it says how scenes are opened."""
    module = importlib.import_module(f"earthwords.tasks.{verb}")
    calls = [
        node
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "scene_spec"
    ]
    assert calls and all("row" in {word.arg for word in call.keywords} for call in calls)


def test_a_sentence_is_no_class(command: Command, taught: Path, ground: Path, tmp_path: Path) -> None:
    for option in ("--preset", "--model"):
        done = command("refer", ground, tmp_path / "m.tif", "-t", "the largest stone", option, taught)
        done.failed(2, f"segment SRC DST --preset {taught}")


def test_what_to_mark_next_by_what_was_taught(command: Command, taught: Path, ground: Path, tmp_path: Path) -> None:
    done = command("suggest", ground, tmp_path / "next.gpkg", "-n", 3, "--preset", taught)
    assert done.code == 0, done.err
    frame = geopandas.read_file(tmp_path / "next.gpkg")
    assert len(frame) == 3 and set(frame["guess"]) <= {"moss", "sand", "stone"}
