"""Features of single pixels: the token that a pixel lies in, from windows that do not overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from earthwords.geo.scene import Scene
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.sliding import WindowPlan, pad
from earthwords.jobs.job import Tick
from earthwords.jobs.threads import Pool, one_core
from earthwords.types import Window

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter

Pixels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Task:
    window: Window
    inside: Pixels
    """`(n,)` which of the pixels lie in it."""


def windows_of(segmenter: Segmenter, scene: Scene, pixels: Pixels) -> int:
    """How many windows `tokens_at` computes."""
    return len(_tasks(segmenter, scene, _working(scene, pixels)))


def tokens_at(
    segmenter: Segmenter,
    scene: Scene,
    pixels: Pixels,
    *,
    policy: FailurePolicy | None = None,
    tick: Tick = lambda windows: None,
) -> NDArray[np.float32]:
    """The tokens that pixels lie in, of unit length.

    Args:
        segmenter: whose vision tower and attention make them; no upsampler or head is asked.
        scene: at the resolution of the segmenter.
        pixels: `(n, 2)` row and column in `scene.native`.
        policy: what windows that fail do.
        tick: called with the number of windows done.

    Returns:
        `(n, dim)`; 0 where the window could not be computed and that is allowed.

    Raises:
        WindowError: a window cannot be read or computed, in two attempts.
    """
    policy = policy or FailurePolicy()
    encoder, working = segmenter.clip, _working(scene, pixels)
    out = np.zeros((len(pixels), encoder.backbone.dim), np.float32)

    def encode(windows: torch.Tensor) -> torch.Tensor:
        return F.normalize(encoder.backbone.encode_dense(windows, encoder.method).values, dim=1)

    def run(task: _Task) -> tuple[_Task, torch.Tensor | None]:
        with torch.inference_mode():
            values, _ = segmenter.read(scene, task.window, policy)
            top, left, padded = pad(values[None], encoder.backbone.patch)
            tokens = segmenter.attempt(encode, padded, [task.window], scene.grid, policy)[0]
            if tokens is None:
                return task, None
            rows, cols = working[task.inside].T
            row = (rows - task.window.row + top) // encoder.backbone.patch
            col = (cols - task.window.col + left) // encoder.backbone.patch
            return task, tokens[:, row, col].T.float().cpu()

    with Pool(segmenter.threads) as pool, one_core():
        for task, tokens in pool.ordered(run, iter(_tasks(segmenter, scene, working))):
            if tokens is not None:
                out[task.inside] = tokens.numpy()
            tick(1)
    return out


def _working(scene: Scene, pixels: Pixels) -> Pixels:
    """The working pixels that hold the middles of native ones."""
    share = np.array(scene.grid.shape) / np.array(scene.native.shape)
    found: Pixels = np.floor((pixels + 0.5) * share).astype(np.int64)
    last: Pixels = np.array(scene.grid.shape, np.int64) - 1
    return np.minimum(found, last)


def _tasks(segmenter: Segmenter, scene: Scene, working: Pixels) -> list[_Task]:
    return list(_windows(segmenter, scene, working))


def _windows(segmenter: Segmenter, scene: Scene, working: Pixels) -> Iterator[_Task]:
    """The windows that hold a pixel, each pixel in one."""
    tile = segmenter.preset.tile_size
    plan = WindowPlan(scene.grid.shape, tile, tile)
    height, width = plan.size
    row, col = (
        np.searchsorted(starts, at, side="right") - 1
        for starts, at in ((plan.rows, working[:, 0]), (plan.cols, working[:, 1]))
    )
    number = row * len(plan.cols) + col
    order = np.argsort(number, kind="stable")
    found, first = np.unique(number[order], return_index=True)
    for which, inside in zip(found.tolist(), np.split(order, first[1:]), strict=True):
        down, across = divmod(which, len(plan.cols))
        yield _Task(
            window=Window(row=plan.rows[down], col=plan.cols[across], height=height, width=width), inside=inside
        )
