"""Files of fixed names are replaced only where earthwords wrote them."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from earthwords.errors import UsageError
from earthwords.files.ownership import check_ours, is_ours

INDEX = {"format": 1, "earthwords": "0.1.0", "settings": {}, "tiles": 3}
SCENE = {"source": "a.tif", "status": "done", "outputs": {}}
OWN = {
    "index.json": json.dumps(INDEX),
    "batch.json": json.dumps({"scenes": [SCENE]}),
    "results.json": json.dumps({"earthwords": "0.1.0", "results": []}),
    "times.json": json.dumps({"a.b": {"seconds": 1}}),
    "results.md": "# Results\n\nPercent, unless named otherwise.\n",
    "report.html": "<!DOCTYPE html>\n<html><p>1 result. Made by earthwords 0.1.0.</p></html>",
    "log.csv": "step,name,value\n10,loss,2\n",
}
FOREIGN = (
    '{"mine": 1}', "mine", "[]", "", '{"scenes": 4}', '{"scenes": [{"source": 1}]}', '{"stac": "mine"}', '{"format": 1}'
)  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_own_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(OWN[name], encoding="utf-8")
    assert is_ours(tmp_path / name)
    check_ours([tmp_path / name, tmp_path / "nothing.json"])


@pytest.mark.parametrize("name", [*OWN, "checkpoint.pt", "model.safetensors", "config.json"])
def test_files_of_others(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for text in FOREIGN:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=f"{name} was not written by earthwords and would be lost; move it away"):
            check_ours([tmp_path / "nothing.json", path])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match=name):
        check_ours([path])


@pytest.mark.parametrize(
    ("name", "beside"),
    [("report.html", "results.json"), ("results.md", "results.json"), ("checkpoint.pt", "log.csv"),
     ("model.safetensors", "log.csv"), ("config.json", "log.csv")],
)  # fmt: skip
def test_among_what_is_ours(tmp_path: Path, name: str, beside: str) -> None:
    (tmp_path / name).write_text("of another version", encoding="utf-8")
    (tmp_path / beside).write_text(OWN[beside], encoding="utf-8")
    assert is_ours(tmp_path / name)
    (tmp_path / beside).write_text("theirs", encoding="utf-8")
    assert not is_ours(tmp_path / name)


def test_a_damaged_index_is_one(tmp_path: Path) -> None:
    for name in ("index.json", "vectors.npy", "codes.npy", "tiles.parquet", "sources.parquet"):
        assert not is_ours(tmp_path / "index.json")
        (tmp_path / name).write_text('{"format"')
    assert is_ours(tmp_path / "index.json")


def test_a_checkpoint(tmp_path: Path) -> None:
    for words, ours in ((b"model weights", False), (b"average model optimizer settings", True)):
        with zipfile.ZipFile(tmp_path / "checkpoint.pt", "w") as archive:
            archive.writestr("checkpoint/version", "3")
            archive.writestr("checkpoint/data.pkl", words)
        assert is_ours(tmp_path / "checkpoint.pt") == ours
    (tmp_path / "log.csv").write_bytes(b"\0" * 100)
    assert is_ours(tmp_path / "log.csv")
