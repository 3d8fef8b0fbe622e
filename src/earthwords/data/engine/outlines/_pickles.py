"""Pickles of plain values, read without running anything: what is not a list, dict, number or text is refused.

A pickle is a program that may call any function it can name. Here it can name none but those below, and for NumPy's
numbers and arrays it gets stand-ins of ours that take apart what the pickle says, so that no state of NumPy's objects
comes from the file.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from earthwords.errors import SourceError, brief

_NUMBERS = "biuf"
"""Kinds of NumPy's types that are read."""
_MOST_BYTES = 2**30


def read_plain(path: str | Path) -> Any:
    """Lists, dicts, numbers, text and None of a pickle; arrays become lists.

    Raises:
        SourceError: it cannot be read, or names anything else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SourceError(f"{path} is larger than 1 GB, which no list of sentences is.")
        found = _Plain(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
        return _plain(found)
    except _Refused as error:
        raise SourceError(f"{path} names {error}, which lists of sentences do not need; it was not run.") from None
    except OSError as error:
        raise SourceError(f"Cannot read {path} ({brief(error)}).") from error
    except Exception as error:  # a damaged pickle fails in any way
        raise SourceError(f"{path} is not a pickle of plain values ({brief(error)}).") from error


class _Refused(Exception):
    """A name that a pickle must not use."""


class _Type:
    """In the place of `numpy.dtype`."""

    def __init__(self, spec: Any = "", *_: Any) -> None:
        self.spec = str(spec)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.spec = order + self.spec.lstrip("<>=|")

    def real(self) -> np.dtype[Any]:
        found = np.dtype(self.spec)
        if found.kind not in _NUMBERS:
            raise _Refused(f"numbers of NumPy's type {self.spec!r}")
        return found


class _Array:
    """In the place of `numpy.ndarray`."""

    values: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, raw = state
        order = "F" if by_column else "C"
        if not isinstance(kind, _Type):
            raise _Refused("an array without a type")
        self.values = np.frombuffer(_bytes(raw), dtype=kind.real()).reshape(shape, order=order).tolist()  # type: ignore[call-overload]


def _bytes(raw: Any) -> bytes:
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(raw)


def _scalar(kind: Any, raw: Any = b"") -> Any:
    if not isinstance(kind, _Type):
        raise _Refused("a number without a type")
    return np.frombuffer(_bytes(raw), dtype=kind.real())[0].item()


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: Any, *_: Any) -> bytes:
    return str(text).encode("latin-1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"{module}.{name}"[:100])
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object of another file")


def _plain(value: Any) -> Any:
    """Without the stand-ins."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(entry) for entry in value), key=str)
    if isinstance(value, _Array):
        return value.values
    raise _Refused(f"a {type(value).__name__.strip('_')}")
