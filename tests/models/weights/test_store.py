"""Tensors to files: what safetensors reads, in the same bytes every time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from earthwords.models.weights.store import write_safetensors

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3).T, "a": torch.tensor([True, False]),
    "c": torch.zeros(0, 4, dtype=torch.float16), "d": torch.tensor(7),
}  # fmt: skip
ABOUT = {f"key {i}": f"value {i}" for i in range(20)} | {"words": '\u5efa\u7b51 "roof"', "empty": ""}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    write_safetensors(path, TENSORS, about=ABOUT)
    found = load_file(path)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name
    with safe_open(path, "pt") as file:
        assert file.metadata() == ABOUT
    assert (int.from_bytes(path.read_bytes()[:8], "little")) % 8 == 0, "tensors are aligned"
    assert [each.name for each in path.parent.iterdir()] == ["a.safetensors"]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(os.stat(tmp_path / "plain").st_mode)


def test_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", TENSORS, about=ABOUT)
    write_safetensors(tmp_path / "b", dict(reversed(TENSORS.items())), about=dict(sorted(ABOUT.items(), reverse=True)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_safetensors(tmp_path / "c", {"a": TENSORS["a"]}, about={"format": "pt"})
    assert (tmp_path / "c").read_bytes() == save({"a": TENSORS["a"]}, metadata={"format": "pt"})


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes of a file name that is not UTF-8 are escaped, so that the file stays readable."""
    write_safetensors(tmp_path / "a", TENSORS, about={"source": os.fsdecode(b"caf\xe9.tif")})
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata() == {"source": "caf\\xe9.tif"}
