"""`data list | prepare | check` as commands."""

from __future__ import annotations

import json
from pathlib import Path

from earthwords.data.segmentation.fakes import make_fake
from tests.conftest import Command


def test_list(command: Command) -> None:
    done = command("data", "list", "--json")
    assert done.code == 0
    sets = {each["name"]: each for each in json.loads(done.out)["sets"]}
    assert len(sets) == 32 and sets["loveda"]["classes"][1] == "building,roof,house"
    assert sets["xbd"]["settings"]["segearth-ov"] == {
        "threshold": 0.0,
        "cls_weight": 0.0,
        "classes": ["background", "building"],
    }
    table = command("data", "list")
    assert table.code == 0 and "1,669 ?" in table.out and "wbs-si" in table.out
    one = command("data", "list", "vaihingen")
    assert "segearth-ov 29.1 mIoU ?" in one.out and "impervious surface | building" in one.out
    assert "segearth-ov-2: threshold 0.1, global token -0.3, words road | building | grass" in one.out
    command("data", "list", "potsdm").failed(2, "Unknown data set 'potsdm'. Did you mean 'potsdam'?")


def test_prepare_and_check(command: Command, tmp_path: Path) -> None:
    make_fake("vdd", tmp_path / "src")
    done = command("data", "prepare", "vdd", tmp_path / "src", tmp_path / "dst", "--json", "--workers", 1)
    assert done.code == 0 and json.loads(done.out)["made"] == 2
    assert "2 items; the whole set has 80 as far as is recalled." in done.err
    again = command("data", "prepare", "vdd", tmp_path / "src", tmp_path / "dst")
    assert again.code == 0 and "was prepared already" in again.out
    again = command("data", "prepare", "vdd", tmp_path / "src", tmp_path / "dst", "--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")
    fine = command("data", "check", "vdd", tmp_path / "dst", "--quiet")
    assert fine.code == 0 and "is complete and right" in fine.out and fine.err == ""
    (tmp_path / "dst/test/gt/DJI_0028.png").write_bytes(b"x")
    wrong = command("data", "check", "vdd", tmp_path / "dst")
    assert wrong.code == 1 and "is not what it should be" in wrong.out and "Cannot read" in wrong.err
    told = command("data", "check", "vdd", tmp_path / "dst", "--json", "--quiet")
    assert told.code == 1 and json.loads(told.out)["ok"] is False
    more = command("data", "prepare", "vdd", tmp_path / "src", tmp_path / "dst", "--overwrite", "--quiet")
    assert more.code == 0 and command("data", "check", "vdd", tmp_path / "dst", "--quiet").code == 0


def test_wrong_use(command: Command, tmp_path: Path) -> None:
    make_fake("loveda", tmp_path / "src")
    file = tmp_path / "file"
    file.write_text("x")
    prepare = ("data", "prepare", "potsdam", tmp_path / "src")
    command(*prepare, tmp_path / "dst").failed(
        2, "does not hold ISPRS Potsdam: expected 2_Ortho_RGB/", "found Train/, Val/"
    )
    command(*prepare, file).failed(2, "is a file; name a folder")
    command(*prepare, tmp_path / "dst", "--workers", 0).failed(2, "--workers")
    command("data", "prepare", "potsdam", file, tmp_path / "dst").failed(2, "is not a folder")
    command("data", "check", "loveda", tmp_path / "none").failed(2, "is not a folder")
    (tmp_path / "src/Val/Urban/masks_png/3514.png").unlink()
    command("data", "prepare", "loveda", tmp_path / "src", tmp_path / "dst").failed(1, "no partner", "--partial")
    done = command("data", "prepare", "loveda", tmp_path / "src", tmp_path / "dst", "--partial")
    assert done.code == 0 and "Left out, without a partner: 1 files" in done.err
