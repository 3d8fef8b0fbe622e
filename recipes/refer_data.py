"""Lists the referring expressions that `refseg-tiny` learns from, and those it is measured on.

    python recipes/refer_data.py DATA OUT [--scenes 400] [--test-scenes 60]

DATA holds the folders dubai_mbrsc, buildings_mix, geotiff_demo and places (docs/models/tiny.md). Written are

* `OUT/train.jsonl`: Dubai tiles 1-5 cut into tiles of 256, 384 and 512 pixels, rendered scenes of training seeds cut
  into 256 and whole (512), the tree boxes of SOAP_061, the places that `tiny` learns from;
* `OUT/val.jsonl`: Dubai tile 6, and `val-berlin.jsonl`, `val-nairobi.jsonl`, `val-new-york.jsonl`: places that no
  training saw;
* `OUT/test-dubai.jsonl` (tiles 7-8), `test-buildings.jsonl` (all of buildings_mix), `test-scenes.jsonl` (rendered
  scenes of seeds that training has not seen) and `test-trees.jsonl` (the tree boxes of OSBS_029), in tiles of 256;
* `OUT/test-whole.jsonl`: images of Dubai tiles 7-8 as they are, about 2,000 pixels a side.

The parts of `train` are written as lists of their own too.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import places
from PIL import Image

import earthwords
from earthwords.synthetic import DRAWN_THEMES, THEMES, render_scene

SIDE = 256
LEAST = 30
"""Pixels of the smallest thing that is meant."""
NEGATIVES = {"train": 0.25, "test": 0.1}
"""Share of sentences that name what is not there."""

NOWHERE = {
    "201": "airport",
    "202": "airplane,plane,aircraft",
    "203": "stadium",
    "204": "snow",
    "205": "railway station",
    "206": "greenhouse",
    "207": "storage tank",
}
"""Things that no picture of Dubai or of `PLACES` shows, under values that no mask has."""
DUBAI = {"0": "building", "1": "land", "2": "road", "3": "vegetation", "4": "water"}
BUILDING = {"1": "building,house"}
PLACES = {
    "zanzibar": BUILDING,
    "catanduanes": BUILDING,
    "barnarp": BUILDING,
    "new-york": {"1": "road", "2": "water,river", "3": "park"},
    "us-fields": {"1": "field"},
    "cars": {"1": "car,vehicle", "2": "truck", "3": "bus", "4": "car,vehicle"},
    "airports": {"1": "airplane,plane,aircraft"},
    "tennis-courts": {"1": "tennis court"},
}
"""Sets of `places.SETS`, in words for single things."""
VALIDATION = {
    "berlin": ("berlin_rooftops", BUILDING),
    "nairobi": ("oam_nairobi", BUILDING),
    "new-york": ("gmaps_nyc", PLACES["new-york"]),
}
"""Places that no training saw: folder and words."""
SCENES = {
    "0": "building,house",
    "1": "road",
    "2": "pavement",
    "3": "water",
    "4": "tree cover",
    "5": "grass",
    "6": "field",
    "7": "bare land",
    "8": "car",
    "9": "truck",
    "10": "ship,boat",
    "11": "plane,airplane",
    "12": "swimming pool,pool",
    "13": "storage tank,tank",
    "14": "solar panel",
    "15": "tennis court",
    "16": "sports field",
    "17": "runway",
    "18": "railway",
    "19": "container",
    "20": "greenhouse",
    "21": "snow",
}
"""Values of a rendered label map, in words for single things."""
TRAIN_SEED, TEST_SEED = 40_000, 70_000
"""Of the rendered scenes; those of `recipes/tiny_data.py` begin at 10,000."""

Boxes = list[tuple[float, float, float, float]]


def scenes(folder: Path, count: int, *, first_seed: int, themes: Sequence[str]) -> Path:
    """Rendered scenes with masks of classes and numbers of things, 0.25 to 1 m a pixel."""
    for name in ("images", "masks", "instances"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").write_text(json.dumps(SCENES))
    for number in range(count):
        seed = first_seed + number
        paths = [folder / name / f"{number:05d}.png" for name in ("images", "masks", "instances")]
        if paths[-1].exists():
            continue
        gsd = float(np.exp(np.random.default_rng((seed, 2026)).uniform(np.log(0.25), np.log(1.0))))
        scene = render_scene(height=2 * SIDE, width=2 * SIDE, gsd=gsd, theme=themes[number % len(themes)], seed=seed)
        for path, pixels in zip(paths, (scene.image, scene.labels, scene.instances.astype(np.uint16)), strict=True):
            Image.fromarray(pixels).save(path)
    return folder


def linked(folder: Path, pairs: Iterable[tuple[Path, Path]], table: dict[str, str]) -> Path:
    """Pictures and masks of a place as a folder that `expressions` reads."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").write_text(json.dumps(table))
    for image, mask in pairs:
        for part, path in (("images", image), ("masks", mask)):
            link = folder / part / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path)
    return folder


