"""How long `import earthwords`, `earthwords --help` and the answer to a wrong path take, against an empty Python.

    python benchmarks/bench_startup.py [--runs 9] [--json FILE]

Medians of processes of their own; `ratio` is against `python -c pass` in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import earthwords": ["-c", "import earthwords"],
    "earthwords --help": ["-m", "earthwords", "--help"],
    "earthwords segment --help": ["-m", "earthwords", "segment", "--help"],
    "a path that is not there": ["-m", "earthwords", "segment", "nofile.tif", "out", "-t", "tree"],
}
FAILS = "a path that is not there"
"""With exit code 1."""


def once(name: str) -> float:
    """Seconds of one process."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *COMMANDS[name]], capture_output=True)
    seconds = time.perf_counter() - began
    if done.returncode != (name == FAILS):
        raise SystemExit(done.stderr.decode())
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(args.runs):
        for name in COMMANDS:
            times[name].append(once(name))
    reference = statistics.median(times["python -c pass"])
    rows = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rows.append({"command": name, "median_s": round(median, 3), "ratio": round(median / reference, 1)})
        print(f"{name:<28}{median:8.3f} s{median / reference:8.1f} x")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
