"""A part of an image to try words on: windows are worked on once, other words, thresholds and marks cost a product.

`Segmenter.predict` is a view that keeps nothing, so both say the same, on a CPU to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError
from earthwords.files.paths import is_local_path
from earthwords.geo.scene import Scene
from earthwords.inference.cautions import enforce, presence_notes
from earthwords.inference.segment.joint import joined, joint_cautions, joint_notes
from earthwords.inference.segment.result import SegmentationResult, gathered
from earthwords.inference.windows.failures import FailurePolicy, largest
from earthwords.inference.windows.kept import KeptParts, KeptWindows
from earthwords.inference.windows.strip import observed
from earthwords.jobs.job import Tick
from earthwords.types import Vocabulary

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter

COARSE = "A coarse map: windows do not overlap, and tokens are not upsampled."


class SceneView:
    """What `Segmenter.view` gives: an open scene, and what is known of its windows. A context manager.

    Example:
        >>> with segmenter.view("ortho.tif", bounds=(326500, 2781000, 326612, 2781112)) as view:
        ...     rough = view.predict(["roof,house", "road"], coarse=True)
        ...     result = view.predict(["roof,house", "road"])
        ...     taught = view.teach("marks.gpkg", ["roof,house", "road"])
        ...     better = view.predict(by=taught)
    """

    def __init__(
        self, segmenter: Segmenter, scene: Scene, *, parts: KeptParts | None, reading: dict[str, Any] | None = None
    ) -> None:
        """
        Args:
            scene: open, at the resolution of the segmenter; its region is the view.
            parts: what is known of windows, of this scene and of others; None: nothing is, nor will be.
            reading: how the scene was opened.
        """
        self.segmenter = segmenter
        self.scene = scene
        self.reading = {name: value for name, value in (reading or {}).items() if name != "bounds"}
        self._parts = parts
        self._name = self._named()

    def __enter__(self) -> SceneView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the source; what is known of its windows stays with the segmenter."""
        self.scene.close()

    def __repr__(self) -> str:
        part = self.scene.region
        where = f"{part.height} x {part.width} pixels from row {part.row}, column {part.col}"
        return f"SceneView({self.scene.source!r}, {where})"

    def predict(
        self,
        words: Sequence[str] | Vocabulary | None = None,
        *,
        by: Segmenter | None = None,
        threshold: float | None = None,
        background: str | int | None = None,
        against: str | Sequence[str] | None = None,
        coarse: bool = False,
        joint: bool = False,
        strict: bool = False,
        probabilities: bool = False,
        tick: Tick = lambda windows: None,
    ) -> SegmentationResult:
        """A map of the view: that of `Segmenter.predict` with its bounds, on a CPU to the bit.

        Args:
            words, threshold, background, against, strict, probabilities: as of `Segmenter.predict`.
            by: what has learned from marks since, see `teach`; None: the view's own segmenter.
            coarse: a first look: as few windows as cover the view, tokens not upsampled. With a head as without it.
            joint: as of `Segmenter.predict`; all is computed anew then, as with a head.
            tick: called with the number of windows done; what it raises ends the work.

        Returns:
            As `Segmenter.predict`; `notes` say where nothing could be kept, and that a map is coarse.

        Raises:
            UsageError, SourceError: as `Segmenter.predict`; `by` has other weights.
        """
        segmenter, scene = self._by(by), self.scene
        vocabulary = segmenter._vocabulary(words, background, against)
        bank = segmenter.text_bank(vocabulary)
        kept, of_view = self._kept(segmenter, coarse=coarse, joint=joint)
        of_joint = joint_cautions(segmenter.preset) if joint else ()
        notes = (*scene.notes, *segmenter.request_notes(scene, vocabulary), *of_joint, *of_view)
        enforce(notes, strict=strict)
        if joint:
            bank = joined(segmenter, segmenter.clip, scene, bank)
            notes += joint_notes(bank)
        policy = FailurePolicy()
        strips = segmenter.strips(
            scene, bank, threshold=threshold, probabilities=probabilities, policy=policy, kept=kept, tick=tick
        )
        result = gathered(
            observed(strips, scene.source),
            scene=scene,
            vocabulary=vocabulary,
            tags={**scene.tags(), **segmenter.tags(vocabulary, threshold=threshold)},
            probabilities=probabilities,
            notes=notes,
        )
        result = replace(result, notes=(*result.notes, *presence_notes(largest(policy.presence), vocabulary)))
        enforce(result.notes, strict=strict)
        return result

    def teach(
        self,
        labels: Any,
        words: Sequence[str] = (),
        *,
        onto: Segmenter | None = None,
        column: str | None = None,
        background: str | None = None,
        head: str = "auto",
        seed: int = 0,
        strict: bool = False,
    ) -> Segmenter:
        """Learn from marks in the view, by what is known of its windows; see `Segmenter.teach`.

        How common the classes are is learned from the view alone, so that a head may differ a little from that of
        `Segmenter.teach`, which looks at the whole scene.

        Args:
            labels: points or polygons, a file or a GeoDataFrame; marks beside the view count, if they lie in the scene.
            words: one string a class.
            onto: what was taught before, whose marks count too; None: the view's own segmenter.
            column, background, head, seed, strict: as of `Segmenter.teach`.

        Raises:
            UsageError, SourceError: as `Segmenter.teach`; `onto` has other weights.
        """
        from earthwords.inference.teach.in_memory import teach_on_view

        segmenter = self._by(onto)
        found = teach_on_view(
            segmenter, self, labels, words, column=column, background=background, head=head, seed=seed, strict=strict
        )
        return segmenter._learned(found)

    def opened(self) -> AbstractContextManager[Scene]:
        """The scene, which stays open."""
        return nullcontext(self.scene)

    def kept(self, segmenter: Segmenter) -> KeptWindows | None:
        """What is known of windows; None: nothing is kept."""
        return self._kept(segmenter, coarse=False, joint=False)[0]

    def _by(self, other: Segmenter | None) -> Segmenter:
        if other is None:
            return self.segmenter
        if other.encoder is not self.segmenter.encoder:
            raise UsageError(f"{other!r} has other weights than this view; make a view of its own with it.")
        return other

    def _kept(self, segmenter: Segmenter, *, coarse: bool, joint: bool) -> tuple[KeptWindows | None, tuple[str, ...]]:
        """What is known of windows, and what is to be said about it."""
        if self._parts is None:
            return None, ()
        if joint or segmenter.encoder.gives_probabilities:
            of_head = "" if segmenter.preset.head is None else "the head of "
            why = "a joint map" if joint else f"{of_head}the preset {segmenter.preset.name}"
            return None, (f"Nothing is kept for {why}: it is computed anew for all words.",)
        count = len(segmenter.plan(self.scene))
        kept = KeptWindows(parts=self._parts, encoder=segmenter.clip, scene=self._name, windows=count, coarse=coarse)
        return kept, (COARSE,) if coarse else ()

    def _named(self) -> Hashable:
        """What tells the scene, and how it is read, from others: of files so that another view knows it again."""
        scene = self.scene
        files = scene.identity()
        shared = is_local_path(scene.source) and os.path.exists(scene.source) and len(files) > 2
        if not shared or not all(isinstance(value, _PLAIN) for value in self.reading.values()):
            return object()  # an array, or read by one: nothing tells it from another
        own = {name: str(value) for name, value in self.reading.items()}
        return tuple(sorted({**files, **scene.tags(), **own, "grid": str(scene.grid.shape)}.items()))


_PLAIN = (str, int, float, tuple, list, Path, type(None))
