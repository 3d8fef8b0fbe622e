"""AnyUp: one windowed cross-attention from pixels to tokens, for features of any dimension and encoder.

Paper: https://arxiv.org/abs/2510.12764. State-dict names and formulas are those of the authors' `AnyUp` without NATTEN
(https://github.com/wimmerth/anyup @351807a). What comes out are convex combinations of the features that went in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.kernels.linear import linear
from earthwords.kernels.residual import Half, Mix, residual_block
from earthwords.kernels.window_attention import window_attention
from earthwords.models.upsamplers._imagenet import ImageNetGuided
from earthwords.models.weights.checkpoint import load_strictly

WIDTH = 128
"""Channels of queries and keys in the published checkpoints."""
HEADS = 4
GROUPS = 8
RATIO = 0.1
"""Half the side of a pixel's window, as a share of the image."""
SIDE = 5
"""Of the kernels that look at every channel of the features."""
THETA = 100.0
"""Ratio of the largest and the smallest initial frequency of the positions."""
VOTES = 1 << 22
"""Numbers that `Unification` holds at once, as far as one row of tokens needs no more."""
ROWS = 8
"""Rows of pixels that are turned or projected at once."""


class ResBlock(nn.Module):
    """`x + conv(silu(norm(conv(silu(norm(x))))))` with 1 x 1 convolutions without bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, width, h, w)` to the same shape."""
        return residual_block(x, self._half(0), self._half(3))

    def _half(self, first: int) -> Half:
        norm, mix = self.block[first], self.block[first + 2]
        assert isinstance(norm, nn.GroupNorm) and isinstance(mix, nn.Conv2d)
        return Half(groups=GROUPS, scale=norm.weight, shift=norm.bias, mix=mix.weight.flatten(1), eps=norm.eps)


