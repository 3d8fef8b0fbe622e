"""The authors' checkpoints of SAM (`sam_vit_h_4b8939.pth` and its like) as transformers' `SamModel`.

Names map one to one; the matrix of positions goes to two places. The shapes tell the configuration, all but the heads
of the mask decoder, of which the published ones have 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import SamConfig

from earthwords.errors import WeightsError

DECODER_HEADS = 8
ALSO = "prompt_encoder.shared_embedding.positional_embedding"
"""The other place of the positions."""
_POSITIONS = "shared_image_embedding.positional_embedding"
_MATRIX = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_MARK = "image_encoder.patch_embed.proj.weight"
DECODER = (
    (r"mask_downscaling\.([036])\.", lambda m: f"mask_embed.conv{int(m[1]) // 3 + 1}."),
    (r"mask_downscaling\.([14])\.", lambda m: f"mask_embed.layer_norm{int(m[1]) // 3 + 1}."),
    (r"output_upscaling\.([03])\.", lambda m: f"upscale_conv{int(m[1]) // 3 + 1}."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"norm_final_attn\.", "layer_norm_final_attn."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head|obj_score_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head|obj_score_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head|obj_score_head)\.layers\.2\.", r"\1.proj_out."),
)
"""Names of the mask decoder and of the blocks, of SAM and SAM 2 alike."""
_RULES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^image_encoder\.neck\.([02])", lambda m: f"vision_encoder.neck.conv{int(m[1]) // 2 + 1}"),
        (r"^image_encoder\.neck\.([13])", lambda m: f"vision_encoder.neck.layer_norm{(int(m[1]) + 1) // 2}"),
        (r"^image_encoder\.", "vision_encoder."),
        (r"\.blocks\.", ".layers."),
        (r"patch_embed\.proj\.", "patch_embed.projection."),
        (rf"^{re.escape(_MATRIX)}", _POSITIONS),
        (r"point_embeddings\.", "point_embed."),
        *DECODER,
    )
)  # fmt: skip
"""All that fit are used, in turn."""


def is_sam(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the authors' checkpoints."""
    return _MARK in state and "mask_decoder.iou_token.weight" in state


def to_transformers(name: str) -> str:
    """A name of the authors as transformers has it."""
    for pattern, new in _RULES:
        name = pattern.sub(new, name)
    return name


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors under transformers' names."""
    found = {to_transformers(name): value for name, value in state.items()}
    return with_positions(found)


def with_positions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Transformers' tensors with the positions at both places."""
    shared = state.get(_POSITIONS)
    return dict(state) if shared is None or ALSO in state else {**state, ALSO: shared}


def authors_config(state: Mapping[str, Tensor], *, decoder_heads: int = DECODER_HEADS) -> SamConfig:
    """The configuration that the shapes of the authors' tensors tell.

    Raises:
        WeightsError: they are not those of a SAM.
    """
    try:
        return SamConfig(**_parts(state, decoder_heads))
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"The checkpoint is no SAM of the authors: {error} is missing or does not fit.") from error


def _parts(state: Mapping[str, Tensor], decoder_heads: int) -> dict[str, dict[str, Any]]:
    encoder, decoder = "image_encoder.", "mask_decoder."
    patch = state[_MARK].shape[-1]
    _, grid, _, width = state[f"{encoder}pos_embed"].shape
    tables: dict[int, Tensor] = {}
    for name, value in state.items():
        if match := re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h", name):
            tables[int(match[1])] = value
    whole = [i for i, table in sorted(tables.items()) if len(table) == 2 * grid - 1]
    windows = {(len(table) + 1) // 2 for i, table in tables.items() if i not in whole}
    if not tables or len(windows) > 1 or sorted(tables) != list(range(len(tables))):
        raise ValueError("attention of the image encoder")
    dim, square = state[f"{encoder}neck.0.weight"].shape[0], grid * patch
    vision = {
        "hidden_size": width,
        "output_channels": dim,
        "num_hidden_layers": len(tables),
        "num_attention_heads": width // tables[0].shape[1],
        "image_size": square,
        "patch_size": patch,
        "window_size": windows.pop() if windows else 0,
        "global_attn_indexes": whole,
        "mlp_dim": state[f"{encoder}blocks.0.mlp.lin1.weight"].shape[0],
        "num_pos_feats": state[_MATRIX].shape[1],
    }
    prompt = {
        "hidden_size": dim,
        "image_size": square,
        "patch_size": patch,
        "mask_input_channels": state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    }
    masks = {
        "hidden_size": dim,
        "mlp_dim": state[f"{decoder}transformer.layers.0.mlp.lin1.weight"].shape[0],
        "num_attention_heads": decoder_heads,
        "num_multimask_outputs": state[f"{decoder}mask_tokens.weight"].shape[0] - 1,
        "iou_head_hidden_dim": state[f"{decoder}iou_prediction_head.layers.0.weight"].shape[0],
    }
    return {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": masks}
