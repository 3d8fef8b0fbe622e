"""Which images a task learns from, chooses with and measures; and its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from earthwords.errors import UsageError
from earthwords.evaluation.embeddings import StoredEmbeddings
from earthwords.evaluation.metrics import fewshot
from earthwords.evaluation.outcome import METHODS, TRAINED
from earthwords.evaluation.report.write import markdown, plots, write_plots, write_results
from earthwords.evaluation.results import ResultEntry, read_results
from earthwords.evaluation.suite import TASKS, SuiteOptions, benchmark_cuts, measured, thirds
from earthwords.evaluation.tuned import TUNED
from earthwords.models.fewshot import HEADS
from earthwords.models.fewshot.linear_head import shot_set
from tests.evaluation.clouds import cloud

MADE = cloud((61, 19, 44, 28))
TEST, VALIDATION = np.arange(0, 152, 4), np.arange(1, 152, 4)


def source(**arrays: Any) -> StoredEmbeddings:
    base = {"images": MADE.images, "labels": MADE.labels, "texts": MADE.texts}
    names = ("airport", "bare | land", "football field", "x" * 60)
    return StoredEmbeddings(name="made", model="m/1", arrays=base | arrays, classes=names, fingerprint="f")


def test_what_is_measured() -> None:
    told = source(test=TEST, validation=VALIDATION)
    assert measured(told, SuiteOptions())[0].tolist() == TEST.tolist()
    assert measured(told, SuiteOptions(split="validation"))[1] == "validation split, 38"
    assert len(measured(told, SuiteOptions(split="all"))[0]) == len(measured(source(), SuiteOptions())[0]) == 152
    with pytest.raises(UsageError, match="no split 'train' \\(there is: validation, test\\)"):
        measured(told, SuiteOptions(split="train"))


@pytest.mark.parametrize(
    "arrays", [{}, {"test": TEST}, {"test": TEST, "validation": VALIDATION}, {"train": VALIDATION}]
)
@pytest.mark.parametrize("select", ["validation", "test"])
def test_nothing_is_learned_from_or_chosen_with_that_is_measured(arrays: dict[str, Any], select: str) -> None:
    *index, _ = benchmark_cuts(source(), SuiteOptions())
    assert sorted(np.concatenate(index)) == list(range(152))
    sizes = [np.bincount(MADE.labels[part], minlength=4).tolist() for part in index]
    assert sizes == [[31, 10, 22, 14], [16, 5, 11, 7], [14, 4, 11, 7]], "ceil(n / 2), ceil(n / 4), the rest"
    assert index[0].tolist() != np.sort(np.concatenate([np.flatnonzero(MADE.labels == k)[:n] for k, n in
                                                        enumerate(sizes[0])])).tolist(), "shuffled"  # fmt: skip
    told = benchmark_cuts(source(test=TEST, validation=VALIDATION), SuiteOptions())
    assert told[3].startswith("test split, 38")


@pytest.mark.parametrize("method", sorted(HEADS))
def test_few_shot_heads(method: str) -> None:
    """Figures are those of heads fitted by hand on the same draws; all that chose something is told."""
    made = source(test=TEST, validation=VALIDATION)
    options = SuiteOptions(method=method, shots=(5,), seed=1, seeds=2)
    found = TASKS["few-shot"].run(made, options)
    train, validation, test, _ = thirds(made, SuiteOptions())
    texts = MADE.texts / np.linalg.norm(MADE.texts, axis=2, keepdims=True)
    words = texts.mean(axis=0) / np.linalg.norm(texts.mean(axis=0), axis=1, keepdims=True)
    start = MADE.texts.mean(axis=0) if method == "taskres" else words
    for row, shots in zip(found["shots"], (5,), strict=True):
        expected = []
        for seed in (1, 2):
            some = train.part(fewshot.draw(train.labels, shots, seed))
            judge = validation.part(fewshot.draw(validation.labels, min(shots, 4), seed))
            pairs = [(torch.from_numpy(k.vectors), torch.from_numpy(k.labels)) for k in (some, judge, test)]
            head = HEADS[method](shot_set(*pairs[0], torch.from_numpy(start)), validation=pairs[1], seed=seed)
            expected.append(100 * float((head.logits(pairs[2][0]).argmax(dim=1) == pairs[2][1]).float().mean()))
        assert row["accuracies"] == pytest.approx(expected)
    assert found["zero_shot_top1"] == pytest.approx(100 * float(
        ((test.vectors @ words.T).argmax(axis=1) == test.labels).mean()))  # fmt: skip
    assert found["selected_on"] == "validation" and "warning" not in found and found["chosen"]
    assert found["5-shot"] == pytest.approx(np.mean(found["shots"][0]["accuracies"]))


def test_selection_on_the_test_is_the_authors_alone_and_is_told() -> None:
    options = SuiteOptions(method="tip-f", shots=(2,), seed=1, seeds=2)
    honest = TASKS["few-shot"].run(source(), options)
    found = TASKS["few-shot"].run(source(), replace(options, select="test"))
    assert all(a >= b for a, b in zip(found["shots"][0]["accuracies"], honest["shots"][0]["accuracies"], strict=True))
    assert found["selected_on"].startswith("test") and "optimistic" in found["warning"]
    with pytest.raises(UsageError, match=r"authors of lp\+\+ choose on no test images"):
        TASKS["few-shot"].run(source(), replace(options, select="test", method="lp++"))


def test_a_class_that_cannot_be_learned_is_told() -> None:
    alone = np.flatnonzero(MADE.labels == 3)
    made = source(train=np.setdiff1d(np.arange(152), np.concatenate([TEST, alone])), test=TEST)
    with pytest.raises(UsageError, match="1 of 4 classes have no image to learn from"):
        TASKS["few-shot"].run(made, SuiteOptions(method="lp++"))


def test_the_methods_are_those_of_the_table() -> None:
    assert set(METHODS) == {*HEADS, *TUNED} == set(fewshot.CHOSEN) and set(TRAINED) == set(TUNED)
    for name in TUNED:
        with pytest.raises(UsageError, match=f"{name} trains the model itself, and .* holds vectors alone"):
            TASKS["few-shot"].run(source(), SuiteOptions(method=name))


def test_retrieval_leaves_out_what_has_no_sentence() -> None:
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.concatenate([np.arange(40), np.arange(20), np.arange(7)]))
    texts = MADE.images[owner] + 0.4 * rng.standard_normal((67, 12))
    found = TASKS["retrieval"].run(source(captions=texts, image_of_caption=owner), SuiteOptions())
    assert found["images"] == "all 152; 40 with 67 sentences"
    assert found["curve"]["i2t"] == sorted(found["curve"]["i2t"]) and found["curve"]["ranks"][0] == 1
    assert found["i2t_r5"] == found["curve"]["i2t"][3] < 100 and found["curve"]["t2i"][-1] == pytest.approx(100)
    with pytest.raises(UsageError, match="no sentences for these images"):
        TASKS["retrieval"].run(source(captions=texts, image_of_caption=owner, test=np.array([99])), SuiteOptions())


def test_a_set_without_labels_or_counts() -> None:
    bare = source()
    del bare.arrays["labels"]
    for task in ("zero-shot", "knn", "linear-probe"):
        with pytest.raises(UsageError, match="no classes"):
            TASKS[task].run(bare, SuiteOptions())
    with pytest.raises(UsageError, match="no counts"):
        TASKS["counting"].run(bare, SuiteOptions())


def entries() -> list[ResultEntry]:
    rng = np.random.default_rng(0)
    full = source(
        captions=MADE.images, image_of_caption=np.arange(152), numbers=rng.standard_normal((152, 10, 12)),
        counts=rng.integers(0, 11, 152), tags=rng.random((152, 3)) < 0.5, tag_texts=rng.standard_normal((2, 3, 12)),
    )  # fmt: skip
    options = SuiteOptions(shots=(1, 2), seeds=2, select="test")
    return [
        ResultEntry(task=name, dataset="made", model="m/1", settings={"seed": 0}, classes=task.classes(full),
              figures=task.run(full, options), seconds=0.1)
        for name, task in TASKS.items()
    ]  # fmt: skip


def test_every_task_is_reported_drawn_and_read_again(tmp_path: Path) -> None:
    done = entries()
    write_results(tmp_path, done, version="1")
    assert [(e.key, e.headline()) for e in read_results(tmp_path)] == [(e.key, e.headline()) for e in done]
    text = (tmp_path / "results.md").read_text()
    assert text == markdown(done) == markdown(read_results(tmp_path))
    assert "bare \\| land" in text and "optimistic" in text and "mean recall" in text
    rows = [line for line in text.splitlines() if line.startswith("| made")]
    assert len(rows) == len(TASKS) and all(row.replace("\\|", "").count("|") == 6 for row in rows)
    for entry in done:
        for path in write_plots(tmp_path, entry):
            with Image.open(path) as image:
                assert image.width >= 380 and len(image.getcolors(10**6) or []) > 10
    drawn = {path.name.split(".")[2] for path in tmp_path.glob("*.png")}
    assert drawn == set(TASKS) - {"multi-label"} and len(list(tmp_path.glob("*.png"))) == len(drawn)
    assert not list(tmp_path.glob(".*"))


def test_plots_of_many_classes_and_one() -> None:
    entry = entries()[0]
    for count in (1, 80):
        figures = {"confusion": np.eye(count, dtype=int).tolist()}
        ((suffix, image),) = plots(replace(entry, figures=figures, classes=("name",) * count))
        assert suffix == "confusion" and image.width < 1400


@pytest.mark.parametrize("text", ["{", "[]", '{"results": [{"task": "knn"}]}', '{"results": 3}'])
def test_a_file_that_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UsageError, match="choose another --out"):
        read_results(tmp_path)
