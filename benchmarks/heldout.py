"""Held-out figures of a dual encoder on real images: segmentation, zero-shot classification, retrieval.

Shared by `bench_tiny.py`, `ablate_tiny.py` and `compare_models.py`. DATA is a folder with dubai_mbrsc,
buildings_mix, aid30, rsicd_captions, ucmerced21 and ucm_captions (docs/models/tiny.md says what they are).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from earthwords.evaluation.metrics.retrieval import recalls
from earthwords.evaluation.metrics.segmentation import Confusion, Scores
from earthwords.evaluation.metrics.zeroshot import accuracy
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.clip.words import encode_words
from earthwords.text.templates import TEMPLATES
from earthwords.text.vocabulary import parse_classes

DUBAI = ("building", "land", "road", "vegetation", "water")
AROUND = ("building,roof,house", "road,street,pavement", "trees,grass,vegetation,field", "bare land,soil,sand", "water")
"""Buildings, and what else may be there."""
SIDE = 128
"""Whole images are resized to this for classification and retrieval."""

AID = {
    "BareLand": "bare land",
    "BaseballField": "baseball field",
    "Commercial": "commercial area",
    "DenseResidential": "dense residential area",
    "Industrial": "industrial area",
    "MediumResidential": "medium residential area",
    "Parking": "parking lot",
    "RailwayStation": "railway station",
    "SparseResidential": "sparse residential area",
    "StorageTanks": "storage tanks",
}
UCM = {
    "baseballdiamond": "baseball diamond",
    "denseresidential": "dense residential area",
    "golfcourse": "golf course",
    "mediumresidential": "medium residential area",
    "mobilehomepark": "mobile home park",
    "parkinglot": "parking lot",
    "sparseresidential": "sparse residential area",
    "storagetanks": "storage tanks",
    "tenniscourt": "tennis court",
}


AID_SEEN = frozenset(
    f"{name}.jpg"
    for name in (
        "School/school_61", "RailwayStation/railwaystation_52", "RailwayStation/railwaystation_66",
        "Stadium/stadium_6", "Stadium/stadium_63", "Stadium/stadium_64", "SparseResidential/sparseresidential_63",
        "Industrial/industrial_58", "Park/park_6", "Bridge/bridge_43",
    )
)  # fmt: skip
"""Test images of AID whose place the training split shows on another day, found by phase correlation of edges within
each class and by eye."""


def dubai(segmenter: Segmenter, data: Path, tiles: str, *, most: int = 99, words: Sequence[str] = DUBAI) -> Scores:
    """IoU over the images of some tiles, such as "78"; `most` images a tile, evenly drawn."""
    confusion = Confusion(len(DUBAI))
    vocabulary = parse_classes(list(words))
    for tile in tiles:
        paths = sorted((data / "dubai_mbrsc/images").glob(f"tile{tile}_*.jpg"))
        for path in paths[:: max(1, len(paths) // most)][:most]:
            with Image.open(data / "dubai_mbrsc/masks" / f"{path.stem}.png") as mask:
                truth = np.array(mask)
            confusion.add(truth, segmenter.predict(path, vocabulary).labels.astype(np.int64))
    return confusion.scores()


def always(data: Path, tiles: str, label: int) -> Scores:
    """IoU of a map that says the same class everywhere."""
    confusion = Confusion(len(DUBAI))
    for tile in tiles:
        for path in sorted((data / "dubai_mbrsc/masks").glob(f"tile{tile}_*.png")):
            with Image.open(path) as mask:
                truth = np.array(mask)
            confusion.add(truth, np.full(truth.shape, label))
    return confusion.scores()


def buildings(segmenter: Segmenter, data: Path) -> float:
    """IoU of buildings, percent, over all images of buildings_mix (six sources, none of which was trained on)."""
    confusion = Confusion(2)
    vocabulary = parse_classes(list(AROUND))
    for path in sorted((data / "buildings_mix/images").iterdir()):
        mask = next((data / "buildings_mix/masks").glob(f"{path.stem}.*"))
        with Image.open(mask) as image:
            truth = np.array(image.convert("L")) > 0
        confusion.add(truth.astype(np.int64), (segmenter.predict(path, vocabulary).labels == 0).astype(np.int64))
    return float(100 * confusion.scores().iou[1])


def aid(backbone: ClipBackbone, data: Path, keep: Callable[[int, dict[str, Any]], bool]) -> float:
    """30-way zero-shot accuracy, percent, on the records that `keep(number, record)` takes."""
    records = _records(data / "rsicd_captions/rsicd_on_aid.json", keep)
    return _zero_shot(backbone, data / "aid30/images", records, AID)


def ucm(backbone: ClipBackbone, data: Path) -> float:
    """21-way zero-shot accuracy, percent, on the captions' test split."""
    records = _records(data / "ucm_captions/ucm_captions.json", lambda _, r: r["split"] == "test")
    return _zero_shot(backbone, data / "ucmerced21/images", records, UCM)


