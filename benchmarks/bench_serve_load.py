"""`earthwords serve` under load: 100 clients for 60 s over tiles and the API; memory before and after, errors, times.

    python benchmarks/bench_serve_load.py [--folder FOLDER] [--clients 100] [--seconds 60] [--json FILE]

Renders a scene if no folder is named. A row a kind of request; below them the memory of the server (RSS) when
everything was asked once, and after the load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024


def begin(folder: str | None, workspace: str) -> tuple[subprocess.Popen[str], str, str]:
    """The server, its address and its token."""
    what = ["--demo"] if folder is None else [folder]
    argv = [sys.executable, "-m", "earthwords", "serve", *what, "--port", "0", "--no-open", "--workspace", workspace]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout is not None
    address, _, token = process.stdout.readline().strip().partition("/#token=")
    return process, address, token


def paths_of(sources: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Kind and path of what is asked: tiles of all zooms, lists, single sources, words."""
    found = [("sources", "/api/sources"), ("words", "/api/words?q=ro"), ("words", "/api/words?q=%E5%BB%BA")]
    for source in sources:
        found.append(("source", f"/api/sources/{source['id']}"))
        west, south, east, north = source["bounds"]
        first = max(0, int(math.log2(360 / max(east - west, 1e-9))))
        for zoom in range(first, min(first + 5, 24)):
            left, top = place(west, north, zoom)
            right, low = place(east, south, zoom)
            tiles = [(x, y) for x in range(left, right + 1) for y in range(top, low + 1)]
            for x, y in random.Random(zoom).sample(tiles, min(len(tiles), 60)):
                found.append(("tile", f"/api/sources/{source['id']}/tiles/{zoom}/{x}/{y}.webp"))
    return found


def place(lng: float, lat: float, zoom: int) -> tuple[int, int]:
    """The tile over a place."""
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
    return int((lng + 180) / 360 * 2**zoom), int(y * 2**zoom)


async def load(address: str, token: str, paths: list[tuple[str, str]], clients: int, until: float) -> dict[str, Any]:
    """All clients until a time; kind to statuses, seconds and failures."""
    statuses: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    seconds: dict[str, list[float]] = defaultdict(list)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=120) as client:

        async def one(seed: int) -> None:
            draw = random.Random(seed)
            while time.monotonic() < until:
                kind, path = draw.choice(paths)
                began = time.monotonic()
                try:
                    told = str((await client.get(path)).status_code)
                except httpx.HTTPError as error:
                    told = type(error).__name__
                statuses[kind][told] += 1
                seconds[kind].append(time.monotonic() - began)

        await asyncio.gather(*(one(seed) for seed in range(clients)))
    return {"statuses": statuses, "seconds": seconds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        process, address, token = begin(asked.folder, workspace)
        try:
            headers = {"Authorization": f"Bearer {token}"}
            sources = httpx.get(f"{address}/api/sources", headers=headers, timeout=120).json()["sources"]
            paths = paths_of(sources)
            for _, path in paths:  # everything once: what is cached is cached, every library is loaded
                httpx.get(address + path, headers=headers, timeout=120)
            before = resident_mb(process.pid)
            until = time.monotonic() + asked.seconds
            found = asyncio.run(load(address, token, paths, asked.clients, until))
            after = resident_mb(process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)
    rows = []
    print(f"{'kind':10}{'requests':>10}{'5xx':>6}{'failed':>8}{'median s':>10}{'99 % s':>8}  statuses")
    for kind, counts in sorted(found["statuses"].items()):
        times = sorted(found["seconds"][kind])
        worst = sum(n for code, n in counts.items() if code.startswith("5"))
        failed = sum(n for code, n in counts.items() if not code.isdigit())
        middle, late = times[len(times) // 2], times[int(len(times) * 0.99)]
        rows.append({"kind": kind, "requests": len(times), "5xx": worst, "failed": failed, "median_s": middle,
                     "p99_s": late, "statuses": dict(counts)})  # fmt: skip
        print(f"{kind:10}{len(times):>10,}{worst:>6}{failed:>8}{middle:>10.3f}{late:>8.3f}  {dict(counts)}")
    print(f"memory: {before:.0f} MB before, {after:.0f} MB after, ratio {after / before:.2f}")
    if asked.json:
        told = {"rows": rows, "rss_before_mb": before, "rss_after_mb": after, "ratio": after / before}
        asked.json.write_text(json.dumps(told, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
