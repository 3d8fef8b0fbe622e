"""What is known of a set: `DatasetSpec`, the row that each file of `data/segmentation/sets` holds, and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from earthwords.errors import UsageError, did_you_mean
from earthwords.plugins import load, names
from earthwords.text.vocabulary import parse_classes
from earthwords.types import ClassName, Colour, Vocabulary

IGNORED = 255
"""Label of pixels that do not count."""

PACKAGE = "earthwords.data.segmentation.sets"

GROUPS = ("multi-class", "building", "road", "water", "natural", "local")
"""Kinds of sets in the order of SegEarth-OV's tables; `local` are small sets outside of it."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What pixels of a label file mean: of one band by `values` or `at_least`, of three by `colours`."""

    values: Mapping[int, int] = field(default_factory=dict)
    """Value or palette index -> class or `IGNORED`; 255 is ignored unless it is listed."""
    colours: Mapping[Colour, int] = field(default_factory=dict)
    """RGB -> class or `IGNORED`."""
    at_least: int | None = None
    """Of two classes, values from here on are class 1; colours are read by their luma, as OpenCV does."""
    otherwise: int | None = None
    """Class of values and colours that are not listed; None: they are an error."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where images and labels lie, and how they find each other."""

    images: tuple[str, ...]
    """Patterns below the root such as `val/images/{key}.png`; the first that finds anything counts. Parts in braces are
    read from the name, `*` is anything but a slash; case does not matter."""
    labels: tuple[str, ...]
    """The same for the labels."""
    encoding: Encoding
    name: str = "{key}"
    """Name of an item, from the parts in braces; an image and a label of the same name belong together."""
    listed: tuple[str, ...] = ()
    """Patterns of a text file with the names that count, one a line, with or without a suffix; the first found."""
    all_there: bool = True
    """Whether every name of that file must be there."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How large images are cut: windows every `step` pixels, the last ones shifted back to the border."""

    height: int
    width: int
    step: int | None = None
    """In both directions; None: the size of a tile."""
    name: str = "{name}_{left}_{top}_{right}_{bottom}"
    pad: bool = False
    """Smaller images are filled up to a whole tile, with 0, and labels with `IGNORED`; else the tile is smaller."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a method was set for this set."""

    threshold: float
    """Below this probability a pixel is background."""
    cls_weight: float
    """Weight of the global token (SegEarth-OV's lambda)."""
    classes: tuple[str, ...] = ()
    """Words that differ from the set's own; empty: those."""
    side: int = 448
    """Pixels of the longer side that images are resized to before they are cut into windows."""


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """A number somebody printed."""

    method: str
    value: float
    """Percent."""
    source: str
    verified: bool
    """Read in the source, or in a transcription of it; False: recalled."""
    metric: str = "mIoU"


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A set for semantic segmentation."""

    name: str
    title: str
    rank: int
    """Place in tables."""
    group: str
    """One of `GROUPS`."""
    classes: tuple[str, ...]
    """Comma-separated synonyms of each class, in label order."""
    palette: tuple[Colour, ...] = ()
    """RGB of each class; empty: the colours of words."""
    background: int | None = None
    """Class of pixels below the threshold."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Preset -> how it was tuned."""
    gsd_m: tuple[float, float] | None = None
    """Finest and coarsest ground sampling distance, metres; None: not known, or not seen from above."""
    licence: str = ""
    source: str = ""
    """Where to get it."""
    download: str = ""
    """What of it is needed, in words."""
    published: tuple[PublishedFigure, ...] = ()
    split: str = "val"
    """The part that is measured."""
    count: int | None = None
    """Items of that part after preparation; None: not known."""
    original: Layout
    """As it is downloaded and unpacked."""
    only: tuple[str, ...] = ()
    """Names of the original images that count; empty: all."""
    tiling: Tiling | None = None
    """None: images stay whole."""
    prepared: Layout
    """As `prepare` writes it and mmsegmentation's configurations have it; the first pattern is the one written."""
    others: tuple[Layout, ...] = ()
    """Other layouts in use that can be opened as they are."""
    notes: str = ""
    """What a user should know."""
    unverified: tuple[str, ...] = ()
    """What of this row is recalled, not read anywhere: `field: what about it`, or just the field."""

    @property
    def titles(self) -> tuple[str, ...]:
        """The first word of each class."""
        return tuple(words.split(",")[0] for words in self.classes)

    @property
    def counted(self) -> int | None:
        """`count`, if it can be relied on."""
        return None if any(each.startswith("count") for each in self.unverified) else self.count

    @property
    def metric(self) -> str:
        """What tables print: `mIoU`, or `IoU` of the class beside the background where there are these two."""
        return "IoU" if len(self.classes) == 2 and self.background is not None else "mIoU"

    def vocabulary(self, preset: str = "") -> Vocabulary:
        """The classes as words, with the set's colours; words that a preset has for this set replace them."""
        words = self.settings[preset].classes if preset in self.settings else ()
        parsed = parse_classes(words or self.classes, background=self.background)
        if not self.palette:
            return parsed
        coloured = zip(parsed.classes, self.palette, strict=True)
        return replace(parsed, classes=tuple(ClassName(names=c.names, colour=rgb) for c, rgb in coloured))

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """What can be opened, first choice first; the original too, where nothing has to be cut."""
        return (self.prepared, *self.others) + (() if self.tiling else (self.original,))


