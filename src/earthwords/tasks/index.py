"""An archive of scenes and images made searchable by words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.errors import UsageError
from earthwords.inference.checks import check_mask, check_named, check_parts, check_raster, sources_and_dst
from earthwords.inference.options import TINY_NOTICE, check_aoi, reach, scene_spec, sources_in, taught_for_maps
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.reports import IndexReport
else:
    IndexReport = object  # it loads much, and a command line reads the annotations


@opt.documented
def index(
    *archive_and_index: Annotated[str | Path, opt.option(opt.ARGUMENTS, name="ARCHIVE... INDEX")],
    out: opt.Out = None,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    bands: opt.Bands = None,
    gsd: opt.Gsd = None,
    aoi: opt.Aoi = None,
    asset: opt.Asset = None,
    item: opt.Item = None,
    nodata: opt.Nodata = None,
    mask: opt.Mask = None,
    stretch: opt.Stretch = "auto",
    allow_remote_parts: opt.AllowRemoteParts = False,
    tile_size: Annotated[int | None, opt.option(opt.WINDOWS, metavar="PIXELS")] = None,
    overlap: Annotated[int, opt.option(opt.WINDOWS, metavar="PIXELS")] = 0,
    min_valid: Annotated[float, opt.option(opt.WINDOWS, metavar="SHARE")] = 0.5,
    batch_size: opt.BatchSize = None,
    prune: Annotated[bool, opt.option(opt.OUTPUTS, negative="")] = False,
    overwrite: opt.Overwrite = False,
    on_error: Annotated[Literal["stop", "skip"], opt.RUNNING] = "stop",
    resume: opt.Resume = True,
    device: opt.Device = "auto",
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> IndexReport:
    """Embed every tile of an archive of scenes and images, for `search`.

    Run again it adds what is new, does again what has changed (size or time) and leaves the rest alone; a run that was
    killed goes on where it stopped when the same command is given again. With `overwrite` the index begins anew.

    Args:
        archive_and_index: Rasters, and last the folder of the index. Rasters are paths, URLs, folders, quoted patterns
            such as "scenes/*.tif", or @FILE with one a line.
        aoi: Polygons of any vector file and CRS: only tiles are taken of which enough lies inside (--min-valid).
        tile_size: Side of a tile, pixels of the working resolution; default: what the model was trained on. An image
            below twice that on both sides is one tile, whole.
        overlap: Pixels that neighbouring tiles share.
        min_valid: Least share of valid pixels (0..1); tiles with fewer are left out.
        prune: Leave out sources of the index that are not there any more.
        on_error: A source that cannot be read: stop, or skip (goes on; the report lists it).

    Returns:
        How many sources and tiles the index holds, and what this run did.

    Raises:
        UsageError: a wrong option, or the index was made with other ones.
        SourceError: a source is missing or cannot be read.
        OutputError: the index cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> earthwords.index("scenes", "archive.index")
        >>> earthwords.search("archive.index", "harbour with many ships").to_geodataframe()
    """
    from earthwords.files.ownership import check_ours
    from earthwords.inference.limits import ABOUT, check_batch

    archive_and_index = tuple(sources_in(archive_and_index, asset, item, offline, allow_remote_parts))
    for source in archive_and_index:
        check_named(source, what="A raster", instead="Embedder.from_preset().image(array)")
    archive, folder = sources_and_dst(archive_and_index, out, usage="earthwords index ARCHIVE... INDEX.")
    console, row = Console(quiet=quiet), load_preset(preset)
    console.notes(taught_for_maps(row))
    check_parts(row, model=model)
    check_batch(batch_size)
    for name in archive:
        check_raster(name)
    check_mask(mask)
    check_aoi(aoi)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the index.")
    check_ours([folder / ABOUT])

    from earthwords.archive.build import IndexJob
    from earthwords.archive.embedder import Embedder
    from earthwords.archive.tiles import TileOptions

    if tile_size is not None or overlap:
        TileOptions(size=tile_size or max(8, overlap + 1), overlap=overlap, min_valid=min_valid)
    spec = scene_spec(archive[0], bands, gsd, None, nodata, stretch, mask, reach(offline, allow_remote_parts), aoi=aoi)
    sources = _sources(archive, console)
    if row.name == DEFAULT_PRESET and model is None:
        console.say(TINY_NOTICE)
    with console.download(f"loading {model or row.weights}") as report:
        embedder = Embedder.from_preset(
            row, model=model, device=device, batch=batch_size, offline=offline, report=report
        )
    job = IndexJob(
        embedder=embedder,
        folder=folder,
        sources=sources,
        tiling=TileOptions(size=tile_size or embedder.side, overlap=overlap, min_valid=min_valid),
        spec=spec,
        prune=prune,
        overwrite=overwrite,
        on_error=on_error,
        strict=strict,
        resume=resume,
    )
    with console.bar("indexing", len(set(sources)), unit="sources") as bar:
        done = job.run(tick=bar)
    console.notes(done.notes)
    console.outputs({}, done.failures)
    return done


def _sources(archive: list[str], console: Console) -> list[str]:
    """All rasters, local ones by their whole path.

    Raises:
        UsageError: a folder, a pattern or a list has none.
    """
    from earthwords.files.paths import is_local_path
    from earthwords.geo.sources.find import all_sources

    found = all_sources(archive, say=console.say)
    return [os.path.abspath(source) if is_local_path(source) else str(source) for source in found]
