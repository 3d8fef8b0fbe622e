"""A map as a STAC Item: where and when, its files and classes, for catalogues and the programs that read them.

https://github.com/radiantearth/stac-spec, with the extensions projection and classification.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from earthwords.files.atomic import writing
from earthwords.files.plaintext import write_json
from earthwords.files.source_date import source_date
from earthwords.geo.grids.footprints import footprints
from earthwords.types import Grid, Vocabulary, Window

EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
}
UNKNOWN_DAY = "The scene does not tell when it was taken: item.json bears the time of the processing."
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_GPKG = "application/geopackage+sqlite3"
ASSETS = {
    "labels": (_COG, "data", "Classes"),
    "probabilities": (_COG, "data", "Probabilities of the classes"),
    "polygons": (_GPKG, "data", "Polygons"),
    "instances": (_GPKG, "data", "Counted things"),
    "zones": (_GPKG, "data", "Figures of zones"),
    "preview": ("image/png", "overview", "Picture"),
    "report": ("application/json", "metadata", "Report"),
}
"""Kind of output to media type, role and title."""


def save_item(
    path: Path,
    *,
    grid: Grid,
    outputs: Mapping[str, Path],
    vocabulary: Vocabulary,
    tags: Mapping[str, str],
    taken: datetime | None,
    made: datetime | None,
) -> None:
    """Write the Item of a map; its files lie beside it.

    Args:
        path: where it is made.
        grid: of the map.
        outputs: kind to path; those of `ASSETS` become assets.
        vocabulary: of the labels.
        tags: `EARTHWORDS_...` to text: how the map was made.
        taken: when the day of the scene begins; None: it is not known.
        made: the time that outputs tell; None: SOURCE_DATE_EPOCH of the environment, or now.

    Raises:
        OutputError: it cannot be written.
    """
    import pystac

    now = (made or source_date() or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    shape = footprints(grid, [Window(row=0, col=0, height=grid.height, width=grid.width)])[0]
    item = pystac.Item(
        id=_name(tags),
        geometry=None if shape is None else shape.__geo_interface__,
        bbox=None if shape is None else list(shape.bounds),
        datetime=taken or now,
        start_datetime=taken,
        end_datetime=None if taken is None else taken + timedelta(days=1, seconds=-1),
        properties={
            "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **_place(grid),
            **{f"earthwords:{key.removeprefix('EARTHWORDS_').lower()}": value for key, value in tags.items()},
            "earthwords:datetime": "processing" if taken is None else "acquisition",
        },
        stac_extensions=list(EXTENSIONS.values()),
    )
    for kind, (media, role, title) in ASSETS.items():
        if kind in outputs:
            more = {"classification:classes": classes_of(vocabulary)} if kind == "labels" else {}
            asset = pystac.Asset(
                f"./{outputs[kind].name}", title=title, media_type=media, roles=[role], extra_fields=more
            )
            item.add_asset(kind, asset)
    with writing(path):
        write_json(path, item.to_dict(include_self_link=False, transform_hrefs=False), indent=2)


def day_of(taken: str | None) -> datetime | None:
    """When a day, `YYYY-MM-DD`, begins; None: there is no such day."""
    try:
        return None if taken is None else datetime.fromisoformat(taken).replace(tzinfo=UTC)
    except ValueError:
        return None


def classes_of(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """`classification:classes` of a raster of labels."""
    found = [
        {
            "value": label,
            "name": re.sub(r"[^0-9A-Za-z_-]+", "-", each.title).strip("-") or f"class-{label}",
            "title": each.title,
            "description": each.described,
            "color_hint": "{:02X}{:02X}{:02X}".format(*each.colour),
        }
        for label, each in enumerate(vocabulary.classes)
    ]
    return [*found, {"value": vocabulary.nodata, "name": "nodata", "title": "No class", "nodata": True}]


def _name(tags: Mapping[str, str]) -> str:
    """Of the scene, and of how the map was made: two maps of a scene are two items."""
    scene = Path(tags.get("EARTHWORDS_SOURCE", "map").split("?")[0]).stem or "map"
    made = hashlib.sha256(repr(sorted(tags.items())).encode()).hexdigest()[:8]
    return f"{scene}-{made}"


def _place(grid: Grid) -> dict[str, Any]:
    found: dict[str, Any] = {"proj:shape": [grid.height, grid.width], "proj:transform": list(grid.transform)[:6]}
    if grid.crs is None:
        return {**found, "proj:code": None}
    authority = grid.crs.to_authority(min_confidence=100)
    if authority is None:
        return {**found, "proj:code": None, "proj:wkt2": grid.crs.to_wkt()}
    return {**found, "proj:code": ":".join(authority), "proj:bbox": list(grid.bounds)}
