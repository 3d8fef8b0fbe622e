"""A random CLIP of toy size whose words and pixels differ enough to give a map with many classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from earthwords.models.architectures import clip_config
from earthwords.models.clip.config import ClipConfig
from earthwords.models.clip.conv_trunk import build_trunk
from earthwords.models.clip.convert import filled
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.clip.towers import Clip
from earthwords.text.templates import TEMPLATES, fill
from earthwords.text.tokenizer import END, START, WORD_END, ClipTokenizer
from earthwords.training.initialise import store

WORDS = ("building", "roof", "road", "water", "trees", "bare land")


def micro_clip(*, seed: int = 35, spread: float = 0.2) -> ClipBackbone:
    """Architecture `micro` with random weights, centred so that neither tower prefers one direction."""
    prompts = [prompt for word in WORDS for prompt in fill(TEMPLATES["aerial"], word)]
    tokenizer = tokenizer_of(prompts)
    torch.manual_seed(seed)
    clip = _drawn(clip_config("micro", vocab_size=tokenizer.vocab_size))
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    backbone = ClipBackbone(clip, tokenizer=tokenizer, weights_id="micro").eval()
    pixels = (torch.from_numpy(patchwork(128, 192)).permute(2, 0, 1)[None] / 255 - 0.45) / 0.27
    with torch.inference_mode(False), torch.no_grad():
        _centre(clip.vision_model.post_layernorm, lambda: backbone.encode_dense(pixels, DenseMethod()))
        _centre(clip.text_model.final_layer_norm, lambda: backbone.encode_text(prompts))
    return backbone


def _drawn(config: ClipConfig) -> Clip:
    """Weights as transformers draws them, for which the figures that the tests expect were chosen."""
    model = CLIPModel(CLIPConfig.from_dict(config.as_json()))
    trunk = config.vision_config.trunk
    assert trunk is not None
    embeddings: Any = model.vision_model.embeddings
    embeddings.patch_embedding = build_trunk(**trunk, dim=config.vision_config.hidden_size)
    return filled(config, model.state_dict())


def write_micro(folder: Path, *, seed: int = 35) -> Path:
    """The same as a folder for `--model`."""
    store(micro_clip(seed=seed), folder)
    return folder


def patchwork(height: int, width: int, *, seed: int = 4) -> NDArray[np.uint8]:
    """`(row, col, 3)`: blocks of 10 pixels of random colours with noise, 1..255."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (-(-height // 10), -(-width // 10), 3))
    image = np.kron(blocks, np.ones((10, 10, 1), int))[:height, :width]
    return np.clip(image + rng.integers(-20, 21, image.shape), 1, 255).astype(np.uint8)


def tokenizer_of(texts: Sequence[str], *, context: int = 24) -> ClipTokenizer:
    """Each word of the texts in one piece, any other ASCII text in letters; the same in every run."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    merges: dict[tuple[str, str], None] = {}
    for word in sorted({word for text in texts for word in text.split()}):
        first, *rest = [*word[:-1], word[-1] + WORD_END]
        for part in rest:
            merges[first, part] = None
            first += part
    symbols = dict.fromkeys([*letters, *(s + WORD_END for s in letters), *map("".join, merges), START, END])
    return ClipTokenizer({symbol: i for i, symbol in enumerate(symbols)}, list(merges), context=context)


def _centre(norm: nn.Module, run: object) -> None:
    """Take the mean of what the layer gives off its bias."""
    seen: list[Tensor] = []
    hook = norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    run()  # type: ignore[operator]
    hook.remove()
    norm.bias.sub_(seen[0].flatten(0, -2).mean(dim=0))
