"""Text in files and tables: UTF-8 whatever the locale, nothing that steers a terminal or runs in a spreadsheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from earthwords.errors import printable
from earthwords.files.plaintext import Unreadable, csv_cell, json_text, read_names, read_text, utf8, write_json


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("water\n水\n".encode(), "water\n水\n"),
        ("\ufeffwater".encode(), "water"),
        ("water 水".encode("utf-16"), "water 水"),  # as PowerShell writes it
        ("水".encode("utf-16-be").join([b"\xfe\xff", b""]), "水"),
    ],
)
def test_text_is_utf8_or_says_what_it_is(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    assert read_text(tmp_path / "list.txt") == text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"road\nwater\ncaf\xe9\n", "line 3 is not UTF-8 text"),
        (b"II*\0\x08", "it is not a text file"),
        (b"x" * 2000, "it has more than 1,000 bytes"),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(Unreadable, match=why):
        read_text(tmp_path / "list.txt", most=1000)


def test_a_list_may_name_files_whose_names_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"  a b.tif\r\ncaf\xe9.tif\n\xe5\x8c\x97.tif\n")
    assert read_names(tmp_path / "list.txt") == ["a b.tif", "caf\udce9.tif", "北.tif", ""]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 北京, café, 100 %", "plain, 北京, café, 100 %"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\r\x07", "a\\nb\\r\\x07"),
        ("tif.\u202egnp", "tif.\\u202egnp"),
        ("a\u2066b\u200f", "a\\u2066b\\u200f"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("caf\udce9.tif", "caf\\xe9.tif"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner within a Persian word
        ("全角\u3000空格", "全角\u3000空格"),
    ],
)
def test_what_a_terminal_gets(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("odd", ["\x1b[31m", "\u202e", "\x7f", "\x9b", "\u2028", "caf\udce9", "\U000e0041"])
def test_json_keeps_everything_and_steers_nothing(tmp_path: Path, odd: str) -> None:
    value: dict[str, Any] = {f"{odd}北京": [odd, 1.5, None]}
    path = tmp_path / "report.json"
    write_json(path, value)
    data = path.read_bytes()
    assert json.loads(data.decode("utf-8")) == value
    assert "北京".encode() in data, "letters stay readable"
    shown = json_text(value)
    assert not any(c in shown for c in "\x1b\u202e\x7f\x9b\u2028\udce9")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("water", "water"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-0.25", "-0.25"),
        ("+1e-3", "+1e-3"),
        (-0.25, -0.25),
        (None, None),
        ("caf\udce9", "caf\\xe9"),
    ],
)
def test_cells_of_spreadsheets(value: Any, cell: Any) -> None:
    assert csv_cell(value) == cell


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert utf8("北 caf\udce9") == "北 caf\\xe9"
    assert utf8("\ud800") == "\\ud800"
