"""Where weights come from: a table of published ones, and the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import WeightsError, unknown
from earthwords.files.paths import trouble
from earthwords.models.weights.download import Report
from earthwords.models.weights.fetch import cache_folder, fetch, fetch_tokenizer
from earthwords.refer_presets import REFER_PRESETS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from earthwords.models.clip.config import TextConfig
    from earthwords.models.clip.model import ClipBackbone
    from earthwords.text.tokenizer import ClipTokenizer

__all__ = ["WEIGHTS", "WeightSpec", "cache_folder", "fetch", "fetch_tokenizer", "find", "load_clip"]


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """Published weights."""

    name: str
    source: str
    """A Hugging Face id, a URL, or `package` for weights that come with earthwords."""
    licence: str
    paper: str
    file: str | None = None
    """File in a Hugging Face repository, or in a zip; None: the whole folder in transformers' layout."""
    activation: str | None = None
    """`quickgelu` or `gelu` for OpenAI / open_clip state dicts, which do not say; None: not needed."""
    sha256: str | None = None
    """Of the file, as several users of it have recorded it; None: not known, then that of the download is kept."""
    hashed: str | None = None
    """In a folder: the file that `sha256` is of."""
    megabytes: int = 0
    kind: str = "clip"
    """`clip`, `upsampler`, `head` (of `models.aggregation`), `referring`, `vision` (`models.dino`) or `masks`
    (`models.sam`)."""
    method: str | None = None
    """Of an upsampler: the file of `models.upsamplers` that takes it when no weights are named; None: none does."""
    backbone: str | None = None
    """Of an upsampler: the row whose features it was trained on and is the default for; None: any backbone's."""
    note: str = ""


_SEGEARTH = "https://github.com/likyoo/SegEarth-OV/raw/main/simfeatup_dev/weights"
_SKY = "https://opendatasharing.s3.us-west-2.amazonaws.com/SkyScript/ckpt"
_CLIP_PAPER = "https://arxiv.org/abs/2103.00020"
_REMOTECLIP = {"source": "chendelong/RemoteCLIP", "paper": "https://arxiv.org/abs/2306.11029"}
_GEORSCLIP = {"source": "Zilun/GeoRSCLIP", "paper": "https://arxiv.org/abs/2306.11300", "licence": "CC BY 4.0"}
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
_OPENAI = {"paper": _CLIP_PAPER, "licence": "MIT"}
_SAM: dict[str, Any] = {"licence": "Apache-2.0", "paper": "https://arxiv.org/abs/2304.02643", "kind": "masks"}
_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything"

