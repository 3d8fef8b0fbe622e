"""The authors' checkpoints of SAM 2 and 2.1 (`sam2.1_hiera_large.pt` and its like) as transformers' `Sam2Model`.

Names map one to one, but for the embeddings of points, which are rows of one table there; the memory for videos is
left out. Shapes tell most of the configuration; which blocks look at the whole image, and windows and heads, do not
show in them, so only the published sizes are known (`TRUNKS`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Sam2Config

from earthwords.errors import WeightsError
from earthwords.models.sam.author_names import DECODER, DECODER_HEADS

SIDE = 1024
"""Pixels a side of the published networks' square."""
POINTS = "prompt_encoder.point_embed.weight"
_MARK = "image_encoder.trunk.patch_embed.proj.weight"
_RULES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"^sam_prompt_encoder\.pe_layer\.\w+$", "shared_image_embedding.positional_embedding"),
        (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (r"patch_embed\.proj\.", "patch_embed.projection."),
        (r"mlp\.layers\.0\.", "mlp.proj_in."),
        (r"mlp\.layers\.1\.", "mlp.proj_out."),
        (r"\.out_proj\.", ".o_proj."),
        *DECODER,
    )
)  # fmt: skip
"""All that fit are used, in turn."""


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """An image encoder of the authors' configurations: what its tensors do not tell."""

    width: int
    """Channels of the first stage."""
    blocks: tuple[int, ...]
    """Of every stage."""
    whole: tuple[int, ...]
    """Blocks that look at the whole image."""
    windows: tuple[int, ...] = (8, 4, 14, 7)
    heads: int = 1
    """Of the first stage; twice as many in the next."""


TRUNKS: tuple[Trunk, ...] = (
    Trunk(width=96, blocks=(1, 2, 7, 2), whole=(5, 7, 9)),
    Trunk(width=96, blocks=(1, 2, 11, 2), whole=(7, 10, 13)),
    Trunk(width=112, blocks=(2, 3, 16, 3), whole=(12, 16, 20), heads=2),
    Trunk(width=144, blocks=(2, 6, 36, 4), whole=(23, 33, 43), windows=(8, 4, 16, 8), heads=2),
)
"""Tiny, small, base plus, large."""


def is_sam2(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the authors' checkpoints of SAM 2."""
    return _MARK in state and "sam_mask_decoder.iou_token.weight" in state


def from_authors2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors under transformers' names, with the memory for videos still under its own."""
    points = {name: value for name, value in state.items() if ".point_embeddings." in name}
    found = {_renamed(name): value for name, value in state.items() if name not in points}
    if points:
        found[POINTS] = torch.cat([points[name] for name in sorted(points)])
    return found


def _renamed(name: str) -> str:
    for pattern, new in _RULES:
        name = pattern.sub(new, name)
    return name


def authors_config2(
    state: Mapping[str, Tensor],
    *,
    trunks: tuple[Trunk, ...] = TRUNKS,
    side: int = SIDE,
    decoder_heads: int = DECODER_HEADS,
) -> Sam2Config:
    """The configuration of the authors' tensors.

    Args:
        trunks: sizes that are known.
        side: pixels a side of the network's square.
        decoder_heads: of the mask decoder.

    Raises:
        WeightsError: they are not those of a SAM 2, or of a size that is not known.
    """
    try:
        return Sam2Config(**_parts(state, trunks, side, decoder_heads))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise WeightsError(f"The checkpoint is no SAM 2 of the authors: {error} is missing or does not fit.") from error


def _parts(state: Mapping[str, Tensor], trunks: tuple[Trunk, ...], side: int, decoder_heads: int) -> dict[str, Any]:
    encoder, decoder = "image_encoder.trunk.", "sam_mask_decoder."
    widths = list[int]()
    while (bias := state.get(f"{encoder}blocks.{len(widths)}.attn.proj.bias")) is not None:
        widths.append(len(bias))
    stages = sorted(set(widths))
    blocks = tuple(widths.count(width) for width in stages)
    trunk = next((one for one in trunks if (one.width, one.blocks) == (stages[0] if stages else 0, blocks)), None)
    if trunk is None or [trunk.width * 2**i for i in range(len(stages))] != stages:
        raise WeightsError(
            f"The checkpoint is a SAM 2 of an unknown size (blocks {', '.join(map(str, blocks))} of {stages} "
            "channels); take a folder of transformers, such as facebook/sam2.1-hiera-large."
        )
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": trunk.width, "num_attention_heads": trunk.heads,
        "image_size": [side, side], "blocks_per_stage": list(blocks), "embed_dim_per_stage": stages,
        "num_attention_heads_per_stage": [trunk.heads * 2**i for i in range(len(stages))],
        "window_size_per_stage": list(trunk.windows), "global_attention_blocks": list(trunk.whole),
        "window_positional_embedding_background_size": list(state[f"{encoder}pos_embed"].shape[-2:]),
    }  # fmt: skip
    dim = len(state["image_encoder.neck.convs.0.conv.bias"])
    vision = {
        "backbone_config": backbone, "backbone_channel_list": stages[::-1], "fpn_hidden_size": dim,
        "backbone_feature_sizes": [[side // step] * 2 for step in (4, 8, 16)],
    }  # fmt: skip
    masks = {
        "hidden_size": dim,
        "mlp_dim": len(state[f"{decoder}transformer.layers.0.mlp.layers.0.bias"]),
        "num_attention_heads": decoder_heads,
        "num_multimask_outputs": len(state[f"{decoder}mask_tokens.weight"]) - 1,
        "iou_head_hidden_dim": len(state[f"{decoder}iou_prediction_head.layers.0.bias"]),
    }
    channels = len(state["sam_prompt_encoder.mask_downscaling.3.bias"])
    prompt = {"hidden_size": dim, "image_size": side, "mask_input_channels": channels}
    return {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": masks}
