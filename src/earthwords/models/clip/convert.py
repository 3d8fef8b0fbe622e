"""OpenAI / open_clip state dicts to transformers' CLIP, by name, and back.

Accepts bare state dicts (RemoteCLIP, GeoRSCLIP), training files `{"state_dict": ...}` with or without
`module.` prefixes (open_clip, SkyCLIP), and vision towers alone. Whether a model was trained with QuickGELU
or exact GELU is not in the weights: the caller must say.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from earthwords.errors import WeightsError
from earthwords.models.clip.config import ClipConfig, TextConfig, VisionConfig
from earthwords.models.clip.towers import Clip

ACTIVATION = {"quickgelu": "quick_gelu", "gelu": "gelu"}
_HEAD_WIDTH = {1280: 80, 1408: 88, 1664: 104}
"""Dimensions of a head by the width of a vision tower (ViT-H, -g and -bigG in
https://github.com/mlfoundations/open_clip/tree/main/src/open_clip/model_configs); 64 in all others."""
_TOKENS = "token_embedding.weight"
_LATER, _LONG_KEPT = "positional_embedding_res", 20
_SCALARS = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
_BLOCK = re.compile(r"(.*?)transformer\.resblocks\.(\d+)\.(.+)")
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_TOP = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}


def unwrap(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, without wrappers (DeepSpeed's too), `module.` prefixes and stored scalars.

    Raises:
        WeightsError: the file holds something else than tensors by name.
    """
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"The file holds a {type(checkpoint).__name__}; expected tensors by name (a state dict).")
    state = checkpoint
    for key in ("state_dict", "model", "module"):
        if isinstance(state.get(key), Mapping):
            state = state[key]
    return {
        name.removeprefix("module."): value
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, Tensor) and name.removeprefix("module.") not in _SCALARS
    }


def is_openai(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of OpenAI's CLIP or open_clip."""
    return "visual.conv1.weight" in state


def openai_config(state: Mapping[str, Tensor], *, activation: str, heads: tuple[int, int] | None = None) -> ClipConfig:
    """The configuration that the shapes tell.

    `heads` of the vision and the text tower cannot be seen in the shapes; they default to those of OpenAI's and
    open_clip's models: 64 dimensions a head, but in vision towers wider than 1,024.
    """
    act = ACTIVATION[activation]
    conv, positions = state["visual.conv1.weight"], state["visual.positional_embedding"]
    width, patch = conv.shape[0], conv.shape[-1]
    dim = state["visual.proj"].shape[1]
    vision = VisionConfig(
        hidden_size=width,
        intermediate_size=state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        num_hidden_layers=_depth(state, "visual."),
        num_attention_heads=heads[0] if heads else max(1, width // _HEAD_WIDTH.get(width, 64)),
        patch_size=patch,
        image_size=patch * math.isqrt(len(positions) - 1),
        hidden_act=act,
    )
    if _TOKENS not in state:
        return ClipConfig(vision_config=vision, text_config=None, projection_dim=dim)
    tokens = state[_TOKENS]
    text = TextConfig(
        hidden_size=tokens.shape[1],
        intermediate_size=state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        num_hidden_layers=_depth(state, ""),
        num_attention_heads=heads[1] if heads else max(1, tokens.shape[1] // 64),
        vocab_size=len(tokens),
        max_position_embeddings=len(state["positional_embedding"]),
        hidden_act=act,
        bos_token_id=len(tokens) - 2,
        eos_token_id=len(tokens) - 1,
        pad_token_id=0,
    )
    return ClipConfig(vision_config=vision, text_config=text, projection_dim=dim)


def openai_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, in float32, under transformers' names."""
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        for new, part in _rename(name, value.float()):
            out[new] = part
    return out


def from_openai(state: Mapping[str, Tensor], *, activation: str, heads: tuple[int, int] | None = None) -> Clip:
    """A CLIP with these weights; the vision tower alone if there is no text tower.

    Raises:
        WeightsError: not a ViT CLIP, or names are missing, unknown or of the wrong shape.
    """
    state = _one_table(state)
    if activation not in ACTIVATION:
        raise WeightsError(f"Activation {activation!r} is unknown; CLIP models use quickgelu or gelu.")
    try:
        return filled(openai_config(state, activation=activation, heads=heads), openai_state(state))
    except KeyError as error:
        raise WeightsError(f"Not a complete CLIP with a ViT: {error.args[0]} is missing.") from error
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        raise WeightsError("Not a CLIP with a ViT: the shapes of its tensors contradict each other.") from error


def _one_table(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Long-CLIP (https://arxiv.org/abs/2403.15378) has two tables of positions: of the first 20, and of all others."""
    if _LATER not in state:
        return state
    first, later = state.get("positional_embedding"), state[_LATER]
    if first is None or first.shape != later.shape:
        raise WeightsError(f"Not a complete Long-CLIP: {_LATER} has no positional_embedding of its shape.")
    joined = torch.cat([first[:_LONG_KEPT], later[_LONG_KEPT:]])
    return {name: value for name, value in state.items() if name != _LATER} | {"positional_embedding": joined}


def to_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names of a whole CLIP back to those of OpenAI and open_clip: the inverse of `openai_state`.

    Raises:
        WeightsError: a tensor has no name there, as in the convolutional stem of `tiny`.
    """
    out: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.endswith("position_ids"):
            continue
        if name in _TOP_BACK:
            there = _TOP_BACK[name]
            out[there] = value.T.contiguous() if there in ("visual.proj", "text_projection") else value
            continue
        match = _LAYER.fullmatch(name)
        stem, _, kind = match[3].rpartition(".") if match else ("", "", "")
        if match is None or (stem not in _IN_BLOCK_BACK and stem not in _THIRDS):
            raise WeightsError(f"open_clip has no place for {name}: only plain vision transformers can be written so.")
        base = f"{'visual.' if match[1] == 'vision' else ''}transformer.resblocks.{match[2]}."
        if stem in _THIRDS:
            thirds.setdefault(f"{base}attn.in_proj_{kind}", {})[stem] = value
        else:
            out[f"{base}{_IN_BLOCK_BACK[stem]}.{kind}"] = value
    return out | {name: torch.cat([parts[stem] for stem in _THIRDS]) for name, parts in thirds.items()}


def filled(config: ClipConfig, state: Mapping[str, Tensor], *, build: Callable[[ClipConfig], Clip] = Clip) -> Clip:
    """A CLIP with these tensors; that they fit is known before anything of a size that `config` claims is allocated.

    Args:
        build: makes it, without weights.

    Raises:
        WeightsError: see `check_fit` and `check_finite`.
        Exception: of any kind, for settings that make no sense.
    """
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about layers of no size, which will not fit
        model = build(config)
    check_fit(model, state)
    check_finite(state)
    named = {name: state[name].to(own.dtype, copy=True) for name, own in model.state_dict().items()}
    model.load_state_dict(named, assign=True)
    return model.eval()


def load_strict(model: Any, state: Mapping[str, Tensor]) -> None:
    """`load_state_dict` after `check_fit` and `check_finite`."""
    check_fit(model, state)
    check_finite(state)
    model.load_state_dict({n: state[n] for n in model.state_dict()})


def check_fit(model: Any, state: Mapping[str, Tensor]) -> None:
    """Raise `WeightsError`, one sentence naming the first three names that do not fit `model`."""
    own = model.state_dict()
    missing = [n for n in own if n not in state]
    extra = [n for n in state if n not in own and not n.endswith("position_ids")]
    shapes = [n for n in own if n in state and own[n].shape != state[n].shape]
    for what, names in (("missing", missing), ("of another shape", shapes), ("unknown", extra)):
        if names:
            raise WeightsError(f"The checkpoint does not fit: {len(names)} names {what}, first {listed(names)}.")


def check_finite(state: Mapping[str, Tensor]) -> None:
    """Raise `WeightsError` if a number is NaN or infinite: every label would be nonsense, without a word."""
    wrong = [n for n, v in state.items() if v.is_floating_point() and not v.sum().isfinite() and not v.isfinite().all()]
    if wrong:
        raise WeightsError(f"The checkpoint is damaged: NaN or infinite numbers in {listed(wrong)}.")


def listed(names: Sequence[str]) -> str:
    """The first three, none longer than 80 characters."""
    return ", ".join(name[:80] for name in names[:3])


_TOP_BACK = {ours: theirs for theirs, ours in _TOP.items()}
_IN_BLOCK_BACK = {ours: theirs for theirs, ours in _IN_BLOCK.items()}
_THIRDS = tuple(f"self_attn.{part}_proj" for part in "qkv")
_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)")


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    blocks = (_BLOCK.fullmatch(name) for name in state)
    depth = 1 + max(int(m[2]) for m in blocks if m and m[1] == prefix)
    if depth > len(state):
        raise ValueError(f"block {depth - 1} among {len(state)} tensors")
    return depth


def _rename(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    if name in _TOP:
        transposed = name in ("visual.proj", "text_projection")
        return [(_TOP[name], value.T.contiguous() if transposed else value)]
    match = _BLOCK.fullmatch(name)
    if match is None:
        return [(name, value)]
    tower = "vision_model" if match[1] == "visual." else "text_model"
    base = f"{tower}.encoder.layers.{match[2]}."
    if match[3].startswith("attn.in_proj_"):
        kind = match[3].removeprefix("attn.in_proj_")
        return [(f"{base}self_attn.{p}_proj.{kind}", part) for p, part in zip("qkv", value.chunk(3), strict=True)]
    stem, _, kind = match[3].rpartition(".")
    return [(f"{base}{_IN_BLOCK.get(stem, stem)}.{kind}", value)]
