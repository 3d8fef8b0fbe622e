"""What `segment` is asked for: it travels whole from the command to the block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from earthwords.geo.scene import Scene
from earthwords.geo.vectors.zones import zones_identity
from earthwords.inference.limits import check_numbers
from earthwords.inference.scene_run import SceneRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import OutputOptions, settings_of
from earthwords.presets import SegmentPreset
from earthwords.types import Vocabulary


@dataclass(frozen=True, kw_only=True)
class MapRequest(SceneRequest[Segmenter]):
    """A map by words."""

    vocabulary: Vocabulary
    options: OutputOptions = field(default_factory=OutputOptions)
    on_error: str = "stop"
    """What a window that fails twice does, see `FailurePolicy`."""

    @property
    def replaces(self) -> bool:
        """Whether outputs that are there are replaced."""
        return self.options.overwrite

    def settings_of_model(self, segmenter: Segmenter, tags: Mapping[str, str]) -> dict[str, str]:
        """What a map depends on through the model, whose tags are known, and the machine."""
        bank = segmenter.text_bank(self.vocabulary)
        return {
            "weights": f"{tags['weights']}, hash {segmenter.weights_hash}, words {bank.digest}",
            "device": segmenter.arithmetic,
        }

    def told(self) -> dict[str, str]:
        """See `SceneRequest`."""
        return {"vocabulary": self.vocabulary.described, "on-error": self.on_error, **self.options.settings()}


@dataclass(frozen=True, kw_only=True)
class SegmentRequest(MapRequest):
    """What to make of a scene; nothing here says how the work is done."""

    threshold: float | None = None
    """Least probability of a label; None: the preset's."""
    joint: bool = False
    """Whether all tokens of a scene decide together, see `windows.mixture`."""
    zones: str | None = None
    """A file of polygons of each of which figures are wanted."""
    stac: bool = False
    """Whether the map is described as a STAC Item, too."""

    @property
    def wants_probabilities(self) -> bool:
        """Whether the probability of every class is an output, too."""
        return self.options.probabilities != "no"

    def open(self, segmenter: Segmenter) -> Scene:
        """The scene, at the resolution at which the segmenter works."""
        return self.at_working_gsd(segmenter, self.spec.open())

    def at_working_gsd(self, segmenter: Segmenter, opened: Scene) -> Scene:
        """The scene that was opened, at the resolution asked for or else the segmenter's."""
        return segmenter.at_working_gsd(opened) if self.spec.gsd is None else opened

    def check(self, *, preset: SegmentPreset, batch: int | None) -> None:
        """Refuse impossible numbers before anything is opened.

        Raises:
            UsageError: a threshold, a batch or a reaction that there is not.
        """
        check_numbers(threshold=preset.threshold if self.threshold is None else self.threshold, batch=batch)
        FailurePolicy(on_error=self.on_error)

    def settings(self, segmenter: Segmenter) -> dict[str, str]:
        """What all scenes of the request depend on, as text."""
        tags = settings_of(segmenter.tags(self.vocabulary, threshold=self.threshold))
        return {
            **tags,
            **self.settings_of_model(segmenter, tags),
            **self.told(),
        }

    def told(self) -> dict[str, str]:
        """See `SceneRequest`."""
        return {
            **super().told(),
            **({} if self.threshold is None else {"threshold": f"{self.threshold:g}"}),
            **({"joint": "yes"} if self.joint else {}),
            **({} if self.zones is None else {"zones": zones_identity(self.zones)}),
            **({"stac": "yes"} if self.stac else {}),
        }
