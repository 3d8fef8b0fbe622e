"""How long work is done: memory, workers, cluster; nothing here changes a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from earthwords.errors import UsageError
from earthwords.inference.limits import parse_memory
from earthwords.jobs.executor import Executor
from earthwords.jobs.make_executor import make_executor

DEFAULT_MEMORY = 2 << 30


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """How the work is done."""

    memory: int = DEFAULT_MEMORY
    """Bytes on top of the loaded model."""
    workers: int = 1
    """Processes, or actors of a cluster, that share the work; 1 without a cluster is this process."""
    cluster: str | None = None
    """Address of a Ray cluster."""
    resume: bool = True
    """Go on with an unfinished run, and leave one behind to go on with."""
    offline: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"At least one worker must do the work, got {self.workers}.")

    @classmethod
    def parse(cls, *, memory: str, workers: int, cluster: str | None, resume: bool, offline: bool) -> ExecutionOptions:
        """From options of a command.

        Raises:
            UsageError: a memory that is no size, or no worker.
        """
        size = parse_memory(memory)
        return cls(memory=size, workers=workers, cluster=cluster, resume=resume, offline=offline)

    @property
    def is_here(self) -> bool:
        """Whether this process does it all."""
        return self.workers == 1 and self.cluster is None

    @property
    def shared(self) -> bool:
        """Whether the workers share the memory of this machine; those of a cluster do not."""
        return self.cluster in (None, "local")

    @contextmanager
    def executor(self, device: str, *, preload: Sequence[str] = ()) -> Iterator[Executor | None]:
        """Who computes until the block ends; None: this process. See `make_executor`."""
        if self.is_here:
            yield None
            return
        with make_executor(self.workers, cluster=self.cluster, device=device, preload=preload) as executor:
            yield executor
