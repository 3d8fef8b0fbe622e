"""The features of a scene of any size, upsampled and written in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import torch

from earthwords.errors import UsageError
from earthwords.geo.scene import Scene
from earthwords.inference.execution import DEFAULT_MEMORY
from earthwords.inference.features.implicit import FittedUpsampler
from earthwords.inference.features.outputs import AboutFeatures, block_side, write_features
from earthwords.inference.features.pca import Components, fit_components, load_components
from earthwords.inference.features.pca_upsampling import is_cheap
from earthwords.inference.features.strips import SceneFeatures, sample_tokens
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.segment.memory import FIXED, computing, shown, walking
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.inference.windows.sliding import pad
from earthwords.inference.windows.strip import observed
from earthwords.jobs.job import Tick
from earthwords.jobs.threads import ahead, until
from earthwords.types import FeatureReport

COLOURS = 3
"""Components that pictures show."""
WRITER_BYTES = 2**26
"""What a raster's rows may take before they are written, see `RasterWriter`."""


@dataclass(frozen=True, kw_only=True)
class FeatureJob:
    """What to make of a scene."""

    upsampler: Upsampler
    scene: Scene
    dst: Path
    outputs: Mapping[str, Path]
    """Kind to path, see `plan_features`."""
    components: int | None = 3
    """Of the raster; None: all channels of the features."""
    pca: Path | None = None
    """Components of another run, instead of this scene's own."""
    memory: int = DEFAULT_MEMORY
    """Bytes on top of the loaded model."""
    on_error: str = "stop"
    """What a window that fails twice does, see `FailurePolicy`."""
    creation_options: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
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
        return model.module.fit.seconds(model.encode, pad(noise, model.backbone.patch)[2])

    def run(
        self,
        *,
        tick: Tick = lambda windows: None,
        writing_begins: Callable[[], None] = lambda: None,
        loading_s: float = 0.0,
    ) -> FeatureReport:
        """Do it.

        Args:
            tick: called with the number of windows done.
            writing_begins: see `write_features`.
            loading_s: time already spent, for the report.

        Raises:
            UsageError: impossible windows, more components than channels, too little memory, an output exists.
            OutputError: an output cannot be written.
            SourceError: the scene is damaged or empty.
        """
        began = time.perf_counter()
        self.check()
        policy = FailurePolicy(on_error=self.on_error)
        found, sampled = self._components(policy)
        colours = found.first(COLOURS) if found is not None and "preview" in self.outputs else None
        held = None if self.components is None else found
        features = SceneFeatures(upsampler=self.upsampler, scene=self.scene, components=held, colours=colours)
        about = AboutFeatures(
            source=self.scene.tags()["EARTHWORDS_SOURCE"],
            dst=self.dst,
            grid=self.scene.native.window(self.scene.region),
            method=self.upsampler.method,
            dim=self.upsampler.backbone.dim,
            components=held,
            bands=self._bands,
            colours=colours,
            tags={**self.scene.tags(), **self.upsampler.tags(), **self._tags(held, sampled)},
            notes=self.notes,
            seconds={"loading": loading_s, "sampling": time.perf_counter() - began},
        )
        strips = observed(features.strips(policy=policy, tick=until(self.stop, tick)), self.scene.source)
        with closing(ahead(strips, depth=2, stop=self.stop)) as ready:
            return write_features(
                self.outputs,
                ready,
                about=about,
                creation_options=self.creation_options,
                overwrite=self.overwrite,
                failures=policy.failures,
                writing_begins=writing_begins,
            )

    def check(self) -> None:
        """Refuse what cannot work before anything is computed.

        Raises:
            UsageError: impossible windows, more components than channels, or too little memory.
        """
        dim = self.upsampler.backbone.dim
        if self.components is not None and not 1 <= self.components <= dim:
            raise UsageError(
                f"The features have {dim} channels, so there are 1 to {dim} components, not {self.components}; "
                "all channels are written with --components all."
            )
        need = self._need()
        if need > self.memory:
            tile = self.upsampler.preset.tile_size
            raise UsageError(
                f"{self._bands} bands of {self.scene.region.width:,} pixels a row, from windows of {tile} pixels, need "
                f"{shown(need)} of memory, {shown(self.memory)} were given; ask for fewer --components or a part by "
                "--bounds, use a smaller --tile-size, or give more by --memory."
            )

    @property
    def _bands(self) -> int:
        return self.components or self.upsampler.backbone.dim

    @property
    def _computed(self) -> int:
        """Channels a pixel that windows give: those of the raster or of the picture, and the tokens' colours."""
        if "preview" not in self.outputs:
            return self._bands
        return max(self._bands, COLOURS) + COLOURS

    def _need(self) -> int:
        """Bytes on top of the loaded model, as far as they can be foreseen."""
        model, module, given, cols = self.upsampler, self.upsampler.module, self._computed, self.scene.region.width
        projected = self.components is not None and is_cheap(module)
        channels = (2 * given if projected else 3 * model.backbone.dim) + getattr(module, "held", 0)
        fitting = module.fit.held(model.preset.tile_size**2) if isinstance(module, FittedUpsampler) else 0
        strips = 6 * CELL_ROWS * cols * 4 * (given + 4)
        row_of_tiles = (
            max(WRITER_BYTES, 16 * cols * 4 * self._bands) + 8 * 4 * self._bands * block_side(self._bands) ** 2
        )
        writing = 3 * row_of_tiles if "features" in self.outputs and self._bands > COLOURS else 0
        windows = walking(model, self.scene, cols=cols, given=given) + computing(model, upsampled=channels, given=given)
        return FIXED + windows + fitting + strips + writing

    def _components(self, policy: FailurePolicy) -> tuple[Components | None, int]:
        """Those of the raster and the picture, if any are needed, and from how many tokens they are."""
        picture, dim = "preview" in self.outputs, self.upsampler.backbone.dim
        if self.components is None and not picture:
            return None, 0
        wanted = max(self.components or 0, min(COLOURS, dim) if picture else 0)
        if self.pca is not None:
            known = load_components(self.pca, dim=dim)
            if len(known) < (self.components or 0):
                raise UsageError(f"{self.pca} holds {len(known)} components, {self.components} were asked for.")
            return known.first(wanted), 0
        tokens = sample_tokens(self.upsampler, self.scene, policy=policy)
        return fit_components(tokens, wanted), len(tokens)

    def _tags(self, components: Components | None, sampled: int) -> dict[str, str]:
        if components is None:
            return {"EARTHWORDS_COMPONENTS": f"all {self._bands} channels"}
        origin = f"tokens: {sampled}" if self.pca is None else f"from {self.pca.name}"
        return {
            "EARTHWORDS_COMPONENTS": f"{self._bands} of {self.upsampler.backbone.dim}, {origin}",
            "EARTHWORDS_MEAN": " ".join(f"{value:.6g}" for value in components.mean.tolist()),
        }
