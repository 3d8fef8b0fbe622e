"""Every set from its fake download to the folders that are measured."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earthwords.data.annotations.image_io import size_of
from earthwords.data.segmentation import prepare as module
from earthwords.data.segmentation.check import Checked, check_set
from earthwords.data.segmentation.fakes import FAKES, make_fake
from earthwords.data.segmentation.loader import open_set
from earthwords.data.segmentation.manifest import read_manifest
from earthwords.data.segmentation.prepare import prepare_set
from earthwords.data.segmentation.reports import Prepared
from earthwords.data.segmentation.spec import IGNORED, DatasetSpec, find_spec
from earthwords.data.segmentation.tiles import tiles
from earthwords.errors import SourceError, UsageError
from earthwords.evaluation.metrics.segmentation import Confusion
from earthwords.jobs.journal import PARTS
from earthwords.jobs.progress import Bar

TILED = {
    "isaid": {
        "P0003_0_896_0_896": ("P0003", 0, 0),
        "P0003_4_900_0_896": ("P0003", 4, 0),
        "P0007_0_896_0_896": ("P0007", 0, 0),
        "P0007_0_896_104_1000": ("P0007", 0, 104),
    },
    "potsdam": {
        **{f"2_13_{x}_{y}_{x + 512}_{y + 512}": ("2_13", y, x) for y in (0, 8) for x in (0, 512, 518)},
        "7_13_0_0_300_512": ("7_13", 0, 0),
    },
    "vaihingen": {
        **{f"area2_{x}_{y}_{x + 512}_{y + 512}": ("area2", y, x) for y in (0, 48) for x in (0, 88)},
        **{f"area38_0_{y}_512_{y + 512}": ("area38", y, 0) for y in (0, 1)},
    },
    "uavid": {
        **{f"seq21_000000_{y}_{y + 1080}_0_1280": ("seq21_000000", y, 0) for y in (0, 8)},
        "seq22_000000_0_1080_0_1280": ("seq22_000000", 0, 0),
    },
    "inria": {
        **{f"austin1_0_{y}_1000_{y + 1000}": ("austin1", y, 0) for y in (0, 10)},
        **{f"tyrol-w3_{x}_0_{x + 1000}_300": ("tyrol-w3", 0, x) for x in (0, 1)},
    },
}
"""Tile -> original, first row, first column, as the converters of mmsegmentation and SegEarth-OV name them."""

WRITTEN = {
    "loveda": {0, *range(1, 8)},
    "isaid": {*range(16), 255},
    "potsdam": set(range(7)),
    "vaihingen": set(range(7)),
    "uavid": {*range(7), 255},
    "pascal-context": set(range(60)),
    "pascal-context60": set(range(60)),
    "coco-stuff": {*range(171), 255},
    "cityscapes": {*range(19), 255},
    "dubai": {*range(5), 255},
    "openearthmap": set(range(9)),
    "udd5": set(range(5)),
    "vdd": set(range(7)),
}
"""Values in the prepared label files; of the others 0 and 1."""


@contextmanager
def no_bar(what: str, total: int) -> Any:
    yield Bar()


def prepare(spec: DatasetSpec | str, src: Path, dst: Path, **options: Any) -> Prepared:
    return prepare_set(find_spec(spec) if isinstance(spec, str) else spec, src, dst, bar=no_bar, **options)


def check(name: str, root: Path, **options: Any) -> Checked:
    return check_set(find_spec(name), root, bar=no_bar, **{"partial": True, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def expected(name: str, truths: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Truth of each prepared item."""
    if name not in TILED:
        return truths
    spec = find_spec(name)
    assert spec.tiling is not None
    height, width, found = spec.tiling.height, spec.tiling.width, {}
    for tile, (original, row, col) in TILED[name].items():
        part = truths[original][row : row + height, col : col + width]
        if spec.tiling.pad:
            whole = np.full((height, width), IGNORED, np.uint8)
            whole[: part.shape[0], : part.shape[1]] = part
            part = whole
        found[tile] = part
    return found


