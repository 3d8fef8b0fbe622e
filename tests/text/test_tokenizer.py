"""Byte-pair tokenizers: CLIP's own, learned ones, and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from earthwords.errors import WeightsError
from earthwords.text.tokenizer import ClipTokenizer

CORPUS = ["two planes on a runway .", "many buildings and some green trees", "a river between fields"] * 3


@pytest.fixture(scope="module")
def openai() -> ClipTokenizer:
    return ClipTokenizer.openai()


@pytest.fixture(scope="module")
def learned() -> ClipTokenizer:
    return ClipTokenizer.train(CORPUS, vocab_size=560, context=24)


def test_the_ends_are_clips(openai: ClipTokenizer) -> None:
    assert (openai.start, openai.end, openai.vocab_size) == (49406, 49407, 49408)


def test_transformers_reads_our_files_and_agrees(openai: ClipTokenizer, tmp_path: Path) -> None:
    openai.save(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    for text in ("a photo of a storage tank.", "it's 3.5 km away, isn't it?", "Fußballplatz"):
        ids = openai([text])[0]
        assert theirs(text)["input_ids"] == ids.tolist()


def test_padding_and_truncation(openai: ClipTokenizer) -> None:
    ids = openai(["road", "a very long road", "road " * 100])
    assert ids.shape == (3, 77)
    assert ids[0].tolist()[:4] == [49406, openai(["road"])[0, 1], 49407, 0]
    assert ids[2, -1] == 49407 and ids[2, 0] == 49406
    assert openai(["road", "a road"]).shape == (2, 4)
    assert openai(["road"], truncate=False).shape == (1, 77)


def test_files_make_the_same_tokenizer(learned: ClipTokenizer, tmp_path: Path) -> None:
    learned.save(tmp_path)
    again = ClipTokenizer.from_folder(tmp_path, context=24)
    texts = [*CORPUS, "solar panels & Ærø 12"]
    assert np.array_equal(again(texts), learned(texts))
    assert (again.start, again.end) == (learned.start, learned.end)


def test_training_gives_the_same_merges_every_time() -> None:
    """Many pairs occur equally often; a resumed training must number the words as it did before."""
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    texts = ["".join(rng.choice(letters, 5)) for _ in range(400)]
    first, *others = [ClipTokenizer.train(texts, vocab_size=700, context=24)(texts) for _ in range(5)]
    assert all(np.array_equal(first, other) for other in others)


def test_frequent_words_are_one_token(learned: ClipTokenizer) -> None:
    assert learned(["trees"]).shape == (1, 3)
    assert learned(["xylophone"]).shape[1] > 5


@given(st.text(max_size=40))
def test_any_text_has_ids_inside_the_vocabulary(text: str) -> None:
    tokenizer = ClipTokenizer.train(CORPUS, vocab_size=560, context=24)
    ids = tokenizer([text])
    assert ids[0, 0] == tokenizer.start
    assert (ids == tokenizer.end).sum() == 1, "no character is unknown, so only the end is the end token"
    assert ids.max() < tokenizer.vocab_size and ids.shape[1] <= 24


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"No tokenizer in .*vocab\.json"):
        ClipTokenizer.from_folder(tmp_path)
