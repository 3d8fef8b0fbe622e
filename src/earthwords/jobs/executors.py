"""Who computes jobs: this process, several processes, or a Ray cluster. All give the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from earthwords.jobs.job import Executor
from earthwords.jobs.processes import Processes


@contextmanager
def make_executor(workers: int, *, cluster: str | None = None, device: str = "cpu") -> Iterator[Executor | None]:
    """Those who compute until the block ends; None: one worker without a cluster, which is this process.

    Args:
        cluster: address of a Ray cluster, see `Cluster`.
        device: on CUDA each worker of a cluster has a GPU of its own.

    Raises:
        UsageError: as `Cluster`.
    """
    executor: Executor | None = None
    if cluster is not None:
        from earthwords.jobs.ray_cluster import Cluster

        executor = Cluster(cluster, workers, gpu=device.startswith("cuda"))
    elif workers > 1:
        executor = Processes(workers)
    try:
        yield executor
    finally:
        if executor is not None:
            executor.close()
