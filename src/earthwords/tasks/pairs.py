"""RemoteCLIP's data engine: boxes and masks to images with captions, without duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from earthwords.data.engine.statistics import PairsReport
from earthwords.errors import UsageError
from earthwords.tasks._progress import Talk
from earthwords.tasks._training import check_positive
from earthwords.tasks.segment import Bands, split_bands


def pairs(
    *paths: Path,
    format: Literal["auto", "coco", "voc", "dota", "yolo", "masks", "geojson"] = "auto",
    classes: Path | None = None,
    images: Path | None = None,
    class_field: str | None = None,
    against: Annotated[Sequence[Path], Parameter(negative="", consume_multiple=True, show_default=False)] = (),
    dedup: bool = True,
    threshold: int = 4,
    turned: bool = True,
    bands: Annotated[Bands | None, Parameter(name=["--bands", "-b"])] = None,
    tile_size: int | None = None,
    min_visible: float = 0.3,
    min_pixels: int = 1,
    captions: int = 5,
    shard_size: int = 1000,
    seed: int = 0,
    workers: int = 1,
    on_error: Literal["stop", "skip"] = "stop",
    resume: bool = True,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> PairsReport:
    """Make captions from boxes and masks, leave out duplicates, write pairs of image and captions.

    A run that was killed goes on where it stopped when the same command is given again, and comes to the same bytes.

    Parameters
    ----------
    paths
        SRC... DST: annotated data sets, then the destination: a folder (WebDataset shards), .parquet, or .jsonl (the
        list that `train clip` reads).
    format
        Of the annotations: coco (JSON file), voc, dota, yolo, masks (folders), geojson (vector file over a raster).
    classes
        What the annotations' classes mean: JSON of value, #rrggbb or name -> words (commas between synonyms, empty to
        leave out), or a name a line; see docs/pairs.md.
    images
        Where the images are, if not at the usual place; for geojson the raster.
    class_field
        Column of a vector file with the class.
    against
        Test sets, folders of images or .jsonl lists: what is in them is left out.
    dedup
        Leave out near-duplicates; --no-dedup keeps them, unless they are in a test set.
    threshold
        Bits of the 64-bit perceptual hash in which duplicates differ at most; RemoteCLIP has 1.
    turned
        Also find copies that are mirrored or turned by 90 degrees.
    bands
        Bands of rasters used as red, green, blue, such as 4,3,2; numbers from 1, or names.
    tile_size
        Cut images into tiles of this side, pixels; vector files over rasters: 512 by default.
    min_visible
        Share of an object that a tile must show, 0..1.
    min_pixels
        Smallest component of a mask that counts, pixels.
    captions
        Captions an image: one of its middle, one of the rest, others of numbers.
    shard_size
        Images a shard, or a row group.
    seed
        Of the wording.
    workers
        Processes.
    on_error
        A damaged image or annotation: stop, or skip (the report lists it).
    resume
        Go on with an unfinished run of the same command; --no-resume begins anew.
    overwrite
        Replace an existing result.
    quiet
        No progress, no notices.
    """
    if len(paths) < 2:
        raise UsageError("Name at least one source and the destination: earthwords pairs SRC... DST.")
    check_positive(
        captions=captions, shard_size=shard_size, workers=workers, tile_size=tile_size, min_pixels=min_pixels
    )
    if not 0 <= threshold < 32:
        raise UsageError(f"--threshold is a number of bits from 0 to 31 of 64, got {threshold}.")
    if not 0 <= min_visible <= 1:
        raise UsageError(f"--min-visible is a share from 0 to 1, got {min_visible:g}.")
    from earthwords.data.engine.copies import Search
    from earthwords.data.engine.dedup import ORIENTATIONS
    from earthwords.data.engine.job import Job
    from earthwords.data.engine.readers._common import How, read_classes
    from earthwords.data.engine.records import Recipe

    talk, chosen = Talk(quiet=quiet), split_bands(bands)
    how = How(
        classes=None if classes is None else read_classes(classes),
        images=None if images is None else str(images),
        field=class_field,
        tile=tile_size,
        visible=min_visible,
        least=min_pixels,
        bands=None if chosen is None else tuple(chosen),
    )
    job = Job(
        sources=tuple(Path(path) for path in paths[:-1]),
        dst=Path(paths[-1]),
        recipe=Recipe(how=how, captions=captions, seed=seed, on_error=on_error, hashes=dedup or bool(against)),
        format=format,
        tests=tuple(Path(path) for path in against),
        search=Search(within=dedup, threshold=threshold, orientations=len(ORIENTATIONS) if turned else 1),
        shard_size=shard_size,
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        say=talk.say,
    )
    report = job.run(lambda what, total: talk.bar(what, total, unit="parts" if what == "reading" else "images"))
    for damage in report.damaged:
        talk.say(f"Left out: {damage}")
    return report
