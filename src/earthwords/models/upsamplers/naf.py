"""NAF, neighbourhood attention filtering: the image alone says which tokens a pixel mixes, for any backbone's features.

Paper: https://arxiv.org/abs/2511.18452. State-dict names and formulas are those of the authors' `NAF`
(https://github.com/valeoai/NAF @ad4e24d); NATTEN is not needed. Channels are mixed alike within each of four quarters
of the features, one a head, so the upsampler is linear for each quarter by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.kernels._dispatch import backends
from earthwords.kernels.linear import linear
from earthwords.kernels.neighbourhood.attention import Then, fits, in_rows, neighbourhood_attention
from earthwords.kernels.neighbourhood.convolution import Layer, in_bands, mirrored, reference
from earthwords.models.upsamplers._imagenet import ImageNetGuided
from earthwords.models.weights.checkpoint import load_strictly

WIDTH = 256
"""Channels of queries and keys in the published checkpoint."""
HEADS = 4
WINDOW = 9
"""Tokens a side that a pixel mixes."""
GROUPS = 8
BLOCKS = 2
BASE = 100.0
"""Ratio of the longest and the shortest period of the positions, nearly."""
LARGEST = 4
"""Images of more than so many pixels a pixel of the result are shrunk first."""
ROWS = 2
"""Rows of pixels that are turned at once."""


class NormedConvolutions(nn.Module):
    """Twice a norm over groups of channels, SiLU and a convolution; no residual."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, side) for _ in range(2))

    def layers(self) -> Iterator[Layer]:
        """Both halves."""
        for norm, conv in ((self.norm1, self.conv1), (self.norm2, self.conv2)):
            assert conv.bias is not None
            given = {"scale": norm.weight, "shift": norm.bias, "weight": conv.weight, "bias": conv.bias}
            yield Layer(groups=GROUPS, eps=norm.eps, **given)


class AxialPositions(nn.Module):
    """Rotary positions: of each group of channels, the first half is turned with the second.

    A quarter of the angles is linear in the row, a quarter in the column; both run over -1..1 across the image.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("periods", BASE ** (torch.arange(count) / count))

    def tables(self, size: int, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Cosine and sine `(size, count)` along an axis, coordinates times `scale`."""
        places = (2 * (torch.arange(size, device=x.device, dtype=torch.float32) + 0.5) / size - 1) * scale
        angles = 2 * math.pi * places[:, None] / cast(Tensor, self.periods).float()
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """`(batch, H, W, width)` to the same shape."""
        (rows_cos, rows_sin), (cols_cos, cols_sin) = (self.tables(n, x, scale) for n in x.shape[1:3])
        cols_cos, cols_sin = cols_cos[None, None, :, None], cols_sin[None, None, :, None]
        out, learning, made = torch.empty_like(x), torch.is_grad_enabled(), []
        for first, band in zip(range(0, x.shape[1], ROWS), x.split(ROWS, dim=1), strict=True):
            own = slice(first, first + ROWS)
            by_row = rows_cos[None, own, None, None], rows_sin[None, own, None, None]
            a_row, a_col, b_row, b_col = self._quarters(band)
            pairs = ((a_row, b_row, *by_row), (a_col, b_col, cols_cos, cols_sin))
            firsts = [(a * cos).addcmul_(b, sin, value=-1) for a, b, cos, sin in pairs]
            seconds = [(b * cos).addcmul_(a, sin) for a, b, cos, sin in pairs]
            if learning:
                made.append(torch.stack([*firsts, *seconds], dim=4).flatten(3))
                continue
            for target, turned in zip(self._quarters(out[:, own]), (*firsts, *seconds), strict=True):
                target.copy_(turned)
        return torch.cat(made, dim=1) if learning else out

    def _quarters(self, x: Tensor) -> tuple[Tensor, ...]:
        """`(batch, H, W, width)` to views `(batch, H, W, group, count)`: by row, by column, twice."""
        return x.unflatten(3, (-1, 4, len(cast(Tensor, self.periods)))).unbind(4)


