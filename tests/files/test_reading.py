"""Files are read through `files.reading`: regular ones only, not nested deeply, of a size that makes sense."""

from __future__ import annotations

import ast
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from earthwords.data.annotations.boxes._common import read_classes
from earthwords.data.manifests.captions import read_manifest
from earthwords.data.manifests.expressions import read_referring
from earthwords.errors import EarthwordsError
from earthwords.evaluation.results import read_results
from earthwords.files.reading import NestedError, check_file, open_file, parse_json, parse_toml, read_bytes, read_json
from earthwords.presets import load_preset
from earthwords.text.templates import load_templates
from earthwords.text.vocabulary import read_class_file, read_sentences
from tests.special import KINDS, make, within

SRC = Path(__file__).parents[1] / "src" / "earthwords"

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "class file": ("classes.txt", read_class_file),
    "sentences": ("sentences.txt", read_sentences),
    "preset": ("mine.toml", lambda path: load_preset(str(path))),
    "templates": ("templates.txt", lambda path: load_templates(str(path))),
    "described images": ("list.jsonl", read_referring),
    "table of classes": ("classes.json", read_classes),
    "results": ("results.json", lambda path: read_results(path.parent)),
    "list of images": ("list.jsonl", read_manifest),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_in_one_sentence(reader: str, kind: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    path = make(kind, tmp_path / name)
    if reader == "results" and kind in ("dangling", "loop"):
        assert within(5, lambda: read(path)) == []  # as if there were none; writing them replaces the link
        return
    with pytest.raises(EarthwordsError, match=KINDS[kind]) as error:
        within(5, lambda: read(path))
    assert "\n" not in str(error.value) and str(path.name) in str(error.value)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    (tmp_path / "b.json").symlink_to("a.json")
    check_file(tmp_path / "b.json")
    assert read_json(tmp_path / "b.json") == [1]


@pytest.mark.parametrize("path", ["no\0thing", "x" * 5000])
def test_paths_that_no_system_has(path: str) -> None:
    with pytest.raises(OSError, match="it is"):
        read_bytes(path)


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="it does not exist"):
        read_bytes(tmp_path / "gone")


def test_json_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'{"a":\n"\xe9"}')
    with pytest.raises(ValueError, match="line 2 is not UTF-8 text"):
        read_json(tmp_path / "x.json")


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening."""
    os.mkfifo(tmp_path / "x")
    monkeypatch.setattr("earthwords.files.reading.check_file", lambda path: None)
    with pytest.raises(OSError, match="it is not a file any more"):
        within(5, lambda: open_file(tmp_path / "x"))


@pytest.mark.parametrize("text", ["[" * 65 + "]" * 65, '{"a":' * 65 + "1" + "}" * 65, '[{"a":' * 33 + "1" + "}]" * 33])
def test_65_levels_are_too_many(text: str, tmp_path: Path) -> None:
    with pytest.raises(NestedError, match="nested more than 64 levels deep"):
        parse_json(text)
    with pytest.raises(NestedError):
        parse_json(text.encode())
    with pytest.raises(NestedError):
        parse_toml("a = " + "[" * 65 + "]" * 65)


def test_64_levels_are_read(tmp_path: Path) -> None:
    text = "[" * 64 + "]" * 64
    assert str(parse_json(text)) == text
    wide = "[" + ",".join(["[]"] * 1000) + "]"
    assert len(parse_json(wide)) == 1000
    assert str(parse_toml("a = " + "[" * 63 + "]" * 63)["a"]) == "[" * 63 + "]" * 63


@pytest.mark.parametrize("depth", [1000, 10**6])
def test_a_million_brackets_are_refused_at_once(depth: int, tmp_path: Path) -> None:
    began = time.process_time()
    for text in ("[" * depth, "[" * depth + "]" * depth, '{"a":' * depth):
        with pytest.raises(ValueError, match="nested more than 64"):
            parse_json(text)
    with pytest.raises(NestedError):
        parse_toml("a" + ".a" * min(depth, 100_000) + " = 1")
    assert time.process_time() - began < 5


def test_a_file_of_settings_has_a_size(tmp_path: Path) -> None:
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    began = time.process_time()
    with pytest.raises(ValueError, match="it has more than 64 MiB"):
        read_json(tmp_path / "big.json")
    with pytest.raises(EarthwordsError, match="more than 64 MiB"):
        read_class_file(tmp_path / "big.json")
    with pytest.raises(ValueError, match="far more than the 262,144 of any preset"):
        parse_toml("#" * 10**6)
    assert time.process_time() - began < 1


def test_sizes_are_exact(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bytes(tmp_path / "x", most=5) == b"12345"
    with pytest.raises(ValueError, match="it has more than 4 bytes"):
        read_bytes(tmp_path / "x", most=4)


OWN = ("files.", "plaintext.", "files('earthwords')", "resources.files(", "Path(__file__)", "json.loads(json.dumps(")
"""What begins so reads our own files, or no file at all."""


def bypasses(path: Path) -> list[str]:
    """Calls that read text or JSON of a file in another way."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        call = ast.unparse(node)
        own = call.startswith(OWN)
        own = own or ".to_str())" in call  # of the tokenizers library
        name = ast.unparse(node.func)
        if name == "torch.load" and path.name != "checkpoint.py":
            found.append(f"{path.name}:{node.lineno}: {call}")
        if not own and (name in ("json.load", "json.loads") or name.startswith(("tomllib.", "pickle.Unpickler"))):
            found.append(f"{path.name}:{node.lineno}: {call}")
        if not own and node.func.attr in ("read_text", "read_bytes"):
            found.append(f"{path.name}:{node.lineno}: {call}")
    return found


def test_nothing_reads_text_json_or_toml_in_another_way() -> None:
    others = [path for path in SRC.rglob("*.py") if path.name not in ("files.py", "plaintext.py")]
    assert [call for path in others for call in bypasses(path)] == []


def test_the_search_for_bypasses_finds_them(tmp_path: Path) -> None:
    lines = [
        "json.loads(x)",
        "json.load(f)",
        "path.read_text()",
        "Path('x').read_bytes()",
        "tomllib.loads(x)",
        "torch.load(x)",
    ]
    (tmp_path / "x.py").write_text("\n".join(lines))
    assert len(bypasses(tmp_path / "x.py")) == 6
    assert json.loads("1") == 1
