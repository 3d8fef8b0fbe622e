"""Windows as tasks: what a worker needs to know, how it computes some, and how their results are taken.

Pixels are read where the outputs are written, as they are without workers: what can be read of a damaged scene depends
on what is read at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords.inference.features.implicit import Fit
from earthwords.inference.features.pca import Components
from earthwords.inference.features.strips import as_tensor, window_features, window_tokens
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.features.window_store import WindowStore
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.sliding import Batch, Computed, Read, Slide
from earthwords.jobs.executor import Executor, by_number
from earthwords.jobs.job import Done, Worker
from earthwords.jobs.threads import Pool
from earthwords.presets import SegmentPreset
from earthwords.types import Grid, Window

Values: TypeAlias = tuple[list[NDArray[Any] | None], list[str]]
"""Of each window `(channel, h, w)`, None where it was left out; and what was left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowTask:
    """Windows side by side that one worker computes at once."""

    places: Sequence[Window]
    """Of `grid`."""
    grid: Grid
    pixels: NDArray[np.float32]
    """`(window, 3, h, w)`, normalised."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTask:
    """A window whose tokens are wanted."""

    pixels: NDArray[np.float32]
    """`(3, h, w)`, normalised."""
    valid: NDArray[np.bool_]
    """`(h, w)`."""


@dataclass(frozen=True, kw_only=True)
class WindowJob:
    """How windows are computed; can be pickled."""

    preset: SegmentPreset
    """With the weights that are really used."""
    method: str
    features: str
    """Which, see `Upsampler`."""
    fit: Fit | None
    batch: int
    device: str
    cores: int
    """Of a thread that computes windows: sums depend on it."""
    offline: bool = False
    on_error: str = "stop"

    def values(
        self, worker: Worker, task: WindowTask, *, components: Components | None, colours: Components | None
    ) -> Values:
        """Features of windows, or their components, and the tokens' colours; see `window_features`."""
        upsampler, policy = self._upsampler(worker), FailurePolicy(on_error=self.on_error)
        device = upsampler.backbone.device
        known, tints = (part and part.to(device) for part in (components, colours))
        pixels = as_tensor(task.pixels).to(device)

        def compute(windows: Tensor) -> Tensor:
            return window_features(upsampler, windows, known, tints)

        def run(part: slice) -> list[Tensor | None]:
            with torch.inference_mode():
                return upsampler.attempt(compute, pixels[part], task.places[part], task.grid, policy)

        size = 1 if device.type == "cpu" else upsampler.batch
        parts = [slice(i, i + size) for i in range(0, len(pixels), size)]
        with Pool(upsampler.threads, cores=self.cores) as pool:
            found = [value for values in pool.ordered(run, parts) for value in values]
        return [None if value is None else value.cpu().numpy() for value in found], policy.failures

    def tokens(self, worker: Worker, task: TokenTask, *, share: int) -> NDArray[np.float32]:
        """At most `share` tokens of a window; see `window_tokens`."""
        upsampler = self._upsampler(worker)
        pixels, valid = (as_tensor(part).to(upsampler.backbone.device) for part in (task.pixels, task.valid))
        with Pool(1, cores=self.cores) as pool:
            (found,) = pool.ordered(lambda share: window_tokens(upsampler, pixels, valid, share=share), [share])
        return found.numpy()

    def _upsampler(self, worker: Worker) -> Upsampler:
        """Loaded once by a worker."""
        key = self.preset, self.method, self.features, self.fit, self.device, self.batch, self.offline
        return worker.keep(
            "upsampler",
            key,
            lambda: Upsampler.from_preset(
                self.method, preset=self.preset, features=self.features, fit=self.fit, device=self.device,
                batch=self.batch, offline=self.offline,
            ),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SharedWindows:
    """The windows of a scene, computed by workers."""

    job: WindowJob
    executor: Executor
    size: int = 1
    """Windows a task."""
    beat: Callable[[], None] = lambda: None
    """See `Executor.run`."""

    def tokens(self, reads: Iterator[tuple[Tensor, Tensor]], share: int) -> Iterator[Tensor]:
        """Some tokens of windows that were read, in turn; see `sample_tokens`."""
        tasks = (TokenTask(pixels=pixels.cpu().numpy(), valid=valid.cpu().numpy()) for pixels, valid in reads)
        for found in by_number(self.executor.run(partial(self.job.tokens, share=share), tasks, beat=self.beat)):
            yield as_tensor(found)

    def compute(
        self,
        slide: Slide,
        read: Read,
        *,
        grid: Grid,
        components: Components | None,
        colours: Components | None,
        policy: FailurePolicy,
        kept: WindowStore | None,
    ) -> Iterator[Computed]:
        """As `Slide.computed`; windows that are kept are not computed again.

        Args:
            grid: in which the windows lie.
            policy: told what was left out.
            kept: gets every window as soon as it is there.
        """
        taken: deque[tuple[Batch, bool]] = deque()
        sent: list[Sequence[Window]] = []

        def tasks() -> Iterator[WindowTask]:
            for batch in replace(slide, batch=self.size).batches(read):
                needed = batch.pixels is not None and not (kept is not None and kept.has(batch.places))
                taken.append((batch, needed))
                if needed:
                    sent.append(batch.places)
                    yield WindowTask(places=batch.places, grid=grid, pixels=batch.windows().cpu().numpy())

        def there() -> Iterator[Computed]:
            while taken and not taken[0][1]:
                batch, _ = taken.popleft()
                yield _found(batch, kept, slide.device)

        def where(task: WindowTask) -> str:
            return f"row {task.places[0].row}, column {task.places[0].col}"

        function = partial(self.job.values, components=components, colours=colours)
        done = self.executor.run(function, tasks(), beat=self.beat, place=where)
        for values, failures in by_number(done if kept is None else _keeping(done, sent, kept)):
            yield from there()
            batch, _ = taken.popleft()
            policy.add(failures)
            yield batch.computed([None if value is None else as_tensor(value).to(slide.device) for value in values])
        yield from there()


def _found(batch: Batch, kept: WindowStore | None, device: torch.device | str) -> Computed:
    """Windows without a valid pixel, or those of an earlier run, which count as done already."""
    if batch.pixels is None or kept is None:
        return batch.computed([])
    return replace(batch.computed(list(kept.read(batch.places, device))), windows=batch.skipped)


def _keeping(done: Iterator[Done], sent: Sequence[Sequence[Window]], kept: WindowStore) -> Iterator[Done]:
    """The same results, each kept first."""
    for number, result in done:
        values: list[NDArray[Any] | None] = result[0]
        kept.save(sent[number], [None if value is None else as_tensor(value) for value in values])
        yield number, result
