"""The features of a scene of any size, upsampled and written in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

import torch

from earthwords.errors import UsageError
from earthwords.files.atomic import discard
from earthwords.geo.scene import Scene
from earthwords.inference.cautions import enforce
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.features.implicit import FittedUpsampler, untold
from earthwords.inference.features.outputs import AboutFeatures, block_side, write_features
from earthwords.inference.features.pca import Components, fit_components, load_components
from earthwords.inference.features.pca_upsampling import is_cheap
from earthwords.inference.features.request import FeatureRequest
from earthwords.inference.features.row_store import RowStore, read_components, save_components
from earthwords.inference.features.saved_strips import SavedStrips, rows_held
from earthwords.inference.features.strips import FeatureStrip, SceneFeatures, sample_tokens
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.features.window_job import SharedWindows, WindowJob
from earthwords.inference.features.window_store import WindowStore
from earthwords.inference.segment.memory import FIXED, computing, shown, walking
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.held import clip_bytes
from earthwords.inference.windows.outputs import settings_of
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.inference.windows.sliding import pad
from earthwords.inference.windows.strip import observed
from earthwords.jobs.executor import AHEAD, Executor
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import Journal, journal_beside, open_journal
from earthwords.jobs.threads import ahead, until
from earthwords.reports import FeatureReport

COLOURS = 3
"""Components that pictures show."""
WRITER_BYTES = 2**26
"""What a raster's rows may take before they are written, see `RasterWriter`."""
WORKER_BYTES = 2**26
"""What a worker takes beside the model and the windows that it computes."""


