"""Which bands become red, green and blue."""

from __future__ import annotations

import pytest

from earthwords.errors import UsageError
from earthwords.geo.bands import Band, choose_bands


def bands(*roles: str, names: tuple[str, ...] = ()) -> list[Band]:
    texts = names or ("",) * len(roles)
    return [
        Band(number=i + 1, role=role, description=text) for i, (role, text) in enumerate(zip(roles, texts, strict=True))
    ]


PLAIN4 = bands("gray", "undefined", "undefined", "undefined")
BGRN = bands("blue", "green", "red", "undefined", names=("", "", "", "NIR"))


def test_colour_interpretation_decides() -> None:
    choice = choose_bands(BGRN)
    assert choice.numbers == (3, 2, 1)
    assert choice.names == ("red", "green", "blue")
    assert "Bands 3,2,1 chosen as red, green, blue" in choice.notes[0]


def test_plain_rgb_needs_no_note() -> None:
    assert choose_bands(bands("red", "green", "blue", "alpha")).notes == ()


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (("Blue", "Green", "Red", "nir"), (3, 2, 1)),
        (("B02", "B03", "B04", "B08"), (3, 2, 1)),
        (("B8", "B4", "B3", "B2"), (2, 3, 4)),
        (("nir", "r", "g", "b"), (2, 3, 4)),
    ],
)
def test_descriptions_decide_without_colours(names: tuple[str, ...], numbers: tuple[int, ...]) -> None:
    choice = choose_bands(bands("gray", "undefined", "undefined", "undefined", names=names))
    assert choice.numbers == numbers
    assert choice.names == ("red", "green", "blue")
    assert names[numbers[0] - 1] in choice.notes[0]


def test_sentinel_is_named_in_the_note() -> None:
    choice = choose_bands(bands("gray", "undefined", "undefined", names=("B04", "B03", "B02")))
    assert "Sentinel-2" in choice.notes[0]


def test_else_the_first_three_and_a_note() -> None:
    choice = choose_bands(PLAIN4)
    assert choice.numbers == (1, 2, 3)
    assert "the first three" in choice.notes[0]


def test_alpha_is_no_colour() -> None:
    assert choose_bands(bands("alpha", "gray", "undefined", "undefined")).numbers == (2, 3, 4)


def test_palette_counts_three_times() -> None:
    choice = choose_bands(bands("palette"))
    assert choice.through_palette
    assert choice.numbers == (1, 1, 1)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ([4, 3, 2], (4, 3, 2)),
        (["4", " 3", "2"], (4, 3, 2)),
        ([1, 1, 1], (1, 1, 1)),
        (["nir", "RED", "green"], (4, 3, 2)),
        (["NIR", 1, "blue"], (4, 1, 1)),
    ],
)
def test_the_user_decides(wanted: list[int | str], numbers: tuple[int, ...]) -> None:
    assert choose_bands(BGRN, wanted).numbers == numbers


def test_a_repeated_band_is_noted() -> None:
    choice = choose_bands(bands("gray"), [1, 1, 1])
    assert choice.names == ("band 1",) * 3
    assert "repeated three times" in choice.notes[0]


@pytest.mark.parametrize("roles", [("gray",), ("gray", "alpha")])
def test_one_band_is_not_enough(roles: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"has 1 band and three are needed.*--bands 1,1,1"):
        choose_bands(bands(*roles))


def test_two_bands_are_not_enough() -> None:
    with pytest.raises(UsageError, match=r"has 2 bands and three are needed.*--bands 1,2,2"):
        choose_bands(bands("gray", "undefined"))


@pytest.mark.parametrize("wanted", [[], [2], [1, 2], [1, 2, 3, 4]])
def test_three_bands_must_be_asked_for(wanted: list[int | str]) -> None:
    with pytest.raises(UsageError, match=rf"Three bands are needed \(red, green, blue\), got {len(wanted)}"):
        choose_bands(PLAIN4, wanted)


@pytest.mark.parametrize("number", [0, 5, -1])
def test_numbers_out_of_range_are_refused(number: int) -> None:
    with pytest.raises(UsageError, match=rf"Band {number} does not exist: the raster has 4 bands"):
        choose_bands(PLAIN4, [1, 2, number])


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"Unknown band 'gren'. Did you mean 'green'\?"):
        choose_bands(BGRN, ["red", "gren", "blue"])


def test_a_name_of_two_bands_is_refused() -> None:
    doubled = bands("gray", "undefined", "undefined", names=("a", "a", "b"))
    with pytest.raises(UsageError, match=r"Several bands are named 'a' \(numbers 1, 2\)"):
        choose_bands(doubled, ["a", "b", "b"])
