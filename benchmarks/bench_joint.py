"""Does `segment --joint` help? IoU by place and class, of the validation places of `bench_places.py`.

    python benchmarks/bench_joint.py DATA [--model tiny] [--warmth 0.05 ...] [--split validation] [--most 12]
        [--json FILE]

Columns: `words` (the preset `tiny` as it is), `no nothing` (the same, where pixels that no word fits get the best one
all the same, as `--joint` does), and `joint` at each temperature a channel (0.05 is what `--joint` takes). Percent;
every picture is a scene of its own. The last line is the mean over places of the mean over classes.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from bench_places import PLACES, SPLITS, line, measure
from earthwords.inference.segment.result import SegmentationResult
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows import mixture
from earthwords.presets import TINY


class Joint(Segmenter):
    """Segments jointly."""

    warmth = mixture.WARMTH

    def predict(self, *args: Any, **options: Any) -> SegmentationResult:  # type: ignore[override]
        mixture.WARMTH = self.warmth
        return super().predict(*args, joint=True, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--warmth", type=float, nargs="+", default=[mixture.WARMTH])
    parser.add_argument("--split", default="validation", choices=SPLITS)
    parser.add_argument("--most", type=int, default=12)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    segmenters = {"words": Segmenter.from_preset(TINY, model=args.model)}
    segmenters["no nothing"] = Segmenter.from_preset(replace(TINY, nothing=None), model=args.model)
    for warmth in args.warmth:
        joint = Joint.from_preset(TINY, model=args.model)
        joint.warmth = warmth  # type: ignore[attr-defined]
        segmenters[f"joint {warmth:g}"] = joint
    rows = []
    print(f"{'split':<12}{'place':<22}{'class':<12}{'all':>7}{'colour':>8}" + "".join(f"{n:>19}" for n in segmenters))
    for place in (place for place in PLACES if place.split == args.split):
        for row in measure(place, args.data, segmenters, args.most):
            rows.append(row)
            print(line(row, segmenters), flush=True)
    print(f"{'mean':<61}", end="")
    for name in segmenters:
        by_place = defaultdict(list)
        for row in rows:
            by_place[row["place"]].append(row[name])
        print(f"{mean(map(mean, by_place.values())):19.1f}", end="")
    print()
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
