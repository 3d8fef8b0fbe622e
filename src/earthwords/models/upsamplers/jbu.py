"""FeatUp's joint bilateral upsampler: a stack of four x2 stages with weights of their own.

Paper: https://arxiv.org/abs/2403.10516. State-dict names are those of the authors' `JBUStack`.
`simfeatup.py` is built from the same stage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.kernels._weights import LEAST, KernelWeights
from earthwords.kernels.adaptive_conv import adaptive_conv
from earthwords.kernels.bilateral import Then, bilateral_double
from earthwords.kernels.joint_kernel import joint_kernel
from earthwords.kernels.range_kernel import range_kernel
from earthwords.models.weights.checkpoint import load_strictly

Module = TypeVar("Module", bound=nn.Module)

KEY_DIM = 32
FIXUP = 0.1
"""Weight of the learned corrections, of the kernel and of the features."""


class JbuStage(nn.Module):
    """One x2 step: bicubic enlargement, then a learned joint bilateral filter guided by the image."""

    def __init__(self, radius: int, *, guidance_dim: int = 3, key_dim: int = KEY_DIM) -> None:
        super().__init__()
        self.radius = radius
        offsets = (2 * radius + 1) ** 2
        self.range_temp = nn.Parameter(torch.tensor(0.0))
        self.sigma_spatial = nn.Parameter(torch.tensor(1.0))
        self.range_proj = nn.Sequential(
            nn.Conv2d(guidance_dim, key_dim, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(key_dim, key_dim, 1)
        )
        self.fixup_proj = nn.Sequential(
            nn.Conv2d(offsets + guidance_dim, offsets, 1),
            nn.GELU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(offsets, offsets, 1),
        )

    @property
    def temperature(self) -> Tensor:
        """Factor of the dot products of keys."""
        return self.range_temp.exp().clamp(1e-4, 1e4)

    def spatial_kernel(self) -> Tensor:
        """`(1, offsets, 1, 1)`: Gaussian over window coordinates in [-1, 1]."""
        sigma = self.sigma_spatial
        axis = torch.linspace(-1, 1, 2 * self.radius + 1, device=sigma.device, dtype=sigma.dtype)
        distance = axis[:, None] ** 2 + axis[None, :] ** 2
        return torch.exp(-distance / (2 * sigma**2)).reshape(1, -1, 1, 1)

    def kernels(self, guidance: Tensor) -> Tensor:
        """`(batch, offsets, h, w)` for guidance `(batch, 3, h, w)`; the sum is near, not exactly, one."""
        if _only_infers(self):
            return joint_kernel(self.range_proj(guidance), guidance, self._matrices())
        combined = range_kernel(self.range_proj(guidance), self.temperature, self.radius) * self.spatial_kernel()
        combined = combined / combined.sum(dim=1, keepdim=True).clamp(min=LEAST)
        return combined + FIXUP * self.fixup_proj(torch.cat([combined, guidance], dim=1))

    def forward(self, source: Tensor, guidance: Tensor) -> Tensor:
        """`(batch, dim, h, w)` to the size of `guidance`, which is `(batch, 3, 2h, 2w)`."""
        large = F.interpolate(source, size=guidance.shape[-2:], mode="bicubic", align_corners=False)
        padded = F.pad(large, [self.radius] * 4, mode="reflect")
        return adaptive_conv(padded, self.kernels(guidance))

    def enlarge(self, source: Tensor, guidance: Tensor, *, then: Then) -> Tensor:
        """`forward` on `source` `(h, w, c)`, whose rows are handed to `then` as they come; not differentiable."""
        if not _in_bands(self, source):
            return then(self(source.permute(2, 0, 1)[None], guidance)[0].permute(1, 2, 0))
        return bilateral_double(source, self.range_proj(guidance)[0], guidance[0], self._matrices(), then=then)

    def _matrices(self) -> KernelWeights:
        (mix, mix_bias), (correct, correct_bias) = _matrix(self.fixup_proj[0]), _matrix(self.fixup_proj[3])
        return KernelWeights(
            temperature=self.temperature,
            spatial=self.spatial_kernel().flatten(),
            mix=mix,
            mix_bias=mix_bias,
            correct=FIXUP * correct,
            correct_bias=FIXUP * correct_bias,
        )


class Jbu(nn.Module):
    """x2 stages until the size is reached, then the final residual correction.

    The authors' ratio is x16. Any other is served by as many x2 steps as reach the size and one exact
    bilinear resize; beyond the fourth step the last stage is applied again.
    """

    heads = 1
    """All channels are treated alike; see `inference.windows.lowrank.LinearUpsampler`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fixup_proj = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(dim, dim, 1))

    def stages(self, steps: int) -> list[JbuStage]:
        """The stage of every step."""
        raise NotImplementedError

    @property
    def least(self) -> int:
        """Tokens a side that the mirrored borders of the first step need."""
        return self.stages(1)[0].radius // 2 + 1

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, dim, *size)`, guided by `image` `(batch, 3, H, W)`."""
        if _in_bands(self, features):
            return self._inferred(features, image, size)
        features = self._through_stages(features, image, size)
        features = features + FIXUP * self.fixup_proj(features)
        return _fitted(features, size)

    def factors(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """`forward` as a product, differentiable: the stages on no more maps than there are tokens.

        A stage treats all channels alike, so that features are upsampled by upsampling each token's share in every
        pixel; with fewer channels than tokens the features themselves are.

        Returns:
            maps `(batch, n, *size)`, mix `(batch, n, dim)` and added `(dim,)`:
            `forward(features) = sum_n maps[n] * mix[n] + added`.
        """
        (batch, dim, height, width), tokens = features.shape, features.flatten(2).mT
        dropout, correct = self.fixup_proj[0], _matrix(self.fixup_proj[1])
        kept = dropout(features).flatten(2).mT
        folded = tokens + FIXUP * kept @ correct[0].T
        if height * width < dim:
            share = torch.eye(height * width, device=features.device, dtype=features.dtype)
            source, mix = share.reshape(1, -1, height, width).expand(batch, -1, -1, -1), folded
        else:
            source = folded.mT.unflatten(2, (height, width))
            mix = torch.eye(dim, device=features.device, dtype=features.dtype).expand(batch, -1, -1)
        return _fitted(self._through_stages(source, image, size), size), mix, FIXUP * correct[1]

    def _through_stages(self, source: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        for stage in self.stages(steps_needed(source.shape[-2:], size)):
            source = stage(source, _guidance(stage, source.shape[-2:], image))
        return source

    def _inferred(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`forward` image by image, the correction made where there are fewest pixels; channels last in memory."""
        out = []
        for tokens, guidance in zip(features, image, strict=True):
            folded, added = self.fold(tokens.flatten(1).T)

            def corrected(rows: Tensor, added: Tensor = added) -> Tensor:
                return rows + added

            source = folded.unflatten(0, tuple(tokens.shape[-2:]))
            out.append(self.spread(source, guidance[None], size, then=corrected))
        return torch.stack(out).permute(0, 3, 1, 2)

    def fold(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The final correction applied to tokens `(token, dim)`, and what it adds to every pixel, `(dim,)`.

        `forward(tokens) == spread(folded) + added`: a stage treats all channels alike, so it commutes with
        any matrix that mixes them.
        """
        weight, bias = _matrix(self.fixup_proj[1])
        return torch.addmm(tokens, tokens, weight.T, alpha=FIXUP), FIXUP * bias

    def spread(self, source: Tensor, image: Tensor, size: tuple[int, int], *, then: Then) -> Tensor:
        """The stages alone, on any number of channels, in inference.

        Args:
            source: `(h, w, c)`.
            image: `(1, 3, H, W)`.
            then: what becomes of rows `(rows, size[1], c)` of the result.

        Returns:
            `(*size, *)`, whatever `then` makes of it.
        """
        stages = self.stages(steps_needed(source.shape[:2], size))
        for i, stage in enumerate(stages):
            rows, cols = source.shape[:2]
            last = i + 1 == len(stages) and (2 * rows, 2 * cols) == size
            source = stage.enlarge(source, _guidance(stage, (rows, cols), image), then=then if last else _as_it_is)
            if last:
                return source
        return then(_resized(source, size))


class JbuStack(Jbu):
    """FeatUp's `JBUStack`: radius 3, stages `up1` to `up4`."""

    def __init__(self, dim: int, *, radius: int = 3) -> None:
        super().__init__(dim)
        self.up1, self.up2, self.up3, self.up4 = (JbuStage(radius) for _ in range(4))

    def stages(self, steps: int) -> list[JbuStage]:
        own = [self.up1, self.up2, self.up3, self.up4]
        return [own[min(i, 3)] for i in range(steps)]


def _only_infers(module: nn.Module) -> bool:
    """Neither drops out units nor records gradients."""
    return not (module.training or torch.is_grad_enabled())


def _in_bands(module: nn.Module, source: Tensor) -> bool:
    """Whether `bilateral_double` can do it."""
    return _only_infers(module) and source.device.type == "cpu" and source.dtype == torch.float32


def _guidance(stage: JbuStage, shape: tuple[int, ...], image: Tensor) -> Tensor:
    """The image at the size that a step leads to from tokens of `shape`."""
    rows, cols = shape
    if min(2 * rows, 2 * cols) <= stage.radius:
        raise UsageError(
            f"This upsampler needs more than {stage.radius // 2} tokens a side, got {rows} x {cols}; "
            "use larger windows (--tile-size) or --upsampler bilinear."
        )
    return F.adaptive_avg_pool2d(image, (2 * rows, 2 * cols))


def _matrix(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight `(out, in)` and bias of a 1 x 1 convolution."""
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
    return convolution.weight.flatten(1), convolution.bias


def _fitted(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, `(batch, dim, h, w)` to `(batch, dim, *size)`."""
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _as_it_is(rows: Tensor) -> Tensor:
    return rows


def _resized(source: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, `(h, w, c)` to `(*size, c)`."""
    if tuple(source.shape[:2]) == tuple(size):
        return source
    return _fitted(source.permute(2, 0, 1)[None], size)[0].permute(1, 2, 0)


def steps_needed(source: tuple[int, ...], size: tuple[int, int]) -> int:
    """How many doublings take `source` to at least `size` on both axes."""
    ratio = max(size[0] / source[0], size[1] / source[1])
    return max(0, math.ceil(math.log2(ratio) - 1e-9))


def load_jbu(module: Module, state: Mapping[str, Tensor] | None, *, name: str) -> Module:
    """Strict load by the authors' names, with or without their `upsampler.` prefix."""
    return load_strictly(module, state, name=name, prefix="upsampler.")


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> Jbu:
    """A `JbuStack` for `dim` channels with the weights in `state` (required)."""
    return load_jbu(JbuStack(dim), state, name="jbu")
