"""Components of upsampled features, without upsampling all channels where that is the same.

With an upsampler that mixes tokens alike in all channels, `up(F) P = up(F P)` for any matrix P: the few components
are upsampled in place of the features. The result is the same up to rounding.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from earthwords.inference.features.pca import Components
from earthwords.inference.windows.lowrank import LinearUpsampler
from earthwords.kernels.linear import linear


@runtime_checkable
class Mixer(Protocol):
    """An upsampler whose pixels are weighted means of tokens; see `models.upsamplers.anyup.AnyUp`."""

    def mix(self, features: Tensor, image: Tensor, size: tuple[int, int], values: Tensor) -> Tensor: ...


def is_cheap(module: nn.Module) -> bool:
    """Whether components are upsampled in place of all channels."""
    return isinstance(module, (Mixer, LinearUpsampler))


def upsample_components(
    module: nn.Module, features: Tensor, image: Tensor, size: tuple[int, int], components: Components
) -> Tensor:
    """`components.project(module(features, image, size))`.

    Args:
        features: `(batch, dim, h, w)`.
        image: `(batch, 3, H, W)`.

    Returns:
        `(batch, component, *size)`.
    """
    if isinstance(module, Mixer):
        return module.mix(features, image, size, components.project(features))
    if isinstance(module, LinearUpsampler):
        pairs = zip(features, image, strict=True)
        return torch.stack([_spread(module, tokens, guidance, size, components) for tokens, guidance in pairs])
    found: Tensor = module(features, image, size)
    return components.project(found)


def _spread(
    upsampler: LinearUpsampler, tokens: Tensor, image: Tensor, size: tuple[int, int], components: Components
) -> Tensor:
    """`(component, *size)` from tokens `(dim, h, w)` and an image `(3, H, W)`."""
    folded, added = upsampler.fold(tokens.flatten(1).T)
    vectors, shift = components.vectors, components.vectors @ (added - components.mean)
    parts = zip(folded.chunk(upsampler.heads, dim=1), vectors.chunk(upsampler.heads, dim=1), strict=True)
    source = torch.cat([linear(own, towards) for own, towards in parts], dim=1)
    grid = source.unflatten(0, tuple(tokens.shape[-2:]))

    def summed(rows: Tensor) -> Tensor:
        return (rows if upsampler.heads == 1 else rows.unflatten(-1, (upsampler.heads, -1)).sum(dim=-2)) + shift

    return upsampler.spread(grid, image[None], size, then=summed).permute(2, 0, 1)
