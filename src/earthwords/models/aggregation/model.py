"""GSNet's and RSKT-Seg's aggregation: cosines of tokens and words, refined jointly, at four times the resolution.

Equal to the authors' modules (https://github.com/yecy749/GSNet, https://github.com/LiBingyu01/RSKT-Seg), under the
names of their checkpoints. Towers are elsewhere: they give features and guides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.models.aggregation.decoder import FusionUp, projection
from earthwords.models.aggregation.gsnet import GsnetLayer
from earthwords.models.aggregation.rskt_seg import RsktLayer

AGGREGATORS = ("gsnet", "rskt-seg")
GUIDES = {
    "clip": "CLIP_decoder_guidance_projection",
    "remote": "CLIP_decoder_guidance_projection_remote",
    "dino": "DINO_decoder_guidance_projection",
}
"""Towers that guide the decoder, in the order of its channels, and what the authors call their projections."""
_CLASSES_AT_ONCE = 32
"""Of the decoder, where no gradient is asked for."""


@dataclass(frozen=True, kw_only=True)
class AggregationConfig:
    """Sizes of an aggregation."""

    aggregator: str
    """One of `AGGREGATORS`."""
    features: int
    """Channels of the towers' features and of the words."""
    guides: Mapping[str, tuple[int, int]]
    """Tower of `GUIDES` -> channels of its guides at twice and at four times the resolution."""
    projected_guides: Mapping[str, tuple[int, int]]
    """As the decoder sees them."""
    dim: int = 128
    layers: int = 2
    prompts: int = 1
    """Vectors a word."""
    rotations: int = 1
    """Quarter turns at which the image is seen: 1 or 4."""
    second: bool = False
    """A second tower (DINO) has cosines too."""
    appearance: int = 128
    """Channels of the guide of the aggregator: of places."""
    text: int = 128
    """Likewise: of words."""
    decoder: tuple[int, int] = (64, 32)
    heads: int = 4
    """Of `gsnet`."""
    window: int = 12
    """Of `gsnet`, tokens."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the towers say about images; h x w are tokens."""

    features: Tensor
    """`(image, channel, h, w)` of the dual encoder, not normalised."""
    appearance: Tensor | None = None
    """Likewise, as the guide of the aggregator; None: `features`."""
    turned: Sequence[Tensor] = ()
    """Likewise, of the images turned by `rot90` once, twice and three times, not turned back."""
    second: Tensor | None = None
    """`(image, channel, h, w)` of the second tower."""
    guides: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Tower -> `(image, channel, 2 h, 2 w)` and `(image, channel, 4 h, 4 w)`."""


class Aggregation(nn.Module):
    """Cosines to logits."""

    def __init__(self, config: AggregationConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.layers = nn.ModuleList(_layer(config) for _ in range(config.layers))
        self.conv1 = nn.Conv2d(config.rotations * config.prompts, dim, 7, 1, 3)
        if config.second:
            self.conv2 = nn.Conv2d(config.prompts, dim, 7, 1, 3)
            self.fusion_corr = nn.Conv2d(2 * dim, dim, 7, 1, 3)
        self.guidance_projection = projection(config.features, config.appearance)
        self.text_guidance_projection = nn.Sequential(nn.Linear(config.features, config.text), nn.ReLU())
        widths: list[list[int]] = [[], []]
        for tower, name in GUIDES.items():
            if tower in config.guides:
                pairs = list(zip(config.guides[tower], config.projected_guides[tower], strict=True))
                setattr(self, name, nn.ModuleList(projection(*pair) for pair in pairs))
                for stage, (_, width) in enumerate(pairs):
                    widths[stage].append(width)
        self.Fusiondecoder1 = FusionUp(dim, config.decoder[0], widths[0])
        self.Fusiondecoder2 = FusionUp(config.decoder[0], config.decoder[1], widths[1])
        self.head = nn.Conv2d(config.decoder[1], 1, 3, 1, 1)

    def forward(self, seen: Seen, text: Tensor) -> Tensor:
        """Logits `(image, class, 4 h, 4 w)` of words `(image, class, prompt, channel)`; each class has a sigmoid."""
        x, guidance = self.embed(seen, text), self.guidance(seen, text)
        for layer in self.layers:
            x = layer(x, *guidance)
        return self.decode(x, seen)

    def costs(self, seen: Seen, text: Tensor) -> Tensor:
        """Cosines of the dual encoder `(image, class, rotation x prompt, h, w)`, turned back."""
        maps = [seen.features, *seen.turned]
        return torch.cat([cost(f, text).rot90(-k, dims=(-2, -1)) for k, f in enumerate(maps)], dim=2)

    def embed(self, seen: Seen, text: Tensor) -> Tensor:
        """The cosines of all towers as maps `(image, class, dim, h, w)`."""
        first = self.costs(seen, text)
        x = self.conv1(first.flatten(0, 1)).sigmoid()
        if seen.second is not None:
            d = self.conv2(cost(seen.second, text).flatten(0, 1)).sigmoid()
            x = self.fusion_corr(torch.cat([x, d], dim=1)).sigmoid() + x
        return x.unflatten(0, first.shape[:2])

    def guidance(self, seen: Seen, text: Tensor) -> tuple[Tensor, Tensor]:
        """Of places `(image, channel, h, w)` and of words `(image, class, channel)`."""
        places = seen.features if seen.appearance is None else seen.appearance
        return self.guidance_projection(places), self.text_guidance_projection(F.normalize(text.mean(dim=2), dim=-1))

    def decode(self, x: Tensor, seen: Seen) -> Tensor:
        """Maps to logits `(image, class, 4 h, 4 w)`."""
        guides: list[list[Tensor]] = [[], []]
        for tower, name in GUIDES.items():
            if tower in self.config.guides:
                for stage, project in enumerate(getattr(self, name)):
                    guides[stage].append(project(seen.guides[tower][stage]))
        at_once = x.shape[1] if torch.is_grad_enabled() else _CLASSES_AT_ONCE
        parts = []
        for part in x.split(at_once, dim=1):
            fine = self.Fusiondecoder2(self.Fusiondecoder1(part, guides[0]), guides[1])
            parts.append(self.head(fine.flatten(0, 1)).unflatten(0, fine.shape[:2])[:, :, 0])
        return torch.cat(parts, dim=1)


def cost(features: Tensor, text: Tensor) -> Tensor:
    """Cosines `(image, class, prompt, h, w)` of features `(image, channel, h, w)` and words."""
    return torch.einsum("bchw,btpc->btphw", F.normalize(features, dim=1), F.normalize(text, dim=-1))


def aggregation_loss(
    logits: Tensor, target: Tensor, *, ignored: int, left_out: bool = False, rivals: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of every class, mean over images, classes and pixels.

    Args:
        logits: `(image, class, h, w)`, resized to the target.
        target: `(image, H, W)` int64; a value that is no class is none of them.
        ignored: value of pixels that nobody labelled. In the authors' code they teach every class that it is not there;
            `left_out`: nothing.
        rivals: `(class,)` bool, with `left_out`: classes that no mask has; pixels of no class (-1) may show them.
    """
    logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
    wanted = (target[:, None] == torch.arange(logits.shape[1], device=target.device)[:, None, None]).to(logits)
    if not left_out:
        return F.binary_cross_entropy_with_logits(logits, wanted)
    known = (target != ignored)[:, None].expand_as(wanted)
    if rivals is not None:
        known = known & ~((target == -1)[:, None] & rivals[:, None, None])
    known = known.to(logits)
    total = F.binary_cross_entropy_with_logits(logits, wanted, weight=known, reduction="sum")
    return total / known.sum().clamp(min=1)


def _layer(config: AggregationConfig) -> nn.Module:
    sizes: dict[str, Any] = {"appearance": config.appearance, "text": config.text}
    if config.aggregator == "gsnet":
        return GsnetLayer(config.dim, heads=config.heads, window=config.window, **sizes)
    return RsktLayer(config.dim, **sizes)
