"""SAM 3 as its authors run it, on transformers' network.

transformers leaves out the geometry token where there are no boxes, and norms the image tower with another epsilon; the
authors always have the token, and so has this (`tests/parity/sam3.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling

from earthwords.errors import WeightsError
from earthwords.models.sam3.fusion import Answers
from earthwords.text.known_words import Lexicon, Pieces
from earthwords.text.tokenizer import ClipTokenizer

EPS = 1e-5
"""Of the norms of the image tower, in the authors' code."""
PROMPTS_ON_GPU = 4
"""Prompts that are answered at once; on a CPU one."""


class Sam3Backbone(nn.Module):
    """SAM 3's detector: windows and prompts to masks."""

    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    any_language = False
    patch = 1
    """Windows of any size are stretched to the network's square: none has to be padded."""

    def __init__(
        self, model: Sam3Model, *, tokenizer: ClipTokenizer | None = None, weights_id: str = "unnamed"
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.weights_id = weights_id

    @property
    def side(self) -> int:
        """Pixels of the square that the network looks at."""
        side: Any = self.model.config.vision_config.backbone_config.image_size
        return int(side if isinstance(side, int) else side[0])

    @property
    def finest(self) -> int:
        """Sides of the finest feature map, and of the masks."""
        return int(self.model.config.vision_config.backbone_feature_sizes[0][0])

    @property
    def context(self) -> int:
        """Tokens of a prompt."""
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def width(self) -> int:
        """Numbers of a token of a prompt."""
        return int(self.model.text_projection.out_features)

    @property
    def dim(self) -> int:
        """Numbers of a whole prompt, see `encode_prompts`."""
        return self.context * self.width

    @property
    def device(self) -> torch.device:
        return self.model.text_projection.weight.device

    @property
    def lexicon(self) -> Lexicon | None:
        """What the text tower can read."""
        return None if self.tokenizer is None else Pieces(self.tokenizer.pieces, self.tokenizer.vocab_size)

    @torch.inference_mode()
    def encode_prompts(self, words: Sequence[str]) -> Tensor:
        """Prompts as vectors `(word, dim)`: the states of all their tokens one after another, 0 where there is none.

        Raises:
            WeightsError: there is no tokenizer.
        """
        if self.tokenizer is None:
            raise WeightsError(
                f"{self.weights_id} has no tokenizer for its vocabulary: words cannot be encoded with it."
            )
        ids = torch.from_numpy(self.tokenizer(words, truncate=False)).to(self.device)
        lengths = (ids == self.tokenizer.end).int().argmax(dim=1) + 1
        return torch.cat([self.encode_tokens(ids[i : i + 1], lengths[i : i + 1]) for i in range(len(ids))])

    @torch.inference_mode()
    def encode_tokens(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """As `encode_prompts`, of token ids `(prompt, context)` of which the first `lengths` `(prompt,)` count."""
        valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        states = self.model.get_text_features(input_ids=ids, attention_mask=valid.long()).pooler_output
        return (states * valid[:, :, None]).flatten(1)

    @torch.inference_mode()
    def see(self, pixels: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Feature maps and their positions, finest first, of normalised pixels `(batch, 3, H, W)`."""
        found = self.model.get_vision_features(self._stretched(pixels))
        return tuple(found.fpn_hidden_states), tuple(found.fpn_position_encoding)

    @torch.inference_mode()
    def answers(self, seen: tuple[tuple[Tensor, ...], tuple[Tensor, ...]], prompts: Tensor) -> Answers:
        """What is said of prompts `(prompt, dim)` in the one window that was seen."""
        features, positions = seen
        count = len(prompts)
        tokens = prompts.unflatten(1, (self.context, self.width))
        valid = tokens.abs().amax(dim=2) > 0
        place = self.geometry_token(features[:-1], positions[:-1])
        text = BaseModelOutputWithPooling(pooler_output=torch.cat([tokens, place.expand(count, -1, -1)], dim=1))
        expanded: Any = _Seen(*(tuple(x.expand(count, -1, -1, -1) for x in part) for part in seen))
        found: Any = self.model(
            vision_embeds=expanded, text_embeds=text, attention_mask=torch.cat([valid, valid.new_ones(count, 1)], dim=1)
        )
        return Answers(
            semantic=found.semantic_seg[:, 0],
            masks=found.pred_masks,
            logits=found.pred_logits,
            presence=found.presence_logits[:, 0],
        )

    def geometry_token(self, features: Sequence[Tensor], positions: Sequence[Tensor]) -> Tensor:
        """`(1, 1, width)`: what the geometry encoder makes of an image and no box.

        Its layers are called one by one, because its own call needs torchvision even where there is no box.
        """
        encoder: Any = self.model.geometry_encoder
        image, places = (maps[-1].flatten(2).transpose(1, 2) for maps in (features, positions))
        token = encoder.prompt_layer_norm(encoder.final_proj(encoder.cls_embed.weight[None]))
        for layer in encoder.layers:
            token = layer(prompt_feats=token, vision_feats=image, vision_pos_encoding=places, prompt_mask=None)
        normed: Tensor = encoder.output_layer_norm(token)
        return normed

    def _stretched(self, pixels: Tensor) -> Tensor:
        """To the network's square in steps of a 255th, as the authors resize bytes."""
        size = (self.side, self.side)
        if tuple(pixels.shape[-2:]) != size:
            grey = (pixels * 127.5 + 127.5).round()
            resized = F.interpolate(grey, size=size, mode="bilinear", align_corners=False, antialias=True)
            pixels = resized.round().clamp(0, 255) / 127.5 - 1
        return pixels


class _Seen:
    """What `Sam3Model` asks of an image that was seen before."""

    hidden_states = attentions = None

    def __init__(self, features: tuple[Tensor, ...], positions: tuple[Tensor, ...]) -> None:
        self.fpn_hidden_states, self.fpn_position_encoding = features, positions
