"""The dual encoder that RSRefSeg reads sentences and looks at images with: SigLIP's two towers, or those of a CLIP.

Both give dense features and text tokens in one joint space, and the scale and bias that turn a cosine into a logit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import SiglipModel

from earthwords.errors import WeightsError
from earthwords.models.clip.model import ClipBackbone, DenseMethod

SIGLIP_MEAN = SIGLIP_STD = (0.5, 0.5, 0.5)
_CLIP_SCALE, _CLIP_BIAS = 15.0, -1.0
"""Where the scale and bias of a CLIP, which has none for single pairs, begin: dense features and sentences of `tiny`
have cosines of -0.5 to 0.2, and 0.07 is undecided."""

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Sentences to token ids that end with the end token, not padded."""


@dataclass(frozen=True, kw_only=True)
class TextFeatures:
    """Sentences as text tokens."""

    tokens: Tensor
    """`(text, token, dim)`, in the joint space."""
    sentence: Tensor
    """`(text, dim)`."""
    words: Tensor
    """`(text, token)` bool: neither start, end nor padding."""


class SiglipWords(nn.Module):
    """SigLIP's towers (https://arxiv.org/abs/2303.15343)."""

    mean, std = SIGLIP_MEAN, SIGLIP_STD

    def __init__(
        self, model: SiglipModel, *, tokenize: Tokenize | None = None, pad: int | None = None, end: int | None = None
    ) -> None:
        """`pad` and `end` are the tokenizer's tokens; by default those of the configuration, which the hub's lack."""
        super().__init__()
        self.model = model
        self.tokenize = tokenize
        config = model.config.text_config
        self.pad = config.pad_token_id if pad is None else pad
        self.end = config.eos_token_id if end is None else end

    @property
    def dim(self) -> int:
        return int(self.model.config.vision_config.hidden_size)

    @property
    def side(self) -> int:
        """Pixels a side of the images it looks at."""
        return int(self.model.config.vision_config.image_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Of its features."""
        cells = self.side // int(self.model.config.vision_config.patch_size)
        return cells, cells

    @property
    def vision(self) -> nn.Module:
        """The tower that looks, for adapters."""
        tower: nn.Module = self.model.vision_model
        return tower

    @property
    def text(self) -> nn.Module:
        """The tower that reads, for adapters."""
        tower: nn.Module = self.model.text_model
        return tower

    def calibration(self) -> tuple[Tensor, Tensor]:
        """Scale and bias of cosines."""
        return self.model.logit_scale.exp(), self.model.logit_bias

    def calibrators(self) -> tuple[nn.Parameter, nn.Parameter]:
        """The logarithm of the scale, and the bias, as parameters."""
        return self.model.logit_scale, self.model.logit_bias

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Last hidden states `(batch, dim, h, w)` of normalised pixels `(batch, 3, side, side)`, before the pooling."""
        hidden = self.model.vision_model(pixel_values=pixels).last_hidden_state
        grid = math.isqrt(hidden.shape[1])
        return hidden.transpose(1, 2).unflatten(2, (grid, grid))

    def encode_texts(self, ids: Tensor) -> TextFeatures:
        """Token ids `(text, length)` as they are, without an attention mask: SigLIP was trained so."""
        out = self.model.text_model(input_ids=ids)
        words = (ids != self.pad) & (ids != self.end)
        return TextFeatures(tokens=out.last_hidden_state, sentence=out.pooler_output, words=words)

    def ids(self, texts: Sequence[str], *, fixed: bool) -> Tensor:
        """Token ids, padded to the model's positions (`fixed`, as it was trained) or to the longest sentence.

        A longer sentence is cut and keeps its end token.
        """
        if self.tokenize is None:
            raise WeightsError("This SigLIP has no tokenizer: sentences cannot be encoded with it.")
        config = self.model.config.text_config
        most = int(config.max_position_embeddings)
        rows = [list(row) for row in self.tokenize(texts)]
        rows = [row if len(row) <= most else [*row[: most - 1], row[-1]] for row in rows]
        length = most if fixed else max(map(len, rows), default=1)
        padded = [row + [self.pad] * (length - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64)


class ClipWords(nn.Module):
    """A CLIP in SigLIP's place: dense features as segmentation reads them, text tokens through the text projection."""

    def __init__(self, clip: ClipBackbone, *, side: int, cell: int = 16, attention: str = "segearth") -> None:
        """`cell`: pixels a side of a feature; smaller tokens are averaged to it."""
        super().__init__()
        if not clip.reads or clip.tokenizer is None:
            raise WeightsError(f"{clip.weights_id} cannot read: referring needs a text tower and a tokenizer.")
        clip.check_clip("Referring")
        self.clip = clip
        self.side = side
        self.pooled = max(1, cell // clip.patch)
        self.method = DenseMethod(attention=attention)
        self.mean, self.std = tuple(clip.mean), tuple(clip.std)
        self.logit_scale = nn.Parameter(torch.tensor([math.log(_CLIP_SCALE)]))
        self.logit_bias = nn.Parameter(torch.tensor([_CLIP_BIAS]))

    @property
    def dim(self) -> int:
        return self.clip.dim

    @property
    def grid(self) -> tuple[int, int]:
        """Of its features."""
        side = self.side // (self.clip.patch * self.pooled)
        return side, side

    @property
    def vision(self) -> nn.Module:
        """The tower that looks, for adapters."""
        tower: nn.Module = self.clip.model.vision_model
        return tower

    @property
    def text(self) -> nn.Module:
        """The tower that reads, for adapters."""
        tower: nn.Module = self.clip.model.text_model
        return tower

    def calibration(self) -> tuple[Tensor, Tensor]:
        """Scale and bias of cosines."""
        return self.logit_scale.exp(), self.logit_bias

    def calibrators(self) -> tuple[nn.Parameter, nn.Parameter]:
        """The logarithm of the scale, and the bias, as parameters."""
        return self.logit_scale, self.logit_bias

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Dense features `(batch, dim, h, w)` of normalised pixels `(batch, 3, side, side)`."""
        values: Tensor = self.clip.encode_dense(pixels, self.method).values
        return values if self.pooled == 1 else nn.functional.avg_pool2d(values, self.pooled)

    def encode_texts(self, ids: Tensor) -> TextFeatures:
        """Token ids `(text, length)`; attention is causal, so what follows the end token changes nothing.

        The end of a text is its largest id, as in CLIP: configurations on the hub say 2 or nothing.
        """
        model = self.clip.model
        out = model.text_model(ids)
        place = torch.arange(ids.shape[1], device=ids.device)
        end = ids.argmax(dim=1, keepdim=True)
        return TextFeatures(
            tokens=model.text_projection(out.last_hidden_state),
            sentence=model.text_projection(out.pooler_output),
            words=(place > 0) & (place < end),
        )

    def ids(self, texts: Sequence[str], *, fixed: bool) -> Tensor:
        """Token ids, padded to the context (`fixed`) or to the longest sentence; a longer one is cut."""
        assert self.clip.tokenizer is not None
        return torch.from_numpy(self.clip.tokenizer(texts, truncate=not fixed))


Words = SiglipWords | ClipWords