@pytest.mark.parametrize("name", FAKES)
def test_from_the_download_to_the_truth(name: str, tmp_path: Path) -> None:
    truths = expected(name, make_fake(name, tmp_path / "src"))
    made = prepare(name, tmp_path / "src", tmp_path / "out" / name, partial=True)
    assert made.made == made.items == len(truths) and made.images == 2 and not made.skipped
    assert [p.name for p in (tmp_path / "out").iterdir()] == [name]

    found = open_set(name, tmp_path / "out")
    assert set(found.names) == set(truths) and len(found) == len(truths)
    spec, values = find_spec(name), set()
    for item in found:
        assert item.labels.dtype == np.uint8
        np.testing.assert_array_equal(item.labels, truths[item.name], err_msg=item.name)
        source = tmp_path / "src" / FAKES[name].images[0 if item.name.startswith(FAKES[name].names[0]) else 1]
        if name in TILED:
            _, row, col = TILED[name][item.name]
            image, part = pixels(item.image), pixels(source)[row:, col:]
            part = part[: image.shape[0], : image.shape[1]]
            assert image.shape == (*item.labels.shape, 3)
            np.testing.assert_array_equal(image[: part.shape[0], : part.shape[1]], part)
            assert not image[part.shape[0] :].any() and not image[:, part.shape[1] :].any()
        elif item.image.suffix.lower() == source.suffix.lower():
            assert item.image.read_bytes() == source.read_bytes()
        else:
            np.testing.assert_array_equal(pixels(item.image), pixels(source))
    for pair in found.pairs:
        values |= set(np.unique(pixels(pair.labels)).tolist())
    assert values == WRITTEN.get(name, {0, 1})

    checked = check(name, tmp_path / "out" / name)
    assert checked.exit_code == 0 and not checked.problems and checked.items == len(truths)
    counts = sum(np.bincount(t.ravel(), minlength=256) for t in truths.values())
    assert list(checked.pixels.values()) == [*counts[: len(spec.classes)], counts[IGNORED]]
    assert min(list(checked.pixels.values())[:-1]) > 0, "a class without a pixel tests nothing"

    confusion = Confusion(len(spec.classes))
    for item in found:
        right = np.where(item.labels == IGNORED, 0, item.labels)
        confusion.add(item.labels, np.where(item.labels == 1, 0, right))
    scores = confusion.scores()
    assert scores.pixels.tolist() == list(checked.pixels.values())[:-1]
    assert scores.accuracy == pytest.approx(1 - scores.pixels[1] / scores.pixels.sum(), abs=1e-12)
    assert scores.iou[1] == 0 and (scores.iou[2:] == 1).all()

    again = prepare(name, tmp_path / "src", tmp_path / "out" / name)
    assert (again.made, again.items, again.images) == (0, made.items, 2)


