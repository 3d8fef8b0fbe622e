"""Sets for change are found as their publishers lay them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthwords.data.change.fakes import FAKES, make_fake_change
from earthwords.data.change.pairs import find_pairs
from earthwords.data.change.spec import all_change_sets
from earthwords.errors import SourceError, UsageError
from earthwords.tasks.data import check_data, list_data, prepare_data


def test_every_set_has_a_fake() -> None:
    assert {spec.name for spec in all_change_sets()} == FAKES.keys()


@pytest.mark.parametrize("name", FAKES)
@pytest.mark.parametrize("above", [0, 1])
def test_each_part_is_found_with_its_masks(name: str, above: int, tmp_path: Path) -> None:
    folder = tmp_path / "download" if above else tmp_path
    truths = make_fake_change(name, folder)
    for part, names in FAKES[name].names.items():
        found = find_pairs(tmp_path, split=None if part == "any" else part, name=name)
        assert [pair.name for pair in found] == list(names) and found.split == part and not found.lonely
        for pair in found:
            before, after, change = pair.read()
            assert before.shape == after.shape == (72, 104, 3)
            np.testing.assert_array_equal(change, truths[f"{part}/{pair.name}"])
            differ = np.abs(before.astype(int) - after).mean(axis=2) > 50
            assert (differ == (change == 1)).mean() > 0.99  # the images are not swapped with the labels


@pytest.mark.parametrize("name", [name for name in FAKES if name != "whu-cd"])
def test_the_layout_tells_the_set(name: str, tmp_path: Path) -> None:
    make_fake_change(name, tmp_path)
    assert find_pairs(tmp_path).spec.name == name


def test_the_dates_are_not_swapped(tmp_path: Path) -> None:
    make_fake_change("s2looking", tmp_path)
    pair = next(iter(find_pairs(tmp_path, split="val")))
    assert (pair.before.parent.name, pair.after.parent.name) == ("Image1", "Image2")


def test_a_file_without_its_partners_is_told(tmp_path: Path) -> None:
    make_fake_change("clcd", tmp_path)
    (tmp_path / "train" / "time2" / "00004.png").unlink()
    found = find_pairs(tmp_path, split="train")
    assert [pair.name for pair in found] == ["00001"]
    lonely = {(path.parent.name, path.name) for path in found.lonely}
    assert lonely == {("time1", "00004.png"), ("label", "00004.png")}


def test_sizes_that_differ_are_one_sentence(tmp_path: Path) -> None:
    make_fake_change("levir-cd", tmp_path)
    path = tmp_path / "val" / "B" / "val_1.png"
    Image.open(path).resize((50, 40)).save(path)
    with pytest.raises(SourceError, match=r"val_1.png is 40 x 50 pixels, .* 72 x 104"):
        next(iter(find_pairs(tmp_path, split="val"))).read()


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    with pytest.raises(UsageError, match="any known layout"):
        find_pairs(tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'levir-cd'"):
        find_pairs(tmp_path, name="levircd")
    make_fake_change("second", tmp_path)
    with pytest.raises(UsageError, match="SECOND for the part 'val'"):
        find_pairs(tmp_path, name="second", split="val")


def test_a_check_counts_pairs_and_pixels_and_tells_what_is_wrong(tmp_path: Path) -> None:
    truths = make_fake_change("clcd", tmp_path)
    checked = check_data("clcd", tmp_path, partial=True, quiet=True)
    assert (checked.items, checked.exit_code) == (4, 0)
    assert checked.pixels["changed"] == sum(int(truth.sum()) for truth in truths.values())
    (tmp_path / "val" / "time1" / "00002.png").write_bytes(b"no picture")
    assert check_data("clcd", tmp_path, partial=True, quiet=True).exit_code == 1
    whole = make_fake_change("levir-cd", tmp_path / "levir")
    assert len(whole) == 6 and check_data("levir-cd", tmp_path / "levir", quiet=True).exit_code == 1  # of 637


def test_the_list_has_the_sets_and_preparation_is_not_needed(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in list_data().sets}
    assert {spec.name for spec in all_change_sets()} < rows.keys() and rows["oscd"]["group"] == "change"
    assert list_data("second").sets[0]["classes"][1] == "water" and list_data("second").table()[2]
    with pytest.raises(UsageError, match="LEVIR-CD needs no preparation"):
        prepare_data("levir-cd", tmp_path, tmp_path / "out")
