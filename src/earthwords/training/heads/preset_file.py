"""The preset that uses what was trained, as a file beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Mapping
from pathlib import Path

from earthwords.files.atomic import atomic_path


def write_preset(path: Path, values: Mapping[str, object]) -> None:
    """A preset as a TOML file, without what is None."""
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items() if value is not None]
    with atomic_path(path, overwrite=True) as part:
        part.write_text("".join(["# Made by `earthwords train segment`.\n", *lines]), encoding="utf-8")


def from_anywhere(name: str, known: Container[str]) -> str:
    """A path that holds in any folder; a name as it is."""
    return os.path.abspath(name) if name not in known and os.path.exists(name) else name
