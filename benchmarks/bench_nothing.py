"""Where `nothing` of the preset `tiny` should lie: how many pixels no word fits, whether words cover a place or not.

    python benchmarks/bench_nothing.py DATA [--model NAME] [--most 3] [--only PLACE ...]

For each validation place of `bench_places.py` the percent of pixels whose best cosine is below several values: with the
words that cover the place (they should fit), and with two words that mean nothing in it (they should not).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench_places import PLACES, evenly
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import TINY
from earthwords.text.vocabulary import parse_classes
from earthwords.types import TextBank

ABSENT = ("airport", "swimming pool")
BELOW = (-0.3, -0.2, -0.15, -0.1, -0.05, 0.0, 0.1)


class Seen(Segmenter):
    """Remembers the best cosine of every pixel."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.best: list[np.ndarray] = []

    def _unfit(self, logits: torch.Tensor, bank: TextBank) -> None:
        self.best.append(logits.amax(dim=0).flatten().numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--most", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""])
    args = parser.parse_args()
    segmenter = Seen.from_preset(TINY, model=args.model)
    assert isinstance(segmenter, Seen)
    print(f"{'place':<20}{'words':<10}" + "".join(f"{value:8.2f}" for value in BELOW))
    for place in PLACES:
        if place.split != "validation" or not place.name.startswith(tuple(args.only)):
            continue
        for title, words in (("fit", place.words), ("do not", ABSENT)):
            segmenter.best.clear()
            for path in evenly(place.pictures(args.data), args.most):
                with Image.open(path) as image:
                    segmenter.predict(np.array(image.convert("RGB")), parse_classes(list(words)))
            values = np.concatenate(segmenter.best)
            shares = "".join(f"{100 * (values < value).mean():8.1f}" for value in BELOW)
            print(f"{place.name:<20}{title:<10}{shares}", flush=True)


if __name__ == "__main__":
    main()
