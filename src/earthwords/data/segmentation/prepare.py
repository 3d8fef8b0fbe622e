"""From a download to the folders that are measured: decoded, cut, checked, whole or not at all.

Work lies in a hidden folder `.DST.journal` until it is complete; a run that was killed goes on there. What DST holds is
told by its `earthwords.json`: size and sha256 of every file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from earthwords.data.annotations.image_io import opened, size_of
from earthwords.data.segmentation.encoding import decode, is_same, read_values, write_labels
from earthwords.data.segmentation.layout import Files, Found, fill, find, natural, wrong_layout
from earthwords.data.segmentation.manifest import MANIFEST, Entry, Manifest, read_manifest, sha256, write_manifest
from earthwords.data.segmentation.reports import Prepared
from earthwords.data.segmentation.spec import IGNORED, DatasetSpec
from earthwords.data.segmentation.tiles import cut, tiles
from earthwords.errors import SourceError, UsageError
from earthwords.files.atomic import discard, locked, parents_made_for, remove_dead, writing
from earthwords.files.plaintext import read_text
from earthwords.files.reading import parse_json
from earthwords.geo.sources.inputs import Inputs
from earthwords.jobs.make_executor import in_order

Bar = Callable[[str, int], AbstractContextManager[Any]]

_FEW = 5


@dataclass(frozen=True, kw_only=True)
class PrepareTask:
    """An image and its labels, to be made into items in a folder."""

    spec: DatasetSpec
    found: Found
    into: Path


def prepare_set(
    spec: DatasetSpec,
    src: Path,
    dst: Path,
    *,
    bar: Bar,
    workers: int = 1,
    partial: bool = False,
    overwrite: bool = False,
) -> Prepared:
    """Prepare the measured part of a set.

    Args:
        bar: `bar(what, total)` is a context with a function that takes the images done.
        partial: go on although some of the files are not there.

    Raises:
        UsageError: `src` has another layout, or `dst` holds something else.
        SourceError: files are missing or damaged, or their number is not the expected one.
        OutputError: the disk is full.
    """
    began = time.perf_counter()
    if dst.resolve() == src.resolve() or dst.resolve() in src.resolve().parents:
        raise UsageError(f"{dst} holds the download itself; choose another folder for what is prepared.")
    journal = dst.parent / f".{dst.name}.journal"
    if (there := _prepared_before(spec, dst, journal, overwrite=overwrite)) is not None:
        with suppress(OSError), locked(journal) as free:  # of a process that was killed when all was done
            if free:
                discard(journal)
        return _report(spec, dst, there, made=0, skipped=(), images=len({e.source for e in there.items}), began=began)
    files = _files(spec, src, partial=partial)
    Inputs(listed=[str(path) for pair in files.pairs for path in (pair.image, pair.labels)]).check((), folders=[dst])
    with parents_made_for(dst), writing(dst):
        journal.mkdir(parents=True, exist_ok=True)
        with locked(journal) as free:
            if not free:
                raise UsageError(f"Another process is preparing {dst}; wait for it, or choose another folder.")
            try:
                work = _plan(spec, files, journal / "set", partial=partial)
                made, entries = _run(spec, work, journal, bar=bar, workers=workers)
                manifest = Manifest(set=spec.name, split=spec.split, items=_in_order(entries))
                write_manifest(journal / "set", manifest)
                _commit(journal, dst)
            except (UsageError, SourceError):
                if not _done(journal):
                    discard(journal)
                raise
            discard(journal)
    skipped = tuple(str(path) for path in files.lonely)
    return _report(spec, dst, manifest, made=made, skipped=skipped, images=len(work), began=began)


def make(work: PrepareTask) -> list[Entry]:
    """Write the tiles of an image and their labels."""
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


def _prepared_before(spec: DatasetSpec, dst: Path, journal: Path, *, overwrite: bool) -> Manifest | None:
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


def _run(
    spec: DatasetSpec, work: list[PrepareTask], journal: Path, *, bar: Bar, workers: int
) -> tuple[int, dict[str, list[Entry]]]:
    """Do what is not done yet; number of items made, and all entries by original."""
    job = journal / "job.json"
    told = json.dumps(_fingerprint(spec, work))
    if not job.is_file() or read_text(job) != told:
        for old in ("set", "done.jsonl"):
            _remove(journal / old)
        job.write_text(told, encoding="utf-8")
    for pattern in (spec.prepared.images[0], spec.prepared.labels[0]):
        _place(journal / "set", pattern, "x").parent.mkdir(parents=True, exist_ok=True)
    entries = {name: found for name, found in _done(journal).items() if name in {w.found.name for w in work}}
    left = [each for each in work if each.found.name not in entries]
    made = 0
    with bar("preparing", len(work)) as tick, (journal / "done.jsonl").open("a", encoding="utf-8") as file:
        tick.skip(len(work) - len(left))
        try:
            for each, found in zip(left, in_order(make, left, workers=workers), strict=True):
                file.write(json.dumps([each.found.name, [asdict(entry) for entry in found]]) + "\n")
                file.flush()
                entries[each.found.name] = found
                made += len(found)
                tick(1)
        except BaseException as error:
            if entries:
                error.add_note(
                    f"The same command goes on from here: {len(entries):,} of {len(work):,} images are done."
                )
            raise
    return made, entries


def _done(journal: Path) -> dict[str, list[Entry]]:
    """Entries of the images that are done; the last line may be cut off."""
    found: dict[str, list[Entry]] = {}
    path = journal / "done.jsonl"
    if path.is_file():
        text = read_text(path)
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):
                name, entries = parse_json(line)
                found[name] = [Entry(**entry) for entry in entries]
        if text and not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    return found


def _fingerprint(spec: DatasetSpec, work: list[PrepareTask]) -> list[str]:
    """Of the row and the originals: another one begins anew."""
    files = []
    for each in work:
        for path in (each.found.image, each.found.labels):
            about = path.stat()
            files.append(f"{path.resolve()} {about.st_size} {about.st_mtime_ns}")
    digest = hashlib.sha256("\n".join([repr(spec), *files]).encode()).hexdigest()
    return [spec.name, digest]


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
    manifest: Manifest,
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
