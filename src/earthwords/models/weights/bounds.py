"""What a checkpoint claims, checked before anything of that size is made.

A zip may unpack to a thousand times its size, a pickle may ask for a tensor of any size, a header may name a million
tensors. Each is read as data first, and refused with words that complete "Cannot read weights from PATH: ...".
"""

from __future__ import annotations

import math
import mmap
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from earthwords.files.pickles import Call, Global, Persistent, read_pickle
from earthwords.files.reading import open_file, parse_json

MOST_UNPACKED = 8
"""Entries of a zip may unpack to this many times the file, or to `_SMALL`: trained weights hardly compress."""
MOST_SHARED = 8
"""Tensors may share their numbers, but together they are at most this many times the file."""
_SMALL = 2**20
_MOST_ENTRIES = 100_000
MOST_PICKLE = 2**26
MOST_VALUES = 2_000_000
"""Bytes of the pickle in a zip, and what it describes; a model of a billion numbers has some ten thousand values."""
_MOST_HEADER = 2**24

FRAMEWORKS = ("mmengine.", "deepspeed.")
"""Whose objects lie beside the tensors of a checkpoint; nothing stands for them."""
_TENSORS = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")}
_OTHERS = {
    "collections.OrderedDict",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.Size",
    "builtins.set",
    "__builtin__.set",
    "_codecs.encode",
    "torch.device",
}
"""What else a checkpoint of tensors, numbers and text needs; of PyTorch's own list some fill any memory."""
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
"""https://github.com/pytorch/pytorch/blob/v2.6.0/torch/serialization.py"""
STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


def check_zip(path: Path, *, times: int = MOST_UNPACKED) -> list[zipfile.ZipInfo]:
    """The entries of a zip, which unpack to what a real one would: at most `times` as much, or a little.

    Raises:
        ValueError: to far more, or two have one name.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    total, most = sum(entry.file_size for entry in entries), max(_SMALL, times * path.stat().st_size)
    if total > most:
        raise ValueError(f"it unpacks to {total:,} bytes, more than {times} times the file")
    if len(entries) > _MOST_ENTRIES or len({entry.filename for entry in entries}) < len(entries):
        raise ValueError(f"it has {len(entries):,} entries, of which some have the same name, or far too many")
    return entries


def check_safetensors(path: Path) -> None:
    """Refuse a header that no real checkpoint has; the library checks the sizes.

    Raises:
        ValueError: it is too long, or nested, or names too many tensors.
    """
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER:
            raise ValueError(f"its header claims {length:,} bytes")
        header = parse_json(file.read(length))
    if not isinstance(header, dict) or len(header) > _MOST_ENTRIES:
        raise ValueError("its header is no table of tensors, or has far too many")


def check_pytorch(path: Path) -> None:
    """Refuse a file of `torch.save` that names code, or claims more than it has.

    Raises:
        pickle.UnpicklingError: it names code; the message is `GLOBAL ` and the name.
        ValueError: it is damaged, or claims more.
    """
    if starts_as_zip(path):
        sizes = {entry.filename.split("/", 1)[-1]: entry.file_size for entry in check_zip(path)}
        if sizes.get("data.pkl", 0) > MOST_PICKLE:
            raise ValueError(f"its pickle unpacks to {sizes['data.pkl']:,} bytes")
        with zipfile.ZipFile(path) as archive:
            name = next(each for each in archive.namelist() if each.split("/", 1)[-1] == "data.pkl")
            found = read_pickle(archive.read(name), most=MOST_VALUES)
        storages = _check_parts(found, path.stat().st_size)
        if any(size > sizes.get(f"data/{key}", -1) for key, size in storages.items()):
            raise ValueError("its tensors claim more numbers than are there")
    else:
        size = path.stat().st_size
        if not size:
            raise ValueError("it is empty")
        # mapped, as a text in it may claim any length, for which a file would make room before it looks
        with open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            _check_legacy(cast("BinaryIO", mapped), size)


def starts_as_zip(path: Path) -> bool:
    """Whether PyTorch takes the file for a zip."""
    with open_file(path) as file:
        return file.read(4) == b"PK\x03\x04"


def _check_legacy(file: BinaryIO, size: int) -> None:
    """Of PyTorch before 1.6: five pickles, then the numbers."""
    try:
        head = [read_pickle(file, most=10), read_pickle(file, most=10)]
    except ValueError:
        head = []
    if head != [_MAGIC, _VERSION]:
        raise ValueError("it is damaged, or no PyTorch file")
    read_pickle(file, most=1000)  # of the machine that wrote it
    storages = _check_parts(read_pickle(file, most=MOST_VALUES), size)
    if sum(storages.values()) > size:
        raise ValueError("its tensors claim more numbers than are there")


def _check_parts(found: Any, size: int) -> dict[str, int]:
    """The bytes of every storage, where all calls are harmless, views lie in their storage, and all tensors fit.

    Args:
        found: what `read_pickle` gives.
        size: bytes of the file.
    """
    parts = list(reached(found))
    calls = [part for part in parts if isinstance(part, Call)]
    _check_names(calls, [part for part in parts if isinstance(part, Global)])
    claimed = sum(_claimed(call) for call in calls if call.name in _TENSORS)
    if claimed > MOST_SHARED * size:
        raise ValueError(f"its tensors claim {claimed:,} bytes, far more than the file has")
    storages: dict[str, int] = {}
    for key, count in (_storage(part) for part in parts if isinstance(part, Persistent)):
        storages[key] = max(count, storages.get(key, 0))
    return storages


def _check_names(calls: Iterable[Call], mentioned: Iterable[Global]) -> None:
    """PyTorch's types may be mentioned, not called; whatever a framework has left there is nothing."""
    called, named = {call.name for call in calls}, {each.name for each in mentioned}
    framework = any(name.startswith(FRAMEWORKS) for name in called)
    beside = (*FRAMEWORKS, "numpy.") if framework else ()
    wrong = {name for name in called if name not in _TENSORS | _OTHERS and not name.startswith(beside)}
    wrong |= {name for name in named if not name.startswith(("torch.", *beside))}
    if wrong:
        raise pickle.UnpicklingError(f"GLOBAL {min(wrong)}")


