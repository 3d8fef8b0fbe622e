"""Which files a run reads, under whatever names, so that no output takes the place of one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from earthwords.errors import EarthwordsError, UsageError
from earthwords.geo.outputs import SIDECARS
from earthwords.geo.vrt import HEAD, is_vrt

DEEPEST = 16
"""VRTs of VRTs are followed so far."""
MODEL_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json", ".txt", ".model")
"""What is read of a folder with a model."""
_OURS = ("report.json", "batch.json")
_STARTS = re.compile(r"^|/vsi[a-z0-9_]+/|://|[:\"=,{]")
_STOPS = re.compile(r"$|[\"?!}:&/]")
_VRT_TEXTS = re.compile(r">([^<>]+)<|\"([^\"<>]+)\"")
_ESCAPES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}

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
    for path in named_files(source):
        _follow(path, found, DEEPEST)
    if source.lstrip().startswith("<"):
        _follow_text(source, Path(), found, DEEPEST)
    for path in _gdal_files(source) if ask else ():
        _follow(path, found, DEEPEST)
    return list(found)


def named_files(text: str, *, folder: Path | None = None) -> Iterator[Path]:
    """The files that a name means: the path itself, or those inside `GTIFF_DIR:1:a.tif`, `/vsizip/a.zip/b.tif`, ..."""
    folder = folder or Path()
    if _is_file(whole := folder / text):
        yield whole
        return
    for start in _STARTS.finditer(text):
        for stop in _STOPS.finditer(text, start.end()):
            if stop.start() > start.end() and _is_file(path := folder / text[start.end() : stop.start()]):
                yield path


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
        for place in (path, *(path.with_name(path.name + suffix) for suffix in SIDECARS)):
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


def _follow(path: Path, found: dict[Path, None], depth: int) -> None:
    """Add a file, what GDAL reads beside it, and, if it is a VRT, its parts."""
    if path in found or not _is_file(path):
        return
    found[path] = None
    for suffix in SIDECARS:
        if _is_file(beside := path.with_name(path.name + suffix)):
            found[beside] = None
    with suppress(OSError), path.open("rb") as file:
        if depth and is_vrt(file.read(HEAD)):
            file.seek(0)
            _follow_text(file.read().decode("utf-8", "surrogateescape"), path.parent, found, depth - 1)


def _follow_text(text: str, folder: Path, found: dict[Path, None], depth: int) -> None:
    """The files that are named in a VRT, beside it or from where the program runs."""
    names = dict.fromkeys((inner or quoted).strip() for inner, quoted in _VRT_TEXTS.findall(text))
    for name in names:
        name = re.sub("|".join(_ESCAPES), lambda escape: _ESCAPES[escape[0]], name)
        for place in (folder, Path()):
            for path in named_files(name, folder=place):
                _follow(path, found, depth)


def _gdal_files(source: str) -> list[Path]:
    """What GDAL says that it reads."""
    from earthwords.geo.network import Network, is_remote
    from earthwords.geo.source import aside, open_dataset, reading

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
