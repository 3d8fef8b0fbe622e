"""A downloaded file that was cut or altered later is noticed; one that was not is not hashed again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from earthwords.errors import WeightsError
from earthwords.models.weights.download import sha256_of
from earthwords.models.weights.table import WeightSpec, fetch

CONTENT = b"weights " * 1000


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightSpec:
    monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "up.ckpt"
    source.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return WeightSpec(name="up", source=source.as_uri(), licence="", paper="", sha256=sha256)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files that were hashed."""
    seen: list[Path] = []
    monkeypatch.setattr("earthwords.models.weights.fetch.sha256_of", lambda path: seen.append(path) or sha256_of(path))
    return seen


@pytest.mark.parametrize("known", [True, False], ids=["sha256 in the table", "sha256 of the download"])
@pytest.mark.parametrize("damage", ["cut", "altered", "altered at the same time"])
def test_damage_after_the_download(row: WeightSpec, known: bool, damage: str) -> None:
    row = row if known else replace(row, sha256=None)
    path = fetch(row)
    before = path.stat()
    path.write_bytes(CONTENT[:-100] if damage == "cut" else CONTENT[:-1] + b"X")
    if damage == "altered at the same time":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    for offline in (False, True):
        with pytest.raises(WeightsError, match=r"was cut or altered after its download .*delete it and run again"):
            fetch(row, offline=offline)


def test_a_file_that_did_not_change_is_not_hashed_again(row: WeightSpec, hashed: list[Path]) -> None:
    fetch(row)
    del hashed[:]
    assert fetch(row).read_bytes() == CONTENT
    assert hashed == []


def test_a_file_that_was_only_touched_is_hashed_once(row: WeightSpec, hashed: list[Path]) -> None:
    path = fetch(row)
    del hashed[:]
    os.utime(path, ns=(1, 1))
    assert fetch(row) == fetch(row) == path
    assert hashed == [path]


def test_a_file_that_the_user_put_there(row: WeightSpec, hashed: list[Path]) -> None:
    path = fetch(row)
    record = path.with_name("up.ckpt.verified.json")
    for damage in ("", "{", "[]", "\0", "[" * 10_000):
        record.write_text(damage)
        del hashed[:]
        assert fetch(row, offline=True) == fetch(row, offline=True) == path
        assert hashed == [path]
    record.unlink()
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="was cut or altered"):
        fetch(row)


def test_a_newer_file_of_a_row_with_another_hash(row: WeightSpec) -> None:
    fetch(row)
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        fetch(replace(row, sha256="0" * 64))
