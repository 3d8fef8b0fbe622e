"""What `upsample` is asked for: it travels whole from the command to the job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earthwords.geo.scene import Scene
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.scene_run import SceneRequest
from earthwords.inference.windows.outputs import settings_of


@dataclass(frozen=True, kw_only=True)
class FeatureRequest(SceneRequest[Upsampler]):
    """What to make of a scene; nothing here says how the work is done."""

    components: int | None = 3
    """Of the raster; None: all channels of the features."""
    pca: Path | None = None
    """Components of another run, instead of the scene's own."""
    creation_options: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    on_error: str = "stop"
    """What a window that fails twice does, see `FailurePolicy`."""

    @property
    def replaces(self) -> bool:
        """Whether outputs that are there are replaced."""
        return self.overwrite

    def at_working_gsd(self, upsampler: Upsampler, opened: Scene) -> Scene:
        """The scene that was opened, at the resolution asked for or else the upsampler's."""
        return upsampler.at_working_gsd(opened) if self.spec.gsd is None else opened

    def settings(self, upsampler: Upsampler) -> dict[str, str]:
        """What all scenes of the request depend on, as text."""
        tags = settings_of(upsampler.tags())
        return {
            **tags,
            "weights": f"{tags['weights']}, hash {upsampler.weights_hash}",
            "fit": upsampler.fit_settings,
            "components": "all" if self.components is None else str(self.components),
            "pca": "none" if self.pca is None else hashlib.sha256(self.pca.read_bytes()).hexdigest()[:16],
            "creation-options": str(dict(self.creation_options)),
            "on-error": self.on_error,
            "device": upsampler.arithmetic,
        }
