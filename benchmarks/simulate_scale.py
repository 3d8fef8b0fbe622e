"""What a very large archive would take: a simulation of blocks, workers, commands and node losses, event by event.

    python benchmarks/simulate_scale.py [--rate WINDOWS_PER_S] [--writer MPX_PER_S] [--json FILE]

Measured, here and now, unless given: the windows that one core computes a second, and the pixels that one command
turns from finished blocks into labels, polygons and a picture a second. Blocks and windows are counted by the code
that a run uses. Assumed: everything in `CASES` and the constants below; that pixels are read by the workers and once
more by the command, for its picture; and that a command whose node is lost finds its journal again. Of a long list
BLOCKS blocks a command and COMMANDS commands are simulated; the even stretch is prolonged, its end (the tail) not.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from bench_scale import WORDS, archive
from earthwords.geo.destinations import MAP_FILES
from earthwords.geo.scene import SceneSpec, open_scene
from earthwords.inference.segment.block_store import BlockResult
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import cut
from earthwords.inference.windows.sliding import WindowPlan
from earthwords.presets import TINY
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Window

BLOCKS, COMMANDS = 30_000, 8
TILE, STRIDE = 224, 112
SPREAD = 0.15
"""Of the seconds of a block around their mean, log-normal."""
RESTART_S = 300.0
"""Until a lost node is back, model loaded."""
OUT_BYTES = 5
"""A pixel: label and score."""


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    terabytes: float
    nodes: int
    workers: int
    """A node."""
    nodes_per_command: int
    rate: float = 0.0
    """Windows a worker computes a second; 0: as measured."""
    writer: float = 0.0
    """Million pixels a command writes a second; 0: as measured, -N: N times that."""
    side: int = 20_000
    """Of a scene, pixels."""
    pixel_bytes: float = 3.0
    """As read; less if compressed."""
    gigabits: float = 10.0
    """A node reads a second."""
    lost_h: float = 200.0
    """Mean hours until a node is lost; 0: never."""
    price: float = 0.7
    """Of a node-hour."""


ARCHIVE = Case(name="1 PB, 256 CPU nodes, a command each", terabytes=1000, nodes=256, workers=16, nodes_per_command=1)
GPUS = Case(
    name="1 PB, 256 GPUs at an ASSUMED 1000 windows/s", terabytes=1000, nodes=256, workers=1, nodes_per_command=1,
    rate=1000, price=2.0,
)  # fmt: skip
CASES = (
    Case(
        name="1 TB, one machine with 2 cores", terabytes=1, nodes=1, workers=2, nodes_per_command=1, lost_h=0, price=0
    ),
    Case(name="100 TB, 32 CPU nodes, one command", terabytes=100, nodes=32, workers=16, nodes_per_command=32),
    Case(name="100 TB, 32 CPU nodes, a command each", terabytes=100, nodes=32, workers=16, nodes_per_command=1),
    ARCHIVE,
    replace(ARCHIVE, name="the same, nodes lost ten times as often", lost_h=20),
    GPUS,
    replace(GPUS, name="the same, writer ASSUMED ten times faster", writer=-10),
)


@dataclass(frozen=True)
class Block:
    seconds: float
    pixels: int
    read: float
    """Bytes, its windows once: GDAL's cache holds what neighbouring windows share."""


def scene_blocks(case: Case) -> list[Block]:
    """The blocks of a scene, cut as a run cuts them; a single worker computes no window twice."""
    actors, shape = case.workers * case.nodes_per_command, (case.side, case.side)
    whole = Window(row=0, col=0, height=case.side, width=case.side)
    blocks = cut(whole, cols=case.side, workers=actors)
    parts = [blocks.window(i) for i in range(len(blocks))]
    plans = [WindowPlan(shape, TILE, STRIDE, part) for part in parts]
    once = len(WindowPlan(shape, TILE, STRIDE)) / sum(map(len, plans)) if actors == 1 else 1.0
    found = []
    for part, plan in zip(parts, plans, strict=True):
        read = once * (plan.rows[-1] + TILE - plan.rows[0]) * plan.width * case.pixel_bytes
        link = case.gigabits * 1e9 / 8 / case.workers
        found.append(Block(max(once * len(plan) / case.rate, read / link), part.height * part.width, read))
    return found


