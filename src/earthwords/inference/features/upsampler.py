"""Dense features at pixel resolution: an image or a scene in, upsampled features out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from affine import Affine
from numpy.typing import ArrayLike
from torch import Tensor, nn

from earthwords.errors import UsageError, unknown
from earthwords.geo.bands import Bands
from earthwords.geo.sources.network import Network
from earthwords.inference.features.implicit import Fit, FittedUpsampler
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.predictor import WindowedPredictor
from earthwords.inference.windows.sliding import pad
from earthwords.jobs.progress import Report
from earthwords.models.clip.model import FEATURES, PENULTIMATE, ClipBackbone, DenseMethod
from earthwords.models.device import choose_device
from earthwords.models.weights.fingerprint import tower_hash, weights_hash
from earthwords.models.weights.resolve import IMPLICIT, resolve_method
from earthwords.presets import DEFAULT_PRESET, SegmentPreset


class Upsampler(WindowedPredictor[ClipBackbone]):
    """A backbone and a way to bring its features to pixel resolution.

    Three steps, the same for every method: `image` gives pixels `(batch, 3, H, W)` as the backbone wants them,
    `features` their tokens `(batch, dim, h, w)` with `h = ceil(H / patch)`, and `upsample` features
    `(batch, dim, H, W)`. `module(features, image, size)` is what does the last one.

    Example:
        >>> upsampler = earthwords.Upsampler.from_preset("jbu", preset="tiny")
        >>> image = upsampler.image("ortho.tif", bounds=(326417.5, 2781100.0, 326450.0, 2781133.0))
        >>> features = upsampler.upsample(upsampler.features(image), image)
    """

    def __init__(
        self,
        preset: SegmentPreset,
        backbone: ClipBackbone,
        method: str,
        *,
        features: str | None = None,
        module: nn.Module | None = None,
        fit: Fit | None = None,
        batch: int | None = None,
    ) -> None:
        """
        Args:
            preset: attention and windows.
            method: its name.
            features: a name of `FEATURES` instead of the preset's attention.
            module: the upsampler; None only for `featup-implicit`, which needs `fit` instead.
        """
        super().__init__(preset, backbone, batch=1 if method == IMPLICIT else batch)
        self.method = method
        self.kind = features or preset.attention
        if module is None:
            if fit is None:
                raise UsageError(
                    f"Method {IMPLICIT!r} fits a network to every window; say how: fit=earthwords.implicit_fit()."
                )
            module = FittedUpsampler(self.encode, fit)
        self.module = module
        self.least = getattr(module, "least", 1)
        self._dense = _dense_method(preset, self.kind)

    @classmethod
    def from_preset(
        cls,
        method: str | None = None,
        *,
        preset: str | SegmentPreset = DEFAULT_PRESET,
        model: str | Path | None = None,
        features: str | None = None,
        upsampler_weights: str | Path | None = None,
        fit: Fit | None = None,
        device: str = "auto",
        batch: int | None = None,
        offline: bool = False,
        allow_remote_parts: bool = False,
        report: Report = lambda done, total: None,
    ) -> Upsampler:
        """Load a backbone and an upsampler.

        Args:
            method: a name of `methods()`; default: the preset's upsampler, else bilinear.
            preset: gives weights, attention and windows: a name, a TOML file, or a row.
            model: other CLIP weights: a name, a Hugging Face id, a folder or a file.
            features: `penultimate` (tokens that enter the last block) or an attention of the last block; default: the
                preset's.
            upsampler_weights: a name or a file; default: the preset's, if that has this upsampler, or those of the
                table that belong to the method and the CLIP weights.
            fit: for `featup-implicit`, see `earthwords.implicit_fit`.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            batch: windows encoded at once; by default one a core, on a GPU 8.
            offline: use files that are here already, never the network; also when scenes are read.
            allow_remote_parts: as for `open_scene`, of the scenes that are read.
            report: told about downloads.

        Returns:
            It, ready to upsample.

        Raises:
            UsageError, WeightsError: unknown names, unreachable or unfitting weights.
        """
        network = Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)
        found = resolve_method(preset, method, model=model, upsampler_weights=upsampler_weights)
        row = found.row
        method = str(row.upsampler)
        _dense_method(row, features or row.attention)  # a wrong name is told before anything is downloaded
        where: dict[str, Any] = {"device": choose_device(device), "offline": offline, "report": report}
        if method == IMPLICIT:
            made = cls(row, found.load_backbone(**where), method, features=features, fit=fit)
        else:
            backbone, module = found.load(**where)
            made = cls(row, backbone, method, features=features, module=module, batch=batch)
        made.network = network
        return made

    def image(
        self,
        source: Any,
        *,
        bands: Bands | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
        mask: str | Path | ArrayLike | None = None,
        transform: Affine | Sequence[float] | None = None,
        crs: Any = None,
    ) -> Tensor:
        """Pixels `(1, 3, H, W)` normalised for the backbone, on its device, 0 where nothing was observed.

        Args:
            source: a path, a URL, an open rasterio dataset, an xarray object, an array `(row, col, 3)` (uint8, or any
                other dtype, stretched), or what numpy makes one of, such as a PIL image.
            bands, gsd, bounds, nodata, stretch, mask, transform, crs: as for `open_scene`.
        """
        how: dict[str, Any] = {"bands": bands, "gsd": gsd, "bounds": bounds, "nodata": nodata, "stretch": stretch}
        how |= {"mask": mask, "transform": transform, "crs": crs}
        with self.open(source, **how) as scene:
            part = self.resizer(scene, scene.region).needed
            return self.read(scene, part, FailurePolicy())[0][None]

    def __repr__(self) -> str:
        row, backbone = self.preset, self.backbone
        parts = f"weights {row.weights}, features {self.kind}, {backbone.dim} channels"
        windows = f"windows of {row.tile_size} px overlapping by {row.overlap}"
        return f"Upsampler({self.method!r}: {parts}, {windows}, on {backbone.device})"

    @torch.inference_mode()
    def features(self, image: Tensor) -> Tensor:
        """Tokens `(batch, dim, ceil(H / patch), ceil(W / patch))` of an `image` `(batch, 3, H, W)`.

        Images are padded to whole patches by zeros, half of them (rounded down) on the top and on the left.
        """
        return self.encode(pad(image, self.backbone.patch)[2])

    @torch.inference_mode()
    def upsample(self, features: Tensor, image: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Features at another resolution.

        Args:
            features: `(batch, dim, h, w)`, from `features`.
            image: `(batch, 3, H, W)`, from `image`.
            size: rows and columns of the result; default: the image's own. Given, it covers the image with its
                padding, if the image has no whole patches.

        Returns:
            `(batch, dim, *size)`.
        """
        top, left, padded = pad(image, self.backbone.patch)
        found: Tensor = self.module(features, padded, size or (padded.shape[-2], padded.shape[-1]))
        if size is not None:
            return found
        height, width = image.shape[-2:]
        return found[:, :, top : top + height, left : left + width]

    def encode(self, padded: Tensor) -> Tensor:
        """Tokens of an image that has whole patches."""
        if self.kind == PENULTIMATE:
            found = self.backbone.encode_penultimate(padded)
        else:
            found = self.backbone.encode_dense(padded, self._dense)
        values: Tensor = found.values
        return values

    @property
    def cores(self) -> int:
        """Of a thread that computes windows: a fit has steps that are worth sharing."""
        return torch.get_num_threads() if self.method == IMPLICIT else 1

    @property
    def weights_hash(self) -> str:
        """Of everything that pixels are multiplied with: vision tower and upsampler."""
        return weights_hash(self.module.state_dict(), tower_hash(self.backbone, "vision"))

    @property
    def arithmetic(self) -> str:
        """What the last bits of a result depend on: the kind of device, a GPU's batch, and the cores of a fit."""
        kind = self.backbone.device.type
        if self.method == IMPLICIT:
            return f"{kind}, fits by {self.cores} cores"
        return kind if self._on_cpu else f"{kind}, batches of {self.batch}"

    @property
    def fit_settings(self) -> str:
        """Of `featup-implicit`, as text."""
        return self.module.fit.described if isinstance(self.module, FittedUpsampler) else "none"

    def tags(self) -> dict[str, str]:
        """What outputs record about how they were made."""
        from earthwords import __version__

        preset = self.preset
        return {
            "EARTHWORDS_VERSION": __version__,
            "EARTHWORDS_PRESET": preset.name,
            "EARTHWORDS_WEIGHTS": preset.weights,
            "EARTHWORDS_FEATURES": self.kind,
            "EARTHWORDS_METHOD": self.method,
            "EARTHWORDS_UPSAMPLER_WEIGHTS": preset.upsampler_weights or "none",
            "EARTHWORDS_TILE": f"{preset.tile_size} overlap {preset.overlap}",
            "EARTHWORDS_BLEND": preset.blend,
        }


def _dense_method(row: SegmentPreset, kind: str) -> DenseMethod:
    """How the last block is read out; unused for `penultimate`.

    Raises:
        UsageError: no such features.
    """
    if kind not in FEATURES:
        raise unknown("kind of features", kind, FEATURES)
    attention = "vanilla" if kind == PENULTIMATE else kind
    return DenseMethod(attention=attention, keep_residual=row.keep_residual, last_n=row.last_n)
