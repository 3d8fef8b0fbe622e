"""FeatUp's implicit upsampling: a network fitted to one image, so that all views of it look as the backbone sees them.

Paper: https://arxiv.org/abs/2403.10516, code: https://github.com/mhamilton723/FeatUp. Many views of the image are
zoomed, shifted and mirrored, and encoded. Fine features of the image, given by a small network of place and colour,
are turned into the same views, downsampled, and compared with what the backbone says.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError, unknown
from earthwords.models.upsamplers._downsamplers import AttentionDownsampler, gaussian_blur
from earthwords.models.upsamplers._heads import ScaleNet
from earthwords.models.upsamplers._implicit import FREQUENCIES, ImplicitImage, ImplicitUpsampler, Projection
from earthwords.training.jitter import Jitter, Jitters
from earthwords.training.loop import Progress
from earthwords.training.upsampling_losses import magnitude, reconstruction, total_variation

FeaturesOf = Callable[[Tensor], Tensor]
"""Images `(batch, 3, H, W)`, normalised, to features `(batch, dim, h, w)`."""

WINDOWS: dict[str, Callable[[int, int], int]] = {
    "wide": lambda side, tokens: side - (tokens - 1) * (side // tokens - 1),
    "patches": lambda side, tokens: side // tokens,
}
"""Side of the downsampler's windows for `tokens` tokens along `side` pixels. `wide` ones overlap, lie a pixel less than
a patch apart and span the image: the authors' 29 of ViT-B/16 and DINOv2, 35 of DeepLab. `patches` lie side by side:
their 8 of DINO-S/8."""

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels": lambda features: F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1),
    "scale": lambda features: features,
}
"""What is done to features before they are fitted. `channels`: layer norm, as the authors do, so that the fine features
are those of a normalised backbone. `scale`: components are divided by one number, their root mean square, and at the
end multiplied by it, so that the fine features are the backbone's own and can be compared with words."""


