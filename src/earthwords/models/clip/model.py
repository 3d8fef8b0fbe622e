"""CLIP with dense outputs, on the towers of `models.clip.towers`.

Blocks 0 to L-2 run as they were trained. The last block is replaced by a method of the `ATTENTION` table,
without residual connection and feed-forward network, as SegEarth-OV and its baselines do
(https://arxiv.org/abs/2410.01768, code https://github.com/likyoo/SegEarth-OV).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError, WeightsError, unknown
from earthwords.kernels.linear import quicken, reduce_linears
from earthwords.models.clip.attention import ATTENTION, Heads
from earthwords.models.clip.config import ClipConfig
from earthwords.models.clip.conv_trunk import ConvTrunk, PyramidTrunk
from earthwords.models.clip.towers import Clip, ClipBlock, initialise
from earthwords.text.known_words import KnownWords, Lexicon, Pieces
from earthwords.text.tokenizer import TextTokenizer
from earthwords.types import FeatureMap

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

PENULTIMATE = "penultimate"
"""Tokens that enter the last block, as SimFeatUp takes them; the other names are those of `ATTENTION`."""
FEATURES = (PENULTIMATE, *ATTENTION)
"""Kinds of dense features."""


@dataclass(frozen=True, kw_only=True)
class DenseMethod:
    """How dense features are read out of a CLIP vision tower."""

    attention: str = "segearth"
    """A name of the `ATTENTION` table."""
    keep_residual: bool = False
    """Keep the last block's residual connection and feed-forward network (GEM: accumulate its
    blocks' outputs on the stream that enters the first of them)."""
    last_n: int = 1
    """Sum the attention outputs of the last n blocks (SegEarth-OV-2); GEM: blocks it replaces."""

    def __post_init__(self) -> None:
        if self.attention not in ATTENTION:
            raise unknown("attention", self.attention, ATTENTION)
        if self.last_n < 1:
            raise UsageError(f"last_n must be at least 1, got {self.last_n}.")
        if self.keep_residual and self.last_n > 1 and self.attention != "gem":
            raise UsageError("The sum over the last blocks is defined without residual: keep_residual=False.")


