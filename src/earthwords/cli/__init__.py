"""argv to verb: cyclopts reads the signature and the docstring of each task."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for a failure, 2 for wrong use, 130 or 143 when asked to end."""
    if argv is None:
        from earthwords.cli.streams import begin_in_utf8, occupy_standard_files
        from earthwords.waiting import command_begins

        command_begins()
        occupy_standard_files()
        begin_in_utf8()
    from earthwords.cli.app import INTERRUPTED, TERMINATED, run

    code = run(list(sys.argv[1:] if argv is None else argv))
    if argv is None:
        if code in (INTERRUPTED, TERMINATED):
            _leave(code)
        sys.exit(code)
    return code


def _leave(code: int) -> None:
    """End the process at once: everything is tidy, and to take apart all that was loaded may take seconds.

    Only what `multiprocessing` holds in the system's name is given back, else its tracker complains of it on stderr,
    and its temporary folder goes.
    """
    if shared := sys.modules.get("multiprocessing.util"):
        shared._run_finalizers(0)  # not those below 0: they wait for threads
        if folder := sys.modules["multiprocessing.process"].current_process()._config.get("tempdir"):
            shutil.rmtree(folder, ignore_errors=True)  # it goes by one of these
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
