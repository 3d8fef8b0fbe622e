"""Stored embeddings: every layout, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from earthwords.errors import SourceError, UsageError
from earthwords.evaluation.embeddings import read_stored
from tests.evaluation.clouds import Cloud, cloud

MADE = cloud()
ARRAYS = {"images": MADE.images.astype(np.float16), "labels": MADE.labels, "texts": MADE.texts}


def write(folder: Path, kind: str, made: Cloud = MADE) -> Path:
    folder.mkdir()
    if kind == "safetensors":
        save_file(ARRAYS, folder / "one.safetensors")
    elif kind == "npz":
        np.savez(folder / "one.npz", **ARRAYS)
    elif kind == "npy":
        for name, value in ARRAYS.items():
            np.save(folder / f"{name}.npy", value)
    else:  # RS-TransCLIP's cache
        torch.save(torch.from_numpy(ARRAYS["images"]), folder / "images.pt")
        torch.save(torch.from_numpy(made.labels), folder / "classes.pt")
        for i, name in enumerate(("a photo of a", "a view of the", "an image of many")):
            torch.save(torch.from_numpy(made.texts[i]), folder / f"texts_{name}.pt")
        torch.save(torch.from_numpy(made.texts.mean(axis=0)), folder / "texts_averageprompt.pt")
    return folder


@pytest.mark.parametrize("kind", ["safetensors", "npz", "npy", "pt"])
def test_every_layout(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", kind)
    (folder / "classes.txt").write_text("airport\nbeach\nbridge\nfootball field\n")
    (found,) = read_stored(folder)
    assert (found.name, found.model) == ("set", "one" if kind in ("safetensors", "npz") else "set")
    assert found.classes == ("airport", "beach", "bridge", "football field") and found.size == 76
    assert np.array_equal(found.labels, MADE.labels) and found.parts == {}
    np.testing.assert_array_equal(found.prompts(), MADE.texts)
    np.testing.assert_allclose(found.embed(np.array([7, 3])), MADE.images[[7, 3]], atol=1e-3)
    assert np.allclose(np.linalg.norm(found.embed(np.arange(9)), axis=1), 1, atol=1e-6)


def test_several_models_and_names_of_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", "safetensors")
    np.savez(folder / "two.npz", **{**ARRAYS, "images": -MADE.images})
    (folder / "reference.json").write_text(json.dumps({"classes": ["a", "b", "c", "d"]}))
    first, second = read_stored(folder)
    assert [first.model, second.model] == ["one", "two"] and first.classes == ("a", "b", "c", "d")
    assert first.fingerprint != second.fingerprint
    assert read_stored(folder / "two.npz")[0].fingerprint == second.fingerprint
    before = first.fingerprint
    (folder / "reference.json").unlink()
    assert read_stored(folder)[0].classes == tuple(f"class {i}" for i in range(4))
    assert read_stored(folder)[0].fingerprint != before, "the names are in the results"


def test_sentences_numbers_and_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    owner = np.array([5, 0, 0, 3, 5])
    more = {
        "captions": rng.standard_normal((5, 12)), "image_of_caption": owner, "test": np.array([3, 5, 9]),
        "numbers": rng.standard_normal((76, 10, 12)), "counts": rng.integers(0, 11, 76),
    }  # fmt: skip
    np.savez(tmp_path / "all.npz", **ARRAYS, **more)
    (found,) = read_stored(tmp_path / "all.npz")
    texts, place = found.captions(np.array([3, 5, 9]))
    assert place.tolist() == [1, 0, 1] and texts.shape == (3, 12)
    assert found.parts["test"].tolist() == [3, 5, 9]
    similar = found.numbers(np.array([4, 2]), "words")
    first = more["numbers"][4] / np.linalg.norm(more["numbers"][4], axis=1, keepdims=True)
    np.testing.assert_allclose(similar[0], first @ MADE.images[4], atol=2e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": MADE.labels[:-1]}, "labels must have the shape"),
        ({"labels": MADE.labels + 1}, "labels must be 0..3"),
        ({"texts": MADE.texts[..., :-1]}, "texts must have the shape"),
        ({"images": MADE.images[0]}, "images must be"),
        ({"captions": MADE.images}, "belong together"),
        ({"test": np.array([76])}, "test must be 0..75"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, change: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "one.npz", **{**ARRAYS, **change})
    with pytest.raises(SourceError, match=words):
        read_stored(tmp_path)


def test_what_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'whu'"):
        (tmp_path / "whu").mkdir()
        read_stored(tmp_path / "wuh")
    with pytest.raises(UsageError, match="holds no embeddings"):
        read_stored(tmp_path / "whu")
    (tmp_path / "whu" / "a.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(SourceError, match="Cannot read embeddings"):
        read_stored(tmp_path / "whu")
    torch.save({"images": print}, tmp_path / "images.pt")
    with pytest.raises(SourceError, match=r"asks for .*print, which is code"):
        read_stored(tmp_path / "images.pt")
    np.savez(tmp_path / "bare.npz", images=MADE.images)
    (bare,) = read_stored(tmp_path / "bare.npz")
    with pytest.raises(UsageError, match="have no 'texts'"):
        bare.prompts()
