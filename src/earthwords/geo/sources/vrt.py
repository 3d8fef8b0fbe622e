"""What a VRT is made of, looked at before GDAL opens it: an XML file can name any file, server or program.

Refused are parts on a network where that is not allowed, raw bytes of files elsewhere, pixels computed by Python, and
VRTs of VRTs of VRTs, which cost a page of text to write and days to read.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from earthwords.errors import SourceError, brief
from earthwords.files.paths import trouble
from earthwords.files.reading import MOST_SETTINGS, read_bytes
from earthwords.geo.sources.gdal_names import check_waits, places_in
from earthwords.geo.sources.network import Network, is_remote

MOST_BYTES = 2**29
"""Of a VRT: some million parts."""
MOST_DEPTH = 6
"""VRTs inside one another."""
MOST_PARTS = 2_000_000
"""Files that one VRT reads from, all levels together, each as often as it is named."""
_MOST_BESIDE = 1000
"""Names in a folder beyond which GDAL lists it no further."""
HEAD = 2**12
"""Bytes in which GDAL looks for what a file is."""

_ROOT = b"<VRTDataset"
_TILE_INDEX = b"<GDALTileIndexDataset"
_TILES = (".gti.gpkg", ".gti.fgb", ".gti.parquet")
"""Vector files that GDAL takes for tile indexes by their names."""
_FILES = {"sourcefilename", "sourcedataset", "dempath"}
"""Elements and attributes that name a file, in lower case as GDAL does not care."""
_PLAIN = re.compile(
    rb'<SourceFilename(?:\s+relativeToVRT="([01])")?(?:\s+shared="[01]")?\s*>([^<>"\']*)</SourceFilename>'
)
_UNUSUAL = (b"sourcedataset", b"dempath", b"pixelfunctionlanguage", b"rawraster", b"_dataset", b"overview_file")
_KEYED = re.compile(r"filename|(?:[xy]_dataset|overview_file)$")
"""Keys of elements `Argument` and `MDI` whose text names a file."""
_DESCRIPTIONS = re.compile(
    rb"<(?:\w+:)?(GDAL_WMS|WMS_Capabilities|WMT_MS_Capabilities|WMS_Tile_Service|WCS_GDAL|GDAL_WMTS|Capabilities|TileMap"
    rb"|TileMapService|OGRWFSDataSource|OGRWFSLayer|OGRCSWDataSource|OAPIFDataSource)\b"
    rb'|"stac_version"|"gdal_streamed_alg"|"tileMatrixSetURI"'
)
"""In the first bytes of an XML or JSON file: it describes what a server has, or a program of GDAL's."""


class VrtPart(NamedTuple):
    """A file that a VRT names."""

    name: str
    relative: bool
    """To the folder of the VRT, not to where the process is."""
    raw: bool
    """Read as bare bytes, whatever it is."""


class Size(NamedTuple):
    """What a source stands for."""

    files: int
    levels: int
    """VRTs inside one another."""


ONE = Size(1, 0)


