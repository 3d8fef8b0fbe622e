"""Lists the training images of the embedded model `tiny` as a manifest, and renders its synthetic scenes.

    python recipes/tiny_data.py DATA OUT [--validation] [--scenes 440] [--crops 2000] [--without THEME ...]

`OUT/train.jsonl` is for `train clip`, `OUT/images.txt`, the same images without labels, for `train upsampler @...`.
Sentences for what the masks show are made by `earthwords pairs` (M2B and B2C) from random crops of Dubai's images and
the rendered scenes, `--crops` of each.

DATA holds the folders aid30, rsicd_captions, ucmerced21, ucm_captions, rsscn7, dubai_mbrsc,
massachusetts_roads_tiles and places (see docs/models/tiny.md for what they are). Only training splits are listed:
RSICD's for AID, the captions' for UC Merced, tiles 1-5 of Dubai, the Massachusetts sheets that do not end the sorted
list, and of places what `places.py` says. Of these, what is within four bits of perceptual hash of a test image is left
out.
`--validation` also leaves out every tenth AID image and Dubai tile 4.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import places
from PIL import Image

import earthwords
from earthwords.data.captions.perceptual_hash import near, perceptual_hash
from earthwords.synthetic import CLASSES, DRAWN_THEMES, THEMES, render_scene

Line = dict[str, Any]

DUBAI = {
    "0": "building,roof,house",
    "1": "land,bare land,unpaved area,sand,desert,soil,barren",
    "2": "road,street,highway,asphalt",
    "3": "vegetation,trees,tree,grass,plants,greenery",
    "4": "water,lake,sea,river,pool",
}
TOLD = {"0": "building,house", "1": "land,bare land", "2": "road", "3": "vegetation", "4": "water"}
"""Dubai's classes as sentences name them: not every synonym fits every place."""
ROADS = {"0": "", "1": "road,street,highway"}
HELD_OUT_SHEETS = 6
CROP = (96, 320)
"""Least and largest side of a crop that is described, pixels."""
FINEST, COARSEST = 0.2, 2.5
"""Metres a pixel of the rendered scenes."""
DAYS = ("low-sun", "haze", "jpeg", "dim", "overcast", "dry-grass", "autumn", "leafless")
"""Conditions that any scene may have."""
LEAST = 30
"""Pixels of the smallest component that a sentence counts."""

AID = {
    "BareLand": "bare land,bare soil",
    "BaseballField": "baseball field,baseball diamond",
    "Center": "center,convention center,big round building",
    "Commercial": "commercial area,business district",
    "DenseResidential": "dense residential area,dense houses",
    "Farmland": "farmland,cropland,fields",
    "Forest": "forest,trees,woodland",
    "Industrial": "industrial area,factories",
    "MediumResidential": "medium residential area,residential area",
    "Parking": "parking lot,parking",
    "Port": "port,harbor,harbour",
    "RailwayStation": "railway station,train station",
    "SparseResidential": "sparse residential area,scattered houses",
    "StorageTanks": "storage tanks,storage tank",
    "Viaduct": "viaduct,overpass",
    "Airport": "airport,planes",
    "Bridge": "bridge",
    "Desert": "desert,sand",
    "Meadow": "meadow,grass,grassland",
    "Mountain": "mountain,mountains",
    "Pond": "pond,lake,water",
    "River": "river,water",
}
UCM = {
    "agricultural": "agricultural,farmland,cropland",
    "airplane": "airplane,plane,aircraft",
    "baseballdiamond": "baseball diamond,baseball field",
    "buildings": "buildings,building",
    "chaparral": "chaparral,shrubs",
    "denseresidential": "dense residential area,dense residential",
    "freeway": "freeway,highway",
    "golfcourse": "golf course",
    "harbor": "harbor,harbour,boats",
    "intersection": "intersection,crossroads",
    "mediumresidential": "medium residential area,medium residential",
    "mobilehomepark": "mobile home park",
    "parkinglot": "parking lot,cars",
    "sparseresidential": "sparse residential area,sparse residential",
    "storagetanks": "storage tanks,storage tank",
    "tenniscourt": "tennis court",
}
COARSE = {
    "building": DUBAI["0"],
    "bare land": DUBAI["1"],
    "road": DUBAI["2"],
    "pavement": DUBAI["2"],
    "runway": DUBAI["2"],
    "trees": DUBAI["3"],
    "grass": DUBAI["3"],
    "cropland": DUBAI["3"],
    "water": DUBAI["4"],
    "swimming pool": DUBAI["4"],
}
"""Rendered classes as the five of Dubai; the others are left out."""

FINE = {str(label): ",".join(row.names) for label, row in enumerate(CLASSES)}
"""The rendered classes."""

