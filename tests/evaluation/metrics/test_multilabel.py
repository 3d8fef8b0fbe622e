"""Several labels an image: figures by scikit-learn, tables on disk, the whole verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from earthwords.data.classification.sets import read_scene_set, read_tags
from earthwords.errors import SourceError, UsageError
from earthwords.evaluation.embeddings import StoredEmbeddings
from earthwords.evaluation.metrics.multilabel import rank
from earthwords.evaluation.metrics.zeroshot import ensemble, unit
from earthwords.evaluation.suite import TASKS, SuiteOptions
from tests.conftest import Command
from tests.scenes import CLASSES, write_folders


@pytest.mark.parametrize("ties", [False, True])
def test_figures_are_scikit_learns(ties: bool) -> None:
    rng = np.random.default_rng(4)
    scores, truth = rng.normal(size=(57, 5)).astype(np.float32), rng.random((57, 5)) < [0.1, 0.5, 0.9, 0, 0.3]
    scores = np.round(scores, 0) if ties else scores
    found = rank(scores, truth)
    for label in (0, 1, 2, 4):
        expected = 100 * average_precision_score(truth[:, label], scores[:, label])
        assert found.precision[label] == pytest.approx(expected, abs=1e-10)
    told = found.as_json()
    assert told["per_class"][3] is None and told["mAP"] == pytest.approx(np.nanmean(found.precision))
    assert told["guessed_mAP"] == pytest.approx(100 * truth[:, [0, 1, 2, 4]].mean())
    assert rank(truth.astype(float), truth).as_json()["mAP"] == 100
    with pytest.raises(UsageError, match="None of these images has a label"):
        rank(scores, np.zeros_like(truth))


def test_stored_vectors() -> None:
    rng = np.random.default_rng(1)
    images, texts, tags = rng.normal(size=(30, 8)), rng.normal(size=(2, 3, 8)), rng.random((30, 3)) < 0.4
    test = np.arange(3, 30, 2)
    arrays = {"images": images, "tags": tags, "tag_texts": texts, "test": test}
    source = StoredEmbeddings(name="made", model="m", arrays=arrays, classes=(), fingerprint="f")
    row = TASKS["multi-label"]
    found = row.run(source, SuiteOptions(ensemble="normalised"))
    scores = unit(images[test]) @ ensemble(texts, "normalised").T
    expected = [100 * average_precision_score(tags[test, k], scores[:, k]) for k in range(3)]
    assert found["per_class"] == pytest.approx(expected) and found["images"] == "test split, 14"
    assert row.classes(source) == ("0", "1", "2")
    with pytest.raises(UsageError, match="does not tell several labels"):
        row.run(
            StoredEmbeddings(name="made", model="m", arrays={"images": images}, classes=(), fingerprint="f"),
            SuiteOptions(),
        )


NAMES = [f"{name}_{number}" for name, count in CLASSES.items() for number in range(1, count + 1)]
TAGS = np.random.default_rng(2).integers(0, 2, (len(NAMES), 3))


def write_table(path: Path, *, cells: np.ndarray = TAGS, drop: int = 0) -> None:
    lines = ["IMAGE\\LABEL\tbare-soil\tmobile_home\ttrees\t"]
    lines += ["\t".join([name, *map(str, row)]) for name, row in zip(NAMES, cells, strict=True)][drop:]
    path.write_bytes("\r\n".join([*lines, "", ""]).encode())


def test_a_table_beside_the_images(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "made")
    write_table(folder / "LandUse_Multilabeled.txt")
    scenes = read_scene_set(folder)
    tags, names = read_tags(scenes)
    assert names == ("bare soil", "mobile home", "trees") and tags is not None
    for path, row in zip(scenes.paths, tags, strict=True):
        assert row.tolist() == TAGS[NAMES.index(path.stem)].astype(bool).tolist()
    write_table(folder / "LandUse_Multilabeled.txt", drop=1)
    with pytest.raises(SourceError, match="does not tell the 3 labels of its head for the image BareLand_1"):
        read_tags(read_scene_set(folder))
    write_table(folder / "LandUse_Multilabeled.txt", cells=TAGS * 2)
    with pytest.raises(SourceError, match="'2' is neither 0 nor 1"):
        read_tags(read_scene_set(folder))


def test_the_verb(micro: Path, tmp_path: Path, command: Command) -> None:
    folder = write_folders(tmp_path / "made")
    argv = [
        "evaluate",
        "scenes",
        "multi-label",
        "--data",
        folder,
        "--out",
        tmp_path / "out",
        "--model",
        micro,
        "--image-size",
        32,
    ]
    command(*argv, "--quiet").failed(2, "does not tell several labels")
    write_table(folder / "multi-labels.tsv")
    done = command(*argv, "--quiet", "--json")
    assert done.code == 0, done.err
    (entry,) = json.loads(done.out)["results"]
    assert entry["classes"] == ["bare soil", "mobile home", "trees"] and len(entry["figures"]["per_class"]) == 3
    assert entry["figures"]["mAP"] == pytest.approx(np.mean(entry["figures"]["per_class"]))
    assert "average precision" in (tmp_path / "out" / "results.md").read_text()
    assert "Average precision of each label" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads(command(*argv, "--quiet", "--json").out)["reused"] == 1
    write_table(folder / "multi-labels.tsv", cells=1 - TAGS)
    other = json.loads(command(*argv, "--quiet", "--json").out)
    assert other["reused"] == 0 and other["results"][0]["figures"] != entry["figures"]
    (folder / "multi-labels.tsv").write_text("some notes\n")
    command(*argv, "--quiet").failed(1, "multi-labels.tsv does not tell")
    zero = [word if word != "multi-label" else "zero-shot" for word in argv]
    assert command(*zero, "--quiet").code == 0, "other tasks do not read the table"
