"""Windows that cannot be read or computed: told where, or left out where that is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from torch import Tensor

from earthwords.errors import SourceError, UsageError, WindowError
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import PIECE, read_twice
from earthwords.inference.windows.sliding import Encoder
from earthwords.inference.windows.strip import Strip
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Grid, Raster, Window
from tests.conftest import HEIGHT, WIDTH
from tests.micro import patchwork

WORDS = ["building,roof", "road", "water", "trees"]


class Flaky(Encoder):
    """Fails at windows whose first pixel is of a certain value, so many times, in a way."""

    def logits(self, pixels: Tensor, queries: Tensor, **options: Any) -> Tensor:  # type: ignore[override]
        for value in pixels[:, 0, 0, 0].tolist():
            if abs(value - FAIL["at"]) < 1e-6 and FAIL["times"] > 0:
                FAIL["times"] -= 1
                if FAIL["error"] is None:
                    return super().logits(pixels, queries, **options) * float("nan")
                raise FAIL["error"]
        return super().logits(pixels, queries, **options)


GRID = Grid(height=700, width=900, transform=Affine.identity(), crs=None)
FAIL: dict[str, Any] = {}


def strips_of(segmenter: Segmenter, image: np.ndarray, policy: FailurePolicy) -> list[Strip]:
    with segmenter.open(image) as scene:
        bank = segmenter.text_bank(parse_classes(WORDS))
        return list(segmenter.strips(scene, bank, policy=policy))


@pytest.fixture
def image() -> np.ndarray:
    """One pixel value that occurs once, at the corner of the second window of the second row."""
    image = np.clip(patchwork(HEIGHT, WIDTH), 1, 250)
    image[32, 32] = 253
    return image


@pytest.fixture
def flaky(segmenter: Segmenter) -> Callable[..., Segmenter]:
    def make(error: Exception | None, *, times: int, batch: int = 8) -> Segmenter:
        backbone = segmenter.encoder.backbone
        FAIL.update(at=(253 / 255 - backbone.mean[0]) / backbone.std[0], times=times, error=error)
        return Segmenter(segmenter.preset, Flaky(**vars(segmenter.encoder)), batch=batch)

    return make


@pytest.mark.parametrize("error", [RuntimeError("no luck"), None])
def test_one_failure_is_nothing(
    flaky: Callable[..., Segmenter], segmenter: Segmenter, image: np.ndarray, error: Exception | None
) -> None:
    policy = FailurePolicy()
    found = strips_of(flaky(error, times=1), image, policy)
    wanted = strips_of(segmenter, image, FailurePolicy())
    for one, another in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.score, another.score)
    assert FAIL["times"] == 0 and policy.failures == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("no luck"), "RuntimeError: no luck"), (None, "numbers that are not finite")],
)
def test_two_failures_stop_with_the_place(
    flaky: Callable[..., Segmenter], image: np.ndarray, error: Exception | None, reason: str
) -> None:
    with pytest.raises(WindowError) as caught:
        strips_of(flaky(error, times=2), image, FailurePolicy())
    text = str(caught.value)
    assert text.startswith("The window at rows 32..96, columns 32..96 of 130 x 190 failed twice") and reason in text
    assert text.endswith("go on without it by --on-error nodata.") and caught.value.exit_code == 1


def test_a_window_may_be_left_out(flaky: Callable[..., Segmenter], segmenter: Segmenter, image: np.ndarray) -> None:
    """Where windows overlap the others tell; where none does there is nothing."""
    policy = FailurePolicy(on_error="nodata")
    made = flaky(RuntimeError("no luck"), times=99)
    apart = Segmenter(replace(made.preset, tile_size=32, overlap=0), made.encoder)
    labels = np.concatenate([strip.labels for strip in strips_of(apart, image, policy)])
    assert (labels[32:64, 32:64] == 255).all() and (labels == 255).sum() == 32 * 32
    assert len(policy.failures) == 1
    assert policy.failures[0] == "rows 32..64, columns 32..64 of 130 x 190: RuntimeError: no luck"
    overlapping = FailurePolicy(on_error="nodata")
    labels = np.concatenate([strip.labels for strip in strips_of(made, image, overlapping)])
    assert (labels < 4).all() and len(overlapping.failures) == 1


def test_too_little_memory_is_not_tried_again(flaky: Callable[..., Segmenter], image: np.ndarray) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        strips_of(flaky(torch.OutOfMemoryError("CUDA out of memory"), times=1), image, FailurePolicy(on_error="nodata"))
    assert FAIL["times"] == 0


def test_what_to_do_is_one_of_two() -> None:
    with pytest.raises(UsageError, match="is one of stop, nodata, not 'skip'"):
        FailurePolicy(on_error="skip")


def test_pieces_that_cannot_be_read_are_left_out() -> None:
    """They lie on a grid of their own, whatever window is read."""
    rng = np.random.default_rng(3)
    whole = rng.random((3, 700, 900)).astype(np.float32)

    def read(window: Window) -> Raster:
        if window.intersect(Window(row=300, col=530, height=20, width=20)):
            raise SourceError("Cannot read that: damaged.")
        data = whole[(slice(None), *window.slices)]
        return Raster(data=data, valid=np.ones(data.shape[1:], bool), grid=None)  # type: ignore[arg-type]

    for window in (Window(row=0, col=0, height=700, width=900), Window(row=201, col=333, height=301, width=407)):
        policy = FailurePolicy(on_error="nodata")
        data, valid = read_twice(read, window, GRID, policy)
        lost = np.zeros((700, 900), bool)
        lost[PIECE : 2 * PIECE, 2 * PIECE : 3 * PIECE] = True
        np.testing.assert_array_equal(valid, ~lost[window.slices])
        np.testing.assert_array_equal(data, np.where(valid, whole[(slice(None), *window.slices)], 0))
        assert policy.failures == ["rows 256..512, columns 512..768 of 700 x 900: cannot be read"]
    with pytest.raises(WindowError, match="Cannot read that: damaged; or go on without it: --on-error nodata"):
        read_twice(read, Window(row=0, col=0, height=700, width=900), GRID, FailurePolicy())


def damaged(path: Path) -> Path:
    """Spoil the bytes of one compressed tile in the middle."""
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_0", "TIFF", bidx=1))
        size = int(dataset.get_tag_item("BLOCK_SIZE_1_0", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def test_a_damaged_tile_of_a_file(
    command: Callable[..., Any], make_scene: Callable[..., Path], micro: Path, tmp_path: Path
) -> None:
    data = np.moveaxis(patchwork(520, 700), -1, 0)
    path = damaged(make_scene(data, tiled=True, blockxsize=256, blockysize=256, compress="deflate"))
    options = ["--model", micro, "--tile-size", 64, "--quiet", "-t", "road", "-t", "water", "-t", "trees"]
    stopped = command("segment", path, tmp_path / "out", *options)
    stopped.failed(1, "the file seems truncated or damaged", "or go on without it: --on-error nodata")
    assert not (tmp_path / "out").exists()
    done = command("segment", path, tmp_path / "out", *options, "--on-error", "nodata")
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "out" / "labels.tif") as dataset:
        labels = dataset.read(1)
    lost = np.zeros(labels.shape, bool)
    lost[:256, 256:512] = True
    np.testing.assert_array_equal(labels == 255, lost)
    failures = json.loads((tmp_path / "out" / "report.json").read_text())["failures"]
    assert failures == ["rows 0..256, columns 256..512 of 520 x 700 (around x 326609.5, y 2781069): cannot be read"]
