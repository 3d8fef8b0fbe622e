"""The names of RSRefSeg's authors for what a `RefSeg` holds, both ways.

Their modules stand beside each other in an mmseg tree, the towers wrapped by peft (adapter `default`):
`backbone.base_model.model.model.layers.0.attn.qkv.lora_A.default.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_PREFIXES = {
    "sam.shared_image_embedding.": "backbone.base_model.model.shared_image_embedding.",
    "sam.vision_encoder.": "backbone.base_model.model.model.",
    "sam.prompt_encoder.": "sam_prompt_encoder.model.",
    "sam.mask_decoder.": "sam_mask_decoder.model.",
    "words.model.vision_model.": "clip_vision_encoder.base_model.model.model.",
    "words.model.text_model.": "clip_text_encoder.base_model.model.model.",
    "words.model.logit_": "clip_text_encoder.base_model.model.logit_",
    "prompter.down_": "prompter_down_",
}
"""Ours to theirs; no one begins another on either side but `backbone...model.` and its longer ones."""
_BACK = sorted(((theirs, ours) for ours, theirs in _PREFIXES.items()), key=lambda pair: -len(pair[0]))
_NESTED = ("vision_model.", "text_model.")
"""Older transformers put a tower one level deeper."""


def to_authors(name: str) -> str:
    """A name of a `RefSeg` on SigLIP as the authors call it."""
    for ours, theirs in _PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors under our names; what has no place is left as it is called."""
    return {_from(name): value for name, value in state.items()}


def is_authors(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the authors' checkpoints."""
    return any(name.startswith("prompter_down_channel.") for name in state)


def _from(name: str) -> str:
    for theirs, ours in _BACK:
        if name.startswith(theirs):
            rest = name.removeprefix(theirs)
            for nested in _NESTED:
                rest = rest.removeprefix(nested)
            return ours + rest
    return name
