"""The guidance image as another camera, or a careless archive, would give it: what AnyUp must not be impressed by.

Operations, order and strengths are those of the authors' code (https://github.com/wimmerth/anyup,
https://arxiv.org/abs/2510.12764), which calls transforms of torchvision (version 2). Ours have the same formulas and
ranges of factors and the same padding; images stay float32 `(3, H, W)` in 0..1 between the operations, where theirs
are rounded to 256 values after each of them. Two things follow from how the authors call torchvision and are kept:

* contrast, equalisation, sharpness, posterisation, solarisation and inversion sit in transforms that themselves act on
  every other image only: the shares below are half of those that are written in the authors' code;
* solarisation is given the threshold 0.9 for images of 0..255: it inverts all that is not black.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

GREY = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in brightness."""
QUALITIES = {95: 0.25, 80: 0.35, 60: 0.25, 40: 0.15}
"""Quality of JPEG -> its share."""

Operation = Callable[[Tensor, np.random.Generator], Tensor]


def distorted(image: Tensor, rng: np.random.Generator) -> Tensor:
    """An image `(3, H, W)` after the `OPERATIONS` that are drawn for it; the image itself stays as it is."""
    for operation, share in OPERATIONS:
        if rng.random() < share:
            image = operation(image, rng)
    return image


def brightness(image: Tensor, factor: float) -> Tensor:
    """Times `factor`."""
    return (image * factor).clamp(0, 1)


def contrast(image: Tensor, factor: float) -> Tensor:
    """Away from the mean brightness."""
    return _away(image, grey(image)[:1].mean(), factor)


def saturation(image: Tensor, factor: float) -> Tensor:
    """Away from grey."""
    return _away(image, grey(image), factor)


def hue(image: Tensor, turns: float) -> Tensor:
    """The hue of every pixel turned by a share of the circle, -0.5..0.5; saturation and value stay."""
    red, green, blue = image
    value, least = image.amax(dim=0), image.amin(dim=0)
    span = value - least
    divisor = torch.where(span == 0, 1.0, span)
    sector = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    sector = torch.where(value == red, (green - blue) / divisor, sector) + 6 * turns
    # A channel falls from `value` to `least` and rises again along the circle of 6 sectors.
    start = sector.new_tensor([5.0, 3.0, 1.0])[:, None, None]
    place = (start + sector) % 6
    return value - span * torch.minimum(place, 4 - place).clamp(0, 1)


def grey(image: Tensor) -> Tensor:
    """Brightness in all three channels."""
    return torch.einsum("c,chw->hw", image.new_tensor(GREY), image).expand_as(image)


def blur(image: Tensor, sigma: float, side: int = 5) -> Tensor:
    """A Gaussian of `side` pixels, the border reflected."""
    offsets = torch.arange(side, dtype=image.dtype) - side // 2
    line = (-0.5 * (offsets / sigma).square()).exp()
    kernel = torch.outer(line, line) / line.sum().square()
    padded = F.pad(image[None], [side // 2] * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, side, side), groups=3)[0]


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Written as JPEG and read again."""
    buffer = io.BytesIO()
    Image.fromarray(_bytes(image).permute(1, 2, 0).contiguous().numpy()).save(buffer, format="JPEG", quality=quality)
    read: NDArray[np.uint8] = np.array(Image.open(buffer))
    return _floats(torch.from_numpy(read).permute(2, 0, 1))


def autocontrast(image: Tensor) -> Tensor:
    """Every channel stretched to 0..1; a channel of one value stays."""
    least, most = image.amin(dim=(1, 2), keepdim=True), image.amax(dim=(1, 2), keepdim=True)
    return torch.where(most > least, (image - least) / (most - least).clamp(min=1e-6), image).clamp(0, 1)


def equalise(image: Tensor) -> Tensor:
    """Every channel's 256 values as equally frequent as they can be, as `PIL.ImageOps.equalize`."""
    return _floats(torch.stack([_equalised(channel) for channel in _bytes(image)]))


def sharpen(image: Tensor, factor: float) -> Tensor:
    """Away from the mean of 3 x 3 pixels, the middle one counted five times; the border stays."""
    kernel = image.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    out = image.clone()
    out[:, 1:-1, 1:-1] = _away(out[:, 1:-1, 1:-1], F.conv2d(image[:, None], kernel[None, None])[:, 0], factor)
    return out


def posterise(image: Tensor, bits: int) -> Tensor:
    """The upper `bits` of 8, the others 0."""
    return _floats(_bytes(image) & (256 - (1 << (8 - bits))))


def solarise(image: Tensor, threshold: float) -> Tensor:
    """What is `threshold` or brighter, inverted."""
    return torch.where(image >= threshold, 1 - image, image)


def invert(image: Tensor) -> Tensor:
    """The negative."""
    return 1 - image


def noise(image: Tensor, rng: np.random.Generator, sigma: float) -> Tensor:
    """Gaussian noise, each value its own."""
    return (image + sigma * torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))).clamp(0, 1)


