"""Where weights come from: a table of published ones, and the cache."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import WeightsError, brief, unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import CLIPModel

    from earthwords.models.backbones.clip import ClipBackbone
    from earthwords.text.tokenizer import ClipTokenizer


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
    megabytes: int = 0
    kind: str = "clip"
    """`clip`, `upsampler` or `referring`."""
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
    "licence": "none stated for the weights",
    "paper": "https://arxiv.org/abs/2510.12764",
    "megabytes": 4,  # from the shapes of the tensors
    "kind": "upsampler",
    "method": "anyup",
}
_TINY_UPSAMPLERS = {
    "simfeatup": "https://arxiv.org/abs/2410.01768",
    "jbu": "https://arxiv.org/abs/2403.10516",
    "anyup": "https://arxiv.org/abs/2510.12764",
}
_OPENAI = {"paper": _CLIP_PAPER, "licence": "MIT"}

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
        WeightSpec(name="openai-vit-b-16", source="openai/clip-vit-base-patch16", megabytes=599, **_OPENAI),
        WeightSpec(name="openai-vit-b-32", source="openai/clip-vit-base-patch32", megabytes=605, **_OPENAI),
        WeightSpec(name="openai-vit-l-14", source="openai/clip-vit-large-patch14", megabytes=1711, **_OPENAI),
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
            note="trained on features of DINOv2, CLIP, SigLIP 2 and a supervised ViT",
            **_ANYUP_ROW,
        ),
        WeightSpec(
            name="anyup-paper",
            source=f"{_ANYUP}/checkpoint/anyup_paper.pth",
            note="trained on features of DINOv2 ViT-S/14",
            **_ANYUP_ROW,
        ),
    )
}

UPSAMPLER = "upsampler.safetensors"
"""The file that the training of an upsampler leaves in its folder."""

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".zip")
"""Of checkpoint files; any other dot may belong to a Hugging Face id, such as `metaclip-b16-fullcc2.5b`."""

Report = Callable[[int, int], None]
"""Told `(bytes done, bytes in all)` while a file comes; all is 0 when the server does not say."""


def cache_folder() -> Path:
    """`$EARTHWORDS_CACHE`, else `~/.cache/earthwords`."""
    return Path(os.environ.get("EARTHWORDS_CACHE") or Path.home() / ".cache" / "earthwords")


def find(name: str) -> WeightSpec:
    """The row of a known name; else a row for a local path or a Hugging Face id."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    if Path(name).exists():
        return WeightSpec(name=name, source=str(Path(name).resolve()), licence="yours", paper="")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.lower().endswith(_SUFFIXES):
        return WeightSpec(name=name, source=name, licence="see its model card", paper="")
    if "/" in name or Path(name).suffix:
        raise WeightsError(f"No checkpoint at {name}: give a folder, a file, a Hugging Face id or a name of `models`.")
    raise unknown("model", name, WEIGHTS)


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


def fetch(spec: WeightSpec, *, offline: bool = False, report: Report = lambda done, total: None) -> Path:
    """The local folder or file of these weights, downloaded once and verified.

    Raises:
        WeightsError: not in the cache and offline, unreachable, or of another sha256 than the row's.
    """
    if spec.source == "package":
        return Path(str(files("earthwords").joinpath("assets", str(spec.file))))
    if Path(spec.source).exists():
        return Path(spec.source)
    if spec.source.startswith(("http://", "https://", "file://")):
        return _from_url(spec, offline=offline, report=report)
    return _from_hub(spec, offline=offline)


def _from_hub(spec: WeightSpec, *, offline: bool) -> Path:
    import huggingface_hub as hub

    only = {"local_files_only": True} if offline else {}
    try:
        if spec.file is not None:
            file = Path(hub.hf_hub_download(spec.source, spec.file, **only))
            if spec.sha256 is not None:
                _check_hash(file, spec)
            return file
        patterns = ["*.json", "*.txt", "model*.safetensors"]
        folder = Path(hub.snapshot_download(spec.source, allow_patterns=patterns, **only))
        if not list(folder.glob("*.safetensors")):
            folder = Path(hub.snapshot_download(spec.source, allow_patterns=[*patterns, "pytorch_model*.bin"], **only))
        return folder
    except (OSError, ValueError) as error:
        how = "is not in the cache; run once without --offline" if offline else f"cannot be fetched ({brief(error)})"
        raise WeightsError(
            f"{spec.name} ({spec.source} on Hugging Face) {how}, or pass a local copy with --model PATH."
        ) from error


