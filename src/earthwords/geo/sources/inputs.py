"""Which files a run reads, under whatever names, so that no output takes the place of one of them."""

from __future__ import annotations

import glob
import html
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from earthwords.errors import EarthwordsError, UsageError
from earthwords.files.atomic import SIDECARS, beside
from earthwords.files.reading import MOST_SETTINGS, parse_json, read_bytes
from earthwords.geo.sources.gdal_names import places_in
from earthwords.geo.sources.vrt import HEAD, MOST_BYTES, describes_service, is_tile_index, is_vrt, texts_of

DEEPEST = 16
"""VRTs of VRTs are followed so far."""
MODEL_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json", ".txt", ".model")
"""What is read of a folder with a model."""
_OURS = ("report.json", "batch.json")
_TILE_INDEX = "<GDALTileIndexDataset"
_TEXTS = re.compile(r">([^<>]+)<|\"([^\"<>]+)\"")

Identity = tuple[int, int]
"""Device and inode: the file itself, whatever it is called."""


@dataclass(frozen=True)
class Inputs:
    """What a command reads. Looked at when there is something to replace, not before."""

    sources: Sequence[str] = ()
    """Rasters, as they are named: paths, URLs, GDAL's own names. GDAL is asked what they are read from."""
    listed: Sequence[str] = field(default=(), kw_only=True)
    """Images and rasters of which there may be very many: looked at without GDAL."""
    others: Mapping[str, str | Path | None] = field(default_factory=dict, kw_only=True)
    """What it is, such as `--classes`, to the file or the folder with a model that it names; names of other things and
    None are passed over."""

    def check(self, outputs: Iterable[str | Path], *, folders: Iterable[str | Path] = ()) -> None:
        """Refuse outputs that would replace an input.

        Args:
            outputs: files that will be written; what GDAL reads beside them is replaced too.
            folders: that will be replaced with all that is in them.

        Raises:
            UsageError: naming the file that would be lost.
        """
        for path in (*_replaced(outputs), *_inside(folders)):
            identity = identity_of(path)
            if identity is not None and (what := self._known.get(identity)) is not None:
                raise UsageError(f"{path} is {what} and would be lost; choose another DST.")

    @cached_property
    def _known(self) -> dict[Identity, str]:
        """File to what it is, in words."""
        known: dict[Identity, str] = {}
        for option, value in self.others.items():
            for other in _plain_files(value):
                known.setdefault(other, f"read as {option}")
        itself = "the source itself" if len(self.sources) + len(self.listed) == 1 else "one of the sources"
        for source, ask in (*((s, True) for s in self.sources), *((s, False) for s in self.listed)):
            for number, path in enumerate(files_of(source, ask=ask)):
                if (identity := identity_of(path)) is not None:
                    is_whole = number == 0 and os.path.isfile(source)
                    known.setdefault(identity, itself if is_whole else f"a file that {source} is read from")
        return known


def files_of(source: str, *, ask: bool = True) -> list[Path]:
    """The local files that a raster is read from: first its own, then parts, parts of parts and files beside them.

    Args:
        ask: GDAL, which knows formats of many files, but has to open it.
    """
    found: dict[Path, None] = {}
    _follow_name(source, [Path()], found, DEEPEST, tiles=False)
    for path in _gdal_files(source) if ask else ():
        _follow(path, found, DEEPEST)
    return list(found)


def named_files(text: str, *, folder: Path | None = None) -> Iterator[Path]:
    """The files that a name means: the path itself, or those inside `GTIFF_DIR:1:a.tif`, `/vsizip/a.zip/b.tif`, ..."""
    yield from filter(_is_file, places_in(text, folder=folder))


