"""Principal components of tokens: few channels that hold most of what differs between the features of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.store import write_safetensors

QUANTILES = (0.02, 0.98)
"""Of the tokens: what becomes black and white in pictures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """An affine map from features to components: `(feature - mean) @ vectors.T`."""

    mean: Tensor
    """`(dim,)` float32."""
    vectors: Tensor
    """`(component, dim)` float32, orthonormal rows, from the largest variance on."""
    shares: Tensor
    """`(component,)` of the variance of the tokens, 0..1."""
    low: Tensor
    high: Tensor
    """`(component,)` each: the `QUANTILES` of the tokens."""

    def __len__(self) -> int:
        return len(self.vectors)

    def first(self, count: int) -> Components:
        """The first `count` of them."""
        kept = {name: value[:count] for name, value in vars(self).items() if name != "mean"}
        return Components(mean=self.mean, **kept)

    def to(self, device: torch.device) -> Components:
        """The same on a device."""
        return Components(**{name: value.to(device) for name, value in vars(self).items()})

    def project(self, features: Tensor) -> Tensor:
        """`(*, dim, row, col)` to `(*, component, row, col)`."""
        centred = features - self.mean[:, None, None]
        return torch.einsum("...dhw,kd->...khw", centred, self.vectors)

    def back(self, values: Tensor) -> Tensor:
        """`(*, component, row, col)` to the features `(*, dim, row, col)` that they stand for."""
        return torch.einsum("...khw,kd->...dhw", values, self.vectors) + self.mean[:, None, None]

    def stretched(self, values: Tensor) -> Tensor:
        """`(*, component, row, col)` to 0..1 between `low` and `high`."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        return ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)

    def save(self, path: Path, *, about: Mapping[str, str]) -> None:
        """As safetensors, whose metadata tell `about` what it is."""
        write_safetensors(path, vars(self), about=about)


def fit_components(tokens: Tensor, count: int) -> Components:
    """The `count` first principal components of tokens `(token, dim)`, at most `dim`.

    The sign of a component is such that its entry farthest from 0 is positive. Computed in float64.
    """
    rows = tokens.double().cpu()
    mean = rows.mean(dim=0)
    centred = rows - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(rows) - 1))
    vectors = vectors.flip(1).T[:count]
    farthest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    vectors = vectors * torch.where(farthest < 0, -1.0, 1.0)
    variances = values.flip(0).clamp(min=0)
    low, high = torch.quantile(centred @ vectors.T, torch.tensor(QUANTILES, dtype=torch.float64), dim=0)
    found = {
        "mean": mean,
        "vectors": vectors,
        "shares": variances[:count] / variances.sum().clamp(min=1e-30),
        "low": low,
        "high": high,
    }
    # Rows one behind the other, as a file gives them back: a product of matrices rounds by how they lie in memory.
    return Components(**{name: value.float().contiguous() for name, value in found.items()})


def load_components(path: Path, *, dim: int) -> Components:
    """What `Components.save` wrote, for features of `dim` channels.

    Raises:
        UsageError: another file, or components of other features.
        WeightsError: it cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"There are no components at {path}; name the .pca.safetensors file of another run.")
    state = read_state(path)
    names = ("mean", "vectors", "shares", "low", "high")
    if set(state) != set(names) or state["vectors"].ndim != 2:
        raise UsageError(f"{path} does not hold components; name the .pca.safetensors file of another run.")
    count, channels = state["vectors"].shape
    shapes = {"mean": (channels,), "vectors": (count, channels)}
    wrong = [name for name in names if tuple(state[name].shape) != shapes.get(name, (count,))]
    if wrong or channels != dim:
        raise UsageError(
            f"The components in {path} are of features of {channels} channels, these have {dim}; "
            "use the preset, model and features that they were made with."
        )
    return Components(**{name: value.float() for name, value in state.items()})