class ClipBackbone(nn.Module):
    """A CLIP dual encoder, or its vision tower alone."""

    any_language = False
    """Whether words go to it as they are typed, Chinese ones too."""

    def __init__(
        self,
        model: Clip,
        *,
        tokenizer: TextTokenizer | None = None,
        weights_id: str = "unnamed",
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        words: KnownWords | None = None,
    ) -> None:
        """`words`: those that the model learned, where somebody counted them."""
        super().__init__()
        self.model = model.eval()
        quicken(model.vision_model)
        self.tokenizer = tokenizer
        self.weights_id = weights_id
        self.mean, self.std = tuple(mean), tuple(std)
        self.words = words
        self._reduced_patches: nn.Module | None = None

    def reduce(self) -> None:
        """Compute linear layers and convolutions of the image tower in bfloat16 from now on, see `kernels.linear`.

        For dense features and image embeddings; guides and levels for decoders stay exact in their convolutions. The
        weights stay what they are.
        """
        vision = self.model.vision_model
        reduced = copy.deepcopy(vision.embeddings.patch_embedding).bfloat16()
        reduced = reduced.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # not a part of the model: its state is that of the weights
        object.__setattr__(self, "_reduced_patches", reduced)
        reduce_linears(vision.encoder)

    @property
    def reads(self) -> bool:
        """Whether there is a text tower."""
        return self.model.config.text_config is not None

    @property
    def lexicon(self) -> Lexicon | None:
        """What the text tower can read; None for a vision tower alone."""
        if self.words is not None:
            return self.words
        return None if self.tokenizer is None else Pieces(self.tokenizer.pieces, self.tokenizer.vocab_size)

    @property
    def patch(self) -> int:
        """Pixels a side of one token."""
        return int(self.model.vision_model.config.patch_size)

    @property
    def dim(self) -> int:
        """Dimension of the joint embedding."""
        return int(self.model.visual_projection.out_features)

    @property
    def device(self) -> torch.device:
        return self.model.visual_projection.weight.device

    @property
    def logit_scale(self) -> float:
        """exp of the trained temperature; 100 for a vision tower alone."""
        return float(self.model.logit_scale.detach().exp()) if self.reads else 100.0

    @property
    def pair_bias(self) -> float | None:
        """What is added to a scaled cosine, where pairs were learned one by one, by a sigmoid; None: they were not."""
        return None

    def check_clip(self, what: str) -> None:
        """Nothing, for a CLIP; another dual encoder refuses what is made for CLIP's layers alone.

        Args:
            what: what is asked for, such as "train clip".

        Raises:
            UsageError: it is another one.
        """

    def encode_image(self, pixels: Tensor) -> Tensor:
        """CLIP's image embedding `(batch, dim)`, not normalised, of normalised `pixels` `(batch, 3, H, W)`."""
        x, _ = self._embed(pixels)
        for layer in self._layers[:-1]:
            x = layer(x)
        return self._pooled(x)

    def encode_dense(self, pixels: Tensor, method: DenseMethod) -> FeatureMap:
        """Dense features of a batch.

        Args:
            pixels: `(batch, 3, H, W)`, normalised, sides multiples of the patch.
            method: what the last block computes.

        Returns:
            Values `(batch, dim, H / patch, W / patch)` and the class token of the same block.
        """
        rule = "exact" if method.attention == "gem" else "scaled"
        x, grid = self._embed(pixels, position=rule)
        x = (_gem_stream if method.attention == "gem" else _last_blocks)(self._layers, x, grid, method)
        tokens = self._project(x)
        values = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
        return FeatureMap(values=values, cls=None if method.attention == "gem" else tokens[:, 0])

    def encode_guided(self, pixels: Tensor, method: DenseMethod) -> tuple[FeatureMap, tuple[Tensor, Tensor]]:
        """As `encode_dense`, and what the tower sees on the way, as guides of a decoder (see `guide_widths`).

        Returns:
            The features, and two maps: of a convolutional trunk the levels at twice and at four times the resolution of
            the tokens, of a ViT the tokens `(batch, width, H / patch, W / patch)` after a third and two thirds of its
            blocks.

        Raises:
            UsageError: a method that reads more than the last block, or a trunk of fewer than three levels.
        """
        if method.attention == "gem" or method.last_n > 1:
            raise UsageError("Guided features are read from the last block alone: last_n 1, and not by 'gem'.")
        if len(self._trunk_widths or (0, 0, 0)) < 3:
            raise UsageError(f"The trunk of {self.weights_id} has fewer than three levels, so it gives no guides.")
        x, grid, levels = self._embed_levels(pixels)
        states = []
        for layer in self._layers[:-1]:
            x = layer(x)
            states.append(x)
        tokens = self._tail(x, grid, method)
        found = FeatureMap(values=tokens[:, 1:].transpose(1, 2).unflatten(2, grid), cls=tokens[:, 0])
        if levels:
            return found, (levels[-2], levels[-3])
        thirds = (len(self._layers) // 3, 2 * len(self._layers) // 3)
        first, second = (_patches(states[max(1, i) - 1], grid) for i in thirds)
        return found, (first, second)

    @property
    def guide_widths(self) -> tuple[int, int]:
        """Channels of the guides of `encode_guided`."""
        widths = self._trunk_widths
        if widths is not None:
            return widths[-2], widths[-3]
        own = int(self.model.vision_model.config.hidden_size)
        return own, own

    @property
    def guides_are_fine(self) -> bool:
        """Whether guides come at two and four times the resolution of the tokens, not at theirs."""
        return self._trunk_widths is not None

    @property
    def _trunk_widths(self) -> tuple[int, ...] | None:
        trunk = self.model.vision_model.embeddings.patch_embedding
        return trunk.widths if isinstance(trunk, (ConvTrunk, PyramidTrunk)) else None

    def encode_levels(self, pixels: Tensor) -> list[Tensor]:
        """Four maps of normalised pixels `(batch, 3, H, W)`, the finest first, for a decoder (see `level_widths`).

        Of a convolutional trunk its last three levels and the tokens behind the last block; of a ViT the tokens behind
        each quarter of its blocks, `(batch, width, H / patch, W / patch)`. Tokens have passed the last norm.
        """
        x, grid, levels = self._embed_levels(pixels)
        count = len(self._layers)
        wanted = {count - 1} if levels else {max(1, round(part * count / 4)) - 1 for part in (1, 2, 3, 4)}
        for i, layer in enumerate(self._layers):
            x = layer(x)
            if i in wanted:
                levels.append(_patches(self.model.vision_model.post_layernorm(x), grid))
        return levels[-4:]

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of the maps of `encode_levels`; fewer than four where there are fewer blocks."""
        own, count = int(self.model.vision_model.config.hidden_size), len(self._layers)
        trunk = self._trunk_widths
        if trunk is not None:
            return (*trunk[-3:], own)
        return (own,) * len({max(1, round(part * count / 4)) for part in (1, 2, 3, 4)})

    def encode_penultimate(self, pixels: Tensor) -> FeatureMap:
        """As `encode_dense`, of the tokens that enter the last block: they go straight to the last norm and projection.

        SimFeatUp's `X`, on which its upsampler is trained (https://arxiv.org/abs/2410.01768).
        """
        x, grid = self._embed(pixels)
        for layer in self._layers[:-1]:
            x = layer(x)
        tokens = self._project(x)
        return FeatureMap(values=tokens[:, 1:].transpose(1, 2).unflatten(2, grid), cls=tokens[:, 0])

    def encode_mixed(self, pixels: Tensor, method: DenseMethod, *, images: int) -> tuple[Tensor, FeatureMap]:
        """Image embeddings of the first `images` inputs and dense features of the others.

        As `encode_image` and `encode_dense`, with one pass through the common blocks (for training).
        """
        x, grid = self._embed(pixels)
        for layer in self._layers[:-1]:
            x = layer(x)
        pooled = self._pooled(x[:images])
        dense = self._tail(x[images:], grid, method)
        values = dense[:, 1:].transpose(1, 2).unflatten(2, grid)
        return pooled, FeatureMap(values=values, cls=dense[:, 0])

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Text embedding `(text, dim)`, not normalised, of token ids `(text, length)`."""
        if not self.reads:
            raise WeightsError(f"{self.weights_id} has no text tower: words cannot be encoded with it.")
        return self.model.text_projection(self.model.text_model(ids).pooler_output)

    def encode_text(self, texts: Sequence[str], *, batch: int = 256) -> Tensor:
        """Text embedding `(text, dim)`, not normalised, of sentences.

        Every batch is cut behind its last end token: attention is causal, so the result is the same
        and short prompts cost a fraction of the full context.
        """
        if self.tokenizer is None:
            raise WeightsError(
                f"{self.weights_id} has no tokenizer for its vocabulary: words cannot be encoded with it."
            )
        parts = [
            self.encode_tokens(torch.from_numpy(self.tokenizer(texts[i : i + batch])).to(self.device))
            for i in range(0, len(texts), batch)
        ]
        return torch.cat(parts)

    @property
    def _layers(self) -> list[ClipBlock]:
        return cast("list[ClipBlock]", list(self.model.vision_model.encoder.layers))

    def _embed(self, pixels: Tensor, *, position: str = "scaled") -> tuple[Tensor, tuple[int, int]]:
        """Tokens `(batch, 1 + h w, dim)` that enter block 0, and the patch grid."""
        reduced = self._reduced_patches
        if reduced is None:
            return self._placed(self.model.vision_model.embeddings.patch_embedding(pixels), position)
        patches = reduced(pixels.to(torch.bfloat16, memory_format=torch.channels_last))
        return self._placed(patches.float(memory_format=torch.contiguous_format), position)

    def _embed_levels(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int], list[Tensor]]:
        """As `_embed`, and the levels of a convolutional trunk."""
        trunk = self.model.vision_model.embeddings.patch_embedding
        patches, levels = (
            trunk.with_levels(pixels) if isinstance(trunk, (ConvTrunk, PyramidTrunk)) else (trunk(pixels), [])
        )
        return *self._placed(patches, "scaled"), levels

    def _placed(self, patches: Tensor, position: str) -> tuple[Tensor, tuple[int, int]]:
        """Patches `(batch, dim, h, w)` with the class token and positions, as tokens."""
        vision = self.model.vision_model
        grid = (patches.shape[-2], patches.shape[-1])
        cls = vision.embeddings.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([cls, patches.flatten(2).transpose(1, 2)], dim=1)
        table = vision.embeddings.position_embedding.weight
        return vision.pre_layrnorm(x + POSITION[position](table, grid)), grid

    def _pooled(self, x: Tensor) -> Tensor:
        """The image embedding `(batch, dim)` of tokens that enter the last block."""
        return self._project(_class_token(self._layers[-1], x))

    def _tail(self, x: Tensor, grid: tuple[int, int], method: DenseMethod) -> Tensor:
        """The class token's and dense features `(batch, 1 + h w, dim)` of tokens that enter the last block."""
        return self._project(_last_blocks(self._layers[-1:], x, grid, method))

    def _project(self, x: Tensor) -> Tensor:
        return self.model.visual_projection(self.model.vision_model.post_layernorm(x))