@pytest.mark.parametrize("name", ["loveda", "vaihingen"])
def test_an_interrupted_run_goes_on_and_comes_to_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_fake(name, tmp_path / "src")
    prepare(name, tmp_path / "src", tmp_path / "whole", partial=True)
    seen: list[str] = []
    real = module.make

    def fragile(work: module.PrepareTask) -> Any:
        seen.append(work.found.name)
        if len(seen) == 2:
            half = tiles(work.found.name, size_of(str(work.found.image)), work.spec.tiling)[0].name
            (work.into / work.spec.prepared.images[0].format(key=half)).write_bytes(b"half a fi")
            raise KeyboardInterrupt
        return real(work)

    monkeypatch.setattr(module, "make", fragile)
    with pytest.raises(KeyboardInterrupt) as stop:
        prepare(name, tmp_path / "src", tmp_path / "dst", partial=True)
    assert stop.value.__notes__ == ["The same command goes on from here: 1 of 2 images are done."]
    assert not (tmp_path / "dst").exists() and (tmp_path / ".dst.journal").is_dir()
    with (tmp_path / ".dst.journal" / PARTS).open("ab") as file:
        file.write(b"cut off")
    made = prepare(name, tmp_path / "src", tmp_path / "dst", partial=True)
    assert seen == [seen[0], seen[1], seen[1]], "what was done was done again"
    assert made.images == 2 and 0 < made.made < made.items
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole") and not (tmp_path / ".dst.journal").exists()


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A download whose preparation ended when all was made, but nothing in its place."""
    make_fake("vaihingen", tmp_path / "src")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_commit", lambda journal, dst: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare("vaihingen", tmp_path / "src", tmp_path / "dst", partial=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dst.journal", "src"]
    return tmp_path / "src"


@pytest.mark.parametrize("workers", [1, 2])
def test_files_that_have_changed_are_made_again(half: Path, tmp_path: Path, workers: int) -> None:
    """And no others; no tile is left of where an image was larger."""
    for path in (half / "top/top_mosaic_09cm_area2.tif", half / "gts/top_mosaic_09cm_area2_noBoundary.tif"):
        Image.fromarray(pixels(path)[:520, :530]).save(path)
    made = prepare("vaihingen", half, tmp_path / "dst", partial=True, workers=workers)
    assert (made.made, made.items) == (4, 6)
    prepare("vaihingen", half, tmp_path / "whole", partial=True)
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole")


def test_files_that_are_gone_leave_nothing(half: Path, tmp_path: Path) -> None:
    for name in ("top/top_mosaic_09cm_area2.tif", "gts/top_mosaic_09cm_area2_noBoundary.tif"):
        (half / name).unlink()
    made = prepare("vaihingen", half, tmp_path / "dst", partial=True)
    assert (made.made, made.items) == (0, 2)
    prepare("vaihingen", half, tmp_path / "whole", partial=True)
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole")


def test_another_set_or_download_is_refused(half: Path, tmp_path: Path) -> None:
    make_fake("vdd", tmp_path / "vdd")
    copy = shutil.copytree(half, tmp_path / "copy")
    before = contents(tmp_path)
    advice = "run with what it was begun with, or begin anew with --no-resume"
    with pytest.raises(UsageError, match=f"its set was vaihingen and is vdd now; {advice}"):
        prepare("vdd", tmp_path / "vdd", tmp_path / "dst")
    with pytest.raises(UsageError, match=f"its source was {half} and is {copy} now; {advice}"):
        prepare("vaihingen", copy, tmp_path / "dst", partial=True)
    assert contents(tmp_path) == before
    made = prepare("vaihingen", copy, tmp_path / "dst", partial=True, resume=False)
    assert made.made == made.items == 6 and not (tmp_path / ".dst.journal").exists()


def test_processes_make_the_same(tmp_path: Path) -> None:
    make_fake("dubai", tmp_path / "src")
    prepare("dubai", tmp_path / "src", tmp_path / "one", partial=True)
    prepare("dubai", tmp_path / "src", tmp_path / "two", partial=True, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_overwriting_makes_all_again_and_nothing_else_is_replaced(tmp_path: Path) -> None:
    make_fake("vdd", tmp_path / "src")
    dst = tmp_path / "dst"
    dst.mkdir()
    prepare("vdd", tmp_path / "src", dst)
    before = contents(dst)
    (dst / "test/gt/DJI_0028.png").unlink()
    with pytest.raises(UsageError, match=r"not what earthwords\.json in it says; pass --overwrite"):
        prepare("vdd", tmp_path / "src", dst)
    assert prepare("vdd", tmp_path / "src", dst, overwrite=True).made == 2
    assert contents(dst) == before and sorted(p.name for p in tmp_path.iterdir()) == ["dst", "src"]
    with pytest.raises(UsageError, match="a prepared set of another name"):
        prepare("loveda", tmp_path / "src", dst, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="holds other files"):
            prepare("vdd", tmp_path / "src", tmp_path / "mine", overwrite=overwrite)
    for place in (tmp_path / "src", tmp_path):
        with pytest.raises(UsageError, match="holds the download itself"):
            prepare("vdd", tmp_path / "src", place)


def test_a_set_killed_between_the_two_moves_is_put_back(tmp_path: Path) -> None:
    make_fake("vdd", tmp_path / "src")
    prepare("vdd", tmp_path / "src", tmp_path / "dst")
    (tmp_path / ".dst.journal").mkdir()
    (tmp_path / "dst").rename(tmp_path / ".dst.journal" / "old")
    assert prepare("vdd", tmp_path / "src", tmp_path / "dst").made == 0
    assert len(open_set("vdd", tmp_path / "dst")) == 2


def test_a_folder_of_another_layout(tmp_path: Path) -> None:
    (tmp_path / "src" / "Train" / "Urban").mkdir(parents=True)
    (tmp_path / "src" / "readme.txt").write_text("x")
    expects = r"expected Val/\*/images_png/\{key\}\.png with Val/\*/masks_png/\{key\}\.png, found Train/, readme\.txt\."
    with pytest.raises(UsageError, match=expects):
        prepare("loveda", tmp_path / "src", tmp_path / "dst")
    with pytest.raises(
        UsageError, match=r"does not hold LoveDA: expected img_dir/val/\{key\}\.png .*found no such folder"
    ):
        open_set("loveda", tmp_path / "none")
    assert [p.name for p in tmp_path.iterdir()] == ["src"]


def test_incomplete_downloads(tmp_path: Path) -> None:
    make_fake("loveda", tmp_path / "src")
    (tmp_path / "src/Val/Urban/masks_png/3514.png").unlink()
    with pytest.raises(
        SourceError, match=r"1 of the files of LoveDA .* no partner: .*3514\.png; complete .* --partial"
    ):
        prepare("loveda", tmp_path / "src", tmp_path / "dst")
    made = prepare("loveda", tmp_path / "src", tmp_path / "dst", partial=True)
    assert made.items == 1 and made.skipped[0].endswith("3514.png")

    make_fake("isaid", tmp_path / "ships")
    with pytest.raises(SourceError, match=r"gives 4 items of iSAID \(val\), 11,644 are expected"):
        prepare("isaid", tmp_path / "ships", tmp_path / "tiles")
    exact = replace(find_spec("isaid"), count=4)
    assert prepare(exact, tmp_path / "ships", tmp_path / "tiles").items == 4

    make_fake("inria", tmp_path / "inria")
    with pytest.raises(SourceError, match=r"25 of the files of Inria .* are not there: austin7"):
        prepare("inria", tmp_path / "inria", tmp_path / "x")

    make_fake("openearthmap", tmp_path / "oem")
    (tmp_path / "oem" / "val.txt").unlink()
    with pytest.raises(SourceError, match=r"has no list val\.txt"):
        prepare("openearthmap", tmp_path / "oem", tmp_path / "x")
    assert not (tmp_path / "x").exists() and not (tmp_path / ".x.journal").exists()


def test_damaged_and_strange_files(tmp_path: Path) -> None:
    make_fake("loveda", tmp_path / "src")
    label = tmp_path / "src/Val/Rural/masks_png/2522.png"
    good = pixels(label)

    def refused(words: str) -> None:
        with pytest.raises(SourceError, match=words):
            prepare("loveda", tmp_path / "src", tmp_path / "dst")
        assert not (tmp_path / "dst").exists()

    bad = good.copy()
    bad[3, 4:7] = 9
    Image.fromarray(bad).save(label)
    refused(r"2522\.png holds the value 9 \(3 pixels\), which no class")
    Image.fromarray(good[:-1]).save(label)
    refused(r"71 x 104 pixels, its image .* 72 x 104")
    Image.fromarray(np.stack([good] * 3, axis=-1)).save(label)
    refused("image of mode RGB; labels of this set have one band")
    label.write_bytes(b"no image")
    refused("Cannot read")


def test_masks_that_were_converted_already_are_not_all_background(tmp_path: Path) -> None:
    make_fake("whu-aerial", tmp_path / "src")
    for path in (tmp_path / "src/WHU-BD/val/label").iterdir():
        Image.fromarray((pixels(path) > 0).astype(np.uint8)).save(path)
    with pytest.raises(SourceError, match="only 0 and 1 where masks from 0 to 255"):
        prepare("whu-aerial", tmp_path / "src", tmp_path / "dst")


def test_one_name_twice(tmp_path: Path) -> None:
    make_fake("loveda", tmp_path / "src")
    image = tmp_path / "src/Val/Rural/images_png/2522.png"
    (tmp_path / "src/Val/Urban/images_png/2522.png").write_bytes(image.read_bytes())
    with pytest.raises(SourceError, match="have the same name '2522'"):
        prepare("loveda", tmp_path / "src", tmp_path / "dst")


def test_the_manifest_names_every_item(tmp_path: Path) -> None:
    make_fake("potsdam", tmp_path / "src")
    prepare("potsdam", tmp_path / "src", tmp_path / "dst", partial=True)
    manifest = read_manifest(tmp_path / "dst")
    assert manifest is not None and (manifest.set, manifest.split, len(manifest.items)) == ("potsdam", "val", 7)
    entry = next(e for e in manifest.items if e.name == "7_13_0_0_300_512")
    assert (entry.source, entry.height, entry.width) == ("7_13", 512, 300)
    (tmp_path / "dst" / "earthwords.json").write_text('{"set": "potsdam", "items": [')
    with pytest.raises(SourceError, match=r"Cannot read .*earthwords\.json"):
        open_set("potsdam", tmp_path / "dst")
