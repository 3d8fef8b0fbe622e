"""What the values of a class raster mean: names, synonyms and colours, from whatever the file tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import rasterio.shutil
from rasterio.io import DatasetReader, MemoryFile

from earthwords.errors import UsageError, brief
from earthwords.files.plaintext import Unreadable, read_names, read_text
from earthwords.files.reading import parse_json
from earthwords.types import Colour

VOCABULARY = "EARTHWORDS_VOCABULARY"
"""Tag of our own maps: `name,synonym (read as); name; ...`."""
_CLASS_TAG = re.compile(r"CLASS_(\d+)")
_NAME_USE, _MIN, _MAX, _MIN_MAX = 2, 3, 4, 5
"""`GFU_Name`, `GFU_Min`, `GFU_Max`, `GFU_MinMax` of GDAL's attribute tables."""
_NAME_COLUMNS = ("class_name", "class_names", "classname", "class", "name", "label", "landcover")
_VALUE_COLUMNS = ("value", "id", "code")


@dataclass(frozen=True, kw_only=True)
class ValueName:
    """What one value of a class raster means."""

    names: tuple[str, ...]
    """Synonyms; the first one is the title."""
    colour: Colour | None = None

    @property
    def title(self) -> str:
        return self.names[0]


def names_of(dataset: DatasetReader) -> dict[int, ValueName]:
    """Value to its names, from the tags of our own maps, category names or an attribute table; may be empty."""
    tags = dataset.tags()
    numbers = {key: int(m[1]) for key in tags if (m := _CLASS_TAG.fullmatch(key))}
    found: dict[int, tuple[str, ...]] = {number: (tags[key].strip(),) for key, number in numbers.items()}
    band = None if found else _described(dataset)
    if band is not None:
        found = _categories(band) or _attributes(band)
    found = {value: names for value, names in found.items() if names[0]}
    if VOCABULARY in tags:
        found = _with_synonyms(found, tags[VOCABULARY])
    colours: dict[int, tuple[int, ...]] = {}
    with suppress(ValueError):  # no colour table
        colours = dataset.colormap(1)
    return {value: ValueName(names=names, colour=_rgb(colours.get(value))) for value, names in found.items()}


def read_value_names(path: str | Path) -> dict[int, ValueName]:
    """Names that the user gives: a text file, one class a line from value 0, or JSON such as `{"1": "ship,boat"}`.

    Raises:
        UsageError: it cannot be read, or says something else.
    """
    try:
        if Path(path).suffix.lower() != ".json":
            lines = read_names(path)
            table: Mapping[str, object] = {str(i): line for i, line in enumerate(lines) if line}
        else:
            table = parse_json(read_text(path))
    except (Unreadable, OSError, ValueError) as error:
        raise UsageError(f"Cannot read the class names in {path}: {brief(error)}.") from error
    wrong = f'{path} must hold one class a line, or be JSON such as {{"1": "ship,boat"}}.'
    if not isinstance(table, dict) or not table:
        raise UsageError(wrong)
    found = {}
    for value, text in table.items():
        names = tuple(filter(None, (" ".join(word.split()) for word in str(text).split(","))))
        if not re.fullmatch(r"-?\d{1,18}", value) or not isinstance(text, str) or not names:
            raise UsageError(wrong)
        found[int(value)] = ValueName(names=names)
    return found


def _with_synonyms(found: Mapping[int, tuple[str, ...]], vocabulary: str) -> dict[int, tuple[str, ...]]:
    """The same with the synonyms that the words of the map tell."""
    told = {}
    for part in vocabulary.split("; "):
        names = tuple(filter(None, (word.strip() for word in re.sub(r" \(.*\)$", "", part).split(","))))
        if names:
            told[names[0]] = names
    return {value: told.get(names[0], names) for value, names in found.items()}


def _described(dataset: DatasetReader) -> Element | None:
    """The first band as a VRT describes it, which alone tells category names and attribute tables."""
    with suppress(Exception), MemoryFile(ext=".vrt") as memory:  # GDAL's own classes; without it values have no names
        rasterio.shutil.copy(dataset, memory.name, driver="VRT")
        return ElementTree.fromstring(memory.read()).find("VRTRasterBand")
    return None


def _categories(band: Element) -> dict[int, tuple[str, ...]]:
    return {i: ((entry.text or "").strip(),) for i, entry in enumerate(band.iterfind("CategoryNames/Category"))}


def _attributes(band: Element) -> dict[int, tuple[str, ...]]:
    """Of a raster attribute table: its column of values (by use, or by name) and its column of names."""
    table = band.find("GDALRasterAttributeTable")
    if table is None:
        return {}
    columns = [
        (entry.findtext("Name", "").strip().lower(), int(entry.findtext("Usage", "0") or 0))
        for entry in table.iterfind("FieldDefn")
    ]
    names = _column(columns, (_NAME_USE,), _NAME_COLUMNS)
    values = _column(columns, (_MIN_MAX, _MIN, _MAX), _VALUE_COLUMNS)
    if names is None:
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for row in table.iterfind("Row"):
        cells = [(cell.text or "").strip() for cell in row.iterfind("F")]
        with suppress(ValueError, IndexError):
            value = float(row.get("index", "")) if values is None else float(cells[values])
            if value.is_integer():
                found[int(value)] = (cells[names],)
    return found


def _column(columns: list[tuple[str, int]], uses: tuple[int, ...], names: tuple[str, ...]) -> int | None:
    by_use = [i for use in uses for i, (_, own) in enumerate(columns) if own == use]
    by_name = [i for name in names for i, (own, _) in enumerate(columns) if own == name]
    return next(iter((*by_use, *by_name)), None)


def _rgb(colour: tuple[int, ...] | None) -> Colour | None:
    return None if colour is None else (int(colour[0]), int(colour[1]), int(colour[2]))