def _patches(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens `(batch, token, width)`, those of patches last, as a map `(batch, width, h, w)`."""
    return tokens[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)


def scaled_position(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions of SegEarth-OV: as they are when the number of tokens is the trained one, whatever the shape;
    else bicubic sampling at steps of `sqrt(N) / (side + 0.1)`, no antialiasing."""
    count = len(table) - 1
    if grid[0] * grid[1] == count:
        return table
    side = math.isqrt(count)
    square = table[1:].T.unflatten(1, (side, side))[None]
    scale = [(g + 0.1) / side for g in grid]
    resized = F.interpolate(square, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], resized[0].flatten(1).T])


def exact_position(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions of GEM: antialiased bicubic resize to the exact grid."""
    side = math.isqrt(len(table) - 1)
    if grid == (side, side):
        return table
    square = table[1:].T.unflatten(1, (side, side))[None]
    resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([table[:1], resized[0].flatten(1).T])


POSITION = {"scaled": scaled_position, "exact": exact_position}


def _attend(layer: ClipBlock, x: Tensor, grid: tuple[int, int], attention: str) -> Tensor:
    """The block's attention branch, `(batch, token, dim)`, by a method of the table."""
    block, normed = layer.self_attn, layer.layer_norm1(x)
    q, k, v = (
        proj(normed).unflatten(-1, (block.num_heads, -1)).transpose(1, 2)
        for proj in (block.q_proj, block.k_proj, block.v_proj)
    )
    context = ATTENTION[attention](Heads(q=q, k=k, v=v, x=normed, grid=grid))
    return block.out_proj(context.transpose(1, 2).flatten(2))


def _class_token(layer: ClipBlock, x: Tensor) -> Tensor:
    """The block's output for token 0 alone, `(batch, dim)`: the other tokens are read, not computed."""
    block, normed = layer.self_attn, layer.layer_norm1(x)
    q = block.q_proj(normed[:, :1]).unflatten(-1, (block.num_heads, -1)).transpose(1, 2)
    k, v = (proj(normed).unflatten(-1, (block.num_heads, -1)).transpose(1, 2) for proj in (block.k_proj, block.v_proj))
    context = (q @ k.transpose(-2, -1) * block.scale).softmax(dim=-1) @ v
    token = x[:, 0] + block.out_proj(context.transpose(1, 2).flatten(1))
    return token + layer.mlp(layer.layer_norm2(token))


def _last_blocks(layers: list[ClipBlock], x: Tensor, grid: tuple[int, int], method: DenseMethod) -> Tensor:
    """Run all blocks; the last `last_n` give the (summed) attention output."""
    first = _first_replaced(layers, method)
    for layer in layers[:first]:
        x = layer(x)
    if method.keep_residual:
        last = layers[-1]
        x = x + _attend(last, x, grid, method.attention)
        return x + last.mlp(last.layer_norm2(x))
    total = _attend(layers[first], x, grid, method.attention)
    for before, layer in zip(layers[first:], layers[first + 1 :], strict=False):
        x = before(x)
        total = total + _attend(layer, x, grid, method.attention)
    return total


def _gem_stream(layers: list[ClipBlock], x: Tensor, grid: tuple[int, int], method: DenseMethod) -> Tensor:
    """GEM: a second stream that reads from the ordinary one and has no feed-forward network."""
    first = _first_replaced(layers, method)
    for layer in layers[:first]:
        x = layer(x)
    if not method.keep_residual:  # only the last block's output is looked at
        for layer in layers[first:-1]:
            x = layer(x)
        return _attend(layers[-1], x, grid, "gem")
    stream = x + _attend(layers[first], x, grid, "gem")
    for before, layer in zip(layers[first:], layers[first + 1 :], strict=False):
        x = before(x)
        stream = stream + _attend(layer, x, grid, "gem")
    return stream


def _first_replaced(layers: list[ClipBlock], method: DenseMethod) -> int:
    if method.last_n > len(layers):
        raise UsageError(f"last_n {method.last_n} exceeds the {len(layers)} blocks of this model.")
    return len(layers) - method.last_n


def build_clip(config: ClipConfig) -> Clip:
    """An untrained CLIP of this configuration."""
    model = Clip(config)
    initialise(model)
    return model
