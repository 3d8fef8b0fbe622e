"""A check finds what is wrong, and a loader opens what is in use elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthwords.data.segmentation.fakes import make_fake
from earthwords.data.segmentation.loader import open_set
from earthwords.data.segmentation.spec import find_spec
from earthwords.data.segmentation.tiles import tiles
from earthwords.errors import SourceError, UsageError
from earthwords.geo.grids.tiling import axis_starts
from tests.data.segmentation.test_prepare import check, pixels, prepare


@pytest.fixture
def loveda(tmp_path: Path) -> Path:
    make_fake("loveda", tmp_path / "src")
    prepare("loveda", tmp_path / "src", tmp_path / "dst")
    return tmp_path / "dst"


def lonely(folder: Path) -> None:
    (folder / "ann_dir/val/3514.png").unlink()


def strange(folder: Path) -> None:
    path = folder / "ann_dir/val/3514.png"
    labels = pixels(path).copy()
    labels[0, 0] = 77
    Image.fromarray(labels).save(path)


def smaller(folder: Path) -> None:
    path = folder / "ann_dir/val/3514.png"
    Image.fromarray(pixels(path)[:, :-1]).save(path)


def changed(folder: Path) -> None:
    path = folder / "img_dir/val/2522.png"
    Image.fromarray(pixels(path)[::-1]).save(path)


def truncated(folder: Path) -> None:
    path = folder / "ann_dir/val/2522.png"
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("harm", "what", "words"),
    [
        (lonely, "files without a partner", None),
        (strange, "files that cannot be read", "value 77"),
        (smaller, "labels of another size", "80 x 63 pixels, its image 80 x 64"),
        (changed, "since prepared", "is not the file that was prepared"),
        (truncated, "files that cannot be read", "Cannot read"),
    ],
)
def test_what_is_wrong_is_found(loveda: Path, harm: Callable[[Path], None], what: str, words: str | None) -> None:
    assert check("loveda", loveda).exit_code == 0
    harm(loveda)
    checked = check("loveda", loveda)
    assert checked.exit_code == 1
    assert what in {line.what for line in checked.lines if line.ok is False}
    if words is not None:
        assert len(checked.problems) == 1 and words in checked.problems[0]
    assert checked.as_json()["ok"] is False and "is not what it should be" in checked.table()[0]


def test_counts_are_checked_where_they_are_known(tmp_path: Path) -> None:
    make_fake("massachusetts-tiles", tmp_path)
    whole = check("massachusetts-tiles", tmp_path, partial=False)
    assert whole.exit_code == 1 and (whole.lines[0].expected, whole.lines[0].found) == ("158", "2")
    assert check("massachusetts-tiles", tmp_path).exit_code == 0
    make_fake("udd5", tmp_path / "udd")
    unsure = check("udd5", tmp_path / "udd", partial=False)
    assert unsure.exit_code == 0 and unsure.lines[0].expected == "40 (unverified)"


def test_a_set_is_read_item_by_item(loveda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = open_set("loveda", loveda.parent / "dst")
    assert found.names == ("2522", "3514") and found[-1].name == "3514"
    part = found[1:]
    assert part.names == ("3514",) and part.spec is found.spec
    assert [item.name for item in found] == ["2522", "3514"]
    assert found.vocabulary("segearth-ov").titles[1] == "building"
    (loveda / "ann_dir/val/3514.png").write_bytes(b"x")
    assert found[0].labels.shape == (72, 104)
    with pytest.raises(SourceError, match="Cannot read"):
        found[1]
    with pytest.raises(IndexError):
        found[2]
    lonely(loveda)
    with pytest.raises(SourceError, match=r"1 files of LoveDA .* no partner"):
        open_set("loveda", loveda)


def test_downloads_that_need_no_cutting_open_as_they_are(tmp_path: Path) -> None:
    for name in ("loveda", "openearthmap", "chn6-cug", "wbs-si", "cityscapes", "dubai", "buildings-mix", "xbd"):
        truths = make_fake(name, tmp_path / name)
        found = open_set(name, tmp_path / name)
        assert set(found.names) == set(truths), name
        for item in found:
            np.testing.assert_array_equal(item.labels, truths[item.name], err_msg=name)
    make_fake("potsdam", tmp_path / "potsdam")
    with pytest.raises(UsageError, match="does not hold ISPRS Potsdam"):
        open_set("potsdam", tmp_path / "potsdam")


def test_layouts_of_other_converters_open_too(tmp_path: Path) -> None:
    truths = make_fake("cityscapes", tmp_path / "src")
    prepare("cityscapes", tmp_path / "src", tmp_path / "ours", partial=True)
    for path in (tmp_path / "ours").rglob("*.png"):
        target = tmp_path / "theirs" / path.relative_to(tmp_path / "ours").parent / path.name.split("_")[0] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    found = open_set("cityscapes", tmp_path / "theirs")
    assert len(found) == 2 and all(np.array_equal(item.labels, truths[item.name]) for item in found)

    truths = make_fake("wbs-si", tmp_path / "water")
    (tmp_path / "water/Masks_cvt").mkdir()
    for path in (tmp_path / "water/Masks").iterdir():
        Image.fromarray((pixels(path) >= 128).astype(np.uint8)).save(
            tmp_path / "water/Masks_cvt" / path.name, quality=95
        )
    shutil.rmtree(tmp_path / "water/Masks")
    found = open_set("wbs-si", tmp_path / "water")
    assert found.layout is found.spec.others[0] and set(found.names) == set(truths)
    assert all(np.array_equal(item.labels, truths[item.name]) for item in found)


def test_a_folder_of_several_sets(tmp_path: Path) -> None:
    for name in ("loveda", "dubai"):
        make_fake(name, tmp_path / "src" / name)
        prepare(name, tmp_path / "src" / name, tmp_path / "data" / name, partial=True)
    shutil.copytree(tmp_path / "data" / "loveda", tmp_path / "data" / "copy")
    assert open_set("dubai", tmp_path / "data").spec.name == "dubai"
    with pytest.raises(UsageError, match=r"several that it could be \(.*copy, .*loveda\); name one"):
        open_set("loveda", tmp_path / "data")
    with pytest.raises(UsageError, match="does not hold ISPRS Vaihingen"):
        open_set("vaihingen", tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("potsdam", (6000, 6000), 2016 // 14),
        ("inria", (5000, 5000), 675 // 27),
        ("uavid", (2160, 3840), 6),
        ("uavid", (2160, 4096), 8),
        ("isaid", (800, 900), 2),
        ("isaid", (1500, 896), 3),
    ],
)
def test_tiles_are_as_many_as_published(name: str, size: tuple[int, int], count: int) -> None:
    found = tiles("x", size, find_spec(name).tiling)
    assert len({tile.name for tile in found}) == len(found) == count
    covered = np.zeros(size, bool)
    for tile in found:
        covered[tile.window.slices] = True
    assert covered.all()


def test_the_last_window_is_shifted_back() -> None:
    assert axis_starts(1500, 896, 512) == (0, 512, 604)
    assert axis_starts(1408, 896, 512) == (0, 512)
    assert axis_starts(896, 896, 512) == axis_starts(300, 896, 512) == (0,)


def converter_starts(length: int, size: int, step: int) -> set[int]:
    """First columns of mmsegmentation's ISPRS converters: windows of `size` at multiples of `size`, though as many as
    fit at every `step`; those beyond the border are moved back to it."""
    count = -(-(length - size) // step)
    return {min(index * size, length - size) for index in range(count + 1)}


def slide_starts(length: int, size: int, step: int) -> set[int]:
    """First columns of its converter of iSAID: at every `step` inside the image, moved back where they reach beyond."""
    return {min(first, length - size) for first in range(0, length, step)}


def test_windows_are_those_of_the_converters() -> None:
    for length in range(512, 3000, 7):
        assert converter_starts(length, 512, 256) == set(axis_starts(length, 512, 512)), length
    for length in range(896, 4000, 11):
        assert slide_starts(length, 896, 512) == set(axis_starts(length, 896, 512)), length
