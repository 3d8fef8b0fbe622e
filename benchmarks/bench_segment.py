"""What upsampling costs: SegEarth-OV's encoder, and what comes on top of it, every way.

    python benchmarks/bench_segment.py [--upsampler simfeatup jbu] [--size 448] [--runs 2] [--json FILE]

A ViT-B/16 and upsamplers with random weights (the time does not depend on them), windows of 224 that overlap by
half, 5 words. The rows:

    encoder alone     bilinear logits
    authors           the authors' algorithm: likeness by unfolding, all 512 channels, with our compiled convolution
    authors, torch    the same with a convolution of PyTorch operations, one offset at a time
    authors, unfold   the same with the convolution by unfolding too. It takes 12 GB for 512 channels, so one window
                      is upsampled with 16 and with 32 channels and the line through both is read at 512
    all channels      our kernels, all 512 channels
    exact             as many channels as a window has tokens
    energy .9999      fewer

Windows are computed one by one by as many threads as there are processors, each with one thread inside; `authors,
torch` and `authors, unfold` one after the other, with all threads inside. `ratio` is the time over that of `authors`
in the same run, `over_encoder` over that of the encoder; `cpu`, `cpu_ratio` and `cpu_over` are the same in processor
seconds of all threads, which other people's work on the machine disturbs less. `labels` is the share of pixels with
the label of `authors` among those whose two best cosines differ by more than 1e-4 there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.inference.windows.sliding import Encoder
from earthwords.kernels import adaptive_conv, joint_kernel
from earthwords.kernels.blend import add_window
from earthwords.models.clip.config import ClipConfig, TextConfig, VisionConfig
from earthwords.models.clip.model import ClipBackbone, DenseMethod, build_clip
from earthwords.models.upsamplers.jbu import FIXUP, Jbu, JbuStack, steps_needed
from earthwords.models.upsamplers.simfeatup import JbuOne

UPSAMPLERS = {"simfeatup": JbuOne, "jbu": JbuStack}
DIM, TILE, STRIDE = 512, 224, 112
THREADS = os.cpu_count() or 1

Convolution = Callable[[Tensor, Tensor], Tensor]


class Authors(torch.nn.Module):
    """The authors' upsampling with the weights of one of ours: kernels by unfolding, a convolution of one's choice."""

    def __init__(self, ours: Jbu, convolution: Convolution) -> None:
        super().__init__()
        self.ours = ours
        self.convolution = convolution

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        for stage in self.ours.stages(steps_needed(features.shape[-2:], size)):
            doubled = (2 * features.shape[-2], 2 * features.shape[-1])
            guidance = F.adaptive_avg_pool2d(image, doubled)
            kernels = joint_kernel.reference(stage.range_proj(guidance), guidance, stage._matrices())
            large = F.interpolate(features, size=doubled, mode="bicubic", align_corners=False)
            features = self.convolution(F.pad(large, [stage.radius] * 4, mode="reflect"), kernels)
        return features + FIXUP * self.ours.fixup_proj(features)


def upsampler(name: str, dim: int = DIM) -> Jbu:
    torch.manual_seed(2)
    return UPSAMPLERS[name](dim).eval()


def encoder() -> Encoder:
    """ViT-B/16 with random weights of the usual size."""
    torch.manual_seed(0)
    config = ClipConfig(vision_config=VisionConfig(patch_size=16), text_config=TextConfig(num_hidden_layers=1))
    backbone = ClipBackbone(build_clip(config).eval())
    return Encoder(
        backbone=backbone, method=DenseMethod(attention="segearth"), upsampler=None, cls_weight=-0.3, energy=None
    )


def segment(made: Encoder, image: Tensor, words: Tensor, *, threads: int) -> Tensor:
    """Mean logits `(query, H, W)` of all windows."""
    starts = [range(0, n - TILE + 1, STRIDE) for n in image.shape[-2:]]
    corners = [(row, col) for row in starts[0] for col in starts[1]]

    def window(corner: tuple[int, int]) -> Tensor:
        row, col = corner
        return made.logits(image[None, :, row : row + TILE, col : col + TILE], words)[0]

    total, seen = torch.zeros(len(words), *image.shape[-2:]), torch.zeros(image.shape[-2:])
    torch.set_num_threads(THREADS if threads == 1 else 1)
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(THREADS // threads)) as pool:
        for (row, col), logits in zip(corners, pool.map(window, corners), strict=True):
            add_window(total, seen, logits, None, row, col)
    return total / seen


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of all processors."""

    wall: float
    cpu: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, number: float) -> Spent:
        return Spent(self.wall * number, self.cpu * number)


