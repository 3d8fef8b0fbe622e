"""`earthwords upsample` with the toy model and small windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from earthwords.inference.features.upsampler import Upsampler
from earthwords.presets import SEGMENT_PRESETS
from tests.conftest import Command, Outcome

DIM = 16


Upsample = Callable[..., Outcome]


@pytest.fixture
def upsample(command: Command, micro: Path) -> Upsample:
    """`upsample(src, dst, ...)` with the toy model, small windows and nothing said."""

    def run(src: object, dst: object, *options: object) -> Outcome:
        return command(
            "upsample",
            src,
            dst,
            "--model",
            micro,
            "--tile-size",
            64,
            "--quiet",
            "--device",
            "cpu",
            "--offline",
            *options,
        )

    return run


@pytest.fixture(scope="module")
def upsampler(micro: Path) -> Upsampler:
    row = replace(SEGMENT_PRESETS["tiny"], tile_size=64, overlap=32)
    return Upsampler.from_preset("bilinear", preset=row, model=micro, device="cpu")
