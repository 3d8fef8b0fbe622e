"""What decides the recipe of `tiny`: short trainings on the validation split, two seeds each.

    python recipes/tiny_data.py DATA LISTING --validation
    python benchmarks/ablate_tiny.py DATA LISTING/train.jsonl --out RUNS [--steps 800] [--only ROW ...] [--json FILE]

Every row trains from scratch at 96 px and is measured on what the training list left out: Dubai tiles 4 and
6, and every tenth AID training image. A run that is there already is not repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import heldout
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.sliding import Encoder
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.weights.table import load_clip
from earthwords.presets import TINY
from earthwords.tasks.train_clip import train_clip

ALL = ("dubai=2", "scenes=2", "scenes-coarse=1", "roads=1")
ROWS: dict[str, dict[str, object]] = {
    "base": {"attention": ("segearth",), "mix": ALL},
    "regions read by vanilla attention": {"attention": ("vanilla",), "mix": ALL},
    "regions read by all methods": {
        "attention": ("segearth", "vanilla", "clearclip", "sclip", "maskclip", "naclip"),
        "mix": ALL,
    },
    "no rendered scenes": {"attention": ("segearth",), "mix": ("dubai=2", "scenes=0", "scenes-coarse=0", "roads=1")},
    "no regions": {"region_weight": 0.0, "attention": ("segearth",), "mix": ALL},
}


def segmenter(backbone: ClipBackbone, attention: str) -> Segmenter:
    """`tiny` with other weights and windows of 128 px."""
    encoder = Encoder(backbone=backbone, method=DenseMethod(attention=attention), upsampler=None)
    from dataclasses import replace

    return Segmenter(replace(TINY, tile_size=128, overlap=64), encoder)


def measure(folder: Path, data: Path) -> dict[str, float]:
    """Validation figures of a finished run, percent."""
    backbone = load_clip(str(folder))
    out = {
        f"Dubai {name}": 100 * heldout.dubai(segmenter(backbone, name), data, "46", most=4).miou
        for name in ("segearth", "vanilla", "clearclip")
    }
    out["AID"] = heldout.aid(backbone, data, heldout.in_validation)
    out["mean recall"] = heldout.rsicd(backbone, data, heldout.in_validation)["mean_recall"]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("listing", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = []
    for seed in range(args.seeds):
        for name in args.only:
            changes, folder = ROWS[name], args.out / f"{name.replace(' ', '-')}-{seed}"
            if not (folder / "model.safetensors").exists():
                train_clip(
                    args.listing,
                    folder,
                    steps=args.steps,
                    batch_size=64,
                    region_batch=48,
                    image_size=(96,),
                    lr=1.5e-3,
                    warmup=100,
                    precision="amp_bf16",
                    seed=seed,
                    quiet=True,
                    device="cpu",
                    **changes,
                )
            row = {"row": name, "seed": seed, **{k: round(v, 1) for k, v in measure(folder, args.data).items()}}
            print(row, flush=True)
            table.append(row)
    if args.json:
        args.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
