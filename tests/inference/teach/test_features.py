"""Features of pixels are what words are multiplied with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.teach.features import features_at, windows_of
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.presets import SEGMENT_PRESETS
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Window


@pytest.mark.parametrize("upsampler", [None, "bilinear"])
@pytest.mark.parametrize("cls_weight", [0.0, -0.3])
def test_their_products_with_words_are_the_cosines_of_the_map(
    micro: Path, image: np.ndarray, upsampler: str | None, cls_weight: float
) -> None:
    """In the one window that a small scene has."""
    row = replace(SEGMENT_PRESETS["tiny"], upsampler=upsampler, cls_weight=cls_weight, tile_size=256, overlap=128)
    segmenter = Segmenter.from_preset(row, model=micro, device="cpu")
    bank = segmenter.text_bank(parse_classes(["building,roof", "road", "water"]))
    pixels = np.array([[0, 0], [5, 60], [38, 2], [20, 31]])
    with segmenter.open(image[:40, :64]) as scene:
        values, _ = segmenter.read(scene, Window(row=0, col=0, height=40, width=64), FailurePolicy())
        cosines = segmenter.encoder.logits(values[None], torch.from_numpy(bank.vectors))[0]
        found, _, observed = features_at(segmenter, scene, pixels)
    expected = cosines[:, pixels[:, 0], pixels[:, 1]].T.numpy()
    np.testing.assert_allclose(found @ bank.vectors.T, expected, atol=2e-5)
    assert observed.all() and np.ptp(expected) > 0.01


def test_each_pixel_is_read_in_the_window_whose_middle_is_nearest(micro: Path, image: np.ndarray) -> None:
    row = replace(SEGMENT_PRESETS["tiny"], tile_size=64, overlap=32)
    segmenter = Segmenter.from_preset(row, model=micro, device="cpu")
    pixels = np.array([[47, 49], [48, 49], [20, 20], [21, 22], [90, 100]])
    with segmenter.open(image[:96, :128]) as scene:
        assert windows_of(segmenter.plan(scene), pixels) == 4
        together, _, _ = features_at(segmenter, scene, pixels)
        alone, _, _ = features_at(segmenter, scene, pixels[4:])
        starts = segmenter.plan(scene).rows, segmenter.plan(scene).cols
        values, _ = segmenter.read(scene, Window(row=32, col=64, height=64, width=64), FailurePolicy())
        unit = torch.eye(segmenter.encoder.backbone.dim)
        direct = segmenter.encoder.logits(values[None], unit)[0][:, 90 - 32, 100 - 64].numpy()
    assert starts == ([0, 32], [0, 32, 64])
    np.testing.assert_array_equal(together[4], alone[0])
    np.testing.assert_allclose(together[4], direct, atol=1e-6)


def test_pixels_without_an_observation_are_told(micro: Path, image: np.ndarray) -> None:
    segmenter = Segmenter.from_preset(replace(SEGMENT_PRESETS["tiny"], tile_size=64, overlap=32), model=micro)
    hidden = np.ma.masked_array(image[:64, :96], mask=np.zeros((64, 96, 3), bool))
    hidden.mask[10:20, 30:40] = True
    with segmenter.open(hidden) as scene:
        found, _, observed = features_at(segmenter, scene, np.array([[15, 35], [15, 45]]))
    assert observed.tolist() == [False, True]
    assert (found[0] == 0).all() and (found[1] != 0).any()
