"""Examples beside words: whether they help, how sure one may be, and images that are examples themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthwords.data.classification.shots import read_shots
from earthwords.errors import UsageError
from earthwords.evaluation.metrics.zeroshot import unit
from earthwords.evaluation.shots import (
    KnownImages,
    classify_with_shots,
    left_out,
    parts,
    temperature,
    transduce_with_shots,
)
from earthwords.models.fewshot import HEADS
from earthwords.text.vocabulary import parse_classes

CENTRES = unit(np.random.default_rng(1).standard_normal((4, 24)) + 1)
TITLES = ("harbour", "forest", "car park", "quarry")


def images(counts: tuple[int, ...], seed: int, spread: float = 0.07) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(4), counts))
    return unit(CENTRES[labels] + spread * rng.standard_normal((len(labels), 24))), labels


def examples(
    counts: tuple[int, ...] = (6, 3, 9, 1), *, words: np.ndarray = CENTRES, worded: int = 4, method: str = "lp++",
    spread: float = 0.07, scale: float = 60.0,
) -> KnownImages:  # fmt: skip
    vectors, labels = images(counts, seed=2, spread=spread)
    bank = np.where(np.arange(4)[:, None] < worded, words, 0).astype(np.float32)

    def cosines(found: np.ndarray) -> np.ndarray:
        return np.where(np.arange(4) < worded, found @ bank.T, -np.inf)

    return KnownImages(
        vectors=vectors, labels=labels, titles=TITLES, words=bank, worded=worded, cosines=cosines, scale=scale,
        method=method, folder="shots", sources=tuple(f"shots/{i}.png" for i in range(len(labels))),
    )  # fmt: skip


QUERIES, TRUE = images((20, 31, 12, 17), seed=5)


def right(scores: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == TRUE).mean())


@pytest.mark.parametrize("method", sorted(HEADS.keys() - {"lp++"}))
def test_examples_are_used_where_words_are_wrong(method: str) -> None:
    nearly = unit(CENTRES + 1.03 * CENTRES[[1, 0, 3, 2]])
    known = examples(words=nearly, method=method)
    scores, report = classify_with_shots(QUERIES, known)
    assert report.helps and report.words_accuracy < 40 < 80 < report.shots_accuracy
    assert right(scores) > 0.8 and np.allclose(scores.sum(axis=1), 1)
    assert report.examples == {"harbour": 6, "forest": 3, "car park": 9, "quarry": 1}
    assert (report.parts, report.left_out) == (9, 18), "of the quarry none can be left out"
    told = " ".join(report.lines())
    assert "Of 18 examples, left out in turn in 9 parts, words alone" in told and f"are used ({method})" in told
    assert "Of quarry there is one example each, which was never left out" in told


def test_words_are_kept_where_examples_do_not_help() -> None:
    known = examples((3, 3, 3, 3), spread=0.25, method="prototypes")
    scores, report = classify_with_shots(QUERIES, known)
    by_words = (known.vectors @ CENTRES.T).argmax(axis=1) == known.labels
    assert report.left_out == 12 and report.words_accuracy == pytest.approx(100 * by_words.mean())
    assert report.shots_accuracy < report.words_accuracy
    assert not report.helps and "do not help and are not used" in report.lines()[0]
    np.testing.assert_array_equal(scores, known.by_words(QUERIES))
    _, report = classify_with_shots(QUERIES, examples((5, 5, 5, 5), spread=0.01))
    assert report.words_accuracy == report.shots_accuracy == 100 and not report.helps, "of equals the words"


def test_a_class_without_a_word_needs_examples() -> None:
    known = examples((5, 6, 7, 8), worded=2, method="prototypes")
    scores, report = classify_with_shots(QUERIES, known)
    assert report.helps and report.without == ("car park", "quarry")
    assert right(scores) > 0.9 and "Known by examples alone, without a word: car park, quarry." in report.lines()
    assert report.words_accuracy < 60, "words never say car park or quarry"
    assert set(known.by_words(QUERIES).argmax(axis=1)) == {0, 1}


def test_where_nothing_can_be_left_out_that_is_said() -> None:
    scores, report = classify_with_shots(QUERIES, examples((1, 1, 1, 1)))
    assert report.helps and report.shots_accuracy is None and report.parts == 0
    assert report.lines() == (
        "No class has two examples, so none can be left out to see whether they help; they are used, and the scores "
        "are surer than they should be.",
    )
    assert right(scores) > 0.8


def test_every_example_is_left_out_once_and_never_known_then() -> None:
    known = examples((6, 3, 21, 1))
    seen = []
    for rows, others in left_out(known, 10, lambda others, rows: others):
        assert not set(rows) & set(others) and len(rows) + len(others) == 31
        assert set(known.labels[others]) == {0, 1, 2, 3}, "something of every class is left"
        seen += rows.tolist()
    lone = int(np.flatnonzero(known.labels == 3)[0])
    assert sorted(seen) == sorted(set(range(31)) - {lone})
    assert [len(rows) for rows in parts(known.labels, 10)] == [5, 4, 4, 3, 3, 3, 2, 2, 2, 2]


def test_sureness_is_that_of_examples_left_out() -> None:
    """Logits three times too large are divided by three; ones that are too small stay."""
    rng = np.random.default_rng(3)
    logits = 2 * rng.standard_normal((4000, 3))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in chance])
    assert temperature([(labels[:2000], 3 * logits[:2000]), (labels[2000:], 3 * logits[2000:])]) == pytest.approx(
        3, 0.08
    )
    assert temperature([(labels, 0.2 * logits)]) == pytest.approx(1, abs=0.01)
    assert temperature([]) == 1


def test_all_images_together_with_examples() -> None:
    known = examples((6, 6, 6, 6), words=CENTRES[[1, 0, 2, 3]], scale=2.0)
    scores, report = transduce_with_shots(QUERIES, known)
    assert scores.shape == (80, 4) and report.helps and right(scores) > 0.8
    assert report.method.startswith("RS-TransCLIP, gamma 0.") and report.parts == 4
    assert "all images together by words" in report.lines()[0]
    new, report = transduce_with_shots(QUERIES, examples((5, 6, 7, 8), worded=3, method="prototypes"))
    assert report.helps and report.words_accuracy is None and right(new) > 0.9
    kept, report = transduce_with_shots(QUERIES, examples((4, 4, 4, 4)))
    assert right(kept) > 0.9 and report.helps == (report.shots_accuracy > report.words_accuracy)


def test_images_that_are_examples_are_told(tmp_path: Path) -> None:
    known = examples()
    (tmp_path / "shots").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "shots")
    here = KnownImages(**{**vars(known), "sources": tuple(str(tmp_path / s) for s in known.sources)})
    assert known.leaks(QUERIES, ["a"] * 80) == ()
    by_vector = np.concatenate([QUERIES[:3], known.vectors[4:6]])
    (told,) = known.leaks(by_vector, ["a", "b", "c", "copy1", "copy2"])
    assert told.startswith("2 of the 5 images to classify are among the examples")
    (told,) = here.leaks(QUERIES[:2], [str(tmp_path / "link" / "3.png"), "b"])
    assert told.startswith("1 of the 2 images to classify is among the examples")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("BareLand", 2), ("dense_forest", 3), ("old-quarry", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (8, 6), (9 * i, 40, 90)).save(tmp_path / name / f"{i}.png")
        (tmp_path / name / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_a_folder_of_examples(folder: Path) -> None:
    found = read_shots(folder, None)
    assert found.titles == ("bare land", "dense forest", "old quarry") and found.worded == 3
    assert [path.parent.name for path in found.paths] == ["BareLand"] * 2 + ["dense_forest"] * 3 + ["old-quarry"]
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 2]
    named = read_shots(folder, parse_classes(["forest,Dense Forest", "bare land"]))
    assert named.titles == ("forest", "bare land", "old quarry") and named.worded == 2
    assert named.labels.tolist() == [1, 1, 0, 0, 0, 2] and named.counts["forest"] == 3


def test_chinese_names_are_those_they_are_read_as(folder: Path) -> None:
    (folder / "dense_forest").rename(folder / "森林")
    named = read_shots(folder, parse_classes(["forest", "裸地,bare land"]))
    assert named.titles == ("forest", "裸地", "old quarry") and named.counts["forest"] == 3
    assert read_shots(folder, None).vocabulary.queries[-1] == "forest"
    (folder / "old-quarry").rename(folder / "某种奇怪的东西")
    kept = read_shots(folder, parse_classes(["forest", "bare land"]))
    assert kept.titles[2] == "某种奇怪的东西" and kept.worded == 2
    with pytest.raises(UsageError, match="not in the glossary"):
        read_shots(folder, None)


def test_folders_that_teach_nothing(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UsageError, match=r"no examples of 'quarry': add a sub-folder .*old-quarry"):
        read_shots(folder, parse_classes(["quarry", "bare land"]))
    with pytest.raises(UsageError, match="BareLand and dense_forest are both examples of 'land'"):
        read_shots(folder, parse_classes(["land,bare land,dense forest", "old quarry"]))
    (folder / "swamp").mkdir()
    with pytest.raises(UsageError, match=r"no image in .*swamp: put examples"):
        read_shots(folder, None)
    other = tmp_path_factory.mktemp("bare")
    with pytest.raises(UsageError, match="holds no examples"):
        read_shots(other, None)
    (other / "swamp").mkdir()
    Image.new("RGB", (5, 5)).save(other / "swamp" / "a.png")
    with pytest.raises(UsageError, match="one class alone: swamp"):
        read_shots(other, None)
    with pytest.raises(UsageError, match="is not a folder"):
        read_shots(other / "nowhere", None)
