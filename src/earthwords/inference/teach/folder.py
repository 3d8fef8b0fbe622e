"""The folder that a teaching leaves. Loads nothing heavy: it is looked at before anything is read."""

from __future__ import annotations

import os
from pathlib import Path

from earthwords.errors import OutputError, UsageError, WeightsError
from earthwords.files.atomic import check_local, check_name, exists
from earthwords.presets import PRESET_FILE

CARD, NUMBERS, MARKS, REPORT = "taught.json", "taught.safetensors", "examples.safetensors", "report.json"
FILES = (PRESET_FILE, CARD, NUMBERS, MARKS, REPORT)


def check_folder(dst: Path, *, overwrite: bool) -> None:
    """Refuse a folder that may not be written to; makes nothing.

    Raises:
        UsageError: it is a file or an address, or holds a teaching already.
        OutputError: its name is no text.
    """
    check_local(dst)
    check_name(dst)
    if dst.exists() and not dst.is_dir():
        raise UsageError(f"{dst} is a file; name a folder for the preset.")
    place = next((path for path in (dst, *dst.absolute().parents) if path.exists()), Path())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{place} is no folder that can be written to; choose another DST.")
    there = [dst / name for name in FILES if (dst / name).exists()]
    if there and not overwrite:
        raise exists(there[0])


def check_earlier(folder: Path) -> None:
    """Refuse to go on from what is no teaching.

    Raises:
        WeightsError: a file of it is missing.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(f"{folder} is not a folder of `teach`: it has no {missing[0]}.")
