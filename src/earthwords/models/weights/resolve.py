"""From a preset and the options beside it to the weights that are really used, and to the networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from earthwords import plugins
from earthwords.errors import UsageError, WeightsError, unknown
from earthwords.kernels.blend import window_weights
from earthwords.kernels.linear import PRECISIONS
from earthwords.models.aggregation.head import CostHead, load_head
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.sam3.refusals import check_fusion, no_clip
from earthwords.models.taught import TaughtHead, load_taught
from earthwords.models.weights.download import Report
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.table import (
    WEIGHTS,
    fetch,
    find,
    load_clip,
    load_upsampler_state,
    upsampler_weights_for,
)
from earthwords.presets import SegmentPreset, load_preset
from earthwords.text.templates import load_templates

UPSAMPLERS = "earthwords.models.upsamplers"
IMPLICIT = "featup-implicit"
WITHOUT_WEIGHTS = ("bilinear", IMPLICIT)


def methods() -> tuple[str, ...]:
    """All names of upsampling methods: the files of `models.upsamplers`, and FeatUp's implicit one."""
    return tuple(sorted((*plugins.names(UPSAMPLERS), IMPLICIT)))


Build = Callable[[int, dict[str, Tensor] | None], nn.Module]
"""`build` of a file of `models.upsamplers`."""


@dataclass(frozen=True, kw_only=True)
class ResolvedPreset:
    """A preset whose names all exist."""

    row: SegmentPreset
    """With the weights that are really used."""
    note: str | None = None
    """What should be said about them."""

    def load_backbone(
        self, *, device: torch.device, offline: bool = False, report: Report = lambda done, total: None
    ) -> ClipBackbone:
        """The CLIP, on a device, for inference.

        Raises:
            WeightsError, UsageError: unknown, unreachable or unfitting weights.
        """
        row = self.row
        if row.fusion is not None:
            raise no_clip(row)
        return load_clip(row.weights, activation=row.activation, offline=offline, device=device, report=report).eval()

    def load(
        self, *, device: torch.device, offline: bool = False, report: Report = lambda done, total: None
    ) -> tuple[ClipBackbone, nn.Module | None]:
        """The CLIP and the upsampler, if there is one.

        Raises:
            WeightsError, UsageError: unknown, unreachable or unfitting weights.
        """
        row = self.row
        builder = None if row.upsampler is None else plugins.load(UPSAMPLERS, row.upsampler, kind=_KIND)
        backbone = self.load_backbone(device=device, offline=offline, report=report)
        if builder is None:
            return backbone, None
        weights = row.upsampler_weights
        return backbone, build_upsampler(builder.build, weights, backbone, offline=offline, report=report)

    def load_head(
        self, backbone: ClipBackbone, *, offline: bool = False, report: Report = lambda done, total: None
    ) -> CostHead | None:
        """The head for this CLIP, if there is one.

        Raises:
            WeightsError: it is nowhere, damaged, or belongs to another CLIP or attention.
        """
        name, attention = self.row.head, self.row.attention
        if name is None:
            return None
        head = load_head(fetch(find(name), offline=offline, report=report), backbone)
        if head.settings.attention != attention:
            raise WeightsError(
                f"The head {name} was trained on features of attention {head.settings.attention!r}, not {attention!r}."
            )
        return head

    def load_taught(self, backbone: ClipBackbone) -> TaughtHead | None:
        """What marks have taught about classes, if anything.

        Raises:
            WeightsError: it is nowhere, damaged, or was taught with another image tower.
        """
        if self.row.taught is None:
            return None
        found = load_taught(self.row.taught)
        if found.base != tower_hash(backbone, "vision") or found.weight.shape[1] != backbone.dim:
            raise WeightsError(
                f"{self.row.taught} was taught with other weights than {backbone.weights_id}; teach anew."
            )
        return found


_KIND = "upsampler"


def resolve(
    preset: str | SegmentPreset, *, model: str | Path | None = None, upsampler_weights: str | Path | None = None
) -> ResolvedPreset:
    """The preset with the options beside it; whatever it names is there, before anything is downloaded.

    Args:
        preset: a name, a TOML file, or a row.
        model: other CLIP weights: a name, a Hugging Face id, a folder or a file.
        upsampler_weights: other upsampler weights; default: the preset's, or those of the table that belong to the
            upsampler and the CLIP weights.

    Raises:
        UsageError: unknown names, or parts that do not fit together.
    """
    asked = _row(preset)
    if asked.head is not None and model not in (None, asked.weights):
        raise UsageError(
            f"The head {asked.head} belongs to the weights {asked.weights}; with others take another preset, or train "
            "a head on them."
        )
    if asked.taught is not None and (asked.head is not None or model not in (None, asked.weights)):
        raise UsageError(
            f"The preset {asked.name} was taught with the weights {asked.weights}; leave others out, "
            "or teach with them."
        )
    row, note = with_weights(asked, model, upsampler_weights)
    _check(row)
    if row.head is not None:
        _check_head(row)
    check_fusion(row)
    if row.attention == "gem" and row.cls_weight != 0:
        raise UsageError("Attention 'gem' has no class token, so its cls_weight must be 0.")
    if not 0 < row.energy <= 1:
        raise UsageError(f"The energy kept is a share above 0 and up to 1, got {row.energy:g}.")
    if row.upsampler is None and row.upsampler_weights is not None:
        raise UsageError(f"Upsampler weights {row.upsampler_weights!r} need an upsampler; name one, such as jbu.")
    if row.upsampler is not None and row.upsampler_weights is None:
        plugins.load(UPSAMPLERS, row.upsampler, kind=_KIND)
        row = replace(row, upsampler_weights=upsampler_weights_for(row.upsampler, row.weights))
    return ResolvedPreset(row=row, note=note)


