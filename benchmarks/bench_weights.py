"""What a window, an image and the process cost with several weights, read as the preset `tiny` reads them, on one core.

    python benchmarks/bench_weights.py MODEL ... [--runs 5] [--quick] [--json FILE]

MODEL as for `bench_places.py`: a name or folder, with `:jbu:FILE` behind it to read it with an upsampler, or a folder
of `train segment`. `window` is milliseconds of 224 x 224 pixels and five words, `image` of a whole image of 128 x 128
pixels as `classify` sees it (processor time, the least of the runs, models in turn); `MiB` the peak of a process that
maps 1,000 x 1,000 pixels, which `--quick` leaves out; `file` the weights in MB. `ratio` is the window by that of the
first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from bench_places import load
from earthwords.jobs.threads import one_core
from earthwords.models.weights.table import fetch, find

SIDE = 1000


def seconds(work: Callable[[], object]) -> float:
    """Of one core's time."""
    with one_core(), torch.inference_mode():
        began = time.process_time()
        work()
        return time.process_time() - began


def peak(model: str) -> float:
    """MiB, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, model, "--peak"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def megabytes(model: str) -> float:
    """Of the weights, and of the upsampler's if a file is named."""
    name, _, weights = (*model.split(":"), "", "")[:3]
    folder = Path(name) if Path(name).exists() else fetch(find(name), offline=True)
    files = [*folder.glob("*.safetensors"), *([Path(weights)] if weights else [])]
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        load(args.models[0]).predict(image, ["building", "road", "trees", "grass", "water"])
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        print(int(line.split()[1]) / 1024)
        return
    found = {model: load(model) for model in args.models}
    windows: dict[str, list[float]] = {model: [] for model in found}
    images: dict[str, list[float]] = {model: [] for model in found}
    picture, window = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 224, 224)
    for _ in range(args.runs):
        for model, segmenter in found.items():
            encoder, words = segmenter.encoder, F.normalize(torch.randn(5, segmenter.encoder.backbone.dim))
            windows[model].append(seconds(partial(encoder.logits, window, words)))
            images[model].append(seconds(partial(encoder.backbone.encode_image, picture)))
    rows = []
    print(f"{'model':<40}{'window':>8}{'ratio':>7}{'image':>8}{'MiB':>7}{'file':>7}")
    for model in found:
        least, image = min(windows[model]), 1000 * min(images[model])
        ratio = least / min(windows[args.models[0]])
        row = {"model": model, "window": 1000 * least, "ratio": ratio, "image": image}
        rows.append({**row, "MiB": float("nan") if args.quick else peak(model), "file": megabytes(model)})
        print("{model:<40}{window:8.1f}{ratio:7.2f}{image:8.1f}{MiB:7.0f}{file:7.1f}".format(**rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
