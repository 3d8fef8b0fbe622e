"""Masks in the ways that sets write them down."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.data.annotations.boxes._common import How
from earthwords.data.annotations.instances import Instances, Marked
from earthwords.data.annotations.masks import _of_boxes
from earthwords.data.expressions.lines import OUTLINES
from earthwords.data.expressions.pipeline import detect
from earthwords.plugins import load, names
from tests.micro import patchwork

HEIGHT, WIDTH = 40, 60


def image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patchwork(height, width)).save(path)
    return path


def box(top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs down the columns, beginning with those of 0."""
    flat = [False, *mask.T.ravel().tolist()]
    ends = [i for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
    counts = np.diff([1, *ends, len(flat)]).tolist()
    return [int(c) for c in counts]


def compressed(counts: list[int]) -> str:
    """COCO's text, written from the description of the format."""
    text = ""
    for i, count in enumerate(counts):
        value = count - (counts[i - 2] if i > 2 else 0)
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + (32 if more else 0))
            if not more:
                break
    return text


def rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": compressed(runs(mask))}


PLANE, COURT, OVERLAP = box(2, 3, 12, 20), box(20, 30, 38, 55), box(8, 10, 25, 35)


def read(source: Path, how: How | None = None, name: str = "auto") -> list[Instances | Marked]:
    how = how or How()
    name = detect(source) if name == "auto" else name
    if name not in names(OUTLINES):
        reader = load("earthwords.data.annotations.boxes", name, kind="format")
        return [found for item in reader.items(source, how) for found in _of_boxes.load(name, item, how)]
    reader = load(OUTLINES, name, kind="format")
    return [found for item in reader.items(source, how) for found in reader.load(item, how)]


def rrsisd(folder: Path) -> Path:
    """Three references of two images; masks of one overlap. As published: `categories_id`, one sentence each."""
    for number in (11, 12):
        image(folder / "images/rrsisd/JPEGImages" / f"{number:05d}.jpg")
    (folder / "images/rrsisd/ann_split").mkdir()
    (folder / "rrsisd").mkdir()
    masks = {101: PLANE, 102: COURT, 103: OVERLAP}
    told = {
        "images": [{"file_name": f"{i:05d}.jpg", "height": HEIGHT, "width": WIDTH, "id": i} for i in (11, 12)],
        "annotations": [
            {"id": ann, "image_id": 12 if ann == 102 else 11, "categories_id": 2, "segmentation": [rle(mask)],
             "bbox": [0, 0, 1, 1], "area": int(mask.sum())}
            for ann, mask in masks.items()
        ],
        "categories": [{"id": 2, "name": "airplane"}, {"id": 16, "name": "tenniscourt"}],
    }  # fmt: skip
    (folder / "rrsisd" / "instances.json").write_text(json.dumps(told))
    rows = [(101, 11, "train", "A plane on the upper left", 2), (102, 12, "test", "The  court", 16),
            (103, 11, "train", "The object in the middle", 2), (101, 11, "train", "the plane", 2)]  # fmt: skip
    refs = [
        {"image_id": np.int64(number), "split": split, "file_name": f"{number:05d}.jpg", "category_id": category,
         "ann_id": ann, "sent_ids": [i], "ref_id": i,
         "sentences": [{"tokens": text.split(), "raw": text, "sent_id": i, "sent": text.lower()}]}
        for i, (ann, number, split, text, category) in enumerate(rows)
    ]  # fmt: skip
    (folder / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps(refs))
    return folder
