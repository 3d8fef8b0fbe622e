"""Rows of upsamplers of features."""

from __future__ import annotations

from typing import Any

from earthwords.models.weights.spec import WeightSpec

_SEGEARTH = "https://github.com/likyoo/SegEarth-OV/raw/main/simfeatup_dev/weights"
_ANYUP = "https://github.com/wimmerth/anyup/releases/download"
_ANYUP_ROW: dict[str, Any] = {
    "licence": "CC BY 4.0",
    "paper": "https://arxiv.org/abs/2510.12764",
    "megabytes": 4,
    "kind": "upsampler",
    "method": "anyup",
}
_TINY_UPSAMPLERS = {
    "simfeatup": "https://arxiv.org/abs/2410.01768",
    "jbu": "https://arxiv.org/abs/2403.10516",
    "anyup": "https://arxiv.org/abs/2510.12764",
}

UPSAMPLERS: tuple[WeightSpec, ...] = (
    WeightSpec(
        name="simfeatup-million-aid",
        source=f"{_SEGEARTH}/xclip_jbu_one_million_aid.ckpt",
        sha256="cabc594d0042535f3413ac89d5f0b8b3173aecf18e2e469fb91b015ea4de49d8",
        licence="none stated for the weights",
        paper="https://arxiv.org/abs/2410.01768",
        megabytes=6,
        kind="upsampler",
        method="simfeatup",
        backbone="openai-vit-b-16",
    ),
    WeightSpec(
        name="featup-clip",
        source=f"{_SEGEARTH}/clip_jbu_stack_cocostuff.ckpt",
        sha256="38ce7487c648d01cf37beb005f464410c498008fea03e6a68a269d79e4e29622",
        licence="MIT",
        paper="https://arxiv.org/abs/2403.10516",
        megabytes=4,
        kind="upsampler",
        method="jbu",
        backbone="openai-vit-b-16",
    ),
    WeightSpec(
        name="featup-maskclip",
        source=f"{_SEGEARTH}/maskclip_jbu_stack_cocostuff.ckpt",
        sha256="1412eba0a7d08ba0dbe140afdaf479ad819e00bacf5e229ea7446d948637d787",
        licence="MIT",
        paper="https://arxiv.org/abs/2403.10516",
        megabytes=4,
        kind="upsampler",
    ),
    *(
        WeightSpec(
            name=f"tiny-{method}",
            source="package",
            file=f"tiny-upsamplers/{method}.safetensors",
            licence="research use (see docs/models/tiny.md)",
            paper=paper,
            kind="upsampler",
            method=method,
            backbone="tiny",
            note="embedded; trained by us for `tiny`",
        )
        for method, paper in _TINY_UPSAMPLERS.items()
    ),
    WeightSpec(
        name="anyup-multi-backbone",
        source=f"{_ANYUP}/checkpoint_v2/anyup_multi_backbone.pth",
        sha256="b6cc407da8986c7e5c9098e61f7531767a9aca8fff20a1bc6c99d488e61aac59",
        note="trained on features of DINOv2, CLIP, SigLIP 2 and a supervised ViT",
        **_ANYUP_ROW,
    ),
    WeightSpec(
        name="anyup-paper",
        source=f"{_ANYUP}/checkpoint/anyup_paper.pth",
        sha256="9d035c0f27114a6f32bdd3d8ed93b6cd39dad4b8f8bf94e69fddbfbf022901b2",
        note="trained on features of DINOv2 ViT-S/14",
        **_ANYUP_ROW,
    ),
    WeightSpec(
        name="naf-release",
        source="https://github.com/valeoai/NAF/releases/download/model/naf_release.pth",
        licence="Apache-2.0",
        paper="https://arxiv.org/abs/2511.18452",
        megabytes=3,
        kind="upsampler",
        method="naf",
        note="trained on features of DINOv3 ViT-B/16; for features of any backbone",
    ),
)
