"""An aggregation as the head of a dual encoder: pixels and words to one probability a pixel and word.

A folder of `train segment` has `head.json`, the sizes and the encoder it belongs to, and `head.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from earthwords.errors import UsageError, WeightsError, brief
from earthwords.files.atomic import atomic_path
from earthwords.files.plaintext import write_json
from earthwords.files.reading import read_json
from earthwords.models.aggregation.author_weights import fill
from earthwords.models.aggregation.model import AGGREGATORS, Aggregation, AggregationConfig, Seen
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.store import write_safetensors

CARD, WEIGHTS_FILE = "head.json", "head.safetensors"
_LIFTED = (256, 128)
"""Channels of a ViT's guides after they are enlarged, as GSNet has them."""
_MOST = 4096
"""Of any size."""


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """How a head is made; what the encoder gives decides the rest."""

    aggregator: str = "gsnet"
    """One of `AGGREGATORS`."""
    dim: int = 128
    layers: int = 2
    decoder: tuple[int, int] = (64, 32)
    projected: tuple[int, int] = (32, 16)
    """Channels of the guides that the decoder sees."""
    heads: int = 4
    window: int = 12
    """Tokens a side, of `gsnet`."""
    rotations: int = 1
    """Quarter turns at which an image is seen: 1, or RSKT-Seg's 4."""
    attention: str = "segearth"
    """Dense method that the features are read by."""

    def __post_init__(self) -> None:
        if self.aggregator not in AGGREGATORS or self.rotations not in (1, 4):
            raise UsageError(
                f"A head is {' or '.join(AGGREGATORS)} with 1 or 4 rotations, got {self.aggregator!r} with "
                f"{self.rotations}."
            )
        sizes = (self.dim, self.layers, self.heads, self.window, *self.decoder, *self.projected)
        if not all(1 <= size <= _MOST for size in sizes) or self.layers > 64:
            raise UsageError(f"Sizes of a head are 1 to {_MOST}, layers 1 to 64, got {sizes}.")
        heads = self.heads if self.aggregator == "gsnet" else 8
        if self.dim % heads or self.projected[0] >= self.dim or self.projected[1] >= self.decoder[0]:
            raise UsageError(
                f"A head of {self.dim} channels is a multiple of {heads}, and wider than {self.projected}."
            )
        if any(width % max(1, width // 16) for width in self.decoder):
            raise UsageError(f"Widths of a decoder are multiples of 16, or below 32, got {self.decoder}.")


class CostHead(nn.Module):
    """An aggregation, and what lifts a ViT's guides to finer grids."""

    def __init__(self, settings: HeadSettings, *, features: int, guides: tuple[int, int], fine: bool) -> None:
        """`features`, `guides`, `fine`: `dim`, `guide_widths` and `guides_are_fine` of the encoder."""
        super().__init__()
        self.settings = settings
        self.method = DenseMethod(attention=settings.attention)
        self.fine = fine
        if not fine:
            self.upsample1 = nn.ConvTranspose2d(guides[0], _LIFTED[0], 2, 2)
            self.upsample2 = nn.ConvTranspose2d(guides[1], _LIFTED[1], 4, 4)
        self.aggregation = Aggregation(
            AggregationConfig(
                aggregator=settings.aggregator,
                features=features,
                guides={"clip": guides if fine else _LIFTED},
                projected_guides={"clip": settings.projected},
                dim=settings.dim,
                layers=settings.layers,
                rotations=settings.rotations,
                appearance=settings.dim,
                text=settings.dim,
                decoder=settings.decoder,
                heads=settings.heads,
                window=settings.window,
            )
        )

    def see(self, backbone: ClipBackbone, pixels: Tensor) -> Seen:
        """What the encoder says about normalised pixels `(image, 3, H, W)`, whose sides are multiples of the patch."""
        features, guides = backbone.encode_guided(pixels, self.method)
        turned = [
            backbone.encode_dense(pixels.rot90(k, dims=(-2, -1)), self.method).values
            for k in range(1, self.settings.rotations)
        ]
        return Seen(features=features.values, turned=turned, guides={"clip": guides})

    def forward(self, seen: Seen, words: Tensor) -> Tensor:
        """Logits `(image, word, 4 h, 4 w)` of unit vectors `(word, dim)`."""
        if not self.fine:
            first, second = seen.guides["clip"]
            lifted = {"clip": (self.upsample1(first), self.upsample2(second))}
            seen = Seen(features=seen.features, turned=seen.turned, guides=lifted)
        return self.aggregation(seen, words[None, :, None].expand(len(seen.features), -1, -1, -1))

    def probabilities(self, backbone: ClipBackbone, pixels: Tensor, words: Tensor) -> Tensor:
        """`(image, word, 4 h, 4 w)`: each word by itself, in 0..1."""
        return self(self.see(backbone, pixels), words).sigmoid()

    def held(self, words: int, *, patch: int) -> int:
        """About how many channels of the pixels' resolution it holds at a time, for an estimate of memory."""
        decoder = 3 * min(words, 32) * (self.settings.decoder[0] + self.settings.decoder[1]) * 16
        return 1 + (decoder + 12 * words * self.settings.dim) // patch**2


def make_head(settings: HeadSettings, backbone: ClipBackbone, *, seed: int = 0) -> CostHead:
    """A fresh head for an encoder.

    Raises:
        UsageError: the encoder gives no guides, or the dense method is not one that a head can read.
    """
    with torch.no_grad():
        pixels = torch.zeros(1, 3, backbone.patch, backbone.patch, device=backbone.device)
        backbone.encode_guided(pixels, DenseMethod(attention=settings.attention))
    torch.manual_seed(seed)
    return _head_on(backbone, settings)


def store_head(head: CostHead, folder: Path, backbone: ClipBackbone, *, notes: Mapping[str, Any]) -> None:
    """Write the weights, then the card.

    Args:
        backbone: the encoder it belongs to, from now on to these weights alone.
        notes: more for the card, such as the number of steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / WEIGHTS_FILE, head.state_dict(), about={"format": "pt"})
    told = {"settings": asdict(head.settings), "base": encoder_hash(backbone), **notes}
    with atomic_path(folder / CARD, overwrite=True) as part:
        write_json(part, told, indent=2)


def load_head(folder: Path, backbone: ClipBackbone) -> CostHead:
    """The head in a folder of `train segment`, on the device of its encoder.

    Raises:
        WeightsError: there is none, it is damaged, or was trained on another encoder.
    """
    try:
        card = read_json(folder / CARD)
        settings = _settings(card["settings"])
        base = str(card["base"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise WeightsError(f"{folder} is not a head of `train segment`: {brief(error)}.") from error
    if base != encoder_hash(backbone):
        raise WeightsError(
            f"The head in {folder} was trained on other weights than {backbone.weights_id}; give those it was "
            "trained on, or train one on these."
        )
    if not (folder / WEIGHTS_FILE).exists():
        raise WeightsError(f"There is no {WEIGHTS_FILE} in {folder}: the training did not finish.")
    state = read_state(folder / WEIGHTS_FILE)
    return fill(lambda: _head_on(backbone, settings), state, name=str(folder / WEIGHTS_FILE)).to(backbone.device)


def _head_on(backbone: ClipBackbone, settings: HeadSettings) -> CostHead:
    return CostHead(settings, features=backbone.dim, guides=backbone.guide_widths, fine=backbone.guides_are_fine)


def encoder_hash(backbone: ClipBackbone) -> str:
    """Of both towers: words and pixels must be those that the head learned on."""
    return f"{tower_hash(backbone, 'vision')}-{tower_hash(backbone, 'text')}"


def _settings(table: dict[str, Any]) -> HeadSettings:
    """The settings of a card, whose values are of the right kinds.

    Raises:
        TypeError, UsageError: they are not.
    """
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    for name, value in given.items():
        kind = type(getattr(HeadSettings, name, None))
        pair = kind is not tuple or (len(value) == 2 and all(type(n) is int for n in value))
        if type(value) is not kind or not pair:
            raise TypeError(f"{name} is {brief(repr(value), most=60)}")
    return HeadSettings(**given)
