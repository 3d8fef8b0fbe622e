"""Captions tell the truth, in English, and the same every time."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.data.captions.box_to_caption import captions, in_middle
from earthwords.text import phrases

HEIGHT, WIDTH = 90, 150
NOUNS = {"bridge": "bridges", "chimney": "chimneys", "person": "people", "city bus": "city buses", "area": "areas"}


def example(boxes: object, classes: list[str], name: str = "a") -> Annotated:
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return Annotated(name=name, set="s", image="a.png", size=(HEIGHT, WIDTH), boxes=boxes, classes=tuple(classes))


def random_example(seed: int) -> Annotated:
    rng = np.random.default_rng(seed)
    names = rng.choice(list(NOUNS), size=rng.integers(1, 5), replace=False)
    classes = [str(name) for name in names for _ in range(rng.choice([1, 2, 10, 11, 15]))]
    corner = rng.uniform(0, 1, (len(classes), 2)) * (WIDTH - 9, HEIGHT - 9)
    return example(np.concatenate([corner, corner + rng.uniform(1, 9, corner.shape)], axis=1), classes, f"n{seed}")


def told(caption: str) -> dict[str, tuple[str, bool]]:
    """Noun -> how many of it a caption tells, and whether in the plural."""
    found = {}
    for one, many in NOUNS.items():
        number = r"(\d+|an?|many|a lot of|lots of|a large number of|both|and|)"
        for match in re.finditer(rf"\b{number} ?\b({many}|{one})\b", caption, re.IGNORECASE):
            found[one] = (match[1].lower(), match[2].lower() == many)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_the_numbers_are_true(seed: int) -> None:
    image = random_example(seed)
    middle = in_middle(image.boxes, image.size)
    for caption in captions(image):
        at = np.ones(len(middle), bool)
        if re.search("middle|at the center|in the center", caption):
            at = middle
        elif re.search("edge|away", caption):
            at = ~middle
        counts = Counter(name for name, here in zip(image.classes, at, strict=True) if here)
        mentioned = told(caption)
        assert mentioned, caption
        if not at.all():
            assert mentioned.keys() == counts.keys()
        for noun, (number, several) in mentioned.items():
            assert several == (counts[noun] > 1), caption
            if number.isdigit():
                assert int(number) == counts[noun] <= 10, caption
            elif number in ("a", "an"):
                assert counts[noun] == 1, caption
            elif "both" not in caption.lower():
                assert counts[noun] > 10, caption


@pytest.mark.parametrize("seed", range(10))
def test_five_that_differ_and_stay(seed: int) -> None:
    image = random_example(seed)
    first = captions(image)
    assert len(first) == len(set(first)) == 5
    assert first == captions(image) != captions(image, seed=1)
    assert len(captions(image, count=1)) == 1 and len(captions(image, count=9)) == 9


def test_no_objects_no_captions() -> None:
    assert captions(example(no_boxes(), [])) == ()


def test_the_middle_is_the_middle_third_of_both_axes() -> None:
    centres = np.array([(50, 30), (100, 60), (49, 45), (75, 61), (75, 45), (10, 45), (101, 45)])
    boxes = np.concatenate([centres - 3, centres + 3], axis=1)
    assert in_middle(boxes, (HEIGHT, WIDTH)).tolist() == [True, True, False, False, True, False, False]


def test_one_object_in_the_middle_has_no_edge() -> None:
    said = captions(example([[70, 40, 80, 50]], ["bridge"]))
    assert len(set(said)) == 5 and not any("edge" in c or "away" in c for c in said)
    assert all(re.search(r"\ba bridge\b", c, re.IGNORECASE) for c in said)
    assert not any("there are" in c.lower() or " are " in c for c in said)


def test_different_names_of_a_thing_are_one_class() -> None:
    boxes = [[1, 1, 3, 3], [5, 5, 9, 9], [70, 40, 80, 50]]
    said = captions(example(boxes, ["plane", "airplane", "Airplane"]), count=8)
    assert all(re.search(r"\b([23] (air)?planes|an? (air)?plane)\b", c, re.IGNORECASE) for c in said)


def test_a_shared_word_is_given_to_neither() -> None:
    """`tank` would be one of either."""
    boxes = [[1, 1, 3, 3], [5, 5, 9, 9]]
    for seed in range(20):
        for caption in captions(example(boxes, ["tank,storage tank", "tank,oil drum"]), seed=seed):
            assert not re.search(r"\b(a|2) tanks?\b", caption, re.IGNORECASE)


@pytest.mark.parametrize(
    ("name", "one", "several"),
    [
        ("bus", "a bus", "2 buses"),
        ("underpass", "an underpass", "2 underpasses"),
        ("small-vehicle", "a small vehicle", "2 small vehicles"),
        ("Expressway-toll-station", "an expressway toll station", "2 expressway toll stations"),
        ("GolfCourse", "a golf course", "2 golf courses"),
        ("parking lots,", "a car park", "2 car parks"),
        ("trees", "a tree", "2 trees"),
        ("city", "a city", "2 cities"),
        ("beaches", "a beach", "2 beaches"),
        ("aircraft", "an aircraft", "2 aircraft"),
        ("crossroads", "a crossroads", "2 crossroads"),
        ("land (unpaved area)", "an area of land", "2 areas of land"),
        ("water", "an area of water", "2 areas of water"),
        ("low_vegetation", "an area of low vegetation", "2 areas of low vegetation"),
        ("grass", "an area of grass", "2 areas of grass"),
        ("human", "a person", "2 people"),
        ("unit", "a unit", "2 units"),
        ("hour glass", "an hour glass", "2 hour glasses"),
        ("wharf", "a wharf", "2 wharves"),
        ("...", "an object", "2 objects"),
    ],
)
def test_english(name: str, one: str, several: str) -> None:
    noun = phrases.words_for(name)[0]
    assert phrases.counted(noun, 1, "many") == one
    assert phrases.counted(noun, 2, "many") == several
    assert phrases.counted(noun, 10, "many") == several.replace("2", "10")
    assert phrases.counted(noun, 11, "many") == several.replace("2", "many")


def test_every_word_of_the_table_has_a_plural() -> None:
    for name in (*phrases.SYNONYMS, *phrases.MASS):
        for noun in phrases.words_for(name):
            assert phrases.plural(noun) != noun or noun == "aircraft", noun
            assert phrases.singular(phrases.plural(noun)) == noun, noun


def test_verbs_agree() -> None:
    assert phrases.sentence("{there} {things}", ["a bridge", "3 cars"], single=True) == "There is a bridge and 3 cars"
    assert (
        phrases.sentence("{things} {are} here", ["a bridge", "3 cars"], single=True) == "A bridge and 3 cars are here"
    )
    assert phrases.sentence("{things} {are} here", ["a bridge"], single=True) == "A bridge is here"
    assert phrases.sentence("{things} {are}", ["2 a", "3 b", "4 c"], single=False) == "2 a, 3 b and 4 c are"
