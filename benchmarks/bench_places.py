"""The embedded model where it was and where it never was: IoU by place and class, beside rules without a model.

    python benchmarks/bench_places.py DATA [MODEL ...] [--split validation] [--most 12] [--only ROW ...] [--json FILE]

MODEL is a name or folder, with `:none`, `:bilinear`, `:jbu:FILE`, ... behind it to read it with another upsampler than
the preset's, or a preset file or folder of `train segment`; `tiny` by default. Splits: `validation` (places that no
training saw: choices are made on them), `test` (neither: looked at once a model), `seen` (places of the training: a
model is good there without knowing the world). Each split has a mean of its own. Two columns need no model: `all` says
the class everywhere (its IoU is the class's share of the pixels), `colour` follows a rule on colours that
`COLOUR_RULES` states. Percent. `--most` takes so many pictures of a place, evenly drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import PRESET_FILE, TINY, load_preset
from earthwords.text.vocabulary import parse_classes

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
import places

SPLITS = ("validation", "test", "seen")
TOWN = (
    "building,roof,house",
    "road,street,pavement",
    "trees,grass,vegetation,field",
    "bare land,soil,sand",
    "water",
)
"""A building, and what else may be there."""
FIELDS = ("cropland,field,farmland", "trees,forest", "grass", "building,house", "road", "water")
DUBAI = ("building", "land", "road", "vegetation", "water")
LOVEDA = ("building", "road", "water", "bare land", "forest,trees", "agriculture,cropland,field")
POTSDAM = ("road,pavement", "building", "grass", "trees", "car")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A row of the table: pictures, words, and what of the truth is asked."""

    name: str
    split: str
    pictures: Callable[[Path], list[Path]]
    words: tuple[str, ...]
    classes: dict[str, tuple[tuple[int, ...], int]]
    """Name -> the values of the mask, and the position of the word that should mark them."""
    mask: Callable[[Path], Path] = places.mask_of
    ignored: tuple[int, ...] = (255,)
    positive: bool = False
    """Any value above 0 of the mask counts as 1."""

    def truth(self, path: Path) -> NDArray[np.uint8]:
        """`(row, col)` of a picture."""
        with Image.open(self.mask(path)) as image:
            values = np.array(image.convert("L") if self.positive else image)
        return (values > 0).astype(np.uint8) if self.positive else values


def _held_out(folder: str) -> Callable[[Path], list[Path]]:
    return lambda data: places.pictures(data, folder, held_out=True)


def _seen(folder: str) -> Callable[[Path], list[Path]]:
    return lambda data: places.pictures(data, folder, held_out=False)


def _glob(pattern: str) -> Callable[[Path], list[Path]]:
    return lambda data: sorted(data.glob(pattern))


def _last_sheets(data: Path) -> list[Path]:
    """The six Massachusetts sheets that `tiny_data.py` leaves out."""
    paths = sorted((data / "massachusetts_roads_tiles/images").glob("*.jpg"))
    last = sorted({path.name[:11] for path in paths})[-6:]
    return [path for path in paths if path.name[:11] in last]


def _beside(path: Path) -> Path:
    return next((path.parent.parent / "masks").glob(f"{path.stem}.*"))


_BUILDING = {"building": ((1,), 0)}
_NEW_YORK = {"road": ((1,), 1), "water": ((2,), 4), "park": ((3,), 2)}
_LOVEDA = {name: ((i + 2,), i) for i, name in enumerate(("building", "road", "water", "bare", "forest", "farmland"))}
_POTSDAM = {name: ((i + 1,), i) for i, name in enumerate(("paved", "building", "grass", "trees", "car"))}
_DUBAI = {name: ((i,), i) for i, name in enumerate(DUBAI)}
_place = partial(Place, words=TOWN)