def learnt_place(data: Path, out: Path, name: str) -> Path:
    """A set of `PLACES` without what is kept for validation."""
    row = next(row for row in places.SETS if row.name == name)
    table = {value: words for value, words in NOWHERE.items() if name != "airports" or value > "202"}
    return linked(out / name, places.masked(data, row, out / "drawn" / name), {**PLACES[name], **table})


def coco(path: Path, images: Iterable[tuple[Path, Boxes]], name: str) -> Path:
    """Boxes of one class as a COCO file; images are named by their whole path."""
    told: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": name}]}
    for number, (image, boxes) in enumerate(images, start=1):
        told["images"].append({"id": number, "file_name": str(image)})
        told["annotations"] += [
            {"image_id": number, "category_id": 1, "bbox": [left, top, right - left, bottom - top]}
            for left, top, right, bottom in boxes
        ]
    path.write_text(json.dumps(told))
    return path


def trees(data: Path, out: Path) -> tuple[Path, Path]:
    """Tree crowns marked by hand on two NEON tiles of 0.1 m, one to train on and one to test on."""
    folder = data / "geotiff_demo" / "trees"
    sides = ("xmin", "ymin", "xmax", "ymax")
    found = ElementTree.parse(folder / "SOAP_061.xml").getroot().iter("bndbox")
    learnt: Boxes = [tuple(float(box.findtext(side, "")) for side in sides) for box in found]  # type: ignore[misc]
    with (folder / "OSBS_029.csv").open() as file:
        held_out: Boxes = [tuple(float(row[side]) for side in sides) for row in csv.DictReader(file)]  # type: ignore[misc]
    return (
        coco(out / "trees-train.json", [(folder / "SOAP_061.png", learnt)], "tree"),
        coco(out / "trees-test.json", [(folder / "OSBS_029.tif", held_out)], "tree"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--test-scenes", type=int, default=60)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    data, out = args.data.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    tables = {"dubai": DUBAI, "dubai-train": {**DUBAI, **NOWHERE}, "buildings": {"1": "building"}}
    for name, table in tables.items():
        (out / f"{name}.json").write_text(json.dumps(table))
    learnt, held_out = trees(data, out)

    def listed(name: str, source: Path, **options: Any) -> Path:
        """Write a list and say what is in it."""
        path = out / f"{name}.jsonl"
        report = earthwords.expressions(
            source,
            path,
            **{"min_pixels": LEAST, "negatives": NEGATIVES["test"], **options},
            workers=args.workers,
            overwrite=True,
            quiet=True,
        )
        (out / f"{name}.report.json").write_text(json.dumps(report.as_json(), indent=1))
        print(f"{name}: {report.expressions:,} expressions of {sum(report.images.values()):,} images")
        return path

    dubai = {"source": data / "dubai_mbrsc", "classes": out / "dubai.json"}
    learnt_scenes = scenes(out / "scenes-train", args.scenes, first_seed=TRAIN_SEED, themes=THEMES)
    many: dict[str, Any] = {"negatives": NEGATIVES["train"]}
    of_dubai = {**dubai, **many, "classes": out / "dubai-train.json"}
    train = [
        listed(f"dubai{side}", only="tile[1-5]_*", tile_size=side, count=24, **of_dubai) for side in (256, 384, 512)
    ]
    train += [
        listed("scenes256", learnt_scenes, tile_size=SIDE, count=16, **many),
        listed("scenes512", learnt_scenes, count=20, **many),
        listed("trees", learnt, tile_size=SIDE, count=16),
    ]
    train += [listed(name, learnt_place(data, out, name), tile_size=SIDE, count=16, **many) for name in PLACES]
    (out / "train.jsonl").write_text("".join(path.read_text() for path in train))
    dubai["tile_size"] = SIDE
    listed("val", only="tile6_*", **dubai)
    for name, (folder, table) in VALIDATION.items():
        pairs = [(path, places.mask_of(path)) for path in places.pictures(data, folder, held_out=True)]
        listed(f"val-{name}", linked(out / f"val-{name}", pairs, {**table, **NOWHERE}), tile_size=SIDE)
    listed("test-dubai", only="tile[78]_*", **dubai)
    listed("test-buildings", data / "buildings_mix", classes=out / "buildings.json", tile_size=SIDE)
    listed(
        "test-scenes",
        scenes(out / "scenes-test", args.test_scenes, first_seed=TEST_SEED, themes=DRAWN_THEMES),
        tile_size=SIDE,
    )
    listed("test-trees", held_out, tile_size=SIDE)
    listed("test-whole", only="tile[78]_*", count=32, **{**dubai, "tile_size": None, "negatives": 0.0})


if __name__ == "__main__":
    main()
