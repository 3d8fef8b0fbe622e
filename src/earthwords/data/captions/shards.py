"""The results: WebDataset shards, a Parquet file, or the list that `train clip` reads. Equal input, equal bytes.

Each sink is `write(out, batches, options) -> Iterator[int]`: it takes batches of records, writes below the folder `out`
and yields the number of images written. What lies in `out` already is whole and is not written again.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from earthwords.data.annotations.image_io import jpeg
from earthwords.data.captions.records import example_of
from earthwords.errors import UsageError
from earthwords.files.paths import PICTURES
from earthwords.files.plaintext import json_text, utf8
from earthwords.jobs.executor import Executor, Local

Record: TypeAlias = dict[str, Any]
Batch: TypeAlias = tuple[int, Sequence[Record]]
"""The number of the first record, and records."""

MEMBERS = ("jpg", "json", "txt")
_FEW = 32
"""Images on their way from a worker to a table at once."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How results are written."""

    dst: Path
    """Where `out` will be in the end."""
    executor: Executor = field(default_factory=Local)
    rows: int = 1000
    """Records of a batch, but maybe the last."""


Sink: TypeAlias = Callable[[Path, Iterable[Batch], Options], Iterator[int]]


def write_shards(out: Path, batches: Iterable[Batch], options: Options) -> Iterator[int]:
    """A tar file a batch, `pairs-000000.tar`: of each image its JPEG, `.json` and `.txt`, a caption a line."""
    yield from options.executor.in_order(partial(_write_shard, out), enumerate(batches))


def _write_shard(out: Path, numbered: tuple[int, Batch]) -> int:
    number, (first, records) = numbered
    path = out / f"pairs-{number:06d}.tar"
    if path.exists():
        return len(records)
    unfinished = path.with_suffix(".part")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as shard:
        for i, record in enumerate(records):
            about = {key: record[key] for key in ("name", "set", "size", "boxes", "classes", "captions")}
            contents = {
                "jpg": jpeg(example_of(record)),
                "json": json_text(about).encode(),
                "txt": utf8("\n".join(record["captions"])).encode(),
            }
            for member in MEMBERS:
                header = tarfile.TarInfo(f"{first + i:09d}.{member}")  # its time is 0, its owner nobody
                header.size = len(contents[member])
                shard.addfile(header, io.BytesIO(contents[member]))
    _finish(unfinished, path)
    return len(records)


def write_parquet(out: Path, batches: Iterable[Batch], options: Options) -> Iterator[int]:
    """One file, a group of rows a batch: the JPEG, captions, classes, boxes and where they come from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words, number = pa.list_(pa.string()), pa.list_(pa.list_(pa.float64(), 4))
    schema = pa.schema(
        [
            ("image", pa.binary()), ("captions", words), ("name", pa.string()), ("set", pa.string()),
            ("height", pa.int32()), ("width", pa.int32()), ("classes", words), ("boxes", number),
        ]
    )  # fmt: skip
    path = out / options.dst.name
    unfinished = path.with_suffix(".part")
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        rows: list[Record] = []
        few = (records[i : i + _FEW] for _, records in batches for i in range(0, len(records), _FEW))
        for encoded in options.executor.in_order(_encoded, few):
            rows += [{name: row[name] for name in schema.names} for row in encoded]
            if len(rows) >= options.rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
            yield len(encoded)
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    _finish(unfinished, path)


def _encoded(records: Sequence[Record]) -> list[Record]:
    """Records with their image as a JPEG file."""
    sizes = [{"height": record["size"][0], "width": record["size"][1]} for record in records]
    return [{**r, **size, "image": jpeg(example_of(r))} for r, size in zip(records, sizes, strict=True)]


def write_manifest(out: Path, batches: Iterable[Batch], options: Options) -> Iterator[int]:
    """JSON lines for `train clip`. Tiles and rasters, which it cannot read, become JPEG files in a folder beside it."""
    path = out / options.dst.name
    folder = out / images_folder(options.dst)
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        for records, images in options.executor.in_order(partial(_pictured, folder), batches):
            for record, image in zip(records, images, strict=True):
                where = image or os.path.relpath(record["image"], options.dst.parent)
                line = {"image": Path(where).as_posix(), "set": record["set"], "captions": record["captions"]}
                file.write(json_text(line) + "\n")
            yield len(records)
    _finish(unfinished, path)


def images_folder(dst: Path) -> str:
    """The name of the folder beside a list for images that are not files of their own."""
    return f"{dst.stem}_images"


def _pictured(folder: Path, batch: Batch) -> tuple[Sequence[Record], list[str]]:
    """For each record the path of an image made for it, or nothing where its own will do."""
    first, records = batch
    images = []
    for i, record in enumerate(records):
        example = example_of(record)
        own = example.window is None and example.image.lower().endswith(PICTURES)
        path = folder / f"{first + i:09d}.jpg"
        images.append("" if own else f"{folder.name}/{path.name}")
        if not own and not path.exists():
            folder.mkdir(exist_ok=True)
            path.with_suffix(".part").write_bytes(jpeg(example))
            os.replace(path.with_suffix(".part"), path)
    return records, images


def _finish(unfinished: Path, path: Path) -> None:
    os.replace(unfinished, path)


SINKS: dict[str, Sink] = {"": write_shards, ".parquet": write_parquet, ".jsonl": write_manifest}
"""By the suffix of the destination."""


def sink_of(dst: Path) -> Sink:
    """How a destination is written. Raises `UsageError` for an unknown suffix."""
    suffix = "" if dst.is_dir() else dst.suffix.lower()
    if suffix not in SINKS:
        raise UsageError(
            f"{dst}: the destination is a folder (a name without suffix: WebDataset shards), a .parquet file or a "
            ".jsonl list for `train clip`."
        )
    return SINKS[suffix]
