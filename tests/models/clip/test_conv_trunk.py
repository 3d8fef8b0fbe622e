"""Convolutional trunks: strides, and the pyramid that is built on a trained one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from earthwords.models.clip.conv_trunk import ConvTrunk, PyramidTrunk, build_trunk, trunk_stride

SIZES = {"widths": [4, 6, 8], "depths": [0, 2, 1]}


@pytest.mark.parametrize(("kind", "stride"), [("levels", 8), ("pyramid", 4)])
def test_tokens_are_as_large_as_the_stride_says(kind: str, stride: int) -> None:
    trunk = build_trunk(**SIZES, kind=kind, dim=5).eval()
    assert trunk_stride({**SIZES, "kind": kind}) == stride
    assert trunk(torch.rand(2, 3, 48, 64)).shape == (2, 5, 48 // stride, 64 // stride)
    assert trunk_stride(SIZES) == 8


@pytest.mark.parametrize(("height", "width"), [(48, 64), (20, 28), (21, 35)])
def test_a_fresh_pyramid_says_what_its_levels_say(height: int, width: int) -> None:
    """Also where the number of its tokens is odd, which twice a whole number is not."""
    torch.manual_seed(0)
    pyramid = PyramidTrunk(**SIZES, dim=5).eval()
    levels = ConvTrunk(**SIZES, dim=5).eval()
    levels.load_state_dict(pyramid.levels.state_dict())
    pixels = torch.rand(2, 3, height, width)
    found, expected = pyramid(pixels), F.interpolate(levels(pixels), scale_factor=2.0, mode="bilinear")
    assert found.shape[2:] == (-(-height // 4), -(-width // 4))
    torch.testing.assert_close(found, expected[..., : found.shape[2], : found.shape[3]])


def test_the_lateral_connection_sees_finer_detail() -> None:
    """A change within a cell of the level before the last stays in its token, once the connection has learned."""
    torch.manual_seed(0)
    pyramid = PyramidTrunk(widths=[4, 6], depths=[0, 0], dim=5).eval()
    torch.nn.init.normal_(pyramid.get_parameter("lateral.1.weight"))
    torch.nn.init.zeros_(pyramid.levels.weight)
    pixels = torch.rand(1, 3, 16, 24)
    other = pixels.clone()
    other[..., 6, 10] += 0.5
    moved = (pyramid(pixels) - pyramid(other)).abs().sum(dim=1)[0] > 1e-6
    rows, cols = moved.nonzero(as_tuple=True)
    assert moved.any() and rows.min() >= 1 and rows.max() <= 5 and cols.min() >= 3 and cols.max() <= 7


def test_levels_end_at_the_tokens_resolution() -> None:
    """As a decoder's guides they come at the tokens' resolution, twice and four times it, whatever the trunk."""
    for kind, stride in (("levels", 8), ("pyramid", 4)):
        trunk = build_trunk(**SIZES, kind=kind, dim=5).eval()
        pixels = torch.rand(1, 3, 48, 64)
        tokens, levels = trunk.with_levels(pixels)
        torch.testing.assert_close(tokens, trunk(pixels))
        assert tuple(level.shape[1] for level in levels) == trunk.widths
        assert levels[-1].shape[2:] == tokens.shape[2:] == (48 // stride, 64 // stride)
        assert levels[-2].shape[2:] == (96 // stride, 128 // stride)
