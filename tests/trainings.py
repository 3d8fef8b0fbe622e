"""The three trainings at toy size, as command lines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from earthwords.models.refseg_load import assemble, store_refseg
from tests.micro import patchwork
from tests.referring import micro_preset, write_list

KINDS = ("clip", "upsampler", "refer")
OUT = "OUT"
"""Stands for the folder of the training in a command line."""


def write_captions(folder: Path) -> Path:
    """A list of six pictures with captions, labels and masks."""
    folder.mkdir(parents=True)
    lines = []
    for i in range(6):
        Image.fromarray(patchwork(60, 70 + i, seed=i)).save(folder / f"{i}.png")
        Image.fromarray(np.tile(np.arange(70 + i) // 40, (60, 1)).astype(np.uint8)).save(folder / f"{i}_mask.png")
        word = ("water", "trees")[i % 2]
        lines.append({"image": f"{i}.png", "set": "plain", "captions": [f"only {word} here"], "label": word})
        classes = {"0": "water,lake", "1": "trees"}
        lines.append({"image": f"{i}.png", "set": "masks", "mask": f"{i}_mask.png", "classes": classes})
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def commands(folder: Path, micro: Path, *, steps: int = 6, every: int = 2) -> dict[str, list[str]]:
    """Kind to argv; what it learns from is written into `folder`."""
    captions = write_captions(folder / "captions")
    sentences = write_list(folder / "sentences", images=4)
    preset = replace(micro_preset(micro), lora_rank=0)
    store_refseg(assemble(preset, seed=1), preset, folder / "refseg")
    common = ["--steps", steps, "--save-frequency", every, "--device", "cpu", "--quiet"]
    small = ["--batch-size", 2, *common]
    found = {
        "clip": [captions, OUT, "--architecture", "micro", "--region-batch", 2, "--image-size", 48, *small],
        "upsampler": [
            captions.parent / "?.png",
            OUT,
            "--backbone",
            micro,
            "--image-size",
            48,
            "--validate-every",
            3,
            *small,
        ],
        "refer": [sentences, OUT, "--model", folder / "refseg", "--expressions", 2, *small],
    }
    return {kind: ["train", kind, *map(str, argv)] for kind, argv in found.items()}


def into(argv: list[str], out: Path) -> list[str]:
    """The command line with a folder."""
    return [str(out) if word == OUT else word for word in argv]
