"""Small sets of scenes on disk: classes of unequal size, pictures of unequal shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = {"BareLand": 7, "dense_forest": 4, "riverside": 9}
TINTS = {"BareLand": (200, 160, 110), "dense_forest": (30, 90, 40), "riverside": (60, 120, 190)}


def picture(name: str, number: int, *, height: int = 40, width: int = 60) -> np.ndarray:
    """`(row, col, 3)` of the tint of a class, with blocks of its own."""
    rng = np.random.default_rng([number, *name.encode()])
    blocks = np.kron(rng.integers(-30, 31, (4, 6, 3)), np.ones((height // 4, width // 6, 1), int))
    return np.clip(np.array(TINTS[name]) + blocks, 1, 255).astype(np.uint8)


def write_folders(folder: Path, *, inside: str = "images") -> Path:
    """A folder of pictures a class: `NAME_1.png`, `NAME_2.png`, ... `NAME_10.png`."""
    for name, count in CLASSES.items():
        place = folder / inside / name
        place.mkdir(parents=True)
        for number in range(1, count + 1):
            Image.fromarray(picture(name, number)).save(place / f"{name}_{number}.png")
    return folder


def records(*, captions: bool = True) -> list[dict[str, Any]]:
    """Every fourth image is of the test, every fifth of validation; several sentences an image, or none."""
    out = []
    for name, count in CLASSES.items():
        for number in range(1, count + 1):
            split = "test" if number % 4 == 0 else "val" if number % 5 == 0 else "train"
            record: dict[str, Any] = {"filename": f"{name}/{name}_{number}.png", "cls": name, "split": split}
            if captions:
                texts = [f"there are {number} ROADS .", "Water beside trees .", "a building ."][: (number + 1) % 4]
                record |= {"sentences": [{"raw": text} for text in texts], "count": number if (number + 1) % 4 else 0}
            out.append(record)
    return out


def write_records(folder: Path, listed: list[dict[str, Any]] | None = None) -> Path:
    """A folder with nothing but records."""
    folder.mkdir(parents=True)
    table = {"dataset": "made", "images": records() if listed is None else listed}
    (folder / "made.json").write_text(json.dumps(table))
    return folder
