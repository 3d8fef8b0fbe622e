"""The whole verb on small sets, with a toy model and with stored embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from earthwords.errors import UsageError
from earthwords.evaluation import tuned
from earthwords.evaluation.metrics import fewshot
from earthwords.evaluation.outcome import TASK_NAMES
from earthwords.evaluation.suite import TASKS
from earthwords.tasks.evaluate import evaluate
from earthwords.tasks.evaluate_count import evaluate_count
from tests.conftest import Command
from tests.evaluation.clouds import cloud
from tests.scenes import records, write_folders, write_records


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in folders, and records of them."""
    folder = tmp_path_factory.mktemp("data")
    write_folders(folder / "pictures")
    write_records(folder / "captions")
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = cloud((61, 19, 44, 28))
    folder = tmp_path_factory.mktemp("stored") / "made"
    folder.mkdir()
    for name, sign in (("plus", 1), ("minus", -1)):
        np.savez(folder / f"{name}.npz", images=made.images, labels=made.labels, texts=sign * made.texts)
    return folder


def test_the_names_are_those_of_the_table() -> None:
    assert set(TASK_NAMES) == set(TASKS)


def test_pictures_and_records(root: Path, micro: Path, tmp_path: Path, command: Command) -> None:
    argv = ["evaluate", "scenes", "zero-shot", "knn", "retrieval", "counting", "captions", "pictures", "--data", root,
            "--out", tmp_path, "--model", micro, "--image-size", "32"]  # fmt: skip
    done = command(*argv, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    keys = [(entry["dataset"], entry["task"]) for entry in told["results"]]
    assert keys == [("captions", t) for t in ("zero-shot", "knn", "retrieval", "counting")] + [
        ("pictures", t) for t in ("zero-shot", "knn")
    ]
    assert [text.split(":")[0] for text in told["left_out"]] == ["retrieval on pictures", "counting on pictures"]
    first = told["results"][0]
    assert first["figures"]["images"] == "test split, 4" and first["classes"] == [
        "bare land",
        "dense forest",
        "riverside",
    ]
    assert first["settings"]["pixels"] == "32 x 32, shorter side resized, middle square"
    assert first["settings"]["templates"] == "remoteclip5"
    assert told["results"][4]["figures"]["images"] == "all 20", "no splits"
    assert told["results"][3]["figures"]["images"].endswith("0 with a count") is False
    on_disk = json.loads((tmp_path / "results.json").read_text())["results"]
    assert [(e["dataset"], e["task"]) for e in on_disk] == keys
    page = (tmp_path / "report.html").read_text()
    assert all(f'src="{plot.name}"' in page for plot in tmp_path.glob("*.png"))
    assert (tmp_path / "results.md").exists() and len(list(tmp_path.glob("*.png"))) == 6


@pytest.mark.parametrize("bands", [None, "3,2,1"])
def test_figures_are_those_of_a_plain_loop(root: Path, micro: Path, tmp_path: Path, bands: str | None) -> None:
    from earthwords.archive.embed import embed_texts
    from earthwords.data.classification.sets import read_scene_set
    from earthwords.evaluation.metrics.zeroshot import ensemble, measure, unit
    from earthwords.models.weights.table import load_clip
    from earthwords.text.templates import TEMPLATES, fill

    found = evaluate(
        "zero-shot", "pictures", data=root, out=tmp_path, model=str(micro), image_size=32, fit="square",
        templates="aerial", ensemble="normalised", bands=bands, quiet=True,
    ).entries[0]  # fmt: skip
    backbone, scenes = load_clip(str(micro)).eval(), read_scene_set(root / "pictures")
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((32, 32), 3)) for path in scenes.paths])
    pixels = (pixels[..., ::-1] if bands else pixels).transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (backbone.mean, backbone.std))
    with torch.inference_mode():
        images = unit(backbone.encode_image(torch.from_numpy((pixels - mean) / std)).numpy())
    texts = np.stack([embed_texts(backbone, fill(TEMPLATES["aerial"], word)) for word in scenes.classes], axis=1)
    expected = measure(images @ ensemble(texts, "normalised").T, scenes.labels)
    assert found.figures["confusion"] == expected.confusion.tolist()
    assert found.figures["top1"] == pytest.approx(expected.top1)
    assert found.settings.get("bands") == bands


