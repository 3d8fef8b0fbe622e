"""Words that compete with those asked for."""

import pytest

from earthwords.errors import UsageError
from earthwords.text.competing import AGAINST, against, compete, lacking
from earthwords.text.vocabulary import parse_classes

EVERYTHING = [word for ground in AGAINST for word in ground.words]


def test_a_lone_word_competes_by_default() -> None:
    found = compete(parse_classes(["tree"]))
    assert found.titles == ("tree", "background") and found.background == 1
    assert found.classes[1].read_as == found.queries[1:] == against(parse_classes(["tree"]))
    assert found.query_class.tolist() == [0] + [1] * (len(found.queries) - 1)


def test_several_classes_or_a_background_are_left_alone() -> None:
    for words in (["tree", "road"], ["tree", "background"]):
        asked = parse_classes(words)
        assert compete(asked) is asked
    lone = parse_classes(["tree"])
    assert compete(lone, "none") is lone


@pytest.mark.parametrize(
    ("asked", "gone", "kept"),
    [
        ("tree", {"trees", "forest"}, {"grass", "cropland", "building"}),
        ("vegetation", {"trees", "grass", "cropland"}, {"building", "water", "bare land"}),
        ("houses", {"building", "roof", "house"}, {"road", "trees"}),
        ("lakes", {"water", "river", "lake", "sea"}, {"road", "trees"}),
        ("flooded road,flood", {"water", "sea"}, {"building", "trees"}),
        ("soil", {"bare land", "sand"}, {"cropland", "road"}),
        ("highway", {"road", "street"}, {"building"}),
        ("solar panel", set(), {"building", "roof", "road"}),
        ("car", set(), set(EVERYTHING)),
    ],
)
def test_what_means_the_same_does_not_compete(asked: str, gone: set[str], kept: set[str]) -> None:
    words = set(against(parse_classes([asked])))
    assert not words & gone and kept <= words


def test_auto_joins_a_background_that_is_there() -> None:
    found = compete(parse_classes(["ship", "background,clutter"]), "auto")
    assert len(found) == 2 and found.background == 1
    assert found.classes[1].queries[:2] == ("background", "clutter") and "water" in found.classes[1].queries
    assert found.classes[1].names == ("background", "clutter")


def test_words_of_ones_own_compete() -> None:
    found = compete(parse_classes(["ship", "pier"]), ["harbour, quay", "sea"])
    assert found.classes[2].read_as == ("harbour", "quay", "sea") and found.titles == ("ship", "pier", "background")
    with pytest.raises(UsageError, match="'Ship' is a class"):
        compete(parse_classes(["ship"]), "Ship,sea")
    with pytest.raises(UsageError, match="Name words that compete"):
        compete(parse_classes(["ship"]), " , ")


def test_what_a_request_leaves_to_nothing() -> None:
    assert lacking(parse_classes(["building", "road"])) == ("trees", "grass", "cropland", "bare land", "water")
    assert lacking(parse_classes(EVERYTHING)) == ()
