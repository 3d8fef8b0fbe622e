"""Words to vectors, remembered on disk."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.activations import ACT2FN

from earthwords.files.atomic import locked
from earthwords.inference.windows.text_bank import build_text_bank
from earthwords.models.clip.model import ClipBackbone
from earthwords.text.templates import TEMPLATES
from earthwords.text.vocabulary import parse_classes
from tests.micro import micro_clip

AERIAL, PHOTO = TEMPLATES["aerial"], TEMPLATES["photo"]
WORDS = parse_classes(["building,roof", "road", "bare land"])


class Counting:
    """A backbone that remembers which sentences were encoded."""

    def __init__(self, backbone: ClipBackbone) -> None:
        self.backbone = backbone
        self.asked: list[str] = []

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return self.backbone.encode_text(texts)

    def __getattr__(self, name: str) -> object:
        return getattr(self.backbone, name)


@pytest.fixture(scope="module")
def backbone() -> ClipBackbone:
    return micro_clip(seed=7)


@pytest.fixture
def counting(backbone: ClipBackbone) -> Counting:
    return Counting(backbone)


def expected(backbone: ClipBackbone, word: str, templates: Sequence[str]) -> np.ndarray:
    """The mean of normalised sentences, normalised, one sentence at a time."""
    with torch.inference_mode():
        rows = [backbone.encode_text([t.replace("{}", word)])[0].double().numpy() for t in templates]
    mean = np.mean([row / np.linalg.norm(row) for row in rows], axis=0)
    return mean / np.linalg.norm(mean)


def test_a_word_is_the_mean_of_its_sentences(backbone: ClipBackbone, tmp_path: Path) -> None:
    bank = build_text_bank(backbone, WORDS, AERIAL, cache=tmp_path)
    assert bank.vectors.shape == (4, backbone.dim) and bank.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(bank.vectors, axis=1), 1, rtol=1e-6)
    for vector, word in zip(bank.vectors, WORDS.queries, strict=True):
        np.testing.assert_allclose(vector, expected(backbone, word, AERIAL), atol=1e-6)
    assert bank.query_class.tolist() == [0, 0, 1, 2]
    assert bank.vocabulary is WORDS
    assert bank.weights_id == "micro"


def test_the_second_time_nothing_is_encoded(counting: Counting, tmp_path: Path) -> None:
    first = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    assert len(counting.asked) == 4 * len(AERIAL)
    counting.asked.clear()
    again = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    assert counting.asked == []
    np.testing.assert_array_equal(again.vectors, first.vectors)


def test_one_more_word_encodes_that_word_only(counting: Counting, tmp_path: Path) -> None:
    first = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    counting.asked.clear()
    more = build_text_bank(counting, parse_classes(["road", "water", "roof,building"]), AERIAL, cache=tmp_path)
    assert counting.asked == [t.replace("{}", "water") for t in AERIAL]
    np.testing.assert_array_equal(more.vectors[[3, 2, 0]], first.vectors[:3])
    np.testing.assert_allclose(more.vectors[1], expected(counting.backbone, "water", AERIAL), atol=1e-6)


def test_other_templates_give_other_vectors(counting: Counting, tmp_path: Path) -> None:
    aerial = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    photo = build_text_bank(counting, WORDS, PHOTO, cache=tmp_path)
    assert len(counting.asked) == 4 * (len(AERIAL) + len(PHOTO))
    assert (np.abs(aerial.vectors - photo.vectors).max(axis=1) > 1e-3).all()
    np.testing.assert_allclose(photo.vectors[2], expected(counting.backbone, "road", PHOTO), atol=1e-6)


def test_other_weights_give_other_vectors(counting: Counting, tmp_path: Path) -> None:
    build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    other = Counting(micro_clip(seed=8))
    bank = build_text_bank(other, WORDS, AERIAL, cache=tmp_path)
    assert len(other.asked) == 4 * len(AERIAL)
    np.testing.assert_allclose(bank.vectors[3], expected(other.backbone, "bare land", AERIAL), atol=1e-6)


def test_the_same_weights_with_another_activation_give_other_vectors(tmp_path: Path) -> None:
    build_text_bank(micro_clip(seed=7), WORDS, AERIAL, cache=tmp_path)
    other = micro_clip(seed=7)
    other.model.config.text_config.hidden_act = "quick_gelu"
    for layer in other.model.text_model.encoder.layers:
        layer.mlp.activation_fn = ACT2FN["quick_gelu"]
    bank = build_text_bank(other, WORDS, AERIAL, cache=tmp_path)
    np.testing.assert_allclose(bank.vectors[2], expected(other, "road", AERIAL), atol=1e-6)


@pytest.mark.parametrize("damage", ["text", "empty", "short", "zip", "zeros"])
def test_a_damaged_file_is_computed_again(counting: Counting, tmp_path: Path, damage: str) -> None:
    first = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    [victim] = [p for p in tmp_path.rglob("*.npy") if np.array_equal(np.load(p), first.vectors[2])]
    if damage == "zip":
        with victim.open("wb") as file:
            np.savez(file, first.vectors[2])
    elif damage == "zeros":
        np.save(victim, np.zeros_like(first.vectors[2]))
    else:
        victim.write_bytes({"text": b"what is this", "empty": b"", "short": victim.read_bytes()[:-5]}[damage])
    counting.asked.clear()
    again = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    assert counting.asked == [t.replace("{}", "road") for t in AERIAL]
    np.testing.assert_allclose(again.vectors, first.vectors, atol=1e-6)
    np.testing.assert_allclose(np.load(victim), first.vectors[2], atol=1e-6)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(counting: Counting, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    good = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path / "good")
    bank = build_text_bank(counting, WORDS, AERIAL, cache=blocked / "text")
    np.testing.assert_array_equal(bank.vectors, good.vectors)
    assert blocked.read_text() == "not a folder"


def test_a_file_that_cannot_be_replaced_leaves_no_scratch(counting: Counting, tmp_path: Path) -> None:
    first = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    [victim] = [p for p in tmp_path.rglob("*.npy") if np.array_equal(np.load(p), first.vectors[2])]
    victim.unlink()
    (victim / "folder").mkdir(parents=True)
    again = build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    np.testing.assert_allclose(again.vectors, first.vectors, atol=1e-6)
    assert not list(tmp_path.rglob("*.part"))


def test_the_cache_holds_no_scratch_files(counting: Counting, tmp_path: Path) -> None:
    build_text_bank(counting, WORDS, AERIAL, cache=tmp_path)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 4 and {p.suffix for p in files} == {".npy"}


def test_the_environment_names_the_cache(backbone: ClipBackbone, cache: Path) -> None:
    word = "a word nobody else asks for"
    before = set((cache / "text").rglob("*.npy"))
    build_text_bank(backbone, parse_classes([word]), AERIAL)
    assert len(set((cache / "text").rglob("*.npy")) - before) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_what_killed_processes_left_in_the_cache_goes(backbone: ClipBackbone, tmp_path: Path) -> None:
    """With the next word that is remembered, whichever it is; what lives stays, as do files that are just written."""
    build_text_bank(backbone, WORDS, AERIAL, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    whole = {path.name for path in folder.iterdir()}
    dead, living = folder / ".a.npy.abcdefg1.part", folder / ".b.npy.abcdefg2.part"
    for path in (dead, living):
        path.mkdir()
        (path / "half").write_bytes(b"half")
    for name, age in (("tmpabcdefg3.part", 7200), ("tmpabcdefg4.part", 60)):  # of earlier versions
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age, time.time() - age))
    foreign = folder / ".mine.part"
    foreign.mkdir()
    with locked(living):
        build_text_bank(backbone, parse_classes(["water"]), AERIAL, cache=tmp_path)
    left = {path.name for path in folder.iterdir()} - whole
    assert {name for name in left if not name.endswith(".npy")} == {
        living.name,
        "tmpabcdefg4.part",
        foreign.name,
    } and len(left) == 4