class Command:
    """One command, its workers and the scenes of its list; `run` tells what happened."""

    def __init__(self, case: Case, blocks: list[Block], scenes: int, dice: random.Random) -> None:
        self.case, self.blocks, self.dice = case, blocks, dice
        self.total = scenes * len(blocks)
        self.todo, self.again = iter(range(self.total)), deque[int]()
        self.actors = case.workers * case.nodes_per_command
        self.idle, self.lives = set(range(self.actors)), [0] * self.actors
        self.hand: dict[int, tuple[int, float]] = {}
        self.events: list[tuple[float, str, int, int]] = []
        self.queue: deque[int] = deque()
        self.flight = self.peak = self.written = 0
        self.busy = self.lost = self.tail = 0.0

    def give(self, now: float) -> None:
        """Blocks to idle workers, at most two a worker between being sent and being written."""
        while self.idle and self.flight < 2 * self.actors:
            index = self.again.popleft() if self.again else next(self.todo, None)
            if index is None:
                self.tail = self.tail or now
                return
            worker = self.idle.pop()
            seconds = self.blocks[index % len(self.blocks)].seconds * self.dice.lognormvariate(0, SPREAD)
            self.hand[worker], self.flight = (index, now), self.flight + 1
            self.peak = max(self.peak, self.flight)
            heapq.heappush(self.events, (now + seconds, "done", worker, self.lives[worker]))

    def write(self, now: float) -> None:
        pixels = self.blocks[self.queue[0] % len(self.blocks)].pixels
        heapq.heappush(self.events, (now + pixels / (self.case.writer * 1e6), "written", 0, 0))

    def done(self, now: float, worker: int, life: int) -> None:
        if life != self.lives[worker]:
            return
        index, began = self.hand.pop(worker)
        self.busy += now - began
        self.idle.add(worker)
        self.queue.append(index)
        if len(self.queue) == 1:
            self.write(now)

    def wrote(self, now: float) -> None:
        self.queue.popleft()
        self.flight, self.written = self.flight - 1, self.written + 1
        if self.queue:
            self.write(now)

    def loses(self, now: float, node: int) -> None:
        """A node goes: what its workers were at is repeated."""
        for worker in range(node * self.case.workers, (node + 1) * self.case.workers):
            self.lives[worker] += 1
            self.idle.discard(worker)
            if worker in self.hand:
                index, began = self.hand.pop(worker)
                self.again.append(index)
                self.flight, self.lost = self.flight - 1, self.lost + now - began
            heapq.heappush(self.events, (now + RESTART_S, "back", worker, 0))
        self.breaks(now, node)

    def breaks(self, now: float, node: int) -> None:
        if self.case.lost_h:
            after = self.dice.expovariate(1 / (self.case.lost_h * 3600))
            heapq.heappush(self.events, (now + RESTART_S + after, "lost", node, 0))

    def run(self) -> float:
        """Seconds."""
        for node in range(self.case.nodes_per_command):
            self.breaks(-RESTART_S, node)
        now = 0.0
        self.give(now)
        while self.written < self.total:
            now, kind, who, life = heapq.heappop(self.events)
            if kind == "done":
                self.done(now, who, life)
            elif kind == "written":
                self.wrote(now)
            elif kind == "back":
                self.idle.add(who)
            else:
                self.loses(now, who)
            self.give(now)
        return now


