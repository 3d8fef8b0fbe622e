"""Overlapping windows over an image of any size: the windows, padding and stitching of SegEarth-OV.

Window logits are summed and divided by the number of windows that saw a pixel; the last window of an
axis is shifted back to end at the border. Rows leave as soon as no later window can touch them, so
the memory is one row of windows, whatever the height of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.geo.tiling import axis_starts
from earthwords.inference.lowrank import LinearUpsampler, reduced_cosines
from earthwords.models.backbones.clip import ClipBackbone, DenseMethod
from earthwords.types import Window


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Pixels of windows to logits of queries."""

    backbone: ClipBackbone
    method: DenseMethod
    upsampler: torch.nn.Module | None
    """None: logits of tokens are interpolated bilinearly."""
    cls_weight: float = 0.0
    """Weight of the class token's cosine, added to every pixel; negative to subtract the global bias."""
    energy: float | None = 1.0
    """Share of the tokens' energy that a linear upsampler must keep; 1 is exact, None upsamples all channels."""

    @torch.inference_mode()
    def logits(self, pixels: Tensor, queries: Tensor, *, size: tuple[int, int] | None = None) -> Tensor:
        """Cosine of every pixel and query.

        Args:
            pixels: `(batch, 3, H, W)`, normalised, any size: padded with zeros to whole patches,
                half of the padding (rounded down) on the left and on the top, and cut back.
            queries: `(query, dim)` unit vectors.
            size: resize the logits of the whole input straight to this size, without padding; an
                incomplete last patch is not seen (SegEarth-OV without windows).

        Returns:
            `(batch, query, H, W)`, or `(batch, query, *size)`.
        """
        if size is not None:
            return _resize(self._cosines(pixels, queries), size)
        height, width = pixels.shape[-2:]
        top, left, padded = _pad(pixels, self.backbone.patch)
        logits = _resize(self._cosines(padded, queries), tuple(padded.shape[-2:]))
        return logits[:, :, top : top + height, left : left + width]

    def _cosines(self, padded: Tensor, queries: Tensor) -> Tensor:
        """`(batch, query, h, w)` at the resolution of the upsampled features, or of the tokens."""
        features = self.backbone.encode_dense(padded, self.method)
        values, size = features.values, (padded.shape[-2], padded.shape[-1])
        if self.energy is not None and isinstance(self.upsampler, LinearUpsampler):
            logits = reduced_cosines(self.upsampler, values, padded, size, queries, energy=self.energy)
        else:
            if self.upsampler is not None:
                values = self.upsampler(values, padded, size)
            logits = torch.einsum("bdhw,qd->bqhw", F.normalize(values, dim=1), queries)
        if self.cls_weight != 0 and features.cls is not None:
            cls = F.normalize(features.cls, dim=-1)
            logits = logits + self.cls_weight * (cls @ queries.T)[:, :, None, None]
        return logits


