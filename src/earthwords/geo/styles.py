"""QGIS styles: a file `labels.qml` beside `labels.tif` is applied when the raster is opened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from earthwords.files.atomic import atomic_path
from earthwords.types import Colour, Vocabulary

_VERSION = "3.22.0-Białowieża"
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_OUTLINE = (35, 35, 35)
_FILL_ALPHA = 150


def write_qml(path: str | Path, vocabulary: Vocabulary, *, overwrite: bool = False) -> None:
    """Style of a labels raster: each label in its colour, under its title; nodata is transparent.

    Raises:
        UsageError, OutputError: as `check_output`.
    """
    root = _root()
    pipe = SubElement(root, "pipe")
    renderer = SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    SubElement(renderer, "rasterTransparency")
    palette = SubElement(renderer, "colorPalette")
    for label, entry in enumerate(vocabulary.classes):
        SubElement(
            palette,
            "paletteEntry",
            value=str(label),
            color="#{:02x}{:02x}{:02x}".format(*entry.colour),
            label=entry.title,
            alpha="255",
        )
    SubElement(pipe, "rasterresampler", maxOversampling="2")
    _write(path, root, overwrite=overwrite)


def write_polygons_qml(
    path: str | Path, vocabulary: Vocabulary, *, points: bool = False, overwrite: bool = False
) -> None:
    """Style of polygons: filled by their `class` column, with a thin outline.

    Args:
        points: of points instead, as dots.

    Raises:
        UsageError, OutputError: as `check_output`.
    """
    root = _root()
    renderer = SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr="class", symbollevels="0", enableorderby="0"
    )
    categories = SubElement(renderer, "categories")
    symbols = SubElement(renderer, "symbols")
    for label, entry in enumerate(vocabulary.classes):
        SubElement(categories, "category", value=entry.title, label=entry.title, symbol=str(label), render="true")
        _add_symbol(symbols, name=str(label), colour=entry.colour, point=points)
    _write(path, root, overwrite=overwrite)


def _root() -> Element:
    return Element("qgis", version=_VERSION, styleCategories="Symbology")


def _add_symbol(symbols: Element, *, name: str, colour: Colour, point: bool = False) -> None:
    kind, look = ("marker", "SimpleMarker") if point else ("fill", "SimpleFill")
    symbol = SubElement(symbols, "symbol", type=kind, name=name, alpha="1", clip_to_extent="1")
    layer = SubElement(symbol, "layer", {"class": look, "enabled": "1", "locked": "0", "pass": "0"})
    settings = {
        "color": _rgba(colour, 255 if point else _FILL_ALPHA),
        "style": "solid",
        "outline_color": _rgba(_OUTLINE, 255),
        "outline_style": "solid",
        "outline_width": "0.2",
        "outline_width_unit": "MM",
        **({"name": "circle", "size": "2.4", "size_unit": "MM"} if point else {}),
    }
    options = SubElement(layer, "Option", type="Map")
    for key, value in settings.items():
        SubElement(options, "Option", type="QString", name=key, value=value)
        SubElement(layer, "prop", k=key, v=value)


def _rgba(colour: Iterable[int], alpha: int) -> str:
    return ",".join(str(part) for part in (*colour, alpha))


def _write(path: str | Path, root: Element, *, overwrite: bool) -> None:
    ElementTree.indent(root)
    text = _DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n"
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