@dataclass(frozen=True, kw_only=True)
class FeatureJob:
    """What to make of a scene, and how the work is done."""

    upsampler: Upsampler
    scene: Scene
    outputs: Mapping[str, Path]
    """Kind to path, see `plan_features`."""
    request: FeatureRequest
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    executor: Executor | None = None
    """Who computes; None: this process."""
    stop: Event = field(default_factory=Event)
    """Set when the strips are wanted no longer."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is known of the worth of the features."""
        return (*self.scene.notes, *self.upsampler.scene_notes(self.scene))

    @property
    def windows(self) -> int:
        """That are computed."""
        return len(self.upsampler.plan(self.scene))

    def window_seconds(self) -> float:
        """How long a fit to a window takes, measured on noise; 0 for other methods."""
        model, tile = self.upsampler, self.upsampler.preset.tile_size
        if not isinstance(model.module, FittedUpsampler):
            return 0.0
        noise = torch.rand(1, 3, tile, tile, device=model.backbone.device)
        with model.module.telling(untold):
            return model.module.fit.seconds(model.encode, pad(noise, model.backbone.patch)[2])

    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on, as text."""
        return {
            **self.scene.identity(),
            "region": repr(self.scene.region),
            "outputs": ", ".join(self.outputs),
            **settings_of(self.scene.tags()),
            **self.request.settings(self.upsampler),
        }

    def run(
        self,
        *,
        tick: Tick = lambda windows: None,
        skip: Tick = lambda windows: None,
        writing_begins: Callable[[], None] = lambda: None,
        moved: Callable[[FeatureReport], None] = lambda report: None,
        loading_s: float = 0.0,
    ) -> FeatureReport:
        """Do it, or go on with what an earlier run has left.

        Args:
            tick: called with the number of windows done, or a share of one.
            skip: called with the number of windows that an earlier run has done.
            writing_begins: see `write_features`, as `moved`.
            loading_s: time already spent, for the report.

        Raises:
            UsageError: impossible windows, more components than channels, too little memory, an output exists, an
                unfinished run was begun with other settings, or there is a caution and `strict`.
            OutputError: an output cannot be written.
            SourceError: the scene is damaged or empty.
        """
        enforce(self.notes, strict=self.request.strict)
        self.check()
        folder, saved = journal_beside(next(iter(self.outputs.values()))), list[SavedStrips]()
        settings, resume = self.settings(), self.execution.resume

        def done(journal: Journal) -> int:
            return saved[0].done() if saved else 0

        def all_there(report: FeatureReport) -> None:
            moved(report)
            discard(folder)

        with ExitStack() as stack:
            journal = stack.enter_context(
                open_journal(folder, settings=settings, resume=resume, unit="windows", done=done)
            )
            journal.total = self.windows
            windows_done = self._ticks(until(self.stop, tick), stack)
            began, policy = time.perf_counter(), FailurePolicy(on_error=self.request.on_error)
            found, sampled = self._components(policy, folder)
            features = self._features(found)
            if resume:
                saved.append(self._saved(features, folder))
                skip(saved[0].done())
            strips = self._strips(features, saved[0] if saved else None, windows_done, policy)
            about = self._about(features, sampled, loading_s, time.perf_counter() - began)
            with closing(ahead(observed(strips, self.scene.source), depth=2, stop=self.stop)) as ready:
                return write_features(
                    self.outputs,
                    ready,
                    about=about,
                    creation_options=self.request.creation_options,
                    overwrite=self.request.overwrite,
                    failures=policy.failures,
                    writing_begins=writing_begins,
                    moved=all_there,
                )

    def _ticks(self, tick: Tick, stack: ExitStack) -> Tick:
        """Who is told of whole windows; until the stack ends, a fit in this process tells of its steps instead."""
        if self.executor is None and isinstance(self.upsampler.module, FittedUpsampler):
            stack.enter_context(self.upsampler.module.telling(tick))
            return lambda windows: None
        return tick

    def _features(self, components: Components | None) -> SceneFeatures:
        """What is made of the scene, with these components."""
        return SceneFeatures(
            upsampler=self.upsampler,
            scene=self.scene,
            components=None if self.request.components is None else components,
            colours=components.first(COLOURS) if components is not None and "preview" in self.outputs else None,
        )

    def _about(self, features: SceneFeatures, sampled: int, loading_s: float, sampling_s: float) -> AboutFeatures:
        first = next(iter(self.outputs.values()))
        return AboutFeatures(
            source=self.scene.tags()["EARTHWORDS_SOURCE"],
            dst=first.parent if "report" in self.outputs else first,
            grid=self.scene.native.window(self.scene.region),
            method=self.upsampler.method,
            dim=self.upsampler.backbone.dim,
            components=features.components,
            bands=self._bands,
            colours=features.colours,
            tags={**self.scene.tags(), **self.upsampler.tags(), **self._tags(features.components, sampled)},
            notes=self.notes,
            seconds={"loading": loading_s, "sampling": sampling_s},
        )

    def _saved(self, features: SceneFeatures, folder: Path) -> SavedStrips:
        """What an earlier run has left of these features."""
        coloured = 0 if features.colours is None else len(features.colours)
        dear = isinstance(self.upsampler.module, FittedUpsampler)
        return SavedStrips(
            features=features,
            rows=RowStore(
                folder, width=self.scene.region.width, channels=features.channels - coloured, coloured=coloured
            ),
            windows=WindowStore(folder, channels=features.channels) if dear else None,
        )

    def _strips(
        self, features: SceneFeatures, saved: SavedStrips | None, tick: Tick, policy: FailurePolicy
    ) -> Iterator[FeatureStrip]:
        """From top to bottom, by whoever computes."""
        kept, compute = None if saved is None else saved.windows, None
        if (shared := self._shared(tick)) is not None:
            compute = partial(
                shared.compute, grid=self.scene.grid, components=features.components, colours=features.colours,
                policy=policy, kept=kept,
            )  # fmt: skip

        def make(first: int) -> Iterator[FeatureStrip]:
            return features.strips(policy=policy, tick=tick, first=first, compute=compute, kept=kept)

        return make(0) if saved is None else saved.strips(make, policy=policy)

    def _shared(self, tick: Tick = lambda windows: None) -> SharedWindows | None:
        """How workers compute; None: this process does."""
        if self.executor is None:
            return None
        model, module = self.upsampler, self.upsampler.module
        job = WindowJob(
            preset=model.preset,
            method=model.method,
            features=model.kind,
            fit=module.fit.ticked(untold) if isinstance(module, FittedUpsampler) else None,
            batch=model.batch,
            device=str(model.backbone.device),
            cores=model.cores,
            offline=self.execution.offline,
            on_error=self.request.on_error,
        )
        return SharedWindows(job=job, executor=self.executor, size=self._at_once, beat=lambda: tick(0))

    def check(self) -> None:
        """Refuse what cannot work before anything is computed.

        Raises:
            UsageError: impossible windows, more components than channels, or too little memory.
        """
        dim = self.upsampler.backbone.dim
        if self.request.components is not None and not 1 <= self.request.components <= dim:
            raise UsageError(
                f"The features have {dim} channels, so there are 1 to {dim} components, not {self.request.components}; "
                "all channels are written with --components all."
            )
        need = self._need()
        if need > self.execution.memory:
            tile = self.upsampler.preset.tile_size
            fewer = " or fewer --workers" if self.execution.workers > 1 else ""
            raise UsageError(
                f"{self._bands} bands of {self.scene.region.width:,} pixels a row, from windows of {tile} pixels, need "
                f"{shown(need)} of memory, {shown(self.execution.memory)} were given; ask for fewer --components or a "
                f"part by --bounds, use a smaller --tile-size{fewer}, or give more by --memory."
            )

    @property
    def _bands(self) -> int:
        return self.request.components or self.upsampler.backbone.dim

    @property
    def _computed(self) -> int:
        """Channels a pixel that windows give: those of the raster or of the picture, and the tokens' colours."""
        if "preview" not in self.outputs:
            return self._bands
        return max(self._bands, COLOURS) + COLOURS

    def _need(self) -> int:
        """Bytes on top of the loaded model, as far as they can be foreseen."""
        model, module, given, cols = self.upsampler, self.upsampler.module, self._computed, self.scene.region.width
        projected = self.request.components is not None and is_cheap(module)
        channels = (2 * given if projected else 3 * model.backbone.dim) + getattr(module, "held", 0)
        fitting = module.fit.held(model.preset.tile_size**2) if isinstance(module, FittedUpsampler) else 0
        strip = CELL_ROWS * cols * 4 * given
        strips = 6 * (strip + 4 * CELL_ROWS * cols * 4)
        row_of_tiles = (
            max(WRITER_BYTES, 16 * cols * 4 * self._bands) + 8 * 4 * self._bands * block_side(self._bands) ** 2
        )
        writing = 3 * row_of_tiles if "features" in self.outputs and self._bands > COLOURS else 0
        window = clip_bytes(model.backbone, model.preset.tile_size, upsampled=channels)
        windows = walking(model, self.scene, cols=cols, given=given) + computing(model, window=window, given=given)
        saving = 3 * (rows_held(model, self.scene, strip // CELL_ROWS) + strip) if self.execution.resume else 0
        return FIXED + windows + fitting + strips + writing + saving + self._need_of_workers(given, fitting)

    def _need_of_workers(self, given: int, fitting: int) -> int:
        """Bytes more where several processes compute: results that wait for their turn, and what each worker holds."""
        execution = self.execution
        if execution.is_here:
            return 0
        window = 4 * (given + COLOURS) * self.upsampler.preset.tile_size**2
        waiting = (AHEAD + 2) * execution.workers * self._at_once * window
        return waiting + (execution.workers * (WORKER_BYTES + fitting) if execution.shared else 0)

    @property
    def _at_once(self) -> int:
        """Windows that a worker is given at once."""
        model = self.upsampler
        here = model.backbone.device.type == "cpu"
        return max(1, model.threads // self.execution.workers) if here else model.batch

    def _components(self, policy: FailurePolicy, folder: Path) -> tuple[Components | None, int]:
        """Those of the raster and the picture, if any are needed, and from how many tokens they are."""
        picture, dim, asked = "preview" in self.outputs, self.upsampler.backbone.dim, self.request.components or 0
        if not asked and not picture:
            return None, 0
        wanted = max(asked, min(COLOURS, dim) if picture else 0)
        if self.request.pca is not None:
            known = load_components(self.request.pca, dim=dim)
            if len(known) < asked:
                raise UsageError(f"{self.request.pca} holds {len(known)} components, {asked} were asked for.")
            return known.first(wanted), 0
        if (before := read_components(folder)) is not None:
            policy.add(before[2])
            return before[:2]
        shared = self._shared(until(self.stop, lambda windows: None))
        tokens = sample_tokens(
            self.upsampler, self.scene, policy=policy, compute=None if shared is None else shared.tokens
        )
        found = fit_components(tokens, wanted)
        save_components(folder, found, sampled=len(tokens), failures=policy.failures)
        return found, len(tokens)

    def _tags(self, components: Components | None, sampled: int) -> dict[str, str]:
        if components is None:
            return {"EARTHWORDS_COMPONENTS": f"all {self._bands} channels"}
        origin = f"tokens: {sampled}" if self.request.pca is None else f"from {self.request.pca.name}"
        return {
            "EARTHWORDS_COMPONENTS": f"{self._bands} of {self.upsampler.backbone.dim}, {origin}",
            "EARTHWORDS_MEAN": " ".join(f"{value:.6g}" for value in components.mean.tolist()),
        }