def jitter(image: Tensor, rng: np.random.Generator) -> Tensor:
    """`ColorJitter(0.2, 0.2, 0.3, 0.05)`: all four, in random order."""
    parts: list[tuple[Callable[[Tensor, float], Tensor], float]] = [
        (brightness, rng.uniform(0.8, 1.2)),
        (contrast, rng.uniform(0.8, 1.2)),
        (saturation, rng.uniform(0.7, 1.3)),
        (hue, rng.uniform(-0.05, 0.05)),
    ]
    for index in rng.permutation(len(parts)):
        change, factor = parts[index]
        image = change(image, factor)
    return image


def photometric(image: Tensor, rng: np.random.Generator) -> Tensor:
    """`RandomPhotometricDistort()`: each part for every other image, contrast first or last, channels exchanged."""
    parts: list[tuple[Callable[[Tensor, float], Tensor], float]] = [
        (brightness, rng.uniform(0.875, 1.125)),
        (saturation, rng.uniform(0.5, 1.5)),
        (hue, rng.uniform(-0.05, 0.05)),
    ]
    parts.insert(1 if rng.random() < 0.5 else 3, (contrast, rng.uniform(0.5, 1.5)))
    for change, factor in parts:
        if rng.random() < 0.5:
            image = change(image, factor)
    return image[torch.from_numpy(rng.permutation(3))] if rng.random() < 0.5 else image


OPERATIONS: tuple[tuple[Operation, float], ...] = (
    (lambda image, rng: photometric(jitter(image, rng), rng), 0.5),
    (lambda image, rng: grey(image), 0.1),
    (lambda image, rng: blur(image, rng.uniform(0.3, 1.5)), 0.35),
    (lambda image, rng: jpeg(image, int(rng.choice(list(QUALITIES), p=list(QUALITIES.values())))), 1.0),
    (lambda image, rng: autocontrast(image), 0.2 / 2),
    (lambda image, rng: equalise(image), 0.15 / 2),
    (lambda image, rng: sharpen(image, 1.5), 0.2 / 2),
    (lambda image, rng: posterise(image, 5), 0.1 / 2),
    (lambda image, rng: solarise(image, 0.9 / 255), 0.05 / 2),
    (lambda image, rng: invert(image), 0.02 / 2),
    (lambda image, rng: noise(image, rng, 0.03), 0.6),
)
"""In this order: what is done, and to which share of the images."""


def _away(image: Tensor, other: Tensor, factor: float) -> Tensor:
    """`other` for a factor of 0, the image for 1, further away for more."""
    return (other + (image - other) * factor).clamp(0, 1)


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)


def _floats(values: Tensor) -> Tensor:
    return values.float() / 255


def _equalised(channel: Tensor) -> Tensor:
    """`(H, W)` uint8 to the same; a channel of too few values to spread stays."""
    count = torch.bincount(channel.flatten().long(), minlength=256)
    step = int(count.sum() - count[channel.max().long()]) // 255
    if step == 0:
        return channel
    table = ((count.cumsum(0) - count + step // 2) // step).clamp(max=255)
    return table.to(torch.uint8)[channel.long()]
