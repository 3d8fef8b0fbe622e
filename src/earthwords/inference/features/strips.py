"""Upsampled features of a scene of any size: a row of windows is held at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice

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
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.inference.windows.sliding import Slide, pad
from earthwords.jobs.job import Tick
from earthwords.jobs.threads import Pool, on_one_core
from earthwords.types import Window

SAMPLED_WINDOWS = 64
"""Windows whose tokens are looked at before the work, spread over the scene."""
SAMPLED_TOKENS = 2**15
"""Of all of them, at most."""


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
        self, *, policy: FailurePolicy | None = None, tick: Tick = lambda windows: None
    ) -> Iterator[FeatureStrip]:
        """From top to bottom.

        Args:
            account: what windows that fail do; told about them.
            tick: called with the number of windows done.

        Raises:
            UsageError: impossible windows.
            WindowError: a window cannot be read or computed, in two attempts.
        """
        yield from on_one_core(self._strips(policy or FailurePolicy(), tick))

    @property
    def _coloured(self) -> int:
        return 0 if self.colours is None else len(self.colours)

    def _strips(self, policy: FailurePolicy, tick: Tick) -> Generator[FeatureStrip, None, None]:
        upsampler, scene, device = self.upsampler, self.scene, self.upsampler.backbone.device
        components, colours = (part and part.to(device) for part in (self.components, self.colours))
        slide = Slide(
            plan=upsampler.plan(scene),
            queries=self.channels,
            batch=1 if device.type == "cpu" else upsampler.batch,
            blend=upsampler.preset.blend,
            device=device,
        )

        def compute(windows: Tensor) -> Tensor:
            return _window(upsampler, windows, components, colours)

        def run(windows: Tensor, places: list[Window]) -> list[Tensor | None]:
            return upsampler.attempt(compute, windows, places, scene, policy)

        with Pool(upsampler.threads, cores=upsampler.cores) as pool:
            rows = slide.rows(lambda window: upsampler.read(scene, window, policy), run, pool=pool, tick=tick)
            resizer = upsampler.resizer(scene, scene.region, most_rows=CELL_ROWS)
            for row, values in resizer.resize(rows):
                yield self._strip(row, values, policy)

    def _strip(self, row: int, values: Tensor, policy: FailurePolicy) -> FeatureStrip:
        scene, region = self.scene, self.scene.region
        window = Window(row=row, col=region.col, height=values.shape[1], width=region.width)
        rgb, valid = read_twice(scene.read_rgb, window, scene.native, policy)
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


def _window(upsampler: Upsampler, pixels: Tensor, components: Components | None, colours: Components | None) -> Tensor:
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


def sample_tokens(upsampler: Upsampler, scene: Scene, *, policy: FailurePolicy | None = None) -> Tensor:
    """Tokens `(token, dim)` from windows spread over the part of the scene that is asked for, in the CPU's memory.

    Always the same ones: of up to `SAMPLED_WINDOWS` windows, the tokens with an observed pixel, at even steps.

    Raises:
        SourceError: nothing was observed.
    """
    plan, patch, known = upsampler.plan(scene), upsampler.backbone.patch, policy or FailurePolicy()
    share = SAMPLED_TOKENS // min(SAMPLED_WINDOWS, len(plan))

    def encoded(read: tuple[Tensor, Tensor]) -> Tensor:
        pixels, seen = (pad(part[None], patch)[2] for part in (read[0], read[1][None].float()))
        with torch.inference_mode():
            tokens = upsampler.encode(pixels)[0].flatten(1).T
        kept = tokens[F.max_pool2d(seen, patch).flatten() > 0].cpu().float()
        return kept[torch.linspace(0, len(kept) - 1, min(share, len(kept))).round().long()]

    places = (divmod(i, len(plan.cols)) for i in np.random.default_rng(0).permutation(len(plan)).tolist())
    height, width = plan.size
    windows = (Window(row=plan.rows[i], col=plan.cols[j], height=height, width=width) for i, j in places)
    reads = (upsampler.read(scene, window, known) for window in windows)
    wanted = islice((read for read in reads if bool(read[1].any())), SAMPLED_WINDOWS)
    with Pool(upsampler.threads, cores=upsampler.cores) as pool:
        found = list(pool.ordered(encoded, wanted))
    if not found:
        raise SourceError(f"{scene.source} has no valid pixel in the part asked for; choose other bounds.")
    return torch.cat(found)
