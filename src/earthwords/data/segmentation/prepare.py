"""From a download to the folders that are measured: decoded, cut, checked, whole or not at all.

Work lies in a hidden folder, the journal, until it is complete: its parts are what was made of an image each, `set/`
has the files. A run that was killed goes on there. What DST holds is told by its `earthwords.json`: size and sha256 of
every file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from earthwords import __version__
from earthwords.data.annotations.image_io import opened, size_of
from earthwords.data.segmentation.encoding import decode, is_same, read_values, write_labels
from earthwords.data.segmentation.layout import Files, LabelledImage, fill, find, natural, wrong_layout
from earthwords.data.segmentation.manifest import MANIFEST, Entry, SetManifest, read_manifest, sha256, write_manifest
from earthwords.data.segmentation.reports import Prepared
from earthwords.data.segmentation.spec import IGNORED, DatasetSpec
from earthwords.data.segmentation.tiles import cut, tiles
from earthwords.errors import SourceError, UsageError
from earthwords.files.atomic import discard, locked, remove_dead, writing
from earthwords.files.reading import parse_json
from earthwords.geo.sources.inputs import Inputs
from earthwords.jobs.executor import Executor
from earthwords.jobs.journal import Journal, journal_beside, open_journal
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.resume import compute_missing, done_among

Bar = Callable[[str, int], AbstractContextManager[Any]]

_FEW = 5


@dataclass(frozen=True, kw_only=True)
class PrepareTask:
    """An image and its labels, to be made into items in a folder."""

    spec: DatasetSpec
    found: LabelledImage
    into: Path


def prepare_set(
    spec: DatasetSpec,
    src: Path,
    dst: Path,
    *,
    bar: Bar,
    workers: int = 1,
    cluster: str | None = None,
    partial: bool = False,
    resume: bool = True,
    overwrite: bool = False,
) -> Prepared:
    """Prepare the measured part of a set.

    Args:
        bar: `bar(what, total)` is a context with a function that takes the images done.
        cluster: address of a Ray cluster, whose machines find `src` and `dst` under the same names.
        partial: go on although some of the files are not there.
        resume: go on with an unfinished run.

    Raises:
        UsageError: `src` has another layout, `dst` holds something else, or an unfinished run was of another set.
        SourceError: files are missing or damaged, or their number is not the expected one.
        OutputError: the disk is full.
    """
    began = time.perf_counter()
    if dst.resolve() == src.resolve() or dst.resolve() in src.resolve().parents:
        raise UsageError(f"{dst} holds the download itself; choose another folder for what is prepared.")
    folder = journal_beside(dst)
    if (there := _prepared_before(spec, dst, folder, overwrite=overwrite)) is not None:
        with suppress(OSError), locked(folder) as free:  # of a process that was killed when all was done
            if free:
                discard(folder)
        return _report(spec, dst, there, made=0, skipped=(), images=len({e.source for e in there.items}), began=began)
    files = _files(spec, src, partial=partial)
    Inputs(listed=[str(path) for pair in files.pairs for path in (pair.image, pair.labels)]).check((), folders=[dst])
    parts = {_identity(task): task for task in _plan(spec, files, folder / "set", partial=partial)}
    settings, done = _settings(spec, files), done_among(parts)
    with (
        open_journal(folder, settings=settings, resume=resume, of=dst, unit="images", done=done) as journal,
        make_executor(workers, cluster=cluster, preload=[__name__]) as executor,
    ):
        earlier = {name for name in parts if name in journal}
        with writing(dst):
            _run(spec, parts, journal, executor, bar=bar)
        entries = {name: [Entry(**entry) for entry in parse_json(journal.read(name))] for name in parts}
        manifest = SetManifest(set=spec.name, split=spec.split, items=_in_order(entries))
        with writing(dst):
            _remove_others(spec, folder / "set", manifest)
            write_manifest(folder / "set", manifest)
            _commit(folder, dst)
    made = sum(len(found) for name, found in entries.items() if name not in earlier)
    skipped = tuple(str(path) for path in files.lonely)
    return _report(spec, dst, manifest, made=made, skipped=skipped, images=len(parts), began=began)


def make(work: PrepareTask) -> bytes:
    """Write the tiles of an image and their labels; their entries as JSON."""
    return json.dumps([asdict(entry) for entry in _made(work)]).encode()


def _made(work: PrepareTask) -> list[Entry]:
    spec, found = work.spec, work.found
    values = read_values(found.labels, spec.original.encoding)
    labels = decode(values, spec.original.encoding, found.labels)
    size = size_of(str(found.image))
    if labels.shape != size:
        raise SourceError(
            f"{found.labels} is {labels.shape[0]} x {labels.shape[1]} pixels, its image {found.image} {size[0]} x "
            f"{size[1]}; download both again."
        )
    pixels = _rgb(found.image) if spec.tiling else None
    kept = not spec.tiling and values.ndim == 2 and is_same(spec.original.encoding, spec.prepared.encoding)
    entries = []
    for tile in tiles(found.name, size, spec.tiling):
        image = _place(work.into, spec.prepared.images[0], tile.name)
        truth = _place(work.into, spec.prepared.labels[0], tile.name)
        if pixels is not None:
            Image.fromarray(cut(pixels, tile.window, fill=0)).save(image, "PNG", compress_level=3)
        else:
            _copy(found.image, image)
        if kept and truth.suffix.lower() == found.labels.suffix.lower():
            shutil.copyfile(found.labels, truth)
        else:
            write_labels(truth, cut(labels, tile.window, fill=IGNORED), spec.prepared.encoding)
        entries.append(
            Entry(
                name=tile.name,
                source=found.name,
                height=tile.window.height,
                width=tile.window.width,
                image=sha256(image),
                labels=sha256(truth),
            )
        )
    return entries


def _prepared_before(spec: DatasetSpec, dst: Path, journal: Path, *, overwrite: bool) -> SetManifest | None:
    """What an earlier run made, if that is all that is asked for."""
    remove_dead(dst)
    if not dst.exists() and (journal / "old").is_dir():
        os.replace(journal / "old", dst)  # killed between the two moves of `_commit`
    if not dst.exists() or (dst.is_dir() and not any(dst.iterdir())):
        return None
    there = read_manifest(dst) if dst.is_dir() else None
    if there is None or there.set != spec.name:
        what = "a prepared set of another name" if there else "other files"
        raise UsageError(f"{dst} holds {what}; choose another folder for {spec.name}.")
    if overwrite:
        return None
    found = find(dst, spec.prepared)
    if found is None or {pair.name for pair in found.pairs} != {entry.name for entry in there.items}:
        raise UsageError(f"{dst} is not what {MANIFEST} in it says; pass --overwrite to prepare it again.")
    return there


def _files(spec: DatasetSpec, src: Path, *, partial: bool) -> Files:
    """The originals; whether they are complete as far as names tell."""
    files = find(src, spec.original, only=spec.only)
    if files is None or not (files.pairs or files.lonely or files.missing):
        raise wrong_layout(src, spec.title, [spec.original])
    for paths, what in ((files.lonely, "have no partner"), (files.missing, "are not there")):
        if paths and not partial:
            raise SourceError(
                f"{len(paths):,} of the files of {spec.title} in {files.root} {what}: {_few(paths)}; complete the "
                "download, or pass --partial to prepare what is there."
            )
    if not files.pairs:
        raise SourceError(
            f"No image of {spec.title} in {files.root} has labels of its name; the first: {files.lonely[0]}."
        )
    return files


def _plan(spec: DatasetSpec, files: Files, into: Path, *, partial: bool) -> list[PrepareTask]:
    """What is to be done for each image, if the number of items is right."""
    total = len(files.pairs)
    if spec.tiling is not None:
        total = sum(len(tiles(each.name, size_of(str(each.image)), spec.tiling)) for each in files.pairs)
    if spec.counted is not None and total != spec.counted and not partial:
        raise SourceError(
            f"{files.root} gives {total:,} items of {spec.title} ({spec.split}), {spec.counted:,} are expected; "
            "complete the download, or pass --partial to prepare what is there."
        )
    return [PrepareTask(spec=spec, found=each, into=into) for each in files.pairs]


def _settings(spec: DatasetSpec, files: Files) -> dict[str, str]:
    """What the result depends on; `--partial` says only whether there may be less of it."""
    definition = hashlib.sha256(repr(spec).encode()).hexdigest()[:16]
    version = f"{__version__}, {definition}"
    return {"set": spec.name, "source": str(files.root.resolve()), "version": version}


def _identity(task: PrepareTask) -> str:
    """The name of an image, and a hash of both files with their sizes and times."""
    paths = [(path, path.stat()) for path in (task.found.image, task.found.labels)]
    about = [f"{path.resolve()} {found.st_size} {found.st_mtime_ns}" for path, found in paths]
    return f"{task.found.name} {hashlib.sha256(os.fsencode(chr(10).join(about))).hexdigest()}"


def _run(
    spec: DatasetSpec, parts: Mapping[str, PrepareTask], journal: Journal, executor: Executor, *, bar: Bar
) -> None:
    """Make what is not made yet."""
    journal.total = len(parts)
    for pattern in (spec.prepared.images[0], spec.prepared.labels[0]):
        _place(journal.folder / "set", pattern, "x").parent.mkdir(parents=True, exist_ok=True)
    with bar("preparing", len(parts)) as tick:
        compute_missing(journal, executor, make, parts, bar=tick, place=lambda task: str(task.found.image))


def _remove_others(spec: DatasetSpec, made: Path, manifest: SetManifest) -> None:
    """Remove what was made of images that have changed since, or are gone."""
    patterns = spec.prepared.images[0], spec.prepared.labels[0]
    wanted = {_place(made, pattern, entry.name) for pattern in patterns for entry in manifest.items}
    for path in list(made.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()


def _commit(journal: Path, dst: Path) -> None:
    """Move the finished set to its place."""
    if dst.exists():
        _remove(journal / "old")
        os.replace(dst, journal / "old")
    os.replace(journal / "set", dst)


def _copy(source: Path, target: Path) -> None:
    """Byte for byte where the formats agree, else as PNG."""
    if source.suffix.lower() == target.suffix.lower():
        shutil.copyfile(source, target)
    else:
        Image.fromarray(_rgb(source)).save(target, "PNG", compress_level=3)


def _rgb(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """`(row, col, 3)`."""
    with opened(str(path)) as image:
        if image.mode in ("L", "P", "RGB", "RGBA"):
            return np.asarray(image.convert("RGB"))
        mode = image.mode
    raise SourceError(f"{path} is an image of mode {mode}; 8-bit red, green and blue is expected.")


def _place(root: Path, pattern: str, name: str) -> Path:
    return root / fill(pattern, name)


def _in_order(entries: dict[str, list[Entry]]) -> tuple[Entry, ...]:
    return tuple(sorted((e for found in entries.values() for e in found), key=lambda entry: natural(entry.name)))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _few(what: tuple[object, ...]) -> str:
    shown = ", ".join(map(str, what[:_FEW]))
    return shown + (" ..." if len(what) > _FEW else "")


def _report(
    spec: DatasetSpec,
    dst: Path,
    manifest: SetManifest,
    *,
    made: int,
    skipped: tuple[str, ...],
    images: int,
    began: float,
) -> Prepared:
    return Prepared(
        name=spec.name,
        title=spec.title,
        folder=str(dst),
        items=len(manifest.items),
        expected=spec.count,
        images=images,
        made=made,
        skipped=skipped,
        seconds=time.perf_counter() - began,
    )