def rsicd(backbone: ClipBackbone, data: Path, keep: Callable[[int, dict[str, Any]], bool]) -> dict[str, float]:
    """Recalls, percent, with all five sentences of each image."""
    return _retrieval(backbone, data / "aid30/images", _records(data / "rsicd_captions/rsicd_on_aid.json", keep))


def ucm_captions(backbone: ClipBackbone, data: Path) -> dict[str, float]:
    """Recalls, percent, on the test split of UCM-captions."""
    records = _records(data / "ucm_captions/ucm_captions.json", lambda _, r: r["split"] == "test")
    return _retrieval(backbone, data / "ucmerced21/images", records)


def _retrieval(backbone: ClipBackbone, folder: Path, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    images = _images(backbone, [folder / r["filename"] for r in records])
    sentences = [s for r in records for s in r["captions"]]
    owner = np.array([i for i, r in enumerate(records) for _ in r["captions"]])
    with torch.inference_mode():
        texts = F.normalize(backbone.encode_text(sentences), dim=-1)
    return recalls(images.numpy(), texts.numpy(), owner)


def in_test(_: int, record: dict[str, Any]) -> bool:
    """The official test split."""
    return bool(record["split"] == "test")


def in_clean_test(_: int, record: dict[str, Any]) -> bool:
    """The official test split without the places of `AID_SEEN`."""
    return bool(record["split"] == "test") and record["filename"] not in AID_SEEN


def in_validation(number: int, record: dict[str, Any]) -> bool:
    """Every tenth training image: what `recipes/tiny_data.py --validation` leaves out."""
    return bool(record["split"] == "train") and number % 10 == 0


def _records(path: Path, keep: Callable[[int, dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Records that are kept; the number counts within the record's split."""
    counts: dict[str, int] = {}
    kept = []
    for record in json.loads(path.read_text())["images"]:
        number = counts.get(record["split"], 0)
        counts[record["split"]] = number + 1
        if keep(number, record):
            kept.append(record)
    return kept


def _zero_shot(backbone: ClipBackbone, folder: Path, records: Sequence[dict[str, Any]], names: dict[str, str]) -> float:
    classes = sorted({r["cls"] for r in records})
    words = encode_words(backbone, [names.get(c, c.lower()) for c in classes], TEMPLATES["aerial"])
    images = _images(backbone, [folder / r["filename"] for r in records])
    labels = np.array([classes.index(r["cls"]) for r in records])
    return 100 * accuracy(images.numpy(), words.numpy(), labels)


@torch.inference_mode()
def _images(backbone: ClipBackbone, paths: Sequence[Path], *, batch: int = 64) -> Tensor:
    """`(image, dim)` unit vectors."""
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (backbone.mean, backbone.std))
    out = []
    for i in range(0, len(paths), batch):
        pixels = np.stack([_square(path) for path in paths[i : i + batch]])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        out.append(F.normalize(backbone.encode_image((images - mean) / std), dim=-1))
    return torch.cat(out)


def _square(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
