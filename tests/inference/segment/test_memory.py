"""Sizes of memory, and blocks that fit into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.geo.scene import open_scene
from earthwords.inference.limits import parse_memory
from earthwords.inference.segment.memory import MemoryEstimate, shown
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks
from earthwords.text.vocabulary import parse_classes


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2**31), ("1.5G", 3 * 2**29), ("800 MB", 800 * 2**20), ("64k", 2**16), ("1T", 2**40), ("12345", 12345)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-2G", "0", "2 Gigs", "1e9", "0.0001"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="The memory is a size such as 2GiB or 1500MB, not"):
        parse_memory(text)


def test_sizes_are_shown_as_one_would() -> None:
    assert (shown(3 * 2**29), shown(700 * 2**20)) == ("1.5 GiB", "700 MiB")


@pytest.fixture(scope="module")
def need(segmenter: Segmenter) -> MemoryEstimate:
    """Of a flat scene of 600 x 9,000 pixels."""
    scene = open_scene(np.broadcast_to(np.uint8(9), (600, 9000, 3)))
    return MemoryEstimate(segmenter=segmenter, scene=scene, vocabulary=parse_classes(["building,roof", "road"]))


def test_more_of_anything_needs_more(need: MemoryEstimate, segmenter: Segmenter) -> None:
    blocks = Blocks(region=need.scene.region, rows=64, cols=4096)
    size = need.bytes(blocks)
    assert need.bytes(replace(blocks, rows=128)) > size
    assert need.bytes(replace(blocks, cols=2048)) < size
    assert (
        replace(need, probabilities="float32").bytes(blocks) > replace(need, probabilities="uint8").bytes(blocks) > size
    )
    assert replace(need, vocabulary=parse_classes([f"thing {i}" for i in range(50)])).bytes(blocks) > size
    larger = Segmenter(replace(segmenter.preset, tile_size=128), segmenter.encoder)
    assert replace(need, segmenter=larger).bytes(blocks) > size


def test_the_widest_blocks_that_fit_are_taken(need: MemoryEstimate) -> None:
    wide = need.fit(2**31)
    assert wide.across == 1
    limit = need.bytes(wide) - 1
    narrow = need.fit(limit)
    assert narrow.across > 1 and need.bytes(narrow) <= limit
    shared = need.fit(2 * limit, workers=2)
    assert need.bytes(shared) <= limit
    assert need.fit(limit, workers=2, shared=False).cols >= shared.cols


def test_too_little_memory_is_told(need: MemoryEstimate) -> None:
    with pytest.raises(
        UsageError, match=r"3 words in windows of 64 pixels need .* MiB of memory, 1 MiB were given; give"
    ):
        need.fit(2**20)
