"""Windows add up to what the formula says, bit for bit."""

from __future__ import annotations

import math

import pytest
import torch

from earthwords.errors import UsageError
from earthwords.kernels import blend


def tukey_window(place: float) -> float:
    """Tukey's window with half of it tapered, at a place of 0..1, as textbooks write it."""
    distance = min(place, 1 - place)
    return 1.0 if distance >= 0.25 else 0.5 * (1 - math.cos(math.pi * distance / 0.25))


@pytest.mark.parametrize("mode", ["linear", "cosine", "tukey"])
@pytest.mark.parametrize("shape", [(7, 10), (1, 224), (96, 5)])
def test_weights(mode: str, shape: tuple[int, int]) -> None:
    """Every pixel by the formula; never 0, so that no pixel is lost."""
    found = blend.window_weights(mode, shape)
    assert found is not None and found.dtype == torch.float32 and found.shape == shape
    assert float(found.min()) > 0 and float(found.max()) <= 1
    one = {
        "linear": lambda i, n: min(i + 0.5, n - i - 0.5) / (n / 2),
        "cosine": lambda i, n: math.sin(math.pi * (i + 0.5) / n) ** 2,
        "tukey": lambda i, n: tukey_window((i + 0.5) / n),
    }[mode]
    expected = [[one(y, shape[0]) * one(x, shape[1]) for x in range(shape[1])] for y in range(shape[0])]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_mean_has_no_weights() -> None:
    assert blend.window_weights("mean", (4, 5)) is None
    assert blend.MODES == ("mean", "linear", "cosine", "tukey")


def test_unknown_mode() -> None:
    with pytest.raises(UsageError, match=r"Unknown blend mode 'cosin'. Did you mean 'cosine'\?"):
        blend.window_weights("cosin", (4, 5))


@pytest.mark.parametrize("mode", blend.MODES)
@torch.inference_mode()
def test_add_window(mode: str) -> None:
    """As the formula, bitwise; nothing outside the window changes, whatever the number of threads."""
    torch.manual_seed(1)
    total, seen, logits = torch.randn(3, 11, 17), torch.rand(11, 17), torch.randn(3, 5, 8)
    weight = blend.window_weights(mode, (5, 8))
    sums, counts = total.clone(), seen.clone()
    blend.add_window(sums, counts, logits, weight, 4, 9)
    part = (slice(4, 9), slice(9, 17))
    assert torch.equal(sums[:, *part], total[:, *part] + (logits if weight is None else logits * weight))
    assert torch.equal(counts[part], seen[part] + (1 if weight is None else weight))
    blend.reference(total, seen, logits, weight, 4, 9)
    assert torch.equal(sums, total) and torch.equal(counts, seen)


@pytest.mark.parametrize("mode", blend.MODES)
def test_windows_that_agree_are_not_changed(mode: str) -> None:
    """The blend of windows cut from one image is that image."""
    image = torch.rand(2, 20, 33)
    total, seen = torch.zeros(2, 20, 33), torch.zeros(20, 33)
    weight = blend.window_weights(mode, (12, 15))
    for row in (0, 8):
        for col in (0, 9, 18):
            blend.add_window(total, seen, image[:, row : row + 12, col : col + 15], weight, row, col)
    torch.testing.assert_close(total / seen, image)
