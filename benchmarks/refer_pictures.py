"""Ten sentences about places that no training for sentences saw, to be looked at: one picture, and one line each.

    python benchmarks/refer_pictures.py DATA [MODEL ...] [--out refer.png] [--images]

MODEL as for `refer --model`; `refseg-tiny` by default. Each scene is looked at as `refer` does; the line says which
share of it is marked, and how sure the model is. Photographs are drawn where they are in the public domain (NAIP), of
the others the marked pixels alone; `--images` draws all of them, to look at and not to pass on. Whether an answer is
right is for the eye: docs/models/refseg-tiny.md has what was seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.refer.referrer import Referrer
from feature_picture import Panel, sheet

BLANK = np.array((236, 236, 236), np.uint8)
MARK = np.array((255, 60, 20), np.float32)
PANEL = 288


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A sentence about a picture."""

    text: str
    path: str
    """Below DATA; a pattern whose first match is taken."""
    free: bool = False
    """The photograph is in the public domain."""


_NAIP, _DUBAI = "geotiff_demo/naip_*.tif", "dubai_mbrsc/images/tile6_image_part_001.jpg"
_BERLIN, _NEW_YORK = "places/berlin_rooftops/images/train_{}.jpg", "places/gmaps_nyc/images/val_{}.jpg"
ASKED: Sequence[Asked] = (
    Asked(text="the largest lake", path=_NAIP, free=True),
    Asked(text="the bare field in the top right corner", path=_NAIP, free=True),
    Asked(text="the airport", path=_NAIP, free=True),
    Asked(text="the houses", path=_DUBAI),
    Asked(text="the water on the right", path=_DUBAI),
    Asked(text="the house with the red roof", path=_BERLIN.format(532)),
    Asked(text="the road", path=_BERLIN.format(328)),
    Asked(text="the river on the left", path=_NEW_YORK.format(65)),
    Asked(text="the trees in the top left corner", path=_NEW_YORK.format(1006)),
    Asked(text="the largest building", path=_NEW_YORK.format(208)),
)
"""Written before any answer was seen; there is no airport."""


def marked(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`(row, col, 3)` with the pixels of a mask in colour."""
    return np.where(mask[..., None], 0.35 * image + 0.65 * MARK, image).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="*", default=["refseg-tiny"])
    parser.add_argument("--out", type=Path, default=Path("refer.png"))
    parser.add_argument("--images", action="store_true", help="draw every photograph")
    args = parser.parse_args()
    referrers = [Referrer.from_preset(model=None if name == "refseg-tiny" else name) for name in args.models]
    rows: list[list[Panel]] = []
    for asked in ASKED:
        path = sorted(args.data.glob(asked.path))[0]
        row: list[Panel] = []
        for referrer in referrers:
            found = referrer.predict(path, asked.text)
            mask = found.labels == 0
            shown = found.image if asked.free or args.images else np.full_like(found.image, BLANK)
            sure = f"{found.score[mask].mean():.2f}" if mask.any() else "nothing"
            print(f"{asked.text} | {path.stem[:24]} | {100 * mask.mean():.1f} % | {sure}", flush=True)
            row = row or [(shown, asked.text)]
            row.append((marked(shown, mask), sure))
        rows.append(row)
    sheet(["photograph", *(Path(name).name for name in args.models)], rows, args.out, panel=PANEL)


if __name__ == "__main__":
    main()
