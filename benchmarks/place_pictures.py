"""Maps of two models of places that neither saw, side by side: one picture.

    python benchmarks/place_pictures.py DATA BEFORE AFTER [--out docs/images/tiny-places.png] [--images]

BEFORE and AFTER are names or folders, read as the preset `tiny` reads them, without upsampler. Each row is a place:
AFTER's map lies right of BEFORE's. The photograph is drawn where it is in the public domain (NAIP, NEON); `--images`
draws all of them, to look at and not to pass on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import TINY
from feature_picture import Panel, sheet

WORDS = ("building,roof,house", "road,street,pavement", "trees,forest", "grass,field", "bare land,soil", "water,lake")
COLOURS = np.array(
    [(214, 69, 65), (130, 130, 136), (38, 115, 60), (166, 207, 110), (214, 181, 122), (66, 121, 214)], np.uint8
)
"""Of `WORDS`."""
BLANK = np.array((236, 236, 236), np.uint8)
PANEL = 288


@dataclass(frozen=True, kw_only=True)
class Place:
    """A row of the picture."""

    title: str
    path: str
    """A pattern below DATA; the first that matches."""
    free: bool = False
    """The photograph is in the public domain."""


PLACES: Sequence[Place] = (
    Place(title="lakes, NAIP, 5 m", path="geotiff_demo/naip_*.tif", free=True),
    Place(title="crowns, NEON OSBS, 0.1 m", path="geotiff_demo/trees/OSBS_029.tif", free=True),
    Place(
        title="leafless forest, Massachusetts, 1 m", path="massachusetts_roads_tiles/images/26129290_15_1200_1200.jpg"
    ),
    Place(title="courtyard, Potsdam", path="canonical_samples/potsdam/images_top_potsdam_7_7_RGB.png"),
    Place(title="Nairobi", path="places/oam_nairobi/images/*.jpg"),
    Place(title="Berlin", path="places/berlin_rooftops/images/*.jpg"),
)


def painted(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """`(row, col, 3)`; pixels of no class are grey."""
    return np.concatenate([COLOURS, BLANK[None]])[np.minimum(labels, len(COLOURS))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--out", type=Path, default=Path("docs/images/tiny-places.png"))
    parser.add_argument("--images", action="store_true", help="draw every photograph")
    args = parser.parse_args()
    plain = replace(TINY, upsampler=None, upsampler_weights=None, energy=1.0)
    models = [Segmenter.from_preset(plain, model=model) for model in (args.before, args.after)]
    rows: list[list[Panel]] = []
    for place in PLACES:
        path = sorted(args.data.glob(place.path))[0]
        found = [model.predict(path, WORDS) for model in models]
        shown = found[0].image if place.free or args.images else np.full_like(found[0].image, BLANK)
        rows.append([(shown, place.title), *((painted(one.labels), "") for one in found)])
        print(place.title, flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(["photograph", "before", "after"], rows, args.out, panel=PANEL)


if __name__ == "__main__":
    main()