PLACES: tuple[Place, ...] = (
    _place(name="Berlin", split="validation", pictures=_held_out("berlin_rooftops"), classes=_BUILDING),
    _place(name="Nairobi", split="validation", pictures=_held_out("oam_nairobi"), classes=_BUILDING),
    _place(name="New York, south", split="validation", pictures=_held_out("gmaps_nyc"), classes=_NEW_YORK),
    _place(
        name="US fields, west", split="validation", pictures=_held_out("us_fields"), words=FIELDS,
        classes={"cropland": ((1,), 0)}, ignored=(2, 255),
    ),
    _place(
        name="Bishop", split="validation", pictures=_held_out("ca_urban_trees_inland"),
        classes={"vegetation": ((1, 2), 2)},
    ),
    _place(
        name="Dubai, tile 6", split="validation", pictures=_glob("dubai_mbrsc/images/tile6_*.jpg"), words=DUBAI,
        classes=_DUBAI,
    ),
    _place(
        name="Dubai, tiles 7 and 8", split="test", pictures=_glob("dubai_mbrsc/images/tile[78]_*.jpg"), words=DUBAI,
        classes=_DUBAI,
    ),
    _place(
        name="six sources", split="test", pictures=_glob("buildings_mix/images/*"), classes=_BUILDING, mask=_beside,
        positive=True,
    ),
    _place(
        name="Massachusetts", split="test", pictures=_last_sheets, classes={"road": ((1,), 1)}, mask=_beside,
        positive=True,
    ),
    _place(
        name="LoveDA", split="test", pictures=_glob("canonical_samples/mmseg_loveda/img_dir/*"), words=LOVEDA,
        classes=_LOVEDA, ignored=(0, 1, 255),
    ),
    _place(name="Zanzibar", split="seen", pictures=_seen("oam_zanzibar"), classes=_BUILDING),
    _place(name="Barnarp", split="seen", pictures=_seen("barnarp_buildings"), classes=_BUILDING),
    _place(name="New York, north", split="seen", pictures=_seen("gmaps_nyc"), classes=_NEW_YORK),
)  # fmt: skip


