"""MetaCLIP 2 (https://arxiv.org/abs/2507.22062): CLIP's towers, a tokenizer of any language.

A text is read at the first token that is `eos_token_id`, taken literally: it is 2 in the released weights, which in a
CLIP stands for the largest id.
"""

from __future__ import annotations

from torch import Tensor

from earthwords.errors import UsageError
from earthwords.models.clip.config import ClipConfig
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.clip.towers import Clip, TextTower
from earthwords.text.known_words import AnyLanguage, Lexicon


class MetaClip2TextTower(TextTower):
    """The tower that reads."""

    def end_of(self, ids: Tensor) -> Tensor:
        return (ids == self.config.eos_token_id).int().argmax(dim=-1)


class MetaClip2(Clip):
    """Both towers."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config)
        assert config.text_config is not None
        self.text_model = MetaClip2TextTower(config.text_config)


class MetaClip2Backbone(ClipBackbone):
    """A MetaCLIP 2 in a CLIP's place."""

    any_language = True

    @property
    def lexicon(self) -> Lexicon | None:
        return AnyLanguage()

    def check_clip(self, what: str) -> None:
        raise UsageError(
            f"{what} is made for CLIPs, and {self.weights_id} is a MetaCLIP 2: it segments, embeds, searches, "
            "classifies and is taught by marks (`teach`); name the weights of a CLIP here."
        )
