"""Random crops of images and masks, and random sensors: colour, haze, blur and noise."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from earthwords.data.manifests.captions import IGNORE


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square view of an image: `zoom` source pixels a target pixel, turned by `angle`."""

    row: float
    col: float
    """Centre in the source image, pixels."""
    zoom: float
    angle: float
    """Radians."""
    mirrored: bool


def take(image: NDArray[np.uint8], crop: Crop, side: int) -> Tensor:
    """The crop of an image `(row, col, 3)` as `(3, side, side)` in 0..1; the border is reflected."""
    pixels, grid = _source(image, crop, side)
    sampled = F.grid_sample(pixels[None], grid[None], padding_mode="reflection", align_corners=False)
    return sampled[0] / 255


def take_mask(mask: NDArray[np.uint8], crop: Crop, side: int, *, step: int) -> Tensor:
    """The crop of a mask `(row, col)`, every `step`-th pixel: `(side / step, side / step)` int64.

    Outside the source it is `IGNORE`.
    """
    cells = side // step
    x, y = _coordinates(crop, cells, step)
    col, row = torch.floor(x).long(), torch.floor(y).long()
    inside = (row >= 0) & (col >= 0) & (row < mask.shape[0]) & (col < mask.shape[1])
    values = torch.from_numpy(mask)[row.clamp(0, mask.shape[0] - 1), col.clamp(0, mask.shape[1] - 1)]
    return torch.where(inside, values.long(), IGNORE)


def _coordinates(crop: Crop, cells: int, step: float) -> tuple[Tensor, Tensor]:
    """Source `(x, y)` of the centres of `cells x cells` target cells of `step` pixels."""
    axis = (torch.arange(cells) + 0.5 - cells / 2) * step * crop.zoom
    v, u = torch.meshgrid(axis, -axis if crop.mirrored else axis, indexing="ij")
    cos, sin = math.cos(crop.angle), math.sin(crop.angle)
    return crop.col + cos * u - sin * v, crop.row + sin * u + cos * v


def _source(image: NDArray[np.uint8], crop: Crop, side: int) -> tuple[Tensor, Tensor]:
    """The part of the image that a crop needs, averaged down when it shrinks, and the sampling grid."""
    x, y = _coordinates(crop, side, 1)
    factor = max(1, int(crop.zoom + 0.25))
    height, width = image.shape[:2]
    top, bottom = max(0, int(y.min()) - 2 * factor), min(height, int(y.max()) + 2 * factor + 1)
    left, right = max(0, int(x.min()) - 2 * factor), min(width, int(x.max()) + 2 * factor + 1)
    bottom -= (bottom - top) % factor if bottom - top > factor else 0
    right -= (right - left) % factor if right - left > factor else 0
    pixels = torch.from_numpy(image[top:bottom, left:right]).permute(2, 0, 1).float()
    if factor > 1:
        pixels = F.avg_pool2d(pixels, factor, ceil_mode=True)
    shrunk = pixels.shape[-2] * factor, pixels.shape[-1] * factor
    grid = torch.stack([2 * (x - left) / shrunk[1] - 1, 2 * (y - top) / shrunk[0] - 1], dim=-1)
    return pixels, grid


def random_view(shape: tuple[int, int], side: int, rng: np.random.Generator, *, cover: tuple[float, float]) -> Crop:
    """A crop that shows between `cover[0]` and `cover[1]` of the shorter side, in one of eight orientations."""
    height, width = shape
    extent = min(height, width) * rng.uniform(*cover)
    return Crop(
        row=rng.uniform(extent / 2, height - extent / 2),
        col=rng.uniform(extent / 2, width - extent / 2),
        zoom=extent / side,
        angle=math.pi / 2 * int(rng.integers(4)),
        mirrored=bool(rng.integers(2)),
    )


