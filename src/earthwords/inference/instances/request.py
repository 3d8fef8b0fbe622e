"""What `count` is asked for: it travels whole from the command to the block."""

from __future__ import annotations

from dataclasses import dataclass

from earthwords.geo.scene import Scene
from earthwords.inference.instances.choose import FEWEST
from earthwords.inference.instances.options import CountOptions
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.text.usual_sizes import UsualSize, usual_size


@dataclass(frozen=True, kw_only=True)
class CountRequest(SegmentRequest):
    """A map, and what is counted of it."""

    counting: CountOptions

    @property
    def sizes(self) -> tuple[UsualSize | None, ...]:
        """That things of the counted classes usually have; None: nobody knows."""
        return tuple(usual_size(self.vocabulary.classes[label].queries) for label in self.counting.counted)

    def at_working_gsd(self, segmenter: Segmenter, opened: Scene) -> Scene:
        """As of `SegmentRequest`; at half the size of a pixel where all that is counted is small, that is of use, and
        nobody asks for another size: enlarged, small things are found better, large ones worse."""
        found = super().at_working_gsd(segmenter, opened)
        return found.at(found.grid.gsd_m / 2) if self._sees_little(segmenter, found) and found.grid.gsd_m else found

    def _sees_little(self, segmenter: Segmenter, scene: Scene) -> bool:
        if self.spec.gsd is not None or self.counting.method == "instructsam" or segmenter.taught is not None:
            return False
        token = (segmenter.backbone.patch * (scene.grid.gsd_m or 0)) ** 2
        return all(size is not None and FEWEST / 4 <= size.usual / max(token, 1e-9) < FEWEST for size in self.sizes)

    def told(self) -> dict[str, str]:
        """See `SceneRequest`."""
        return {**super().told(), **self.counting.settings()}
