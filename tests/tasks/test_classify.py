"""Scene classification of pictures and rasters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from earthwords.archive import embed
from earthwords.errors import UsageError
from earthwords.evaluation import tuned
from earthwords.jobs.journal import Journal
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
    from earthwords.models.clip.words import encode_words
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


@pytest.fixture
def argv(folder: Path, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A command of six batches whose vectors nobody remembers yet."""
    monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path / "cache"))
    words = [word for name in WORDS for word in ("-t", name)]
    return ["classify", folder, *words, "--model", micro, "--image-size", 32, "--batch-size", 4, "--quiet", "--out"]


def changed(argv: list[object], option: str, *value: object) -> list[object]:
    """The command with another value of an option that may be there once."""
    if option not in argv or option == "-t":
        return [argv[0], option, *value, *argv[1:]]
    place = argv.index(option)
    return [*argv[:place], option, *value, *argv[place + 2 :]]


def elsewhere(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("EARTHWORDS_CACHE", str(cache))


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are encoded from now on."""
    seen: list[int] = []
    real = embed.encode_batch
    monkeypatch.setattr(embed, "encode_batch", lambda b, how, part: seen.append(len(part)) or real(b, how, part))
    return seen


saved = Journal.save


def stopped(journal: Journal, name: str, result: bytes) -> None:
    """As `Journal.save`, but the third part ends the run."""
    if len(journal) == 2:
        raise KeyboardInterrupt
    saved(journal, name, result)


@pytest.fixture
def half(command: Command, argv: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of a run that ended when two batches were done."""
    out = tmp_path / "table.csv"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save", stopped)
        done = command(*argv, out)
    assert done.code == 130 and "The same command goes on from here: 2 batches are done." in done.err
    return out


def test_the_same_command_goes_on(
    command: Command, argv: list[object], half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = encoded(monkeypatch)
    assert command(*argv, half).code == 0
    assert sorted(batches) == [2, 4, 4, 4] and not list(tmp_path.glob(".*"))
    elsewhere(monkeypatch, tmp_path / "other")
    assert command(*argv, tmp_path / "new.csv").code == 0
    assert len(batches) == 4 + 6 and half.read_bytes() == (tmp_path / "new.csv").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch-size", 5], "its batch-size was 4 and is 5 now"),
        (["-t", "road"], "its words was bare land, trees, roof, water and is road, bare land, trees, roof, water now"),
        (["--templates", "photo"], "its templates was "),
        (["--transductive"], "its transductive was False and is True now"),
        (["--image-size", 48], "its image-size was 32 and is 48 now"),
        (["--fit", "square"], "its fit was crop and is square now"),
        (["--bands", "3,2,1"], "its bands was not given and is 3,2,1 now"),
        (["--nodata", 7], "its nodata was not given and is 7.0 now"),
        (["--stretch", "none"], "its stretch was auto and is none now"),
        (["--model", "tiny"], "its model was "),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_other_options_are_refused(
    command: Command, argv: list[object], half: Path, tmp_path: Path, options: list[object], words: str
) -> None:
    done = command(*changed(argv, *options), half)
    done.failed(2, words, "run with what it was begun with, or begin anew with --no-resume")
    assert (tmp_path / ".table.csv.journal").is_dir() and not half.exists()


def test_beginning_anew(
    command: Command, argv: list[object], half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = encoded(monkeypatch)
    assert command(*changed(argv, "--batch-size", 7), half, "--no-resume").code == 0
    assert sorted(batches) == [1, 7, 7, 7] and not list(tmp_path.glob(".*"))


def test_images_that_have_changed_are_read_again(
    command: Command, argv: list[object], half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    moved = shutil.copytree(folder, tmp_path / "moved")
    here = [moved if word == folder else word for word in argv]
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save", stopped)
        assert command(*here, tmp_path / "b.csv").code == 130
    first = sorted(path for path in moved.rglob("*") if path.is_file())[0]
    Image.fromarray(255 - np.asarray(Image.open(first))).save(first)
    batches = encoded(monkeypatch)
    assert command(*here, tmp_path / "b.csv").code == 0
    assert len(batches) == 5, "one of the two that were done"


def test_workers_give_the_same_bytes(
    command: Command, argv: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """With an image that cannot be read, which shifts the batches."""
    (tmp_path / "cut.png").write_bytes(b"no picture")
    tables = []
    for workers in (1, 2):
        elsewhere(monkeypatch, tmp_path / f"cache{workers}")
        out = tmp_path / f"{workers}.json"
        done = command(*argv[:1], tmp_path / "cut.png", *argv[1:], out, "--workers", workers)
        assert done.code == 1, done.err
        tables.append(out.read_bytes())
    assert tables[0] == tables[1]
    assert len(json.loads(tables[1])["images"]) == 22 and "cut.png" in json.loads(tables[1])["failures"][0]


def test_where_no_command_helps_nothing_stays(
    command: Command, argv: list[object], tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "cut.png").write_bytes(b"no picture")
    words = [*argv[2:], tmp_path / "t.csv", "--transductive"]
    command("classify", folder / "holes.tif", tmp_path / "cut.png", *words).failed(2, "at least 2 images")
    assert not list(tmp_path.glob(".*"))


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
        (["SRC", "-t", "road", "--workers", "0"], ["--workers must be at least 1"]),
        (["SRC", "-t", "road", "-t", "water", "--transductive"], ["at least 2 images"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_refusals(argv: list[str], fragments: list[str], folder: Path, micro: Path, command: Command) -> None:
    words = [str(folder / "holes.tif") if word == "SRC" else word for word in argv]
    command("classify", *words, "--model", micro, "--quiet").failed(2, *fragments)


@pytest.fixture
def shots(folder: Path, tmp_path: Path) -> Path:
    """Three examples a class, which the other tests' folder holds too."""
    root = tmp_path / "shots"
    for name in ("BareLand", "dense_forest", "riverside"):
        (root / name).mkdir(parents=True)
        for number in (1, 2, 3):
            shutil.copy(folder / name / f"{name}_{number}.png", root / name / f"example_{number}.png")
    return root


def test_examples_beside_words(folder: Path, micro: Path, shots: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "t.json"
    argv = ["classify", folder / "riverside", folder / "BareLand", folder / "dense_forest", "--shots", shots]
    own = ["--model", micro, "--image-size", 32, "--method", "prototypes"]
    done = command(*argv, *own, "-o", out)
    assert done.code == 0, done.err
    told = json.loads(out.read_text())
    by_name = {Path(row["source"]).parent.name: [] for row in told["images"]}
    for row in told["images"]:
        by_name[Path(row["source"]).parent.name].append(row["class"])
    right = sum(each.count(name) for each, name in zip(
        (by_name["BareLand"], by_name["dense_forest"], by_name["riverside"]),
        ("bare land", "dense forest", "riverside"), strict=True))  # fmt: skip
    assert right >= 18, "of 20, by words of a random model"
    assert told["method"] == "prototypes, 9 examples" and told["shots"]["helps"]
    assert told["shots"]["examples"] == {"bare land": 3, "dense forest": 3, "riverside": 3}
    assert any(note.startswith("Of 9 examples, left out in turn in 3 parts, words alone") for note in told["notes"])
    assert any(note.startswith("9 of the 20 images to classify are among the examples") for note in told["notes"])
    assert "left out in turn" in done.err
    new = classify(
        str(folder / "riverside"), text=["bare land"], shots=shots, model=str(micro), image_size=32, quiet=True
    )
    assert new.shots is not None and new.shots.without == ("dense forest", "riverside")
    assert [row.name for row in new.rows].count("riverside") >= 8 and new.method == "lp++, 9 examples"


@pytest.mark.parametrize("method", ["coop", "clip-lora"])
def test_examples_train_the_towers(
    method: str, folder: Path, micro: Path, shots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "STEPS_A_SHOT", 5)
    monkeypatch.setattr(tuned, "EPOCHS", 30)
    found = run_with(folder, micro, shots, method=method)
    assert found.shots is not None and (found.shots.method, found.shots.parts) == (method, 3)
    assert len(found.rows) == 22 and 0 <= found.shots.shots_accuracy <= 100
    assert found.method == (f"{method}, 9 examples" if found.shots.helps else "zero-shot, 9 examples not used")


def test_examples_and_all_images_together(folder: Path, micro: Path, shots: Path) -> None:
    found = run_with(folder, micro, shots, transductive=True)
    assert found.method.startswith("transductive, 9 examples") and found.shots.method.startswith("RS-TransCLIP")
    assert "shots" not in run(folder, micro).as_json()


def run_with(folder: Path, micro: Path, shots: Path, **more: object):  # type: ignore[no-untyped-def]
    return classify(str(folder), shots=shots, model=str(micro), image_size=32, quiet=True, **more)  # type: ignore[arg-type]


def test_examples_that_cannot_be_read_are_left_out(folder: Path, micro: Path, shots: Path) -> None:
    (shots / "riverside" / "cut.png").write_bytes(b"no picture")
    found = run_with(folder, micro, shots, method="prototypes")
    assert found.exit_code == 1 and "cut.png" in found.failures[0]
    assert found.shots.examples["riverside"] == 3
    for path in (shots / "BareLand").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="No example of 'bare land' in"):
        run_with(folder, micro, shots)


def test_other_examples_are_another_command(
    command: Command, argv: list[object], shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "table.csv"
    place = argv.index("-t")
    own = [*argv[:place], *argv[argv.index("--model") :]]
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save", stopped)
        assert command(*own[:-1], "--shots", shots, "--method", "tip", "--out", out).code == 130
    command(*own[:-1], "--shots", shots, "--out", out).failed(2, "its method was tip and is lp++ now")
    Image.new("RGB", (9, 9)).save(shots / "riverside" / "more.png")
    command(*own[:-1], "--shots", shots, "--method", "tip", "--out", out).failed(2, "its shots was ")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--method", "lp++", "-t", "road"], "name their folder by --shots"),
        (["--shots", "SHOTS", "--method", "taskrez"], "Did you mean 'taskres'?"),
        (["--shots", "SHOTS", "--method", "tip", "--transductive"], "leave --method out"),
        (["--shots", "SHOTS", "--method", "clip-lora", "-t", "bare land"], "'riverside' has none: name every class"),
        (["--shots", "nowhere"], "nowhere is not a folder"),
        (["--shots", "SHOTS", "-t", "bare land", "-t", "airport"], "has no examples of 'airport'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_examples_refused(
    argv: list[str], words: str, folder: Path, micro: Path, shots: Path, command: Command
) -> None:
    argv = [str(shots) if word == "SHOTS" else word for word in argv]
    command("classify", folder / "holes.tif", *argv, "--model", micro, "--quiet").failed(2, words)
