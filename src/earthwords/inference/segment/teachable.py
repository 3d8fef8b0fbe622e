"""What a segmenter does beside maps: it learns from marks, and says what to mark next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from earthwords.inference.windows.encoders.encoder import WindowEncoder
from earthwords.inference.windows.kept import KeptParts
from earthwords.inference.windows.predictor import WindowedPredictor
from earthwords.inference.windows.sliding import Encoder
from earthwords.models.backbone import Backbone
from earthwords.models.sam3.refusals import no_clip
from earthwords.models.taught import TaughtHead
from earthwords.presets import SegmentPreset
from earthwords.text.competing import compete
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Vocabulary

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter
    from earthwords.inference.segment.view import SceneView
    from earthwords.inference.suggest.result import Suggestions
    from earthwords.inference.teach.teaching import Teaching


class Teachable(WindowedPredictor[Backbone]):
    """An encoder, and classes that marks have taught."""

    def __init__(
        self,
        preset: SegmentPreset,
        encoder: WindowEncoder,
        *,
        taught: TaughtHead | None = None,
        batch: int | None = None,
    ) -> None:
        super().__init__(preset, encoder.backbone, batch=batch)
        self.encoder = encoder
        self.least = encoder.least
        self.taught = taught
        """Classes that marks have taught."""
        self.teaching: Teaching | None = None
        """How, where `teach` made it."""
        self.parts = KeptParts()
        """What is kept of windows that `view` looked at."""

    def view(self, source: Any, **reading: Any) -> SceneView:
        """A part of an image to try words on: the image is worked on once, other words cost a product.

        Args:
            source, **reading: as of `predict`: `bounds`, `bands`, `gsd`, `nodata`, `stretch`, `mask`, `transform`,
                `crs`. The source stays open until the view is closed.

        Raises:
            UsageError, SourceError: as `predict`.

        Example:
            >>> with segmenter.view("ortho.tif", bounds=(326500, 2781000, 326612, 2781112)) as view:
            ...     first = view.predict(["roof,house", "road"])
            ...     other = view.predict(["roof,house", "road", "swimming pool"], threshold=0.4)
        """
        from earthwords.inference.segment.view import SceneView

        made = cast("Segmenter", self)
        return SceneView(made, self.open(source, **reading), parts=self.parts, reading=reading)

    @property
    def clip(self) -> Encoder:
        """The encoder, for what needs the features of a CLIP.

        Raises:
            UsageError: it is none.
        """
        if not isinstance(self.encoder, Encoder):
            raise no_clip(self.preset)
        return self.encoder

    def teach(
        self,
        labels: Any,
        words: Sequence[str] = (),
        *,
        scenes: Any = (),
        column: str | None = None,
        names: str | Path | None = None,
        background: str | None = None,
        head: str = "auto",
        seed: int = 0,
        strict: bool = False,
        **reading: Any,
    ) -> Self:
        """Learn from a few marks beside the words; see `earthwords.teach`. Nothing is written.

        Args:
            labels: as of `earthwords.teach`, or a GeoDataFrame with a column of classes.
            words: one string a class.
            scenes: what the marks lie in: paths, folders, or anything that `predict` takes; one or a list.
            column, names, background, head, seed, strict: as of `earthwords.teach`.
            **reading: `bands`, `gsd`, `nodata`, `stretch`, `mask`, `transform`, `crs` of `open_scene`.

        Returns:
            A segmenter that has learned. One that was taught before goes on from its marks. `teaching` says what was
            chosen, and writes it: `taught.teaching.save("my-water")`.

        Raises:
            UsageError, SourceError: as `earthwords.teach`.

        Example:
            >>> taught = segmenter.teach("marks.gpkg", ["water", "trees"], scenes="scenes")
            >>> taught.teaching.report.to_dataframe()
            >>> taught.predict("ortho.tif").to_geodataframe()
        """
        from earthwords.inference.teach.in_memory import teach_in_memory

        found = teach_in_memory(
            cast("Segmenter", self), labels, words, scenes=scenes, column=column, names=names, background=background,
            head=head, seed=seed, strict=strict, reading=reading,
        )  # fmt: skip
        return self._learned(found)

    def _learned(self, found: Teaching) -> Self:
        """The same with what marks have taught; windows that are known stay known."""
        made = type(self)(found.row, self.encoder, taught=found.learned.head, batch=self.batch)
        made.network, made.teaching, made.parts = self.network, found, self.parts
        return made

    def suggest(
        self,
        n: int = 20,
        words: Sequence[str] | Vocabulary | None = None,
        *,
        scenes: Any = None,
        rule: str = "margin-diversity",
        tiles: int | None = None,
        marks: Any = None,
        seed: int = 0,
        strict: bool = False,
        **reading: Any,
    ) -> Suggestions:
        """Places to mark next; see `earthwords.suggest`. Nothing is written.

        Args:
            n: how many.
            words: as of `predict`.
            scenes: as of `teach`; None: those that marks have taught it in.
            rule, tiles, seed, strict: as of `earthwords.suggest`.
            marks: what is marked already: a file or a GeoDataFrame; None: what it was taught with.
            **reading: as of `teach`.

        Raises:
            UsageError, SourceError: as `earthwords.suggest`.

        Example:
            >>> taught.suggest(10).to_geodataframe()
        """
        from earthwords.inference.suggest.in_memory import suggest_in_memory

        return suggest_in_memory(
            cast("Segmenter", self), n, scenes=scenes, vocabulary=self._vocabulary(words), rule=rule, tiles=tiles,
            marks=marks, seed=seed, strict=strict, reading=reading,
        )  # fmt: skip

    def _vocabulary(
        self,
        words: Sequence[str] | Vocabulary | None,
        background: str | int | None = None,
        against: str | Sequence[str] | None = None,
    ) -> Vocabulary:
        """What words mean; without any what it was taught."""
        if words is None and self.taught is not None:
            return self.taught.vocabulary
        if isinstance(words, Vocabulary):
            return words
        translate = not self.encoder.backbone.any_language
        vocabulary = parse_classes(words or (), background=background, translate=translate)
        return compete(vocabulary, self.preset.rivals(against))
