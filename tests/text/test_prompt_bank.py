"""More words for classes: lists, tables, and which class a line belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from earthwords.errors import UsageError
from earthwords.text.prompt_bank import GENERAL, by_lines, by_pool, prompted

CLASSES = [["store tank"], ["plane", "aircraft"], ["Small-Vehicle"]]


def test_a_line_finds_a_class_by_words_like_its_own() -> None:
    lines = ["storage tank,oil tank,store tank", "small_vehicle,car", "harbor,dock", "", "plane,aeroplane,Aircraft"]
    assert by_lines(CLASSES, lines) == [
        ["store tank", "oil tank"], ["plane", "aircraft", "aeroplane"], ["Small-Vehicle", "car"],
    ]  # fmt: skip


def test_a_word_belongs_to_the_first_class_that_has_it() -> None:
    assert by_lines([["road"], ["path"]], ["road,street", "path,street,trail"]) == [
        ["road", "street"],
        ["path", "trail"],
    ]


def test_a_table_replaces_words_unless_one_of_them_is_the_key() -> None:
    pool = {"storage tank": ["oil tank, tank farm"], "aircraft": ["jet"]}
    assert by_pool(CLASSES, pool) == [["oil tank", "tank farm"], ["plane", "aircraft", "jet"], ["Small-Vehicle"]]


def test_the_list_of_the_package_knows_exact_names_and_takes_no_word_away() -> None:
    words = prompted([["building"], ["house"], ["bare lands"], ["lake"]], GENERAL)
    assert words[0][0] == "building" and len(words[0]) > 1
    assert "house" not in words[0] and words[1] == ["house"], "it is a class of its own here"
    assert words[2] == ["bare lands"], "like bare land, but not it"
    assert "water" not in words[3]
    every = [word for own in words for word in own]
    assert len(set(every)) == len(every)


def test_every_line_of_the_package_is_of_use() -> None:
    from importlib.resources import files

    lines = files("earthwords").joinpath("assets", "prompts_general.txt").read_text(encoding="utf-8").splitlines()
    keys = [line.split(",")[0] for line in lines if not line.startswith("#")]
    assert len(set(keys)) == len(keys) > 30
    for key in keys:
        (found,) = prompted([[key]], GENERAL)
        assert found[0] == key and len(found) > 1


def test_files(tmp_path: Path) -> None:
    text, table = tmp_path / "own_exp.txt", tmp_path / "own.json"
    text.write_text("planes,jet\n")
    table.write_text(json.dumps({"plane": ["jet", "airliner, glider"]}))
    assert prompted(CLASSES, str(text))[1] == ["plane", "aircraft", "jet"]
    assert prompted(CLASSES, str(table))[1] == ["plane", "aircraft", "jet", "airliner", "glider"]
    assert prompted(CLASSES, None) == CLASSES


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.txt", None, "Cannot read the prompts"),
        ("a.json", "[1]", "is no table of words"),
        ("b.json", '{"road": "street"}', "is no table of words"),
        ("c.json", "{", "Cannot read the prompts"),
        ("d.txt", "road,path\n", "leave 'path' no word"),
    ],
)
def test_refusals(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        prompted([["road"], ["path"]], str(tmp_path / name))
    assert str(caught.value).count("\n") == 0
