"""RemoteCLIP's data engine: boxes and masks to images with captions, without duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.errors import UsageError
from earthwords.inference.checks import check_paths, check_positive, check_replaceable, sources_and_dst
from earthwords.inference.options import split_bands
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.data.captions.statistics import PairsReport
else:
    PairsReport = object  # it loads much, and a command line reads the annotations


@opt.documented
def pairs(
    *paths: Annotated[Path, opt.option(opt.ARGUMENTS, name="SRC... DST")],
    out: opt.Out = None,
    format: Annotated[Literal["auto", "coco", "voc", "dota", "yolo", "masks", "geojson"], opt.READING] = "auto",
    classes: Annotated[Path | None, opt.option(opt.READING, metavar="FILE")] = None,
    images: Annotated[Path | None, opt.option(opt.READING, metavar="PATH")] = None,
    class_field: Annotated[str | None, opt.option(opt.READING, metavar="COLUMN")] = None,
    bands: opt.Bands = None,
    tile_size: Annotated[int | None, opt.option(opt.READING, metavar="PIXELS")] = None,
    min_visible: Annotated[float, opt.option(opt.READING, metavar="SHARE")] = 0.3,
    min_pixels: Annotated[int, opt.option(opt.READING, metavar="PIXELS")] = 1,
    captions: Annotated[int, opt.option(opt.WORDS, metavar="N")] = 5,
    seed: Annotated[int, opt.option(opt.WORDS, metavar="N")] = 0,
    against: Annotated[Sequence[Path], opt.several(opt.DUPLICATES, "PATH...", show_default=False)] = (),
    dedup: Annotated[bool, opt.option(opt.DUPLICATES, show_default="--dedup")] = True,
    threshold: Annotated[int, opt.option(opt.DUPLICATES, metavar="BITS")] = 4,
    turned: Annotated[bool, opt.option(opt.DUPLICATES, show_default="--turned")] = True,
    shard_size: Annotated[int, opt.option(opt.OUTPUTS, metavar="N")] = 1000,
    overwrite: opt.Overwrite = False,
    on_error: Annotated[Literal["stop", "skip"], opt.RUNNING] = "stop",
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
) -> PairsReport:
    """Make captions from boxes and masks, leave out duplicates, write pairs of image and captions.

    A run that was killed goes on where it stopped when the same command is given again, and comes to the same bytes.

    Args:
        paths: Annotated data sets, then the destination: a folder (WebDataset shards), .parquet, or .jsonl (the list
            that `train clip` reads).
        format: Of the annotations: coco (JSON file), voc, dota, yolo, masks (folders), geojson (vector file over a
            raster).
        classes: What the annotations' classes mean: JSON of value, #rrggbb or name -> words (commas between synonyms,
            empty to leave out), or a name a line; see docs/pairs.md.
        images: Where the images are, if not at the usual place; for geojson the raster.
        class_field: Column of a vector file with the class.
        tile_size: Cut images into tiles of this side, pixels; vector files over rasters: 512 by default.
        min_visible: Share of an object that a tile must show, 0..1.
        min_pixels: Smallest component of a mask that counts, pixels.
        captions: Captions an image: one of its middle, one of the rest, others of numbers.
        seed: Of the wording.
        against: Test sets, folders of images or .jsonl lists: what is in them is left out.
        dedup: Leave out near-duplicates; --no-dedup keeps them, unless they are in a test set.
        threshold: Bits of the 64-bit perceptual hash in which duplicates differ at most; RemoteCLIP has 1.
        turned: Also find copies that are mirrored or turned by 90 degrees.
        shard_size: Images a shard, or a row group.
        on_error: A damaged image or annotation: stop, or skip (the report lists it).

    Returns:
        How many images, objects and captions there are, and what was left out.

    Raises:
        UsageError: a wrong option, a format that cannot be told, the result exists, or an unfinished run had other
            options.
        SourceError: annotations or images are missing or damaged.
        OutputError: the result cannot be written.

    Example:
        >>> earthwords.pairs("dota/train", "pairs.jsonl", format="dota", against=["dota/val"])
    """
    sources, dst = sources_and_dst(paths, out, usage="earthwords pairs SRC... DST.")
    check_positive(
        captions=captions, shard_size=shard_size, workers=workers, tile_size=tile_size, min_pixels=min_pixels
    )
    if not 0 <= threshold < 32:
        raise UsageError(f"--threshold is a number of bits from 0 to 31 of 64, got {threshold}.")
    if not 0 <= min_visible <= 1:
        raise UsageError(f"--min-visible is a share from 0 to 1, got {min_visible:g}.")
    check_paths((*sources, *against), what="annotations: a file or a folder")
    check_replaceable(dst, overwrite=overwrite)

    from earthwords.data.annotations.boxes._common import How, read_classes
    from earthwords.data.captions.duplicates import DuplicateSearch
    from earthwords.data.captions.perceptual_hash import ORIENTATIONS
    from earthwords.data.captions.pipeline import PairsRun
    from earthwords.data.captions.records import CaptionOptions

    console, chosen = Console(quiet=quiet), split_bands(bands)
    how = How(
        classes=None if classes is None else read_classes(classes),
        images=None if images is None else str(images),
        field=class_field,
        tile=tile_size,
        visible=min_visible,
        least=min_pixels,
        bands=None if chosen is None else tuple(chosen),
    )
    job = PairsRun(
        sources=tuple(map(Path, sources)),
        dst=dst,
        recipe=CaptionOptions(how=how, captions=captions, seed=seed, on_error=on_error, hashes=dedup or bool(against)),
        format=format,
        tests=tuple(Path(path) for path in against),
        search=DuplicateSearch(within=dedup, threshold=threshold, orientations=len(ORIENTATIONS) if turned else 1),
        shard_size=shard_size,
        workers=workers,
        cluster=cluster,
        resume=resume,
        overwrite=overwrite,
        read={"classes": classes},
    )
    report = job.run(lambda what, total: console.bar(what, total, unit="parts" if what == "reading" else "images"))
    console.outputs({}, report.damaged)
    return report
