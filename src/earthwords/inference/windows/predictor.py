"""What all models that walk over scenes in windows do alike: opening, planning, reading, batches, second tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from affine import Affine
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError, is_out_of_memory
from earthwords.geo.bands import Bands
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.sources.network import Network
from earthwords.inference.cautions import scene_notes
from earthwords.inference.limits import check_batch
from earthwords.inference.windows.failures import FailurePolicy, place
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.resize import RowResizer
from earthwords.inference.windows.sliding import WindowPlan
from earthwords.kernels.blend import window_weights
from earthwords.models.backbone import Backbone
from earthwords.presets import SEGMENT_PRESETS, SegmentPreset
from earthwords.types import Grid, Window

GPU_BATCH = 8
"""Windows of a call on a GPU, unless told otherwise."""

B = TypeVar("B", bound=Backbone)


class WindowedPredictor(Generic[B]):
    """A backbone, and a preset that says in which windows it sees a scene."""

    def __init__(self, preset: SegmentPreset, backbone: B, *, batch: int | None = None) -> None:
        check_batch(batch)
        window_weights(preset.blend, (1, 1))
        self.preset = preset
        self.backbone = backbone
        cores = torch.get_num_threads() if self._on_cpu else 1
        self.batch = batch or (cores if self._on_cpu else GPU_BATCH)
        """Windows in work at the same time: on a CPU each by one core, on a GPU in one call."""
        self.threads = min(self.batch, cores)
        self.least = 1
        """Tokens a side that a window must have."""
        self.network = Network.NAMED
        """What may be reached to read scenes."""

    @property
    def _on_cpu(self) -> bool:
        return self.backbone.device.type == "cpu"

    @property
    def model_name(self) -> str:
        """Of the weights, for sentences."""
        return Path(self.preset.weights).name

    def scene_notes(self, scene: Scene) -> tuple[str, ...]:
        """What a scene's resolution and colours mean for these weights; see `cautions`."""
        return scene_notes(scene, model=self.learner, gsd=self.preset.gsd, radar=self.preset.radar)

    @property
    def learner(self) -> str:
        """Who learned the range of resolutions of the preset: these weights, or those of the preset, for sentences."""
        row = SEGMENT_PRESETS.get(self.preset.name)
        own = row is None or row.weights == self.preset.weights
        return self.model_name if own else f"the model of the preset {self.preset.name}"

    def working_gsd(self, scene: Scene) -> float | None:
        """The ground sample distance to work at when none is asked for: what the preset was taught at; else the finest
        the weights know, for a scene that is finer; else None."""
        own, known = scene.native.gsd_m, self.preset.gsd
        if self.preset.taught_gsd is not None and own is not None:
            return self.preset.taught_gsd
        return known[0] if known is not None and own is not None and own < known[0] * 0.99 else None

    def at_working_gsd(self, scene: Scene) -> Scene:
        """The same open scene at `working_gsd`."""
        return scene.at(self.working_gsd(scene))

    def open(
        self,
        source: Any,
        *,
        bands: Bands | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
        mask: str | Path | ArrayLike | None = None,
        transform: Affine | Sequence[float] | None = None,
        crs: Any = None,
        aoi: Any = None,
    ) -> Scene:
        """A scene at the resolution this preset works at; the arguments are those of `open_scene`.

        How the preset was taught to read scenes holds where nothing else is given.
        """
        bands, nodata, stretch = self.preset.reading(bands=bands, nodata=nodata, stretch=stretch)
        how: dict[str, Any] = {"bands": bands, "gsd": gsd, "bounds": bounds, "nodata": nodata, "stretch": stretch}
        how |= {"mask": mask, "transform": transform, "crs": crs, "aoi": aoi}
        scene = open_scene(source, **how, **self.network.as_options())
        return self.at_working_gsd(scene) if scene.asked_gsd is None else scene

    def plan(self, scene: Scene, region: Window | None = None) -> WindowPlan:
        """The windows that a scene needs, or a part of it in native pixels.

        Raises:
            UsageError: impossible windows.
        """
        tile, overlap = self.preset.tile_size, self.preset.overlap
        if tile < self.backbone.patch or not 0 <= overlap < tile:
            raise UsageError(
                f"Windows of {tile} pixels with an overlap of {overlap} are impossible: the size must be at least "
                f"{self.backbone.patch} and the overlap smaller than it."
            )
        plan = WindowPlan(scene.grid.shape, tile, tile - overlap, self.resizer(scene, region or scene.region).needed)
        tokens = [-(-side // self.backbone.patch) for side in plan.size]
        if min(tokens) < self.least:
            raise UsageError(
                f"The upsampler {self.preset.upsampler} needs {self.least} tokens of {self.backbone.patch} pixels a "
                f"side, and windows here have {tokens[0]} x {tokens[1]}: "
                + (
                    f"--tile-size {self.least * self.backbone.patch} or more."
                    if tile < min(scene.grid.shape)
                    else "the scene is too small for it; another --upsampler, such as bilinear, or a smaller --gsd."
                )
            )
        return plan

    def resizer(self, scene: Scene, region: Window, *, most_rows: int | None = None) -> RowResizer:
        """From the working grid to a part of the scene's own pixels; see `RowResizer`."""
        return RowResizer(source=scene.grid.shape, target=scene.native.shape, region=region, most_rows=most_rows)

    def read(self, scene: Scene, window: Window, policy: FailurePolicy) -> tuple[Tensor, Tensor]:
        """Normalised pixels, 0 (the mean colour) where nothing was observed, and the mask of those that are valid and
        near to what is wanted."""
        backbone = self.backbone
        wanted = None if scene.aoi is None else scene.aoi.near(window, scene.grid.shape)
        if wanted is not None and not wanted.any():
            nothing = torch.zeros((window.height, window.width), dtype=torch.bool, device=backbone.device)
            return torch.zeros((3, *nothing.shape), device=backbone.device), nothing
        data, mask = read_twice(scene.read, window, scene.grid, policy)
        pixels = torch.from_numpy(np.ascontiguousarray(data)).to(backbone.device)
        valid = torch.from_numpy(mask).to(backbone.device)
        mean, std = (pixels.new_tensor(v)[:, None, None] for v in (backbone.mean, backbone.std))
        shown = (pixels - mean).div_(std).mul_(valid)
        return shown, valid if wanted is None else valid & torch.from_numpy(wanted).to(valid.device)

    def attempt(
        self,
        compute: Callable[[Tensor], Tensor],
        windows: Tensor,
        places: Sequence[Window],
        grid: Grid,
        policy: FailurePolicy,
    ) -> list[Tensor | None]:
        """What `compute` makes of windows that lie in `grid`; a batch that fails is tried again window by window."""
        if len(windows) > 1:
            try:
                return list(self._computed(compute, windows))
            except Exception as error:
                if is_out_of_memory(error):
                    raise
        return [
            policy.twice(
                lambda i=i: self._computed(compute, windows[i : i + 1])[0],  # type: ignore[misc]
                where=lambda i=i: place(grid, places[i]),  # type: ignore[misc]
            )
            for i in range(len(windows))
        ]

    def _computed(self, compute: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
        """`(batch, *)`; on a GPU always of a full batch, so that a window's bits do not depend on it."""
        missing = 0 if self._on_cpu else self.batch - len(windows)
        padded = F.pad(windows, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else windows
        found = compute(padded)[: len(windows)]
        if not bool(torch.isfinite(found).all()):
            raise ArithmeticError("the model gave numbers that are not finite")
        return found
