"""A MetaCLIP 2 in transformers' layout."""

from __future__ import annotations

from pathlib import Path

from earthwords.errors import WeightsError
from earthwords.models.clip.folder import image_statistics, read_towers
from earthwords.models.metaclip2.model import MetaClip2, MetaClip2Backbone
from earthwords.text.multilingual import AnyLanguageTokenizer


def load_folder(path: Path, *, weights_id: str) -> MetaClip2Backbone:
    """A MetaCLIP 2 in transformers' layout.

    Raises:
        WeightsError: something is missing, damaged, or does not fit.
    """
    model = read_towers(path, build=MetaClip2)
    text = model.text_model.config
    tokenizer = AnyLanguageTokenizer.from_folder(path, context=text.max_position_embeddings)
    if tokenizer.highest >= text.vocab_size:
        raise WeightsError(
            f"The tokenizer in {path} has token {tokenizer.highest}, the weights know {text.vocab_size}."
        )
    if tokenizer.end != text.eos_token_id:
        raise WeightsError(
            f"The tokenizer in {path} ends a text with token {tokenizer.end}, config.json reads it at token "
            f"{text.eos_token_id}."
        )
    mean, std = image_statistics(path)
    return MetaClip2Backbone(model, tokenizer=tokenizer, weights_id=weights_id, mean=mean, std=std)
