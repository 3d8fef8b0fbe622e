"""A very large scene: memory while it runs, workers that share it, runs that are killed and go on.

    python benchmarks/bench_scale.py [--part memory|workers|resume] [--json FILE]

Every run is `earthwords segment --upsampler none` in a process of its own, on a VRT of rendered tiles in a random
arrangement.

* memory: SIDE x SIDE pixels, begun and ended after some time; the resident memory once a second, over that of a
  process that has loaded the same model and words. Linux only (reads /proc).
* workers: a smaller scene by all cores, by two processes, and by two actors of a local Ray cluster (if Ray is
  installed), each right after a run by one core; the latter two again with one worker killed by SIGKILL when half of
  the blocks are done.
* resume: the same scene with two processes, all killed by SIGKILL to the command at random moments, and begun
  again until it is done.

The two last parts compare the SHA-256 of all outputs with those of an undisturbed run: of report.json all but the
times and the paths, and polygons.gpkg under SOURCE_DATE_EPOCH, because a GeoPackage holds the time of its making.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench_memory import TILE
from earthwords.geo.geotiff import RasterWriter
from earthwords.geo.scene import SceneSpec, open_scene
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.executor import Executor
from earthwords.jobs.processes import Processes, cores_here
from earthwords.presets import TINY
from earthwords.synthetic import render_scene
from earthwords.text.vocabulary import parse_classes

WORDS = ("building", "road", "water", "trees", "grass", "cropland", "bare land", "pavement")
THEMES = ("village", "farmland", "river", "town", "forest", "industrial")
POLL_S = 0.05

LOADED = """
import sys
import earthwords.inference.batch, earthwords.inference.segment.run
from dataclasses import replace
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import TINY
from earthwords.text.vocabulary import parse_classes
row = replace(TINY, upsampler=None, upsampler_weights=None)
Segmenter.from_preset(row, offline=True).text_bank(parse_classes(sys.argv[1:]))
print("loaded", flush=True)
sys.stdin.read()
"""
"""What the command does before its first window."""


def archive(folder: Path, side: int, *, seed: int = 1) -> Path:
    """A VRT of rendered tiles in a random arrangement, so that no polygon comes back at regular distances."""
    path, tiles = folder / f"scene-{side}.vrt", []
    for i, theme in enumerate(THEMES):
        scene = render_scene(height=TILE, width=TILE, gsd=0.5, theme=theme, seed=i)
        with RasterWriter(folder / f"{theme}.tif", grid=scene.grid, count=3, dtype="uint8", overwrite=True) as writer:
            writer.write(0, np.moveaxis(scene.image, -1, 0))
        tiles.append((f"{theme}.tif", scene.grid))
    corners = [(row, col) for row in range(0, side, TILE) for col in range(0, side, TILE)]
    chosen = np.random.default_rng(seed).integers(len(tiles), size=len(corners))
    bands = []
    for band, colour in enumerate(("Red", "Green", "Blue"), 1):
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{tiles[tile][0]}</SourceFilename>'
            f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="{w}" ySize="{h}"/>'
            f'<DstRect xOff="{col}" yOff="{row}" xSize="{w}" ySize="{h}"/></SimpleSource>'
            for (row, col), tile in zip(corners, chosen, strict=True)
            for h, w in [(min(TILE, side - row), min(TILE, side - col))]
        )
        head = f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{colour}</ColorInterp>'
        bands.append(f"{head}{sources}</VRTRasterBand>")
    grid = tiles[0][1]
    t = grid.transform
    place = f"<SRS>{grid.crs.to_string()}</SRS><GeoTransform>{t.c},{t.a},{t.b},{t.f},{t.d},{t.e}</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{place}{"".join(bands)}</VRTDataset>')
    return path


@dataclass(frozen=True)
class Way:
    """How a scene is segmented."""

    name: str
    options: tuple[str, ...] = ()
    cores: int = 1
    """Of the process that runs the command."""
    workers: int = 1

    def start(self, source: Path, out: Path, *more: str, **pipes: Any) -> subprocess.Popen[str]:
        """Begin."""
        words = [part for word in WORDS for part in ("-t", word)]
        command = [sys.executable, "-m", "earthwords", "segment", str(source), str(out), *words, "--offline"]
        command += ["--upsampler", "none"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.cores), "SOURCE_DATE_EPOCH": "1000000000"}
        return subprocess.Popen(
            [*command, *self.options, *more], env=environment, text=True, stdout=subprocess.DEVNULL, **pipes
        )

    def run(self, source: Path, out: Path) -> float:
        """Seconds from the beginning to the end."""
        began = time.perf_counter()
        ended(self.start(source, out, "--quiet"))
        return time.perf_counter() - began


def ended(process: subprocess.Popen[str]) -> None:
    """Wait for a process that must succeed."""
    if process.wait():
        raise SystemExit(f"the command failed with {process.returncode}: {process.args}")


ONE_CORE = Way("one core")
ALL_CORES = Way("all cores", cores=cores_here())
TWO_WORKERS = Way("--workers 2", ("--workers", "2"), workers=2)
TWO_ACTORS = Way("--workers 2 --cluster local", ("--workers", "2", "--cluster", "local"), workers=2)


def ways() -> list[Way]:
    """Those that this machine can go."""
    found = [ALL_CORES, TWO_WORKERS]
    return [*found, TWO_ACTORS] if importlib.util.find_spec("ray") else found


def sums(out: Path) -> dict[str, str]:
    """SHA-256 of every file of a run, hidden ones too."""
    found = {}
    for path in sorted(out.iterdir()):
        data = path.read_bytes() if path.is_file() else b""
        if path.name == "report.json":
            report = json.loads(data)
            data = json.dumps({k: v for k, v in report.items() if k not in ("seconds", "outputs")}).encode()
        found[path.name] = hashlib.sha256(data).hexdigest()
    return found


def rss(pid: int) -> float:
    """MiB of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def loaded_rss() -> float:
    """MiB of a process with model and words in memory."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOADED, *WORDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    if process.stdout.readline() != "loaded\n":
        raise SystemExit("the model could not be loaded")
    size = rss(process.pid)
    process.stdin.close()
    ended(process)
    return size


@dataclass
class Watch:
    """What a running command says, and when."""

    process: subprocess.Popen[str]
    began: float = 0.0
    """When the work began."""
    promise: str = ""
    """The estimate told before."""
    rates: list[tuple[float, float]] = field(default_factory=list)
    """`(seconds since the work began, windows a second since then)`."""

    def listen(self) -> None:
        """Until the command ends."""
        for line in self.process.stderr or ():
            if "of memory" in line:
                self.began, self.promise = time.perf_counter(), line.strip()
            elif rate := re.search(r"([\d,.]+) windows/s", line):
                self.rates.append((time.perf_counter() - self.began, float(rate[1].replace(",", ""))))


def memory(bench: Bench) -> list[dict[str, Any]]:
    """A long run, its memory once a second."""
    args = bench.args
    source, base = archive(bench.folder, args.side), loaded_rss()
    way = replace(ALL_CORES, options=("--memory", args.memory, "--overlap", str(args.overlap)))
    process = way.start(source, bench.folder / "long", stderr=subprocess.PIPE)
    watch = Watch(process)
    listener = threading.Thread(target=watch.listen, daemon=True)
    listener.start()
    samples: list[tuple[float, float]] = []
    while process.poll() is None and (not watch.began or time.perf_counter() - watch.began < args.seconds):
        if watch.began:
            samples.append((time.perf_counter() - watch.began, rss(process.pid) - base))
        time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.wait()
    listener.join()
    times, over = np.array(samples).T
    seconds, rate = watch.rates[-1] if watch.rates else (0.0, 0.0)
    late = times > times[-1] / 2
    slope = float(np.polyfit(times[late], over[late], 1)[0])
    tenths = [round(float(part.max())) for part in np.array_split(over, 10)]
    row = {
        "raster": f"{args.side} x {args.side}",
        "told": watch.promise,
        "loaded_mib": round(base),
        "over_loaded_mib": {"peak": round(float(over.max())), "end": round(float(over[-1])), "peaks_of_tenths": tenths},
        "windows": round(seconds * rate),
        "seconds": round(float(times[-1])),
        "mib_per_1000_windows": round(slope / rate * 1000, 1) if rate else None,
    }
    print(json.dumps(row, indent=1), flush=True)
    return [row]


@dataclass
class Bench:
    """A folder with a scene of moderate size, and what an undisturbed run makes of it."""

    folder: Path
    args: argparse.Namespace
    count: int = 0

    @cached_property
    def source(self) -> Path:
        return archive(self.folder, self.args.scene)

    def once(self, way: Way) -> tuple[float, dict[str, str]]:
        """Seconds and sums of a run."""
        out = self.out()
        return way.run(self.source, out), sums(out)

    def out(self) -> Path:
        """A new place for outputs."""
        self.count += 1
        return self.folder / f"out-{self.count}"

    def windows(self, way: Way) -> tuple[int, int]:
        """Blocks, and windows that are computed."""
        segmenter = Segmenter.from_preset(replace(TINY, upsampler=None, upsampler_weights=None), offline=True)
        executor: Executor | None = Processes(way.workers) if way.workers > 1 else None
        with open_scene(self.source) as scene:
            job = SceneJob(
                segmenter=segmenter,
                scene=segmenter.at_working_gsd(scene),
                request=SegmentRequest(vocabulary=parse_classes(WORDS), spec=SceneSpec(source=str(self.source))),
                outputs={},
                execution=ExecutionOptions(workers=way.workers),
                executor=executor,
            )
            blocks = job.blocks()
            return len(blocks), job.windows(blocks, set(range(len(blocks))))


def blocks_done(out: Path) -> int:
    """Finished blocks in the journal of a run."""
    return len(list(out.glob(".*.journal/block-*.safetensors")))


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """`(process id, command line)` of the children of a process, and of theirs."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            try:
                yield child, Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue


