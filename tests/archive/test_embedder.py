"""Images as vectors: resized as PIL does it, in their order, the same in batches as alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from earthwords.archive.embedder import Embedder
from earthwords.geo.scene import open_scene
from earthwords.presets import SEGMENT_PRESETS
from earthwords.types import Raster, Window
from tests.micro import patchwork


@pytest.fixture(scope="module")
def embedder(micro: Path) -> Embedder:
    return Embedder.from_preset(replace(SEGMENT_PRESETS["tiny"], name="micro"), model=micro, device="cpu", batch=3)


def raster(height: int, width: int, seed: int) -> Raster:
    scene = open_scene(patchwork(height, width, seed=seed))
    return scene.read(Window(row=0, col=0, height=height, width=width))


def test_resized_as_pil(embedder: Embedder) -> None:
    image = patchwork(150, 210)
    found = embedder.prepared(raster(150, 210, 4))
    mean, std = (np.array(v)[:, None, None] for v in (embedder.backbone.mean, embedder.backbone.std))
    oracle = np.moveaxis(np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC)), -1, 0) / 255
    assert found.shape == (3, 64, 64)
    np.testing.assert_allclose(found.numpy() * std + mean, oracle, atol=8 / 255)


def test_unobserved_pixels_have_the_mean_colour(embedder: Embedder) -> None:
    for side in (64, 100):
        whole = raster(side, side, 5)
        holes = replace(whole, valid=np.zeros_like(whole.valid))
        assert embedder.prepared(holes).abs().max() < 1e-5


@pytest.mark.parametrize("on_cpu", [True, False])
def test_vectors_keep_their_order(embedder: Embedder, on_cpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rasters = [None, *(raster(40 + i, 70, i) for i in range(5)), None, raster(64, 64, 9), None]
    alone = [None if r is None else embedder._encode([embedder.prepared(r)])[0] for r in rasters]
    monkeypatch.setattr(Embedder, "_on_cpu", on_cpu)
    found = list(embedder.encoded(range(len(rasters)), lambda i: rasters[i]))
    assert [i for i, _ in found] == list(range(len(rasters)))
    for (_, vector), expected in zip(found, alone, strict=True):
        assert (vector is None) == (expected is None)
        if vector is not None:
            np.testing.assert_allclose(vector, expected, atol=1e-6)
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_numbers_that_are_not_finite(embedder: Embedder) -> None:
    with pytest.raises(ArithmeticError, match="not finite"):
        embedder._encode([torch.full((3, 64, 64), float("nan"))])


def test_large_images_are_shrunk() -> None:
    image = patchwork(300, 420)
    scene = open_scene(image)
    small = scene.shrunk(Window(row=60, col=120, height=120, width=240), most=60)
    assert small.data.shape == (3, 30, 60) and small.valid.all()
    blocks = image[60:180, 120:360].reshape(30, 4, 60, 4, 3).mean(axis=(1, 3)) / 255
    error = np.abs(np.moveaxis(small.data, 0, -1) - blocks)
    assert (
        error.mean() < 0.08
        and np.abs(np.moveaxis(small.data, 0, -1).mean(axis=(0, 1)) - blocks.mean(axis=(0, 1))).max() < 0.02
    )
    same = scene.shrunk(Window(row=60, col=120, height=20, width=50), most=60)
    np.testing.assert_allclose(same.data, np.moveaxis(image[60:80, 120:170], -1, 0) / 255, atol=1e-6)
