"""Dual encoders by the `model_type` of their `config.json`: a row each."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from earthwords.files.reading import read_json
from earthwords.models.clip.config import CONFIG

if TYPE_CHECKING:
    from earthwords.models.clip.model import ClipBackbone

CLIP = "earthwords.models.clip.folder"
FAMILIES = {
    "clip": CLIP,
    "metaclip_2": "earthwords.models.metaclip2.folder",
    "siglip": "earthwords.models.siglip.folder",
    "siglip2": "earthwords.models.siglip.folder",
}
"""Modules with a function `load_folder(path, weights_id=...)`."""


def load_folder(path: Path, *, weights_id: str) -> ClipBackbone:
    """The dual encoder in a folder of transformers' layout; one that says no known kind is read as a CLIP.

    Raises:
        WeightsError: something is missing, damaged, or does not fit.
    """
    backbone: ClipBackbone = import_module(FAMILIES.get(kind_of(path), CLIP)).load_folder(path, weights_id=weights_id)
    return backbone


def kind_of(path: Path) -> str:
    """What a folder says it is; empty: nothing, or nothing that can be read."""
    with suppress(OSError, ValueError, AttributeError):
        return str(read_json(path / CONFIG).get("model_type"))
    return ""


ANY_LANGUAGE = ("metaclip_2",)
"""Those whose tower was trained to read words of any language as they are typed."""
