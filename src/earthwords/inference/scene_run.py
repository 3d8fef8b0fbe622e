"""What a command is asked to do with a scene, or with each of many, and how it goes about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from earthwords.geo.scene import Scene, SceneSpec
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.execution import ExecutionOptions
from earthwords.jobs.executor import Executor
from earthwords.jobs.job import Tick

Model = TypeVar("Model")


@dataclass(frozen=True, kw_only=True)
class SceneRequest(ABC, Generic[Model]):
    """What to make of a scene, and nothing of how the work is done. It travels whole from the command to the part."""

    spec: SceneSpec
    """How to open the scene."""
    strict: bool = False
    """What is known to make the result worth less is an error."""

    @property
    @abstractmethod
    def replaces(self) -> bool:
        """Whether outputs that are there are replaced."""

    @abstractmethod
    def settings(self, model: Model) -> dict[str, str]:
        """What the outputs depend on beside the scene and how it is read: option -> value as text."""

    def told(self) -> dict[str, str]:
        """What of `settings` is known before a model is loaded."""
        return {}

    def of(self, source: str) -> Self:
        """The same of another scene."""
        return replace(self, spec=replace(self.spec, source=source))


Request = TypeVar("Request", bound=SceneRequest[Any])


class SceneWork(Protocol):
    """The work on an open scene."""

    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on, as text."""

    def run(self, *, tick: Tick, moved: Callable[[Any], None]) -> Any:
        """Do it; `moved` is told the report when the outputs are in their places."""


@dataclass(frozen=True, kw_only=True)
class SceneRun(ABC, Generic[Request, Model]):
    """A request, what no output may replace, and how the work is done."""

    request: Request
    inputs: Inputs
    execution: ExecutionOptions

    PRELOAD: ClassVar[str]
    """The module that workers share the time to import."""

    @abstractmethod
    def plan(self, dst: Path, *, overwrite: bool, inputs: Inputs | None, folder: bool) -> dict[str, Path]:
        """Kind to path; see `outputs`."""

    @abstractmethod
    def device(self, model: Model) -> str:
        """Where a model computes."""

    @abstractmethod
    def job(self, model: Model, opened: Scene, outputs: dict[str, Path], executor: Executor | None = None) -> SceneWork:
        """The work on an open scene."""

    def open(self, source: str) -> Scene:
        """A scene at its own resolution, or the one asked for."""
        return self.request.of(source).spec.open()

    def outputs(self, dst: Path, *, folder: bool = False, anew: bool = False) -> dict[str, Path]:
        """Kind to path, of a scene whose results go to `dst`.

        Args:
            folder: `dst` is one, whatever its name.
            anew: never mind what is there.

        Raises:
            UsageError, OutputError: something is there that may not be replaced.
        """
        overwrite = anew or self.request.replaces
        return self.plan(dst, overwrite=overwrite, inputs=None if anew else self.inputs, folder=folder)

    def settings(self, model: Model) -> dict[str, str]:
        """What all scenes depend on: option -> value as text."""
        return {**self.request.spec.settings(), **self.request.settings(model)}

    @contextmanager
    def executor(self, model: Model) -> Iterator[Executor | None]:
        """Who computes; None: this process."""
        with self.execution.executor(self.device(model), preload=[self.PRELOAD]) as executor:
            yield executor
