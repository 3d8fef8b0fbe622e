"""argv to verb: cyclopts reads the signature and the docstring of each task."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for a failure, 2 for wrong use, 130 when interrupted."""
    if argv is None:
        from earthwords.cli.streams import begin_in_utf8, occupy_standard_files

        occupy_standard_files()
        begin_in_utf8()
    from earthwords.cli.app import run

    code = run(list(sys.argv[1:] if argv is None else argv))
    if argv is None:
        sys.exit(code)
    return code
