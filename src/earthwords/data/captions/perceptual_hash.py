"""Near-duplicate images: a 64-bit perceptual hash, and a search that misses no pair within a Hamming distance.

The hash of an image: grey (PIL's `L`: 0.299 R + 0.587 G + 0.114 B, in whole numbers), shrunk to 32 x 32 by a triangle
filter over all source pixels (PIL's BILINEAR on floats, the aspect ratio is lost), two-dimensional DCT-II with
orthonormal scale; of the coefficients `c[u, v]` with u, v < 8 all but the mean `c[0, 0]`, in whose place stands
`c[8, 8]`; bit `8 u + v` is 1 where the coefficient is positive. Brightness and contrast change no sign; mirroring an
image negates the coefficients of odd u or v, turning it by 90 degrees swaps u and v besides, so the hashes of the eight
orientations follow from one. (Compared with their median, as in other p-hashes, half of the 64 bits are always 1: all
distances are even then, and RemoteCLIP's "< 2" means equal.)

An image without structure (no coefficient reaches `FLAT`) has no such hash: it equals only the same pixels.

The search: two words of 64 bits that differ in at most t bits agree in one of t + 1 segments at least. Words are
sorted by each segment, neighbours of equal segments are compared, nothing else can be near
(https://arxiv.org/abs/2306.11029 uses the same dictionaries of segments).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

Hashes: TypeAlias = NDArray[np.uint64]

BITS = 64
THRESHOLD = 4
SIDE, LOW = 32, 8
FLAT = 4.0
"""Smallest coefficient that an image with structure has: a wave of a quarter of a grey level."""
ORIENTATIONS = ("same", "mirrored", "flipped", "turned 180", "transposed", "turned right", "turned left", "transversed")

_BLOCK = 2**17
"""Pairs compared at once."""
_LONG_RUN = 24
"""From equal segments of so many words on, tables are faster than lists."""
_Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Near pairs, sorted by `second`, then `first`."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.int64]
    """Bits that differ."""
    orientation: NDArray[np.int64]
    """Index in `ORIENTATIONS`: how the second looks in comparison to the first."""

    def __len__(self) -> int:
        return len(self.first)


def perceptual_hash(rgb: NDArray[np.uint8]) -> tuple[int, bool]:
    """Hash of an image `(row, col, 3)` and whether it is flat, in which case the hash is one of its pixels."""
    grey = Image.fromarray(rgb).convert("L").convert("F")
    waves = fft.dctn(np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64), norm="ortho")
    waves[0, 0] = waves[LOW, LOW]
    low = waves[:LOW, :LOW]
    if np.abs(low).max() < FLAT:
        digest = hashlib.sha256(repr(rgb.shape).encode() + np.ascontiguousarray(rgb).tobytes())
        return int.from_bytes(digest.digest()[:8], "big"), True
    return int.from_bytes(np.packbits(low.ravel() > 0, bitorder="little").tobytes(), "little"), False


def oriented(hashes: Hashes, orientation: int) -> Hashes:
    """The hashes that the images have when they are mirrored or turned; see `ORIENTATIONS`."""
    if orientation >= 4:
        hashes = _transposed(hashes)
        orientation = (0, 1, 2, 3)[orientation - 4]
    return np.asarray(hashes ^ np.uint64((0, _ODD_COLS, _ODD_ROWS, _ODD_COLS ^ _ODD_ROWS)[orientation]))


def near(
    hashes: Hashes, others: Hashes | None = None, *, threshold: int = THRESHOLD, orientations: int = len(ORIENTATIONS)
) -> Pairs:
    """All pairs of `hashes` (first < second), or of `others` (first) and `hashes` (second), up to a distance.

    A pair that is near in several orientations is told once, with the smallest distance.

    Args:
        hashes: `(n,)`.
        others: `(m,)`; None: search within `hashes`.
        threshold: largest distance in bits.
        orientations: how many of `ORIENTATIONS` count; 1 takes images as they are.
    """
    reference = hashes if others is None else others
    found = []
    for orientation in range(orientations):
        query = oriented(hashes, _INVERSE[orientation])
        for first, second, distance in _near(reference, query, threshold):
            keep = first < second if others is None else np.ones(len(first), bool)
            found.append(np.stack([second, first, distance, np.full(len(first), orientation)])[:, keep])
    table = np.concatenate(found, axis=1) if found else np.zeros((4, 0), np.int64)
    table = table[:, np.lexsort(table[[3, 2, 1, 0]])]
    if table.shape[1]:
        new = np.r_[True, (np.diff(table[:2]) != 0).any(axis=0)]
        table = table[:, new]
    second, first, distance, orientation_of = table
    return Pairs(first=first, second=second, distance=distance, orientation=orientation_of)


def distances(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """Bits in which the words differ."""
    return _count_bits(a ^ b).astype(np.int64)


def _near(reference: Hashes, query: Hashes, threshold: int) -> Iterator[_Found]:
    """Blocks of (index in `reference`, index in `query`, distance), a pair maybe more than once."""
    plans = [_Matches(reference, query, *segment) for segment in _segments(min(threshold, BITS - 1) + 1)]
    if threshold >= BITS or sum(plan.total for plan in plans) > len(reference) * len(query):
        plans = [_Matches(reference, query, 0, 0)]
    for plan in plans:
        yield from plan.close(threshold)


def _segments(count: int) -> list[tuple[int, int]]:
    """Shift and mask of `count` parts of a word, as equal as can be."""
    edges = [i * BITS // count for i in range(count + 1)]
    return [(low, (1 << (high - low)) - 1) for low, high in itertools.pairwise(edges)]


class _Matches:
    """Pairs of words that agree in a segment: both sides are sorted by it, and equal ones are runs."""

    def __init__(self, reference: Hashes, query: Hashes, shift: int, mask: int) -> None:
        keys, wanted = ((words >> np.uint64(shift)) & np.uint64(mask) for words in (reference, query))
        self.left, self.right = np.argsort(keys, kind="stable"), np.argsort(wanted, kind="stable")
        self.a, self.b = reference[self.left], query[self.right]
        values, self.first, count = np.unique(wanted[self.right], return_index=True, return_counts=True)
        self.last = self.first + count
        keys = keys[self.left]
        self.low = np.asarray(np.searchsorted(keys, values, side="left"))
        self.high = np.asarray(np.searchsorted(keys, values, side="right"))
        self.total = int(((self.high - self.low) * count).sum())

    def close(self, threshold: int) -> Iterator[_Found]:
        """The pairs up to a distance, in blocks."""
        return self._tables(threshold) if self.total > _LONG_RUN**2 * len(self.first) else self._lists(threshold)

    def _tables(self, threshold: int) -> Iterator[_Found]:
        """All against all of each run, for runs that are long."""
        runs = (edges.tolist() for edges in (self.low, self.high, self.first, self.last))
        for low, high, first, last in zip(*runs, strict=True):
            step = max(1, _BLOCK // (last - first))
            for start in range(low, high, step):
                distance = _count_bits(self.a[start : min(start + step, high), None] ^ self.b[first:last])
                rows, cols = np.nonzero(distance <= threshold)
                yield self.left[start + rows], self.right[first + cols], distance[rows, cols].astype(np.int64)

    def _lists(self, threshold: int) -> Iterator[_Found]:
        """Pair after pair of all runs, for runs that are short."""
        runs = np.repeat(np.arange(len(self.first)), self.last - self.first)
        start, count = self.low[runs], (self.high - self.low)[runs]
        ends = np.cumsum(count)
        cuts = np.searchsorted(ends, np.arange(_BLOCK, self.total + _BLOCK, _BLOCK), side="left") + 1
        for low, high in itertools.pairwise([0, *np.minimum(cuts, len(ends)).tolist()]):
            sizes = count[low:high]
            shift = start[low:high] - (np.cumsum(sizes) - sizes)
            left, right = np.repeat(shift, sizes) + np.arange(sizes.sum()), np.repeat(np.arange(low, high), sizes)
            distance = _count_bits(self.a[left] ^ self.b[right])
            near = np.flatnonzero(distance <= threshold)
            yield self.left[left[near]], self.right[right[near]], distance[near].astype(np.int64)


def _count_bits_swar(words: Hashes) -> NDArray[np.uint64]:
    """Ones of each word, by adding neighbours: pairs, fours, bytes, all (numpy < 2 cannot count them)."""
    one, two, four = (np.uint64(m) for m in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))
    words = words - ((words >> np.uint64(1)) & one)
    words = (words & two) + ((words >> np.uint64(2)) & two)
    words = (words + (words >> np.uint64(4))) & four
    with np.errstate(over="ignore"):
        return np.asarray((words * np.uint64(0x0101010101010101)) >> np.uint64(56))


_count_bits = getattr(np, "bitwise_count", _count_bits_swar)

_ODD_COLS = sum(1 << (LOW * u + v) for u in range(LOW) for v in range(1, LOW, 2))
_ODD_ROWS = sum(1 << (LOW * u + v) for u in range(1, LOW, 2) for v in range(LOW))
"""Bits of the waves that a mirror negates. (0, 0) holds c[8, 8], which is even in both.)"""
_INVERSE = (0, 1, 2, 3, 4, 6, 5, 7)


def _transposed(hashes: Hashes) -> Hashes:
    """Bits `8 u + v` to `8 v + u`: a transposed 8 x 8 matrix, by three exchanges (Hacker's Delight, section 7-3)."""
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
        moved = (hashes ^ (hashes >> np.uint64(shift))) & np.uint64(mask)
        hashes = hashes ^ moved ^ (moved << np.uint64(shift))
    return hashes
