"""Bilinear interpolation (align_corners False): the baseline that needs no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F


class Bilinear(nn.Module):
    """Interpolates the features and ignores the image."""

    heads = 1

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, dim, *size)`.

        Tokens come with channels last in memory; PyTorch takes four times as long for those.
        """
        return F.interpolate(features.contiguous(), size=size, mode="bilinear", align_corners=False)

    def fold(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is learned: the tokens, and 0."""
        return tokens, tokens.new_zeros(tokens.shape[-1])

    def spread(
        self, source: Tensor, image: Tensor, size: tuple[int, int], *, then: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """`(h, w, c)` to `then((*size, c))`."""
        return then(self(source.permute(2, 0, 1)[None], image, size)[0].permute(1, 2, 0))


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> Bilinear:
    """`dim` and `state` are not needed: there are no weights."""
    return Bilinear()
