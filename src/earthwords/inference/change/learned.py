"""A network of `train change` as a method: it says where something changed, the words say from what to what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from earthwords.inference.change.dates.pieces import LEAST
from earthwords.inference.change.dates.windows import ChangeMethod, Comparison, PairWindow
from earthwords.models.change.card import network_digest
from earthwords.models.change.folder import load_network
from earthwords.models.change.network import ChangeNetwork
from earthwords.models.change.windows import TILE, change_probability


@dataclass(frozen=True)
class LearnedChange(ChangeMethod):
    """A network in a folder. Lengths are pixels of the working grid, which both dates are brought to."""

    folder: Path
    threshold: float | None = None
    """Least probability of a change; None: the one that was best on held-out pairs of its training."""
    device: str = "cpu"
    offline: bool = False

    def margin(self, zoom: float) -> int:
        """See `ChangeMethod`."""
        return round(TILE / 2 * zoom)

    def __call__(self, pair: PairWindow) -> Comparison:
        """Compare a window."""
        network, own = _loaded(self.folder, network_digest(str(self.folder)), self.device, self.offline)
        first, second = pair.probabilities
        seen = pair.valid & ~np.isnan(first[0]) & ~np.isnan(second[0])
        likely = _likely(network, *pair.rgb, zoom=pair.zoom)
        changed = (likely >= (own if self.threshold is None else self.threshold)) & seen
        before, after = _named(np.nan_to_num(first), np.nan_to_num(second), changed, LEAST * pair.zoom**2)
        score = np.where(before != after, likely, 0).astype(np.float32)
        return Comparison(before=before, after=after, score=score, seen=seen)


@lru_cache(maxsize=1)
def _loaded(folder: Path, digest: str, device: str, offline: bool) -> tuple[ChangeNetwork, float]:
    """The network, loaded anew when its files are others (`digest`)."""
    return load_network(folder, device=torch.device(device), offline=offline)


def _likely(
    network: ChangeNetwork, before: NDArray[np.float32], after: NDArray[np.float32], *, zoom: float
) -> NDArray[np.float32]:
    """Probability of change `(row, col)` of two pictures `(3, row, col)` in 0..1, seen at the working grid."""
    height, width = before.shape[1:]
    size = max(1, round(height / zoom)), max(1, round(width / zoom))
    pixels = torch.from_numpy(np.stack([before, after]))
    if size != (height, width):
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    first, second = (pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()
    with torch.inference_mode():
        found = torch.from_numpy(change_probability(network, first, second))
    if size != (height, width):
        found = F.interpolate(found[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    return found.numpy()


def _named(
    first: NDArray[np.float32], second: NDArray[np.float32], changed: NDArray[np.bool_], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Classes `(row, col)` of both dates, by probabilities `(class, row, col)`.

    Each change of at least `least` pixels that touch by sides goes from one class to another one, the two that are
    likeliest together over its pixels; elsewhere the dates have one class.
    """
    same = (first + second).argmax(axis=0)
    before, after = same.copy(), same.copy()
    pieces, count = ndimage.label(changed)
    index = np.arange(1, count + 1)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    means = [np.stack([ndimage.mean(part, pieces, index) for part in date], axis=1) for date in (first, second)]
    for place, piece in enumerate(ndimage.find_objects(pieces)):
        if piece is None or sizes[place] < least or len(first) < 2:
            continue
        joint = np.outer(means[0][place], means[1][place])
        np.fill_diagonal(joint, -1)
        old, new = np.unravel_index(int(joint.argmax()), joint.shape)
        own = pieces[piece] == place + 1
        before[piece][own], after[piece][own] = old, new
    return before, after
