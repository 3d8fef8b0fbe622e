"""Upsamplers to compare, and what they are compared on; shared by `bench_upsamplers.py` and `bench_uses.py`.

DATA is a folder with dubai_mbrsc (docs/models/tiny.md) and geotiff_demo, ucmerced21, ucm_captions, change_samples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords import plugins
from earthwords.errors import UsageError
from earthwords.geo.grids.tiling import axis_starts
from earthwords.kernels.blend import window_weights
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.upsamplers.bilinear import Bilinear
from earthwords.models.weights.table import WEIGHTS, load_clip, load_upsampler_state
from earthwords.presets import TINY
from earthwords.training.implicit import REDUCED, ImplicitSettings, fit
from earthwords.training.teacher import Teacher, teacher

PLAIN = ("nearest", "bilinear", "bicubic")
LEARNED = ("jbu", "simfeatup", "anyup", "naf")
IMPLICIT = "featup-implicit"
"""Fitted to every image."""
SIDE = 224
"""Of a window."""


class Interpolated(Bilinear):
    """Another mode of interpolation in `bilinear`'s place; linear in the features too."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, dim, *size)`."""
        corners = {} if self.mode.startswith("nearest") else {"align_corners": False}
        return F.interpolate(features.contiguous(), size=size, mode=self.mode, **corners)


class Fitted(nn.Module):
    """`featup-implicit` in the place of an upsampler: a fit of every image, remembered."""

    def __init__(self, encode: Teacher, settings: ImplicitSettings = REDUCED) -> None:
        super().__init__()
        self.encode, self.settings = encode, settings
        self.seconds: list[float] = []
        """Of the processor, for every fit."""
        self._known: dict[bytes, Tensor] = {}

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(1, dim, h, w)` to `(1, dim, *size)`."""
        key = image.numpy().tobytes()
        if key not in self._known:
            began = time.process_time()
            with torch.inference_mode(False):
                fitted = fit(lambda views: self.encode.encode(views), image.clone(), settings=self.settings)
            self._known[key] = fitted.features(size)
            self.seconds.append(time.process_time() - began)
        return self._known[key]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A backbone and the upsamplers that it has weights for."""

    backbone: ClipBackbone
    teacher: Teacher
    """Its dense features as the preset `tiny` reads them."""
    modules: Mapping[str, nn.Module]

    def features(self, image: Tensor, names: Sequence[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Every method's features `(dim, H, W)` of an image `(3, H, W)` in 0..1, sides multiples of the patch."""
        tokens, seen = self.teacher(image[None]), self.teacher.normalise(image[None])
        for name in names or self.modules:
            yield name, self.modules[name](tokens, seen, tuple(image.shape[-2:]))[0]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command lines share."""
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="tiny", help="another CLIP: a name, a folder or a file")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="METHOD=FILE",
        help="checkpoint (or name) of an upsampler; by default the row MODEL-METHOD of `earthwords models`",
    )
    parser.add_argument("--quick", action="store_true", help="a minute: fewer images")
    parser.add_argument("--json", type=Path)


def build(method: str, backbone: ClipBackbone, encode: Teacher, given: Mapping[str, str]) -> nn.Module | None:
    """An upsampler by a name of `PLAIN`, `LEARNED` or `IMPLICIT`; None without weights for it."""
    if method == IMPLICIT:
        return Fitted(encode)
    if method in PLAIN:
        return Bilinear() if method == "bilinear" else Interpolated({"nearest": "nearest-exact"}.get(method, method))
    source = given.get(method, f"{backbone.weights_id}-{method}")
    if method not in given and source not in WEIGHTS:
        return None
    found = plugins.load("earthwords.models.upsamplers", method, kind="upsampler")
    module: nn.Module = found.build(backbone.dim, load_upsampler_state(source)).eval()
    if hasattr(module, "sees"):
        module.sees(backbone.mean, backbone.std)
    return module


def load(args: argparse.Namespace, *, implicit: bool = False) -> Bench:
    """The model and the upsamplers asked for; says what is left out."""
    given = dict(text.split("=", 1) for text in args.weights)
    unknown = set(given) - set(LEARNED)
    if unknown:
        raise SystemExit(f"--weights takes {', '.join(LEARNED)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    backbone = load_clip(args.model).eval()
    encode = teacher(backbone, TINY.attention)
    modules = {}
    for name in (*PLAIN, *LEARNED, *((IMPLICIT,) if implicit else ())):
        try:
            module = build(name, backbone, encode, given)
        except UsageError as error:
            raise SystemExit(str(error)) from error
        if module is None:
            print(f"{name} is left out: no row {backbone.weights_id}-{name}; give --weights {name}=FILE", flush=True)
        else:
            modules[name] = module
    return Bench(backbone=backbone, teacher=encode, modules=modules)


def in_windows(encode: Teacher, image: Tensor, *, tile: int = SIDE) -> Tensor:
    """Tokens `(dim, h, w)` of an image `(3, H, W)` of any size, in windows that overlap by half and fade outwards."""
    patch = encode.patch
    rows, cols = (side // patch for side in image.shape[-2:])
    total, seen = torch.zeros(encode.dim, rows, cols), torch.zeros(rows, cols)
    side = tile // patch
    weight = window_weights("linear", (side, side))
    for row in axis_starts(rows, side, side // 2):
        for col in axis_starts(cols, side, side // 2):
            part = image[:, row * patch : (row + side) * patch, col * patch : (col + side) * patch]
            place = slice(row, row + side), slice(col, col + side)
            total[(slice(None), *place)] += weight * encode(part[None])[0]
            seen[place] += weight
    return total / seen


def enlarged(image: Tensor, times: int) -> Tensor:
    """`(3, H, W)` to `(3, times H, times W)`, bilinear."""
    return F.interpolate(image[None], scale_factor=times, mode="bilinear", align_corners=False)[0]


def pixels(image: NDArray[np.uint8]) -> Tensor:
    """`(row, col, 3)` uint8 to `(3, row, col)` in 0..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Part of a labelled image."""

    name: str
    image: NDArray[np.uint8]
    """`(row, col, 3)`."""
    truth: NDArray[np.uint8]
    """`(row, col)`; 255 does not count."""


def dubai(data: Path, tiles: str, *, side: int, most: int) -> Iterator[Crop]:
    """Up to `most` square crops of every image of some tiles, such as "78", evenly drawn from those side by side."""
    for tile in tiles:
        for path in sorted((data / "dubai_mbrsc/images").glob(f"tile{tile}_*.jpg")):
            image = read(path)
            truth = read(data / "dubai_mbrsc/masks" / f"{path.stem}.png", mode=None)
            cells = [
                (row, col)
                for row in range(0, image.shape[0] - side + 1, side)
                for col in range(0, image.shape[1] - side + 1, side)
            ]
            count = min(most, len(cells))
            for i in range(count):
                cell = cells[(2 * i + 1) * len(cells) // (2 * count)]
                place = tuple(slice(start, start + side) for start in cell)
                yield Crop(name=f"{path.stem} {cell}", image=image[place], truth=truth[place])


def read(path: Path, *, mode: str | None = "RGB") -> NDArray[np.uint8]:
    """A picture as an array; None keeps the mode of a palette."""
    with Image.open(path) as image:
        return np.array(image if mode is None else image.convert(mode))
