"""`segment --precision bf16`: what it may change, and that it says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from earthwords.inference.segment import load_encoder
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.kernels.linear import computes, reduce_linears
from earthwords.presets import load_preset
from earthwords.text.vocabulary import parse_classes
from tests.conftest import Command, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import labels_of

WORDS = ["building", "road", "water", "trees"]
HAS_BF16 = computes("bf16", torch.device("cpu"))
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this processor has no instructions for bfloat16")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 x 232 pixels of 0.5 m."""
    pixels = np.moveaxis(patchwork(150, 232), -1, 0)
    return write_raster(tmp_path_factory.mktemp("precision") / "scene.tif", pixels, photometric="RGB")


@pytest.fixture(scope="module")
def reduced() -> Segmenter:
    return Segmenter.from_preset(replace(load_preset("tiny"), precision="bf16"))


@needs_bf16
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_rounds_what_it_multiplies_and_nothing_else(bias: bool) -> None:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Linear(70, 130, bias=bias), nn.GELU(), nn.Linear(130, 9))
    exact, state = nn.Linear(70, 130, bias=bias), {k: v.clone() for k, v in layers.state_dict().items()}
    exact.load_state_dict({k.removeprefix("0."): v for k, v in state.items() if k.startswith("0.")})
    reduce_linears(layers)
    x = torch.randn(2, 33, 70)
    with torch.no_grad():
        found, wanted = layers[0](x), exact(x)
        rounded = nn.functional.linear(x.bfloat16().double(), exact.weight.bfloat16().double())
        if bias:
            rounded = rounded + exact.bias.bfloat16().double()
    assert found.dtype == torch.float32 and not torch.equal(found, wanted)
    assert ((found - rounded).abs() <= 2**-8 * rounded.abs() + 1e-4).all()  # a last rounding of what comes out
    assert {k: v.tolist() for k, v in layers.state_dict().items()} == {k: v.tolist() for k, v in state.items()}


@needs_bf16
def test_labels_hardly_change_and_those_that_may_are_counted(reduced: Segmenter, source: Path) -> None:
    exact = Segmenter.from_preset("tiny")
    words = parse_classes(WORDS)
    with reduced.open(source) as scene:
        bank = reduced.text_bank(words)
        strips = list(reduced.strips(scene, bank))
        wanted = np.concatenate([s.labels for s in exact.strips(scene, exact.text_bank(words))])
    found, close = (np.concatenate([getattr(s, name) for s in strips]) for name in ("labels", "rounding"))
    assert np.mean(found == wanted) > 0.98 and 0 < close.mean() < 0.5
    assert close[found != wanted].mean() > 0.8
    assert reduced.weights_hash == exact.weights_hash and "precision" not in exact.tags(words)


@needs_bf16
def test_a_part_has_the_bits_of_the_whole_however_many_windows_are_in_work(reduced: Segmenter, source: Path) -> None:
    words = parse_classes(WORDS)
    alone = Segmenter.from_preset(replace(load_preset("tiny"), precision="bf16"), batch=1)
    with reduced.open(source) as scene:
        whole = np.concatenate([s.score for s in reduced.strips(scene, reduced.text_bank(words))])
        below = replace(scene.region, row=64, height=scene.region.height - 64)
        part = np.concatenate([s.score for s in alone.strips(scene, alone.text_bank(words), region=below)])
    np.testing.assert_array_equal(part, whole[64:])


@needs_bf16
def test_the_report_tells_it(command: Command, tiny: Path, source: Path, tmp_path: Path) -> None:
    words = [item for word in WORDS for item in ("-t", word)]
    done = command("segment", source, tmp_path / "out", *words, "--precision", "bf16")
    report = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert done.code == 0 and report["settings"]["precision"] == "bf16"
    assert 0 < report["rounding_share"] < 0.5
    assert f"changed the class of up to {report['rounding_share']:.2%} of the map" in done.err.replace("\n", " ")
    assert labels_of(tmp_path / "out/labels.tif").shape == (150, 232)
    plain = command("segment", source, tmp_path / "plain", *words)
    report = json.loads((tmp_path / "plain/report.json").read_text(encoding="utf-8"))
    assert plain.code == 0 and report["rounding_share"] is None and "reduced precision" not in plain.err


def test_a_processor_without_the_instructions_computes_in_fp32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_encoder, "computes", lambda precision, device: precision == "fp32")
    found = Segmenter.from_preset(replace(load_preset("tiny"), precision="bf16"))
    assert found.preset.precision == "fp32" and not found.rounds
    assert any("bf16" in note and "fp32" in note for note in found.notes)


def test_another_precision_is_refused(command: Command, source: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('base = "tiny"\nprecision = "fp8"\n', encoding="utf-8")
    done = command("segment", source, tmp_path / "out", "-t", "road", "--preset", own)
    assert done.code == 2 and "fp8" in done.err and "bf16" in done.err and not (tmp_path / "out").exists()
