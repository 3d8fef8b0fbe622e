"""Upsampled features of a scene of any size: a row of windows is held at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import SourceError
from earthwords.geo.scene import Scene
from earthwords.inference.features.pca import Components
from earthwords.inference.features.pca_upsampling import upsample_components
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.features.window_store import WindowStore
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.inference.windows.sliding import ROWS, Computed, Read, RunWindows, Slide, WindowPlan, pad
from earthwords.jobs.job import Tick
from earthwords.jobs.threads import Pool, on_one_core
from earthwords.types import Window

SAMPLED_WINDOWS = 64
"""Windows whose tokens are looked at before the work, spread over the scene."""
SAMPLED_TOKENS = 2**15
"""Of all of them, at most."""

Compute = Callable[[Slide, Read], Iterator[Computed]]
"""Computes all windows, in the order of `Slide.computed`."""


@dataclass(frozen=True, kw_only=True)
class FeatureStrip:
    """Consecutive full-width rows of the region asked for, in the scene's own pixels."""

    row: int
    """First row, counted from the top of the region."""
    values: NDArray[np.float32]
    """`(channel, row, col)`: components or features, NaN where nothing was observed."""
    tokens: NDArray[np.float32] | None
    """`(component, row, col)`: components of the tokens, not upsampled, each as large as its patch."""
    rgb: NDArray[np.float32]
    """`(3, row, col)`, 0..1."""
    valid: NDArray[np.bool_]
    """`(row, col)`."""


@dataclass(frozen=True, kw_only=True)
class SceneFeatures:
    """The features of the part of a scene that is asked for."""

    upsampler: Upsampler
    scene: Scene
    components: Components | None
    """What is given of the features; None: all channels."""
    colours: Components | None = None
    """Also give these components of the tokens, not upsampled."""

    @property
    def channels(self) -> int:
        """Numbers a pixel that are computed."""
        own = self.upsampler.backbone.dim if self.components is None else len(self.components)
        return own + self._coloured

    def strips(
        self,
        *,
        policy: FailurePolicy | None = None,
        tick: Tick = lambda windows: None,
        first: int = 0,
        compute: Compute | None = None,
        kept: WindowStore | None = None,
    ) -> Iterator[FeatureStrip]:
        """From top to bottom.

        Args:
            policy: what windows that fail do; told about them.
            tick: called with the number of windows done.
            first: row of the region to begin at, 0 or where another strip ended; the strips are those of the whole.
            compute: who computes the windows; None: this process.
            kept: where this process keeps windows, and finds those of an earlier run; None: nowhere.

        Raises:
            UsageError: impossible windows.
            WindowError: a window cannot be read or computed, in two attempts.
        """
        yield from on_one_core(self._strips(policy or FailurePolicy(), tick, first, compute, kept))

    def plan(self, first: int = 0) -> WindowPlan:
        """The windows that the rows from `first` on are made of."""
        whole, rest = self.upsampler.plan(self.scene), self._rest(first)
        plan = self.upsampler.plan(self.scene, rest)
        if first == 0 or self.upsampler.resizer(self.scene, rest).same:
            return plan
        part = plan.region  # begins between two strips of the working grid; all strips end where they always do
        above = max((top for top in whole.rows if top <= part.row), default=0)
        above = max(above, whole.region.row)
        row = above + (part.row - above) // ROWS * ROWS
        return replace(plan, wanted=Window(row=row, col=part.col, height=part.row_stop - row, width=part.width))

    def _rest(self, first: int) -> Window:
        """The region from one of its rows on."""
        region = self.scene.region
        return Window(row=region.row + first, col=region.col, height=region.height - first, width=region.width)

    @property
    def _coloured(self) -> int:
        return 0 if self.colours is None else len(self.colours)

    def _strips(
        self, policy: FailurePolicy, tick: Tick, first: int, compute: Compute | None, kept: WindowStore | None
    ) -> Generator[FeatureStrip, None, None]:
        upsampler, scene, device = self.upsampler, self.scene, self.upsampler.backbone.device
        slide = Slide(
            plan=self.plan(first),
            queries=self.channels,
            batch=1 if device.type == "cpu" else upsampler.batch,
            blend=upsampler.preset.blend,
            device=device,
        )

        def read(window: Window) -> tuple[Tensor, Tensor]:
            return upsampler.read(scene, window, policy)

        with Pool(upsampler.threads, cores=upsampler.cores) as pool:
            if compute is None:
                results = slide.computed(read, self._runner(policy, kept), pool=pool)
            else:
                results = compute(slide, read)
            resizer = upsampler.resizer(scene, self._rest(first), most_rows=CELL_ROWS)
            for row, values in resizer.resize(slide.stitched(results, tick=tick)):
                yield self._strip(row, values, policy)

    def _runner(self, policy: FailurePolicy, kept: WindowStore | None) -> RunWindows:
        """How this process computes windows."""
        upsampler, grid, device = self.upsampler, self.scene.grid, self.upsampler.backbone.device
        components, colours = (part and part.to(device) for part in (self.components, self.colours))

        def compute(windows: Tensor) -> Tensor:
            return window_features(upsampler, windows, components, colours)

        def run(windows: Tensor, places: list[Window]) -> list[Tensor | None]:
            if kept is not None and kept.has(places):
                return list(kept.read(places, device))
            found = upsampler.attempt(compute, windows, places, grid, policy)
            if kept is not None:
                kept.save(places, found)
            return found

        return run

    def _strip(self, row: int, values: Tensor, policy: FailurePolicy) -> FeatureStrip:
        scene, region = self.scene, self.scene.region
        window = Window(row=row, col=region.col, height=values.shape[1], width=region.width)
        rgb, valid = read_twice(scene.read_wanted, window, scene.native, policy)
        unseen = (values == 0).all(dim=0).cpu().numpy()  # too small a spot for any pixel of the working grid
        found = values.float().cpu().numpy().copy()
        found[:, ~valid | unseen] = np.nan
        split = len(found) - self._coloured
        return FeatureStrip(
            row=row - region.row,
            values=found[:split],
            tokens=None if self.colours is None else found[split:],
            rgb=rgb,
            valid=valid & ~unseen,
        )