@dataclass(frozen=True, kw_only=True)
class ImplicitSettings:
    """How an image's network is fitted; the defaults are the authors'."""

    steps: int = 1200
    lr: float = 2e-3
    """Of NAdam."""
    views: int = 3000
    """That are encoded before the first step."""
    views_per_step: int = 10
    max_pad: int = 30
    """Pixels of the image."""
    max_zoom: float = 1.8
    flips: bool = True
    dim: int = 128
    """Principal components of the features that are fitted."""
    pca_views: int = 50
    """Views that the components are computed from."""
    frequencies: int = FREQUENCIES
    windows: str = "wide"
    """Of the downsampler, a name of `WINDOWS`."""
    norm: str = "channels"
    """Of the features, a name of `NORMS`."""
    shrink: int = 1
    """The fine features have one pixel for `shrink x shrink` of the image."""
    batch: int = 64
    """Views that are encoded at once."""
    magnitude_weight: float = 1e-3
    magnitude_tv_weight: float = 0.05
    blur_weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("steps", "views", "views_per_step", "dim", "pca_views", "frequencies", "shrink", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.windows not in WINDOWS:
            raise unknown("kind of windows", self.windows, WINDOWS)
        if self.norm not in NORMS:
            raise unknown("norm of features", self.norm, NORMS)
        if self.max_zoom < 1 or self.max_pad < 0 or self.max_pad % self.shrink:
            raise UsageError(
                f"Views need a zoom of 1 or more and a padding that is a multiple of shrink ({self.shrink}), "
                f"got {self.max_zoom:g} and {self.max_pad}."
            )


FULL = ImplicitSettings()
"""The paper's, for a 224 x 224 image: made for a GPU."""
REDUCED = replace(
    FULL,
    steps=300,
    lr=5e-3,
    views=200,
    views_per_step=4,
    dim=32,
    pca_views=25,
    windows="patches",
    norm="scale",
    shrink=2,
    batch=8,
)
"""For a CPU: 300 steps of 4 out of 200 views, 32 components, features at half the image's resolution."""
SETTINGS = {"full": FULL, "reduced": REDUCED}


@dataclass(frozen=True, kw_only=True)
class EncodedViews:
    """Views of an image, and what the backbone says of them."""

    jitters: tuple[Jitter, ...]
    features: Tensor
    """`(view, dim, h, w)`."""


def views_of(
    image: Tensor, features_of: FeaturesOf, settings: ImplicitSettings, *, count: int, seed: int
) -> Iterator[EncodedViews]:
    """`count` random views of an image `(1, 3, H, W)`, encoded in batches; not differentiable."""
    height, width = image.shape[-2:]
    jitters = Jitters(
        (height, width), max_pad=settings.max_pad, max_zoom=settings.max_zoom, flips=settings.flips, seed=seed
    )
    for start in range(0, count, settings.batch):
        drawn = tuple(jitters.draw(step=settings.shrink) for _ in range(min(settings.batch, count - start)))
        with torch.no_grad():
            yield EncodedViews(jitters=drawn, features=features_of(torch.cat([jitter(image) for jitter in drawn])))


class Basis(nn.Module):
    """The backbone's features to the components that are fitted, and back."""

    unit: Tensor
    """Scalar, of the components."""

    def __init__(self, features: Tensor, settings: ImplicitSettings) -> None:
        """From features `(view, dim, h, w)` of some views."""
        super().__init__()
        features = NORMS[settings.norm](features)
        self.norm = settings.norm
        self.projection = Projection.of(features, settings.dim)
        spread = self.projection.project(features).square().mean().sqrt().clamp(min=1e-12)
        self.register_buffer("unit", spread if settings.norm == "scale" else torch.ones_like(spread))

    def project(self, features: Tensor) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, component, h, w)`."""
        return self.projection.project(NORMS[self.norm](features)) / self.unit

    def forward(self, components: Tensor) -> Tensor:
        """`(batch, component, h, w)` to `(batch, dim, h, w)`; a layer norm is not undone."""
        out: Tensor = self.projection(components * self.unit)
        return out


class ImplicitFit(nn.Module):
    """The fine features of one image."""

    image: Tensor
    """`(1, 3, H, W)`, shrunk, normalised as for the backbone."""

    def __init__(self, image: Tensor, basis: Basis, tokens: tuple[int, int], settings: ImplicitSettings):
        super().__init__()
        small = F.avg_pool2d(image, settings.shrink)
        dim = len(basis.projection.components_)
        self.settings = settings
        self.basis = basis
        self.upsampler = ImplicitUpsampler(dim, frequencies=settings.frequencies)
        kernel = [WINDOWS[settings.windows](n, m) for n, m in zip(small.shape[-2:], tokens, strict=True)]
        self.downsampler = AttentionDownsampler(dim + 1, (kernel[0], kernel[1]), tokens)
        self.scale_net = ScaleNet(dim)
        self.register_buffer("image", small, persistent=False)

    @torch.no_grad()
    def features(self, size: tuple[int, int] | None = None) -> Tensor:
        """`(1, dim, *size)`, by default of the size that was fitted; others are resized bilinearly."""
        components = self.upsampler(self.image)
        if size is not None and components.shape[-2:] != torch.Size(size):
            components = F.interpolate(components, size=size, mode="bilinear", align_corners=False)
        out: Tensor = self.basis(components)
        return out

    @torch.no_grad()
    def reconstruction(self, views: EncodedViews) -> float:
        """The loss of reconstruction of views of the image, with no window's saliency left out."""
        targets = self.basis.project(views.features)
        return float(reconstruction(self._components(views), targets, self.scale_net(targets)))

    @torch.no_grad()
    def of_views(self, views: EncodedViews) -> Tensor:
        """What the fine features, through the learned downsampler, are in views of the image: `(view, dim, h, w)`."""
        out: Tensor = self.basis(self._components(views))
        return out

    def _components(self, views: EncodedViews) -> Tensor:
        (count, _, *tokens), device = views.features.shape, self.image.device
        keep = torch.ones(count, *tokens, dtype=torch.bool, device=device)
        return self._downsampled(self.upsampler(self.image), views.jitters, keep)[1]

    def losses(self, jitters: Sequence[Jitter], targets: Tensor) -> dict[str, Tensor]:
        """What is minimised, by name; `targets` are components `(view, component, h, w)`."""
        fine = self.upsampler(self.image)
        lengths, found = self._downsampled(fine, jitters, None)
        row = self.settings
        return {
            "reconstruction": reconstruction(found, targets, self.scale_net(targets)),
            "magnitude": row.magnitude_weight * (lengths - magnitude(targets)).square().mean(),
            "magnitude_tv": row.magnitude_tv_weight * total_variation(magnitude(fine)),
            "blur": row.blur_weight * (gaussian_blur(fine) - fine).square().mean(),
        }

    def network(self) -> ImplicitImage:
        """The fit without what it was learned with; `save` writes the authors' file layout."""
        upsampler = copy.deepcopy(self.upsampler)
        last = upsampler[-1]
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.mul_(self.basis.unit)
        return ImplicitImage(upsampler, self.basis.projection)

    def _downsampled(self, fine: Tensor, jitters: Sequence[Jitter], keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """Lengths `(view, 1, h, w)` and components `(view, component, h, w)` of views."""
        both = torch.cat([magnitude(fine), fine], dim=1)
        out: Tensor = self.downsampler(
            torch.cat([jitter.shrunk(self.settings.shrink)(both) for jitter in jitters]), keep=keep
        )
        return out[:, :1], out[:, 1:]


def fit(
    features_of: FeaturesOf,
    image: Tensor,
    *,
    settings: ImplicitSettings = FULL,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda step: None,
) -> ImplicitFit:
    """Fit a network to one image.

    Args:
        features_of: the backbone, from images normalised as `image` is; it is not differentiated.
        image: `(1, 3, H, W)` float32.
        settings: `FULL`, `REDUCED` or a row of your own.
        seed: the same seed gives the same fit on the same machine; torch's own generator is left as it was.
        progress: told after every step, with the losses by name.

    Raises:
        UsageError: the image is too small for its views or its windows, or no multiple of `settings.shrink`.
    """
    _check(image, settings)
    devices = [image.device] if image.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        jitters, targets, basis = _encoded(features_of, image, settings, seed=seed)
        tokens = (targets.shape[-2], targets.shape[-1])
        _check_tokens(image, tokens, settings)
        fitted = ImplicitFit(image, basis, tokens, settings).to(image.device).train()
        optimizer = torch.optim.NAdam(fitted.parameters(), lr=settings.lr)
        for step in range(settings.steps):
            chosen = torch.randint(settings.views, (settings.views_per_step,))
            losses = fitted.losses([jitters[i] for i in chosen.tolist()], targets[chosen].to(image.device))
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            values = {name: float(value.detach()) for name, value in losses.items()}
            progress(Progress(step=step + 1, steps=settings.steps, values=values))
    return fitted.eval()


def _encoded(
    features_of: FeaturesOf, image: Tensor, settings: ImplicitSettings, *, seed: int
) -> tuple[list[Jitter], Tensor, Basis]:
    """Views, their components `(view, component, h, w)` in the CPU's memory, and what they are components of."""
    jitters: list[Jitter] = []
    waiting: list[Tensor] = []
    targets: list[Tensor] = []
    basis = None
    for views in views_of(image, features_of, settings, count=settings.views, seed=seed):
        jitters += views.jitters
        waiting.append(views.features.float())
        if basis is None and len(jitters) >= min(settings.pca_views, settings.views):
            basis = Basis(torch.cat(waiting)[: settings.pca_views], settings)
        if basis is not None:
            targets += [basis.project(features).cpu() for features in waiting]
            waiting = []
    assert basis is not None
    return jitters, torch.cat(targets), basis


def _check(image: Tensor, settings: ImplicitSettings) -> None:
    height, width = image.shape[-2:]
    if image.ndim != 4 or len(image) != 1 or image.shape[1] != 3:
        raise UsageError(f"One image (1, 3, rows, cols) is fitted at a time, got {tuple(image.shape)}.")
    if height % settings.shrink or width % settings.shrink:
        raise UsageError(f"An image of {height} x {width} is no multiple of shrink {settings.shrink}; crop it.")
    if min(height, width) <= settings.max_pad:
        raise UsageError(
            f"An image of {height} x {width} cannot be padded by {settings.max_pad} pixels; use a smaller max_pad."
        )


def _check_tokens(image: Tensor, tokens: tuple[int, int], settings: ImplicitSettings) -> None:
    height, width = (side // settings.shrink for side in image.shape[-2:])
    if height < 2 * tokens[0] or width < 2 * tokens[1]:
        raise UsageError(
            f"Features of {tokens[0]} x {tokens[1]} are finer than half the {height} x {width} pixels that would be "
            "fitted; use a smaller shrink, or a backbone with larger patches."
        )
