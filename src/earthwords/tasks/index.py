"""An archive of scenes and images made searchable by words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks._progress import Talk
from earthwords.tasks.segment import TINY_NOTICE, Bands, scene_spec
from earthwords.types import IndexReport


def index(
    *archive_and_index: Annotated[str | Path, Parameter(name="ARCHIVE... INDEX")],
    preset: str = DEFAULT_PRESET,
    model: str | None = None,
    tile_size: int | None = None,
    overlap: int = 0,
    min_valid: float = 0.5,
    bands: Annotated[Bands | None, Parameter(name=["--bands", "-b", "--bidx"])] = None,
    gsd: float | None = None,
    nodata: float | None = None,
    stretch: str = "auto",
    batch_size: int | None = None,
    prune: Annotated[bool, Parameter(negative="")] = False,
    on_error: Literal["stop", "skip"] = "stop",
    device: str = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> IndexReport:
    """Embed every tile of an archive of scenes and images, for `search`.

    Run again it adds what is new, does again what has changed (size or time) and leaves the rest alone; a run that was
    killed goes on where it stopped when the same command is given again.

    Parameters
    ----------
    archive_and_index
        Rasters, and last the folder of the index. Rasters are paths, URLs, folders, quoted patterns such as
        "scenes/*.tif", or @FILE with one a line.
    preset
        Name of a preset (see `earthwords models`) or a TOML file: weights and prompt templates.
    model
        Other CLIP weights: name, Hugging Face id, folder or checkpoint file.
    tile_size
        Side of a tile, pixels of the working resolution; default: what the model was trained on. An image below twice
        that on both sides is one tile, whole.
    overlap
        Pixels that neighbouring tiles share.
    min_valid
        Least share of valid pixels (0..1); tiles with fewer are left out.
    bands
        Bands used as red, green, blue, such as 4,3,2; numbers from 1, or names.
    gsd
        Ground sample distance to work at, metres; images without a CRS keep their own pixels.
    nodata
        Value that means "no observation", instead of the file's own.
    stretch
        auto (uint8 as it is, else 2-98 %), percentile, none, or LOW,HIGH.
    batch_size
        Tiles encoded at once: on a CPU one a core (default: all cores), on a GPU in one call (default: 8).
    prune
        Leave out sources of the index that are not there any more.
    on_error
        A source that cannot be read: stop, or skip (goes on; the report lists it).
    device
        auto, cpu, cuda, mps.
    overwrite
        Begin the index anew.
    offline
        Never use the network.
    quiet
        No progress, no notices.
    """
    from earthwords.inference.embedder import Embedder
    from earthwords.inference.index_job import IndexJob, Tiling
    from earthwords.inference.windowed import check_batch

    if len(archive_and_index) < 2:
        raise UsageError("Name an archive and the folder of the index: `earthwords index ARCHIVE... INDEX`.")
    *archive, folder = map(str, archive_and_index)
    talk, row = Talk(quiet=quiet), load_preset(preset)
    if tile_size is not None or overlap:
        Tiling(size=tile_size or max(8, overlap + 1), overlap=overlap, min_valid=min_valid)
    check_batch(batch_size)
    spec = scene_spec("", bands, gsd, None, nodata, stretch)
    sources = _sources(archive)
    if row.name == DEFAULT_PRESET and model is None:
        talk.say(TINY_NOTICE)
    with talk.download(f"loading {model or row.weights}") as report:
        embedder = Embedder.from_preset(
            row, model=model, device=device, batch=batch_size, offline=offline, report=report
        )
    job = IndexJob(
        embedder=embedder,
        folder=Path(folder),
        sources=sources,
        tiling=Tiling(size=tile_size or embedder.side, overlap=overlap, min_valid=min_valid),
        spec=spec,
        prune=prune,
        overwrite=overwrite,
        on_error=on_error,
    )
    with talk.bar("indexing", len(set(sources)), unit="sources") as bar:
        done = job.run(tick=bar)
    for failure in done.failures:
        talk.say(f"Left out: {failure}")
    return done


def _sources(archive: list[str]) -> list[str]:
    """All rasters, local ones by their whole path.

    Raises:
        UsageError: a folder, a pattern or a list has none.
        SourceError: a single one is not there.
    """
    from earthwords.geo.source import is_local_path, missing
    from earthwords.tasks._sources import find_sources

    found = []
    for name in archive:
        listed = find_sources(name)
        if listed is None and is_local_path(name) and not os.path.exists(name):
            raise missing(Path(name))
        found += [name] if listed is None else listed
    return [os.path.abspath(source) if is_local_path(source) else source for source in found]
