"""What upsampling costs: SegEarth-OV's encoder, and what comes on top of it, every way.

    python benchmarks/bench_segment.py [--upsampler simfeatup jbu] [--size 448] [--runs 2] [--json FILE]

A ViT-B/16 and upsamplers with random weights (the time does not depend on them), windows of 224 that overlap by
half, 5 words. `reference` upsamples all 512 channels, with the convolution that adds one offset at a time; `exact` as
many channels as a window has tokens; `energy` fewer. `ratio` is the time of the row over that of the reference,
`labels` the share of pixels with the reference's label among those whose two best cosines differ by more than 1e-4,
`all` among all pixels.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig

from earthwords.inference.sliding import Encoder, slide
from earthwords.models.backbones.clip import ClipBackbone, DenseMethod, build_clip
from earthwords.models.upsamplers.jbu import JbuStack
from earthwords.models.upsamplers.simfeatup import JbuOne

UPSAMPLERS = {"simfeatup": JbuOne, "jbu": JbuStack}


def encoder(upsampler: torch.nn.Module | None, energy: float | None) -> Encoder:
    """ViT-B/16 with random weights of the usual size."""
    torch.manual_seed(0)
    config = CLIPConfig(vision_config={"patch_size": 16}, text_config={"num_hidden_layers": 1})
    backbone = ClipBackbone(build_clip(config).eval())
    method = DenseMethod(attention="segearth")
    return Encoder(backbone=backbone, method=method, upsampler=upsampler, cls_weight=-0.3, energy=energy)


def measure(made: Encoder, image: Tensor, words: Tensor, runs: int) -> tuple[float, Tensor]:
    """Least seconds of some runs, and the logits."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        logits = slide(image, lambda x: made.logits(x, words), queries=len(words), tile=224, stride=112, batch=3)
        seconds.append(time.perf_counter() - began)
    return min(seconds), logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upsampler", nargs="+", choices=UPSAMPLERS, default=list(UPSAMPLERS))
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(1)
    image = F.interpolate(torch.randn(1, 3, args.size // 8, args.size // 8), size=args.size, mode="bicubic")[0]
    words = F.normalize(torch.randn(5, 512), dim=-1)
    base = encoder(None, None)
    measure(base, image[:, :224, :224], words, 1)
    alone, _ = measure(base, image, words, args.runs)
    rows: list[dict[str, Any]] = []
    for name in args.upsampler:
        upsampler = UPSAMPLERS[name](512).eval()
        reference = replace(base, upsampler=upsampler, energy=None)
        slow, wanted = measure(reference, image, words, 1)
        best = wanted.topk(2, dim=0).values
        clear = best[0] - best[1] > 1e-4
        rows.append({"upsampler": name, "path": "encoder alone", "seconds": alone, "ratio": alone / slow})
        rows.append({"upsampler": name, "path": "reference", "seconds": slow, "ratio": 1.0})
        rows[-1]["over_encoder"] = slow / alone
        for path, energy in (("exact", 1.0), ("energy 0.9999", 0.9999)):
            fast = replace(reference, energy=energy)
            measure(fast, image[:, :224, :224], words, 1)  # compiles
            seconds, found = measure(fast, image, words, args.runs)
            same = found.argmax(dim=0) == wanted.argmax(dim=0)
            agreement = {"labels": float(same[clear].float().mean()), "all": float(same.float().mean())}
            error = float((found - wanted).abs().max())
            rows.append({"upsampler": name, "path": path, "seconds": seconds, "ratio": seconds / slow, **agreement})
            rows[-1] |= {"over_encoder": seconds / alone, "max_difference": error}
    for row in rows:
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
        print("  ".join(f"{k} {v}" for k, v in shown.items()))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
