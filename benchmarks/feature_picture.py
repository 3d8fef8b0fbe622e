"""Features of several methods as a grid of false colours: three principal components, shared by a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

GAP = 4
HEAD = 18
"""Pixels of a line of text."""
INK, FAINT = (34, 38, 43), (110, 116, 124)


@dataclass(frozen=True, kw_only=True)
class Row:
    """An image and what the methods make of it."""

    title: str
    image: NDArray[np.uint8]
    """`(row, col, 3)`."""
    features: Mapping[str, Tensor]
    """Method to `(dim, row, col)`."""
    notes: Mapping[str, float]
    """Method to its distance from `finer`."""
    finer: Tensor
    """`(dim, h, w)`."""


def colours(features: Mapping[str, Tensor], reference: Tensor) -> dict[str, NDArray[np.uint8]]:
    """Each `(dim, h, w)` as `(h, w, 3)`: the first components of `reference` `(dim, n)`, 1st to 99th percentile as 0 to
    255. A component's sign is that of its sum, so that the colours of two runs agree.
    """
    rows = F.normalize(reference, dim=0).T
    mean = rows.mean(dim=0)
    axes = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:3]
    axes = axes * axes.sum(dim=1, keepdim=True).sign()
    seen = (rows - mean) @ axes.T
    low, high = (torch.quantile(seen, share, dim=0) for share in (0.01, 0.99))
    out = {}
    for name, values in features.items():
        flat = (F.normalize(values, dim=0).permute(1, 2, 0) - mean) @ axes.T
        out[name] = (255 * ((flat - low) / (high - low)).clamp(0, 1)).round().byte().numpy()
    return out


Panel = tuple[NDArray[np.uint8], str]
"""`(row, col, 3)` and the words under it."""


def draw(rows: Sequence[Row], path: Path, *, panel: int = 168) -> None:
    """Images, features of every method, finer features, in false colours."""
    lines = []
    for row in rows:
        both = [*(F.adaptive_avg_pool2d(f, row.finer.shape[-2:]) for f in row.features.values()), row.finer]
        reference = torch.cat([f.flatten(1) for f in both], dim=1)
        painted = colours({**row.features, "finer encode": row.finer}, reference)
        under = {"finer encode": "", **{name: f"{distance:.3f}" for name, distance in row.notes.items()}}
        lines.append([(row.image, row.title), *((picture, under[name]) for name, picture in painted.items())])
    sheet(["image", *rows[0].features, "finer encode"], lines, path, panel=panel)


def sheet(heads: Sequence[str], rows: Sequence[Sequence[Panel]], path: Path, *, panel: int) -> None:
    """Panels `panel` pixels wide, words above and below them, as a PNG of 256 colours or fewer."""
    sides = [round(panel * row[0][0].shape[0] / row[0][0].shape[1]) for row in rows]
    width, height = len(heads) * (panel + GAP) + GAP, HEAD + sum(side + HEAD + GAP for side in sides)
    paper = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(size=13)
    for i, name in enumerate(heads):
        pen.text((GAP + i * (panel + GAP) + panel / 2, 2), name, font=font, fill=INK, anchor="ma")
    top = HEAD
    for row, side in zip(rows, sides, strict=True):
        for i, (pixels, under) in enumerate(row):
            left = GAP + i * (panel + GAP)
            finer = pixels.shape[1] >= panel
            how = Image.Resampling.LANCZOS if finer else Image.Resampling.NEAREST
            paper.paste(Image.fromarray(pixels).resize((panel, side), how), (left, top))
            pen.text((left + panel / 2, top + side + 2), under, font=font, fill=FAINT, anchor="ma")
        top += side + HEAD + GAP
    paper.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