def test_few_shot_methods_stand_side_by_side(stored: Path, tmp_path: Path, command: Command) -> None:
    argv = ["evaluate", "scenes", "few-shot", "knn", "--embeddings", stored / "plus.npz", "--out", tmp_path]
    done = command(*argv, "--method", "prototypes", "taskres", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["results"]
    assert [(e["model"], e["task"]) for e in told] == [
        ("plus, prototypes", "few-shot"), ("plus, taskres", "few-shot"), ("plus", "knn"),
    ]  # fmt: skip
    first = told[1]
    assert first["settings"]["method"] == "taskres" and first["settings"]["shots"] == [1, 2, 4, 8, 16]
    assert (first["settings"]["seed"], first["settings"]["seeds"]) == (1, 3) and "probe" not in first["settings"]
    assert all(len(row["accuracies"]) == 3 for row in first["figures"]["shots"])
    again = command(*argv, "--method", "taskres", "--json")
    assert json.loads(again.out)["reused"] == 2
    page = (tmp_path / "report.html").read_text()
    assert "plus, taskres" in page and "plus, prototypes" in page
    markdown = (tmp_path / "results.md").read_text()
    assert "selected_on: validation" in markdown and "chosen: the epoch; its authors take the last" in markdown
    for wrong, words in (
        (["--method", "taskrez"], "Did you mean 'taskres'?"),
        (["--method", "taskres", "--select", "test"], "choose on no test images"),
    ):
        assert words in command(*argv[:3], *argv[4:], *wrong, "--no-resume").err
    assert "does not read it" in command(*argv[:2], *argv[3:], "--method", "taskres").err


def test_few_shot_alone_takes_the_benchmarks_prompt(
    root: Path, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"data": root, "out": tmp_path, "model": str(micro), "image_size": 32, "quiet": True}
    found = evaluate("few-shot", "captions", method=["prototypes"], **own).entries[0]
    assert found.settings["templates"] == "remoteclip" and found.settings["method"] == "prototypes"
    monkeypatch.setattr(tuned, "STEPS_A_SHOT", 1)
    monkeypatch.setattr(tuned, "EPOCHS", 1)
    monkeypatch.setattr(fewshot, "BENCHMARK_SHOTS", (1, 2))
    for entry in evaluate("few-shot", "captions", method=["coop", "clip-lora"], **own).entries:
        rows = entry.figures["shots"]
        assert [row["shots"] for row in rows] == [1, 2] and all(len(row["accuracies"]) == 3 for row in rows)
        assert ("no random crops" in entry.figures["seen"]) == (entry.settings["method"] == "coop")
    (tmp_path / "names.json").write_text('{"riverside": "zzyzx"}')
    own |= {"model": "tiny", "names": tmp_path / "names.json"}
    told = evaluate("few-shot", "captions", method=["prototypes"], **own)
    assert any("'zzyzx' is not among the words that tiny learned" in note for note in told.notes)
    assert evaluate("few-shot", "captions", **own).entries[0].settings["templates"] == "remoteclip5"


def test_done_tasks_are_not_computed_again(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*tasks: str, **more: object) -> list[object]:
        found = evaluate(*tasks, embeddings=stored, out=tmp_path, quiet=True, **more)  # type: ignore[arg-type]
        return [found.reused, *(f"{e.model} {e.task}" for e in found.entries)]

    assert run("knn") == [0, "minus knn", "plus knn"]
    assert run("zero-shot", "knn") == [2, "minus zero-shot", "minus knn", "plus zero-shot", "plus knn"]
    assert run("knn", neighbours=3)[0] == 0, "other settings"
    assert run("knn", neighbours=3, ensemble="normalised")[0] == 2, "which knn does not depend on"
    assert run("knn", neighbours=3, resume=False)[0] == 0
    page = tmp_path / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert run("zero-shot", model="plus") == [1, "plus zero-shot"]
    assert page.read_bytes() == before, "made again"
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert len(results) == 4, "one of each"
    made = np.load(stored / "plus.npz")
    np.savez(tmp_path / "plus.npz", **{**made, "labels": np.roll(made["labels"], 1)})
    moved = evaluate("knn", embeddings=tmp_path / "plus.npz", out=tmp_path, quiet=True)
    assert moved.reused == 0


def test_what_was_done_stays_when_a_task_fails(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise KeyboardInterrupt

    from dataclasses import replace

    monkeypatch.setitem(TASKS, "knn", replace(TASKS["knn"], run=broken))
    with pytest.raises(KeyboardInterrupt):
        evaluate("zero-shot", "knn", embeddings=stored, model="plus", out=tmp_path, quiet=True)
    monkeypatch.undo()
    found = evaluate("zero-shot", "knn", embeddings=stored, model="plus", out=tmp_path, quiet=True)
    assert found.reused == 1 and len(found.entries) == 2


def test_selection_by_the_test_is_labelled(stored: Path, tmp_path: Path) -> None:
    evaluate("linear-probe", embeddings=stored, model="plus", out=tmp_path, select="test", quiet=True)
    text = (tmp_path / "results.md").read_text()
    assert "* warning: settings selected on the test images" in text and "* selected_on: test" in text
    assert "* select: test" in text


def test_a_table_on_the_terminal(stored: Path, tmp_path: Path, command: Command) -> None:
    argv = ["zero-shot", "--embeddings", stored, "-o", tmp_path, "--model", "plus"]
    done = command("evaluate", "scenes", *argv)
    assert done.code == 0 and "top-1" in done.out and "plus" in done.out
    again = command("evaluate", "scenes", *argv, "--quiet")
    assert (again.code, again.out, again.err) == (0, "", ""), "it is in the files"


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["zero-shoot", "--data", "ROOT"], ["'zero-shoot' is none", "Did you mean 'zero-shot'?"]),
        (["--data", "ROOT"], ["Name a task", "retrieval"]),
        (["knn", "segmentation", "--data", "ROOT"], ["segmentation is measured apart from knn"]),
        (["knn"], ["either --data ROOT (images) or --embeddings"]),
        (["knn", "--data", "ROOT", "--embeddings", "ROOT"], ["one of them"]),
        (["knn", "--data", "ROOT/nowhere"], ["nowhere is not a folder", "(--data)"]),
        (["knn", "--data", "ROOT/notes"], ["holds no data set"]),
        (["knn", "picturs", "--data", "ROOT"], ["no task, and no data set", "Did you mean 'pictures'?"]),
        (["zero-shot", "retreival", "captions", "--data", "ROOT"], ["Did you mean 'retrieval'?"]),
        (["knn", "--embeddings", "ROOT/nowhere"], ["no embeddings at"]),
        (["knn", "retreival", "--embeddings", "ROOT"], ["Did you mean 'retrieval'?"]),
        (["knn", "--data", "ROOT", "--neighbours", "0"], ["at least 1"]),
        (["knn", "--data", "ROOT", "--split", "tset"], ["tset"]),
        (["knn", "pictures", "--data", "ROOT", "--model", "MICRO", "--split", "validation"], ["no validation split"]),
        (["retrieval", "pictures", "--data", "ROOT", "--model", "MICRO"], ["no sentences"]),
        (["knn", "pictures", "--data", "ROOT", "--model", "tinny"], ["Did you mean 'tiny'?"]),
        (["zero-shot", "pictures", "--data", "ROOT", "--templates", "aeriel", "--model", "MICRO"], ["'aerial'"]),
        (["knn", "pictures", "--data", "ROOT", "--names", "ROOT/captions/made.json"], ["must be a JSON object"]),
        (["knn", "pictures", "--data", "ROOT", "--names", "ROOT/none.json"], ["Cannot read the class names"]),
    ],
    ids=lambda value: " ".join(value),
)  # fmt: skip
def test_refusals(
    argv: list[str], fragments: list[str], root: Path, micro: Path, tmp_path: Path, command: Command
) -> None:
    words = [word.replace("ROOT", str(root)).replace("MICRO", str(micro)) for word in argv]
    done = command("evaluate", "scenes", *words, "--out", tmp_path / "out", "--quiet")
    done.failed(1 if "Cannot read" in fragments[0] else 2, *fragments)
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize("argv", [["zero-shot", "knn", "aid", "--data", "sets"], ["--data", "sets", "knn"]])
def test_the_kind_is_asked_for(command: Command, argv: list[str]) -> None:
    kinds = "scenes, segmentation, referring"
    command("evaluate", *argv, "--out", "x").failed(2, kinds, "earthwords evaluate scenes " + " ".join(argv))


