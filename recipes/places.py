"""The small sets of many places that `tiny` learns from, and which parts of them it never sees.

DATA/places holds one folder a set: `images/*.jpg`, `masks/*.png` of the same stem, some with `boxes.json` (see its
README). 0 in a mask means "none of the classes of this set", so every set keeps its own list of words.

Kept for validation, as whole places: Berlin's roofs, Nairobi, the southern half of New York (`val_*` of the pix2pix
maps, which were divided by latitude), the ten westernmost field pictures, and one town of California (Bishop).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

BUILDING = "building,roof,house"
WESTERNMOST = 10
SHRUNK = 0.7
"""Diameter of the ellipse in a box that is taken for the object, as a share of the box."""

RIVALS = ("building,roof,house", "road,street,highway", "pavement,paved area,parking lot", "water,lake,river")
RIVALS += ("trees,tree,forest", "grass,lawn,meadow", "bare land,soil,sand", "cropland,field,farmland")


@dataclass(frozen=True, kw_only=True)
class PlaceSet:
    """One list of words for the pictures of one folder."""

    name: str
    folder: str
    classes: dict[str, str]
    """Mask value -> names; without names: none of the others; values that are missing are ignored."""
    rivals: str
    """First words of `RIVALS`: what the named pixels surely do not show, though the mask does not tell it apart."""
    boxes: bool = False
    """The mask is drawn from `boxes.json`: an ellipse in each box; the rest of the box is ignored."""

    @property
    def words(self) -> dict[str, str]:
        """`classes`, and the rivals under values that no mask has."""
        return {**self.classes, **rivals_of(self.rivals)}


def rivals_of(first: str) -> dict[str, str]:
    """Those of `RIVALS` whose first word begins with one of these, under values that no mask has."""
    return {str(201 + i): names for i, names in enumerate(RIVALS) if names.startswith(tuple(first.split()))}


_GROUND = "road pavement water trees grass bare cropland"
SETS = (
    PlaceSet(
        name="new-york",
        rivals="building bare",
        folder="gmaps_nyc",
        classes={"0": "", "1": "road,street,highway", "2": "water,river,sea", "3": "park,green space"},
    ),
    PlaceSet(name="zanzibar", rivals=_GROUND, folder="oam_zanzibar", classes={"0": "", "1": BUILDING}),
    PlaceSet(name="catanduanes", rivals=_GROUND, folder="oam_catanduanes", classes={"0": "", "1": BUILDING}),
    PlaceSet(name="barnarp", rivals=_GROUND, folder="barnarp_buildings", classes={"0": "", "1": BUILDING}),
    PlaceSet(
        name="us-fields",
        rivals="building road water trees",
        folder="us_fields",
        classes={"0": "", "1": "cropland,field,farmland"},
    ),
    PlaceSet(
        name="california",
        rivals="building road water",
        folder="ca_urban_trees_inland",
        classes={"0": "", "1": "vegetation,plants,greenery,trees,grass", "2": "vegetation,plants,greenery,trees,grass"},
    ),
    PlaceSet(
        name="california-trees",
        rivals="building road water",
        folder="ca_urban_trees_inland",
        classes={"0": "", "2": "trees,tree"},
    ),
    PlaceSet(
        name="cars",
        rivals="building trees grass water",
        folder="aerial_cars",
        classes={"0": "", "1": "car,vehicle", "2": "truck,lorry", "3": "bus", "4": "car,vehicle"},
        boxes=True,
    ),
    PlaceSet(
        name="airports",
        rivals="building trees grass water",
        folder="hrplanes",
        classes={"0": "", "1": "plane,airplane,aircraft"},
        boxes=True,
    ),
    PlaceSet(
        name="tennis-courts",
        rivals="building trees water",
        folder="tennis_courts_us",
        classes={"0": "", "1": "tennis court,sports court"},
        boxes=True,
    ),
    PlaceSet(
        name="palms",
        rivals="building road water",
        folder="oilpalm_thailand",
        classes={"0": "", "1": "palm tree,oil palm,palm"},
        boxes=True,
    ),
    PlaceSet(
        name="sao-paulo",
        rivals="building road pavement trees grass",
        folder="saopaulo_pools_cir",
        classes={"0": "", "1": "swimming pool,pool"},
    ),
)
"""What is trained on; oam_nairobi and berlin_rooftops are for validation alone, the six pictures of DOTA and DIOR for
neither."""


def pictures(data: Path, folder: str, *, held_out: bool) -> list[Path]:
    """The pictures of a folder that are kept for validation, or the others."""
    paths = sorted((data / "places" / folder / "images").glob("*.jpg"))
    kept = _HELD_OUT.get(folder, lambda path, paths: False)
    return [path for path in paths if kept(path, paths) == held_out]


def mask_of(path: Path) -> Path:
    """The mask beside a picture."""
    return path.parent.parent / "masks" / f"{path.stem}.png"


def masked(data: Path, row: PlaceSet, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Training pictures of a set with their masks; those of boxes are drawn into `folder`."""
    boxes = json.loads((data / "places" / row.folder / "boxes.json").read_text()) if row.boxes else {}
    for path in pictures(data, row.folder, held_out=False):
        if not row.boxes:
            yield path, mask_of(path)
            continue
        with Image.open(path) as image:
            size = image.size
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_ellipses(boxes.get(path.name, []), size)).save(folder / f"{path.stem}.png")
        yield path, folder / f"{path.stem}.png"


def _ellipses(boxes: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    for _, left, top, right, bottom in boxes:
        draw.rectangle((left, top, right, bottom), fill=255)
    for label, left, top, right, bottom in boxes:
        x, y = (right - left) * (1 - SHRUNK) / 2, (bottom - top) * (1 - SHRUNK) / 2
        draw.ellipse((left + x, top + y, right - x, bottom - y), fill=int(label))
    return np.array(mask)


def _longitude(path: Path) -> float:
    found = re.search(r"_W([\d.]+)\.jpg$", path.name)
    assert found is not None
    return -float(found[1])


def _western(path: Path, paths: list[Path]) -> bool:
    return path in sorted(paths, key=_longitude)[:WESTERNMOST]


_HELD_OUT: dict[str, Callable[[Path, list[Path]], bool]] = {
    "gmaps_nyc": lambda path, paths: path.name.startswith("val"),
    "us_fields": _western,
    "ca_urban_trees_inland": lambda path, paths: path.name.startswith("bishop"),
    "oam_nairobi": lambda path, paths: True,
    "berlin_rooftops": lambda path, paths: True,
}
