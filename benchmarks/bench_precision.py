"""What a reduced precision costs and saves: time, labels, cosines.

    python benchmarks/bench_precision.py DATA [--preset NAME] [--most N] [--json FILE]

Scenes of Dubai tile 6 (classes with truth) and of buildings_mix, each mapped in float32 and in bf16, in turns. Printed:
CPU-seconds of both and their ratio, IoU of both, the share of labels that agree, the share of pixels that the report
calls closer than the rounding (`close`), how many of the changed labels lie there (`caught`), and the difference of
cosines that one pixel and word in ten thousand exceeds (`postprocess.ROUNDING`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import heldout
from earthwords.evaluation.metrics.segmentation import Confusion
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import load_preset
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Vocabulary


def dubai(data: Path, most: int) -> Iterator[tuple[Path, NDArray[np.int64]]]:
    """Images and classes."""
    for path in sorted((data / "dubai_mbrsc/images").glob("tile6_*.jpg"))[:most]:
        with Image.open(data / "dubai_mbrsc/masks" / f"{path.stem}.png") as mask:
            yield path, np.array(mask).astype(np.int64)


def buildings(data: Path, most: int) -> Iterator[tuple[Path, NDArray[np.int64]]]:
    """Images and 0 building, 9 unknown."""
    paths = sorted((data / "buildings_mix/images").iterdir())
    for path in paths[:: max(1, len(paths) // most)][:most]:
        with Image.open(next((data / "buildings_mix/masks").glob(f"{path.stem}.*"))) as mask:
            yield path, np.where(np.array(mask.convert("L")) > 0, 0, 9)


SETS = {"Dubai 6": (dubai, heldout.DUBAI), "buildings_mix": (buildings, heldout.AROUND)}


def cosines(segmenter: Segmenter, path: Path, words: Vocabulary) -> torch.Tensor:
    """Of one window in the middle."""
    with segmenter.open(path) as scene:
        tile = segmenter.preset.tile_size
        plan = segmenter.plan(scene).windows
        from earthwords.inference.windows.failures import FailurePolicy

        pixels, _ = segmenter.read(scene, plan[len(plan) // 2], FailurePolicy())
        assert pixels.shape[-1] <= tile
        return segmenter.encoder.logits(pixels[None], torch.from_numpy(segmenter.text_bank(words).vectors))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--most", type=int, default=8, help="images a set")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    row = load_preset(given.preset)
    exact, reduced = (Segmenter.from_preset(replace(row, precision=name), batch=1) for name in ("fp32", "bf16"))
    if reduced.preset.precision == "fp32":
        print(*reduced.notes)
        return
    columns = ("fp32 s", "bf16 s", "ratio", "IoU 32", "IoU 16", "agree", "close", "caught", "cosine")
    print(f"{'set':<14}" + "".join(f"{name:>9}" for name in columns))
    rows = []
    for name, (images, words) in SETS.items():
        vocabulary = parse_classes(list(words))
        seconds, scores = [0.0, 0.0], [Confusion(len(vocabulary)), Confusion(len(vocabulary))]
        changed = close = caught = count = 0
        offs = []
        for turn, (path, truth) in enumerate(images(given.data, given.most)):
            found = {}
            for i in (0, 1) if turn % 2 else (1, 0):
                began = time.process_time()
                found[i] = (exact, reduced)[i].predict(path, vocabulary)
                seconds[i] += time.process_time() - began
                known = truth < len(vocabulary)
                scores[i].add(truth[known], found[i].labels[known].astype(np.int64))
            with reduced.open(path) as scene:
                strips = reduced.strips(scene, reduced.text_bank(vocabulary))
                doubt = np.concatenate([strip.rounding for strip in strips if strip.rounding is not None])
            other = found[0].labels != found[1].labels
            changed, close, count = changed + other.sum(), close + doubt.sum(), count + other.size
            caught += (other & doubt).sum()
            offs.append((cosines(exact, path, vocabulary) - cosines(reduced, path, vocabulary)).abs().flatten())
        most = float(np.quantile(torch.cat(offs).numpy(), 0.9999))
        ious = [float(100 * np.nanmean(s.scores().iou if name == "Dubai 6" else s.scores().iou[:1])) for s in scores]
        rows.append({
            "set": name, "seconds": seconds, "iou": ious, "agree": 1 - changed / count, "close": close / count,
            "caught": caught / max(1, changed), "cosine": most,
        })  # fmt: skip
        shares = f"{1 - changed / count:9.3%}{close / count:9.2%}{caught / max(1, changed):9.1%}{most:9.4f}"
        figures = (*seconds, seconds[0] / seconds[1], *ious)
        print(f"{name:<14}" + "".join(f"{figure:9.2f}" for figure in figures) + shares, flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
