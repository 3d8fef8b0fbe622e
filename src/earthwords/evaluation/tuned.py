"""CLIP-LoRA and CoOp: what learns from examples inside the towers, where vectors of images are not enough.

CLIP-LoRA (https://arxiv.org/abs/2405.18541) has one setting for all sets: rank 2 beside queries, keys and values of
both towers, 500 steps a shot of at most 32 random crops, cosines times 100. Its authors compute in half precision, here
it is single. CoOp (https://arxiv.org/abs/2109.01134) learns five vectors in the place of "a satellite photo of a".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from earthwords.archive.embed import ImagePreprocess, encoded_here, picture
from earthwords.errors import WeightsError
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.fewshot.coop import BATCH as COOP_BATCH
from earthwords.models.fewshot.coop import CONTEXT, EPOCHS, CoOp
from earthwords.models.fewshot.tip_adapter import batches
from earthwords.text.templates import fill
from earthwords.training.adapt import CLIP_LORA, add_lora, merge_lora
from earthwords.training.augment import resized_crop

RANK, STEPS_A_SHOT, MOST_SHOTS, BATCH = 2, 500, 16, 32
LR, LAST_LR, WEIGHT_DECAY = 2e-4, 1e-6, 1e-2
SCALE = 100.0
"""Of cosines, whatever the model's own is."""
CROP = (0.08, 1.0)
"""Share of a picture's area."""
_REMEMBERED = 256
"""Pictures kept in memory while they are learned from."""

Classifier = Callable[[NDArray[np.float32], Sequence[str | Path]], NDArray[np.float64]]
"""Vectors `(n, dim)` by the towers as they were, and the files, to logits `(n, class)`."""
Tick = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Towers:
    """A model, and how it sees pictures and words."""

    backbone: ClipBackbone
    preprocess: ImagePreprocess
    prompt: str
    """With `{}` for a class."""
    batch: int = 64
    """Pictures encoded at once."""


@dataclass(frozen=True, kw_only=True)
class Shots:
    """Pictures whose classes are known."""

    paths: Sequence[str | Path]
    vectors: NDArray[np.float32]
    """`(n, dim)` unit vectors by the towers as they are."""
    labels: NDArray[np.int64]
    """`(n,)`."""
    names: Sequence[str]
    """A word for each class, in English."""

    def weights(self) -> Tensor:
        """`(class,)`: every class counts the same."""
        return 1 / torch.bincount(torch.from_numpy(self.labels), minlength=len(self.names)).clamp(min=1).float()


def fit_clip_lora(
    towers: Towers, shots: Shots, *, seed: int = 0, tick: Tick = lambda done: None, steps: int | None = None
) -> Classifier:
    """Fit CLIP-LoRA to a copy of the towers.

    Args:
        tick: told the share of the fit done since the last call.
        steps: default: 500 a shot, of at most 16.
    """
    counts = np.bincount(shots.labels, minlength=len(shots.names))
    steps = STEPS_A_SHOT * min(MOST_SHOTS, int(np.ceil(counts.mean()))) if steps is None else steps
    tuned = copy.deepcopy(towers.backbone)
    sentences = [text for name in shots.names for text in fill([towers.prompt], name)]
    with torch.random.fork_rng():
        add_lora(tuned, rank=RANK, seed=seed, **CLIP_LORA)
        _learn(tuned, towers, shots, sentences, steps=steps, seed=seed, tick=tick)
    merge_lora(tuned)
    with torch.inference_mode():
        words = F.normalize(tuned.encode_text(sentences).float(), dim=1).cpu().numpy()

    def classify(vectors: NDArray[np.float32], paths: Sequence[str | Path]) -> NDArray[np.float64]:
        parts = [paths[i : i + towers.batch] for i in range(0, len(paths), towers.batch)]
        found = [np.empty((0, tuned.dim), np.float32), *encoded_here(tuned, towers.preprocess, parts)]
        logits: NDArray[np.float64] = SCALE * np.concatenate(found).astype(np.float64) @ words.T
        return logits

    return classify


def _learn(
    tuned: ClipBackbone, towers: Towers, shots: Shots, sentences: list[str], *, steps: int, seed: int, tick: Tick
) -> None:
    """The low-rank matrices, in place; nothing else is in training, as other layers may average over a batch."""
    from peft.tuners.lora import LoraLayer

    for module in tuned.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout.train()
    device, weights = tuned.device, shots.weights().to(tuned.device)
    labels, drawn = torch.from_numpy(shots.labels), torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        [p for p in tuned.parameters() if p.requires_grad], lr=LR, weight_decay=WEIGHT_DECAY
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=LAST_LR)
    read = lru_cache(_REMEMBERED)(lambda i: picture(shots.paths[i], towers.preprocess, tuned.mean))
    done = 0
    while done < steps:
        for rows in islice(batches(len(labels), drawn, BATCH), steps - done):
            views = [view(read(i), towers.preprocess.side, rng) for i in rows.tolist()]
            pixels = torch.from_numpy(np.stack(views)).to(device).permute(0, 3, 1, 2).float() / 255
            mean, std = (pixels.new_tensor(v)[None, :, None, None] for v in (tuned.mean, tuned.std))
            images = F.normalize(tuned.encode_image((pixels - mean) / std), dim=1)
            words = F.normalize(tuned.encode_text(sentences), dim=1)
            loss = F.cross_entropy(SCALE * images @ words.T, labels[rows].to(device), weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            tick(1 / steps)


def view(image: Image.Image, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`(side, side, 3)`: a random part of a picture, or its mirror image."""
    box = resized_crop(image.size, rng, area=CROP)
    found = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return found[:, ::-1] if rng.random() < 0.5 else found


def fit_coop(
    towers: Towers, shots: Shots, *, seed: int = 0, tick: Tick = lambda done: None, epochs: int | None = None
) -> Classifier:
    """Fit CoOp's context on the vectors of whole pictures; arguments as of `fit_clip_lora`.

    Raises:
        WeightsError: the model has no text tower.
    """
    backbone, epochs = copy.deepcopy(towers.backbone).requires_grad_(False), EPOCHS if epochs is None else epochs
    if backbone.tokenizer is None:
        raise WeightsError(f"{backbone.weights_id} has no tokenizer, so no context of words can be learned.")
    backbone.check_clip("CoOp")
    ids = torch.from_numpy(backbone.tokenizer([f"{CONTEXT} {name}." for name in shots.names])).to(backbone.device)
    lengths = [len(backbone.tokenizer.pieces(name)) for name in shots.names]
    first = ids[0, 1 : 1 + len(backbone.tokenizer.pieces(CONTEXT))]
    context = backbone.model.text_model.embeddings.token_embedding(first)
    fit = CoOp(backbone, ids, lengths, context, epochs=epochs, class_weights=shots.weights().to(backbone.device))
    features, labels = (torch.from_numpy(part).to(backbone.device) for part in (shots.vectors, shots.labels))
    drawn = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        for rows in batches(len(labels), drawn, COOP_BATCH):
            fit.step(features[rows], labels[rows], epoch=epoch)
        tick(1 / epochs)
    words = fit.words().detach().double().cpu().numpy()
    scale = backbone.logit_scale
    return lambda vectors, paths: scale * vectors @ words.T


TUNED: dict[str, Callable[..., Classifier]] = {"clip-lora": fit_clip_lora, "coop": fit_coop}
"""Each takes `(towers, shots, *, seed, tick)`."""
