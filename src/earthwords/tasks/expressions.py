"""Referring expressions: sentences that mean certain things of an image, with the masks of these things."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from earthwords.data.engine.listed import ExpressionsReport
from earthwords.errors import UsageError
from earthwords.tasks._progress import Talk
from earthwords.tasks._training import check_positive
from earthwords.tasks.segment import Bands, split_bands

Format = Literal["auto", "coco", "voc", "dota", "yolo", "masks", "geojson", "rrsisd", "refsegrs", "risbench"]


def expressions(
    *paths: Path,
    format: Format = "auto",
    classes: Path | None = None,
    images: Path | None = None,
    class_field: str | None = None,
    only: str | None = None,
    split: Literal["train", "val", "test"] | None = None,
    bands: Annotated[Bands | None, Parameter(name=["--bands", "-b"])] = None,
    tile_size: int | None = None,
    min_pixels: int = 30,
    count: int = 8,
    negatives: float = 0.0,
    seed: int = 0,
    pictures: int = 0,
    workers: int = 1,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> ExpressionsReport:
    """Make referring expressions from masks, or list those of a published set, with the masks of what they mean.

    Parameters
    ----------
    paths
        SRC... DST.jsonl: annotated data sets, then the list to write; masks and tiles go into folders beside it.
    format
        Of the annotations: masks (folders), coco (JSON file; or folder with refs), geojson (vector file over a raster);
        voc, dota, yolo (boxes as masks); rrsisd, refsegrs, risbench (published expressions).
    classes
        What the annotations' classes mean: JSON of value, #rrggbb or name -> words (commas between synonyms, empty to
        leave out), or a name a line; see docs/pairs.md.
    images
        Where the images are, if not at the usual place; for geojson the raster.
    class_field
        Column of a vector file with the class.
    only
        Images whose name matches a pattern, such as "tile[1-5]_*".
    split
        Of a published set; all of it by default.
    bands
        Bands of rasters used as red, green, blue, such as 4,3,2; numbers from 1, or names.
    tile_size
        Cut images into tiles of this side, pixels; vector files over rasters: 512 by default.
    min_pixels
        Smallest thing that can be meant, pixels.
    count
        Expressions an image, at most.
    negatives
        Share of expressions that mean nothing in their image, 0..1.
    seed
        Of the choice and the wording.
    pictures
        Draw so many expressions on their images, in DST_pictures.png.
    workers
        Processes.
    overwrite
        Replace an existing result.
    quiet
        No progress.
    """
    if len(paths) < 2:
        raise UsageError("Name at least one source and the list: earthwords expressions SRC... DST.jsonl.")
    check_positive(count=count, workers=workers, tile_size=tile_size, min_pixels=min_pixels)
    if not 0 <= negatives <= 1:
        raise UsageError(f"--negatives is a share from 0 to 1, got {negatives:g}.")
    if pictures < 0:
        raise UsageError(f"--pictures is a number from 0 up, got {pictures}.")
    from earthwords.data.engine.listing import Listing, Telling
    from earthwords.data.engine.readers._common import How, read_classes

    talk, chosen = Talk(quiet=quiet), split_bands(bands)
    how = How(
        classes=None if classes is None else read_classes(classes),
        images=None if images is None else str(images),
        field=class_field,
        tile=tile_size,
        least=min_pixels,
        bands=None if chosen is None else tuple(chosen),
        split=split,
    )
    listing = Listing(
        sources=tuple(Path(path) for path in paths[:-1]),
        dst=Path(paths[-1]),
        telling=Telling(how=how, count=count, negatives=negatives, seed=seed),
        format=format,
        only=only,
        pictures=pictures,
        workers=workers,
        overwrite=overwrite,
        settings={
            "bands": None if chosen is None else list(chosen),
            "tile_size": tile_size,
            "min_pixels": min_pixels,
            "count": count,
            "negatives": negatives,
            "seed": seed,
        },
    )
    return listing.run(lambda what, total: talk.bar(what, total, unit="parts"))
