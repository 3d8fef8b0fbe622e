"""Referring expressions: sentences that mean certain things of an image, with the masks of these things."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.errors import UsageError
from earthwords.inference.checks import check_paths, check_positive, check_replaceable, sources_and_dst
from earthwords.inference.options import split_bands
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.data.expressions.statistics import ExpressionsReport
else:
    ExpressionsReport = object  # it loads much, and a command line reads the annotations

Format = Literal["auto", "coco", "voc", "dota", "yolo", "masks", "geojson", "rrsisd", "refsegrs", "risbench"]


@opt.documented
def expressions(
    *paths: Annotated[Path, opt.option(opt.ARGUMENTS, name="SRC... DST.jsonl")],
    out: opt.Out = None,
    format: Annotated[Format, opt.READING] = "auto",
    classes: Annotated[Path | None, opt.option(opt.READING, metavar="FILE")] = None,
    images: Annotated[Path | None, opt.option(opt.READING, metavar="PATH")] = None,
    class_field: Annotated[str | None, opt.option(opt.READING, metavar="COLUMN")] = None,
    only: Annotated[str | None, opt.option(opt.READING, metavar="PATTERN")] = None,
    split: Annotated[Literal["train", "val", "test"] | None, opt.READING] = None,
    bands: opt.Bands = None,
    tile_size: Annotated[int | None, opt.option(opt.READING, metavar="PIXELS")] = None,
    min_pixels: Annotated[int, opt.option(opt.READING, metavar="PIXELS")] = 30,
    count: Annotated[int, opt.option(opt.WORDS, metavar="N")] = 8,
    negatives: Annotated[float, opt.option(opt.WORDS, metavar="SHARE")] = 0.0,
    seed: Annotated[int, opt.option(opt.WORDS, metavar="N")] = 0,
    pictures: Annotated[int, opt.option(opt.OUTPUTS, metavar="N")] = 0,
    overwrite: opt.Overwrite = False,
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
) -> ExpressionsReport:
    """Make referring expressions from masks, or list those of a published set, with the masks of what they mean.

    A run that was killed goes on where it stopped when the same command is given again, and comes to the same bytes.

    Args:
        paths: Annotated data sets, then the list to write; masks and tiles go into folders beside it.
        format: Of the annotations: masks (folders), coco (JSON file; or folder with refs), geojson (vector file over a
            raster); voc, dota, yolo (boxes as masks); rrsisd, refsegrs, risbench (published expressions).
        classes: What the annotations' classes mean: JSON of value, #rrggbb or name -> words (commas between synonyms,
            empty to leave out), or a name a line; see docs/pairs.md.
        images: Where the images are, if not at the usual place; for geojson the raster.
        class_field: Column of a vector file with the class.
        only: Images whose name matches a pattern, such as "tile[1-5]_*".
        split: Of a published set; all of it by default.
        tile_size: Cut images into tiles of this side, pixels; vector files over rasters: 512 by default.
        min_pixels: Smallest thing that can be meant, pixels.
        count: Expressions an image, at most.
        negatives: Share of expressions that mean nothing in their image, 0..1.
        seed: Of the choice and the wording.
        pictures: Draw so many expressions on their images, in DST_pictures.png.

    Returns:
        How many images and expressions there are, by kind.

    Raises:
        UsageError: a wrong option, a format that cannot be told, the list exists, or an unfinished run had other
            options.
        SourceError: annotations or images are missing or damaged.
        OutputError: the list cannot be written.

    Example:
        >>> earthwords.expressions("tiles", "expressions.jsonl", format="masks", pictures=12)
    """
    sources, dst = sources_and_dst(paths, out, usage="earthwords expressions SRC... DST.jsonl.")
    check_positive(count=count, workers=workers, tile_size=tile_size, min_pixels=min_pixels)
    if not 0 <= negatives <= 1:
        raise UsageError(f"--negatives is a share from 0 to 1, got {negatives:g}.")
    if pictures < 0:
        raise UsageError(f"--pictures is a number from 0 up, got {pictures}.")
    check_paths(sources, what="annotations: a file or a folder")
    check_replaceable(dst, overwrite=overwrite)

    from earthwords.data.annotations.boxes._common import How, read_classes
    from earthwords.data.expressions.lines import ExpressionOptions
    from earthwords.data.expressions.pipeline import ExpressionsRun

    console, chosen = Console(quiet=quiet), split_bands(bands)
    how = How(
        classes=None if classes is None else read_classes(classes),
        images=None if images is None else str(images),
        field=class_field,
        tile=tile_size,
        least=min_pixels,
        bands=None if chosen is None else tuple(chosen),
        split=split,
    )
    listing = ExpressionsRun(
        sources=tuple(map(Path, sources)),
        dst=dst,
        options=ExpressionOptions(how=how, count=count, negatives=negatives, seed=seed),
        format=format,
        only=only,
        pictures=pictures,
        workers=workers,
        cluster=cluster,
        resume=resume,
        overwrite=overwrite,
        read={"classes": classes},
        shown={
            "bands": None if chosen is None else list(chosen),
            "tile_size": tile_size,
            "min_pixels": min_pixels,
            "count": count,
            "negatives": negatives,
            "seed": seed,
        },
    )
    return listing.run(lambda what, total: console.bar(what, total, unit="parts"))
