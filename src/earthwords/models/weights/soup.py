"""Model soups (https://arxiv.org/abs/2203.05482): a checkpoint whose every number is a mean of several checkpoints'."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from earthwords.errors import WeightsError
from earthwords.models.clip.model import ClipBackbone

_SENTENCES = ("a road", "the red roof, left of the lake!", "Parking lots 12")


@torch.no_grad()
def mixed(name: str, parts: Sequence[tuple[ClipBackbone, float]]) -> ClipBackbone:
    """The mean of checkpoints of one layout, under a name of its own.

    Args:
        parts: with weights whose sum is 1.

    Raises:
        WeightsError: their layouts, tokenizers or pixel statistics differ.
    """
    first = parts[0][0]
    for other, _ in parts[1:]:
        _check_alike(first, other)
    made = copy.deepcopy(first)
    states = [(backbone.model.state_dict(), weight) for backbone, weight in parts]
    for key, value in made.model.state_dict().items():
        if value.is_floating_point():  # in double precision, so that the order of the parts does not count
            total = sum(weight * state[key].double() for state, weight in states)
            assert isinstance(total, torch.Tensor)
            value.copy_(total)
    made.weights_id, made.words = name, None
    return made.eval()


def _check_alike(first: ClipBackbone, other: ClipBackbone) -> None:
    what = _difference(first, other)
    if what:
        raise WeightsError(
            f"{first.weights_id} and {other.weights_id} cannot be mixed: {what}. A mean is of checkpoints of one "
            "architecture that began from the same weights."
        )


def _difference(first: ClipBackbone, other: ClipBackbone) -> str:
    """In words; empty: none."""
    if type(first) is not type(other):
        return "they are of different kinds"
    for tower in ("vision_config", "text_config"):
        one, two = (_settings(getattr(each.model.config, tower)) for each in (first, other))
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                return f"{key} of the {tower.partition('_')[0]} tower is {one.get(key)!r} and {two.get(key)!r}"
    shapes = [{key: value.shape for key, value in each.model.state_dict().items()} for each in (first, other)]
    if shapes[0] != shapes[1]:
        return "their tensors have different names or shapes"
    if (first.mean, first.std) != (other.mean, other.std):
        return "their pixels are normalised differently"
    read = [None if each.tokenizer is None else each.tokenizer(_SENTENCES).tolist() for each in (first, other)]
    return "" if read[0] == read[1] else "their tokenizers differ"


_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "attention_dropout")
"""What files of the same model say differently; the tokenizers are compared themselves."""


def _settings(config: Any) -> dict[str, Any]:
    return {} if config is None else {key: value for key, value in vars(config).items() if key not in _TOKENS}