def _resize(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(logits.shape[-2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def _pad(pixels: Tensor, patch: int) -> tuple[int, int, Tensor]:
    rows, cols = (-pixels.shape[-2] % patch, -pixels.shape[-1] % patch)
    if rows == cols == 0:
        return 0, 0, pixels
    top, left = rows // 2, cols // 2
    return top, left, F.pad(pixels, (left, cols - left, top, rows - top))


Read = Callable[[Window], tuple[Tensor, Tensor]]
"""A window to its normalised pixels `(3, h, w)` and valid mask `(h, w)` bool."""

RunWindows = Callable[[Tensor], Tensor]
"""Windows `(batch, 3, h, w)` to logits `(batch, query, h, w)`."""


@torch.inference_mode()
def slide_rows(
    read: Read,
    run: RunWindows,
    *,
    shape: tuple[int, int],
    queries: int,
    tile: int,
    stride: int,
    batch: int = 8,
    region: Window | None = None,
    tick: Callable[[int], None] = lambda windows: None,
) -> Iterator[tuple[int, Tensor]]:
    """Stitched logits of an image, strip by strip.

    Args:
        read: gives the pixels and the valid mask of a window of the image.
        run: gives the logits of a batch of windows.
        shape: `(rows, cols)` of the image; windows are anchored to its upper left corner.
        queries: number of logits a pixel.
        tile, stride: side and distance of the windows, pixels.
        batch: windows a call of `run`.
        region: the part wanted; the windows stay those of the whole image, so that a part has the same
            logits as the whole.
        tick: called with the number of windows done.

    Yields:
        `(row, logits (query, h, region.width))`, consecutive strips; 0 where no window held a valid pixel.
    """
    plan = WindowPlan(shape, tile, stride, region)
    part, (height, width) = plan.region, plan.size
    left, right = plan.cols[0], plan.cols[-1] + width
    crop = slice(part.col - left, part.col_stop - left)
    pending = count = torch.zeros(0)
    for i, top in enumerate(plan.rows):
        pixels, valid = read(Window(row=top, col=left, height=height, width=right - left))
        total = pixels.new_zeros((queries, *valid.shape))
        seen = pixels.new_zeros(valid.shape)
        if i > 0:
            total[:, : len(count)] = pending
            seen[: len(count)] = count
        _add_windows(total, seen, pixels, valid, run, [c - left for c in plan.cols], width, batch, tick)
        done = plan.rows[i + 1] - top if i + 1 < len(plan.rows) else height
        begin, end = max(part.row - top, 0), min(done, part.row_stop - top)
        if begin < end:
            yield top + begin, total[:, begin:end, crop] / seen[begin:end, crop].clamp(min=1)
        pending, count = total[:, done:].clone(), seen[done:].clone()


@dataclass(frozen=True)
class WindowPlan:
    """The windows of an image that touch a region."""

    shape: tuple[int, int]
    tile: int
    stride: int
    wanted: Window | None = None

    @property
    def region(self) -> Window:
        return self.wanted or Window(row=0, col=0, height=self.shape[0], width=self.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` of every window."""
        return min(self.tile, self.shape[0]), min(self.tile, self.shape[1])

    @property
    def rows(self) -> list[int]:
        """First rows of the windows."""
        return _touching(self.shape[0], self.tile, self.stride, self.region.row, self.region.row_stop)

    @property
    def cols(self) -> list[int]:
        """First columns of the windows."""
        return _touching(self.shape[1], self.tile, self.stride, self.region.col, self.region.col_stop)

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)


def _touching(length: int, tile: int, stride: int, first: int, stop: int) -> list[int]:
    return [s for s in axis_starts(length, tile, stride) if s < stop and s + min(tile, length) > first]


def _add_windows(
    total: Tensor,
    seen: Tensor,
    pixels: Tensor,
    valid: Tensor,
    run: RunWindows,
    starts: Sequence[int],
    side: int,
    batch: int,
    tick: Callable[[int], None],
) -> None:
    """Add the logits of one row of windows to `total` `(query, h, width)` and count them in `seen`."""
    wanted = [c for c in starts if bool(valid[:, c : c + side].any())]
    tick(len(starts) - len(wanted))
    for i in range(0, len(wanted), batch):
        cols = wanted[i : i + batch]
        logits = run(torch.stack([pixels[:, :, c : c + side] for c in cols]))
        for col, part in zip(cols, logits, strict=True):
            total[:, :, col : col + side] += part
            seen[:, col : col + side] += 1
        tick(len(cols))


def slide(pixels: Tensor, run: RunWindows, *, queries: int, tile: int, stride: int, batch: int = 8) -> Tensor:
    """Stitched logits `(query, H, W)` of an image `(3, H, W)` in memory."""
    valid = torch.ones(pixels.shape[-2:], dtype=torch.bool)

    def read(window: Window) -> tuple[Tensor, Tensor]:
        rows, cols = window.slices
        return pixels[:, rows, cols], valid[rows, cols]

    shape = (pixels.shape[-2], pixels.shape[-1])
    strips = slide_rows(read, run, shape=shape, queries=queries, tile=tile, stride=stride, batch=batch)
    return torch.cat([logits for _, logits in strips], dim=1)