def find_spec(name: str) -> DatasetSpec:
    """The row of a set.

    Raises:
        UsageError: there is no such set.
    """
    plain = name.strip().lower().replace("_", "-")
    if plain not in names(PACKAGE):
        raise UsageError(f"Unknown data set {name!r}. {did_you_mean(plain, names(PACKAGE))}")
    found = load(PACKAGE, plain, kind="data set").SPEC
    assert isinstance(found, DatasetSpec)
    return found


def all_specs() -> tuple[DatasetSpec, ...]:
    """Every row, in the order of tables."""
    return tuple(sorted(map(find_spec, names(PACKAGE)), key=lambda spec: spec.rank))


def indexed(classes: int, *, first: int = 0) -> Encoding:
    """Labels from `first` on; with `first` 1, 0 is ignored (mmsegmentation's `reduce_zero_label`)."""
    values = {value + first: value for value in range(classes)}
    return Encoding(values=values if first == 0 else {0: IGNORED, **values})


BINARY = Encoding(at_least=128)
"""Masks from 0 to 255: SegEarth-OV's rule for all of them."""


def mmseg(
    encoding: Encoding, *, split: str = "val", image: str = ".png", label: str = ".png", also: str = ""
) -> Layout:
    """`img_dir/SPLIT` and `ann_dir/SPLIT`, as mmsegmentation's converters write them; `also` ends names of labels."""
    return Layout(
        images=(f"img_dir/{split}/{{key}}{image}",),
        labels=(f"ann_dir/{split}/{{key}}{also}{label}",),
        encoding=encoding,
    )


def segearth(threshold: float, *, cls_weight: float = -0.3, newer: tuple[str, ...] = ()) -> dict[str, Setting]:
    """SegEarth-OV's setting and its second version's, which for these sets differs in words only, if at all.

    Sources: configs of https://github.com/likyoo/SegEarth-OV and https://github.com/earth-insights/SegEarth-OV-2.
    """
    first = Setting(threshold=threshold, cls_weight=cls_weight)
    return {"segearth-ov": first, "segearth-ov-2": replace(first, classes=newer)}


PAPER = "SegEarth-OV, https://arxiv.org/abs/2410.01768"


def results(metric: str = "mIoU", *, recalled: bool = False, **methods: float) -> tuple[PublishedFigure, ...]:
    """Percents of SegEarth-OV's tables (CLIP ViT-B/16), methods written with underscores.

    Args:
        recalled: not seen in any transcription.
    """
    source = PAPER + (" (recalled)" if recalled else " (transcribed by third parties)")
    return tuple(
        PublishedFigure(method=name.replace("_", "-"), value=value, metric=metric, source=source, verified=not recalled)
        for name, value in methods.items()
    )
