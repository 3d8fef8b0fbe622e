"""Searching an index by words, by examples, by place and by day."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.errors import UsageError
from earthwords.inference.checks import check_query
from earthwords.inference.options import split_bands
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.archive.result import SearchResult

    Images = str | Path | Sequence[str | Path] | None
else:
    Images = Sequence[str]  # what the command line takes
    SearchResult = object  # loads much, and a command line reads the annotations


@opt.documented
def search(
    index: Annotated[Path, opt.ARGUMENTS],
    words: Annotated[str | None, opt.ARGUMENTS] = None,
    dst: Annotated[str | Path | None, opt.ARGUMENTS] = None,
    *,
    out: opt.Out = None,
    text: Annotated[str | None, opt.option(opt.WORDS, name=["--text", "-t"], metavar="WORDS")] = None,
    like: Annotated[Images, opt.option(opt.WORDS, metavar="RASTER", negative="", show_default=False)] = (),
    unlike: Annotated[Images, opt.option(opt.WORDS, metavar="RASTER", negative="", show_default=False)] = (),
    like_bounds: Annotated[tuple[float, float, float, float] | None, opt.option(opt.WORDS, metavar="W S E N")] = None,
    like_bands: Annotated[opt.Rgb | None, opt.option(opt.WORDS, metavar="R,G,B")] = None,
    like_geometry: Annotated[Path | None, opt.option(opt.WORDS, metavar="FILE")] = None,
    unlike_geometry: Annotated[Path | None, opt.option(opt.WORDS, metavar="FILE")] = None,
    weight: Annotated[float, opt.option(opt.WORDS, metavar="SHARE")] = 0.5,
    unlike_weight: Annotated[float, opt.option(opt.WORDS, metavar="SHARE")] = 0.2,
    combine: Annotated[Literal["mean", "nearest"], opt.WORDS] = "mean",
    bounds: Annotated[tuple[float, float, float, float] | None, opt.option(opt.WHERE, metavar="W S E N")] = None,
    within: Annotated[Path | None, opt.option(opt.WHERE, metavar="FILE")] = None,
    after: Annotated[str | None, opt.option(opt.WHERE, metavar="DAY")] = None,
    before: Annotated[str | None, opt.option(opt.WHERE, metavar="DAY")] = None,
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    allow_remote_parts: opt.AllowRemoteParts = False,
    top: Annotated[int, opt.option(opt.OUTPUTS, metavar="N")] = 20,
    distinct: Annotated[bool, opt.option(opt.OUTPUTS, negative="")] = False,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> SearchResult:
    """Find the tiles of an index that are nearest to words, to examples, or to both.

    The search is exact. Without DST the results are only shown.

    Args:
        index: Folder that `earthwords index` made.
        words: What to look for, such as "harbour with many ships".
        dst: .gpkg .geojson .fgb .parquet .shp .pmtiles: footprints with score, source and rank; .csv: table; .png:
            contact sheet; a folder or no suffix: results.gpkg, results.csv, sheet.png and report.json.
        text: The words as an option: `search INDEX DST -t "harbour"`.
        like: An image or raster to be similar to, instead of words or beside them; repeat for more.
        unlike: An image or raster to be unlike; repeat for more.
        like_bounds: West south east north in the CRS of the one raster of --like: only this part of it, in tiles of the
            size and resolution of the index.
        like_bands: Bands of these rasters used as red, green, blue, such as 4,3,2; a source of the index is read as it
            was indexed.
        like_geometry: File of polygons: only what lies under them, of the rasters of --like; without any, of the index:
            for each polygon the tile that holds most of it.
        unlike_geometry: The same, to be unlike, of the rasters of --unlike or of the index.
        weight: Share of the words beside examples, 0..1.
        unlike_weight: What the examples to be unlike count, 0..1.
        combine: Several examples as their mean, or each for itself: a tile has the score of the nearest.
        bounds: West south east north in degrees (EPSG:4326): only tiles that touch it.
        within: File of polygons: only tiles that touch them.
        after: First day, YYYY-MM-DD; tiles without a day are left out.
        before: Last day, YYYY-MM-DD.
        model: Where the weights of the index are now, if not where they were.
        top: Results at most.
        distinct: No two results share ground in one source; the better one stays.

    Returns:
        The tiles, best first, with score, source, place and day.

    Raises:
        UsageError: nothing to look for, a wrong option, or an output exists.
        SourceError: there is no index, or it is damaged.
        WeightsError: the weights of the index are missing, or others.

    Example:
        >>> found = earthwords.search("archive.index", "harbour with many ships", top=5)
        >>> found.save("ships.gpkg")
    """
    from earthwords.geo.destinations import plan_results
    from earthwords.inference.limits import check_index

    console = Console(quiet=quiet)
    words, dst = _words_and_dst(words, text, dst, out)
    if dst is not None:
        plan_results(Path(dst), overwrite=overwrite)
    if words is None and not like and like_geometry is None:
        raise UsageError("Say what to search for: words, an image (--like IMAGE), or both.")
    check_index(Path(index))
    positives, negatives = _images(like), _images(unlike)
    areas = {"--within": within, "--like-geometry": like_geometry, "--unlike-geometry": unlike_geometry}
    check_query(model, [*positives, *negatives], areas.values())

    from earthwords.archive.index import Index
    from earthwords.archive.result import read_by_search

    with (
        console.download("loading the model") as report,
        Index.open(
            Path(index),
            model=model,
            device=device,
            offline=offline,
            allow_remote_parts=allow_remote_parts,
            report=report,
        ) as opened,
    ):
        if dst is not None:
            images = [*positives, *negatives]
            read = read_by_search(
                Path(index), sources=opened.sources, images=images, others={**areas, "--model": model}
            )
            plan_results(Path(dst), overwrite=overwrite, inputs=read)
        found = opened.search(
            words, like=positives, unlike=negatives, like_bounds=like_bounds, like_bands=split_bands(like_bands),
            like_geometry=like_geometry, unlike_geometry=unlike_geometry, weight=weight, unlike_weight=unlike_weight,
            combine=combine, bounds=bounds, within=within, after=after, before=before, top=top, distinct=distinct,
            strict=strict,
        )  # fmt: skip
    console.notes(found.notes)
    if dst is not None:
        console.outputs(found.save(dst, overwrite=overwrite))
    return found


def _images(given: Images) -> list[str | Path]:
    """One, several or none."""
    return [] if given is None else [given] if isinstance(given, (str, Path)) else list(given)


def _words_and_dst(
    words: str | None, text: str | None, dst: str | Path | None, out: Path | None
) -> tuple[str | None, str | Path | None]:
    """What to look for and where to write, each of which can be said in two ways.

    Raises:
        UsageError: in both.
    """
    if text is not None and words is not None:
        if dst is not None:
            raise UsageError(f"Say what to look for once, not both {words!r} and {text!r}.")
        dst, words = Path(words), None
    words = words if text is None else text
    if dst is not None and out is not None:
        raise UsageError(f"The results go to {dst} or to {out}, not to both.")
    if isinstance(dst, str) and words is not None:
        _check_quotes(words, dst)
    return words, dst if out is None else out


def _check_quotes(words: str, dst: str) -> None:
    """Refuse a second word without quotes, which would become a folder of results.

    Raises:
        UsageError: DST looks like a word.
    """
    if dst.isalpha() and not Path(dst).exists():
        raise UsageError(
            f"{dst!r} would be a folder for the results of {words!r}: put several words in quotes, "
            f'"{words} {dst}", or name the folder by -o {dst}.'
        )
