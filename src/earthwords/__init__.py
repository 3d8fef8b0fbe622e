"""earthwords: say what you are looking for, get it from satellite and aerial images, on the map.

A table of contents: names are imported when they are first used, so that `import earthwords`
loads neither torch nor GDAL.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_CONTENTS: dict[str, str] = {}

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    if name not in _CONTENTS:
        raise AttributeError(f"module 'earthwords' has no attribute {name!r}")
    value = getattr(importlib.import_module(_CONTENTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_CONTENTS})
