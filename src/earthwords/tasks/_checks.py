"""What is wrong with a command line, found before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from earthwords.errors import UsageError


def sources_and_dst(paths: Sequence[str | Path], out: Path | None, *, usage: str) -> tuple[list[str], Path]:
    """SRC... and DST, which is the last path unless `out` names it.

    Raises:
        UsageError: one of them is missing; `usage` shows how to say it.
    """
    sources = [str(path) for path in paths]
    if out is not None and sources:
        return sources, Path(out)
    if out is not None or len(sources) < 2:
        raise UsageError(f"Name at least one source and the destination: {usage}")
    return sources[:-1], Path(sources[-1])
