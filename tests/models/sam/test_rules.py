"""The rules of SAM's automatic masks, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

from earthwords.models.sam.filters import inclusive_boxes, near_crop_edge, stability
from earthwords.models.sam.grids import CropBox, crops_of, layer_grid, point_grid
from earthwords.models.sam.predictor import ImageEmbedding, Sam1Predictor, Sam2Predictor
from tests.referring import _SAM, _SAM2


def test_points() -> None:
    """Row by row, in the middle of equal cells; a layer's sides are whole numbers."""
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert np.array_equal(layer_grid(7, 1, 2), point_grid(3)) and np.array_equal(layer_grid(7, 2, 2), point_grid(1))
    assert np.array_equal(layer_grid(7, 3, 1), point_grid(7))


def test_crops() -> None:
    """600 x 800: neighbours share int(600 * 512 / 1500) = 204 pixels; a side is ceil((204 + length) / 2)."""
    boxes = [(crop.layer, *crop.box) for crop in crops_of((600, 800), 1, 512 / 1500)]
    assert boxes == [
        (0, 0, 0, 800, 600),
        (1, 0, 0, 502, 402),
        (1, 0, 198, 502, 600),
        (1, 298, 0, 800, 402),
        (1, 298, 198, 800, 600),
    ]
    assert len(crops_of((600, 800), 2, 512 / 1500)) == 21 and crops_of((5, 9), 0, 0.3)[0].shape == (5, 9)
    image = np.arange(600 * 800).reshape(600, 800)
    assert image[crops_of((600, 800), 1, 512 / 1500)[2].slices][0, 0] == 198 * 800


def test_stability() -> None:
    logits = torch.tensor([[[2.0, 1.5, 0.5, -0.5], [-2, -2, -2, -0.9]], [[-3.0] * 4] * 2, [[1.0] * 4, [-1.0] * 4]])
    found = stability(logits, offset=1.0)
    assert found[0] == 2 / 5 and found[1].isnan() and found[2] == 0  # neither threshold is in
    wide = torch.ones(1, 2, 40_000)
    wide[0, 1] = -1
    assert stability(wide, offset=0.5) == 1  # the authors' sums of a row end at 32,767
    assert stability(logits, threshold=0.5, offset=0.25)[0] == 2 / 3


def test_boxes() -> None:
    masks = torch.zeros(3, 6, 9, dtype=torch.bool)
    masks[0, 2, 3] = masks[0, 4, 7] = masks[1, 5, 8] = True
    assert inclusive_boxes(masks).tolist() == [[3, 2, 7, 4], [8, 5, 8, 5], [0, 0, 0, 0]]


def test_borders_of_crops() -> None:
    """20 pixels are near; the image's own border is none."""
    crop = CropBox(x0=100, y0=0, x1=300, y1=200)
    boxes = np.array(
        [[21, 21, 150, 170], [20, 21, 150, 170], [21, 0, 150, 170], [21, 21, 180, 170], [21, 21, 150, 180]]
    )
    assert near_crop_edge(boxes, crop, (400, 500)).tolist() == [False, True, False, True, True]
    assert not near_crop_edge(boxes, crop, (200, 300))[3:].any()
    assert not near_crop_edge(boxes, CropBox(x0=0, y0=0, x1=300, y1=200), (200, 300)).any()


def test_sam_sees_the_image_in_the_upper_left_corner() -> None:
    """Shrunk by Pillow, padded with 0 after the normalisation; masks come back without the padding."""
    predictor = Sam1Predictor(SamModel(SamConfig(**_SAM)))
    image = np.random.default_rng(1).integers(0, 256, (75, 130, 3), np.uint8)
    pixels = predictor.prepare(image)[0]
    assert pixels.shape == (3, 64, 64) and predictor.frame((75, 130)) == (37, 64) and not pixels[:, 37:].any()
    small = np.asarray(Image.fromarray(image).resize((64, 37), Image.Resampling.BILINEAR))
    expected = (small - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
    np.testing.assert_allclose(pixels[:, :37].permute(1, 2, 0), expected, atol=1e-5)
    embedding = ImageEmbedding(features=torch.zeros(0), shape=(75, 130), frame=(37, 64))
    assert predictor.to_network([[130, 75], [65, 30]], embedding).tolist() == [[64, 37], [32, 30 * (37 / 75)]]
    logits = torch.full((1, 16, 16), -1.0)
    logits[:, :10] = 1
    assert (predictor.enlarge(logits, embedding) > 0).all() and predictor.enlarge(logits, embedding).shape[1:] == (
        75,
        130,
    )


def test_sam2_sees_the_image_stretched() -> None:
    predictor = Sam2Predictor(Sam2Model(Sam2Config(**_SAM2)))
    image = np.zeros((50, 200, 3), np.uint8)
    image[25:] = 255
    pixels = predictor.prepare(image)[0]
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert pixels.shape == (3, 128, 128)
    torch.testing.assert_close(pixels[:, 70:], white[:, None, None].expand(3, 58, 128), atol=1e-5, rtol=0)
    embedding = ImageEmbedding(features=torch.zeros(0), shape=(50, 200), frame=predictor.frame((50, 200)))
    found = predictor.to_network([[200, 50], [50, 10]], embedding)
    assert found.dtype == np.float32 and found[0].tolist() == [128, 128]
    assert found[1].tolist() == pytest.approx([32, 25.6])
    logits = torch.zeros(1, 32, 32)
    logits[:, 16:] = 1
    assert predictor.enlarge(logits - 0.5, embedding)[0, :, 7].gt(0).tolist() == [row >= 25 for row in range(50)]
