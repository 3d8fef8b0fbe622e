"""Which bands become red, green and blue."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.geo.bands import Band, choose_bands, likeness


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


@pytest.mark.parametrize(
    ("roles", "number"), [(("gray",), 1), (("gray", "alpha"), 1), (("alpha", "undefined"), 2), (("undefined",), 1)]
)
def test_one_band_is_repeated_and_that_is_said(roles: tuple[str, ...], number: int) -> None:
    choice = choose_bands(bands(*roles))
    assert choice.numbers == (number,) * 3
    assert choice.repeated and choice.true_colour is False
    assert choice.notes == (f"Band {number} repeated three times as red, green, blue (the only one).",)


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


@pytest.mark.parametrize(
    ("roles", "names", "wanted", "parts", "true_colour"),
    [
        (("red", "green", "blue"), (), None, ("red", "green", "blue"), True),
        (("gray", "undefined", "undefined", "undefined"), (), None, ("", "", ""), None),
        (("gray", "undefined", "undefined", "undefined"), (), [4, 3, 2], ("", "", ""), None),
        (("blue", "green", "red", "undefined"), ("", "", "", "NIR"), [4, 3, 2], ("nir", "red", "green"), False),
        (("undefined",) * 4, ("B2", "B3", "B4", "B8"), [3, 2, 1], ("red", "green", "blue"), True),
        (("undefined",) * 4, ("B02", "B03", "B04", "B08"), [4, 3, 2], ("nir/pan", "red", "green"), False),
        (("undefined",) * 4, ("Blue", "Green", "Red", "Near Infrared"), [4, 3, 2], ("nir", "red", "green"), False),
        (("palette",), (), None, ("red", "green", "blue"), True),
        (("undefined",) * 3, ("VV", "VH", "ratio"), None, ("", "", ""), None),
        # GDAL calls the bands of a stack of bytes red, green and blue unless told otherwise
        (("red", "green", "blue"), ("nir", "red", "green"), None, ("nir", "red", "green"), False),
    ],
)
def test_what_is_known_of_the_colours(
    roles: tuple[str, ...],
    names: tuple[str, ...],
    wanted: list[int] | None,
    parts: tuple[str, ...],
    true_colour: bool | None,
) -> None:
    choice = choose_bands(bands(*roles, names=names), wanted)
    assert choice.parts == parts
    assert choice.true_colour is true_colour


def test_names_count_more_than_the_colours_that_gdal_makes_up() -> None:
    choice = choose_bands(bands("red", "green", "blue", "alpha", names=("B02", "B03", "B04", "B08")))
    assert choice.numbers == (3, 2, 1)


@pytest.mark.parametrize(
    ("names", "numbers", "sensor"),
    [
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", "ST_B6"), (3, 2, 1), "Landsat 4 to 7"),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"), (3, 2, 1), "Landsat 4 to 7"),
        (("SR_B1", "SR_B2", "SR_B3"), (3, 2, 1), "Landsat 4 to 7"),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), (4, 3, 2), "Landsat 8"),
        (("SR_B2", "SR_B3", "SR_B4"), (3, 2, 1), "Landsat 8"),
    ],
)
def test_landsats_are_told_apart(names: tuple[str, ...], numbers: tuple[int, ...], sensor: str) -> None:
    choice = choose_bands(bands(*["undefined"] * len(names), names=names))
    assert choice.numbers == numbers
    assert sensor in choice.notes[0]


def test_text_is_taken_as_on_the_command_line() -> None:
    assert choose_bands(PLAIN4, "4,3, 2").numbers == (4, 3, 2)
    assert choose_bands(BGRN, "nir,red,green").numbers == (4, 3, 2)


def test_how_alike_three_bands_are() -> None:
    rng = np.random.default_rng(4)
    first = rng.normal(size=(70, 90))
    data = np.stack([first, first + rng.normal(size=(70, 90)), 3 - 2 * first])
    valid = rng.random((70, 90)) < 0.5
    assert likeness(data, valid) == pytest.approx(np.corrcoef(data[:, valid]).min())
    assert likeness(data, valid) == pytest.approx(-1)
    assert likeness(data, np.zeros((70, 90), bool)) is None
    data[1] = 7
    assert likeness(data, valid) is None
