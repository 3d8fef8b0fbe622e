"""Sets whose masks have sentences: RRSIS-D, RefCOCO, RefSegRS, RISBench."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earthwords.data.annotations.boxes._common import How
from earthwords.data.annotations.instances import Marked
from earthwords.data.annotations.masks._pickles import read_plain
from earthwords.data.expressions.pipeline import detect
from earthwords.errors import UsageError
from tests.data.annotations.drawn_masks import COURT, HEIGHT, OVERLAP, PLANE, WIDTH, image, read, rrsisd


def said(found: Marked) -> list[tuple[str, tuple[int, ...]]]:
    return [(one.text, one.ids) for one in found.expressions]


def check_rrsisd(found: list[Any]) -> None:
    first, second, third = sorted(found, key=lambda marked: (marked.split != "train", -len(marked.expressions)))
    assert [marked.split for marked in (first, second, third)] == ["train", "train", "test"]
    assert said(first) == [("A plane on the upper left", (1,)), ("the plane", (1,))]
    assert np.array_equal(first.ids == 1, PLANE) and first.classes == {1: "airplane"}
    assert said(second) == [("The object in the middle", (1,))] and np.array_equal(second.ids == 1, OVERLAP)
    assert said(third) == [("The court", (1,))] and np.array_equal(third.ids == 1, COURT)
    assert third.example.name == "00012" and third.classes == {1: "tenniscourt"}
    assert {one.kind for marked in found for one in marked.expressions} == {"human"}


@pytest.mark.parametrize("inner", ["", "rrsisd"])
def test_rrsisd(tmp_path: Path, inner: str) -> None:
    source = rrsisd(tmp_path / "data") / inner
    assert detect(source) == "rrsisd"
    check_rrsisd(read(source))
    assert [marked.split for marked in read(source, How(split="test"))] == ["test"]
    with pytest.raises(UsageError, match="no split 'val'"):
        read(source, How(split="val"))
    with pytest.raises(UsageError, match="whole images"):
        read(source, How(tile=20))


def test_rrsisd_as_json(tmp_path: Path) -> None:
    """The list as JSON instead of the pickle, and the lines that RSRefSeg makes of it."""
    source = rrsisd(tmp_path / "data")
    refs = read_plain(source / "rrsisd" / "refs(unc).p")
    (source / "rrsisd" / "refs(unc).p").unlink()
    (source / "rrsisd" / "refs(unc).json").write_text(json.dumps(refs))
    check_rrsisd(read(source))
    masks = {e["id"]: e for e in json.loads((source / "rrsisd" / "instances.json").read_text())["annotations"]}
    lines = source / "datainfo" / "rrsisd_train.jsonl"
    lines.parent.mkdir()
    categories = {2: "airplane", 16: "tenniscourt"}
    rows = [
        {"split": ref["split"], "image_id": ref["image_id"], "sent": ref["sentences"][0]["raw"],
         "file_name": ref["file_name"], "category_id": ref["category_id"], "ann_id": ref["ann_id"],
         "category_name": categories[ref["category_id"]], "segmentation": masks[ref["ann_id"]]["segmentation"]}
        for ref in refs
    ]  # fmt: skip
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert detect(lines) == "rrsisd"
    check_rrsisd(read(lines))


def test_refcoco(tmp_path: Path) -> None:
    """Polygons, several sentences a reference, `category_id` in the annotations too."""
    image(tmp_path / "images" / "a.png")
    entry = {"id": 5, "image_id": 1, "category_id": 3, "segmentation": [[3, 2, 20, 2, 20, 12, 3, 12]]}
    told = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [entry],
            "categories": [{"id": 3, "name": "truck"}]}  # fmt: skip
    (tmp_path / "instances.json").write_text(json.dumps(told))
    refs = [{"image_id": 1, "ann_id": 5, "split": "val", "ref_id": 9, "file_name": "COCO_a_5.jpg",
             "sentences": [{"sent": "left truck"}, {"sent": "truck", "raw": "The truck"}]}]  # fmt: skip
    (tmp_path / "refs(google).p").write_bytes(pickle.dumps(refs, 2))
    assert detect(tmp_path) == "coco"
    (found,) = read(tmp_path)
    assert isinstance(found, Marked) and said(found) == [("left truck", (1,)), ("The truck", (1,))]
    assert found.classes == {1: "truck"} and found.ids[7, 10] == 1 and found.ids[7, 30] == 0


def phrases(folder: Path, images: str, masks: str, suffix: str, mask_suffix: str, *, in_list: bool) -> Path:
    for name in ("7", "42"):
        image(folder / images / f"{name}{suffix}")
        (folder / masks).mkdir(exist_ok=True)
        values = np.where(PLANE if name == "7" else COURT, 255 if name == "7" else 38, 0)
        Image.fromarray(values.astype(np.uint8)).save(folder / masks / f"{name}{mask_suffix}")
    end = suffix if in_list else ""
    (folder / "output_phrase_train.txt").write_text(f"42{end} road in the middle\n\n7{end} red  vehicle\n")
    (folder / "output_phrase_test.txt").write_text(f"7{end} the impervious surface\n")
    return folder


@pytest.mark.parametrize("name", ["refsegrs", "risbench"])
def test_lists_of_phrases(tmp_path: Path, name: str) -> None:
    if name == "refsegrs":
        source = phrases(tmp_path / "set", "images", "masks", ".tif", ".tif", in_list=False)
    else:
        source = phrases(tmp_path / "set", "img_rgb", "mask", ".jpg", ".png", in_list=True)
    assert detect(source) == name
    found: list[Any] = read(source)
    assert [(marked.split, said(marked)) for marked in found] == [
        ("train", [("road in the middle", (1,))]),
        ("train", [("red vehicle", (1,))]),
        ("test", [("the impervious surface", (1,))]),
    ]
    assert np.array_equal(found[0].ids == 1, COURT) and np.array_equal(found[1].ids == 1, PLANE)
    assert [len(read(source, How(split=split))) for split in ("train", "test")] == [2, 1]
    with pytest.raises(UsageError, match="output_phrase_val"):
        read(source, How(split="val"))


def test_an_empty_mask_means_nothing(tmp_path: Path) -> None:
    source = phrases(tmp_path, "images", "masks", ".tif", ".tif", in_list=False)
    Image.fromarray(np.zeros((HEIGHT, WIDTH), dtype=np.uint8)).save(source / "masks" / "7.tif")
    (found,) = read(source, How(split="test"))
    assert isinstance(found, Marked) and said(found) == [("the impervious surface", ())] and not found.ids.any()
