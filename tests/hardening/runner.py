"""Runs command lines in a process of its own, so that a crash or a hang there is an outcome like others."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LIMIT_S = 30
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command came to; `code` is None after a crash or a hang."""

    code: int | None
    out: str
    err: str
    seconds: float
    peak_mib: int


class Runner:
    """A warm process for one command line after another; replaced when it dies."""

    def __init__(self, cache: Path) -> None:
        self._environment = {**os.environ, "EARTHWORDS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
        self._process: subprocess.Popen[str] | None = None

    def run(self, argv: Sequence[str], *, limit_s: float = LIMIT_S) -> Ran:
        """Run `earthwords ARGV`, at most `limit_s` seconds."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(list(argv)) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], limit_s)
        line = process.stdout.readline() if ready else ""
        if line:
            return Ran(**json.loads(line))
        self.close()
        what = f"died with {process.returncode}" if ready else f"still running after {limit_s:g} s"
        return Ran(code=None, out="", err=what, seconds=limit_s, peak_mib=0)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "tests.hardening.runner"]
        self._process = process = subprocess.Popen(
            argv, cwd=ROOT, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process


def serve() -> None:
    """Answer each line of stdin, an argv in JSON, by a line of stdout."""
    import torch

    import earthwords.inference.segment.segmenter
    from earthwords.cli import main

    assert earthwords.inference.segment.segmenter
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        before, began = _reset_peak(), time.perf_counter()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = main(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            told = {"code": code, "out": _text(out), "err": _text(err)}
        told |= {"seconds": time.perf_counter() - began, "peak_mib": (_peak() - before) >> 10}
        print(json.dumps(told), file=answers, flush=True)


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _reset_peak() -> int:
    """Forget the highest resident size so far, where Linux lets us; give the present one in KiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    serve()
