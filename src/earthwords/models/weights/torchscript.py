"""Tensors of a TorchScript archive, without running any of its code.

OpenAI published CLIP as TorchScript, which `torch.load(weights_only=True)` refuses. The archive is a zip with a pickle
of the module tree, which is read as data here: modules are tables of attributes, only tensors are made, and every
other call is refused.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earthwords.errors import WeightsError, brief
from earthwords.files.pickles import Call, Persistent, read_pickle
from earthwords.models.weights.bounds import (
    MOST_PICKLE,
    MOST_SHARED,
    MOST_VALUES,
    check_zip,
    reached,
    starts_as_zip,
    storage_type,
)

_MOST_MODULES = 10_000
_MOST_DEPTH = 64
_REBUILD = "torch._utils._rebuild_tensor_v2"
_KNOWN = {_REBUILD, "collections.OrderedDict"}
_WRAPPERS = ("__torch__.", "torch.jit._pickle.")
"""Modules, and calls that say the type of a list or table."""


def is_torchscript(path: Path) -> bool:
    """Whether the file is a zip that holds TorchScript code."""
    if not starts_as_zip(path):
        return False
    return any(entry.filename.split("/", 1)[-1] == "constants.pkl" for entry in check_zip(path))


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name.

    Raises:
        WeightsError: the archive is damaged, holds more than modules and tensors, or claims more than it has.
    """
    try:
        entries = {entry.filename.split("/", 1)[-1]: entry for entry in check_zip(path)}
        with zipfile.ZipFile(path) as archive:
            if entries["data.pkl"].file_size > MOST_PICKLE:
                raise ValueError(f"its pickle unpacks to {entries['data.pkl'].file_size:,} bytes")
            tree = read_pickle(archive.read(entries["data.pkl"]), most=MOST_VALUES)
            _check_calls(tree)
            if not _is_module(tree):
                raise ValueError("it holds no model")
            return _Tensors(archive, entries, MOST_SHARED * path.stat().st_size).below(tree)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"Cannot read the TorchScript archive {path}: {brief(error)}.") from error


def _check_calls(tree: Any) -> None:
    for part in reached(tree):
        if isinstance(part, Call) and part.name not in _KNOWN and not part.name.startswith(_WRAPPERS):
            raise ValueError(f"the archive asks for {part.name[:100]}")


def _is_module(part: Any) -> bool:
    return isinstance(part, Call) and part.name.startswith("__torch__") and isinstance(part.state, (dict, type(None)))


class _Tensors:
    """Makes the tensors of a tree of modules; storages are read once."""

    def __init__(self, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], most: int) -> None:
        self._archive, self._entries, self._left = archive, entries, most
        self._storages: dict[str, Tensor] = {}

    def below(self, root: Call) -> dict[str, Tensor]:
        """By names with dots; a part that lies in several places has several names."""
        found: dict[str, Tensor] = {}
        left = [("", root, 0)]
        for _ in range(_MOST_MODULES):
            if not left:
                return found
            prefix, module, depth = left.pop()
            for name, part in (module.state or {}).items():
                if _is_module(part):
                    left.append((f"{prefix}{name}.", part, depth + 1))
                elif isinstance(part, Call) and part.name == _REBUILD:
                    found[prefix + name] = self._tensor(part)
            if depth > _MOST_DEPTH:
                break
        raise ValueError("it has more modules than any model, or deeper ones")

    def _tensor(self, call: Call) -> Tensor:
        storage, offset, sides, strides, *_ = call.args
        values = self._storage(storage)
        view = values.as_strided(sides, strides, offset)
        self._left -= view.numel() * view.element_size()
        if self._left < 0:
            raise ValueError("its tensors claim far more bytes than the file has")
        return view

    def _storage(self, storage: Any) -> Tensor:
        if not isinstance(storage, Persistent):
            raise ValueError("a tensor in it has no numbers")
        _, kind, key, _, count = storage.id
        if key not in self._storages:
            raw = bytearray(self._archive.read(self._entries[f"data/{key}"]))
            dtype = storage_type(kind)
            self._storages[key] = torch.frombuffer(raw, dtype=dtype, count=count) if count else torch.empty(0).to(dtype)
        return self._storages[key]
