"""Scene classification of pictures and rasters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from earthwords.tasks.classify import classify
from tests.conftest import Command, write_raster
from tests.micro import patchwork
from tests.scenes import write_folders

WORDS = ["bare land", "trees,roof", "water"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures, a raster of sixteen bits with a CRS, and one with a hole."""
    root = write_folders(tmp_path_factory.mktemp("scenes"), inside="")
    data = np.moveaxis(patchwork(90, 70), -1, 0)
    write_raster(root / "sixteen.tif", data.astype(np.uint16) * 30)
    data[:, :, :30] = 0
    write_raster(root / "holes.tif", data, nodata=0)
    return root


def run(folder: Path, micro: Path, **more: object):  # type: ignore[no-untyped-def]
    return classify(str(folder), text=WORDS, model=str(micro), image_size=32, quiet=True, **more)  # type: ignore[arg-type]


def test_every_source_has_a_row(folder: Path, micro: Path) -> None:
    found = run(folder, micro)
    assert len(found.rows) == 22 and found.method == "zero-shot" and found.exit_code == 0
    assert [row.source for row in found.rows] == sorted(row.source for row in found.rows)
    assert {row.name for row in found.rows} <= {"bare land", "trees", "water"}
    for row in found.rows:
        assert 1 >= row.score >= row.second_score >= 0 and row.name != row.second
        assert row.score + row.second_score <= 1 + 1e-5
    one = classify(found.rows[3].source, text=WORDS, model=str(micro), image_size=32, quiet=True)
    assert one.rows[0].name == found.rows[3].name
    assert one.rows[0].score == pytest.approx(found.rows[3].score, abs=1e-4)


def test_the_words_are_compared_as_segment_does(folder: Path, micro: Path) -> None:
    from earthwords.archive.embed import embed_images, preprocess_for
    from earthwords.inference.windows.text_bank import encode_words
    from earthwords.models.weights.table import load_clip
    from earthwords.text.templates import TEMPLATES

    found = run(folder, micro)
    backbone = load_clip(str(micro)).eval()
    words = encode_words(backbone, ["bare land", "trees", "roof", "water"], TEMPLATES["aerial"]).detach().numpy()
    images = embed_images(backbone, [row.source for row in found.rows], preprocess_for(backbone, side=32))
    best = (images @ words.T).argmax(axis=1)
    names = np.array(["bare land", "trees", "trees", "water"])[best]
    assert [row.name for row in found.rows] == names.tolist()


def test_transduction_sees_all_images(folder: Path, micro: Path) -> None:
    from earthwords.evaluation.metrics.transductive import transduce, word_probabilities  # noqa: F401

    found = run(folder, micro, transductive=True)
    assert found.method == "transductive" and len(found.rows) == 22
    assert [row.score for row in found.rows] != [row.score for row in run(folder, micro).rows]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_tables(folder: Path, micro: Path, tmp_path: Path, suffix: str, command: Command) -> None:
    out = tmp_path / f"table{suffix}"
    found = run(folder, micro, out=out)
    if suffix == ".json":
        rows = json.loads(out.read_text())["images"]
    else:
        frame = pandas.read_csv(out) if suffix == ".csv" else pandas.read_parquet(out)
        assert list(frame.columns) == ["source", "class", "score", "second", "second_score"]
        rows = frame.to_dict("records")
    assert [row["source"] for row in rows] == [row.source for row in found.rows]
    assert [row["class"] for row in rows] == [row.name for row in found.rows]
    argv = ["classify", folder, "-t", "road", "--model", micro, "--image-size", "32", "--out", out, "--quiet"]
    command(*argv).failed(2, "exists; pass --overwrite")
    assert command(*argv, "--overwrite").code == 0
    assert list(tmp_path.iterdir()) == [out]


def test_on_the_terminal(folder: Path, micro: Path, command: Command) -> None:
    done = command("classify", folder / "holes.tif", folder / "sixteen.tif", "-t", "road", "-t", "water",
                   "--model", micro, "--image-size", "32")  # fmt: skip
    assert done.code == 0 and "2 images, zero-shot" in done.out and "holes.tif" in done.out


def test_one_class_alone(folder: Path, micro: Path) -> None:
    (row,) = classify(str(folder / "holes.tif"), text=["road"], model=str(micro), image_size=32, quiet=True).rows
    assert (row.name, row.score, row.second, row.second_score) == ("road", 1.0, "", 0.0)


def test_what_cannot_be_read_is_left_out(folder: Path, micro: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "cut.png").write_bytes(b"no picture")
    argv = ["-t", "road", "-t", "water", "--model", micro, "--image-size", "32", "--quiet"]
    done = command("classify", folder / "holes.tif", tmp_path / "cut.png", *argv, "--json")
    told = json.loads(done.out)
    assert done.code == 1 and len(told["images"]) == 1 and "cut.png" in told["failures"][0]
    command("classify", tmp_path / "cut.png", *argv).failed(1, "cut.png")
    command("classify", tmp_path / "cut.png", tmp_path / "none.tif", *argv).failed(1, "cut.png")


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["-t", "road"], ["at least one image"]),
        (["SRC"], ["class"]),
        (["SRC", "-t", "road", "--out", "a.cvs"], ["Unknown kind of table", "Did you mean '.csv'?"]),
        (["SRC", "-t", "road", "--fit", "sqare"], ['Did you mean "square"?']),
        (["SRC", "-t", "road", "--image-size", "31"], ["multiple"]),
        (["SRC", "-t", "road", "--batch-size", "0"], ["at least 1"]),
        (["SRC", "-t", "road", "-t", "water", "--transductive"], ["at least 2 images"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_refusals(argv: list[str], fragments: list[str], folder: Path, micro: Path, command: Command) -> None:
    words = [str(folder / "holes.tif") if word == "SRC" else word for word in argv]
    command("classify", *words, "--model", micro, "--quiet").failed(2, *fragments)
