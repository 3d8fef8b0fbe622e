"""Template sets by name or from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from earthwords.errors import UsageError
from earthwords.text.templates import TEMPLATES, fill, load_templates


def test_every_template_has_one_place() -> None:
    assert all(t.count("{}") == 1 for templates in TEMPLATES.values() for t in templates)


def test_the_sets_of_segearth_ov() -> None:
    assert {name: len(TEMPLATES[name]) for name in ("openai80", "openai7", "maskclip5", "photo")} == {
        "openai80": 80,
        "openai7": 7,
        "maskclip5": 5,
        "photo": 1,
    }
    assert set(TEMPLATES["openai7"]) <= set(TEMPLATES["openai80"])
    assert TEMPLATES["openai7"][1] == "a bad photo of a {}."


def test_fill_takes_words_literally() -> None:
    assert fill(["a {} here.", "{}"], "{0}") == ["a {0} here.", "{0}"]


def test_own_file(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("drone picture of {}\n\n{} from a plane\n")
    assert load_templates(str(tmp_path / "mine.txt")) == ("drone picture of {}", "{} from a plane")


@pytest.mark.parametrize("text", ["no place\n", "{} and {}\n", "\n"])
def test_bad_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(UsageError, match="exactly one"):
        load_templates(str(tmp_path / "bad.txt"))


def test_unknown_set() -> None:
    with pytest.raises(UsageError, match="Did you mean 'openai80'"):
        load_templates("openai8")


def test_sets_of_scenes() -> None:
    sizes = {name: len(TEMPLATES[name]) for name in ("remoteclip", "remoteclip5", "remoteclip-eurosat")}
    assert sizes == {"remoteclip": 1, "remoteclip5": 5, "remoteclip-eurosat": 3}
    assert len(set(TEMPLATES["remoteclip-resisc45"])) == 18 and len(set(TEMPLATES["rs-transclip"])) == 106
    assert "satellite imagery of a {}." in TEMPLATES["remoteclip-resisc45"]
    for name, templates in TEMPLATES.items():
        assert all(template.count("{}") == 1 for template in templates), name
        assert not any(" a aerial" in f" {template}" for template in templates), name