def kill_a_worker(pid: int) -> None:
    """SIGKILL to the first worker of a command."""
    servers = [c for c, line in descendants(pid) if "multiprocessing.forkserver" in line][:1]  # its forks look alike
    names = ("multiprocessing.forkserver", "spawn_main", "ray::Worker")
    found = [c for c, line in descendants(pid) if any(name in line for name in names) and c not in servers]
    if not found:
        raise SystemExit("no worker was found to be killed")
    os.kill(found[0], signal.SIGKILL)


def run_with_a_death(way: Way, source: Path, out: Path, *, after: int) -> float:
    """Seconds of a run that loses a worker when `after` blocks are done."""
    began = time.perf_counter()
    process = way.start(source, out, "--quiet")
    while process.poll() is None and blocks_done(out) < after:
        time.sleep(POLL_S)
    kill_a_worker(process.pid)
    ended(process)
    return time.perf_counter() - began


def workers(bench: Bench) -> list[dict[str, Any]]:
    """One scene in all ways, each paired with one core right before it: other people's work changes by the minute."""
    small, rows = archive(bench.folder, 256), []

    def tell(name: str, way: Way, took: float, found: dict[str, str], expected: dict[str, str], **more: Any) -> None:
        blocks, windows = bench.windows(way)
        row = {"way": name, "seconds": round(took, 1), "blocks": blocks, "windows": windows}
        rows.append(row | {"same_bytes": found == expected, **more})
        print(rows[-1], flush=True)

    for way in ways():
        alone, expected = bench.once(ONE_CORE)
        start = way.run(small, bench.out())
        took, found = bench.once(way)
        paired = {"one_core_s": round(alone, 1), "speed_up": round(alone / took, 2), "start_s": round(start, 1)}
        tell(way.name, way, took, found, expected, **paired)
        if way.workers > 1:
            out, half = bench.out(), bench.windows(way)[0] // 2
            longer = run_with_a_death(way, bench.source, out, after=half)
            extra = {"extra_s": round(longer - took, 1), "killed_after": half}
            tell(f"{way.name}, one killed", way, longer, sums(out), expected, **extra)
    return rows