def window_features(
    upsampler: Upsampler, pixels: Tensor, components: Components | None, colours: Components | None
) -> Tensor:
    """`(batch, channel, H, W)`: features or their components, then the tokens' colours."""
    height, width = pixels.shape[-2:]
    top, left, padded = pad(pixels, upsampler.backbone.patch)
    tokens, size = upsampler.encode(padded), (padded.shape[-2], padded.shape[-1])
    if components is None:
        parts = [upsampler.module(tokens, padded, size)]
    else:
        parts = [upsample_components(upsampler.module, tokens, padded, size, components)]
    if colours is not None:
        parts.append(F.interpolate(colours.project(tokens), size=size, mode="nearest"))
    return torch.cat([part[:, :, top : top + height, left : left + width] for part in parts], dim=1)


def sample_tokens(
    upsampler: Upsampler,
    scene: Scene,
    *,
    policy: FailurePolicy | None = None,
    compute: Callable[[Iterator[tuple[Tensor, Tensor]], int], Iterator[Tensor]] | None = None,
) -> Tensor:
    """Tokens `(token, dim)` from windows spread over the part of the scene that is asked for, in the CPU's memory.

    Always the same ones: of up to `SAMPLED_WINDOWS` windows, the tokens with an observed pixel, at even steps.

    Args:
        compute: who encodes windows, given as pixels and valid mask, with the most tokens wanted of each; None: this
            process.

    Raises:
        SourceError: nothing was observed.
    """
    plan, known = upsampler.plan(scene), policy or FailurePolicy()
    share, places = SAMPLED_TOKENS // min(SAMPLED_WINDOWS, len(plan)), plan.windows
    order = np.random.default_rng(0).permutation(len(places)).tolist()
    reads = (upsampler.read(scene, places[i], known) for i in order)
    wanted = islice((read for read in reads if bool(read[1].any())), SAMPLED_WINDOWS)
    with Pool(upsampler.threads, cores=upsampler.cores) as pool:
        if compute is None:
            found = list(pool.ordered(lambda read: window_tokens(upsampler, *read, share=share), wanted))
        else:
            found = list(compute(wanted, share))
    if not found:
        raise SourceError(f"{scene.source} has no valid pixel in the part asked for; choose other bounds.")
    return torch.cat(found)


def as_tensor(values: NDArray[Any]) -> Tensor:
    """Of an array that may be shared and read only, as a cluster gives it."""
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def window_tokens(upsampler: Upsampler, pixels: Tensor, valid: Tensor, *, share: int) -> Tensor:
    """Tokens `(token, dim)` of a window `(3, H, W)` with an observed pixel: at most `share`, at even steps."""
    patch = upsampler.backbone.patch
    padded, seen = (pad(part[None], patch)[2] for part in (pixels, valid[None].float()))
    with torch.inference_mode():
        tokens = upsampler.encode(padded)[0].flatten(1).T
    kept = tokens[F.max_pool2d(seen, patch).flatten() > 0].cpu().float()
    return kept[torch.linspace(0, len(kept) - 1, min(share, len(kept))).round().long()]
