"""What a request is said to be worth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

import earthwords
from earthwords.errors import Caution, UsageError
from earthwords.geo.scene import Scene, open_scene
from earthwords.inference.cautions import GREY, RADAR_COLOURS, Tally, enforce, scene_notes, vocabulary_notes
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.text.competing import against_things, with_background
from earthwords.text.known_words import KnownWords, read_words
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Grid

KNOWN = (0.25, 4.0)


def scene(gsd: float | None, *, worked: float | None = None) -> Scene:
    """A scene of 100 x 130 random pixels of `gsd` metres."""
    found = open_scene(np.random.default_rng(0).integers(0, 256, (100, 130, 3), np.uint8))
    if gsd is not None:
        where = Affine(gsd, 0, 400_000, 0, -gsd, 5_000_000)
        found.native = found.grid = Grid(height=100, width=130, transform=where, crs=CRS.from_epsg(32633))
    return found if worked is None else found.at(worked)


def told(gsd: float | None, **more) -> tuple[str, ...]:
    return scene_notes(scene(gsd, **more), model="m", gsd=KNOWN)


@pytest.mark.parametrize("gsd", [0.25, 0.3, 1.0, 4.0])
def test_resolutions_that_were_learned_are_not_worth_a_word(gsd: float) -> None:
    assert told(gsd) == ()


def test_coarser_and_finer_ones_are() -> None:
    (far,), (near,), (fine,) = told(90), told(5), told(0.05)
    assert isinstance(far, Caution) and "90 m" in far and "0.25 to 4 m" in far and "means little" in far
    assert isinstance(near, Caution) and "5 m" in near and "may be wrong throughout" in near
    assert isinstance(fine, Caution) and "too large" in fine


def test_what_was_worked_at_instead_is_said() -> None:
    (note,) = told(0.05, worked=0.25)
    assert not isinstance(note, Caution) and "A pixel is 0.05 m; worked at 0.25 m" in note


def test_notes_of_many_scenes_are_counted_by_scene() -> None:
    tally = Tally()
    for size in (60, 90):
        tally.add([f"Worked at {size} m.", Caution("'b1' is new."), Caution("'b2' is new."), "Same.", "Same."])
    tally.add(["Same."])
    assert tally.lines(3, what="scenes") == (
        "2 of 3 scenes: Worked at 60 m.", "2 of 3 scenes: 'b1' is new.", "2 of 3 scenes: 'b2' is new.", "Same.",
    )  # fmt: skip


def test_a_size_that_nobody_knows_is_said() -> None:
    (note,) = told(None)
    assert not isinstance(note, Caution) and "unknown" in note
    assert scene_notes(scene(None), model="m", gsd=None) == ()


def test_scenes_looked_at_in_levels_cannot_be_too_fine() -> None:
    assert scene_notes(scene(0.05), model="m", gsd=KNOWN, levels=True) == ()
    (far,) = scene_notes(scene(90), model="m", gsd=KNOWN, levels=True)
    assert "0.25 to 4 m" in far


def notes_of(*words: str, **more) -> tuple[str, ...]:
    lexicon = KnownWords(pictures=dict.fromkeys(("building", "road", "water", "trees", "car", "vegetation"), 99))
    return vocabulary_notes(parse_classes(list(words), **more), lexicon=lexicon, model="m")


def test_words_that_cover_a_scene_are_not_worth_a_word() -> None:
    assert notes_of("building", "road", "water", "trees", "vegetation") == ()
    (left,) = notes_of("building", "road", "water", "trees")
    assert "none of them means grass, cropland, bare land" in left and not isinstance(left, Caution)


def test_words_that_leave_most_of_a_scene_to_nothing_are() -> None:
    (note,) = notes_of("building", "road")
    assert isinstance(note, Caution) and "--against auto" in note and "water" in note and "trees" in note
    assert notes_of("building", "road", "background")[-1:] == ()


def test_enforce_makes_an_error_of_a_caution_only() -> None:
    enforce(["a note"], strict=True)
    enforce([Caution("careful")], strict=False)
    with pytest.raises(UsageError, match=r"careful .*--strict"):
        enforce(["a note", Caution("careful")], strict=True)


def test_many_scenes_are_told_together() -> None:
    tally = Tally()
    tally.add([Caution("A pixel is 5 m."), "grey"])
    tally.add([Caution("A pixel is 12.5 m."), "grey"])
    tally.add(["grey"])
    first, second = tally.lines(3, what="scenes")
    assert first == "2 of 3 scenes: A pixel is 5 m." and isinstance(first, Caution)
    assert second == "grey" and not isinstance(second, Caution)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_preset("tiny")


def test_a_grey_picture_is_told_whether_or_not_it_has_three_bands(segmenter: Segmenter) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (64, 80), np.uint8)
    words = ["building", "road", "water", "trees"]
    for image in (grey, np.dstack([grey] * 3)):
        assert segmenter.predict(image, words).notes.count(GREY) == 1
    coloured = np.dstack([grey] * 3)
    coloured[3, 5, 1] ^= 255
    assert GREY not in segmenter.predict(coloured, words).notes
    with pytest.raises(UsageError, match="grey"):
        segmenter.predict(grey, words, strict=True)


def test_radar_is_grey(segmenter: Segmenter) -> None:
    """Of weights that learned radar, colours are told and grey is not, by whatever way a map is made."""
    radar = Segmenter(replace(segmenter.preset, radar=True), segmenter.encoder)
    grey = np.random.default_rng(1).integers(0, 256, (64, 80), np.uint8)
    words = ["building", "road", "water", "trees"]
    for image in (grey, np.dstack([grey] * 3)):
        found = radar.predict(image, words)
        assert not {GREY, RADAR_COLOURS} & set(found.notes) and found.tags["EARTHWORDS_SENSOR"] == "radar"
    coloured = np.dstack([grey] * 3)
    coloured[3, 5, 1] ^= 255
    assert radar.predict(coloured, words).notes.count(RADAR_COLOURS) == 1
    assert "EARTHWORDS_SENSOR" not in segmenter.predict(coloured, words).tags


def test_undecided_pixels_are_counted_and_said(segmenter: Segmenter) -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, 80, 3), np.uint8)
    one = segmenter.predict(image, ["water", "zxqv"], against="none", probabilities=True)
    second, first = np.sort(one.probabilities, axis=0)
    assert one.undecided is not None
    np.testing.assert_array_equal(one.undecided, first - second < 0.2 * (first + second))
    flat = Segmenter(replace(segmenter.preset, logit_scale=1e-3), segmenter.encoder)
    told = flat.predict(image, ["water", "road", "trees", "building"])
    assert any("100% of the map is undecided" in note for note in told.notes)
    with pytest.raises(UsageError, match="undecided"):
        flat.predict(image, ["water", "road", "trees", "building"], strict=True)


def test_a_lone_word_does_not_take_everything(segmenter: Segmenter) -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, 80, 3), np.uint8)
    found = segmenter.predict(image, ["swimming pool"])
    assert found.vocabulary.titles == ("swimming pool", "background")
    assert any(note.startswith("As background compete: building") for note in found.notes)
    assert (found.labels == 1).mean() > 0.5
    alone = segmenter.predict(image, ["swimming pool"], against="none")
    assert (alone.labels == 255).mean() > 0.5 and any("--against auto" in note for note in alone.notes)
    anything = Segmenter(replace(segmenter.preset, nothing=None), segmenter.encoder)
    assert (anything.predict(image, ["swimming pool"], against="none").labels == 0).all()


def test_rivals_that_nobody_asked_for_are_no_caution() -> None:
    """`count --strict` would refuse every scene; of one's own words it is said."""
    lexicon = read_words(Path(earthwords.__file__).parent / "assets" / "tiny")
    words = parse_classes(["car"])
    auto = vocabulary_notes(with_background(words, against_things(words)), lexicon=lexicon, model="tiny")
    assert "sports field" in " ".join(auto) and not any(isinstance(note, Caution) for note in auto)
    own = vocabulary_notes(with_background(words, ("zeppelin",)), lexicon=lexicon, model="tiny")
    assert any(isinstance(note, Caution) and "zeppelin" in note for note in own)
