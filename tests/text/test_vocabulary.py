"""What users type becomes classes; what cannot be meant gets one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.text.vocabulary import more_colours, parse_classes, read_class_file


def test_synonyms_stay_with_their_class_in_order() -> None:
    found = parse_classes(["road", " building, roof ,house", "open  water"])
    assert [c.names for c in found.classes] == [("road",), ("building", "roof", "house"), ("open water",)]
    assert found.queries == ("road", "building", "roof", "house", "open water")
    assert found.query_class.tolist() == [0, 1, 1, 1, 2]
    assert found.titles == ("road", "building", "open water")
    assert found.background is None


def test_colours_differ_and_water_is_blue() -> None:
    found = parse_classes(["water", "river", "lake", *(f"thing {i}" for i in range(60))])
    colours = [c.colour for c in found.classes]
    assert len(set(colours)) == len(colours)
    assert colours[0][2] > max(colours[0][:2])


def test_no_class_looks_like_its_neighbours() -> None:
    """A colour that nobody expects keeps away from expected ones, before and behind."""
    names = ["thing 0", "building", "water", "thing 1", "trees", "thing 2", "road", *(f"kind {i}" for i in range(80))]
    colours = np.array([c.colour for c in parse_classes(names).classes], float)
    colours = np.concatenate([colours, more_colours([tuple(map(int, c)) for c in colours], 90)])
    expected = [i for i, name in enumerate(names) if name in ("building", "water", "trees", "road")]
    for i, colour in enumerate(colours):
        for j in range(max(0, i - 5), i):
            if not {i, j} <= set(expected):
                assert np.abs(colours[j] - colour).sum() > 55, (i, j)
    assert len(np.unique(colours, axis=0)) == len(colours)


@pytest.mark.parametrize(
    ("classes", "background", "expected"),
    [
        (["background", "building"], None, 0),
        (["road", "clutter,background"], None, 1),
        (["road", "building"], None, None),
        (["road", "building"], "Building", 1),
        (["road", "building"], 0, 0),
    ],
)
def test_background(classes: list[str], background: str | int | None, expected: int | None) -> None:
    assert parse_classes(classes, background=background).background == expected


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ([], "at least one class"),
        ([" , "], "has no name"),
        (["road", ""], "has no name"),
        (["road", "Road"], "'road' is given twice"),
        (["building,roof", "roof"], "'roof' is given twice"),
        ([f"word{i}" for i in range(5000)], "5,000 words are too many"),
    ],
)
def test_impossible_words(classes: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_classes(classes)


@pytest.mark.parametrize("background", ["sky", 2, -1])
def test_unknown_background(background: str | int) -> None:
    with pytest.raises(UsageError, match="ackground"):
        parse_classes(["road", "building"], background=background)


def test_class_file(tmp_path: Path) -> None:
    path = tmp_path / "cls_openearthmap.txt"
    path.write_text("background\nbareland,barren\ngrass\n\nbuilding,roof,house\n")
    found = read_class_file(path)
    assert found.titles == ("background", "bareland", "grass", "building")
    assert found.background == 0


def test_class_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read the class file .*none\.txt"):
        read_class_file(tmp_path / "none.txt")


def test_class_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UsageError, match="Cannot read the class file"):
        read_class_file(tmp_path / "x.txt")


def test_a_single_string_is_not_taken_letter_by_letter() -> None:
    with pytest.raises(UsageError, match="Give a list of classes"):
        parse_classes("road")


def test_a_class_file_from_windows(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffbuilding,roof\r\nroad\r\n".encode())
    assert read_class_file(path).queries == ("building", "roof", "road")


def test_control_characters_are_dropped() -> None:
    """A style or a vector file that holds one is broken."""
    vocabulary = parse_classes(["road\x00\x1b,way\u200b", "water\n lake"])
    assert [c.names for c in vocabulary.classes] == [("road", "way"), ("water lake",)]