def describes_service(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a description of a server's data."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not start or start not in b"<{[":
        return False
    cached = b"<CachedSource>" in head and is_remote(head.decode("latin-1"))
    return cached or _DESCRIPTIONS.search(head) is not None


def is_vrt(head: bytes) -> bool:
    """Whether GDAL takes a file with these first bytes for a VRT."""
    return _ROOT in head.partition(b"\0")[0]


def is_tile_index(path: Path, head: bytes) -> bool:
    """Whether GDAL takes a file with these first bytes for a tile index (GTI): XML, or features that name rasters."""
    return _TILE_INDEX in head or path.name.lower().endswith(_TILES)


@dataclass(kw_only=True)
class Inspector:
    """Looks through a VRT and all that it names."""

    source: str
    """What the user has named, for messages."""
    network: Network
    reaches: bool
    """Whether a network may be used."""
    inside: Callable[[str], bytes | None] = lambda name: None
    """The text of a VRT in one of GDAL's file systems, such as an archive; None: it is none."""
    words: Callable[[Path], Iterable[str]] = lambda path: ()
    """All texts in a vector file."""
    _known: dict[str, Size] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _odd: dict[str, list[str]] = field(default_factory=dict)
    """Folder to what is in it and is neither a file nor a folder."""

    def name(self, source: str) -> None:
        """Look through the files that a name of GDAL's means, such as `vrt://a.vrt`; or through XML.

        Raises:
            SourceError: as `file`.
        """
        if source.lstrip().startswith(_ROOT.decode()):
            self.text(source.encode("utf-8", "surrogateescape"), f"XML, {len(source)} letters")
        for path in places_in(source):
            self.file(path, tiles=source.upper().startswith("GTI:"))

    def file(self, path: Path, *, tiles: bool = False) -> Size:
        """Look through a file if it is a VRT, or a tile index.

        Args:
            tiles: it is one, whatever its name.

        Raises:
            SourceError: something of it is refused, or it is no regular file.
        """
        head = head_of(path)
        self._check_beside(path)
        if not is_vrt(head):
            if not self.reaches and describes_service(head):
                raise self.network.refusal(self.source, str(path))
            if tiles or is_tile_index(path, head):
                self._tiles(path, head)
            return ONE
        name = os.path.realpath(path)
        if name not in self._known:
            if path.stat().st_size > MOST_BYTES:
                raise SourceError(f"{path} is a VRT of more than {MOST_BYTES >> 20} MiB; divide it.")
            self._known[name] = self.text(read_bytes(path), name)
        return self._known[name]

    def _check_beside(self, path: Path) -> None:
        """Refuse a pipe that GDAL would take for a sidecar, such as a world file."""
        folder = str(path.parent)
        if folder not in self._odd:
            self._odd[folder] = _odd_names(path.parent)
        for name in self._odd[folder]:
            if name.lower().startswith((f"{path.stem}.".lower(), f"{path.stem}_".lower())):
                check_waits(name, folder=path.parent)

    def _tiles(self, path: Path, head: bytes) -> None:
        """Look for rasters of a tile index that would be waited for."""
        if (name := os.path.realpath(path)) in self._known:
            return
        self._known[name] = ONE
        described = _TILE_INDEX in head
        for word in texts_of(read_bytes(path, most=MOST_SETTINGS)) if described else self.words(path):
            for folder in dict.fromkeys((path.parent, Path(name).parent, Path())):
                check_waits(word, folder=folder)
                for part in places_in(word, folder=folder) if described or word.endswith(".vrt") else ():
                    self.file(part, tiles=described)

    def text(self, text: bytes, name: str) -> Size:
        """Look through the text of a VRT; `name` is its path, without links, or any name of GDAL's."""
        if name in self._open:
            raise SourceError(f"{self.source} is a VRT that is made of itself ({name}); make it anew.")
        self._open.append(name)
        folder = posixpath.dirname(name.replace(os.sep, "/"))
        sizes: dict[VrtPart, Size] = {}
        total = height = 0
        for part in parts_of(text, name):
            if part not in sizes:
                sizes[part] = self._part(part, folder)
            total, height = total + sizes[part].files, max(height, sizes[part].levels)
            self._check(total, len(self._open) + height, name)
        self._open.pop()
        return Size(total, height + 1)

    def _check(self, files: int, levels: int, name: str) -> None:
        if levels > MOST_DEPTH:
            what = f"VRTs of VRTs, more than {MOST_DEPTH} inside one another (one is {name})"
        elif files > MOST_PARTS:
            what = f"more than {MOST_PARTS:,} files, each counted as often as it is named"
        else:
            return
        raise SourceError(f"{self.source} is a VRT of {what}; make one file of it with gdal_translate.")

    def _part(self, part: VrtPart, folder: str) -> Size:
        if part.name.startswith("<"):
            return self._inline(part.name)
        if part.name.lower().startswith("vrt://"):
            return self._part(part._replace(name=part.name[6:].partition("?")[0]), folder)
        place = _place(part, folder)
        if part.raw and not _inside(place, folder):
            raise SourceError(
                f"{self.source} is a VRT that reads bare bytes of {part.name}, which is not beside or below it; move "
                "the file there."
            )
        if is_remote(place) and not self.reaches:
            raise self.network.refusal(self.source, part.name)
        if is_remote(place) and not place.partition("?")[0].endswith(".vrt"):
            return ONE  # to look into each would be a request each
        if ":" in part.name or place.startswith("/vsi"):
            for around in {folder if part.relative else "", ""}:
                check_waits(part.name, folder=Path(around))
        if place.startswith("/vsi") or is_remote(place):
            text = self.inside(place)
            return ONE if text is None else self.text(text, place)
        return self.file(Path(place)) if os.path.lexists(place) else ONE  # GDAL says what is missing, when it is read

    def _inline(self, text: str) -> Size:
        """A source that is no name but XML."""
        if _ROOT.decode() in text:
            return self.text(text.encode(), f"XML inside {self._open[-1]}, {len(text)} letters")
        if not self.reaches and (describes_service(text.encode()) or is_remote(text)):
            raise self.network.refusal(self.source, text.partition(">")[0] + ">")
        return ONE


def _odd_names(folder: Path) -> list[str]:
    """What is neither a file nor a folder among the names that GDAL looks at."""
    with suppress(OSError), os.scandir(folder) as entries:
        return [e.name for e in islice(entries, _MOST_BESIDE) if not e.is_file() and not e.is_dir()]
    return []


def head_of(path: Path) -> bytes:
    """The first bytes of a regular file.

    Raises:
        SourceError: it is a pipe or a device, which would be waited for without end.
    """
    why = trouble(path)
    if why is not None and "not a file" in why and not path.is_dir():
        raise SourceError(f"{path} {why}; save what it holds as a file.")
    if why is not None:  # also of a folder; GDAL says what is wrong
        return b""
    with path.open("rb") as file:
        return file.read(HEAD)


def parts_of(text: bytes, name: str) -> list[VrtPart]:
    """The files that a VRT names, in order, as often as it names them.

    Raises:
        SourceError: it is damaged, holds definitions of its own, or computes pixels by Python.
    """
    plain = _plain_parts(text)
    if plain is not None:
        return plain
    reader = _PartsReader(name)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.CommentHandler = parser.ProcessingInstructionHandler = reader.interrupted
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        text.decode("utf-8")
        parser.Parse(text.strip(b"\0 \t\r\n"), True)
    except UnicodeDecodeError as error:  # of which GDAL's messages get lost, and pixels are zeros without a word
        raise SourceError(f"{name} is a VRT that is not UTF-8 text ({brief(error)}); make it anew.") from error
    except expat.ExpatError as error:
        raise SourceError(f"{name} is a damaged VRT ({brief(error)}); make it anew.") from error
    return reader.parts


def texts_of(xml: bytes) -> list[str]:
    """Texts of elements and values of attributes, as a parser understands them, each once.

    Raises:
        ValueError: it is no XML, or defines entities, which GDAL knows nothing of.
    """
    found: dict[str, None] = {}
    open_texts: list[list[str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        interrupted()
        found.update(dict.fromkeys(attributes.values()))
        open_texts.append([""])

    def data(text: str) -> None:
        open_texts[-1][-1] += text

    def interrupted(*_: str) -> None:
        if open_texts:
            open_texts[-1].append("")

    def end(name: str) -> None:
        texts = open_texts.pop()
        found.update(dict.fromkeys(("".join(texts), *texts)))

    def entity(*_: object) -> None:
        raise ValueError("it defines entities")

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.CommentHandler = parser.ProcessingInstructionHandler = interrupted
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(xml.strip(b"\0 \t\r\n"), True)
    except expat.ExpatError as error:
        raise ValueError(brief(error)) from error
    return [text for text in found if text.strip()]


def _plain_parts(text: bytes) -> list[VrtPart] | None:
    """The parts where a glance is enough, ten times as fast: every mention of a file is an element of its own.

    None where there is anything else that names a file, or that could be read in two ways.
    """
    if any(words in text for words in (b"<!", b"&", b"\0")) or text.find(b"<?", 1) > 0 or not text.isascii():
        return None
    lower = text.lower()
    if any(word in lower for word in _UNUSUAL):
        return None
    found = _PLAIN.findall(text)
    if not 2 * len(found) == lower.count(b"sourcefilename") == lower.count(b"filename"):
        return None
    return [VrtPart(name.decode().strip(), flag == b"1", False) for flag, name in found if name.strip()]


@dataclass
class _Element:
    """One that is open: its name and attributes in lower case, and its pieces of text."""

    name: str
    attributes: dict[str, str]
    texts: list[str] = field(default_factory=lambda: [""])


class _PartsReader:
    """Gathers the parts from an XML parser's events; where GDAL might read differently, both readings count."""

    def __init__(self, name: str) -> None:
        self.parts: list[VrtPart] = []
        self._name = name
        self._open: list[_Element] = []
        self._raw = 0
        """Depth of the raw band that is open, from 1."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._open:
            self.interrupted()
        own = {key.lower(): value for key, value in attributes.items()}
        self._open.append(_Element(name.lower(), own))
        if own.get("subclass", "").lower() == "vrtrawrasterband":
            self._raw = self._raw or len(self._open)
        for key, value in own.items():
            if key in _FILES:
                self._add(value, relative=True)
                self._add(value, relative=False)
            elif key == "pixelfunctionlanguage":
                self._check_language(value)

    def data(self, text: str) -> None:
        self._open[-1].texts[-1] += text

    def interrupted(self, *_: str) -> None:
        """A comment or an element inside a text, which GDAL may take for its end."""
        if self._open:
            self._open[-1].texts.append("")

    def doctype(self, *_: object) -> None:
        raise SourceError(
            f"{self._name} is a VRT with definitions of its own (DOCTYPE), which none needs; make it anew."
        )

    def end(self, name: str) -> None:
        element = self._open.pop()
        if len(self._open) < self._raw:
            self._raw = 0
        if element.name == "pixelfunctionlanguage":
            self._check_language("".join(element.texts))
        elif element.name in _FILES or (element.name in ("argument", "mdi") and _KEYED.search(_key(element))):
            relative = element.attributes.get("relativetovrt", "0").strip().lower()
            for text in dict.fromkeys(("".join(element.texts), *element.texts)):
                self._add(text, relative=relative not in ("", "0", "no", "off", "false"))

    def _check_language(self, language: str) -> None:
        if language.strip().lower() == "python":
            raise SourceError(f"{self._name} is a VRT that computes pixels by Python code, which is never run.")

    def _add(self, text: str, *, relative: bool) -> None:
        if text.strip():
            self.parts.append(VrtPart(text.strip(), relative, bool(self._raw)))


def _key(element: _Element) -> str:
    return element.attributes.get("name", "").lower() or element.attributes.get("key", "").lower()


def _place(part: VrtPart, folder: str) -> str:
    """Where a part is."""
    name = part.name
    if is_remote(name) or name.startswith("/vsi") or os.path.isabs(name):
        return name
    if part.relative:
        return posixpath.join(folder, name)
    return os.path.abspath(name)


def _inside(place: str, folder: str) -> bool:
    """Whether a place is in a folder or below it."""
    if place.startswith("/vsi") or is_remote(place):
        return ".." not in place.split("/") and place.startswith(f"{folder}/")
    return os.path.realpath(place).replace(os.sep, "/").startswith(f"{folder.rstrip('/')}/")