def killed(process: subprocess.Popen[str], out: Path, *, blocks: int, seconds: float) -> bool:
    """SIGKILL to a command some seconds after so many blocks are done; False if all its outputs are there."""
    while process.poll() is None and blocks_done(out) < blocks:
        time.sleep(POLL_S)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return not (out / "report.json").exists()
    ended(process)
    return False


def resume(bench: Bench) -> list[dict[str, Any]]:
    """A run killed again and again, each time with no, one or two blocks more and some seconds later."""
    alone, expected = bench.once(TWO_WORKERS)
    out, dice, kept = bench.out(), random.Random(bench.args.seed), [0]
    began = time.perf_counter()
    for _ in range(bench.args.kills):
        process = TWO_WORKERS.start(bench.source, out, "--quiet")
        moment = {"blocks": kept[-1] + dice.randrange(3), "seconds": dice.uniform(0.1, 0.3) * alone}
        if not killed(process, out, **moment):
            break
        kept.append(blocks_done(out))
    else:
        ended(TWO_WORKERS.start(bench.source, out, "--quiet"))
    total, kills = time.perf_counter() - began, len(kept) - 1
    row = {"kills": kills, "blocks_after_each": kept[1:], "blocks": bench.windows(TWO_WORKERS)[0]}
    row |= {"seconds": round(total, 1), "undisturbed_s": round(alone, 1), "ratio": round(total / alone, 2)}
    row |= {"same_bytes": sums(out) == expected}
    print(row, flush=True)
    return [row]


PARTS = {"memory": memory, "workers": workers, "resume": resume}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--side", type=int, default=50_000, help="of the memory part's scene")
    parser.add_argument("--seconds", type=float, default=240, help="of the memory part")
    parser.add_argument("--memory", default="2GiB", help="of the memory part")
    parser.add_argument("--overlap", type=int, default=112, help="of the memory part; 0 covers more ground a minute")
    parser.add_argument("--scene", type=int, default=3_000, help="side of the other parts' scene")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), args)
        results = {part: PARTS[part](bench) for part in args.part or PARTS}
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
