"""Words to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.clip.model import ClipBackbone
from earthwords.text.templates import fill


@torch.inference_mode()
def encode_words(backbone: ClipBackbone, words: Sequence[str], templates: Sequence[str]) -> Tensor:
    """`(word, dim)`: mean of the normalised embeddings of the filled templates, normalised."""
    prompts = [prompt for word in words for prompt in fill(templates, word)]
    embeddings = F.normalize(backbone.encode_text(prompts), dim=-1)
    return F.normalize(embeddings.unflatten(0, (len(words), len(templates))).mean(dim=1), dim=-1)