TEXTURES = {
    ("aid", "forest"): "trees",
    ("aid", "farmland"): "cropland",
    ("aid", "meadow"): "grass",
    ("aid", "desert"): "bare land",
    ("aid", "bare land"): "bare land",
    ("ucm", "agricultural"): "cropland",
    ("ucm", "forest"): "trees",
    ("rsscn7", "forest"): "trees",
    ("rsscn7", "field"): "cropland",
    ("rsscn7", "grass"): "grass",
}
"""Set and label of pictures that are one material, nearly, and its rendered class."""

RSSCN7 = {
    "grass": "grass,grassland,meadow",
    "field": "field,farmland,cropland",
    "industry": "industrial area,industry,factories",
    "river_lake": "river or lake,water,lake,river",
    "forest": "forest,trees",
    "resident": "residential area,houses",
    "parking": "parking lot,parking",
}


def captioned(data: Path, out: Path, *, captions: str, images: str, name: str, names: dict[str, str]) -> Iterator[Line]:
    """The training split of a captioned scene set."""
    for record in json.loads((data / captions).read_text())["images"]:
        if record["split"] == "train":
            yield {
                "image": os.path.relpath(data / images / record["filename"], out),
                "set": name,
                "captions": list(dict.fromkeys(record["captions"])),
                "label": names.get(record["cls"], record["cls"].lower()),
            }


def folders(data: Path, out: Path, *, images: str, name: str, names: dict[str, str]) -> Iterator[Line]:
    """A set with a folder a class."""
    for path in sorted((data / images).glob("*/*.jpg")):
        label = names.get(path.parent.name, path.parent.name)
        yield {"image": os.path.relpath(path, out), "set": name, "label": label}


def dubai(data: Path, out: Path, tiles: str) -> Iterator[Line]:
    """Images and masks of some tiles, such as "12345"."""
    for path in sorted((data / "dubai_mbrsc/images").glob(f"tile[{tiles}]_*.jpg")):
        mask = data / "dubai_mbrsc/masks" / f"{path.stem}.png"
        yield {
            "image": os.path.relpath(path, out),
            "set": "dubai",
            "mask": os.path.relpath(mask, out),
            "classes": DUBAI,
        }


def roads(data: Path, out: Path) -> Iterator[Line]:
    """Road masks of all sheets but the last ones."""
    paths = sorted((data / "massachusetts_roads_tiles/images").glob("*.jpg"))
    sheets = sorted({path.name[:11] for path in paths})
    for path in paths:
        if path.name[:11] in sheets[:-HELD_OUT_SHEETS]:
            mask = next((data / "massachusetts_roads_tiles/masks").glob(f"{path.stem}.*"))
            yield {
                "image": os.path.relpath(path, out),
                "set": "roads",
                "mask": os.path.relpath(mask, out),
                "classes": {**ROADS, **places.rivals_of("building water grass bare cropland")},
            }


def of_places(data: Path, out: Path) -> Iterator[Line]:
    """The small sets of many places, each with its own words."""
    for row in places.SETS:
        for image, mask in places.masked(data, row, out / "places" / row.folder):
            yield {
                "image": os.path.relpath(image, out),
                "set": row.name,
                "mask": os.path.relpath(mask, out),
                "classes": row.words,
            }


def textures(out: Path, listed: list[Line]) -> Iterator[Line]:
    """Pictures that show one material all over, as masks of that class among the rendered ones."""
    titles = list(FINE.values())
    for line in listed:
        material = TEXTURES.get((line["set"], line.get("label", "").split(",")[0]))
        if material is None:
            continue
        label = next(i for i, names in enumerate(titles) if names.split(",")[0] == material)
        with Image.open(out / line["image"]) as image:
            size = image.size
        mask = out / "textures" / f"{label}-{size[0]}x{size[1]}.png"
        if not mask.exists():
            mask.parent.mkdir(exist_ok=True)
            Image.new("L", size, label).save(mask)
        yield {"image": line["image"], "set": "scenes", "mask": os.path.relpath(mask, out), "classes": FINE}


def _day(rng: np.random.Generator, *, seen: bool) -> tuple[str, ...] | None:
    """Conditions of a scene: the later themes have days of their own, half of the others an ordinary one."""
    if not seen and rng.random() < 0.7:
        return None
    count = int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))
    return tuple(str(c) for c in rng.choice(DAYS, count, replace=False))


def scenes(out: Path, count: int, themes: Sequence[str]) -> Iterator[Line]:
    """Rendered scenes of all themes and many resolutions, each with fine and with coarse classes."""
    folder = out / "scenes"
    folder.mkdir(exist_ok=True)
    coarse = {label: COARSE[names.split(",")[0]] for label, names in FINE.items() if names.split(",")[0] in COARSE}
    for seed in range(count):
        image, mask = folder / f"{seed:05d}.jpg", folder / f"{seed:05d}.png"
        if not mask.exists():
            rng = np.random.default_rng((seed, 2026))
            gsd = float(np.exp(rng.uniform(np.log(FINEST), np.log(COARSEST))))
            theme = themes[seed % len(themes)]
            day = _day(rng, seen=theme in DRAWN_THEMES)
            scene = render_scene(height=448, width=512, gsd=gsd, theme=theme, seed=10_000 + seed, conditions=day)
            Image.fromarray(scene.image).save(image, quality=92)
            Image.fromarray(scene.labels).save(mask)
        for name, classes in (("scenes", FINE), ("scenes-coarse", coarse)):
            yield {
                "image": os.path.relpath(image, out),
                "set": name,
                "mask": os.path.relpath(mask, out),
                "classes": classes,
                "rendered": True,
            }


