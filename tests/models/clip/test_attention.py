"""Properties of the attention methods that need no golden vectors."""

from __future__ import annotations

import pytest
import torch

from earthwords.errors import UsageError
from earthwords.models.clip.attention import ATTENTION, Heads
from earthwords.models.clip.model import DenseMethod


def heads(*, batch: int = 2, grid: tuple[int, int] = (3, 5)) -> Heads:
    generator = torch.Generator().manual_seed(0)
    tokens = grid[0] * grid[1] + 1
    q, k, v = (torch.randn(batch, 4, tokens, 8, generator=generator) for _ in range(3))
    return Heads(q=q, k=k, v=v, x=torch.randn(batch, tokens, 32, generator=generator), grid=grid)


@pytest.mark.parametrize("name", ATTENTION)
def test_shape_and_batch_independence(name: str) -> None:
    both = heads()
    out = ATTENTION[name](both)
    assert out.shape == both.v.shape
    one = Heads(q=both.q[1:], k=both.k[1:], v=both.v[1:], x=both.x[1:], grid=both.grid)
    torch.testing.assert_close(ATTENTION[name](one), out[1:])


@pytest.mark.parametrize(
    ("name", "gain"),
    [("vanilla", 1), ("maskclip", 1), ("clearclip", 1), ("sclip", 2), ("segearth", 3), ("gem", 1), ("naclip", 1)],
)
def test_constant_values_come_back_times_the_number_of_softmaxes(name: str, gain: int) -> None:
    h = heads()
    constant = Heads(q=h.q, k=h.k, v=torch.full_like(h.v, 0.5), x=h.x, grid=h.grid)
    torch.testing.assert_close(ATTENTION[name](constant), torch.full_like(h.v, 0.5 * gain))


def test_naclip_prefers_neighbours_on_a_grid_that_is_not_square() -> None:
    grid = (3, 5)
    flat = torch.zeros(1, 1, 16, 2)
    place = torch.eye(16)[None, None]
    weights = ATTENTION["naclip"](Heads(q=flat, k=flat, v=place, x=flat[:, 0], grid=grid))[0, 0]
    centre = 1 + 1 * 5 + 2
    right, below, far = weights[centre, centre + 1], weights[centre, centre + 5], weights[centre, 1]
    assert weights[centre, centre] > right > far
    torch.testing.assert_close(right, below)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"attention": "segerth"}, "Did you mean 'segearth'"),
        ({"last_n": 0}, "at least 1"),
        ({"last_n": 2, "keep_residual": True}, "without residual"),
    ],
)
def test_impossible_methods(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DenseMethod(**settings)