class Unification(nn.Module):
    """Features of any dimension to a fixed number of maps: channels vote for the kernels that fit them.

    Each of `dim` channels is correlated with each of `width` kernels (zero padding, divided by the number of taps
    inside the map). The paper takes the softmax over the kernels of each channel and the mean over the channels. The
    authors' code, with which their weights were trained, reads the `dim * width` maps, kernels running fastest, as an
    array of `width` by `dim` before it does so: softmax and mean run over maps of mixed channels and kernels. So here.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, 1, SIDE, SIDE))

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, width, h, w)`, a few rows at a time."""
        (batch, dim, height, cols), width = features.shape, len(self.basis)
        taps = F.conv2d(torch.ones_like(features[:1, :1]), torch.ones_like(self.basis[:1]), padding=SIDE // 2)
        padded = F.pad(features, [SIDE // 2] * 4).flatten(0, 1)[:, None]
        step = max(1, VOTES // (batch * dim * width * cols))
        out = []
        for row in range(0, height, step):
            rows = slice(row, min(row + step, height))
            votes = F.conv2d(padded[:, :, row : rows.stop + SIDE - 1], self.basis) / taps[:, :, rows]
            out.append(votes.view(batch, width, dim, -1, cols).softmax(dim=1).mean(dim=2))
        return torch.cat(out, dim=2)


class Rotation(nn.Module):
    """Rotary positions: channels j and j + width / 2 are turned by angles that are linear in row and column."""

    def __init__(self, width: int) -> None:
        super().__init__()
        frequencies = 2 * math.pi * THETA ** torch.linspace(0, -1, width // 4).repeat(2)
        self.freqs = nn.Parameter(torch.block_diag(frequencies, frequencies))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, width, h, w)` to the same shape; rows and columns are 0..1 from the first to the last."""
        rows, cols = (
            torch.outer(torch.linspace(0, 1, n, device=x.device, dtype=x.dtype), f)
            for f, n in zip(self.freqs, x.shape[-2:], strict=True)
        )
        turned = []
        for band, angle in zip(x.permute(0, 2, 3, 1).split(ROWS, dim=1), rows.split(ROWS), strict=True):
            angles = angle[:, None] + cols
            first, second = band.chunk(2, dim=-1)
            turned.append(band * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin())
        return torch.cat(turned, dim=1).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Projections of queries and keys under the names of `torch.nn.MultiheadAttention`.

    The projections of values and of the output are in the checkpoints, but the authors' model does not use them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.heads = HEADS

    def project(self, x: Tensor, part: int) -> Tensor:
        """`(*, width)` to `(*, head, width / head)`; part 0 for queries, 1 for keys."""
        own = slice(part * x.shape[-1], (part + 1) * x.shape[-1])
        return linear(x, self.in_proj_weight[own], self.in_proj_bias[own]).unflatten(-1, (self.heads, -1))


class CrossAttention(nn.Module):
    """Queries and keys, normalised by their root mean square and projected, mix the raw features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_q, self.norm_k = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, ratio: float) -> Tensor:
        """`(batch, H, W, width)`, `(batch, h, w, width)` and `(batch, h, w, dim)` to `(batch, H, W, dim)`."""
        query_rows = torch.cat(
            [self.attention.project(self.norm_q(rows), 0) for rows in queries.split(ROWS, dim=1)], dim=1
        )
        return window_attention(query_rows, self.attention.project(self.norm_k(keys), 1), values, ratio)


class Decoder(nn.Module):
    """A 3 x 3 convolution of the queries (zero padding), then the attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.cross_attn = CrossAttention(width)
        self.ratio = RATIO

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """`(batch, width, H, W)`, `(batch, width, h, w)` and `(batch, dim, h, w)` to `(batch, dim, H, W)`."""
        queries, keys, values = (x.permute(0, 2, 3, 1) for x in (self.conv2d(queries), keys, values))
        return self.cross_attn(queries, keys, values, self.ratio).permute(0, 3, 1, 2)


class AnyUp(ImageNetGuided):
    """The whole model, for features of any dimension and images, features and outputs of any size."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.image_encoder = _encoder(Mix(3, width), width)
        self.key_encoder = _encoder(Mix(width, width), width)
        self.query_encoder = _encoder(Mix(width, width), width)
        self.key_features_encoder = _encoder(Unification(width), width)
        mix = nn.Conv2d(2 * width, width, 3, padding=1, padding_mode="reflect", bias=False)
        self.aggregation = _encoder(mix, width)
        self.cross_decode = Decoder(width)
        self.rope = Rotation(width)
        self.least = 2
        self.held = 4 * width
        """Channels at the image's resolution held at once besides the features."""

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Features at another resolution, image by image: so much memory is needed at once.

        Args:
            features: `(batch, dim, h, w)`, at least 2 tokens a side.
            image: `(batch, 3, H, W)`, normalised as told to `sees`, ImageNet's by default.
            size: `(rows, cols)` of the result, any.

        Returns:
            `(batch, dim, *size)`.

        Raises:
            UsageError: other shapes.
        """
        return self.mix(features, image, size, features)

    def mix(self, features: Tensor, image: Tensor, size: tuple[int, int], values: Tensor) -> Tensor:
        """As `forward`, of `values` `(batch, channel, h, w)`; where to look is still decided by the features.

        The weights of a pixel add up to one, so that affine functions of the features may be upsampled in their place.
        """
        _check(features, image, size)
        triples = zip(features.split(1), self.converted(image).split(1), values.split(1), strict=True)
        found = [self._one(tokens, guidance, size, carried) for tokens, guidance, carried in triples]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _one(self, features: Tensor, image: Tensor, size: tuple[int, int], values: Tensor) -> Tensor:
        encoded = self.rope(self.image_encoder(image))
        tokens = (features.shape[-2], features.shape[-1])
        image_keys = F.adaptive_avg_pool2d(self.key_encoder(encoded), tokens)
        keys = torch.cat([image_keys, self.key_features_encoder(F.normalize(features, dim=1))], dim=1)
        queries = self.query_encoder(encoded)
        del encoded
        if queries.shape[-2:] != torch.Size(size):
            queries = F.adaptive_avg_pool2d(queries, size)
        out: Tensor = self.cross_decode(queries, self.aggregation(keys), values)
        return out


def _encoder(first: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(first, ResBlock(width), ResBlock(width))


def _check(features: Tensor, image: Tensor, size: tuple[int, int]) -> None:
    """Raises `UsageError` for shapes that the model cannot take."""
    if features.ndim != 4 or image.ndim != 4 or image.shape[1] != 3 or len(features) != len(image):
        raise UsageError(
            "AnyUp takes features (batch, dim, h, w) and as many images (batch, 3, H, W), "
            f"got {tuple(features.shape)} and {tuple(image.shape)}."
        )
    if min(features.shape[-2:]) < 2:
        raise UsageError(
            f"AnyUp needs at least 2 tokens a side, got {features.shape[-2]} x {features.shape[-1]}; "
            "use larger windows (--tile-size) or --upsampler bilinear."
        )
    if len(size) != 2 or min(size) < 1:
        raise UsageError(f"The size of upsampled features is two positive numbers (rows, cols), got {tuple(size)}.")


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> AnyUp:
    """An `AnyUp` with the weights in `state` (required); `dim` is not needed.

    The width is that of the checkpoint's frequencies, so that smaller models load too.
    """
    found = (state or {}).get("rope.freqs")
    known = found is not None and found.ndim == 2 and found.shape[1] > 0 and found.shape[1] % GROUPS == 0
    with torch.device("meta"):
        module = AnyUp(found.shape[1] if found is not None and known else WIDTH)
    return load_strictly(module, state, name="anyup")
