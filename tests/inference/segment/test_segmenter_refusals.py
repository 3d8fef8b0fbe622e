"""What a segmenter refuses, in one sentence, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earthwords.errors import UsageError, WeightsError
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import SegmentPreset
from tests.inference.segment.micro_preset import MICRO, WORDS


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_probability(segmenter: Segmenter, scene_file: Path, threshold: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1, got"):
        segmenter.predict(scene_file, WORDS, threshold=threshold)


BAD_NAMES: list[tuple[SegmentPreset, str]] = [
    (replace(MICRO, attention="segeart"), "Unknown attention 'segeart'. Did you mean 'segearth'?"),
    (replace(MICRO, templates="openai8"), "Unknown template set 'openai8'. Did you mean 'openai80'?"),
    (replace(MICRO, upsampler="bilinar"), "Unknown upsampler 'bilinar'. Did you mean 'bilinear'?"),
    (replace(MICRO, weights="tinny"), "Unknown model 'tinny'. Did you mean 'tiny'?"),
    (replace(MICRO, attention="gem", cls_weight=-0.3), "Attention 'gem' has no class token"),
    (replace(MICRO, energy=0.0), "a share above 0 and up to 1, got 0"),
]


@pytest.mark.parametrize(("row", "sentence"), BAD_NAMES, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_names_are_told_before_anything_is_loaded(row: SegmentPreset, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Segmenter.from_preset(row, device="cpu", offline=True)
    assert sentence in str(caught.value)


def test_an_unknown_preset() -> None:
    with pytest.raises(UsageError, match=r"Unknown preset 'segearth_ov'\. Did you mean 'segearth-ov'"):
        Segmenter.from_preset("segearth_ov")


def test_weights_without_an_upsampler(micro: Path) -> None:
    with pytest.raises(UsageError, match=r"Upsampler weights 'jbu.pt' need an upsampler"):
        plain = replace(MICRO, upsampler=None, upsampler_weights=None)
        Segmenter.from_preset(plain, model=micro, upsampler_weights="jbu.pt", device="cpu")


def test_an_upsampler_without_weights(micro: Path) -> None:
    with pytest.raises(WeightsError, match="'simfeatup' needs trained weights"):
        Segmenter.from_preset(replace(MICRO, upsampler="simfeatup"), model=micro, device="cpu")


def test_the_upsampler_of_a_preset_is_left_out_for_another_model(micro: Path) -> None:
    row = replace(MICRO, upsampler="jbu", upsampler_weights="tiny-jbu")
    made = Segmenter.from_preset(row, model=micro, device="cpu")
    assert made.encoder.upsampler is None and "tiny-jbu belongs to tiny" in made.notes[0]


def test_a_device_that_is_not_here(micro: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UsageError, match=r"Device 'cuda' is not available here; use auto or cpu\.$"):
        Segmenter.from_preset(MICRO, model=micro, device="cuda")


def test_a_device_that_does_not_exist(micro: Path) -> None:
    with pytest.raises(UsageError, match="Device 'gpu' is not available"):
        Segmenter.from_preset(MICRO, model=micro, device="gpu")


@pytest.mark.parametrize(("tile", "overlap"), [(8, 4), (64, 64), (64, 90), (64, -1), (0, 0)])
def test_impossible_windows(segmenter: Segmenter, scene_file: Path, tile: int, overlap: int) -> None:
    odd = Segmenter(replace(MICRO, tile_size=tile, overlap=overlap), segmenter.encoder)
    with pytest.raises(UsageError, match=f"Windows of {tile} pixels with an overlap of {overlap} are impossible"):
        odd.predict(scene_file, WORDS)


def test_a_batch_of_nothing(segmenter: Segmenter) -> None:
    with pytest.raises(UsageError, match="got a batch of 0"):
        Segmenter(MICRO, segmenter.encoder, batch=0)


def test_one_string_is_not_a_list_of_classes(segmenter: Segmenter, scene_file: Path) -> None:
    with pytest.raises(UsageError, match="Give a list of classes"):
        segmenter.predict(scene_file, "road")


def test_an_array_has_no_bands_to_choose(segmenter: Segmenter, image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="are for files"):
        segmenter.predict(image, WORDS, bands=[3, 2, 1])
