"""Sets of scenes as they lie on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earthwords.data.classification.sets import (
    PUBLISHED,
    class_words,
    find_scene_sets,
    is_scene_set,
    known,
    read_scene_set,
)
from earthwords.errors import SourceError, UsageError
from earthwords.text.templates import TEMPLATES
from tests.scenes import CLASSES, records, write_folders, write_records


@pytest.mark.parametrize("inside", ["images", ""])
def test_folders_of_classes(tmp_path: Path, inside: str) -> None:
    found = read_scene_set(write_folders(tmp_path / "aid30", inside=inside))
    assert found.classes == ("bare land", "dense forest", "riverside") and found.name == "aid30"
    assert np.bincount(found.labels).tolist() == list(CLASSES.values())
    assert [path.name for path in found.paths[-9:]] == [f"riverside_{n}.png" for n in range(1, 10)]
    assert (found.parts, found.counts, set(found.captions)) == ({}, None, {()})


def test_split_files(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "set")
    (folder / "test.txt").write_text("images/BareLand/BareLand_2.png\n\nriverside_9.png\n")
    (folder / "val.txt").write_text("\ufeffdense_forest/dense_forest_1.png")
    found = read_scene_set(folder)
    parts = {name: [found.paths[i].name for i in index] for name, index in found.parts.items()}
    assert parts == {"test": ["BareLand_2.png", "riverside_9.png"], "validation": ["dense_forest_1.png"]}
    (folder / "train.txt").write_text("nothing.png")
    with pytest.raises(SourceError, match="which is no image"):
        read_scene_set(folder)


def test_records_find_their_images_beside_them(tmp_path: Path) -> None:
    write_folders(tmp_path / "pictures")
    found = read_scene_set(write_records(tmp_path / "captions"))
    assert found.paths[0] == tmp_path / "pictures" / "images" / "BareLand" / "BareLand_1.png"
    assert found.classes == ("bare land", "dense forest", "riverside")
    assert found.captions[1] == ("There are 2 roads .", "Water beside trees .", "A building .")
    assert not found.captions[2] and found.counts.tolist()[:5] == [1, 2, 0, 4, 5]
    sizes = {name: len(index) for name, index in found.parts.items()}
    assert sizes == {"train": 14, "validation": 2, "test": 4} and sum(sizes.values()) == 20
    assert read_scene_set(tmp_path / "captions", names={"BareLand": "bare soil"}).classes[0] == "bare soil"


def test_splits_of_a_known_set_come_from_the_records_beside_it(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "ucmerced21")
    assert read_scene_set(folder).parts == {}
    write_records(tmp_path / "ucm_captions", records(captions=False)[:-1])
    found = read_scene_set(folder)
    assert len(found.paths) == 20 and sum(map(len, found.parts.values())) == 19
    assert found.paths[found.parts["test"][0]].name == "BareLand_4.png"


def test_words_of_published_sets() -> None:
    assert class_words("RailwayStation") == class_words("railway_station") == "railway station"
    assert class_words("denseforest", known("RSC11")) == "dense forest"
    assert class_words("HerbaceousVegetation", known("EuroSAT")) == "brushland or shrubland"
    assert class_words("river_lake", known("rsscn7")) == "river or lake"
    assert class_words("denseresidential", known("UCMerced")) == "dense residential area"
    assert known("WHU-RS19").words and known("something").templates == "remoteclip5"
    names = [name for row in PUBLISHED for name in row.folders]
    assert len(names) == len(set(names)) and {row.templates for row in PUBLISHED} <= TEMPLATES.keys()


def test_what_is_no_set(tmp_path: Path) -> None:
    write_folders(tmp_path / "aid30")
    with pytest.raises(UsageError, match="Did you mean 'aid30'"):
        read_scene_set(tmp_path / "aid31")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "other.json").write_text('{"classes": {}}')
    assert (
        is_scene_set(tmp_path / "aid30") and not is_scene_set(tmp_path / "empty") and not is_scene_set(tmp_path / "x")
    )
    with pytest.raises(UsageError, match="no data set"):
        read_scene_set(tmp_path / "empty")


def test_sets_of_a_folder(tmp_path: Path) -> None:
    write_folders(tmp_path / "root" / "AID")
    write_folders(tmp_path / "root" / "tiles of something")
    write_records(tmp_path / "root" / "sentences")
    (tmp_path / "root" / "broken").mkdir()
    (tmp_path / "root" / "broken" / "a.json").write_text("{")
    assert [path.name for path in find_scene_sets(tmp_path / "root")] == ["AID", "sentences"]
    alone = tmp_path / "root" / "tiles of something"
    assert find_scene_sets(alone) == [alone] and find_scene_sets(tmp_path / "root" / "broken") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "Cannot read"), ('{"images": [{"filename": "a.png"}, {}]}', "needs a filename")],
)
def test_damaged_records(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SourceError, match=words):
        read_scene_set(tmp_path)


def test_records_of_images_that_are_not_there(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "captions")
    with pytest.raises(SourceError, match="nor in images of a folder beside"):
        read_scene_set(folder)
    write_folders(tmp_path / "pictures")
    (tmp_path / "pictures" / "images" / "riverside" / "riverside_3.png").unlink()
    with pytest.raises(SourceError, match=r"1 of the 20 images .*riverside_3.png"):
        read_scene_set(folder)
