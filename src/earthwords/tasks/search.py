"""Searching an index by words, by an image, by place and by day."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from earthwords.tasks._progress import Talk
from earthwords.tasks.segment import Bands, split_bands

if TYPE_CHECKING:
    from earthwords.inference.search_result import SearchResult
else:
    SearchResult = object  # loads much, and a command line reads the annotations


def search(
    index: Path,
    words: str | None = None,
    dst: Path | None = None,
    *,
    like: str | None = None,
    like_bounds: tuple[float, float, float, float] | None = None,
    like_bands: Annotated[Bands | None, Parameter(name=["--like-bands"])] = None,
    weight: float = 0.5,
    bounds: tuple[float, float, float, float] | None = None,
    within: Path | None = None,
    after: str | None = None,
    before: str | None = None,
    top: int = 20,
    distinct: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    model: str | None = None,
    device: str = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> SearchResult:
    """Find the tiles of an index that are nearest to words, to an image, or to both.

    The search is exact. Without DST the results are only shown.

    Parameters
    ----------
    index
        Folder that `earthwords index` made.
    words
        What to look for, such as "harbour with many ships".
    dst
        .gpkg .geojson .fgb .parquet: footprints with score, source and rank; .csv: table; .png: contact sheet; a folder
        or no suffix: results.gpkg, results.csv, sheet.png and report.json.
    like
        An image or raster to be similar to, instead of words or beside them.
    like_bounds
        West south east north in that raster's CRS: only this part of it.
    like_bands
        Its bands used as red, green, blue, such as 4,3,2; a source of the index is read as it was indexed.
    weight
        Share of the words where both are given, 0..1.
    bounds
        West south east north in degrees (EPSG:4326): only tiles that touch it.
    within
        File of polygons: only tiles that touch them.
    after
        First day, YYYY-MM-DD; tiles without a day are left out.
    before
        Last day, YYYY-MM-DD.
    top
        Results at most.
    distinct
        No two results share ground in one source; the better one stays.
    output
        DST where no words are given.
    model
        Where the weights of the index are now, if not where they were.
    device
        auto, cpu, cuda, mps.
    overwrite
        Replace existing outputs.
    offline
        Never use the network.
    quiet
        No notices.
    """
    from earthwords.errors import UsageError
    from earthwords.inference.index import Index
    from earthwords.inference.search_result import plan_results

    talk = Talk(quiet=quiet)
    if dst is not None and output is not None:
        raise UsageError(f"Name one DST, not both {dst} and {output}.")
    dst = dst or output
    if dst is not None:
        plan_results(Path(dst), overwrite=overwrite)
    with (
        talk.download("loading the model") as report,
        Index.open(Path(index), model=model, device=device, offline=offline, report=report) as opened,
    ):
        found = opened.search(
            words,
            like=like,
            like_bounds=like_bounds,
            like_bands=split_bands(like_bands),
            weight=weight,
            bounds=bounds,
            within=within,
            after=after,
            before=before,
            top=top,
            distinct=distinct,
        )
    if dst is not None:
        for kind, path in found.save(dst, overwrite=overwrite).items():
            talk.say(f"{kind}: {path}")
    return found
