"""Verbs take rasters by name; this says where anything else goes."""

from __future__ import annotations

import os
from typing import Any

from earthwords.errors import UsageError


def check_named(source: Any, *, what: str, instead: str) -> Any:
    """The source, if it is a path or an address; arrays, open datasets and the like go elsewhere.

    Args:
        source: what was given as a raster.
        what: what it should name.
        instead: the call that takes it, such as `Segmenter.from_preset().predict(array, words)`.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(source, (str, os.PathLike)):
        return source
    shape = getattr(source, "shape", None)
    kind = type(source).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) and shape else "")
    raise UsageError(f"{what} is named here by path or address, got {kind}; that goes to earthwords.{instead}.")