def test_an_option_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="evaluate_scenes has no option 'compare'"):
        evaluate("knn", out=tmp_path, compare="bias")
    with pytest.raises(UsageError, match="evaluate_referring has no option 'thresold'"):
        evaluate("referring", "list.jsonl", out=tmp_path, thresold=0.5)
    with pytest.raises(UsageError, match="evaluate_count has no option 'preset'"):
        evaluate("count", "found", "truth", preset="tiny")


def test_whatever_is_measured_is_measured_by_its_own_function(tmp_path: Path) -> None:
    """The first word that names one decides; a second one that is no file is something else, asked for by mistake."""
    boxes = {"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"class": "ship"},
         "geometry": {"type": "Polygon", "coordinates": [[[x, 0], [x + 1, 0], [x + 1, 1], [x, 0]]]}}
        for x in (0, 2, 4)
    ]}  # fmt: skip
    for name, most in (("count", 2), ("truth.geojson", 3)):
        (tmp_path / name).with_suffix(".geojson").write_text(
            json.dumps({**boxes, "features": boxes["features"][:most]})
        )
    figures = tmp_path / "figures.json"
    found = evaluate("count", tmp_path / "count.geojson", tmp_path / "truth.geojson", out=figures, quiet=True)
    assert [(one.name, one.counts.mae) for one in found.classes] == [("ship", 1.0)]
    assert found == evaluate_count(tmp_path / "count.geojson", tmp_path / "truth.geojson") and figures.exists()
    for what, said in (
        (["change"], "Name the folders of pairs"),
        (["scenes", "knn"], "Give either --data ROOT"),
        (["change", "knn"], "change is measured apart from knn"),
        (["segmentation", "loveda", "count"], "segmentation is measured apart from count"),
        (["referring", "change"], "referring is measured apart from change"),
    ):
        with pytest.raises(UsageError, match=said):
            evaluate(*what, out=tmp_path)


