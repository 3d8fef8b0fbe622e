"""What is said about words that a model has not learned."""

import json

import pytest

from earthwords.errors import Caution, WeightsError
from earthwords.text.known_words import FILE, KnownWords, Pieces, count_words, forms, named, read_words, word_cautions
from earthwords.text.tokenizer import ClipTokenizer

KNOWN = KnownWords(
    pictures={"building": 900, "roof": 300, "trees": 400, "tennis": 60, "court": 60, "tennis court": 60, "green": 70},
    rendered={"solar panel": 80, "solar": 80, "panel": 80, "building": 500, "trees": 600},
)


def test_known_words_pass_in_any_case_and_number() -> None:
    for word in ("building", "Buildings", "tree", "tennis  courts", "green roof", "the roof of a building"):
        assert KNOWN.doubt(word, "m") is None, word


def test_unknown_words_are_named() -> None:
    assert KNOWN.doubt("zxqv blorp", "m") == "is not among the words that m learned"
    assert KNOWN.doubt("green zxqv", "m") == "is not among the words that m learned (zxqv)"


def test_a_word_of_rendered_scenes_alone_is_told_apart() -> None:
    doubt = KNOWN.doubt("solar panels", "m")
    assert doubt is not None and "rendered scenes only" in doubt


def test_a_word_of_too_few_pictures_is_not_learned() -> None:
    assert KnownWords(pictures={"tent": 4}).doubt("tent", "m") is not None
    assert KnownWords(pictures={"tent": 5}).doubt("tent", "m") is None
    assert len(KnownWords(pictures={"tent": 4, "roof": 5, "tennis court": 9})) == 1


def test_near_words_are_known_ones_by_spelling_and_by_meaning() -> None:
    assert KNOWN.near("bilding")[0] == "building"
    near = KNOWN.near("solar panel")
    assert set(near) <= {"roof", "building", "trees"} and {"roof", "building"} <= set(near)
    assert "solar panel" not in near


def test_words_of_two_trainings_add_up() -> None:
    both = KNOWN.joined(KnownWords(pictures={"building": 1, "ship": 7}))
    assert both.pictures["building"] == 901 and both.pictures["ship"] == 7 and both.rendered == dict(KNOWN.rendered)


def test_counts_are_of_pictures() -> None:
    found = count_words(
        [
            (["A ship, a ship and a pier."], ["storage tank"], False),
            (["two ships"], [], False),
            ([], ["ship", "solar panel"], True),
        ]
    )
    assert found.pictures["ship"] == 1 and found.pictures["ships"] == 1 and found.pictures["storage tank"] == 1
    assert found.pictures["tank"] == 1 and found.rendered == {"ship": 1, "solar panel": 1, "solar": 1, "panel": 1}


@pytest.fixture(scope="module")
def openai() -> Pieces:
    return Pieces(ClipTokenizer.openai().pieces)


@pytest.mark.parametrize(
    "word", ["building", "greenhouse", "photovoltaic", "chaparral", "bareland", "saltmarsh", "kiwi", "the sea"]
)
def test_words_of_the_web_pass_clips_tokenizer(openai: Pieces, word: str) -> None:
    assert openai.doubt(word, "clip") is None


def test_rows_of_letters_and_other_scripts_do_not(openai: Pieces) -> None:
    assert "row of letters (zxqv, blorp)" in str(openai.doubt("zxqv blorp", "clip"))
    assert "row of letters (rvtmq)" in str(openai.doubt("a red rvtmq", "clip"))
    assert "script" in str(openai.doubt("дом", "clip")) and "script" in str(openai.doubt("مبنى", "clip"))
    assert openai.doubt("!?", "clip") == "holds no word"


def test_a_line_each_and_one_for_the_rest() -> None:
    words = [f"zxqv{letter}" for letter in "abcdefgh"]
    said = word_cautions(["building", *words], KNOWN, "m")
    assert len(said) == 5 and all(isinstance(line, Caution) for line in said)
    assert "'zxqva'" in said[0] and "4 more" in said[-1] and "'zxqvh'" in said[-1]
    assert word_cautions(["building"], KNOWN, "m") == () == word_cautions(["zxqv"], None, "m")


def test_a_list_is_read_as_written_and_a_damaged_one_refused(tmp_path) -> None:
    assert read_words(tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps(KNOWN.plain()), encoding="utf-8")
    assert read_words(tmp_path) == KNOWN
    for text in ("[1]", '{"pictures": {"a": "x"}}', "{", "[" * 100_000):
        (tmp_path / FILE).write_text(text, encoding="utf-8")
        with pytest.raises(WeightsError, match="damaged"):
            read_words(tmp_path)


def test_forms_and_small_words() -> None:
    assert {"city", "cities"} <= forms("cities") & forms("city")
    assert "bus" in forms("buses") and "tree" in forms("trees")
    assert "grass" not in forms("gras") and "gras" not in forms("grass")
    assert named("The ship on the left of a pier") == ["ship", "pier"]
