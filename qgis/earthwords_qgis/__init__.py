"""earthwords in QGIS: Processing algorithms that run the installed command."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """The plugin; QGIS calls this."""
    from .plugin import EarthwordsPlugin

    return EarthwordsPlugin(iface)
