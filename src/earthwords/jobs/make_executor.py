"""Who computes, from the options of a command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from earthwords.jobs.executor import Executor, Local
from earthwords.jobs.processes import Processes


@contextmanager
def make_executor(
    workers: int, *, cluster: str | None = None, device: str = "cpu", preload: Sequence[str] = ()
) -> Iterator[Executor]:
    """Who computes until the block ends.

    Args:
        workers: processes or actors; one without a cluster is this process.
        cluster: address of a Ray cluster, see `Cluster`.
        device: on CUDA each worker of a cluster has a GPU of its own.
        preload: modules that processes share the time to import.

    Raises:
        UsageError: as `Cluster`.
    """
    executor: Executor
    if cluster is not None:
        from earthwords.jobs.ray_cluster import Cluster  # Ray may not be installed

        executor = Cluster(cluster, workers, gpu=device.startswith("cuda"))
    elif workers > 1:
        executor = Processes(workers, preload=preload)
    else:
        executor = Local()
    try:
        yield executor
    finally:
        executor.close()
