"""Overlapping windows over an image of any size: the windows, padding and stitching of SegEarth-OV.

Window logits are summed and divided by the number of windows that saw a pixel (or by the sum of their weights); the
last window of an axis is shifted back to end at the border. Rows leave as soon as no later window can touch them, so
the memory is one row of windows, whatever the height of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.geo.grids.tiling import axis_starts
from earthwords.inference.windows.encoders.clip_encoder import ClipWindows
from earthwords.inference.windows.lowrank import VECTOR, Coordinates, LinearUpsampler, coordinates, reduced_cosines
from earthwords.inference.windows.mixture import shares
from earthwords.jobs.threads import Pool
from earthwords.kernels.blend import add_window, window_weights
from earthwords.models.aggregation.head import CostHead
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.types import FeatureMap, Mixture, Window


@dataclass(frozen=True, kw_only=True)
class Encoder(ClipWindows):
    """Pixels of windows to logits of queries."""

    backbone: ClipBackbone
    method: DenseMethod
    upsampler: torch.nn.Module | None
    """None: logits of tokens are interpolated bilinearly."""
    cls_weight: float = 0.0
    """Weight of the class token's cosine, added to every pixel; negative to subtract the global bias."""
    energy: float | None = 1.0
    """Share of the tokens' energy that a linear upsampler must keep; 1 is exact, None upsamples all channels."""
    head: CostHead | None = None
    """Makes logits and the upsampler needless: what comes out then are probabilities, of each query by itself."""

    @torch.inference_mode()
    def logits(
        self,
        pixels: Tensor,
        queries: Tensor,
        *,
        size: tuple[int, int] | None = None,
        note: Callable[[int], None] = lambda rank: None,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """Cosine of every pixel and query, or its probability by a head, or its share in a mixture.

        Args:
            pixels: `(batch, 3, H, W)`, normalised, any size: padded with zeros to whole patches,
                half of the padding (rounded down) on the left and on the top, and cut back.
            queries: `(query, dim)` unit vectors.
            size: resize the logits of the whole input straight to this size, without padding; an
                incomplete last patch is not seen (SegEarth-OV without windows).
            note: told the rank of every window that an `energy` below 1 reduces.
            mixture: of the scene's tokens; they are not upsampled then.

        Returns:
            `(batch, query, H, W)`, or `(batch, query, *size)`.
        """
        if size is not None:
            return _resize(self._cosines(pixels, queries, note, mixture), size)
        height, width = pixels.shape[-2:]
        top, left, padded = pad(pixels, self.backbone.patch)
        logits = _resize(self._cosines(padded, queries, note, mixture), tuple(padded.shape[-2:]))
        return logits[:, :, top : top + height, left : left + width]

    def token_cosines(self, padded: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Of tokens: features of unit length `(batch, dim, h, w)`, and cosines `(batch, query, h, w)`."""
        features = self.backbone.encode_dense(padded, self.method)
        values = F.normalize(features.values, dim=1)
        return values, self._with_cls(torch.einsum("bdhw,qd->bqhw", values, queries), features, queries)

    def _with_cls(self, logits: Tensor, features: FeatureMap, queries: Tensor) -> Tensor:
        """With what the class token adds to every cosine."""
        if self.cls_weight == 0 or features.cls is None:
            return logits
        cls = F.normalize(features.cls, dim=-1)
        return logits + self.cls_weight * (cls @ queries.T)[:, :, None, None]

    def _cosines(self, padded: Tensor, queries: Tensor, note: Callable[[int], None], mixture: Mixture | None) -> Tensor:
        """`(batch, query, h, w)` at the resolution of the upsampled features, of the tokens, or of the head."""
        if mixture is not None:
            values, cosines = self.token_cosines(padded, queries)
            flat = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (values, cosines))
            found = shares(mixture, *flat).unflatten(0, (len(padded), *values.shape[-2:]))
            joint: Tensor = found.permute(0, 3, 1, 2)
            return joint
        if self.head is not None:
            return self.head.probabilities(self.backbone, padded, queries)
        return self._products(self.backbone.encode_dense(padded, self.method), None, padded, queries, note)

    def _products(
        self,
        features: FeatureMap,
        upsampled: Coordinates | None,
        padded: Tensor,
        queries: Tensor,
        note: Callable[[int], None] = lambda rank: None,
    ) -> Tensor:
        """Cosines of words and what the backbone sees, upsampled as far as it is not yet."""
        values, size = features.values, (padded.shape[-2], padded.shape[-1])
        if upsampled is not None:
            logits = upsampled.cosines(queries)
        elif self.energy is not None and isinstance(self.upsampler, LinearUpsampler):
            logits = reduced_cosines(self.upsampler, values, padded, size, queries, energy=self.energy, note=note)
        else:
            if self.upsampler is not None:
                values = self.upsampler(values, padded, size)
            logits = torch.einsum("bdhw,qd->bqhw", F.normalize(values, dim=1), queries)
        return self._with_cls(logits, features, queries)

    @torch.inference_mode()
    def image_part(
        self, pixels: Tensor, known: ImagePart | None = None, *, most: int, note: Callable[[int], None]
    ) -> ImagePart:
        """What of `logits` is the same for all words; not with a head.

        Args:
            pixels: `(1, 3, H, W)`, normalised.
            known: of the same window, such as its tokens alone.
            most: bytes that upsampled pixels may take; else only the tokens are kept.
            note: as of `logits`.
        """
        _, _, padded = pad(pixels, self.backbone.patch)
        features = self.backbone.encode_dense(padded, self.method) if known is None else known.features
        linear = self.energy is not None and isinstance(self.upsampler, LinearUpsampler)
        if not linear or padded[0, 0].numel() * 4 * VECTOR > most:
            return ImagePart(features=features)
        assert self.energy is not None and isinstance(self.upsampler, LinearUpsampler)
        size = (padded.shape[-2], padded.shape[-1])
        found = coordinates(self.upsampler, features.values[0], padded[0], size, energy=self.energy, note=note)
        return ImagePart(features=features, upsampled=found if found.nbytes <= most else None)

    @torch.inference_mode()
    def logits_of(self, part: ImagePart, pixels: Tensor, queries: Tensor) -> Tensor:
        """`logits` of a window `(1, 3, H, W)` whose part of the image is known, on a CPU to the bit."""
        height, width = pixels.shape[-2:]
        top, left, padded = pad(pixels, self.backbone.patch)
        found = self._products(part.features, part.upsampled, padded, queries)
        logits = _resize(found, tuple(padded.shape[-2:]))
        return logits[:, :, top : top + height, left : left + width]

    @torch.inference_mode()
    def features_of(self, part: ImagePart, pixels: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """What words are multiplied with at some pixels of a window, `(n, dim)`: `logits_of` of the unit vectors there,
        to rounding.

        Args:
            part, pixels: as of `logits_of`.
            rows, cols: `(n,)` int64, in the window.
        """
        features, dim = part.features, self.backbone.dim
        if part.upsampled is None and self.upsampler is not None:
            unit = torch.eye(dim, device=pixels.device)
            return self.logits_of(part, pixels, unit)[0][:, rows, cols].T
        top, left, padded = pad(pixels, self.backbone.patch)
        if part.upsampled is not None:
            found = part.upsampled.at(rows + top, cols + left)
        else:
            tokens = F.normalize(features.values, dim=1)[0]
            found = _between(tokens, (padded.shape[-2], padded.shape[-1]), rows + top, cols + left)
        if self.cls_weight == 0 or features.cls is None:
            return found
        return found + self.cls_weight * F.normalize(features.cls, dim=-1)


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """What a window is before any word."""

    features: FeatureMap
    """Of one window, as the backbone gives them."""
    upsampled: Coordinates | None = None
    """None: without a linear upsampler, or too large to keep."""
    complete: bool = True
    """Whether all that there is room for is there; else the tokens alone."""

    @property
    def nbytes(self) -> int:
        """That it takes."""
        parts = (self.features.values, self.features.cls)
        own = sum(part.numel() * part.element_size() for part in parts if part is not None)
        return int(own + (0 if self.upsampled is None else self.upsampled.nbytes))


def _resize(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(logits.shape[-2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def _between(maps: Tensor, size: tuple[int, int], rows: Tensor, cols: Tensor) -> Tensor:
    """Of maps `(dim, h, w)` what `_resize` to `size` gives at some pixels, `(n, dim)`."""
    (top, bottom, down), (left, right, across) = (
        _taps(place, count, length) for place, count, length in zip((rows, cols), maps.shape[-2:], size, strict=True)
    )
    upper = maps[:, top, left] * (1 - across) + maps[:, top, right] * across
    lower = maps[:, bottom, left] * (1 - across) + maps[:, bottom, right] * across
    found: Tensor = (upper * (1 - down) + lower * down).T
    return found


def _taps(place: Tensor, count: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of `count` numbers stretched to `length`: the two that each place lies between, and the weight of the second."""
    exact = ((place + 0.5) * (count / length) - 0.5).clamp(min=0)
    first = exact.long().clamp(max=count - 1)
    return first, (first + 1).clamp(max=count - 1), exact - first


def pad(pixels: Tensor, patch: int) -> tuple[int, int, Tensor]:
    """Rows and columns of zeros added on the top and on the left, and the pixels padded to whole patches."""
    rows, cols = (-pixels.shape[-2] % patch, -pixels.shape[-1] % patch)
    if rows == cols == 0:
        return 0, 0, pixels
    top, left = rows // 2, cols // 2
    return top, left, F.pad(pixels, (left, cols - left, top, rows - top))


Read = Callable[[Window], tuple[Tensor, Tensor]]
"""A window to its normalised pixels `(3, h, w)` and valid mask `(h, w)` bool."""

RunWindows = Callable[[Tensor, list[Window]], list[Tensor | None]]
"""Windows `(batch, 3, h, w)`, and where they lie, to logits `(query, h, w)` each; None for one to leave out."""

ROWS = 32
"""Rows of logits that leave at once, at most."""


@dataclass(frozen=True, kw_only=True)
class Computed:
    """What became of some windows of one row of windows."""

    row: int
    """Which row of windows."""
    places: Sequence[Window]
    values: Sequence[Tensor | None]
    """Logits `(query, h, w)` of each; None: left out."""
    windows: int
    """That are done with these, those without a valid pixel among them."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Windows of one row of windows that are computed together."""

    row: int
    """Which row of windows."""
    places: list[Window]
    pixels: Tensor | None
    """`(3, tile, width)` of the row; None: no window of the row holds a valid pixel."""
    left: int
    """Column that `pixels` begin at."""
    skipped: int
    """Windows without a valid pixel that came before."""

    def windows(self) -> Tensor:
        """Their pixels `(batch, 3, h, w)`, where there are any."""
        assert self.pixels is not None
        return torch.stack([self.pixels[:, :, w.col - self.left : w.col_stop - self.left] for w in self.places])

    def computed(self, values: Sequence[Tensor | None]) -> Computed:
        """With the logits of each."""
        return Computed(row=self.row, places=self.places, values=values, windows=self.skipped + len(self.places))


@dataclass(frozen=True, kw_only=True)
class Slide:
    """How logits of windows become logits of an image."""

    plan: WindowPlan
    queries: int
    """Logits a pixel."""
    batch: int = 1
    """Windows a call."""
    blend: str = "mean"
    """Weight of a pixel of a window: `mean` (all the same), `linear` or `cosine` (falling towards the border)."""
    device: str | torch.device = "cpu"

    def rows(
        self, read: Read, run: RunWindows, *, pool: Pool, tick: Callable[[int], None] = lambda windows: None
    ) -> Iterator[tuple[int, Tensor]]:
        """Stitched logits of the plan's region, strip by strip.

        Args:
            read: gives the pixels and the valid mask of a window of the image.
            run: gives the logits of some windows; called by the threads of `pool`.
            tick: called with the number of windows done.

        Yields:
            `(row, logits (query, h, region.width))`, consecutive strips; 0 where no window held a valid pixel.
        """
        return self.stitched(self.computed(read, run, pool=pool), tick=tick)

    @torch.inference_mode()
    def computed(self, read: Read, run: RunWindows, *, pool: Pool) -> Iterator[Computed]:
        """All windows of the plan, from left to right and from top to bottom; see `rows`."""

        def compute(batch: Batch) -> Computed:
            if batch.pixels is None:
                return batch.computed([])
            with torch.inference_mode():
                return batch.computed(run(batch.windows(), batch.places))

        yield from pool.ordered(compute, self.batches(read))

    @torch.inference_mode()
    def stitched(
        self, results: Iterable[Computed], *, tick: Callable[[int], None] = lambda windows: None
    ) -> Iterator[tuple[int, Tensor]]:
        """As `rows`, of windows that are computed, in the order of `computed`; something of every row of windows."""
        plan, part, (height, width) = self.plan, self.plan.region, self.plan.size
        left = plan.cols[0]
        crop = slice(part.col - left, part.col_stop - left)
        total = torch.zeros((self.queries, height, plan.width), device=self.device)
        seen = torch.zeros((height, plan.width), device=self.device)
        weight = window_weights(self.blend, (height, width), device=self.device)
        for row, group in groupby(results, key=lambda result: result.row):
            for result in group:
                for place, values in zip(result.places, result.values, strict=True):
                    if values is not None:
                        add_window(total, seen, values, weight, 0, place.col - left)
                tick(result.windows)
            top = plan.rows[row]
            done = plan.rows[row + 1] - top if row + 1 < len(plan.rows) else height
            begin, end = max(part.row - top, 0), min(done, part.row_stop - top)
            for first in range(begin, end, ROWS):
                rows = slice(first, min(first + ROWS, end))
                share = seen[rows, crop]
                yield top + first, total[:, rows, crop] / torch.where(share > 0, share, 1)
            _shift(total, done)
            _shift(seen, done)

    def batches(self, read: Read) -> Iterator[Batch]:
        """The windows with a valid pixel, from left to right and from top to bottom, at least one batch a row."""
        plan, (height, width) = self.plan, self.plan.size
        left = plan.cols[0]
        for row, top in enumerate(plan.rows):
            pixels, valid = read(Window(row=top, col=left, height=height, width=plan.width))
            wanted = [c for c in plan.cols if bool(valid[:, c - left : c - left + width].any())]
            skipped = len(plan.cols) - len(wanted)
            places = [Window(row=top, col=c, height=height, width=width) for c in wanted]
            for i in range(0, max(1, len(places)), self.batch):
                yield Batch(
                    row=row,
                    places=places[i : i + self.batch],
                    pixels=pixels if places else None,
                    left=left,
                    skipped=skipped if i == 0 else 0,
                )


def _shift(buffer: Tensor, done: int) -> None:
    """Drop the first `done` rows of `(*, row, col)` in place; zeros come in at the bottom."""
    height = buffer.shape[-2]
    for start in range(0, height - done, done):
        stop = min(start + done, height - done)
        buffer[..., start:stop, :] = buffer[..., start + done : stop + done, :]
    buffer[..., height - done :, :] = 0


@dataclass(frozen=True)
class WindowPlan:
    """The windows of an image that touch a region."""

    shape: tuple[int, int]
    """`(rows, cols)` of the image; windows are anchored to its upper left corner."""
    tile: int
    stride: int
    wanted: Window | None = None
    """The part wanted; the windows stay those of the whole image, so that a part has the logits of the whole."""

    @property
    def region(self) -> Window:
        return self.wanted or Window(row=0, col=0, height=self.shape[0], width=self.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` of every window."""
        return min(self.tile, self.shape[0]), min(self.tile, self.shape[1])

    @cached_property
    def rows(self) -> list[int]:
        """First rows of the windows."""
        return _touching(self.shape[0], self.tile, self.stride, self.region.row, self.region.row_stop)

    @cached_property
    def cols(self) -> list[int]:
        """First columns of the windows."""
        return _touching(self.shape[1], self.tile, self.stride, self.region.col, self.region.col_stop)

    @property
    def windows(self) -> list[Window]:
        """All of them, from left to right and from top to bottom."""
        height, width = self.size
        return [Window(row=row, col=col, height=height, width=width) for row in self.rows for col in self.cols]

    @property
    def width(self) -> int:
        """Pixels from the first column of the first window to the last of the last one."""
        return self.cols[-1] + self.size[1] - self.cols[0]

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)


def _touching(length: int, tile: int, stride: int, first: int, stop: int) -> list[int]:
    return [s for s in axis_starts(length, tile, stride) if s < stop and s + min(tile, length) > first]


def slide(
    pixels: Tensor,
    run: Callable[[Tensor], Tensor],
    *,
    queries: int,
    tile: int,
    stride: int,
    batch: int = 8,
    blend: str = "mean",
    threads: int = 1,
) -> Tensor:
    """Stitched logits `(query, H, W)` of an image `(3, H, W)` in memory; `run` takes and gives batches."""
    valid = torch.ones(pixels.shape[-2:], dtype=torch.bool)

    def read(window: Window) -> tuple[Tensor, Tensor]:
        rows, cols = window.slices
        return pixels[:, rows, cols], valid[rows, cols]

    plan = WindowPlan((pixels.shape[-2], pixels.shape[-1]), tile, stride)
    job = Slide(plan=plan, queries=queries, batch=batch, blend=blend, device=pixels.device)
    with Pool(threads) as pool:
        strips = list(job.rows(read, lambda windows, places: list(run(windows)), pool=pool))
    return torch.cat([logits for _, logits in strips], dim=1)
