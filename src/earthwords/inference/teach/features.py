"""The feature of a pixel that the words of a preset are multiplied with, at the pixels that are wanted alone.

Everything between the tokens of a window and its logits is linear in the queries: the upsampler, the share of the class
token, the interpolation. With the unit vectors as queries the same path gives the feature `f` whose product with any
query is the logit, to rounding; a head that is linear in `f` is therefore a query like a word, and a map by it costs
what a map by words costs. A pixel is read in the window whose middle it is nearest to; the map blends all windows that
see it, so its logits differ a little from the products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.geo.scene import Scene
from earthwords.inference.windows.cues import Cues
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.kept import KeptWindows
from earthwords.inference.windows.sliding import WindowPlan
from earthwords.jobs.job import Tick
from earthwords.jobs.threads import Pool, one_core
from earthwords.types import Window

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A window, and which of the pixels are read in it."""

    window: Window
    inside: NDArray[np.int64]


def windows_of(plan: WindowPlan, pixels: NDArray[np.int64]) -> int:
    """How many windows `features_at` computes."""
    return sum(1 for _ in _tasks(plan, pixels))


def features_at(
    segmenter: Segmenter,
    scene: Scene,
    pixels: NDArray[np.int64],
    *,
    cues: Cues | None = None,
    policy: FailurePolicy | None = None,
    tick: Tick = lambda windows: None,
    kept: KeptWindows | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Features of pixels.

    Args:
        segmenter: a preset without a head.
        scene: open, at the resolution of the segmenter.
        pixels: `(n, 2)` row and column in `scene.grid`.
        cues: of the scene.
        policy: what windows that fail do.
        tick: called with the number of windows done.
        kept: what is known of windows of the scene.

    Returns:
        `(n, dim)` float32, about of unit length; the cues `(n, cue)`; and `(n,)` whether anything was observed there.

    Raises:
        WindowError: a window cannot be read or computed, in two attempts.
    """
    policy = policy or FailurePolicy()
    backbone = segmenter.encoder.backbone
    unit = torch.eye(backbone.dim, device=backbone.device)
    found = np.zeros((len(pixels), backbone.dim), np.float32)
    beside = np.zeros((len(pixels), 0 if cues is None else len(cues)), np.float32)
    observed = np.zeros(len(pixels), bool)

    @torch.inference_mode()
    def run(task: _Task) -> tuple[_Task, NDArray[np.float32] | None, NDArray[np.bool_]]:
        values, valid = segmenter.read(scene, task.window, policy)
        rows, cols = (pixels[task.inside] - (task.window.row, task.window.col)).T
        there = valid.cpu().numpy()[rows, cols]
        if not there.any():
            return task, None, there
        if cues is not None:
            beside[task.inside] = cues.read(task.window, policy)[:, rows, cols].T
        if kept is not None:
            down, across = torch.from_numpy(rows), torch.from_numpy(cols)
            told = kept.features(values[None], task.window, down, across, grid=scene.grid, policy=policy)
            return task, None if told is None else told.float().cpu().numpy(), there
        logits = segmenter.attempt(
            lambda windows: segmenter.encoder.logits(windows, unit), values[None], [task.window], scene.grid, policy
        )[0]
        return task, None if logits is None else logits[:, rows, cols].T.float().cpu().numpy(), there

    with Pool(segmenter.threads) as pool, one_core():
        for task, values, there in pool.ordered(run, _tasks(whole_plan(segmenter, scene), pixels)):
            if values is not None:
                found[task.inside] = np.where(there[:, None], values, 0)
                observed[task.inside] = there
            tick(1)
    return found, beside, observed


def whole_plan(segmenter: Segmenter, scene: Scene) -> WindowPlan:
    """The windows of all of a scene, whatever its region."""
    height, width = scene.native.shape
    return segmenter.plan(scene, Window(row=0, col=0, height=height, width=width))


def _tasks(plan: WindowPlan, pixels: NDArray[np.int64]) -> Iterator[_Task]:
    """The windows in whose middle the pixels are, or nearest to it; from top to bottom."""
    if not len(pixels):
        return
    height, width = plan.size
    down = _nearest(np.array(plan.rows), height, pixels[:, 0])
    across = _nearest(np.array(plan.cols), width, pixels[:, 1])
    order = np.lexsort((across, down))
    keys = down[order] * len(plan.cols) + across[order]
    for inside in np.split(order, np.flatnonzero(np.diff(keys)) + 1):
        row, col = plan.rows[down[inside[0]]], plan.cols[across[inside[0]]]
        yield _Task(window=Window(row=row, col=col, height=height, width=width), inside=inside)


def _nearest(starts: NDArray[np.int64], length: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of the windows of an axis has its middle nearest to each place; ascending starts."""
    middles = starts + length / 2
    cuts = (middles[1:] + middles[:-1]) / 2
    found: NDArray[np.int64] = np.searchsorted(cuts, places + 0.5)
    return found
