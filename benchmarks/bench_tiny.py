"""Held-out figures of the embedded model `tiny`, every attention method and upsampler.

    python benchmarks/bench_tiny.py DATA [--validation] [--only ROW ...] [--model FOLDER] [--json FILE]

Dubai tiles 7 and 8 (5 classes, never seen in training) against the map that says "land" everywhere; UC Merced
test, zero-shot over 21 classes (the training split was used in training); AID test, zero-shot over 30
classes; RSICD test, retrieval. One row a setting, in percent; `ratio` is the row against the reference of
its group, measured in the same run. Attention methods are compared without upsampler. `--only` prints the rows on
Dubai whose names begin so, and nothing else. `--validation` prints what the preset was chosen by instead: windows,
templates and upsamplers on Dubai tile 6.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import heldout
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.clip.attention import ATTENTION
from earthwords.models.weights.table import load_clip
from earthwords.presets import TINY, SegmentPreset

SYNONYMS = (
    "building,roof,house",
    "land,bare land,sand,soil",
    "road,street",
    "vegetation,trees,grass",
    "water,lake,sea",
)
UPSAMPLERS = (None, "bilinear", "simfeatup", "anyup")
"""Besides the preset's own."""
EXACT = replace(TINY, energy=1.0)
Setting = tuple[str, SegmentPreset, tuple[str, ...]]


def choices() -> list[Setting]:
    """What tile 6 decides between."""
    rows = [
        (f"windows {tile}/{overlap}", replace(upsampled(None), tile_size=tile, overlap=overlap), heldout.DUBAI)
        for tile, overlap in ((96, 48), (128, 64), (160, 80), (224, 112), (224, 168))
    ]
    rows += [("bare words", replace(upsampled(None), templates="none"), heldout.DUBAI)]
    rows += [("synonyms", upsampled(None), SYNONYMS), ("tiny", TINY, heldout.DUBAI), ("energy 1", EXACT, heldout.DUBAI)]
    return rows + [(f"upsampler {name or 'none'}", upsampled(name), heldout.DUBAI) for name in UPSAMPLERS]


def settings() -> list[Setting]:
    """The preset, and the same with one part exchanged."""
    rows = [("tiny", TINY, heldout.DUBAI), ("synonyms", TINY, SYNONYMS), ("energy 1", EXACT, heldout.DUBAI)]
    rows += [(f"upsampler {name or 'none'}", upsampled(name), heldout.DUBAI) for name in UPSAMPLERS]
    return rows + [
        (f"attention {a}", replace(upsampled(None), attention=a, cls_weight=0.0), heldout.DUBAI) for a in ATTENTION
    ]


def upsampled(name: str | None) -> SegmentPreset:
    """The preset with another upsampler and its weights."""
    return replace(TINY, upsampler=name, upsampler_weights=None, energy=1.0)


def segmentation(data: Path, tiles: str, listed: list[Setting], model: str | None) -> list[dict[str, Any]]:
    """Dubai: a map that says "land" everywhere, and the settings."""
    head = "".join(f"{k:>10}" for k in ("mIoU", *heldout.DUBAI, "ratio", "seconds"))
    print(f"{'Dubai, tiles ' + ', '.join(tiles):<24}{head}")
    base = heldout.always(data, tiles, 1)
    rows = [_row("always land", base.iou, base.miou, base.miou, 0.0)]
    print(_line(rows[0]))
    for name, preset, words in listed:
        began = time.perf_counter()
        scores = heldout.dubai(Segmenter.from_preset(preset, model=model, batch=16), data, tiles, words=words)
        rows.append(_row(name, scores.iou, scores.miou, base.miou, time.perf_counter() - began))
        print(_line(rows[-1]), flush=True)
    return rows


def _row(name: str, iou: Any, miou: float, reference: float, seconds: float) -> dict[str, Any]:
    classes = {title: round(100 * float(v), 1) for title, v in zip(heldout.DUBAI, iou, strict=True)}
    return {
        "setting": name,
        "mIoU": round(100 * miou, 1),
        **classes,
        "ratio": round(miou / reference, 2),
        "seconds": round(seconds, 1),
    }


def _line(row: dict[str, Any]) -> str:
    values = [f"{row[k]:>10}" for k in ("mIoU", *heldout.DUBAI, "ratio", "seconds")]
    return f"{row['setting']:<24}" + "".join(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", help="another model folder instead of the embedded one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--only", nargs="+")
    args = parser.parse_args()
    listed = choices() if args.validation else settings()
    if args.only:
        listed = [row for row in listed if row[0].startswith(tuple(args.only))]
    if args.validation or args.only:
        segmentation(args.data, "6" if args.validation else "78", listed, args.model)
        return
    rows = segmentation(args.data, "78", listed, args.model)
    backbone = load_clip(args.model or "tiny")
    recalls = heldout.rsicd(backbone, args.data, heldout.in_test)
    others = {
        "AID test, 30-way zero-shot": heldout.aid(backbone, args.data, heldout.in_test),
        "UC Merced test, 21-way zero-shot (train split seen in training)": heldout.ucm(backbone, args.data),
        **{f"RSICD test, {name}": value for name, value in recalls.items()},
    }
    for name, value in others.items():
        print(f"{name:<66}{value:6.1f}")
    if args.json:
        table = [*rows, *({"setting": name, "value": round(value, 2), "ratio": None} for name, value in others.items())]
        args.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