WEIGHTS: dict[str, WeightSpec] = {
    spec.name: spec
    for spec in (
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
            name="refseg-tiny",
            source="package",
            file="refseg-tiny",
            licence="research use (see docs/models/refseg-tiny.md)",
            paper="https://arxiv.org/abs/2501.06809",
            kind="referring",
            backbone="tiny",
            note="embedded; trained by us on `tiny`",
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
        WeightSpec(
            name="dino-vit-b-16",
            source="facebook/dino-vitb16",
            licence="Apache-2.0",
            paper="https://arxiv.org/abs/2104.14294",
            megabytes=343,
            kind="vision",
            note="no words: `change` compares dates with it",
        ),
        WeightSpec(
            name="dinov2-vit-b-14",
            source="facebook/dinov2-base",
            licence="Apache-2.0",
            paper="https://arxiv.org/abs/2304.07193",
            megabytes=346,
            kind="vision",
            note="no words: `change` compares dates with it",
        ),
        *(
            WeightSpec(name=f"sam-vit-{size[0]}", source=f"facebook/sam-vit-{size}", megabytes=megabytes, **_SAM)
            for size, megabytes in (("base", 375), ("large", 1250), ("huge", 2565))
        ),
        *(
            WeightSpec(
                name=f"sam-vit-{size}-authors",
                source=f"{_SAM_FILES}/sam_vit_{size}_{mark}.pth",
                sha256=sha256,
                megabytes=megabytes,
                note=f"the same weights as `sam-vit-{size}`, as their authors publish them",
                **_SAM,
            )
            for size, mark, megabytes, sha256 in (
                ("b", "01ec64", 375, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
                ("l", "0b3195", 1250, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
                ("h", "4b8939", 2565, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
            )
        ),
        *(
            WeightSpec(
                name=f"sam2.1-hiera-{size}",
                source=f"facebook/sam2.1-hiera-{size}",
                megabytes=megabytes,
                **{**_SAM, "paper": "https://arxiv.org/abs/2408.00714"},
            )
            for size, megabytes in (("tiny", 156), ("small", 184), ("base-plus", 324), ("large", 898))
        ),
    )
}

UPSAMPLER = "upsampler.safetensors"
"""The file that the training of an upsampler leaves in its folder."""

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".zip")
"""Of checkpoint files; any other dot may belong to a Hugging Face id, such as `metaclip-b16-fullcc2.5b`."""


def find(name: str) -> WeightSpec:
    """The row of a known name; else a row for a local path or a Hugging Face id."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    if os.path.lexists(name) and not os.path.isfile(name) and not os.path.isdir(name):  # a link to nothing, a pipe
        raise WeightsError(f"Cannot read weights from {name}: it {trouble(name)}.")
    if Path(name).exists():
        return WeightSpec(name=name, source=str(Path(name).resolve()), licence="yours", paper="")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.lower().endswith(_SUFFIXES):
        return WeightSpec(name=name, source=name, licence="see its model card", paper="")
    if "/" in name or Path(name).suffix:
        raise WeightsError(f"No checkpoint at {name}: give a folder, a file, a Hugging Face id or a name of `models`.")
    raise unknown("model", name, WEIGHTS)


def no_referrer(name: str) -> WeightsError:
    """The error for a referring model that is nowhere."""
    known = ", ".join(REFER_PRESETS)
    return WeightsError(f"No referring model at {name}: give a folder of `train refer`, or one of {known}.")


def upsampler_weights_for(method: str, backbone: str) -> str | None:
    """The row to take for an upsampler when none is named: of this backbone, else of any; the first one in the table.

    Args:
        method: a file of `models.upsamplers`.
        backbone: a name of the table, or the source of one; whatever else it is, only rows for any backbone fit.
    """
    rows = [spec for spec in WEIGHTS.values() if spec.kind == "upsampler" and spec.method == method]
    own = {backbone, *(spec.name for spec in WEIGHTS.values() if spec.source == backbone and spec.kind == "clip")}
    fitting = [spec for spec in rows if spec.backbone in own] or [spec for spec in rows if spec.backbone is None]
    return fitting[0].name if fitting else None


def load_clip(
    name: str,
    *,
    activation: str | None = None,
    offline: bool = False,
    device: str | torch.device = "cpu",
    report: Report = lambda done, total: None,
) -> ClipBackbone:
    """A CLIP from a name of the table, a Hugging Face id, a folder, or a checkpoint file.

    Args:
        activation: of an OpenAI / open_clip state dict outside the table; QuickGELU by default.

    Raises:
        WeightsError, UsageError: unknown, unreachable, unreadable or unfitting weights.
    """
    # a name is looked up without any of this
    from earthwords.models.clip.convert import from_openai, is_openai, listed
    from earthwords.models.clip.folder import load_folder
    from earthwords.models.clip.model import ClipBackbone
    from earthwords.models.weights.checkpoint import read_state

    spec = find(name)
    path = fetch(spec, offline=offline, report=report)
    if path.is_dir():
        backbone = load_folder(path, weights_id=spec.name)
    else:
        state = read_state(path)
        if not is_openai(state):
            raise WeightsError(f"{path} is not a CLIP with a ViT; first names: {listed(sorted(state))}.")
        model = from_openai(state, activation=activation or spec.activation or "quickgelu")
        text = model.config.text_config
        tokenizer = None if text is None else _openai_tokenizer(text)
        backbone = ClipBackbone(model, tokenizer=tokenizer, weights_id=spec.name)
    return backbone.to(device)


def _openai_tokenizer(text: TextConfig) -> ClipTokenizer | None:
    """CLIP's own, unless the model has another vocabulary; then nobody knows its words."""
    from earthwords.text.tokenizer import ClipTokenizer

    tokenizer = ClipTokenizer.openai(context=text.max_position_embeddings)
    return tokenizer if tokenizer.vocab_size == text.vocab_size else None


def load_upsampler_state(
    name: str, *, offline: bool = False, report: Report = lambda done, total: None
) -> dict[str, Tensor]:
    """The tensors of an upsampler checkpoint, by a name of the table, a file, or the folder of a training."""
    from earthwords.models.clip.convert import check_finite
    from earthwords.models.weights.checkpoint import read_state

    path = fetch(find(name), offline=offline, report=report)
    if path.is_dir():
        path = path / UPSAMPLER
        if not path.exists():
            raise WeightsError(f"There is no {UPSAMPLER} in {path.parent}; name a checkpoint file.")
    state = read_state(path)
    check_finite(state)
    return state