def resolve_method(
    preset: str | SegmentPreset,
    method: str | None,
    *,
    model: str | Path | None = None,
    upsampler_weights: str | Path | None = None,
) -> ResolvedPreset:
    """As `resolve`, with an upsampling method (of `methods()`) as `row.upsampler`; default: the preset's, or bilinear.

    Raises:
        UsageError: unknown names, or weights for a method that has none.
    """
    row = _row(preset)
    if upsampler_weights is None:
        row, _ = with_weights(row, model, None)
    row = _with_method(row, chosen_method(row, method), model, upsampler_weights)
    _check(row)
    return ResolvedPreset(row=row)


def _row(preset: str | SegmentPreset) -> SegmentPreset:
    return load_preset(preset) if isinstance(preset, str) else preset


def _check(row: SegmentPreset) -> None:
    """Refuse names that are in no table."""
    load_templates(row.templates)
    window_weights(row.blend, (1, 1))
    if row.precision not in PRECISIONS:
        raise unknown("precision", row.precision, PRECISIONS)
    if row.sigmoid and (row.sum_to_one or row.head is not None or row.taught is not None):
        raise UsageError(
            f"The preset {row.name} asks for the sigmoid of each word, which goes with no head, nothing taught and no "
            "sum_to_one; leave `sigmoid` out."
        )
    DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)


def _check_head(row: SegmentPreset) -> None:
    if row.upsampler is not None or row.upsampler_weights is not None:
        raise UsageError(
            f"The head {row.head} takes the place of an upsampler; leave {row.upsampler or 'its weights'} out."
        )
    if row.cls_weight != 0 or row.last_n != 1 or row.keep_residual or row.attention == "gem":
        raise UsageError(
            f"The preset {row.name} has a head, which reads the last block's attention as it was trained: last_n 1, no "
            "residual, cls_weight 0, and not gem."
        )


def with_weights(
    row: SegmentPreset, model: str | Path | None, upsampler_weights: str | Path | None
) -> tuple[SegmentPreset, str | None]:
    """The preset with other weights where some are named, and what should be said about it.

    The upsampler of a preset belongs to its weights: for other ones those of the table are taken, and if there are none
    the preset's upsampler is left out. What a pixel without a word looks like, thresholds of classes, and that radar
    was learned, are known of its own weights alone.
    """
    if model is not None and str(model) != row.weights:
        row = replace(row, nothing=None, thresholds=(), radar=False)
    if upsampler_weights is not None:
        return replace(row, weights=str(model or row.weights), upsampler_weights=str(upsampler_weights)), None
    own = row.upsampler_weights
    if own in WEIGHTS and WEIGHTS[own].method not in (None, row.upsampler):
        row, own = replace(row, upsampler_weights=None), None  # of another upsampler
    if model is None or str(model) == row.weights:
        return row, None
    name = str(model)
    changed = replace(row, weights=name)
    if row.upsampler is None or own is None or own not in WEIGHTS or WEIGHTS[own].backbone in (None, name):
        return changed, None
    fitting = upsampler_weights_for(row.upsampler, name)
    if fitting is not None:
        return replace(changed, upsampler_weights=fitting), None
    return replace(changed, upsampler=None, upsampler_weights=None), (
        f"The upsampler {own} belongs to {WEIGHTS[own].backbone} and is left out with {name}, "
        "unless --upsampler-weights names others."
    )


def chosen_method(row: SegmentPreset, method: str | None) -> str:
    """The method that is asked for, else the preset's, else bilinear.

    Raises:
        UsageError: no such method.
    """
    method = method or row.upsampler or "bilinear"
    if method not in methods():
        raise unknown("upsampling method", method, methods())
    return method


def _with_method(
    row: SegmentPreset, method: str, model: str | Path | None, weights: str | Path | None
) -> SegmentPreset:
    """The preset with the model, the method and the upsampler's weights that are really used.

    Raises:
        UsageError: weights for a method that has none.
    """
    if weights is not None and method in WITHOUT_WEIGHTS:
        raise UsageError(f"Method {method!r} has no weights; leave {str(weights)!r} out, or name another method.")
    name = row.weights if model is None else str(model)
    own = row.upsampler_weights if method == row.upsampler else None
    if method in WITHOUT_WEIGHTS:
        chosen = None
    else:
        chosen = str(weights) if weights is not None else own or upsampler_weights_for(method, name)
    return replace(row, weights=name, upsampler=method, upsampler_weights=chosen)


def build_upsampler(
    build: Build, weights: str | None, backbone: ClipBackbone, *, offline: bool, report: Report
) -> nn.Module:
    """An upsampler for the features of `backbone`, on its device.

    Raises:
        WeightsError, UsageError: unknown, unreachable or unfitting weights, or none where some are needed.
    """
    state = None if weights is None else load_upsampler_state(weights, offline=offline, report=report)
    module = build(backbone.dim, state).to(backbone.device).eval()
    sees: Any = getattr(module, "sees", None)
    if sees is not None:
        sees(backbone.mean, backbone.std)
    return module