def identity_of(path: str | Path) -> Identity | None:
    """The file itself; None where there is none."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return about.st_dev, about.st_ino


def _replaced(outputs: Iterable[str | Path]) -> Iterator[Path]:
    """What is there now and will not be."""
    for path in map(Path, outputs):
        for place in (path, *beside(path)):
            if os.path.lexists(place):
                yield place


def _inside(folders: Iterable[str | Path]) -> Iterator[Path]:
    for folder in folders:
        for place, _, names in os.walk(folder):
            yield from (Path(place, name) for name in names)


def _plain_files(value: str | Path | None) -> Iterator[Identity]:
    """A file, or what is read of a folder with a model."""
    if value is None:
        return
    paths: Iterable[Path] = files_of(str(value), ask=False)
    with suppress(OSError, ValueError):
        if os.path.isdir(value):
            names = (name for name in os.listdir(value) if name not in _OURS)
            paths = [Path(value, name) for name in names if name.lower().endswith(MODEL_SUFFIXES)]
    yield from (identity for path in paths if (identity := identity_of(path)) is not None)


def _follow(path: Path, found: dict[Path, None], depth: int, *, tiles: bool = False) -> None:
    """Add a file, what GDAL reads beside it, and what it names.

    Args:
        tiles: it is taken for a tile index, whatever its name.
    """
    if path in found or not _is_file(path):
        return
    found[path] = None
    for suffix in SIDECARS:
        if _is_file(beside := path.with_name(path.name + suffix)):
            found[beside] = None
    if not depth:
        return
    for beside in _family(path, tiles=tiles):
        found[beside] = None
    folders = list(dict.fromkeys((path.parent, Path(os.path.realpath(path)).parent, Path())))
    names, tiles = _names_in(path, tiles=tiles)
    for name in names:
        _follow_name(name, folders, found, depth - 1, tiles=tiles)


def _family(path: Path, *, tiles: bool) -> Iterator[Path]:
    """Files of the same stem, of formats whose files GDAL does not tell: MRF, and shapefiles with tiles."""
    with suppress(OSError):
        with path.open("rb") as file:
            head = file.read(HEAD)
        if b"<MRF_META" in head or (tiles and path.suffix.lower() == ".shp"):
            yield from filter(_is_file, path.parent.glob(f"{glob.escape(path.stem)}.*"))


def _follow_name(name: str, folders: Sequence[Path], found: dict[Path, None], depth: int, *, tiles: bool) -> None:
    """Add the files of a name, which is relative to one of some folders or to where the program runs; or is XML."""
    if name.lstrip().startswith("<"):
        inside = dict.fromkeys(_texts(name.encode("utf-8", "surrogateescape"))) if depth else ()
        for text in inside:
            _follow_name(text, folders, found, depth - 1, tiles=_TILE_INDEX in name)
        return
    for folder in folders:
        for path in named_files(name, folder=folder):
            _follow(path, found, depth, tiles=tiles or name.upper().startswith("GTI:"))


def _names_in(path: Path, *, tiles: bool) -> tuple[Iterable[str], bool]:
    """All that may name a file in one that GDAL follows (VRT and other XML, JSON, tile index); whether of tiles."""
    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            head = file.read(HEAD)
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        index = _TILE_INDEX.encode() in head
        if is_vrt(head) or index or start == b"<":
            most = MOST_BYTES if is_vrt(head) else MOST_SETTINGS
            return dict.fromkeys(_texts(read_bytes(path, most=most))), index
        if start in (b"{", b"[") and describes_service(head):
            return dict.fromkeys(_strings(parse_json(read_bytes(path, most=MOST_SETTINGS)))), False
        if tiles or is_tile_index(path, head):
            from earthwords.geo.vectors.vector_files import words_of

            return words_of(path), False
    return (), False


def _texts(xml: bytes) -> Iterator[str]:
    """Texts and attributes of XML; of what is none, whatever looks like them."""
    try:
        yield from (text.strip() for text in texts_of(xml))
    except ValueError:
        for inner, quoted in _TEXTS.findall(xml.decode("utf-8", "surrogateescape")):
            yield html.unescape(inner or quoted).strip()


def _strings(value: Any) -> Iterator[str]:
    """All texts in what JSON says, which is not deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _gdal_files(source: str) -> list[Path]:
    """What GDAL says that it reads."""
    from earthwords.geo.sources.gdal_dataset import aside, open_dataset, reading
    from earthwords.geo.sources.network import Network, is_remote

    if is_remote(source):
        return []

    def ask() -> list[str]:
        with open_dataset(source, network=Network.NONE) as dataset, reading(source, "its files", Network.NONE):
            return list(dataset.files)

    with suppress(EarthwordsError):
        return [path for name in aside(ask) for path in named_files(name)]
    return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