def crops(out: Path, listed: list[Line], name: str, count: int) -> Iterator[Line]:
    """Random crops of a set with masks, described by `earthwords pairs` from the boxes of their components."""
    source = [line for line in listed if line["set"] == name]
    folder, rng = out / "crops" / name, np.random.default_rng((7, len(name)))
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(count):
        line = source[rng.integers(len(source))]
        with Image.open(out / line["image"]) as image, Image.open(out / line["mask"]) as mask:
            least, most = np.log(CROP[0]), np.log(min(CROP[1], *image.size))
            side = int(np.exp(rng.uniform(least, most)))
            left, top = (int(rng.integers(extent - side + 1)) for extent in image.size)
            box = (left, top, left + side, top + side)
            image.crop(box).convert("RGB").save(folder / "images" / f"{i:05d}.jpg", quality=95)
            mask.crop(box).save(folder / "masks" / f"{i:05d}.png")
    (folder / "classes.json").write_text(json.dumps(TOLD if name == "dubai" else source[0]["classes"]))
    earthwords.pairs(folder, folder / "pairs.jsonl", dedup=False, min_pixels=LEAST, overwrite=True, quiet=True)
    for text in (folder / "pairs.jsonl").read_text().splitlines():
        line = json.loads(text)
        image = os.path.relpath(folder / line["image"], out)
        yield {"image": image, "set": f"{name}-crops", "captions": line["captions"], "rendered": name == "scenes"}


def unseen(data: Path, out: Path, listed: list[Line]) -> list[Line]:
    """The lines whose images are not like one that is tested on."""
    tested = [
        data / folder / record["filename"]
        for captions, folder in (
            ("rsicd_captions/rsicd_on_aid.json", "aid30/images"),
            ("ucm_captions/ucm_captions.json", "ucmerced21/images"),
        )
        for record in json.loads((data / captions).read_text())["images"]
        if record["split"] != "train"
    ]
    tested += sorted((data / "dubai_mbrsc/images").glob("tile[678]_*")) + sorted(
        (data / "buildings_mix/images").iterdir()
    )
    found = near(_hashes(out / line["image"] for line in listed), _hashes(tested))
    gone = set(found.second.tolist())
    for first, second in zip(found.first.tolist(), found.second.tolist(), strict=True):
        print(f"{listed[second]['image']} is like the test image {tested[first].name}: left out")
    return [line for i, line in enumerate(listed) if i not in gone]


def _hashes(paths: Iterable[Path]) -> np.ndarray:
    found = []
    for path in paths:
        with Image.open(path) as image:
            found.append(perceptual_hash(np.array(image.convert("RGB")))[0])
    return np.array(found, np.uint64)


def lines(data: Path, out: Path, *, validation: bool) -> Iterator[Line]:
    """All real images."""
    aid = captioned(
        data, out, captions="rsicd_captions/rsicd_on_aid.json", images="aid30/images", name="aid", names=AID
    )
    yield from (line for i, line in enumerate(aid) if not (validation and i % 10 == 0))
    yield from captioned(
        data, out, captions="ucm_captions/ucm_captions.json", images="ucmerced21/images", name="ucm", names=UCM
    )
    yield from folders(data, out, images="rsscn7/images", name="rsscn7", names=RSSCN7)
    yield from dubai(data, out, "1235" if validation else "12345")
    yield from roads(data, out)
    yield from of_places(data, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--scenes", type=int, default=440)
    parser.add_argument("--crops", type=int, default=2000)
    parser.add_argument("--without", nargs="+", default=[], choices=THEMES, metavar="THEME", help="not rendered")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data, out = args.data.resolve(), args.out.resolve()
    listed = unseen(data, out, list(lines(data, out, validation=args.validation)))
    listed += [*textures(out, listed), *scenes(out, args.scenes, [t for t in THEMES if t not in args.without])]
    for name in ("dubai", "scenes") if args.crops else ():
        listed += crops(out, listed, name, args.crops)
    (out / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in listed))
    pictures = dict.fromkeys(str((out / line["image"]).resolve()) for line in listed)
    (out / "images.txt").write_text("".join(f"{path}\n" for path in pictures))
    print(f"{len(listed)} images listed in {out / 'train.jsonl'}")


if __name__ == "__main__":
    main()
