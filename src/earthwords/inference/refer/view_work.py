"""Views looked at by other processes and machines: what they need to know, and how one looks at some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from earthwords.geo.scene import SceneSpec
from earthwords.inference.refer.match import ViewMatches
from earthwords.inference.refer.pointing import Pointer, PointingOptions, Task
from earthwords.inference.refer.pyramid import View
from earthwords.inference.refer.referrer import ReferrerSpec
from earthwords.inference.refer.search import Compute
from earthwords.jobs.executor import Executor
from earthwords.jobs.job import Tick, Worker
from earthwords.jobs.processes import cores_here
from earthwords.jobs.threads import Pool


@dataclass(frozen=True, kw_only=True)
class ViewWork:
    """Looks at some views of a scene; can be pickled."""

    referrer: ReferrerSpec
    scene: SceneSpec
    sentences: tuple[str, ...]
    pointing: PointingOptions

    def __call__(self, worker: Worker, tasks: Sequence[Task]) -> list[ViewMatches]:
        """What is found, in the order of the tasks; each is looked at with one core."""
        referrer = worker.keep("referrer", self.referrer, self.referrer.load)
        pointer: Pointer = worker.keep("pointer", self, lambda: self._pointer(worker))
        if len(tasks) == 1:
            return [pointer(tasks[0])]
        with Pool(min(referrer.threads, len(tasks))) as pool:
            return list(pool.ordered(pointer, tasks))

    def _pointer(self, worker: Worker) -> Pointer:
        referrer = worker.keep("referrer", self.referrer, self.referrer.load)
        features = worker.keep(
            "text features", (self.referrer, self.sentences), lambda: referrer.read(list(self.sentences))
        )
        scene = worker.keep("scene", self.scene, self.scene.open)
        return referrer.pointer(scene, features, self.pointing)

    def place(self, tasks: Sequence[Task]) -> str:
        """Where the first of some tasks lies."""
        view = tasks[0] if isinstance(tasks[0], View) else tasks[0].view
        height, width = view.shape
        return f"row {view.window.row}, column {view.window.col} of {height} x {width} of {self.scene.source}"


def shared_by(executor: Executor, work: ViewWork, *, tick: Tick, on_this_machine: bool) -> Compute:
    """Tasks computed by workers, to each as many at a time as it has cores.

    Args:
        tick: called with 0 now and then; what it raises ends the work.
        on_this_machine: the workers share the cores of this machine; else each has one core or a GPU.
    """
    at_once = max(1, cores_here() // executor.workers) if on_this_machine else 1

    def compute(tasks: Sequence[Task]) -> Iterator[tuple[int, ViewMatches]]:
        groups = [tasks[start : start + at_once] for start in range(0, len(tasks), at_once)]
        for number, results in executor.run(work, groups, beat=lambda: tick(0), place=work.place):
            yield from enumerate(results, start=number * at_once)

    return compute