def spent(function: Callable[[], Any], runs: int) -> Spent:
    """The least of some runs, of each clock."""
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Spent(min(walls), min(cpus))


def measure(made: Encoder, image: Tensor, words: Tensor, runs: int, *, threads: int = THREADS) -> tuple[Spent, Tensor]:
    """The time, and the logits; one window before that compiles and warms up."""
    segment(made, image[:, :TILE, :TILE], words, threads=threads)
    logits: list[Tensor] = []
    took = spent(lambda: logits.append(segment(made, image, words, threads=threads)), runs)
    return took, logits[-1]


@torch.inference_mode()
def unfolded(name: str) -> Spent:
    """What a window of 512 channels takes if both kernels unfold, read off the line through 16 and 32 channels."""
    torch.set_num_threads(THREADS)
    took = []
    for dim in (16, 32):
        made, image = Authors(upsampler(name, dim), adaptive_conv.reference), torch.randn(1, 3, TILE, TILE)
        features = torch.randn(1, dim, TILE // 16, TILE // 16)
        took.append(spent(lambda made=made, f=features, image=image: made(f, image, (TILE, TILE)), 2))
    slope = (DIM - 16) / 16
    return took[0] * (1 - slope) + took[1] * slope


def rows_of(name: str, base: Encoder, alone: Spent, image: Tensor, words: Tensor, runs: int) -> list[dict[str, Any]]:
    """The rows of an upsampler."""
    ours = upsampler(name)
    slow, wanted = measure(replace(base, upsampler=Authors(ours, adaptive_conv.adaptive_conv)), image, words, 1)
    best = wanted.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-4

    def row(path: str, took: Spent, found: Tensor | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {"upsampler": name, "path": path}
        made |= {"seconds": took.wall, "ratio": took.wall / slow.wall, "over_encoder": took.wall / alone.wall}
        made |= {"cpu": took.cpu, "cpu_ratio": took.cpu / slow.cpu, "cpu_over": took.cpu / alone.cpu}
        made |= {"labels": None, "max_difference": None}
        if found is not None:
            same = found.argmax(dim=0) == wanted.argmax(dim=0)
            made["labels"] = float(same[clear].float().mean())
            made["max_difference"] = float((found - wanted).abs().max())
        return made

    windows = len(range(0, image.shape[1] - TILE + 1, STRIDE)) * len(range(0, image.shape[2] - TILE + 1, STRIDE))
    by_offset = replace(base, upsampler=Authors(ours, adaptive_conv.by_offset))
    table = [
        row("encoder alone", alone),
        row("authors", slow, wanted),
        row("authors, torch", *measure(by_offset, image, words, 1, threads=1)),
        row("authors, unfold", alone + unfolded(name) * windows),
    ]
    for path, energy in (("all channels", None), ("exact", 1.0), ("energy .9999", 0.9999)):
        table.append(row(path, *measure(replace(base, upsampler=ours, energy=energy), image, words, runs)))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upsampler", nargs="+", choices=UPSAMPLERS, default=list(UPSAMPLERS))
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(1)
    image = F.interpolate(torch.randn(1, 3, args.size // 8, args.size // 8), size=args.size, mode="bicubic")[0]
    words = F.normalize(torch.randn(5, DIM), dim=-1)
    base = encoder()
    alone, _ = measure(base, image, words, args.runs)
    columns = {"seconds": 9, "ratio": 9, "over_encoder": 14, "cpu": 9, "cpu_ratio": 11, "cpu_over": 10}
    columns |= {"labels": 9, "max_difference": 16}
    print(f"{'upsampler':<11}{'path':<17}" + "".join(f"{k:>{n}}" for k, n in columns.items()))
    rows = []
    for name in args.upsampler:
        for row in rows_of(name, base, alone, image, words, args.runs):
            shown = (("" if row[k] is None else f"{row[k]:.4g}").rjust(n) for k, n in columns.items())
            print(f"{row['upsampler']:<11}{row['path']:<17}" + "".join(shown), flush=True)
            rows.append(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
