"""From a preset whose names all exist to what looks at windows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from earthwords.errors import UsageError
from earthwords.inference.windows.encoders.encoder import WindowEncoder
from earthwords.inference.windows.sliding import Encoder
from earthwords.jobs.progress import Report
from earthwords.kernels.linear import computes
from earthwords.models.clip.model import DenseMethod
from earthwords.models.taught import TaughtHead
from earthwords.models.weights.resolve import ResolvedPreset
from earthwords.presets import SegmentPreset


@dataclass(frozen=True, kw_only=True)
class LoadedEncoder:
    """Networks of a preset."""

    row: SegmentPreset
    """With the precision that is really used."""
    encoder: WindowEncoder
    taught: TaughtHead | None = None
    notes: tuple[str, ...] = ()
    """Sentences for the user."""


def load_encoder(found: ResolvedPreset, *, device: torch.device, offline: bool, report: Report) -> LoadedEncoder:
    """The networks, for inference.

    Raises:
        WeightsError, UsageError: unknown, unreachable or unfitting weights.
    """
    notes = () if found.note is None else (found.note,)
    if found.row.fusion is not None:
        from earthwords.inference.windows.encoders.prompted import Sam3Encoder  # transformers takes seconds to load

        encoder = Sam3Encoder.load(found.row, device=device, offline=offline, report=report)
        return LoadedEncoder(row=found.row, encoder=encoder, notes=notes)
    return _clip(found, notes, device=device, offline=offline, report=report)


def _clip(
    found: ResolvedPreset, notes: tuple[str, ...], *, device: torch.device, offline: bool, report: Report
) -> LoadedEncoder:
    row = found.row
    backbone, upsampler = found.load(device=device, offline=offline, report=report)
    if row.sigmoid and backbone.pair_bias is None:
        raise UsageError(f"{backbone.weights_id} learned no scale and bias of pairs, so leave `sigmoid` out.")
    head = found.load_head(backbone, offline=offline, report=report)
    method = DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)
    encoder = Encoder(
        backbone=backbone, method=method, upsampler=upsampler, cls_weight=row.cls_weight, energy=row.energy, head=head
    )
    taught = found.load_taught(backbone)
    if row.precision != "fp32":
        if computes(row.precision, backbone.device):
            backbone.reduce()
        else:
            notes += (f"This {backbone.device.type} has no instructions for {row.precision}: computed in fp32.",)
            row = replace(row, precision="fp32")
    return LoadedEncoder(row=row, encoder=encoder, taught=taught, notes=notes)