def resized_crop(
    size: tuple[int, int], rng: np.random.Generator, *, area: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part of a picture with such a share of its area, between 3:4 and 4:3.

    As torchvision's RandomResizedCrop: of ten tries the first that fits, else the middle.
    """
    width, height = size
    for _ in range(10):
        wanted, ratio = width * height * rng.uniform(*area), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, tall = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - tall + 1))
            return left, top, left + wide, top + tall
    wide, tall = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def random_crop_at(
    centre: tuple[float, float],
    shape: tuple[int, int],
    side: int,
    rng: np.random.Generator,
    *,
    zoom: tuple[float, float],
) -> Crop:
    """A crop near a point, log-uniformly zoomed, turned freely."""
    factor = math.exp(rng.uniform(math.log(zoom[0]), math.log(zoom[1])))
    factor = min(factor, 1.25 * min(shape) / side)
    shift = rng.uniform(-0.35, 0.35, 2) * side * factor
    angle = math.pi / 2 * int(rng.integers(4)) + (rng.uniform(-0.5, 0.5) if rng.random() < 0.5 else 0.0)
    row, col = centre[0] + shift[0], centre[1] + shift[1]
    return Crop(row=row, col=col, zoom=factor, angle=angle, mirrored=bool(rng.integers(2)))


def random_sensor(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image of `(batch, 3, H, W)` in 0..1 as another sensor, sun and air would give it, clipped to 0..1."""
    count = len(pixels)
    gamma, contrast = np.exp(rng.uniform(-0.35, 0.35, (2, count, 1, 1)))
    gain = contrast * np.exp(rng.uniform(-0.25, 0.25, (count, 1, 1)) + rng.uniform(-0.1, 0.1, (count, 3, 1)))
    colour = np.exp(rng.uniform(-0.7, 0.3, (count, 1, 1)))
    matrix = torch.from_numpy((gain * (colour * np.eye(3) + (1 - colour) / 3)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-0.1, 0.1, (count, 1, 1)).astype(np.float32))
    power = torch.from_numpy(gamma.astype(np.float32))
    flat = pixels.flatten(2).clamp(min=1e-3) ** power
    centre = flat.mean(dim=(1, 2), keepdim=True) * (1 - torch.from_numpy(contrast.astype(np.float32)))
    pixels = torch.baddbmm(centre + shift, matrix, flat).view_as(pixels)
    soft = torch.from_numpy(np.flatnonzero(rng.random(count) < 0.2))
    pixels[soft] = F.avg_pool2d(F.pad(pixels[soft], [1] * 4, mode="reflect"), 3, 1)
    noisy = torch.from_numpy(np.flatnonzero(rng.random(count) < 0.25))
    noise = torch.from_numpy(rng.standard_normal(pixels.shape[1:], dtype=np.float32))
    pixels[noisy] += noise * torch.from_numpy(rng.uniform(0, 0.03, (len(noisy), 1, 1, 1)).astype(np.float32))
    return pixels.clamp_(0, 1)


STYLED, GREY, COARSE, COMPRESSED = 0.3, 0.05, 0.25, 0.3
"""Shares of a batch that `random_style` and `random_compression` change."""


def random_style(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Some images of `(batch, 3, H, W)` in 0..1 with the colours of another one of the batch.

    Mean and deviation of every channel move part of the way to the other's (as style is mixed by
    https://arxiv.org/abs/2104.02008, on pixels); a few become grey.
    """
    count = len(pixels)
    mean, std = pixels.mean(dim=(2, 3), keepdim=True), pixels.std(dim=(2, 3), keepdim=True).clamp(min=0.02)
    other = torch.from_numpy(rng.permutation(count))
    drawn = np.where(rng.random(count) < STYLED, rng.uniform(0.3, 1.0, count), 0.0).astype(np.float32)
    share = torch.from_numpy(drawn)[:, None, None, None]
    styled = (pixels - mean) / std * torch.lerp(std, std[other], share) + torch.lerp(mean, mean[other], share)
    grey = torch.from_numpy(np.flatnonzero(rng.random(count) < GREY))
    styled[grey] = styled[grey].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return styled.clamp(0, 1)


def random_compression(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Some images of `(batch, 3, H, W)` in 0..1 as if resampled from a coarser grid, some as a strong JPEG."""
    pixels, side = pixels.clone(), pixels.shape[-1]
    for i in np.flatnonzero(rng.random(len(pixels)) < COARSE):
        fewer = max(8, int(side / rng.uniform(1.3, 2.5)))
        small = F.interpolate(pixels[i : i + 1], size=(fewer, fewer), mode="bilinear", antialias=True)
        pixels[i] = F.interpolate(small, size=pixels.shape[-2:], mode="bicubic", align_corners=False)[0]
    for i in np.flatnonzero(rng.random(len(pixels)) < COMPRESSED):
        pixels[i] = _jpeg(pixels[i], int(rng.integers(25, 85)))
    return pixels.clamp_(0, 1)


def _jpeg(pixels: Tensor, quality: int) -> Tensor:
    """`(3, H, W)` in 0..1, through a JPEG file in memory."""
    buffer = io.BytesIO()
    array = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255
