"""Rows of dual encoders: CLIPs and SigLIPs."""

from __future__ import annotations

from typing import Any

from earthwords.models.weights.spec import WeightSpec

_SKY = "https://opendatasharing.s3.us-west-2.amazonaws.com/SkyScript/ckpt"
_REMOTECLIP: dict[str, Any] = {"source": "chendelong/RemoteCLIP", "paper": "https://arxiv.org/abs/2306.11029"}
_GEORSCLIP: dict[str, Any] = {
    "source": "Zilun/GeoRSCLIP",
    "paper": "https://arxiv.org/abs/2306.11300",
    "licence": "CC BY 4.0",
}
_OPENAI: dict[str, Any] = {"paper": "https://arxiv.org/abs/2103.00020", "licence": "MIT"}

_SIGLIP2: dict[str, Any] = {
    "licence": "Apache-2.0",
    "paper": "https://arxiv.org/abs/2502.14786",
    "note": "many languages; the file was never seen here",
}
_SIGLIP2_SIZES = {
    **{f"base-patch16-{side}": 1501 for side in (224, 256, 384, 512)},
    "base-patch32-256": 1507,
    **{f"large-patch16-{side}": 3526 for side in (256, 384, 512)},
    **{f"so400m-patch14-{side}": 4542 for side in (224, 384)},
    **{f"so400m-patch16-{side}": 4544 for side in (256, 384, 512)},
    **{f"giant-opt-patch16-{side}": 7485 for side in (256, 384)},
    "base-patch16-naflex": 1501,
    "so400m-patch16-naflex": 4544,
}
"""Names at the hub, with megabytes."""

_METACLIP2: dict[str, Any] = {
    "licence": "CC BY-NC 4.0 (that of MetaCLIP; see its model card)",
    "paper": "https://arxiv.org/abs/2507.22062",
    "any_language": True,
    "note": "300 languages: Chinese words are read as they are; the file was never seen here",
}
_METACLIP2_SIZES = {
    "worldwide-s16": 1560,
    "worldwide-m16": 2150,
    "worldwide-b16": 2345,
    "worldwide-b32": 2350,
    "worldwide-l14": 4330,
    "worldwide-huge-quickgelu": 7430,
}
"""Names at the hub, with megabytes (roughly)."""

CLIPS: tuple[WeightSpec, ...] = (
    WeightSpec(
        name="tiny",
        source="package",
        file="tiny",
        licence="research use (see docs/models/tiny.md)",
        paper="",
        note="embedded; trained by us from scratch",
    ),
    WeightSpec(
        name="openai-vit-b-16",
        source="openai/clip-vit-base-patch16",
        hashed="pytorch_model.bin",
        sha256="ec89c7b09c749a60aae3c9cd910516f24b58214a7df060b48962d14c469cfbf0",
        megabytes=599,
        **_OPENAI,
    ),
    WeightSpec(
        name="openai-vit-b-32",
        source="openai/clip-vit-base-patch32",
        hashed="pytorch_model.bin",
        sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        megabytes=605,
        **_OPENAI,
    ),
    WeightSpec(
        name="openai-vit-l-14",
        source="openai/clip-vit-large-patch14",
        hashed="model.safetensors",
        sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        megabytes=1711,
        **_OPENAI,
    ),
    WeightSpec(
        name="laion-vit-b-16",
        source="laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
        file="open_clip_pytorch_model.bin",
        activation="gelu",
        licence="MIT",
        paper="https://arxiv.org/abs/2212.07143",
        megabytes=599,
    ),
    WeightSpec(
        name="metaclip-vit-b-16",
        source="facebook/metaclip-b16-fullcc2.5b",
        licence="CC BY-NC 4.0",
        paper="https://arxiv.org/abs/2309.16671",
        megabytes=599,
    ),
    WeightSpec(
        name="remoteclip-vit-b-32",
        file="RemoteCLIP-ViT-B-32.pt",
        sha256="60014e395d930a3f2963d1d89c8522bf4ad56775571e4356e866864789af85c4",
        activation="quickgelu",
        licence="none stated for the weights",
        megabytes=605,
        **_REMOTECLIP,
    ),
    WeightSpec(
        name="remoteclip-vit-l-14",
        file="RemoteCLIP-ViT-L-14.pt",
        activation="quickgelu",
        licence="none stated for the weights",
        megabytes=1711,
        **_REMOTECLIP,
    ),
    WeightSpec(
        name="alignearth-sar-vit-b-16",
        source="likyoo/AlignEarth-SAR-ViT-B-16",
        file="checkpoint/AlignEarth-SAR-ViT-B-16.pt",
        activation="gelu",
        licence="see its model card",
        paper="https://arxiv.org/abs/2508.18067",
        megabytes=599,
        note="radar images in CLIP's space; GELU as its authors' loader builds it, the file was never seen",
    ),
    WeightSpec(
        name="georsclip-vit-b-32",
        file="ckpt/RS5M_ViT-B-32.pt",
        activation="quickgelu",
        megabytes=605,
        **_GEORSCLIP,
    ),
    WeightSpec(
        name="georsclip-vit-l-14",
        file="ckpt/RS5M_ViT-L-14.pt",
        activation="quickgelu",
        megabytes=1711,
        **_GEORSCLIP,
    ),
    WeightSpec(
        name="georsclip-vit-h-14",
        file="ckpt/RS5M_ViT-H-14.pt",
        activation="gelu",
        megabytes=3944,
        **_GEORSCLIP,
    ),
    WeightSpec(
        name="skyclip-vit-b-32",
        source=f"{_SKY}/SkyCLIP_ViT_B32_top50pct.zip",
        activation="gelu",
        licence="none stated for the weights",
        paper="https://arxiv.org/abs/2312.12856",
        note="began from LAION's ViT-B-32, hence GELU",
    ),
    WeightSpec(
        name="skyclip-vit-l-14",
        source=f"{_SKY}/SkyCLIP_ViT_L14_top50pct.zip",
        activation="quickgelu",
        licence="none stated for the weights",
        paper="https://arxiv.org/abs/2312.12856",
        note="began from OpenAI's ViT-L-14, hence QuickGELU",
    ),
    WeightSpec(
        name="skyclip-vit-l-14-top30pct",
        source=f"{_SKY}/SkyCLIP_ViT_L14_top30pct.zip",
        activation="quickgelu",
        licence="none stated for the weights",
        paper="https://arxiv.org/abs/2312.12856",
        note="as `skyclip-vit-l-14`, from the 30 instead of 50 percent of pairs that fit best",
    ),
    *(
        WeightSpec(
            name=f"farslip-s{stage}-vit-b-{patch}",
            source="ZhenShiL/FarSLIP",
            file=f"FarSLIP{stage}_ViT-B-{patch}.pt",
            activation="quickgelu",
            licence="see its model card",
            paper="https://arxiv.org/abs/2511.14901",
            megabytes=megabytes,
            note=f"after stage {stage}; names and QuickGELU are those of its README, the file was never seen",
        )
        for stage in (1, 2)
        for patch, megabytes in ((16, 599), (32, 605))
    ),
    *(
        WeightSpec(name=f"siglip2-{size}", source=f"google/siglip2-{size}", megabytes=megabytes, **_SIGLIP2)
        for size, megabytes in _SIGLIP2_SIZES.items()
    ),
    *(
        WeightSpec(name=f"metaclip-2-{size}", source=f"facebook/metaclip-2-{size}", megabytes=megabytes, **_METACLIP2)
        for size, megabytes in _METACLIP2_SIZES.items()
    ),
)
