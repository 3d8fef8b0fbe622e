"""How often a map is right where its two best classes are close, and elsewhere: what the margin of `report.json` means.

    python benchmarks/bench_undecided.py DATA [--test] [--json FILE]

The margin of a pixel is `(first - second) / (first + second)` of the probabilities of its two best classes: it does not
depend on how many other words were asked for. For several margins: the share of pixels below it, and how many percent
of the pixels below and above it have the right class. Dubai tile 6, or with `--test` tiles 7 and 8. `ratio` is right
below over right above.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

import heldout
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.text.vocabulary import parse_classes

MARGINS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    segmenter, vocabulary = Segmenter.from_preset("tiny"), parse_classes(list(heldout.DUBAI))
    below, right, count, correct = np.zeros(len(MARGINS)), np.zeros(len(MARGINS)), 0, 0
    for tile in "78" if given.test else "6":
        for path in sorted((given.data / "dubai_mbrsc/images").glob(f"tile{tile}_*.jpg")):
            with Image.open(given.data / "dubai_mbrsc/masks" / f"{path.stem}.png") as mask:
                truth = np.array(mask)
            found = segmenter.predict(path, vocabulary, probabilities=True)
            second, first = np.sort(found.probabilities, axis=0)[-2:]
            known = truth < len(vocabulary)
            margin, hit = ((first - second) / (first + second))[known], (found.labels == truth)[known]
            count, correct = count + len(hit), correct + int(hit.sum())
            for i, most in enumerate(MARGINS):
                below[i] += (margin < most).sum()
                right[i] += hit[margin < most].sum()
    rows = []
    print(f"{'margin':>8}{'share':>8}{'right below':>13}{'right above':>13}{'ratio':>8}")
    for most, n, r in zip(MARGINS, below, right, strict=True):
        under, over = r / n, (correct - r) / (count - n)
        rows.append({"margin": most, "share": n / count, "below": under, "above": over, "ratio": under / over})
        print(f"{most:8.2f}{n / count:8.1%}{under:13.1%}{over:13.1%}{under / over:8.2f}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