def reached(found: Any) -> Iterable[Any]:
    """Every part of what a pickle describes, once."""
    seen: set[int] = set()
    left = [found]
    while left:
        part = left.pop()
        if isinstance(part, (str, int, float, type(None))) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, Mapping):
            left += part.values()
        elif isinstance(part, (list, tuple)):
            left += part
        elif isinstance(part, Persistent):
            left.append(part.id)
        elif isinstance(part, Call):
            left += [part.args, part.state, part.items]


def _storage(persistent: Persistent) -> tuple[str, int]:
    """Key and bytes."""
    kind, storage, key, _, count, *_ = persistent.id
    if kind != "storage" or not isinstance(storage, Global) or not _whole([count]):
        raise ValueError("a storage in it is none")
    return str(key), count * storage_type(storage).itemsize


def storage_type(storage: Global) -> torch.dtype:
    """Of its numbers. Raises `ValueError`: nobody knows."""
    found = STORAGES.get(storage.name.rsplit(".", 1)[-1])
    if found is None or not storage.name.startswith("torch."):
        raise ValueError(f"its numbers are of the unknown type {storage.name[:80]}")
    return found


def _claimed(call: Call) -> int:
    """Bytes of a tensor, which lies in its storage.

    Raises:
        ValueError: it does not.
    """
    storage, offset, sides, strides, *rest = call.args
    if not isinstance(storage, Persistent) or not _whole([offset, *sides, *strides]) or len(sides) != len(strides):
        raise ValueError("a tensor in it is none")
    width = storage_type(storage.id[1]).itemsize
    if call.name.endswith("_v3"):
        kind = getattr(torch, rest[2].name.removeprefix("torch."), None) if isinstance(rest[2], Global) else None
        if not isinstance(kind, torch.dtype):
            raise ValueError("a tensor in it has no type")
        width = kind.itemsize
    end = offset + sum((side - 1) * stride for side, stride in zip(sides, strides, strict=True)) + 1
    if math.prod(sides) and end * width > _storage(storage)[1]:
        raise ValueError("a tensor in it lies outside of its numbers")
    return math.prod(sides) * width


def _whole(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int) and 0 <= value < 2**62 for value in values)
