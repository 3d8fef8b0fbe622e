"""FeatUp's implicit upsampler: a network from a pixel's place and colour to its features, one for every image.

Paper: https://arxiv.org/abs/2403.10516, code: https://github.com/mhamilton723/FeatUp. State-dict names are those of
the authors' files: `ImplicitUpsampler` of their `model`, `Projection` of their `unprojector`. How one is fitted stands
in `training/implicit.py`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import WeightsError
from earthwords.files.atomic import atomic_path
from earthwords.models.weights.checkpoint import load_strictly, read_pytorch

_UNREADABLE = (WeightsError, LookupError, TypeError, AttributeError)
"""What reading a file that is not what it should be may raise."""

FREQUENCIES = 30
"""Of the paper's networks, for every signal."""


class ImplicitUpsampler(nn.Sequential):
    """Three 1 x 1 convolutions on Fourier features: image `(batch, 3, H, W)` to features `(batch, dim, H, W)`."""

    def __init__(self, dim: int, *, frequencies: int = FREQUENCIES) -> None:
        fourier_features = FourierFeatures(frequencies)
        inner = fourier_features.dim
        super().__init__(
            MinMax(),
            fourier_features,
            ChannelNorm(inner),
            nn.Dropout2d(0.2),
            nn.Conv2d(inner, dim, 1),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            ChannelNorm(dim),
            nn.Conv2d(dim, dim, 1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 1),
        )


class FourierFeatures(nn.Module):
    """Sines and cosines of place and colour.

    The signals are the pixel's row and column in [-1, 1] and, with `colours`, its three channels; these are also
    passed on as they are. `biases` `(2, signal, frequency)` are added to the angles of sines and of cosines.
    """

    def __init__(self, frequencies: int = FREQUENCIES, *, colours: bool = True, learned_bias: bool = True) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.colours = colours
        signals = 5 if colours else 2
        self.dim = 2 * signals * frequencies + (3 if colours else 0)
        """Of the result."""
        self.biases = nn.Parameter(torch.randn(2, signals, frequencies)) if learned_bias else None

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, 3, H, W)` to `(batch, self.dim, H, W)`."""
        place = coordinates(image).expand(len(image), -1, -1, -1)
        if not self.colours:
            return fourier(place, self.frequencies, self.biases)
        angles = torch.cat([place, image], dim=1)
        return torch.cat([fourier(angles, self.frequencies, self.biases), image], dim=1)


def coordinates(image: Tensor) -> Tensor:
    """`(1, 2, H, W)`: row and column of the pixels of `image` `(*, *, H, W)`, from -1 to 1."""
    rows, cols = (torch.linspace(-1, 1, n, device=image.device, dtype=image.dtype) for n in image.shape[-2:])
    return torch.stack(torch.meshgrid(rows, cols, indexing="ij"))[None]


def fourier(signals: Tensor, frequencies: int, biases: Tensor | None = None) -> Tensor:
    """Sines, then cosines, of signals times frequencies from exp(-2) to exp(10).

    Args:
        signals: `(batch, signal, H, W)`.
        frequencies: how many.
        biases: `(2, signal, frequency)`. As in the authors' code their numbers are read in the order of memory as
            `(2, frequency, signal)`, which is not a transposition.

    Returns:
        `(batch, 2 * frequency * signal, H, W)`, the signal varying fastest.
    """
    factors = torch.linspace(-2, 10, frequencies, device=signals.device, dtype=signals.dtype).exp()
    angles = (signals[:, None] * factors[:, None, None, None]).flatten(1, 2)
    if biases is None:
        return torch.cat([angles.sin(), angles.cos()], dim=1)
    sine, cosine = biases.reshape(2, -1, 1, 1)
    return torch.cat([(angles + sine).sin(), (angles + cosine).cos()], dim=1)


class MinMax(nn.Module):
    """Each channel to [-0.5, 0.5], by its smallest and largest value over batch and pixels."""

    def forward(self, x: Tensor) -> Tensor:
        least = x.amin(dim=(0, 2, 3), keepdim=True)
        extent = x.amax(dim=(0, 2, 3), keepdim=True) - least
        return (x - least) / extent.clamp(min=1e-4) - 0.5


class ChannelNorm(nn.Module):
    """Layer norm over the channels of `(batch, dim, h, w)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)


