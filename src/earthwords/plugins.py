"""The folder is the registry: a file's name is the name users type.

`names("earthwords.models.upsamplers")` lists the files, `load(...)` imports the one asked for.
Underscores in file names are hyphens on the command line.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from earthwords.errors import unknown


def names(package: str) -> tuple[str, ...]:
    """All plugin names in a package, sorted; names that begin with an underscore are private."""
    folder = importlib.import_module(package).__path__
    found = (m.name.replace("_", "-") for m in pkgutil.iter_modules(folder) if not m.name.startswith("_"))
    return tuple(sorted(found))


def load(package: str, name: str, *, kind: str) -> ModuleType:
    """Import `package.name`. Raises `UsageError` naming the nearest one when there is none."""
    if name not in names(package):
        raise unknown(kind, name, names(package))
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")
