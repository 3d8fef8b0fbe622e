"""Arrays in a file that appears whole, for the results of parts of an unfinished run: safetensors, no pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from earthwords.files.atomic import writing


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, about: Mapping[str, str]) -> None:
    """Write arrays by their names, with some text; the file appears by rename, when all of it is on the disk.

    Raises:
        OutputError: the disk is full, or the like.
    """
    part = path.with_suffix(".part")
    with writing(path):
        try:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, part, dict(about))
        except SafetensorError as error:
            raise OSError(" ".join(str(error).split())) from error
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Name to shape; nothing where there is no file, or no whole one: safetensors checks its length."""
    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return {}
