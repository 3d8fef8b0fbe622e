"""What `upsample` is asked for: it travels whole from the command to the job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from earthwords.geo.scene import Scene, SceneSpec
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.windows.outputs import settings_of


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """What to make of a scene; nothing here says how the work is done."""

    spec: SceneSpec
    """How to open the scene."""
    components: int | None = 3
    """Of the raster; None: all channels of the features."""
    pca: Path | None = None
    """Components of another run, instead of the scene's own."""
    creation_options: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    on_error: str = "stop"
    """What a window that fails twice does, see `FailurePolicy`."""
    strict: bool = False
    """What is known to make the features worth less is an error."""

    def of(self, source: str) -> FeatureRequest:
        """The same of another scene."""
        return replace(self, spec=replace(self.spec, source=source))

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

    def reading(self) -> dict[str, str]:
        """How scenes are read, as text: option -> value."""
        ways = {name: value for name, value in vars(self.spec).items() if name not in _NOT_OF_THE_RESULT}
        return {name: str(value) for name, value in ways.items() if value is not None}


_NOT_OF_THE_RESULT = ("source", "offline", "allow_remote_parts")
