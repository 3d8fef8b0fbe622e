"""From the options of a command to what the work takes. Loads nothing heavy before all of them are looked at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError
from earthwords.inference.checks import check_file, check_mask, check_named, check_parts, check_path, check_raster
from earthwords.jobs.progress import Console, Report
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset

if TYPE_CHECKING:
    from earthwords.geo.scene import SceneSpec
    from earthwords.geo.sources.find import Sources
    from earthwords.geo.sources.network import Network
    from earthwords.inference.segment.segmenter import Segmenter
    from earthwords.inference.windows.outputs import OutputOptions
    from earthwords.types import Vocabulary

    Bands = str | Sequence[int | str] | None

AUTO = "auto"
"""Of `--against`, see `text.competing`."""
ARRAYS = "Segmenter.from_preset().predict(array, words)"
"""The call that takes arrays instead."""
TINY_NOTICE = (
    "Using the embedded model 'tiny' (small, offline). For SegEarth-OV as published: --preset segearth-ov "
    "(downloads CLIP ViT-B/16, 600 MB, once)."
)


def reach(offline: bool, allow_remote_parts: bool) -> Network:
    """What may be reached, from options of those names."""
    from earthwords.geo.sources.network import Network

    return Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)


def scene_spec(
    src: Any,
    bands: Bands,
    gsd: Any,
    bounds: Any,
    nodata: Any,
    stretch: str,
    mask: Any,
    network: Network,
    arrays: str = ARRAYS,
    *,
    row: SegmentPreset | None = None,
    aoi: Any = None,
) -> SceneSpec:
    """How a scene is opened, from options of those names.

    Args:
        arrays: the call that takes arrays instead.
        row: a preset; how it was taught to read scenes holds where nothing else is given.
        aoi: the area of interest, which is read here.
    """
    from earthwords.geo.scene import SceneSpec
    from earthwords.geo.vectors.aoi import aoi_of

    check_named(src, what="A raster", instead=arrays)
    if row is not None:
        bands, nodata, stretch = row.reading(bands=bands, nodata=nodata, stretch=stretch)
    numbers = split_bands(bands)
    chosen = None if numbers is None else tuple(numbers)
    hidden = None if mask is None else str(check_named(mask, what="A mask", instead=arrays))
    where: dict[str, Any] = {"bands": chosen, "gsd": gsd, "bounds": bounds, "nodata": nodata, "stretch": stretch}
    area = None if aoi is None else aoi_of(aoi)
    days = tuple(getattr(src, "days", {}).items())
    return SceneSpec(source=str(src), **where, mask=hidden, aoi=area, days=days, **network.as_options())


def source_of(src: Any, asset: str | None, item: str | None, offline: bool, allow_remote_parts: bool) -> Any:
    """SRC, or what it names if it is STAC; see `geo.sources.stac.located`. It is looked at by `check_raster`.

    Raises:
        UsageError, SourceError: what is wrong with it.
    """
    from earthwords.geo.sources.stac import located

    check_raster(src)
    found = located(src, asset=asset, item=item, network=reach(offline, allow_remote_parts))
    check_raster(found)
    return found


def sources_in(
    named: Iterable[Any], asset: str | None, item: str | None, offline: bool, allow_remote_parts: bool
) -> list[Any]:
    """The same of several, one by one, those of a Collection by time."""
    from earthwords.geo.sources.stac import located_all

    return located_all(named, asset=asset, item=item, network=reach(offline, allow_remote_parts))


def output_options(
    probabilities: str, min_area: float, simplify: float, co: Sequence[str], overwrite: bool
) -> OutputOptions:
    from earthwords.inference.windows.outputs import OutputOptions

    return OutputOptions(
        probabilities=probabilities,
        min_area=min_area,
        simplify=simplify,
        creation_options=creation_options(co),
        overwrite=overwrite,
    )


def with_rivals(words: Vocabulary, against: str | None, mask: Any) -> Vocabulary:
    """The vocabulary with what competes; looks at the mask, too, as the last thing before anything heavy is loaded."""
    from earthwords.text.competing import compete

    check_mask(mask)
    return compete(words, against)


def sources_of(
    src: Any,
    dst: Path,
    console: Console,
    *,
    overwrite: bool,
    plan: Callable[..., object],
    arrays: str = ARRAYS,
) -> Sources | None:
    """What SRC means, see `find_sources`; of a single one, DST is looked at too.

    Args:
        plan: a function of `destinations` that looks at DST, still without `overwrite`.
        arrays: the call that takes arrays instead.

    Raises:
        UsageError, SourceError, OutputError: what is wrong, before anything heavy is loaded.
    """
    from earthwords.files.ownership import check_ours
    from earthwords.geo.sources.find import find_sources, folder_of

    sources = find_sources(os.fspath(check_named(src, what="A raster", instead=arrays)), say=console.say)
    if sources is not None and not overwrite:
        check_ours([folder_of(dst) / "batch.json"])
    if sources is None:
        check_raster(str(src))
        plan(overwrite=overwrite)
    return sources


def check_zones(zones: str | Path | None) -> None:
    """Refuse a path of zones at which nothing can be read.

    Raises:
        SourceError: why not.
    """
    if zones is not None and not os.path.isdir(check_path(zones, what="A file of zones")):
        check_file(zones, what="a file of polygons such as .gpkg or .geojson")


def check_aoi(aoi: Any) -> None:
    """Refuse a path of an area of interest at which nothing can be read; shapes that are in memory are for others.

    Raises:
        SourceError: why not.
    """
    if isinstance(aoi, (str, os.PathLike)) and not os.path.isdir(aoi):
        check_file(Path(aoi), what="a file of polygons such as .gpkg or .geojson")


def check_limits(
    threshold: float,
    batch: int | None,
    memory: str,
    workers: int,
    co: Sequence[str],
    *,
    zones: str | Path | None = None,
    aoi: Any = None,
) -> None:
    """Raises `UsageError` for numbers that cannot be, and `SourceError` for zones or an area of interest that are not
    there, before anything heavy is loaded."""
    check_zones(zones)
    check_aoi(aoi)
    from earthwords.inference.limits import check_numbers, parse_memory

    check_numbers(threshold=threshold, batch=batch)
    parse_memory(memory)
    check_workers(workers)
    creation_options(co)


def check_workers(workers: int) -> None:
    """Raises `UsageError` for none."""
    if workers < 1:
        raise UsageError(f"At least one worker must do the work, got {workers}.")


@dataclass(frozen=True, kw_only=True)
class SegmenterSpec:
    """How a segmenter is put together and where it computes, from the options of a command."""

    preset: str
    """As it was given."""
    row: SegmentPreset
    """With what other options changed of it."""
    model: str | None = None
    upsampler_weights: str | None = None
    templates: str | None = None
    device: str = "auto"
    batch: int | None = None
    offline: bool = False

    @classmethod
    def of(
        cls,
        preset: str,
        *,
        model: str | None,
        device: str,
        batch: int | None,
        offline: bool,
        upsampler: str | None = None,
        upsampler_weights: str | None = None,
        templates: str | None = None,
        maps: bool = False,
        **changes: Any,
    ) -> SegmenterSpec:
        """Nothing is loaded yet, but all that is named is there.

        Args:
            maps: as of `check_parts`.
            changes: fields of the preset, see `adapt_preset`.

        Raises:
            UsageError, WeightsError: an unknown name, or a file that is not there.
        """
        row = adapt_preset(load_preset(preset), upsampler=upsampler, templates=templates, **changes)
        check_parts(row, model=model, upsampler_weights=upsampler_weights, maps=maps)
        return cls(
            preset=preset, row=row, model=model, upsampler_weights=upsampler_weights, templates=templates,
            device=device, batch=batch, offline=offline,
        )  # fmt: skip

    @property
    def read(self) -> dict[str, Any]:
        """What a command reads for it, for `inputs_of`."""
        given = {"preset": self.preset, "model": self.model, "templates": self.templates}
        return {"row": self.row, **given, "upsampler_weights": self.upsampler_weights}

    def threshold(self, given: float | None) -> float:
        """The one that was given, or the preset's."""
        return self.row.threshold if given is None else given

    def load(self, console: Console) -> Segmenter:
        """The segmenter, with its notes."""
        from earthwords.inference.segment.segmenter import Segmenter

        with loading(self.row, self.model, console) as report:
            segmenter = Segmenter.from_preset(
                self.row, model=self.model, upsampler_weights=self.upsampler_weights, device=self.device,
                batch=self.batch, offline=self.offline, report=report,
            )  # fmt: skip
        console.notes(segmenter.notes)
        return segmenter


