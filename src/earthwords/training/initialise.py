"""The beginning and the end of a training: a fresh or loaded model, and the folder it is delivered in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import nn

from earthwords.data.manifests.captions import Manifest
from earthwords.errors import unknown
from earthwords.files.atomic import hidden_folder, writing
from earthwords.models.architectures import ARCHITECTURES, clip_config
from earthwords.models.clip.config import CONFIG
from earthwords.models.clip.convert import to_openai
from earthwords.models.clip.model import ClipBackbone, build_clip
from earthwords.models.weights.store import write_safetensors
from earthwords.models.weights.table import UPSAMPLER, load_clip
from earthwords.text.known_words import FILE as WORDS
from earthwords.text.tokenizer import ClipTokenizer


def start(
    manifest: Manifest, *, architecture: str, model: str | None, seed: int, offline: bool = False
) -> ClipBackbone:
    """The model to train: `model`'s weights, or a fresh `architecture` with a vocabulary learned from the words."""
    if model is not None:
        backbone = load_clip(model, offline=offline)
        if backbone.words is not None:  # a CLIP of others knows more words than can be counted here
            backbone.words = manifest.words().joined(backbone.words)
        return backbone
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    row = ARCHITECTURES[architecture]
    context = row["text"]["max_position_embeddings"]
    tokenizer = ClipTokenizer.train(manifest.sentences, vocab_size=row["vocab_size"], context=context)
    torch.manual_seed(seed)
    clip = build_clip(clip_config(architecture, vocab_size=tokenizer.vocab_size))
    clip = clip.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ClipBackbone(clip, tokenizer=tokenizer, weights_id=architecture, words=manifest.words())


def attend_eagerly(model: nn.Module) -> None:
    """Networks of transformers, in training: on short sequences this is faster than the fused kernel's gradient."""
    for part in model.modules():
        config = getattr(part, "config", None)
        if config is not None and hasattr(config, "_attn_implementation"):
            config._attn_implementation = "eager"


def store_upsampler(upsampler: nn.Module, folder: Path, *, metadata: dict[str, str]) -> Path:
    """Write `upsampler.safetensors` under the authors' names; `metadata` goes into its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / UPSAMPLER, upsampler.state_dict(), about={"format": "pt", **metadata})
    return folder / UPSAMPLER


MODEL = "model.safetensors"
OPEN_CLIP = "open_clip_model.safetensors"
FOLDER = (CONFIG, MODEL, "preprocessor_config.json", "vocab.json", "merges.txt")
"""The files of a transformers folder."""


def store(
    backbone: ClipBackbone, folder: Path, *, dtype: torch.dtype = torch.float32, layout: str = "transformers"
) -> None:
    """Write a trained CLIP.

    Args:
        dtype: of the file: float16 halves it, and is read back as float32.
        layout: `transformers`, a folder with config, safetensors, tokenizer and image statistics; `open_clip`, the one
            file `open_clip_model.safetensors` under open_clip's names; or `both`.

    Raises:
        WeightsError: open_clip has no such architecture.
    """
    if layout != "transformers":
        named = to_openai(backbone.model.state_dict())
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.to(dtype) for name, value in named.items()}
        write_safetensors(folder / OPEN_CLIP, tensors, about={"format": "pt"})
    if layout != "open_clip":
        _store_folder(backbone, folder, dtype)


def check_layout(backbone: ClipBackbone, layout: str) -> None:
    """Raises `WeightsError` if `store` could not write `layout`, before hours of training."""
    if layout != "transformers":
        to_openai(backbone.model.state_dict())


def _store_folder(backbone: ClipBackbone, folder: Path, dtype: torch.dtype) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with hidden_folder(folder / MODEL) as part, writing(folder):
        settings = json.dumps(backbone.model.config.as_json(), indent=2) + "\n"
        (part / CONFIG).write_text(settings, encoding="utf-8")
        state = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in backbone.model.state_dict().items()
        }
        write_safetensors(part / MODEL, state, about={"format": "pt"})
        statistics = {"image_mean": list(backbone.mean), "image_std": list(backbone.std)}
        text = json.dumps(statistics, indent=2) + "\n"
        (part / "preprocessor_config.json").write_text(text, encoding="utf-8")
        if backbone.words is not None:
            (part / WORDS).write_text(json.dumps(backbone.words.plain(), indent=1) + "\n", encoding="utf-8")
        if isinstance(backbone.tokenizer, ClipTokenizer):
            backbone.tokenizer.save(part)
        for path in sorted(part.iterdir(), key=lambda path: path.name == MODEL):  # what all of it is for comes last
            os.replace(path, folder / path.name)
