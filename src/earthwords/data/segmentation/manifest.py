"""What a prepared set holds: `earthwords.json`, a line an item with the hashes of its files."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from earthwords.errors import SourceError, brief
from earthwords.files.plaintext import json_text
from earthwords.files.reading import read_json

MANIFEST = "earthwords.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An item."""

    name: str
    source: str
    """Name of the original."""
    height: int
    """Pixels."""
    width: int
    image: str
    """Sha256 of the file."""
    labels: str


@dataclass(frozen=True, kw_only=True)
class SetManifest:
    """All items of a prepared set."""

    set: str
    split: str
    items: tuple[Entry, ...]


def write_manifest(folder: Path, manifest: SetManifest) -> None:
    """Write it into the folder; equal sets have equal bytes."""
    lines = ",\n".join(json_text(asdict(entry)) for entry in manifest.items)
    head = json_text({"set": manifest.set, "split": manifest.split})[1:-1]
    (folder / MANIFEST).write_text(f'{{{head}, "items": [\n{lines}\n]}}\n', encoding="utf-8")


def read_manifest(folder: Path) -> SetManifest | None:
    """What a folder says it holds; None: nothing.

    Raises:
        SourceError: the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = read_json(path, most=None)
        items = tuple(Entry(**entry) for entry in found["items"])
        return SetManifest(set=str(found["set"]), split=str(found["split"]), items=items)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SourceError(f"Cannot read {path}: {brief(error)}; prepare the set again.") from error


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
