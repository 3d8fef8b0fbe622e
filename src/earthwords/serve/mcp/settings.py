"""What a server for assistants was told when it began."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AssistantSettings:
    """Of `earthwords mcp`."""

    folder: Path
    """Nothing outside of it is read or written."""
    device: str = "auto"
    offline: bool = False
