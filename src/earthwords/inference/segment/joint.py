"""The tokens of a scene, fitted together before it is segmented; see `windows.mixture`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earthwords.errors import Caution, UsageError
from earthwords.geo.scene import Scene
from earthwords.inference.limits import check_joint
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.mixture import fit
from earthwords.inference.windows.predictor import WindowedPredictor
from earthwords.inference.windows.sliding import Encoder, WindowPlan, pad
from earthwords.jobs.threads import Pool, one_core
from earthwords.presets import SegmentPreset
from earthwords.types import TextBank, Window

CHUNK = 8192
"""Tokens that the sums take at once."""


def joined(
    segmenter: WindowedPredictor[Any], encoder: Encoder, scene: Scene, bank: TextBank, *, on_error: str = "stop"
) -> TextBank:
    """The words with the mixture of a scene's tokens, each place once: from windows side by side.

    Tokens are kept in a temporary file, `4 * (dim + queries)` bytes each, while they are fitted.

    Raises:
        UsageError: a preset that has no cosines of tokens, a single word, or fewer than 8 observed tokens.
    """
    check_joint(segmenter.preset, joint=True, upsampler=None)
    if len(bank.vectors) < 2:
        raise UsageError("--joint shares tokens among words and needs two or more; name others, or --against auto.")
    queries = torch.from_numpy(bank.vectors).to(encoder.backbone.device)
    width = encoder.backbone.dim
    with tempfile.TemporaryFile() as file, one_core():
        for rows in _tokens(segmenter, encoder, scene, queries, FailurePolicy(on_error=on_error)):
            file.write(rows.cpu().numpy().tobytes())
        count = file.tell() // (4 * (width + len(queries)))
        file.flush()
        kept = np.memmap(file, np.float32, "r", shape=(count, width + len(queries))) if count else np.empty((0, width))

        def chunks() -> Iterator[tuple[Tensor, Tensor]]:
            for first in range(0, count, CHUNK):
                rows = torch.from_numpy(np.array(kept[first : first + CHUNK]))
                yield rows[:, :width], rows[:, width:]

        return replace(bank, mixture=fit(chunks))


def _tokens(
    segmenter: WindowedPredictor[Any], encoder: Encoder, scene: Scene, queries: Tensor, policy: FailurePolicy
) -> Iterator[Tensor]:
    """Of every window, from left to right and from top to bottom, `(token, dim + query)` of those observed."""
    tile = segmenter.preset.tile_size
    plan = WindowPlan(scene.grid.shape, tile, tile, segmenter.plan(scene).region)

    def compute(window: Window) -> Tensor | None:
        pixels, valid = segmenter.read(scene, window, policy)
        if not bool(valid.any()):
            return None

        def both(windows: Tensor) -> Tensor:
            padded = pad(windows, encoder.backbone.patch)[2]
            return torch.cat(encoder.token_cosines(padded, queries), dim=1)

        with torch.inference_mode():
            found = segmenter.attempt(both, pixels[None], [window], scene.grid, policy)[0]
            if found is None:
                return None
            seen = pad(valid[None, None].float(), encoder.backbone.patch)[2]
            share = torch.nn.functional.adaptive_avg_pool2d(seen, (found.shape[-2], found.shape[-1]))[0, 0]
            return found.permute(1, 2, 0)[share >= 0.5]

    with Pool(segmenter.threads) as pool:
        yield from (rows for rows in pool.ordered(compute, plan.windows) if rows is not None)


UNHELPED = frozenset({"tiny"})
"""Weights with which maps were measured to get worse (`benchmarks/bench_joint.py`)."""


def joint_cautions(preset: SegmentPreset) -> tuple[Caution, ...]:
    """What is known of the worth of a joint map before anything is fitted."""
    if preset.weights not in UNHELPED:
        return ()
    return (Caution(f"--joint does not help {preset.name}: measured maps got worse with it (docs/segment.md)."),)


def joint_notes(bank: TextBank) -> tuple[str, ...]:
    """What the fit changed, where there was one."""
    if (mixture := bank.mixture) is None:
        return ()
    return (
        f"--joint: {mixture.tokens:,} tokens of the scene were fitted together, {mixture.changed:.1%} of them go to "
        "another word than by themselves; tokens are not upsampled, and every pixel gets a word, fit or not; "
        "scores, and what is undecided, are not comparable with those of a map without it.",
    )
