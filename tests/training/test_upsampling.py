"""Training of the joint bilateral upsamplers: the cheap way equals the authors', and what is learned generalises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.upsamplers.jbu import Jbu, JbuStack
from earthwords.models.upsamplers.simfeatup import JbuOne
from earthwords.training.loop import Schedule, train
from earthwords.training.teacher import Teacher
from earthwords.training.upsampling import Student, UpsamplingBatch, UpsamplingSettings, UpsamplingTask

PATCH, DIM = 8, 24
SMALL = UpsamplingSettings(side=48, batch=2, jitters=2, max_pad=8, projection=10, content_rows=48)
LEARN = Schedule(
    steps=60, lr=5e-3, warmup=0, decays=False, optimizer="nadam", weight_decay=0, beta2=0.999, clip_norm=1e9, ema=0
)


def teacher(dim: int = DIM) -> Teacher:
    """Features are a function of colour, averaged over patches: fine features exist, and the image tells them."""
    mixer = torch.randn(dim, 3, generator=torch.Generator().manual_seed(3))

    def encode(images: Tensor) -> Tensor:
        return F.avg_pool2d(torch.tanh(torch.einsum("dc,bchw->bdhw", mixer, images)), PATCH)

    return Teacher(name="colours", patch=PATCH, dim=dim, mean=(0.5,) * 3, std=(0.25,) * 3, encode=encode)


def blobs(rng: np.random.Generator, count: int, side: int) -> Tensor:
    """Patches of flat colours with sharp borders."""
    y, x = np.mgrid[:side, :side]
    images = np.empty((count, 3, side, side), np.float32)
    for image in images:
        image[:] = rng.random(3)[:, None, None]
        for _ in range(6):
            (row, col), radius = rng.uniform(0, side, 2), rng.uniform(4, 14)
            image[:, (y - row) ** 2 + (x - col) ** 2 < radius**2] = rng.random(3)[:, None]
    return torch.from_numpy(images)


def task(settings: UpsamplingSettings = SMALL, *, dim: int = DIM) -> UpsamplingTask:
    return UpsamplingTask(blobs, teacher(dim), settings, digest="blobs")


def student(upsampler: Jbu, settings: UpsamplingSettings = SMALL, *, dim: int = DIM) -> Student:
    return Student(upsampler, teacher(dim), settings)


def losses_and_gradients(
    settings: UpsamplingSettings, batch: UpsamplingBatch, model: Student
) -> tuple[dict[str, Tensor], Any]:
    torch.manual_seed(4)
    losses = task(settings).losses(model, batch)
    total = torch.stack(list(losses.values())).sum()
    return losses, torch.autograd.grad(total, list(model.parameters()), materialize_grads=True, allow_unused=True)


@pytest.mark.parametrize("build", [JbuOne, JbuStack])
@pytest.mark.parametrize("weights", [{"content_weight": 0.3}, {"content_weight": 0.0, "crf_weight": 0.01}])
@pytest.mark.parametrize("dim", [DIM, 60])
def test_the_cheap_way_equals_the_authors(build: type[Jbu], weights: dict[str, float], dim: int) -> None:
    """Without dropout and in all rows, losses and gradients are the same: with more and with fewer channels than the
    36 tokens."""
    settings = replace(SMALL, jitters=1, **weights)
    torch.manual_seed(1)
    model = student(build(dim), settings, dim=dim).eval()
    batch = task(settings, dim=dim).draw(np.random.default_rng(2))
    found, slopes = losses_and_gradients(settings, batch, model)
    expected, truth = losses_and_gradients(replace(settings, faithful=True), batch, model)
    assert found.keys() == expected.keys() and len(found) == 2
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(slopes, truth, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("shape", [(6, 9), (3, 4)])
def test_factors_multiply_out(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    upsampler = JbuOne(20).eval()
    features, image, size = torch.randn(2, 20, *shape), torch.randn(2, 3, 64, 50), (64, 50)
    maps, mix, added = upsampler.factors(features, image, size)
    assert maps.shape[1] == min(20, shape[0] * shape[1])
    product = torch.einsum("bnhw,bnd->bdhw", maps, mix) + added[:, None, None]
    torch.testing.assert_close(product, upsampler(features, image, size), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("build", "weights"), [(JbuOne, {}), (JbuStack, {"content_weight": 0.0})])
def test_learning_beats_bilinear_on_held_out_images(
    tmp_path: Path, build: type[Jbu], weights: dict[str, float]
) -> None:
    settings = replace(SMALL, content_rows=6, **weights)
    torch.manual_seed(0)
    model, lesson = student(build(DIM), settings), task(settings)
    held = [lesson.draw(np.random.default_rng((9, i))) for i in range(3)]
    before = lesson.held_out(model.eval(), held)
    for _ in train(model, lesson, LEARN, folder=tmp_path):
        pass
    after = lesson.held_out(model.eval(), held)
    assert after["heldout_bilinear"] == before["heldout_bilinear"]
    assert after["heldout"] < 0.8 * before["heldout"]
    assert after["heldout"] < 0.95 * after["heldout_bilinear"]


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    schedule = replace(LEARN, steps=6)

    def run(folder: Path, **options: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = student(JbuOne(DIM))
        for _ in train(model, task(), schedule, folder=folder, save_every=2, **options):
            pass
        return model.state_dict()

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=3)
    parts = run(tmp_path / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    fresh = student(JbuOne(DIM)).state_dict()
    assert not torch.equal(whole["upsampler.up.range_temp"], fresh["upsampler.up.range_temp"])


def test_a_batch_holds_views_of_its_images() -> None:
    batch = task().draw(np.random.default_rng(1))
    assert batch.images.shape == (2, 3, 48, 48) and batch.features.shape == (2, DIM, 6, 6)
    assert len(batch.jitters) == len(batch.targets) == 2
    for jitter, target in zip(batch.jitters, batch.targets, strict=True):
        torch.testing.assert_close(target, teacher().encode(jitter(batch.images)))
    again = task().draw(np.random.default_rng(1))
    assert again.jitters == batch.jitters and torch.equal(again.images, batch.images)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"side": 50}, "50 pixels are no multiple"),
        ({"side": 8, "max_pad": 3}, "hold less than two"),
        ({"jitters": 0}, "jitters must be at least 1"),
        ({"projection": 0}, "projection must be at least 1"),
        ({"max_zoom": 0.5}, "zoom of 1 or more"),
        ({"max_pad": 48}, "shift below the crop's side"),
    ],
)
def test_impossible_settings_are_told(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        task(replace(SMALL, **change))  # type: ignore[arg-type]
