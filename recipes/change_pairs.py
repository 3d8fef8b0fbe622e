"""Renders pairs of two dates with masks of the buildings that came and went, for `earthwords train change`.

    python recipes/change_pairs.py OUT [--pairs 400] [--held-out 40] [--side 256]
    earthwords train change OUT my-change --steps 1500

Trees are felled, cars, ships and planes move as well, and the mask says nothing of it: what changes beside buildings
teaches that it does not count. Light, season and sensor differ between the dates. OUT gets `train` and `val` with the
folders A, B and label; places of the two are of other seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from earthwords.synthetic import CLASSES, render_pair

THEMES = (
    *("town", "arid-suburb", "industrial", "commercial", "flats", "village", "old-town", "informal-settlement"),
    *("tropical-village", "us-grid-city", "harbour", "farmland", "coast", "parking"),
)
KINDS = ("buildings built", "buildings removed", "trees felled", "cars", "ships", "planes", "water level")
BUILDING = [c.title for c in CLASSES].index("building")
HELD_OUT = 500_000
"""First seed of `val`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    for part, count, first in (("train", options.pairs, 0), ("val", options.held_out, HELD_OUT)):
        changed = [write(options.out / part, first + i, options.side) for i in range(count)]
        print(f"{part}: {count} pairs, {100 * float(np.mean(changed)):.1f} % of the pixels changed")


def write(folder: Path, seed: int, side: int) -> float:
    """A pair and its mask; the share of pixels that changed."""
    rng = np.random.default_rng(seed)
    theme = THEMES[seed % len(THEMES)]
    gsd = float(np.exp(rng.uniform(np.log(0.3), np.log(1.0))))
    amount = int(rng.integers(0, 7))
    pair = render_pair(height=side, width=side, gsd=gsd, theme=theme, seed=seed, changes=KINDS, amount=amount)
    mask = (pair.before.labels == BUILDING) != (pair.after.labels == BUILDING)
    for name, pixels in (("A", pair.before.image), ("B", pair.after.image), ("label", mask.astype(np.uint8) * 255)):
        path = folder / name / f"{theme}-{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return float(mask.mean())


if __name__ == "__main__":
    main()
