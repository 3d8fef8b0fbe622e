"""What windows are before any word, kept for the next words: least recently used ones go first.

Kept of a window are its tokens (`4 dim h w` bytes: 0.8 MB of 28 x 28 tokens with 256 channels), and behind a linear
upsampler its upsampled pixels in the basis of the tokens (`4 H W rank` bytes: 13 MB of 224 pixels with a rank of 64),
where all windows of a view may have theirs. Other upsamplers work anew for every map, on tokens that are known.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from earthwords.inference.windows.failures import FailurePolicy, place
from earthwords.inference.windows.sliding import Encoder, ImagePart, WindowPlan
from earthwords.types import Grid, Window

MOST_BYTES = 512 * 2**20
"""That all kept windows of a segmenter take at most, unless told otherwise."""


class KeptParts:
    """Parts of images by name, no more bytes than allowed; threads may share it."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.nbytes = 0
        """That are kept now."""
        self.computed = 0
        """Windows that the image tower has seen."""
        self._parts: OrderedDict[Hashable, ImagePart] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._parts)

    def get(self, name: Hashable) -> ImagePart | None:
        """What is kept under a name, which was used just now."""
        with self._lock:
            if (part := self._parts.get(name)) is not None:
                self._parts.move_to_end(name)
            return part

    def put(self, name: Hashable, part: ImagePart) -> None:
        """Keep a part in the place of an earlier one; one that is larger than all that may be kept is not."""
        with self._lock:
            if (earlier := self._parts.pop(name, None)) is not None:
                self.nbytes -= earlier.nbytes
            if part.nbytes <= self.most_bytes:
                self._parts[name] = part
                self.nbytes += part.nbytes
            while self.nbytes > self.most_bytes:
                _, oldest = self._parts.popitem(last=False)
                self.nbytes -= oldest.nbytes

    def count(self) -> None:
        """A window was computed."""
        with self._lock:
            self.computed += 1

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._parts.clear()
            self.nbytes = 0


@dataclass(frozen=True, kw_only=True)
class KeptWindows:
    """Windows of one scene, by way of what is kept of them."""

    parts: KeptParts
    encoder: Encoder
    """Without a head."""
    scene: Hashable
    """What tells the scene, and how it is read, from others."""
    windows: int
    """Of the view, which share the room for upsampled pixels."""
    coarse: bool = False
    """Tokens are not upsampled, and no more windows are used than cover the view."""

    @cached_property
    def _encoder(self) -> Encoder:
        return replace(self.encoder, upsampler=None) if self.coarse else self.encoder

    def plan(self, whole: WindowPlan) -> WindowPlan:
        """The windows that are used."""
        return SparsePlan(whole.shape, whole.tile, whole.stride, whole.wanted) if self.coarse else whole

    def logits(
        self, windows: Tensor, places: list[Window], queries: Tensor, *, grid: Grid, policy: FailurePolicy
    ) -> list[Tensor | None]:
        """Of windows `(batch, 3, H, W)` that lie in `grid`, `(query, H, W)` each: one by one, so that on a GPU the last
        bits may differ from those of a batch; None for one that failed twice and may be left out."""
        return [
            policy.twice(
                lambda i=i: self._logits(windows[i : i + 1], places[i], queries, policy),  # type: ignore[misc]
                where=lambda i=i: place(grid, places[i]),  # type: ignore[misc]
            )
            for i in range(len(places))
        ]

    def _logits(self, pixels: Tensor, where: Window, queries: Tensor, policy: FailurePolicy) -> Tensor:
        found = self._encoder.logits_of(self._part(pixels, where, policy), pixels, queries)[0]
        if not bool(found.isfinite().all()):
            raise ArithmeticError("the model gave numbers that are not finite")
        return found

    def features(
        self, pixels: Tensor, where: Window, rows: Tensor, cols: Tensor, *, grid: Grid, policy: FailurePolicy
    ) -> Tensor | None:
        """Of pixels of a window `(1, 3, H, W)`, `(n, dim)`; None: it failed twice and may be left out."""
        return policy.twice(
            lambda: self._encoder.features_of(self._part(pixels, where, policy), pixels, rows, cols),
            where=lambda: place(grid, where),
        )

    def _part(self, pixels: Tensor, where: Window, policy: FailurePolicy) -> ImagePart:
        name = (self.scene, where)
        known = self.parts.get(name)
        if known is not None and (self.coarse or known.complete):
            return known
        if known is None:
            self.parts.count()
        most = 0 if self.coarse else self.parts.most_bytes // max(1, self.windows)
        part = self._encoder.image_part(pixels, known, most=most, note=policy.ranks.append)
        part = replace(part, complete=not self.coarse or self.encoder.upsampler is None)
        self.parts.put(name, part)
        return part


@dataclass(frozen=True)
class SparsePlan(WindowPlan):
    """Of the windows that touch a region as few as cover it."""

    @cached_property
    def rows(self) -> list[int]:
        """First rows of the windows."""
        return _covering(super().rows, self.size[0], self.region.row, self.region.row_stop)

    @cached_property
    def cols(self) -> list[int]:
        """First columns of the windows."""
        return _covering(super().cols, self.size[1], self.region.col, self.region.col_stop)


def _covering(starts: list[int], length: int, first: int, stop: int) -> list[int]:
    """Of ascending starts of windows as few as reach from `first` to `stop`, each as late as possible."""
    found: list[int] = []
    while first < stop:
        found.append(max(start for start in starts if start <= first))
        first = found[-1] + length
    return found
