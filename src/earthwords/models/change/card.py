"""What a folder of `train change` holds, and what it tells of its network. Nothing here needs torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from earthwords.errors import Caution, UsageError, WeightsError, brief, number_of
from earthwords.files.reading import read_json

CARD, WEIGHTS_FILE = "change.json", "change.safetensors"
HELD_OUT = "held_out"
"""In the card: number of `pairs` that the training held out, and `f1` and `iou` on them in percent, or null."""
ENCODERS = ("clip", "vision", "masks")
"""Kinds of weights (`models.weights.table`) that a network may stand on."""
POOR = 50.0
"""F1 in percent below which a network misses, or makes up, more than it finds."""


def network_digest(folder: str) -> str:
    """A folder and what its files hold, for settings of a run.

    Raises:
        WeightsError: a file is missing.
    """
    try:
        digest = hashlib.sha256(b"".join((Path(folder) / name).read_bytes() for name in (CARD, WEIGHTS_FILE)))
    except OSError as error:
        raise WeightsError(f"{folder} is not a network of `train change`: {brief(error)}.") from error
    return f"{folder} ({digest.hexdigest()[:12]})"


def check_encoder(name: str) -> None:
    """Refuse weights of the table that are no encoder, before anything is fetched.

    Raises:
        UsageError: such a name, or an unknown one.
        WeightsError: a path where nothing is.
    """
    from earthwords.models.weights.table import find

    spec = find(name)
    if spec.kind not in ENCODERS or spec.name.startswith("sam-vit"):
        raise UsageError(
            f"A network for change does not stand on {name}: take a CLIP, a SAM 2.1 such as sam2.1-hiera-tiny, or a "
            "DINOv2 such as dinov2-vit-b-14."
        )


def encoder_facts(name: str, *, words: bool) -> dict[str, Any]:
    """What the card tells of an encoder besides its name."""
    from earthwords.models.weights.table import find

    return {"licence": find(name).licence, "words": words}


def network_note(folder: str) -> str:
    """What is known of the worth of a network, in one sentence; a `Caution` if it is little or nothing.

    Raises:
        WeightsError: it has no card.
    """
    try:
        found = read_json(Path(folder) / CARD).get(HELD_OUT)
        pairs, f1, iou = (
            (None, 0.0, 0.0) if found is None else (int(found["pairs"]), float(found["f1"]), float(found["iou"]))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise WeightsError(f"{folder} is not a network of `train change`: {brief(error)}.") from error
    if pairs is None:
        return Caution(f"The network {folder} was never measured on held-out pairs: what it is worth is unknown.")
    note = f"The network {folder} had F1 {f1:.0f} % (IoU {iou:.0f} %) on {number_of(pairs, 'held-out pair')}."
    return Caution(note) if f1 < POOR else note
