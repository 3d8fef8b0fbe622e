"""What `refer` is asked for: it travels whole from the command to the view."""

from __future__ import annotations

from dataclasses import dataclass, field

from earthwords.inference.refer.pointing import PointingOptions
from earthwords.inference.refer.referrer import Referrer
from earthwords.inference.scene_run import SceneRequest
from earthwords.inference.windows.outputs import OutputOptions, settings_of
from earthwords.types import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ReferRequest(SceneRequest[Referrer]):
    """What to find in a scene; nothing here says how the work is done."""

    vocabulary: Vocabulary
    """Each sentence is a class."""
    pointing: PointingOptions = field(default_factory=PointingOptions)
    options: OutputOptions = field(default_factory=OutputOptions)

    @property
    def wants_probabilities(self) -> bool:
        """Whether the probability of every sentence is an output, too."""
        return self.options.probabilities != "no"

    @property
    def replaces(self) -> bool:
        """Whether outputs that are there are replaced."""
        return self.options.overwrite

    def tags(self, referrer: Referrer) -> dict[str, str]:
        """What outputs record about how things were found."""
        options = self.pointing
        return referrer.tags(
            self.vocabulary, threshold=options.threshold, every=options.every, min_score=options.min_score
        )

    def settings(self, referrer: Referrer) -> dict[str, str]:
        """What all scenes of the request depend on, as text."""
        tags = settings_of(self.tags(referrer))
        return {
            **tags,
            "weights": f"{tags['weights']}, hash {referrer.weights_hash}",
            "on-error": self.pointing.on_error,
            "device": referrer.model.device.type,
            **self.options.settings(),
            "sentences": "; ".join(self.vocabulary.queries),
        }