def test_nodata_takes_the_colour_that_nothing_has(root: Path, micro: Path, tmp_path: Path) -> None:
    """Pixels of one value are left out, so another value there changes nothing."""
    found = []
    for value in (0, 200):
        folder = tmp_path / f"white{value}"
        for name in ("road", "roof"):
            (folder / name).mkdir(parents=True)
            image = np.full((40, 60, 3), 90 if name == "road" else 30, np.uint8)
            image[:, 30:] = value
            Image.fromarray(image).save(folder / name / "a.png")
        run = {"data": folder, "model": str(micro), "image_size": 32, "quiet": True, "split": "all"}
        measured = evaluate("zero-shot", out=tmp_path / f"out{value}", nodata=value, **run)  # type: ignore[arg-type]
        assert measured.entries[0].settings["nodata"] == str(value)
        found.append(measured.entries[0].figures["confusion"])
    assert found[0] == found[1]


def test_a_model_that_is_not_among_the_embeddings(stored: Path, tmp_path: Path, command: Command) -> None:
    command("evaluate", "scenes", "knn", "--embeddings", stored, "--model", "pls", "--out", tmp_path).failed(
        2, "There is no 'pls'", "Did you mean 'plus'?"
    )


def test_a_folder_with_a_foreign_file(stored: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "results.json").write_text("{}")
    command("evaluate", "scenes", "knn", "--embeddings", stored, "--out", tmp_path).failed(
        2, "would be lost; move it away or choose another folder"
    )
    assert (tmp_path / "results.json").read_text() == "{}"


def test_only_the_images_of_a_task_are_encoded(
    root: Path, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from earthwords.evaluation import embed_sets

    seen: list[int] = []
    real = embed_sets.embed_images
    monkeypatch.setattr(
        embed_sets, "embed_images", lambda b, paths, *a, **k: seen.append(len(paths)) or real(b, paths, *a, **k)
    )
    tests = sum(record["split"] == "test" for record in records())
    run = {"data": root, "model": str(micro), "image_size": 32, "quiet": True}
    evaluate("zero-shot", "transductive", "captions", out=tmp_path, **run)  # type: ignore[arg-type]
    assert seen == [tests]
    evaluate("zero-shot", "captions", out=tmp_path / "2", split="train", **run)  # type: ignore[arg-type]
    assert seen == [tests, 14]