@contextmanager
def loading(row: SegmentPreset, model: str | None, console: Console) -> Iterator[Report]:
    """A word about the default preset, and a bar over downloads."""
    if row.name == DEFAULT_PRESET and model is None:
        console.say(TINY_NOTICE)
    with console.download(f"loading {model or row.weights}") as report:
        yield report


def make_vocabulary(
    text: Sequence[str], classes: Path | None, background: str | None, *, weights: str = ""
) -> Vocabulary:
    """The classes from options or from a file, not both.

    Args:
        weights: of the model that reads them: to one of any language Chinese words go as they are.
    """
    from earthwords.models.weights.languages import reads_any_language
    from earthwords.text.vocabulary import parse_classes, read_class_file

    if classes is not None and not isinstance(classes, (str, Path)):
        raise UsageError("`classes` is a file of classes (--classes); words are given by `text`.")
    if text and classes is not None:
        raise UsageError("Give the words either by -t or by --classes, not both.")
    if classes is not None:
        return read_class_file(classes, background=background, translate=not reads_any_language(weights))
    return parse_classes(text, background=background, translate=not reads_any_language(weights))


def words_of(
    row: SegmentPreset,
    text: Sequence[str],
    classes: Path | None,
    background: str | None,
    *,
    model: str | Path | None = None,
) -> Vocabulary:
    """As `make_vocabulary`; of a taught preset what it was taught, where nothing is asked for."""
    if row.taught is None or text or classes is not None:
        return make_vocabulary(text, classes, background, weights=str(model or row.weights))
    from earthwords.models.taught import taught_vocabulary

    if background is not None:
        raise UsageError("A background goes with words; name the classes with -t, too.")
    return taught_vocabulary(row.taught)