def _from_url(spec: WeightSpec, *, offline: bool, report: Report) -> Path:
    target = cache_folder() / "weights" / spec.name / spec.source.rsplit("/", 1)[-1]
    if target.exists():
        return _as_verified(target, spec)
    if offline:
        raise WeightsError(
            f"{spec.name} is not in {target.parent}; run once without --offline, or copy {spec.source} there."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(spec.source, timeout=60) as answer:
            _copy(answer, out, int(answer.headers.get("Content-Length") or 0), report)
        found = _check_hash(Path(part), spec)
        os.replace(part, target)
        _record(target, found)
    except (OSError, urllib.error.URLError) as error:
        raise WeightsError(f"{spec.name} cannot be fetched from {spec.source}: {brief(error)}.") from error
    finally:
        Path(part).unlink(missing_ok=True)
    return target


def _copy(answer: Any, out: Any, total: int, report: Report) -> None:
    done = 0
    while block := answer.read(1 << 20):
        out.write(block)
        done += len(block)
        report(done, total)
    if done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _check_hash(path: Path, spec: WeightSpec) -> str:
    """The file's sha256, which must be the row's if that has one."""
    found = _hash(path)
    if spec.sha256 not in (None, found):
        raise WeightsError(f"{spec.name}: sha256 of the file is {found}, expected {spec.sha256}; delete it and retry.")
    return found


def _as_verified(path: Path, spec: WeightSpec) -> Path:
    """A file of the cache, hashed again if its size or time is not what was recorded when it was last hashed.

    Raises:
        WeightsError: it is not what was downloaded, or not what the row says.
    """
    told = _told(path)
    expected = spec.sha256 or told.get("sha256")
    if expected is None or told == {"sha256": expected, **_stamp(path)}:
        return path
    found = _hash(path)
    if found != expected:
        raise WeightsError(
            f"{path} was cut or altered after its download (sha256 {found}, expected {expected}); "
            "delete it and run again."
        )
    _record(path, found)
    return path


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _told(path: Path) -> dict[str, Any]:
    """What `_record` wrote; empty if it is not there or not readable."""
    try:
        told = json.loads(_record_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _record(path: Path, sha256: str) -> None:
    """Best effort: without a record the file is hashed again next time."""
    with suppress(OSError):
        _record_of(path).write_text(json.dumps({"sha256": sha256, **_stamp(path)}), encoding="utf-8")


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified.json")


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
    from transformers import CLIPModel  # a name is looked up without any of this

    from earthwords.models.backbones.clip import ClipBackbone
    from earthwords.models.checkpoint import read_state
    from earthwords.models.convert import from_openai, is_openai, listed
    from earthwords.models.folder import load_folder

    spec = find(name)
    path = fetch(spec, offline=offline, report=report)
    if path.is_dir():
        backbone = load_folder(path, weights_id=spec.name)
    else:
        state = read_state(path)
        if not is_openai(state):
            raise WeightsError(f"{path} is not a CLIP with a ViT; first names: {listed(sorted(state))}.")
        model = from_openai(state, activation=activation or spec.activation or "quickgelu")
        tokenizer = None
        if isinstance(model, CLIPModel):
            tokenizer = _openai_tokenizer(model)
        backbone = ClipBackbone(model, tokenizer=tokenizer, weights_id=spec.name)
    return backbone.to(device)


def _openai_tokenizer(model: CLIPModel) -> ClipTokenizer | None:
    """CLIP's own, unless the model has another vocabulary; then nobody knows its words."""
    from earthwords.text.tokenizer import ClipTokenizer

    tokenizer = ClipTokenizer.openai(context=model.config.text_config.max_position_embeddings)
    return tokenizer if tokenizer.vocab_size == model.config.text_config.vocab_size else None


def load_upsampler_state(
    name: str, *, offline: bool = False, report: Report = lambda done, total: None
) -> dict[str, Tensor]:
    """The tensors of an upsampler checkpoint, by a name of the table, a file, or the folder of a training."""
    from earthwords.models.checkpoint import read_state
    from earthwords.models.convert import check_finite

    path = fetch(find(name), offline=offline, report=report)
    if path.is_dir():
        path = path / UPSAMPLER
        if not path.exists():
            raise WeightsError(f"There is no {UPSAMPLER} in {path.parent}; name a checkpoint file.")
    state = read_state(path)
    check_finite(state)
    return state
