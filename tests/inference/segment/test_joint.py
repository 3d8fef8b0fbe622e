"""`--joint`: one mixture a scene whatever the batch; what it cannot fit. The numbers: `tests.parity`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from earthwords.errors import Caution, UsageError
from earthwords.geo.scene import SceneSpec
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.joint import joined
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows import mixture
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.executor import Local
from earthwords.text.vocabulary import parse_classes
from tests.conftest import Command

WORDS = ("-t", "building,roof", "-t", "road", "-t", "water")


def test_the_batch_changes_nothing(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    common = ("segment", scene_file, "--model", micro, "--tile-size", 64, "--quiet", *WORDS)
    runs = {"a": ("--batch-size", 1), "b": ("--batch-size", 3)}
    for name, more in runs.items():
        done = command(*common[:2], tmp_path / name, *common[2:], "--joint", *more)
        assert done.code == 0, done.err
    one, other = (tmp_path / name / "labels.tif" for name in runs)
    assert one.read_bytes() == other.read_bytes()
    plain = command(*common[:2], tmp_path / "plain", *common[2:])
    assert plain.code == 0
    assert (tmp_path / "plain/labels.tif").read_bytes() != one.read_bytes()
    told = [json.loads((tmp_path / name / "report.json").read_text())["notes"] for name in ("a", "b", "plain")]
    said = [[note for note in notes if note.startswith("--joint: ")] for notes in told]
    assert said[0] == said[1] and len(said[0]) == 1 and not said[2]


def test_tokens_of_the_scene_and_what_changed(segmenter: Segmenter, image: np.ndarray) -> None:
    """Of a scene that is one window: its own tokens, counted by hand."""
    row = replace(segmenter.preset, tile_size=128, overlap=0)
    made = Segmenter(row, segmenter.encoder)
    part, vocabulary = image[:96, 60:180], parse_classes(["building,roof", "road", "water"])
    bank = made.text_bank(vocabulary)
    with made.open(part) as scene:
        found = joined(made, made.encoder, scene, bank).mixture
        pixels, valid = made.read(scene, scene.region, FailurePolicy())
    assert found is not None
    padded = F.pad(pixels[None], (4, 4))
    seen = F.avg_pool2d(F.pad(valid[None].float(), (4, 4)), 16)[0] >= 0.5
    with torch.inference_mode():
        values, cosines = made.encoder.token_cosines(padded, torch.from_numpy(bank.vectors))
    flat = (values[0][:, seen].T, cosines[0][:, seen].T)
    again = mixture.fit(lambda: [flat])
    assert found.tokens == int(seen.sum())
    np.testing.assert_allclose(found.means, again.means, atol=1e-5)
    moved = mixture.shares(again, *flat).argmax(1) != flat[1].argmax(1)
    assert found.changed == pytest.approx(float(moved.float().mean()))


def test_it_is_fitted_once_whoever_computes(segmenter: Segmenter, scene_file: Path, tmp_path: Path) -> None:
    with segmenter.open(scene_file) as scene:
        words = parse_classes(["building,roof", "road", "water"])
        request = SegmentRequest(vocabulary=words, spec=SceneSpec(source=scene.source), joint=True)
        job = SceneJob(segmenter=segmenter, scene=scene, request=request, outputs={"labels": tmp_path / "a.tif"})
        others = job.computed_by(Local())
        assert others.executor is not None and others.bank is job.bank
        assert others.notes == job.notes and others.bank.mixture is not None


def test_what_nothing_belongs_to_and_what_never_varies() -> None:
    """A word far from all tokens, and a channel that is the same everywhere: still numbers, and tokens at home."""
    torch.manual_seed(0)
    places = F.normalize(torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, -1, 1]]), dim=1)
    tokens = places[torch.arange(60) % 2] + 0.05 * F.pad(torch.randn(60, 3), (0, 1))
    cosines = F.normalize(tokens, dim=1) @ places.T
    cosines[:, 2] = -1e3
    fitted = mixture.fit(lambda: [(tokens, cosines)], temperature=0.5)
    assert np.isfinite(fitted.means).all() and (fitted.variance > 0).all()
    shares = mixture.shares(fitted, tokens, cosines)
    assert torch.equal(shares.argmax(1), torch.arange(60) % 2) and float(shares[:, 2].max()) == 0
    with pytest.raises(UsageError, match="needs 8 observed ones, here are 7"):
        mixture.fit(lambda: [(tokens[:7], cosines[:7])])


def test_weights_that_it_does_not_help_are_told_before_the_fit(segmenter: Segmenter, image: np.ndarray) -> None:
    unhelped = Segmenter(replace(segmenter.preset, name="own", weights="tiny"), segmenter.encoder)
    words = ["building", "road", "water", "trees"]
    for made, told in ((unhelped, 1), (segmenter, 0)):
        notes = made.predict(image, words, joint=True).notes
        assert sum(isinstance(note, Caution) and "--joint does not help own" in note for note in notes) == told
        assert sum("not comparable with those of a map without it" in note for note in notes) == 1
    few = image[:32, :32]
    with pytest.raises(UsageError, match="needs 8 observed ones"):
        unhelped.predict(few, words, joint=True)
    with pytest.raises(UsageError, match="--joint does not help own"):
        unhelped.predict(few, words, joint=True, strict=True)
    request = SegmentRequest(vocabulary=parse_classes(words), spec=SceneSpec(source="few"), joint=True, strict=True)
    with unhelped.open(few) as scene, pytest.raises(UsageError, match="--joint does not help own"):
        _ = SceneJob(segmenter=unhelped, scene=scene, request=request, outputs={}).notes


def test_what_it_cannot_fit(segmenter: Segmenter, image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="needs two or more"):
        segmenter.predict(image, ["road"], against="none", joint=True)
    taught = Segmenter(replace(segmenter.preset, taught="folder"), segmenter.encoder)
    with pytest.raises(UsageError, match="was taught by marks"):
        taught.predict(image, ["road", "water"], joint=True)