def simulate(case: Case, *, seed: int) -> dict[str, str]:
    """A row of the table."""
    dice, blocks = random.Random(seed), scene_blocks(case)
    pixels = case.terabytes * 1e12 / case.pixel_bytes
    commands = case.nodes // case.nodes_per_command
    share = pixels / case.side**2 / commands
    scenes = max(1, round(min(share, BLOCKS / len(blocks))))
    runs = [Command(case, blocks, scenes, dice) for _ in range(min(commands, COMMANDS))]
    short = [run.run() for run in runs]
    ends = [run.tail * share / scenes + end - run.tail for run, end in zip(runs, short, strict=True)]
    hours, worked = max(ends) / 3600, sum(run.busy for run in runs)
    halo = sum(block.read for block in blocks) / (case.side**2 * case.pixel_bytes)
    tails = sum(end - run.tail for run, end in zip(runs, short, strict=True))
    biggest = max(block.pixels for block in blocks) * OUT_BYTES
    return {
        "case": case.name,
        "hours": f"{hours:,.0f}",
        "node-hours": f"{hours * case.nodes:,.0f}",
        "cost": f"{hours * case.nodes * case.price:,.0f}",
        "TB read": f"{case.terabytes * (halo + 1):,.1f}",
        "TB of blocks": f"{pixels * OUT_BYTES / 1e12:,.1f}",
        "workers busy": f"{worked / sum(short) / runs[0].actors:.0%}",
        "repeated": f"{sum(run.lost for run in runs) / worked:.3%}",
        "tail": f"{tails / sum(ends):.3%}",
        "GiB in flight": f"{max(run.peak for run in runs) * biggest / 2**30:.2f}",
    }


class Ready:
    """An executor whose blocks are ready."""

    def __init__(self, labels: np.ndarray, score: np.ndarray) -> None:
        self.labels, self.score = labels, score

    def compute(self, work, wanted, tick):  # type: ignore[no-untyped-def]
        for index in sorted(wanted):
            window = work.blocks.window(index)
            times = (-(-window.height // len(self.labels)), -(-window.width // self.labels.shape[1]))
            cut_out = slice(0, window.height), slice(0, window.width)
            yield (
                index,
                BlockResult(labels=np.tile(self.labels, times)[cut_out], score=np.tile(self.score, times)[cut_out]),
            )


def measured(folder: Path, *, side: int = 4096) -> tuple[float, float]:
    """Windows a second of one core, and million pixels a second of one command that only writes."""
    segmenter = Segmenter.from_preset(replace(TINY, upsampler=None, upsampler_weights=None), offline=True)
    vocabulary = parse_classes(WORDS)
    rate = 1 / min(segmenter.window_seconds(len(vocabulary.queries)) for _ in range(5))
    result = segmenter.predict(archive(folder, 1024), vocabulary)
    with open_scene(archive(folder, side)) as scene:
        outputs = {kind: folder / "out" / name for kind, name in MAP_FILES.items()}
        executor = Ready(result.labels, result.score)
        request = SegmentRequest(vocabulary=vocabulary, spec=SceneSpec(source=scene.source))
        job = SceneJob(segmenter=segmenter, scene=scene, request=request, outputs=outputs, executor=executor)
        began = time.perf_counter()
        job.run()
    return rate, side**2 / 1e6 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, help="windows a second of one core")
    parser.add_argument("--writer", type=float, help="million pixels a second of one command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not (args.rate and args.writer):
        with tempfile.TemporaryDirectory() as name:
            rate, writer = measured(Path(name))
        print(f"measured here: {rate:.1f} windows/s by one core, {writer:.2f} Mpx/s written by one command")
        args.rate, args.writer = args.rate or rate, args.writer or writer
    rows = []
    for case in CASES:
        speed = -case.writer * args.writer if case.writer < 0 else case.writer or args.writer
        full = replace(case, rate=case.rate or args.rate, writer=speed)
        row = simulate(full, seed=args.seed)
        if not rows:
            print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}")
        print(f"| {' | '.join(row.values())} |", flush=True)
        rows.append(row | {"inputs": asdict(full)})
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
