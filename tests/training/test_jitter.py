"""Views of images and the same views of their features."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from earthwords.training.jitter import Jitters


@pytest.mark.parametrize("shape", [(40, 56), (33, 47), (224, 224)])
@pytest.mark.parametrize("max_zoom", [1.0, 1.8, 2.37])
def test_a_view_has_the_shape_of_the_image(shape: tuple[int, int], max_zoom: float) -> None:
    image = torch.zeros(1, 1, *shape)
    jitters = Jitters(shape, max_pad=12, max_zoom=max_zoom, seed=3)
    views = [jitters.draw() for _ in range(60)]
    assert all(view(image).shape == image.shape for view in views)
    assert {view.mirrored for view in views} == {True, False}
    assert all(1 <= view.zoom <= max_zoom for view in views)


def test_without_flips_nothing_is_mirrored() -> None:
    jitters = Jitters((40, 40), flips=False)
    assert not any(jitters.draw().mirrored for _ in range(20))


def test_a_shrunk_view_is_the_view_shrunk() -> None:
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    image = torch.stack([torch.sin(x / 9), torch.cos(y / 7 + x / 20)])[None]
    jitters = Jitters((48, 64), max_pad=8, max_zoom=1.8, seed=2)
    for _ in range(20):
        view = jitters.draw(step=2)
        found, expected = view.shrunk(2)(F.avg_pool2d(image, 2)), F.avg_pool2d(view(image), 2)
        error = (found - expected).abs()  # largest where the border is reflected: at the centre of another pixel
        assert float(error.mean()) < 0.05 and float(error.median()) < 0.01