def _greenness(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    return 2 * rgb[..., 1] - rgb[..., 0] - rgb[..., 2]


def _smooth(rgb: NDArray[np.float32]) -> NDArray[np.bool_]:
    grey = rgb.mean(axis=-1)
    mean, square = (ndimage.uniform_filter(v, 9) for v in (grey, grey**2))
    return np.sqrt(np.maximum(square - mean**2, 0)) < 0.025


def _grey(rgb: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (rgb.max(axis=-1) - rgb.min(axis=-1)) < 0.08


Rule = Callable[[NDArray[np.float32]], NDArray[np.bool_]]
_GREEN: Rule = lambda rgb: _greenness(rgb) > 0.04  # noqa: E731
COLOUR_RULES: dict[str, Rule] = {
    "building": lambda rgb: (rgb.mean(axis=-1) > 0.6) | (rgb[..., 0] > 1.25 * rgb[..., 1]),
    "road": lambda rgb: _grey(rgb) & (rgb.mean(axis=-1) > 0.25) & (rgb.mean(axis=-1) < 0.6),
    "paved": lambda rgb: _grey(rgb) & (rgb.mean(axis=-1) > 0.25) & (rgb.mean(axis=-1) < 0.6),
    "water": lambda rgb: _smooth(rgb) & (rgb[..., 2] >= rgb[..., 0]) & (rgb.mean(axis=-1) < 0.5),
    "car": lambda rgb: ~_smooth(rgb) & (rgb.mean(axis=-1) > 0.7),
    "land": lambda rgb: (rgb[..., 0] > rgb[..., 2] + 0.05) & (_greenness(rgb) <= 0.04),
    "bare": lambda rgb: (rgb[..., 0] > rgb[..., 2] + 0.05) & (_greenness(rgb) <= 0.04),
    **dict.fromkeys(("park", "cropland", "farmland", "vegetation", "forest", "trees", "grass"), _GREEN),
}
"""RGB in 0..1 to the pixels that look like the class: green by 2 G - R - B > 0.04, roads grey and neither dark nor
bright, water even, dark and not red, buildings bright or red."""


def evenly(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many, spread over the list."""
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))]


@dataclass(kw_only=True)
class Counts:
    """Pixels of one class."""

    both: int = 0
    either: int = 0

    def add(self, truth: NDArray[np.bool_], marked: NDArray[np.bool_], valid: NDArray[np.bool_]) -> None:
        self.both += int((truth & marked & valid).sum())
        self.either += int(((truth | marked) & valid).sum())

    @property
    def iou(self) -> float:
        return 100 * self.both / self.either if self.either else float("nan")


def measure(place: Place, data: Path, segmenters: dict[str, Segmenter], most: int) -> Iterator[dict[str, Any]]:
    """A row for every class of a place."""
    counts: dict[tuple[str, str], Counts] = {}
    vocabulary = parse_classes(list(place.words))
    paths = evenly(place.pictures(data), most)
    for path in paths:
        with Image.open(path) as image:
            picture = np.array(image.convert("RGB"))
        truth, rgb = place.truth(path), picture.astype(np.float32) / 255
        valid = ~np.isin(truth, place.ignored)
        maps = {name: segmenter.predict(picture, vocabulary).labels for name, segmenter in segmenters.items()}
        for title, (values, word) in place.classes.items():
            wanted = np.isin(truth, values)
            marks = {"all": np.ones_like(wanted), "colour": COLOUR_RULES[title](rgb)}
            marks |= {name: labels == word for name, labels in maps.items()}
            for name, marked in marks.items():
                counts.setdefault((title, name), Counts()).add(wanted, marked, valid)
    for title in place.classes:
        columns = {name: counts[title, name].iou for name in ("all", "colour", *segmenters)}
        yield {"place": place.name, "split": place.split, "pictures": len(paths), "class": title, **columns}


def load(model: str) -> Segmenter:
    """`NAME|FOLDER[:UPSAMPLER[:WEIGHTS]]` read as the preset `tiny` reads it; a preset file, or a folder with one, as
    it says itself."""
    if model.endswith(".toml") or (Path(model) / PRESET_FILE).exists():
        return Segmenter.from_preset(load_preset(model))
    name, upsampler, weights = (*model.split(":"), "", "")[:3]
    preset = TINY
    if upsampler:
        row = {"none": None}.get(upsampler, upsampler)
        preset = replace(TINY, upsampler=row, upsampler_weights=weights or None)
    return Segmenter.from_preset(preset, model=name)


def line(row: dict[str, Any], models: Iterable[str]) -> str:
    """Of the table."""
    values = "".join(f"{row[name]:19.1f}" for name in models)
    return f"{row['split']:<12}{row['place']:<22}{row['class']:<12}{row['all']:7.1f}{row['colour']:8.1f}{values}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="*", default=["tiny"])
    parser.add_argument("--split", nargs="+", default=["validation"], choices=SPLITS)
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--most", type=int, default=12)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    segmenters = {Path(model).name: load(model) for model in args.models}
    head = "".join(f"{name[-18:]:>19}" for name in segmenters)
    print(f"{'split':<12}{'place':<22}{'class':<12}{'all':>7}{'colour':>8}{head}")
    chosen = [place for place in PLACES if place.split in args.split and place.name.startswith(tuple(args.only))]
    rows = []
    for split in SPLITS:
        found = []
        for place in (place for place in chosen if place.split == split):
            for row in measure(place, args.data, segmenters, args.most):
                found.append(row)
                print(line(row, segmenters), flush=True)
        if found:
            means = {name: float(np.mean([row[name] for row in found])) for name in ("all", "colour", *segmenters)}
            rows += [*found, {"place": f"mean of {len(found)}", "split": split, "class": "", **means}]
            print(line(rows[-1], segmenters), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
