"""`earthwords refer`: from a training to masks and polygons at their place, several sentences, every refusal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from PIL import Image

import earthwords
from earthwords.inference.refer.referrer import Referrer
from earthwords.models.refseg.load import assemble, store_refseg
from tests.conftest import Command, Outcome, write_raster
from tests.referring import COLOURS, micro_preset

HEIGHT, WIDTH = 130, 170
RED, BLUE = (70, 96, 16, 18), (20, 30, 16, 18)
"""Row, column, height, width of the roofs."""

Refer = Callable[..., Outcome]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, micro: Path) -> Path:
    """Random weights."""
    folder = tmp_path_factory.mktemp("refseg")
    preset = replace(micro_preset(micro), lora_rank=0)
    store_refseg(assemble(preset, seed=1), preset, folder)
    return folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = np.random.default_rng(9).integers(80, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for (row, col, tall, wide), colour in zip((RED, BLUE), COLOURS.values(), strict=True):
        image[row : row + tall, col : col + wide] = colour
    return write_raster(tmp_path_factory.mktemp("scene") / "town.tif", np.moveaxis(image, -1, 0), photometric="RGB")


@pytest.fixture
def refer(command: Command, model: Path, scene: Path) -> Refer:
    """`refer(dst, sentence, ..., option, ...)`."""

    def run(*words: object) -> Outcome:
        where = next((i for i, word in enumerate(words) if str(word).startswith("--")), len(words))
        said = [part for sentence in words[1:where] for part in ("-t", sentence)]
        options = ["--model", model, "--preset", "refseg-tiny", "--device", "cpu", "--offline"]
        return command("refer", scene, *words[: min(1, where)], *said, *words[where:], *options)

    return run


def test_a_folder_gets_everything(refer: Refer, scene: Path, tmp_path: Path) -> None:
    done = refer(
        tmp_path / "out", "the red roof", "a lake", "--all", "--threshold", 0, "--probabilities", "uint8", "--json"
    )
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [row["name"] for row in report["classes"]] == ["the red roof", "a lake"]
    assert report["settings"]["places"] == "all" and report["settings"]["views"] == "64 overlap 32"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names - {"labels.tif.aux.xml"} == {
        "labels.tif", "labels.qml", "polygons.gpkg", "polygons.qml", "preview.png", "probabilities.tif", "report.json",
    }  # fmt: skip
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "out" / "labels.tif") as labels:
        assert labels.shape == (HEIGHT, WIDTH) and labels.transform == source.transform and labels.crs == source.crs
        found = labels.read(1)
    with rasterio.open(tmp_path / "out" / "probabilities.tif") as file:
        probabilities = file.read()
        assert file.descriptions == ("the red roof", "a lake")
    assert (found < 2).all(), "every probability is above 0"
    chosen = np.take_along_axis(probabilities, found[None].astype(int), axis=0)[0]
    assert (chosen >= probabilities.max(axis=0)).all(), "the surest sentence has the pixel"
    frame = geopandas.read_file(tmp_path / "out" / "polygons.gpkg")
    assert set(frame["class"]) <= {"the red roof", "a lake"} and frame.crs is not None
    assert frame.area.sum() == pytest.approx(HEIGHT * WIDTH * abs(source.transform.a * source.transform.e))


def test_the_time_is_that_of_the_search_too(refer: Refer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    search = Referrer.search

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        found = search(*arguments, **options)
        spent.append(time.perf_counter() - began)
        return found

    monkeypatch.setattr(Referrer, "search", timed)
    done = refer(tmp_path / "out", "the red roof", "--json")
    seconds = json.loads(done.out)["seconds"]
    assert seconds["segmenting"] > spent[0] > 0
    assert seconds["total"] == pytest.approx(
        sum(seconds[part] for part in ("loading", "segmenting", "finishing")), abs=0.01
    )


def test_nothing_found_is_a_result(refer: Refer, tmp_path: Path) -> None:
    done = refer(tmp_path / "o.gpkg", "the red roof", "--threshold", 0.999)
    assert "mean score" in done.out and "undecided" not in done.out
    assert done.code == 0 and "Nothing was found for 'the red roof'" in done.err
    assert len(geopandas.read_file(tmp_path / "o.gpkg")) == 0


def test_sentences_from_a_file(refer: Refer, tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("the red roof\n\n  a   lake \n", encoding="utf-8")
    assert refer(tmp_path / "o.png", "--sentences", tmp_path / "s.txt", "--quiet", "--threshold", 0).code == 0
    with Image.open(tmp_path / "o.png") as image:
        assert image.size[0] > image.size[1]


def test_long_and_foreign_sentences_are_told(refer: Refer, tmp_path: Path) -> None:
    done = refer(tmp_path / "o.tif", "die rote kirche " * 100, "красная крыша")
    assert (
        done.code == 0
        and "longer than the model reads" in done.err
        and "in a script that micro has hardly read" in done.err
    )


def test_python_gives_the_same(refer: Refer, model: Path, scene: Path, tmp_path: Path) -> None:
    referrer = earthwords.Referrer.from_preset("refseg-tiny", model=model, device="cpu")
    probabilities = referrer.predict(scene, "the red roof", threshold=0, every=True, probabilities=True).probabilities
    assert probabilities is not None
    middle = round(float(np.median(probabilities)), 6)
    done = refer(tmp_path / "o.tif", "the red roof", "--threshold", middle, "--all", "--quiet", "--json")
    assert done.code == 0, done.err
    found = referrer.predict(scene, "the red roof", threshold=middle, every=True)
    with rasterio.open(tmp_path / "o.tif") as file:
        np.testing.assert_array_equal(file.read(1), found.labels)
    (told,) = json.loads(done.out)["classes"]
    assert told["pixels"] == (found.labels == 0).sum() and told["pixels"] != HEIGHT * WIDTH
    assert told["share"] == pytest.approx(told["pixels"] / (HEIGHT * WIDTH), abs=1e-6), "of all that was observed"


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        ([], 2, "DST is missing"),
        (["o.tif"], 2, "Say what to point at by -t"),
        (["the red roof"], 2, 'found.gpkg -t "the red roof"'),
        (["o.tif", ""], 2, "a sentence is empty"),
        (["o.tif", "a roof", "A roof", "a roof"], 2, "given twice"),
        (["o.docx", "a roof"], 2, "suffix must be one of"),
        (["o.tif", "a roof", "--threshold", "1"], 2, "threshold is a probability"),
        (["o.tif", "a roof", "--min-score", "-1"], 2, "least score is a probability"),
        (["o.tif", "a roof", "--overlap", "64"], 2, "cannot overlap"),
        (["o.tif", "--sentences", "none.txt"], 2, "Cannot read the sentences"),
        (["o.tif", "x" * 20_000], 2, "20,000 characters"),
    ],
)
def test_refusals(
    refer: Refer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, fragment: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refer(*words, "--quiet").failed(code, fragment)
    assert not list(tmp_path.iterdir())


def test_outputs_are_told(refer: Refer, tmp_path: Path) -> None:
    done = refer(tmp_path / "o.gpkg", "the red roof")
    assert done.code == 0 and f"polygons: {tmp_path / 'o.gpkg'}" in done.err


def test_commas_belong_to_the_sentence(refer: Refer, tmp_path: Path) -> None:
    done = refer(tmp_path / "o.gpkg", "the roof, not the lake", "a lake", "--quiet", "--json")
    assert [row["name"] for row in json.loads(done.out)["classes"]] == ["the roof, not the lake", "a lake"]


@pytest.mark.parametrize("option", [[], ["-o"], ["--out"]], ids=" ".join)
def test_dst_as_an_argument_or_an_option(
    command: Command, model: Path, scene: Path, tmp_path: Path, option: list[str]
) -> None:
    done = command("refer", scene, *option, tmp_path / "o.gpkg", "-t", "a lake", "--model", model, "--quiet")
    assert done.code == 0, done.err
    assert len(geopandas.read_file(tmp_path / "o.gpkg").columns) > 3


def test_python_takes_a_list_of_sentences(model: Path, scene: Path, tmp_path: Path) -> None:
    found = earthwords.refer(scene, tmp_path / "o.gpkg", text=["a lake"], model=model, quiet=True)
    assert [row.name for row in found.classes] == ["a lake"] and (tmp_path / "o.gpkg").exists()
    with pytest.raises(earthwords.UsageError, match=r'text=\["a lake"\]'):
        earthwords.refer(scene, tmp_path / "p.gpkg", text="a lake", model=model, quiet=True)
