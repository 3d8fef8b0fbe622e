"""`earthwords segment --upsampler anyup` from a checkpoint file to a map."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earthwords.inference.segment.memory import MemoryEstimate
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.upsamplers._imagenet import IMAGENET_MEAN, IMAGENET_STD
from earthwords.models.upsamplers.anyup import AnyUp
from earthwords.text.vocabulary import parse_classes

from .conftest import Segment, labels_of


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a narrow model, stored as the published ones are."""
    torch.manual_seed(8)
    state = {k: v + 0.2 * torch.randn_like(v) for k, v in AnyUp(16).state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "anyup_random.pth"
    torch.save(state, path)
    return path


def test_a_map(segment: Segment, scene_file: Path, tmp_path: Path, checkpoint: Path) -> None:
    done = segment(scene_file, tmp_path / "out", "--upsampler", "anyup", "--upsampler-weights", checkpoint, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert "anyup" in json.dumps(report)
    found = labels_of(tmp_path / "out" / "labels.tif")
    assert segment(scene_file, tmp_path / "plain.tif", "--upsampler", "bilinear").code == 0
    plain = labels_of(tmp_path / "plain.tif")
    assert found.shape == plain.shape and len(np.unique(found)) > 2
    valid = plain != 255
    np.testing.assert_array_equal(found == 255, ~valid)
    assert (found != plain)[valid].any()


def test_batches_change_nothing(segment: Segment, scene_file: Path, tmp_path: Path, checkpoint: Path) -> None:
    ups = ("--upsampler", "anyup", "--upsampler-weights", checkpoint)
    for batch in (1, 3):
        assert segment(scene_file, tmp_path / f"{batch}.tif", *ups, "--batch-size", batch).code == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "1.tif"), labels_of(tmp_path / "3.tif"))


def test_the_image_is_converted_from_the_normalisation_of_the_backbone(segmenter: Segmenter, checkpoint: Path) -> None:
    row = replace(segmenter.preset, upsampler="anyup", upsampler_weights=str(checkpoint))
    made = Segmenter.from_preset(row, device="cpu")
    upsampler, backbone = made.encoder.upsampler, made.encoder.backbone
    assert isinstance(upsampler, AnyUp)
    pixels = torch.rand(1, 3, 4, 5)
    mean, std, own_mean, own_std = (
        torch.tensor(v)[:, None, None] for v in (backbone.mean, backbone.std, IMAGENET_MEAN, IMAGENET_STD)
    )
    torch.testing.assert_close(upsampler.converted((pixels - mean) / std), (pixels - own_mean) / own_std)


def test_the_memory_of_its_maps_is_foreseen(segmenter: Segmenter, scene_file: Path, checkpoint: Path) -> None:
    row = replace(segmenter.preset, upsampler="anyup", upsampler_weights=str(checkpoint))
    made = Segmenter.from_preset(row, device="cpu")
    with made.open(scene_file) as scene:
        needs = []
        for held in (0, AnyUp(16).held):
            made.encoder.upsampler.held = held
            need = MemoryEstimate(segmenter=made, scene=scene, vocabulary=parse_classes(["road", "water"]))
            needs.append(need._windows())
    assert needs[1] - needs[0] >= 4 * 64 * 64 * AnyUp(16).held


def test_weights_that_are_missing_or_do_not_fit(
    segment: Segment, scene_file: Path, tmp_path: Path, checkpoint: Path
) -> None:
    state = {k: v for k, v in torch.load(checkpoint, weights_only=True).items() if not k.startswith("aggregation")}
    torch.save(state, tmp_path / "cut.pth")
    for weights, sentence in (
        ((), "anyup-multi-backbone is not in "),  # the default of the table
        (("--upsampler-weights", tmp_path / "cut.pth"), "does not fit upsampler 'anyup'; first names that differ: agg"),
    ):
        segment(scene_file, tmp_path / "out.tif", "--offline", "--upsampler", "anyup", *weights).failed(1, sentence)
        assert not (tmp_path / "out.tif").exists()