class GuidanceEncoder(nn.Module):
    """An image to queries: one encoder of single pixels, one of 3 x 3, and positions."""

    def __init__(self, width: int, periods: int) -> None:
        super().__init__()
        self.encoder, self.sem_encoder = _encoder(width // 2, 1), _encoder(width // 2, 3)
        self.rope = AxialPositions(periods)

    def pooled(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, 3, H, W)`, ImageNet's normalisation, to `(batch, *size, width)`, without positions."""
        image = _shrunk(image, size)
        own = (image, *self.parameters())
        both = _both_in_bands if "numba" in backends(*own) else _both
        found = both((self.encoder, self.sem_encoder), image)
        if tuple(found.shape[1:3]) == tuple(size):
            return found
        return F.adaptive_avg_pool2d(found.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


class Naf(ImageNetGuided):
    """The whole model, for features of any number of channels that the heads divide."""

    def __init__(self, width: int = WIDTH, *, heads: int = HEADS, periods: int | None = None) -> None:
        """
        Args:
            width: channels of queries and keys.
            heads: of the attention; as many equal parts of the features are mixed by weights of their own.
            periods: of the positions; default: as for as many groups of channels as heads.
        """
        super().__init__()
        self.image_encoder = GuidanceEncoder(width, periods or width // (4 * heads))
        self.heads, self.window = heads, WINDOW
        self.least = WINDOW
        self.held = 2 * width
        """Channels at the image's resolution held at once besides the features."""

    def queries(self, image: Tensor, size: tuple[int, int], *, scale: float = 1.0) -> Tensor:
        """`(batch, *size, width)` of an image `(batch, 3, H, W)` normalised as told to `sees`."""
        pooled = self.image_encoder.pooled(self.converted(image), size)
        turned: Tensor = self.image_encoder.rope(pooled, scale)
        return turned

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int], *, scale: float = 1.0) -> Tensor:
        """Features at another resolution.

        Args:
            features: `(batch, dim, h, w)`.
            image: `(batch, 3, H, W)`, normalised as told to `sees`, ImageNet's by default.
            size: `(rows, cols)` of the result, not smaller than the features.
            scale: of the positions' coordinates; other than 1 only while it learns.

        Returns:
            `(batch, dim, *size)`: of each head's channels, convex combinations of tokens.

        Raises:
            UsageError: other shapes.
        """
        self._check(features, image, size)
        tokens = (features.shape[-2], features.shape[-1])
        if torch.is_grad_enabled():
            queries = self.queries(image, size, scale=scale)
            values = self._split(features.permute(0, 2, 3, 1))
            keys = self._split(_means(queries, tokens))
            return (
                neighbourhood_attention(self._split(queries), keys, values, self.window).flatten(3).permute(0, 3, 1, 2)
            )
        found = [
            self.spread(grid.permute(1, 2, 0), guidance, size, then=lambda rows: rows)
            for grid, guidance in zip(features, image.split(1), strict=True)
        ]
        return torch.stack(found).permute(0, 3, 1, 2)

    def fold(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is added: the tokens, and 0."""
        return tokens, tokens.new_zeros(tokens.shape[-1])

    def spread(self, source: Tensor, image: Tensor, size: tuple[int, int], *, then: Then) -> Tensor:
        """Any channels, an equal part of them of each head, in inference.

        Args:
            source: `(h, w, c)`.
            image: `(1, 3, H, W)`.
            then: what becomes of rows `(rows, size[1], c)` of the result.

        Returns:
            `(*size, *)`, whatever `then` makes of it.
        """
        self._check(source.permute(2, 0, 1)[None], image, size)
        queries = self.queries(image, size)
        keys = self._split(_means(queries, (source.shape[0], source.shape[1])))[0]
        parts = (self._split(queries)[0], keys, self._split(source))
        return in_rows(*parts, self.window, then=lambda rows: then(rows.flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def _check(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> None:
        """Raises `UsageError` for shapes that the model cannot take."""
        if features.ndim != 4 or image.ndim != 4 or image.shape[1] != 3 or len(features) != len(image):
            raise UsageError(
                "NAF takes features (batch, dim, h, w) and as many images (batch, 3, H, W), "
                f"got {tuple(features.shape)} and {tuple(image.shape)}."
            )
        (height, width), most = features.shape[-2:], self.window
        if features.shape[1] % self.heads:
            raise UsageError(
                f"NAF takes features whose channels are a multiple of {self.heads}, got {features.shape[1]}; "
                "use another --upsampler, such as anyup."
            )
        if not all(fits(s, t, most) for s, t in zip(size, (height, width), strict=True)):
            what = "shrinks nothing" if size[0] < height or size[1] < width else f"needs {most} tokens a side"
            raise UsageError(
                f"NAF {what}, got {height} x {width} tokens for {size[0]} x {size[1]} pixels; "
                "use larger windows (--tile-size) or --upsampler bilinear."
            )


def _encoder(width: int, side: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, side), *(NormedConvolutions(width, side) for _ in range(BLOCKS)))


def _both(encoders: tuple[nn.Sequential, ...], image: Tensor) -> Tensor:
    """`(batch, 3, H, W)` to `(batch, H, W, width)`, the encoders' channels one behind the other."""
    made = []
    for first, *blocks in encoders:
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        x = mirrored(image, first.weight, first.bias)
        for block in blocks:
            for layer in cast(NormedConvolutions, block).layers():
                x = reference(x, layer)
        made.append(x)
    return torch.cat(made, dim=1).permute(0, 2, 3, 1)


def _both_in_bands(encoders: tuple[nn.Sequential, ...], image: Tensor) -> Tensor:
    """The same image by image, in bands of rows."""
    width = sum(cast(nn.Conv2d, first).out_channels for first, *_ in encoders)
    out = image.new_empty(len(image), *image.shape[-2:], width)
    for one, target in zip(image, out, strict=True):
        channel = 0
        for first, *blocks in encoders:
            assert isinstance(first, nn.Conv2d) and first.bias is not None
            if first.kernel_size == (1, 1):
                x = linear(one.permute(1, 2, 0), first.weight.flatten(1), first.bias)
            else:
                x = mirrored(one[None], first.weight, first.bias)[0].permute(1, 2, 0).contiguous()
            for block in blocks:
                for layer in cast(NormedConvolutions, block).layers():
                    x = in_bands(x, layer)
            target[..., channel : channel + x.shape[-1]] = x
            channel += x.shape[-1]
    return out


def _shrunk(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, where the image is far larger than the result; the minima cross the axes, as in the authors' code."""
    (height, width), (rows, cols) = image.shape[-2:], (LARGEST * size[0], LARGEST * size[1])
    if height <= rows and width <= cols:
        return image
    least = (min(height, rows, cols), min(width, cols, rows))
    return F.interpolate(image, size=least, mode="bilinear", align_corners=False)


def _means(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """`(batch, H, W, width)` averaged to `(batch, *size, width)`."""
    return F.adaptive_avg_pool2d(maps.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> Naf:
    """A `Naf` with the weights in `state` (required); `dim` is not needed.

    Width and positions are those of the checkpoint, so that smaller models load too.
    """
    first, periods = ((state or {}).get(f"image_encoder.{name}") for name in ("encoder.0.weight", "rope.periods"))
    known = first is not None and periods is not None and first.ndim == 4 and periods.ndim == 1
    known = known and len(first) > 0 and len(first) % GROUPS == 0 and len(periods) > 0  # type: ignore[arg-type]
    with torch.device("meta"):
        module = Naf(2 * len(first), periods=len(periods)) if known else Naf()  # type: ignore[arg-type]
    return load_strictly(module, state, name="naf")
