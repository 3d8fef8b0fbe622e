"""The names of tensors in the checkpoint of SAM 3's authors, and those of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

PREFIX = "detector."
"""Of the part that looks at images; the rest follows things through videos."""
_RULES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^backbone\.vision_backbone\.trunk\.pos_embed$", "vision_encoder.backbone.embeddings.position_embeddings"),
        (
            r"^backbone\.vision_backbone\.trunk\.patch_embed\.proj\.",
            "vision_encoder.backbone.embeddings.patch_embeddings.projection.",
        ),
        (r"^backbone\.vision_backbone\.trunk\.ln_pre\.", "vision_encoder.backbone.layer_norm."),
        (r"^backbone\.vision_backbone\.trunk\.blocks\.", "vision_encoder.backbone.layers."),
        (r"^(vision_encoder\.backbone\.layers\.\d+)\.norm([12])\.", r"\1.layer_norm\2."),
        (r"^(vision_encoder\.backbone\.layers\.\d+)\.attn\.proj\.", r"\1.attention.o_proj."),
        (r"^(vision_encoder\.backbone\.layers\.\d+)\.attn\.", r"\1.attention."),
        (r"^backbone\.vision_backbone\.convs\.", "vision_encoder.neck.fpn_layers."),
        (r"\.dconv_2x2(?:_0)?\.", ".scale_layers.0."),
        (r"\.dconv_2x2_1\.", ".scale_layers.2."),
        (r"\.conv_1x1\.", ".proj1."),
        (r"\.conv_3x3\.", ".proj2."),
        (r"^backbone\.language_backbone\.resizer\.", "text_projection."),
        (r"^backbone\.language_backbone\.encoder\.text_projection$", "text_encoder.text_projection.weight"),
        (
            r"^backbone\.language_backbone\.encoder\.positional_embedding$",
            "text_encoder.text_model.embeddings.position_embedding.weight",
        ),
        (
            r"^backbone\.language_backbone\.encoder\.token_embedding\.",
            "text_encoder.text_model.embeddings.token_embedding.",
        ),
        (r"^backbone\.language_backbone\.encoder\.ln_final\.", "text_encoder.text_model.final_layer_norm."),
        (r"^backbone\.language_backbone\.encoder\.transformer\.resblocks\.", "text_encoder.text_model.encoder.layers."),
        (r"\.ln_([12])\.", r".layer_norm\1."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        (r"^(text_encoder\..*)\.attn\.", r"\1.self_attn."),
        (r"^geometry_encoder\.encode\.", "geometry_encoder.layers."),
        (r"^geometry_encoder\.img_pre_norm\.", "geometry_encoder.vision_layer_norm."),
        (r"^geometry_encoder\.norm\.", "geometry_encoder.prompt_layer_norm."),
        (r"^geometry_encoder\.encode_norm\.", "geometry_encoder.output_layer_norm."),
        (r"^transformer\.encoder\.", "detr_encoder."),
        (r"^transformer\.decoder\.", "detr_decoder."),
        (r"\.cross_attn_image\.", ".cross_attn."),
        (r"^((?:detr_encoder|geometry_encoder)\.layers\.\d+)\.norm([123])\.", r"\1.layer_norm\2."),
        (r"\.linear([12])\.", r".mlp.fc\1."),
        (r"^(detr_decoder\.layers\.\d+)\.cross_attn\.", r"\1.vision_cross_attn."),
        (r"^(detr_decoder\.layers\.\d+)\.ca_text\.", r"\1.text_cross_attn."),
        (r"^(detr_decoder\.layers\.\d+)\.catext_norm\.", r"\1.text_cross_attn_layer_norm."),
        (r"^(detr_decoder\.layers\.\d+)\.norm1\.", r"\1.vision_cross_attn_layer_norm."),
        (r"^(detr_decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
        (r"^(detr_decoder\.layers\.\d+)\.norm3\.", r"\1.mlp_layer_norm."),
        (r"^detr_decoder\.norm\.", "detr_decoder.output_layer_norm."),
        (r"^detr_decoder\.bbox_embed\.", "detr_decoder.box_head."),
        (r"^detr_decoder\.boxRPB_embed_([xy])\.", r"detr_decoder.box_rpb_embed_\1."),
        (r"^detr_decoder\.presence_token_head\.", "detr_decoder.presence_head."),
        (r"^detr_decoder\.presence_token_out_norm\.", "detr_decoder.presence_layer_norm."),
        (r"^segmentation_head\.pixel_decoder\.", "mask_decoder.pixel_decoder."),
        (r"^segmentation_head\.mask_predictor\.mask_embed\.", "mask_decoder.mask_embedder."),
        (r"^segmentation_head\.(instance|semantic)_seg_head\.", r"mask_decoder.\1_projection."),
        (r"^segmentation_head\.cross_attend_prompt\.", "mask_decoder.prompt_cross_attn."),
        (r"^segmentation_head\.cross_attn_norm\.", "mask_decoder.prompt_cross_attn_norm."),
        (r"^dot_prod_scoring\.prompt_mlp\.out_norm\.", "dot_product_scoring.text_mlp_out_norm."),
        (r"^dot_prod_scoring\.prompt_mlp\.", "dot_product_scoring.text_mlp."),
        (r"^dot_prod_scoring\.prompt_proj\.", "dot_product_scoring.text_proj."),
        (r"^dot_prod_scoring\.hs_proj\.", "dot_product_scoring.query_proj."),
    )
)
_LAYER = re.compile(r"^((?:detr_decoder\.\w+|dot_product_scoring\.text_mlp)\.)layers\.(\d+)\.(?=weight|bias)")
_WITHOUT = re.compile(r"freqs_cis|geometry_encoder\.points_")
"""What transformers' network does not have: rotations that it computes, and prompts by points."""
_TEXT = "text_encoder."


def is_sam3(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of SAM 3's authors, with or without what follows videos."""
    return any(name.removeprefix(PREFIX).startswith("backbone.vision_backbone.trunk.") for name in state)


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The detector's tensors under transformers' names; all that is not of it is left out."""
    whole = any(name.startswith(PREFIX) for name in state)
    own = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX) or not whole}
    return {new: value for name, old in own.items() for new, value in _renamed(name, old)}


def _renamed(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    if _WITHOUT.search(name):
        return
    for pattern, new in _RULES:
        name = pattern.sub(new, name)
    name = _LAYER.sub(lambda found: f"{found[1]}layer{int(found[2]) + 1}.", name)
    if name.endswith("embeddings.position_embeddings"):
        value = value[:, 1:]  # the first one is of a class token that there is not
    elif name == "text_encoder.text_projection.weight":
        value = value.T
    packed = re.fullmatch(r"(.*)\.(?:qkv\.|in_proj_)(weight|bias)", name)
    if packed is None:
        out = name if name.startswith(_TEXT) else name.replace(".out_proj.", ".o_proj.")
        yield out, value
        return
    for letter, part in zip("qkv", value.chunk(3), strict=True):
        yield f"{packed[1]}.{letter}_proj.{packed[2]}", part
