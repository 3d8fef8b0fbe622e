"""Referring expressions: what is proposed, what the second reader makes of it, and what is said."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.data.annotations.instances import Instances, from_boxes, from_classes
from earthwords.data.expressions import colour_names, generate, relations
from earthwords.data.expressions.generate import ABSENT, express
from earthwords.data.expressions.grammar import ALL, ENDS, PLACES, Form, phrase
from earthwords.data.expressions.relations import Measures
from earthwords.data.expressions.verify import Judge
from earthwords.text import phrases

HEIGHT, WIDTH = 90, 150
NAMES = ["", "ship", "lake", "building,house", "water"]
WHITE, RED, BLUE, GREY = (240, 240, 238), (170, 40, 30), (40, 60, 190), (125, 125, 125)

Thing = tuple[int, tuple[int, int, int, int], tuple[int, int, int]]
TOWN: list[Thing] = [
    (1, (4, 6, 16, 30), WHITE),  # a white ship, top left, the second largest
    (1, (6, 120, 12, 130), RED),  # a red ship, top right, the smallest
    (1, (70, 100, 88, 146), WHITE),  # a large white ship, bottom right
    (2, (36, 60, 56, 90), BLUE),  # the lake in the middle
    (3, (42, 20, 50, 30), RED),  # a red house left of the lake
    (3, (41, 91, 53, 103), GREY),  # a grey house beside the lake, right
    (3, (74, 70, 84, 80), GREY),  # a grey house below it
]
"""Class, rows and columns of a box, colour."""


def scene(things: list[Thing], *, least: int = 20, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Instances:
    mask = np.zeros(size, dtype=np.int64)
    for value, (top, left, bottom, right), _ in things:
        mask[top:bottom, left:right] = value
    return from_classes(example(size), mask, NAMES, least=least)


def example(size: tuple[int, int] = (HEIGHT, WIDTH), name: str = "town/a") -> Annotated:
    return Annotated(name=name, set="town", image="a.png", size=size, boxes=no_boxes(), classes=())


def pixels(things: list[Thing], size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    rgb = np.full((*size, 3), (90, 110, 70), dtype=np.uint8)
    for _, (top, left, bottom, right), colour in things:
        rgb[top:bottom, left:right] = colour
    return rgb


def at(things: Instances, *points: tuple[int, int]) -> set[int]:
    """Numbers of the things at points (row, col)."""
    return {int(things.ids[point]) for point in points}


BIG, SMALL, FIRST = (80, 120), (8, 125), (10, 20)
LAKE, RED_HOUSE, NEAR_HOUSE, LOW_HOUSE = (46, 75), (45, 25), (45, 95), (79, 75)
HOUSE, LAKE_MARK = "building,house", Form(name="lake")

MEANT: list[tuple[Form, list[tuple[int, int]]]] = [
    (Form(name="lake"), [LAKE]),
    (Form(name="ship", number=3), [FIRST, SMALL, BIG]),
    (Form(name="ship", size="largest"), [BIG]),
    (Form(name="ship", size="smallest"), [SMALL]),
    (Form(name="ship", size="largest", number=2), [BIG, FIRST]),
    (Form(name="ship", colour="white", number=2), [FIRST, BIG]),
    (Form(name="ship", colour="red"), [SMALL]),
    (Form(name="ship", colour="white", size="largest"), [BIG]),
    (Form(name="ship", colour="white", place="top left"), [FIRST]),
    (Form(name="ship", place="right", number=ALL), [SMALL, BIG]),
    (Form(name="ship", place="top right"), [SMALL]),
    (Form(name="ship", place="right", size="largest"), [BIG]),
    (Form(name="ship", place="bottom"), [BIG]),
    (Form(name="lake", place="centre"), [LAKE]),
    (Form(name=HOUSE, end="leftmost"), [RED_HOUSE]),
    (Form(name=HOUSE, end="bottommost"), [LOW_HOUSE]),
    (Form(name="ship", end="leftmost"), [FIRST]),
    (Form(name=HOUSE, relation="left", mark=LAKE_MARK), [RED_HOUSE]),
    (Form(name=HOUSE, relation="right", mark=LAKE_MARK), [NEAR_HOUSE]),
    (Form(name=HOUSE, relation="below", mark=LAKE_MARK), [LOW_HOUSE]),
    (Form(name=HOUSE, relation="beside", mark=LAKE_MARK), [NEAR_HOUSE]),
    (Form(name=HOUSE, relation="nearest", mark=LAKE_MARK), [NEAR_HOUSE]),
    (Form(name=HOUSE, relation="nearest", mark=Form(name="ship", end="leftmost")), [RED_HOUSE]),
    (Form(name=HOUSE, number=ALL, whole=True), [RED_HOUSE, NEAR_HOUSE, LOW_HOUSE]),
    # nothing there
    (Form(name="ship", colour="green"), []),
    (Form(name="ship", place="bottom left"), []),
    (Form(name=HOUSE, relation="above", mark=LAKE_MARK), []),
]


@pytest.mark.parametrize(("form", "points"), MEANT, ids=lambda value: str(getattr(value, "kind", "")))
def test_both_readers_find_what_is_meant(form: Form, points: list[tuple[int, int]]) -> None:
    things = scene(TOWN)
    expected = at(things, *points) if points else set()
    found = Measures(things, pixels(TOWN)).select(form)
    assert found is not None and {position + 1 for position in found} == expected
    assert Judge(things, pixels(TOWN)).resolve(form) == expected


def moved(index: int, box: tuple[int, int, int, int], colour: tuple[int, int, int] | None = None) -> list[Thing]:
    """The town with one thing elsewhere."""
    value, _, before = TOWN[index]
    return [*TOWN[:index], (value, box, colour or before), *TOWN[index + 1 :]]


UNCLEAR: list[tuple[str, list[Thing], Form]] = [
    ("1.08 times as large", moved(0, (4, 6, 26, 41)), Form(name="ship", size="largest")),
    ("the smallest is cut off", moved(1, (0, 120, 6, 130)), Form(name="ship", size="smallest")),
    ("half on the left", moved(1, (6, 50, 12, 70)), Form(name="ship", place="left", number=ALL)),
    ("only as far left", moved(2, (70, 4, 88, 34)), Form(name="ship", end="leftmost")),
    ("two as near", moved(4, (42, 49, 50, 59)), Form(name=HOUSE, relation="nearest", mark=LAKE_MARK)),
    ("diagonally below", moved(6, (76, 30, 86, 40)), Form(name=HOUSE, relation="left", mark=LAKE_MARK)),
    ("near, not beside", moved(5, (41, 96, 53, 108)), Form(name=HOUSE, relation="beside", mark=LAKE_MARK)),
    ("nearly white", moved(0, (4, 6, 16, 30), (190, 190, 188)), Form(name="ship", colour="white")),
    ("two lakes", [*TOWN, (2, (70, 5, 80, 25), BLUE)], Form(name=HOUSE, relation="left", mark=LAKE_MARK)),
]


@pytest.mark.parametrize(("things", "form"), [row[1:] for row in UNCLEAR], ids=[row[0] for row in UNCLEAR])
def test_neither_reader_says_what_is_not_clear(things: list[Thing], form: Form) -> None:
    whole = scene(things)
    assert Judge(whole, pixels(things)).resolve(form) is None
    if form.mark is None or whole.classes.count("lake") == 1:
        assert Measures(whole, pixels(things)).select(form) is None


def test_a_number_that_is_wrong() -> None:
    judge = Judge(scene(TOWN), pixels(TOWN))
    assert judge.resolve(Form(name="ship")) is None
    assert judge.resolve(Form(name="ship", number=2)) is None
    assert judge.resolve(Form(name="lake", number=ALL)) is None
    assert judge.resolve(Form(name="windmill")) is None, "nobody has looked for windmills"
    assert judge.resolve(Form(name="water")) == frozenset(), "water is in the table, and nowhere in the image"


def test_relations_need_one_mark_of_another_class() -> None:
    measured = Measures(scene(TOWN), pixels(TOWN))
    assert measured.select(Form(name="ship", relation="left", mark=Form(name="ship", size="largest"))) is None
    everything = Form(name=HOUSE, number=ALL, whole=True)
    assert measured.select(Form(name="ship", relation="left", mark=everything)) is None


def test_components_specks_and_slivers() -> None:
    """8-connected, of a class; too small for a thing below a quarter of `least`; cut off needs eight times as much."""
    mask = np.zeros((40, 60), dtype=np.int64)
    mask[2:8, 2:8] = mask[8:14, 8:14] = 1  # touch at a corner
    mask[30:33, 30:34] = 1  # 12 pixels
    mask[20, 50] = 1  # a speck
    mask[0:5, 40:60] = 3  # cut off, 100 pixels
    things = from_classes(example((40, 60)), mask, NAMES, least=20)
    assert things.classes == ("ship", "ship", HOUSE)
    assert things.ids[5, 5] == things.ids[10, 10] != things.ids[31, 31] > 0 == things.ids[20, 50]
    assert things.vague.tolist() == [False, True, True]
    assert things.dust["ship"] == 1 and things.known == tuple(NAMES[1:])
    mask[18:38, 20:40] = 1
    mask[20:36, 22:38] = 0  # a frame of two pixels
    mask[24:32, 24:34] = 4  # 80 pixels of water
    assert from_classes(example((40, 60)), mask, NAMES, least=20).vague.tolist() == [False, True, True, False]
    mask[18:38, 20:40][mask[18:38, 20:40] != 4] = 1  # not a frame any more
    mask[24:32, 24:25] = 0  # 72
    assert from_classes(example((40, 60)), mask, NAMES, least=20).vague.tolist() == [False, False, True, True]
    mask[:, -2:] = -1
    assert from_classes(example((40, 60)), mask, NAMES, least=20).known == (), "what is unlabelled may hold anything"


def test_things_told_apart_by_numbers() -> None:
    mask = np.zeros((40, 60), dtype=np.int64)
    mask[10:20, 10:40] = 1
    apart = np.zeros((40, 60), dtype=np.int32)
    apart[10:20, 10:20], apart[10:20, 20:30] = 300, 7
    things = from_classes(example((40, 60)), mask, NAMES, least=20, apart=apart)
    assert len(at(things, (15, 15), (15, 25), (15, 35))) == 3 and things.classes == ("ship",) * 3


def test_boxes_as_masks() -> None:
    boxes = np.array([[10, 5, 50, 35], [20.2, 9.8, 30, 20], [48, 5, 58, 15], [11, 6, 49, 34]])
    whole = replace(example((40, 60)), boxes=boxes, classes=("lake", "ship", "ship", "lake"))
    things = from_boxes(whole, least=20)
    assert at(things, (6, 10)) == {1} and at(things, (15, 25)) == {2} and at(things, (10, 52)) == {3}
    assert things.vague.tolist() == [True, False, False, False], "the first is hidden but for its border"
    assert not things.solid and Measures(things, np.zeros((40, 60, 3), np.uint8)).colour["black"].tolist() == [0] * 4


def crowd(seed: int) -> tuple[Instances, NDArray[np.uint8]]:
    """Boxes of all classes at random places, in random colours."""
    rng = np.random.default_rng(seed)
    things: list[Thing] = []
    for _ in range(rng.integers(3, 14)):
        top, left = int(rng.integers(0, HEIGHT - 10)), int(rng.integers(0, WIDTH - 10))
        bottom, right = top + int(rng.integers(3, 30)), left + int(rng.integers(3, 40))
        colour = (WHITE, RED, BLUE, GREY)[rng.integers(4)]
        things.append((int(rng.integers(1, 5)), (top, left, bottom, right), colour))
    return scene(things), pixels(things)


def test_what_is_said_is_true() -> None:
    """By a third, plain look at the masks."""
    seen: set[str] = set()
    for seed in range(60):
        things, rgb = crowd(seed)
        said = express(things, rgb, count=10, negatives=0.2, seed=seed)
        texts = [one.text for one in said.expressions]
        assert len(set(texts)) == len(texts) <= 10
        areas = np.bincount(things.ids.ravel(), minlength=len(things.classes) + 1)
        for one in said.expressions:
            seen.add(one.kind)
            members = [i for i, name in enumerate(things.classes, start=1) if name == one.category]
            others = [i for i in members if i not in one.ids]
            assert set(one.ids) <= set(members) and list(one.ids) == sorted(one.ids)
            assert bool(one.ids) == (one.kind != ABSENT)
            if one.kind == "all":
                assert not others
            elif one.ids:
                assert not things.vague[np.array(one.ids) - 1].any()
            if one.kind in ("largest", "large"):
                assert areas[list(one.ids)].min() >= 1.3 * areas[others].max()
            if one.kind == "smallest":
                assert 1.3 * areas[list(one.ids)].max() <= areas[others].min()
            if one.kind == "category":
                assert len(members) == 1 and not others
            if one.kind == "place" and " left" in one.text and "upper" not in one.text and "top" not in one.text:
                cols = [np.nonzero(things.ids == i)[1].mean() for i in one.ids]
                assert max(cols) < 0.5 * WIDTH
    assert seen >= {
        "all",
        "largest",
        "smallest",
        "place",
        "end",
        "category",
        "count",
        "nearest",
        "left",
        "colour",
        ABSENT,
    }


def test_the_same_seed_and_image() -> None:
    things, rgb = crowd(5)
    first = express(things, rgb, seed=1)
    assert first.expressions == express(things, rgb, seed=1).expressions
    assert first.expressions != express(things, rgb, seed=2).expressions
    renamed = replace(things, example=replace(things.example, name="town/b"))
    assert first.expressions != express(renamed, rgb, seed=1).expressions
    assert first.classes == dict(enumerate(things.classes, start=1))


def test_the_check_drops_what_is_proposed_too_freely(monkeypatch: pytest.MonkeyPatch) -> None:
    things, rgb = scene(moved(0, (4, 6, 26, 41))), pixels(moved(0, (4, 6, 26, 41)))
    monkeypatch.setattr(generate, "KINDS", {"largest": generate.KINDS["largest"]})
    strict = express(things, rgb, count=12)
    monkeypatch.setattr(relations, "LARGEST", 1.0)
    free = express(things, rgb, count=12)
    assert free.refused > strict.refused == 0
    largest_ship = at(things, BIG)
    assert all(set(one.ids) != largest_ship or "two" in one.text for one in free.expressions)


def test_nothing_but_absent_things() -> None:
    empty = from_classes(example(), np.zeros((HEIGHT, WIDTH), dtype=np.int64), NAMES, least=20)
    assert express(empty, pixels([]), count=5).expressions == ()
    said = express(empty, pixels([]), count=5, negatives=1).expressions
    assert said and all(one.ids == () and one.kind == ABSENT for one in said)
    assert {one.category for one in said} <= set(NAMES[1:])


def test_named_colours() -> None:
    patches = {"white": WHITE, "red": RED, "blue": BLUE, "grey": GREY, "green": (50, 120, 50), "black": (22, 22, 24)}
    opinions = colour_names.opinions(colour_names.lab(np.array(list(patches.values()), dtype=np.uint8)))
    for i, name in enumerate(patches):
        assert [other for other in colour_names.NAMES if opinions[other][i] == 1] == [name]
        assert all(opinions[other][i] == -1 for other in patches if other != name)
    between = colour_names.opinions(colour_names.lab(np.array([[185, 185, 185]], dtype=np.uint8)))
    assert not any(vote[0] == 1 for vote in between.values()) and between["white"][0] == between["grey"][0] == 0


def test_lab_of_known_colours() -> None:
    found = colour_names.lab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255], [119, 119, 119]], dtype=np.uint8))
    expected = [[100, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [50.03, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        (Form(name="ship", number=2, colour="white", place="left"), {"two white ships on the left"}),
        (Form(name="tennis court", size="largest"), {"largest tennis court", "biggest tennis court"}),
        (Form(name="water", number=ALL, whole=True), {"all the water", "all areas of water"}),
        (
            Form(name="lake", relation="left", mark=Form(name="water", number=ALL, whole=True)),
            {"lake left of the water"},
        ),
        (Form(name="glass", end="leftmost"), {"leftmost glass", "glass furthest to the left"}),
        (
            Form(name="car", relation="nearest", mark=Form(name="ship", size="largest")),
            {"car closest to the biggest vessel", "car nearest to the largest ship"},
        ),
    ],
)
def test_words(form: Form, texts: set[str]) -> None:
    said = {phrase(form, random.Random(seed)) for seed in range(400)}
    assert texts <= {text.removeprefix("the ") for text in said}
    assert any(text.startswith("the ") for text in said) and not any("  " in text or "{" in text for text in said)


def test_the_tables_fit_each_other() -> None:
    assert set(phrases.PLACES) == set(PLACES) and set(phrases.ENDS) == set(ENDS)
    assert set(phrases.COLOURS) == set(colour_names.NAMES) == set(colour_names.BORDER)
    assert (phrases.mass_word("land (unpaved area)"), phrases.mass_word("tree cover")) == ("land", "trees")
    assert not phrases.mass_word("ship")
    assert phrases.has_colour("building,house") and not phrases.has_colour("water") and not phrases.has_colour("roads")
