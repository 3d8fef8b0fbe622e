"""Numbers of the papers and their codes, said once more: a constant that changes changes no test that reads it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import earthwords
from earthwords.inference.segment.postprocess import class_probabilities
from earthwords.inference.windows.sliding import pad
from earthwords.models.clip import model as clip
from earthwords.models.refseg import encoders as towers
from earthwords.models.refseg.model import SAM_MEAN, SAM_STD
from earthwords.models.weights.table import WEIGHTS
from earthwords.presets import SEGMENT_PRESETS
from tests.micro import write_micro

PAPERS = ("segearth-ov", "clearclip", "sclip", "maskclip", "gem", "naclip", "clip")
"""Presets that put together what SegEarth-OV's code does, with its settings."""


def test_statistics_of_pixels() -> None:
    assert clip.CLIP_MEAN == (0.48145466, 0.4578275, 0.40821073)
    assert clip.CLIP_STD == (0.26862954, 0.26130258, 0.27577711)
    assert towers.SIGLIP_MEAN == towers.SIGLIP_STD == (0.5, 0.5, 0.5)
    assert SAM_MEAN == (0.485, 0.456, 0.406) and SAM_STD == (0.229, 0.224, 0.225)


def test_pixels_of_a_scene_are_normalised_by_clips_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene of one colour, caught where it enters the model."""
    seen: list[torch.Tensor] = []
    whole = clip.ClipBackbone.encode_dense

    def caught(self: clip.ClipBackbone, pixels: torch.Tensor, method: clip.DenseMethod) -> object:
        seen.append(pixels)
        return whole(self, pixels, method)

    monkeypatch.setattr(clip.ClipBackbone, "encode_dense", caught)
    scene = np.full((64, 64, 3), (255, 51, 102), np.uint8)
    scene[0, 0] = (254, 52, 101)  # a picture of a single value is stretched by nothing
    Image.fromarray(scene).save(tmp_path / "scene.png")
    earthwords.segment(
        tmp_path / "scene.png", tmp_path / "out.tif", text=["road"], model=str(write_micro(tmp_path / "micro")),
        tile_size=64, stretch="none", quiet=True,
    )  # fmt: skip
    pixels = next(each for each in seen if each.shape == (1, 3, 64, 64))  # others warm the loops up
    expected = [(1.0 - 0.48145466) / 0.26862954, (0.2 - 0.4578275) / 0.26130258, (0.4 - 0.40821073) / 0.27577711]
    assert pixels[0, :, 32, 32].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", PAPERS)
def test_settings_of_the_papers(name: str) -> None:
    row = SEGMENT_PRESETS[name]
    assert (row.logit_scale, row.tile_size, row.overlap, row.blend) == (50.0, 224, 112, "mean")
    assert row.cls_weight == (-0.3 if name == "segearth-ov" else 0.0)
    assert row.templates == "openai80" and row.last_n == 1
    assert WEIGHTS[row.weights].source == "openai/clip-vit-base-patch16"


def test_the_temperature_by_hand() -> None:
    """Cosines 0.02 apart: at a temperature of 50, exp(1) to 1."""
    logits = torch.tensor([0.30, 0.28])[:, None, None]
    found = class_probabilities(logits, torch.tensor([0, 1]), logit_scale=SEGMENT_PRESETS["segearth-ov"].logit_scale)
    assert found[:, 0, 0].tolist() == pytest.approx([0.7310586, 0.2689414], abs=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "top", "left", "bottom", "right"),
    [(13, 11, 1, 2, 2, 3), (15, 16, 0, 0, 1, 0), (16, 9, 0, 3, 0, 4), (1, 1, 7, 7, 8, 8)],
)
def test_odd_padding_is_larger_below_and_on_the_right(
    height: int, width: int, top: int, left: int, bottom: int, right: int
) -> None:
    """To whole patches of 16: half of it, rounded down, above and on the left."""
    above, before, padded = pad(torch.ones(1, 3, height, width), 16)
    assert (above, before) == (top, left)
    assert padded.shape[-2:] == (top + height + bottom, left + width + right)
    rows, cols = (padded[0, 0].any(dim=axis).nonzero()[[0, -1], 0].tolist() for axis in (1, 0))
    assert (rows, cols) == ([top, top + height - 1], [left, left + width - 1])
    assert float(padded.sum()) == 3 * height * width
