"""SigLIP with dense outputs: what `models.clip.model` does with the last block is done with the pooling head.

Patch tokens behind the last block are in no space of words; the head's output is. A method of the `ATTENTION` table
takes the place of its learned query, and `keep_residual` keeps its feed-forward network: `maskclip` with it is what the
head gives of an image of that one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.siglip.towers import PoolingHead, Siglip, SiglipVisionTower, positions
from earthwords.text.known_words import AnyLanguage, Lexicon
from earthwords.text.siglip import PaddedTokenizer
from earthwords.types import FeatureMap

HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation of its pixels."""
_ALONE = DenseMethod(attention="maskclip", keep_residual=True)


class SiglipBackbone(ClipBackbone):
    """A SigLIP or SigLIP 2 in a CLIP's place; the pooled image stands for the class token."""

    def __init__(
        self,
        model: Siglip,
        *,
        tokenizer: PaddedTokenizer | None = None,
        weights_id: str = "unnamed",
        mean: Sequence[float] = HALF,
        std: Sequence[float] = HALF,
    ) -> None:
        super().__init__(model, tokenizer=tokenizer, weights_id=weights_id, mean=mean, std=std)

    @property
    def lexicon(self) -> Lexicon | None:
        """SigLIP 2 learned many languages, SigLIP (whose tokenizer drops punctuation) mostly English."""
        tokenizer = self.tokenizer
        many = isinstance(tokenizer, PaddedTokenizer) and not tokenizer.canonical
        return AnyLanguage() if many else super().lexicon

    @property
    def dim(self) -> int:
        return int(self._tower.config.hidden_size)

    @property
    def device(self) -> torch.device:
        return self._tower.head.probe.device

    @property
    def pair_bias(self) -> float | None:
        bias: Any = self.model.logit_bias
        return float(bias.detach())

    def check_clip(self, what: str) -> None:
        raise UsageError(
            f"{what} is made for CLIPs, and {self.weights_id} is a SigLIP: it segments, embeds, searches, classifies "
            "and is taught by marks (`teach`); name the weights of a CLIP here."
        )

    def encode_dense(self, pixels: Tensor, method: DenseMethod) -> FeatureMap:
        """See `ClipBackbone.encode_dense`.

        Raises:
            UsageError: a method that reads more than one block.
        """
        if method.last_n > 1:
            raise UsageError(
                f"{self.weights_id} is a SigLIP: words and pixels meet in its pooling head alone, so last_n must be 1, "
                f"got {method.last_n}."
            )
        x, grid = self._embed(pixels)
        for layer in self._layers[:-1]:
            x = layer(x)
        tokens = self._tail(x, grid, method)
        return FeatureMap(values=tokens[:, 1:].transpose(1, 2).unflatten(2, grid), cls=tokens[:, 0])

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Text embedding `(text, dim)`, not normalised, of token ids `(text, length)`, padded as it was trained."""
        return self.model.text_model(ids).pooler_output

    @property
    def _tower(self) -> SiglipVisionTower:
        tower = self.model.vision_model
        assert isinstance(tower, SiglipVisionTower)
        return tower

    @property
    def _head(self) -> PoolingHead:
        return self._tower.head

    def _placed(self, patches: Tensor, position: str) -> tuple[Tensor, tuple[int, int]]:
        """Patches `(batch, dim, h, w)` with positions, as tokens; `position` is CLIP's choice and none here."""
        grid = (patches.shape[-2], patches.shape[-1])
        table = self._tower.embeddings.position_embedding.weight
        return patches.flatten(2).transpose(1, 2) + positions(table, grid, self._tower.config.resize), grid

    def _pooled(self, x: Tensor) -> Tensor:
        return self._head(self._tower.post_layernorm(self._layers[-1](x)))[:, 0]

    def _tail(self, x: Tensor, grid: tuple[int, int], method: DenseMethod) -> Tensor:
        return self._read(self._layers[-1](x), grid, method)

    def _project(self, x: Tensor) -> Tensor:
        """Tokens of any block, as if they came from the last: each by itself."""
        return self._read(x, (1, x.shape[1]), _ALONE)

    def _read(self, x: Tensor, grid: tuple[int, int], method: DenseMethod) -> Tensor:
        normed = self._tower.post_layernorm(x)
        dense = self._head.dense(normed, grid, method.attention, fed=method.keep_residual)
        return torch.cat([self._head(normed), dense], dim=1)
