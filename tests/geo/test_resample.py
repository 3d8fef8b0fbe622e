"""The triangle filter against PIL, against its formula, and against itself in other windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from earthwords.geo.resample import resample, source_window
from earthwords.types import Window

SIZES = [((37, 53), (11, 20)), ((37, 53), (80, 41)), ((37, 53), (37, 9)), ((5, 90), (1, 1)), ((12, 7), (31, 70))]


def whole(shape: tuple[int, int]) -> Window:
    return Window(row=0, col=0, height=shape[0], width=shape[1])


def example(shape: tuple[int, int], holes: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    data = rng.random((3, *shape), np.float32)
    valid = rng.random(shape) >= holes
    return data, valid


def read(data: np.ndarray, valid: np.ndarray, window: Window, target: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Only the source pixels that the window needs, as a scene reads them."""
    part = source_window(window, source=valid.shape, target=target)
    rows, cols = part.slices
    return resample(data[:, rows, cols], valid[rows, cols], window, source=valid.shape, target=target)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_equals_pil(source: tuple[int, int], target: tuple[int, int]) -> None:
    data, valid = example(source)
    out, kept = read(data, valid, whole(target), target)
    assert kept.all()
    for band, expected in zip(out, data, strict=True):
        resized = Image.fromarray(expected).resize(target[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(band, np.asarray(resized), atol=2e-6)


def formula(data: np.ndarray, valid: np.ndarray, target: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over valid pixels, as the docstring has it, one pixel at a time."""
    weights = []
    for length, count in zip(valid.shape, target, strict=True):
        scale = length / count
        centre = (np.arange(count)[:, None] + 0.5) * scale
        weight = np.maximum(0, 1 - np.abs(np.arange(length) + 0.5 - centre) / max(scale, 1))
        weights.append(weight / weight.sum(axis=1, keepdims=True))
    share = np.einsum("ir,jc,rc->ij", *weights, valid.astype(float))
    mean = np.einsum("ir,jc,brc->bij", *weights, np.where(valid, data, 0)) / np.maximum(share, 1e-9)
    return mean, share


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_nodata_weighs_nothing(source: tuple[int, int], target: tuple[int, int]) -> None:
    data, valid = example(source, holes=0.4)
    poisoned = np.where(valid, data, np.nan).astype(np.float32)
    out, kept = read(poisoned, valid, whole(target), target)
    mean, share = formula(data, valid, target)
    clear = np.abs(share - 0.5) > 1e-9
    np.testing.assert_array_equal(kept[clear], (share > 0.5)[clear])
    np.testing.assert_allclose(out, np.where(kept, mean, 0), atol=1e-6)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_a_constant_stays_exactly_constant(source: tuple[int, int], target: tuple[int, int]) -> None:
    _, valid = example(source, holes=0.3)
    out, kept = read(np.full((1, *source), 0.7, np.float32), valid, whole(target), target)
    np.testing.assert_array_equal(out[0], np.where(kept, np.float32(0.7), 0))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SIZES), st.data())
def test_any_window_equals_the_cut_of_the_whole(
    sizes: tuple[tuple[int, int], tuple[int, int]], draw: st.DataObject
) -> None:
    source, target = sizes
    data, valid = example(source, holes=0.2)
    full, full_kept = read(data, valid, whole(target), target)
    row, col = (draw.draw(st.integers(0, length - 1)) for length in target)
    height, width = draw.draw(st.integers(1, target[0] - row)), draw.draw(st.integers(1, target[1] - col))
    window = Window(row=row, col=col, height=height, width=width)
    out, kept = read(data, valid, window, target)
    np.testing.assert_array_equal(out, full[(slice(None), *window.slices)])
    np.testing.assert_array_equal(kept, full_kept[window.slices])
