"""Where weights come from: a table of published ones, and the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import WeightsError, unknown
from earthwords.files.paths import trouble
from earthwords.models.weights.download import Report
from earthwords.models.weights.fetch import cache_folder, fetch, fetch_tokenizer
from earthwords.models.weights.rows_clips import CLIPS
from earthwords.models.weights.rows_others import OTHERS
from earthwords.models.weights.rows_sam3 import PROMPTED
from earthwords.models.weights.rows_upsamplers import UPSAMPLERS
from earthwords.models.weights.soup_name import is_soup, parse_soup
from earthwords.models.weights.spec import WeightSpec
from earthwords.refer_presets import REFER_PRESETS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from earthwords.models.clip.config import TextConfig
    from earthwords.models.clip.model import ClipBackbone
    from earthwords.text.tokenizer import ClipTokenizer

__all__ = ["WEIGHTS", "WeightSpec", "cache_folder", "fetch", "fetch_tokenizer", "find", "load_clip"]

WEIGHTS: dict[str, WeightSpec] = {spec.name: spec for spec in (*CLIPS, *UPSAMPLERS, *OTHERS, *PROMPTED)}

UPSAMPLER = "upsampler.safetensors"
"""The file that the training of an upsampler leaves in its folder."""

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".zip")
"""Of checkpoint files; any other dot may belong to a Hugging Face id, such as `metaclip-b16-fullcc2.5b`."""


def find(name: str) -> WeightSpec:
    """The row of a known name; else a row for a local path or a Hugging Face id."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    if is_soup(name):
        return _soup_spec(name)
    if os.path.lexists(name) and not os.path.isfile(name) and not os.path.isdir(name):  # a link to nothing, a pipe
        raise WeightsError(f"Cannot read weights from {name}: it {trouble(name)}.")
    if Path(name).exists():
        return WeightSpec(name=name, source=str(Path(name).resolve()), licence="yours", paper="")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.lower().endswith(_SUFFIXES):
        return WeightSpec(name=name, source=name, licence="see its model card", paper="", gated=None)
    if "/" in name or Path(name).suffix:
        raise WeightsError(f"No checkpoint at {name}: give a folder, a file, a Hugging Face id or a name of `models`.")
    raise unknown("model", name, WEIGHTS)


def _soup_spec(name: str) -> WeightSpec:
    """Of a mean of checkpoints: what is known of all of them."""
    parts = [find(part) for part, _ in parse_soup(name)]
    licences = dict.fromkeys(part.licence for part in parts)
    gates = {part.gated for part in parts}
    return WeightSpec(
        name=name,
        source=name,
        licence="; ".join(licences),
        paper="https://arxiv.org/abs/2203.05482",
        megabytes=max(part.megabytes for part in parts),
        gated=True if True in gates else None if None in gates else False,
        note=f"a mean of {len(parts)} checkpoints",
    )


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
    """A CLIP from a name of the table, a Hugging Face id, a folder, a checkpoint file, or a mean of such (`soup:A,B`).

    Args:
        activation: of an OpenAI / open_clip state dict outside the table; QuickGELU by default.

    Raises:
        WeightsError, UsageError: unknown, unreachable, unreadable or unfitting weights.
    """
    # a name is looked up without any of this
    if is_soup(name):
        from earthwords.models.weights.soup import mixed

        find(name)
        share: dict[str, Any] = {"activation": activation, "offline": offline, "device": device, "report": report}
        return mixed(name, [(load_clip(part, **share), weight) for part, weight in parse_soup(name)])
    from earthwords.models.clip.convert import from_openai, is_openai, listed
    from earthwords.models.clip.model import ClipBackbone
    from earthwords.models.families import load_folder
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