class Projection(nn.Module):
    """Features to their principal components and back."""

    components_: Tensor
    """`(component, dim)`."""
    singular_values_: Tensor
    """`(component,)`."""
    mean_: Tensor
    """`(dim,)`."""

    def __init__(self, components: Tensor, singular_values: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("components_", components)
        self.register_buffer("singular_values_", singular_values)
        self.register_buffer("mean_", mean)

    @classmethod
    def of(cls, features: Tensor, dim: int) -> Projection:
        """The `dim` first components of features `(batch, channel, h, w)`; with as few channels, no change.

        Randomised, with four power iterations, as the authors do it; seed torch to repeat it.
        """
        rows = features.transpose(0, 1).flatten(1).T
        channels = rows.shape[1]
        if dim >= channels:
            return cls(torch.eye(channels).to(rows), rows.new_ones(channels), rows.new_zeros(channels))
        mean = rows.mean(dim=0)
        _, values, components = torch.pca_lowrank(rows - mean, q=min(dim, len(rows)), center=False, niter=4)
        return cls(components.T.contiguous(), values, mean)

    def project(self, features: Tensor) -> Tensor:
        """`(batch, channel, h, w)` to `(batch, component, h, w)`."""
        centred = features - self.mean_[:, None, None]
        return torch.einsum("bchw,dc->bdhw", centred, self.components_)

    def forward(self, components: Tensor) -> Tensor:
        """`(batch, component, h, w)` to `(batch, channel, h, w)`."""
        return torch.einsum("bdhw,dc->bchw", components, self.components_) + self.mean_[:, None, None]


class ImplicitImage(nn.Module):
    """The fine features of one image, as a file of the authors' layout holds them."""

    def __init__(self, upsampler: ImplicitUpsampler, projection: Projection) -> None:
        super().__init__()
        self.upsampler, self.projection = upsampler.eval(), projection

    @torch.no_grad()
    def forward(self, image: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Features of the image that the network was fitted to.

        Args:
            image: `(1, 3, H, W)`, normalised as it was for the fit.
            size: of the result; by default the image's, others are resized bilinearly.

        Returns:
            `(1, channel, *size)`.
        """
        components = self.upsampler(image)
        if size is not None and components.shape[-2:] != torch.Size(size):
            components = F.interpolate(components, size=size, mode="bilinear", align_corners=False)
        out: Tensor = self.projection(components)
        return out

    def save(self, path: str | Path) -> None:
        """Write the file, by rename: `model` and `unprojector`, named as the authors' code names them."""
        with atomic_path(path, overwrite=True) as part:
            torch.save({"model": self.upsampler.state_dict(), "unprojector": self.projection.state_dict()}, part)

    @classmethod
    def load(cls, path: str | Path) -> ImplicitImage:
        """Read such a file, ours or the authors'.

        Raises:
            WeightsError: not such a file.
        """
        try:
            found = read_pytorch(Path(path))
            model, unprojector = (
                {str(k): v.float() for k, v in found[key].items()} for key in ("model", "unprojector")
            )
            dim, frequencies = len(model["4.weight"]), model["1.biases"].shape[2]
            projection = Projection(*(unprojector[name] for name in ("components_", "singular_values_", "mean_")))
        except _UNREADABLE as error:
            raise WeightsError(
                f"{path} holds no implicit upsampler: it needs tensors in model and unprojector."
            ) from error
        if projection.components_.shape != (dim, *projection.mean_.shape):
            raise WeightsError(
                f"{path}: {dim} components are fitted, but unprojector has {len(projection.components_)}."
            )
        upsampler = load_strictly(ImplicitUpsampler(dim, frequencies=frequencies), model, name="featup-implicit")
        return cls(upsampler, projection)
