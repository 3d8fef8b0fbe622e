"""QGIS styles name and colour every class."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from earthwords.errors import UsageError
from earthwords.geo.styles import write_polygons_qml, write_qml
from earthwords.types import Vocabulary


def test_the_raster_style_has_an_entry_per_label(tmp_path: Path, vocabulary: Vocabulary) -> None:
    write_qml(tmp_path / "labels.qml", vocabulary)
    root = ElementTree.parse(tmp_path / "labels.qml").getroot()
    renderer = root.find("pipe/rasterrenderer")
    assert root.tag == "qgis"
    assert renderer is not None
    assert renderer.attrib["type"] == "paletted"
    entries = [(e.get("value"), e.get("color"), e.get("label"), e.get("alpha")) for e in renderer.iter("paletteEntry")]
    assert entries == [
        ("0", "#dc3c32", "building", "255"),
        ("1", "#787882", "road", "255"),
        ("2", "#1f77dc", "water & ice", "255"),
    ]


def test_the_polygon_style_has_a_symbol_per_class(tmp_path: Path, vocabulary: Vocabulary) -> None:
    write_polygons_qml(tmp_path / "polygons.qml", vocabulary)
    renderer = ElementTree.parse(tmp_path / "polygons.qml").getroot().find("renderer-v2")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class")
    by_value = {entry.get("value"): entry.get("symbol") for entry in renderer.iter("category")}
    assert list(by_value) == ["building", "road", "water & ice"]
    symbol = renderer.find(f"symbols/symbol[@name='{by_value['road']}']")
    assert symbol is not None
    colours = [option.get("value") for option in symbol.iter("Option") if option.get("name") == "color"]
    assert colours == ["120,120,130,150"]


def test_it_starts_as_qgis_starts_its_own(tmp_path: Path, vocabulary: Vocabulary) -> None:
    write_qml(tmp_path / "labels.qml", vocabulary)
    assert (tmp_path / "labels.qml").read_text(encoding="utf-8").startswith("<!DOCTYPE qgis PUBLIC")


def test_an_existing_style_needs_overwrite(tmp_path: Path, vocabulary: Vocabulary) -> None:
    write_qml(tmp_path / "labels.qml", vocabulary)
    with pytest.raises(UsageError, match="exists"):
        write_qml(tmp_path / "labels.qml", vocabulary)
    write_qml(tmp_path / "labels.qml", vocabulary, overwrite=True)