def counted_words(
    row: SegmentPreset,
    text: Sequence[str],
    classes: Path | None,
    against: str,
    mask: Any,
    *,
    model: str | Path | None = None,
) -> tuple[Vocabulary, tuple[int, ...]]:
    """The classes that compete for the pixels, and the labels of those that are counted: the ones asked for.

    Of a taught preset its other classes compete, of others the words of `against`.

    Raises:
        UsageError: there is no word, or one that cannot be.
    """
    from earthwords.types import Vocabulary

    words = words_of(row, text, classes, None, model=model)
    counted = tuple(label for label in range(len(words)) if label != words.background)
    if row.taught is None:
        if against == AUTO:
            from earthwords.text.competing import against_things, with_background

            check_mask(mask)
            return with_background(words, against_things(words)), counted
        return with_rivals(words, against, mask), counted
    from earthwords.models.taught import taught_vocabulary

    known = {entry.title.casefold() for entry in words.classes}
    taught = taught_vocabulary(row.taught)
    others = [entry for entry in taught.classes if entry.title.casefold() not in known]
    check_mask(mask)
    return Vocabulary(classes=(*words.classes, *others), background=words.background), counted


def taught_for_maps(row: SegmentPreset) -> tuple[str, ...]:
    """A word about a taught preset where whole images are looked at."""
    return () if row.taught is None else (f"{row.name} was taught for maps; of whole images its words count alone.",)


def adapt_preset(row: SegmentPreset, *, upsampler: str | None, **changes: Any) -> SegmentPreset:
    """A preset with the options that were given.

    Windows that were only resized overlap by half; another upsampler does not inherit the weights.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    if "tile_size" in given and "overlap" not in given:
        given["overlap"] = given["tile_size"] // 2
    if upsampler is not None and upsampler != row.upsampler:
        given |= {"upsampler": None if upsampler == "none" else upsampler, "upsampler_weights": None}
    return replace(row, **given)


def split_bands(bands: Bands) -> list[int | str] | None:
    """`"4,3,2"` to numbers, names stay names; a list as it is."""
    from earthwords.geo.bands import as_items

    return None if bands is None else list(as_items(bands))


def creation_options(pairs: Sequence[str]) -> dict[str, str]:
    """`KEY=VAL` strings as a table."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"Creation option {pair!r} is not KEY=VAL, such as COMPRESS=ZSTD.")
    return {key.upper(): value for key, value in (pair.split("=", 1) for pair in pairs)}
