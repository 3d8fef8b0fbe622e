"""What fine-tuning (`train segment --head none`) gives on held-out scenes alike, elsewhere, and with other words.

    python benchmarks/bench_finetune.py DATA [--learn lora image all] [--steps 150] [--labels 24] [--preset tiny]
        [--lr RATE] [--seed N] [--batch-size 8] [--most 4] [--with-others]
        [--out FOLDER] [--json FILE]

DATA holds buildings_mix and dubai_mbrsc (docs/models/tiny.md says what they are). Learned from: `--labels` pictures of
Inria's training parts with buildings marked; Inria's validation parts choose the step. Looked at, before and after, as
`segment` has it, IoU in percent: `same`, Inria's test parts of the same two cities; `elsewhere`, buildings of all other
places of the folder; `others`, five classes in Dubai's tile 6, none of which but buildings was learned.

`--with-others`: five pictures of Dubai's tiles 1 to 5, with all five classes, are learned from too.
With `--out` the same command goes on with what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import earthwords
from earthwords.data.manifests.captions import read_manifest
from earthwords.evaluation.benchmark.listed import HeldOut
from earthwords.inference.segment.segmenter import Segmenter

BUILDINGS = {"0": "", "1": "building,roof,house"}
DUBAI = {"0": "building,roof,house", "1": "land,bare land", "2": "road,street", "3": "vegetation,trees,grass",
         "4": "water"}  # fmt: skip


def lists(data: Path, folder: Path, labels: int, *, others: bool) -> dict[str, Path]:
    """Lists of images with masks, by what they are for."""
    found: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("train", "validation", "same", "elsewhere", "others")
    }
    parts = {"inria_train": "train", "inria_val": "validation", "inria_test": "same"}
    for image in sorted((data / "buildings_mix" / "images").iterdir()):
        mask = data / "buildings_mix" / "masks" / f"{image.stem}.png"
        name = next((name for start, name in parts.items() if image.name.startswith(start)), "elsewhere")
        if name != "elsewhere" or not image.name.startswith(("inria_austin", "inria_chicago")):
            source = image.name.split("_")[0] if name == "elsewhere" else "inria"
            found[name].append(_line(image, mask, folder, source, BUILDINGS))
    for image in sorted((data / "dubai_mbrsc" / "images").glob("tile6*")):
        mask = data / "dubai_mbrsc" / "masks" / f"{image.stem}.png"
        found["others"].append(_line(image, mask, folder, "dubai", DUBAI))
    every = max(1, len(found["train"]) // labels)
    found["train"] = found["train"][::every][:labels]
    for tile in range(1, 6) if others else ():
        image = sorted((data / "dubai_mbrsc" / "images").glob(f"tile{tile}*"))[4]
        mask = data / "dubai_mbrsc" / "masks" / f"{image.stem}.png"
        found["train"].append(_line(image, mask, folder, "dubai", DUBAI))
    paths = {}
    for name, lines in found.items():
        paths[name] = folder / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return paths


def _line(image: Path, mask: Path, folder: Path, name: str, classes: dict[str, str]) -> dict[str, Any]:
    here = {"image": os.path.relpath(image, folder), "mask": os.path.relpath(mask, folder)}
    return {**here, "set": name, "classes": classes}


def figures(preset: str, paths: dict[str, Path], *, most: int) -> dict[str, float]:
    """IoU of every list and of its sets."""
    segmenter = Segmenter.from_preset(preset, device="cpu")
    found = {}
    for name in ("same", "elsewhere", "others"):
        held_out = HeldOut(read_manifest(paths[name]), segmenter.preset, most=most if name != "same" else 1000)
        for key, value in held_out.figures(segmenter.encoder, iou=segmenter.preset.threshold).items():
            found[f"{name} {key.removeprefix('iou_mIoU').strip('_')}".strip()] = round(value, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--learn", nargs="*", default=["lora", "image", "all"])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--labels", type=int, default=24)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--most", type=int, default=4, help="pictures of a source that are looked at elsewhere and with other words"
    )
    parser.add_argument("--with-others", action="store_true", help="learn from five pictures of Dubai's tiles 1-5 too")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        paths = lists(args.data, out, args.labels, others=args.with_others)
        rows.append({"learn": "nothing", **figures(args.preset, paths, most=args.most)})
        print(json.dumps(rows[-1]), flush=True)
        for learn in args.learn:
            began = time.perf_counter()
            done = earthwords.train_segment(
                paths["train"], out / learn, head="none", preset=args.preset, learn=learn, val_data=paths["validation"],
                steps=args.steps, batch_size=args.batch_size, lr=args.lr, seed=args.seed, device="cpu", quiet=True,
            )  # fmt: skip
            best = {"step": int(done.losses["best_step"]), "validation": round(done.losses["best_heldout_mIoU"], 1),
                    "validation before": round(done.losses["before_mIoU"], 1)}  # fmt: skip
            seconds = round(time.perf_counter() - began)
            rows.append(
                {
                    "learn": learn,
                    **best,
                    **figures(str(out / learn / "preset.toml"), paths, most=args.most),
                    "s": seconds,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
