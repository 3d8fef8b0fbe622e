"""Dual encoders side by side on held-out real images: one table.

    python benchmarks/compare_models.py DATA MODEL [MODEL ...] [--only ROW ...] [--json FILE]

MODEL is a folder or name, such as `tiny`. Rows, in percent: RSICD test and UCM-captions test, mean recall; AID (also
without the ten images whose place was trained on) and UC Merced test, zero-shot; Dubai tiles 7 and 8, mIoU of five
classes, and buildings_mix, IoU of buildings, both read as the preset `tiny` reads them, without upsampler. `ratio` is
the last model against the first.
`--only` prints the rows whose names begin so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import heldout
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.weights.table import load_clip
from earthwords.presets import TINY

PLAIN = replace(TINY, upsampler=None, upsampler_weights=None, energy=1.0)
Measure = Callable[[str, Path], float]


def _segmenter(model: str) -> Segmenter:
    return Segmenter.from_preset(PLAIN, model=model, batch=16)


MEASURES: dict[str, Measure] = {
    "RSICD test, mean recall": lambda m, d: heldout.rsicd(load_clip(m), d, heldout.in_test)["mean_recall"],
    "UCM-captions test, mean recall": lambda m, d: heldout.ucm_captions(load_clip(m), d)["mean_recall"],
    "AID test, zero-shot": lambda m, d: heldout.aid(load_clip(m), d, heldout.in_test),
    "AID test without seen places": lambda m, d: heldout.aid(load_clip(m), d, heldout.in_clean_test),
    "UC Merced test, zero-shot": lambda m, d: heldout.ucm(load_clip(m), d),
    "Dubai 7-8, mIoU": lambda m, d: 100 * heldout.dubai(_segmenter(m), d, "78").miou,
    "buildings_mix, IoU": lambda m, d: heldout.buildings(_segmenter(m), d),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    print(f"{'':<36}" + "".join(f"{Path(m).name:>14}" for m in args.models) + f"{'ratio':>8}")
    chosen = {name: measure for name, measure in MEASURES.items() if name.startswith(tuple(args.only))}
    for name, measure in chosen.items():
        values = [measure(model, args.data) for model in args.models]
        ratio = values[-1] / values[0]
        print(f"{name:<36}" + "".join(f"{v:14.1f}" for v in values) + f"{ratio:8.2f}", flush=True)
        rows.append({"measure": name, "values": [round(v, 2) for v in values], "ratio": round(ratio, 3)})
    if args.json:
        args.json.write_text(json.dumps({"models": args.models, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
