"""What learns from examples inside the towers: CLIP-LoRA and CoOp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax

from earthwords.archive.embed import encode_batch, preprocess_for
from earthwords.evaluation import tuned
from earthwords.evaluation.tuned import TUNED, Shots, Towers, fit_clip_lora
from earthwords.models.clip.model import ClipBackbone
from earthwords.training.augment import resized_crop
from tests.micro import micro_clip

NAMES = ("road", "water", "trees")
COLOURS = np.array([[200, 40, 60], [60, 40, 200], [40, 200, 60]])


@pytest.fixture(scope="module")
def backbone() -> ClipBackbone:
    return micro_clip()


def _pictures(folder: Path, counts: tuple[int, ...], seed: int) -> tuple[list[Path], np.ndarray]:
    """Wider than tall; a colour a class, which no word of a random model knows."""
    rng, paths = np.random.default_rng(seed), []
    labels = np.repeat(np.arange(3), counts)
    for i, label in enumerate(labels):
        noise = rng.integers(-40, 41, (48, 64, 3))
        paths.append(folder / f"{seed}-{i}.png")
        Image.fromarray(np.clip(COLOURS[label] + noise, 0, 255).astype(np.uint8)).save(paths[-1])
    return paths, labels


@pytest.mark.parametrize(("method", "much"), [("clip-lora", {"steps": 40}), ("coop", {"epochs": 60})])
def test_towers_learn_what_words_do_not_tell(
    method: str, much: dict[str, int], backbone: ClipBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "LR", 1e-2)  # the authors' rate takes 500 steps a shot
    towers = Towers(backbone=backbone, preprocess=preprocess_for(backbone, side=32), prompt="a photo of {}.", batch=4)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    paths, labels = _pictures(tmp_path, (5, 3, 4), seed=1)
    others, truth = _pictures(tmp_path, (4, 6, 3), seed=2)
    known, new = (encode_batch(backbone, towers.preprocess, some) for some in (paths, others))
    shots = Shots(paths=paths, vectors=known, labels=labels, names=NAMES)
    told: list[float] = []
    logits = TUNED[method](towers, shots, seed=3, tick=told.append, **much)(new, others)
    with torch.inference_mode():
        words = torch.nn.functional.normalize(backbone.encode_text([f"a photo of {n}." for n in NAMES]), dim=1)
    losses = [-log_softmax(each, axis=1)[np.arange(13), truth].mean() for each in (100 * new @ words.numpy().T, logits)]
    print(method, losses, (logits.argmax(axis=1) == truth).mean())
    assert logits.shape == (13, 3) and sum(told) == pytest.approx(1)
    assert losses[1] < 0.5 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items()), "a copy learns"
    assert all(value.requires_grad for value in backbone.parameters())


def test_a_draw_is_the_same_again_and_no_step_is_the_words(backbone: ClipBackbone, tmp_path: Path) -> None:
    preprocess = preprocess_for(backbone, side=32)
    towers = Towers(backbone=backbone, preprocess=preprocess, prompt="a photo of {}.")
    paths, labels = _pictures(tmp_path, (2, 2, 2), seed=1)
    vectors = encode_batch(backbone, preprocess, paths)
    shots = Shots(paths=paths, vectors=vectors, labels=labels, names=NAMES)
    state = torch.get_rng_state()
    found = [fit_clip_lora(towers, shots, seed=seed, steps=3)(vectors, paths) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-4
    with torch.inference_mode():
        words = torch.nn.functional.normalize(backbone.encode_text([f"a photo of {n}." for n in NAMES]), dim=1)
    untouched = fit_clip_lora(towers, shots, steps=0)(vectors, paths)
    np.testing.assert_allclose(untouched, 100 * vectors @ words.numpy().T, atol=1e-3)


def test_crops_have_the_area_and_shape_that_are_asked_for() -> None:
    """As torchvision's RandomResizedCrop: shares of the area are uniform, logarithms of the ratio too."""
    rng, wide, tall = np.random.default_rng(0), 300, 200
    boxes = np.array([resized_crop((wide, tall), rng, area=(0.08, 0.5)) for _ in range(4000)])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= wide).all() and (boxes[:, 3] <= tall).all()
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    share, ratio = width * height / (wide * tall), np.log(width / height)
    assert 0.075 < share.min() < 0.09 and 0.47 < share.max() < 0.51 and share.mean() == pytest.approx(0.29, abs=0.01)
    assert np.abs(ratio).max() < np.log(4 / 3) + 0.03 and abs(ratio.mean()) < 0.01
    assert boxes[:, 0].max() > 180 and boxes[:, 1].max() > 110, "anywhere"
    assert resized_crop((900, 9), rng, area=(0.9, 1.0)) == (444, 0, 456, 9), "the middle, where none fits"
