"""Which three bands of a raster become red, green and blue."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from earthwords.errors import UsageError, unknown
from earthwords.files.reading import read_bytes
from earthwords.geo.sensors import SENSORS, Sensor, code_of, find_sensor, is_position
from earthwords.geo.sources.gdal_dataset import GDAL_ERRORS, legible

RGB = ("red", "green", "blue")
UNLIKE = -0.2
"""Correlation of two bands below which they are no two of red, green and blue: over land and water these rise and fall
together, while infrared bands rise over plants where red falls."""
Bands = Sequence[int | str] | str
"""Three numbers or names, the name of a sensor, or such names and numbers separated by commas."""

_TM = ("sr_b3", "sr_b2", "sr_b1")
DESCRIPTIONS: tuple[tuple[tuple[str, str, str], str], ...] = (
    (RGB, ""),
    (("r", "g", "b"), ""),
    (("b04", "b03", "b02"), "as in Sentinel-2"),
    (("b4", "b3", "b2"), "as in Sentinel-2 and Landsat 8"),
    (_TM, "as in Landsat 4 to 7"),
    (("sr_b4", "sr_b3", "sr_b2"), "as in Landsat 8"),
)
"""Band descriptions taken for red, green and blue, and the sensor that names them so."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """What a raster says about one of its bands."""

    number: int
    """1-based, GDAL's counting."""
    role: str
    """Colour interpretation in lower case, such as `"red"`, `"alpha"`, `"palette"`, `"undefined"`."""
    description: str
    """Free text in the file, possibly empty."""

    @property
    def name(self) -> str:
        """The description, else the colour, else `"band N"`."""
        return self.description or (self.role if self.role in RGB else f"band {self.number}")


@dataclass(frozen=True, kw_only=True)
class BandChoice:
    """Three bands to read as red, green, blue; a palette band counts three times."""

    numbers: tuple[int, int, int]
    names: tuple[str, ...]
    through_palette: bool = False
    """The one band holds indices of the colour table, which gives the three colours."""
    notes: tuple[str, ...] = ()
    sensor: str | None = None
    """The sensor that was asked for: a name of `SENSORS`."""
    parts: tuple[str, str, str] = ("", "", "")
    """What the three show as far as the file or the sensor tells, such as `"red"` or `"nir"`, `"nir/pan"` for one of
    them; else empty."""

    @property
    def repeated(self) -> bool:
        """Whether one band stands for all three colours, which makes a grey picture."""
        return len(set(self.numbers)) == 1 and not self.through_palette

    @property
    def true_colour(self) -> bool | None:
        """Whether the three are red, green and blue; None: nobody says."""
        if self.through_palette:
            return True
        coloured = [(part.split("/"), colour) for part, colour in zip(self.parts, RGB, strict=True) if part]
        if len(set(self.numbers)) < 3 or any(colour not in parts for parts, colour in coloured):
            return False
        return True if self.parts == RGB else None


def likeness(data: NDArray[Any], valid: NDArray[np.bool_]) -> float | None:
    """The lowest correlation of two of three bands, -1..1; None where one of them is the same everywhere.

    Args:
        data: `(3, row, col)`.
        valid: `(row, col)`; of at most 128 rows and columns, evenly spread, these pixels are looked at.
    """
    rows, cols = (slice(None, None, -(-side // 128)) for side in valid.shape)
    values = data[:, rows, cols][:, valid[rows, cols]].astype(np.float64)
    if values.shape[1] < 3:
        return None
    with np.errstate(all="ignore"):  # values beyond all measure, which are refused elsewhere
        lowest = float(np.corrcoef(values).min())
    return lowest if np.isfinite(lowest) else None


def bands_of(dataset: DatasetReader) -> tuple[Band, ...]:
    """All bands of an open raster, in file order."""
    return tuple(
        Band(number=i + 1, role=role.name.lower(), description=(text or "").strip())
        for i, (role, text) in enumerate(zip(_roles(dataset), descriptions_of(dataset), strict=True))
    )


def descriptions_of(dataset: DatasetReader) -> tuple[str | None, ...]:
    """rasterio reads them as UTF-8 or not at all; a VRT of the file has the bytes that older software wrote."""
    try:
        return tuple(dataset.descriptions)
    except UnicodeDecodeError:
        pass
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "bands.vrt")
            rasterio.shutil.copy(dataset, copy, driver="VRT")
            text = read_bytes(copy).decode("latin-1")  # which keeps every byte
        bands = ElementTree.fromstring(text).findall("VRTRasterBand")
    except (*GDAL_ERRORS, ElementTree.ParseError):
        return (None,) * int(dataset.count)
    return tuple(legible(band.findtext("Description", "").encode("latin-1")) for band in bands)


def alpha_band(dataset: DatasetReader) -> int | None:
    """Number of the band that holds transparency, if any."""
    roles = _roles(dataset)
    return roles.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in roles else None


def without_roles(bands: Sequence[Band]) -> tuple[Band, ...]:
    """The same bands without the colours that GDAL gives to four bands of bytes, and without transparency."""
    made_up = [band.role for band in bands] == [*RGB, "alpha"]
    return tuple(replace(band, role="undefined") if made_up or band.role == "alpha" else band for band in bands)


def named_sensor(wanted: Bands | None) -> Sensor | None:
    """The sensor that was asked for, if one was."""
    items = () if wanted is None else as_items(wanted)
    return find_sensor(str(items[0])) if len(items) == 1 else None


def shows_spectrum(band: Band) -> bool:
    """Whether a band's name is that of a part of the spectrum."""
    code = code_of(band.description)
    return any(row.part(code) for row in SENSORS.values())


def _roles(dataset: DatasetReader) -> tuple[ColorInterp, ...]:
    """A remark of GDAL about the CRS, made at opening, is raised by the first call after it; the next one works."""
    try:
        return tuple(dataset.colorinterp)
    except GDAL_ERRORS:
        return tuple(dataset.colorinterp)


def choose_bands(bands: Sequence[Band], wanted: Bands | None = None) -> BandChoice:
    """Three bands out of `bands`.

    `wanted` holds numbers (1-based) or names, and may repeat a band, or it names a sensor of `SENSORS`. Without it: the
    names of the bands where they are well known, else the colour interpretation, else a colour table, else the first
    three bands; a single band is repeated.

    Raises:
        UsageError: `wanted` names no such band or not three of them, the bands are not those of the sensor, or the
            raster has two bands.
    """
    if wanted is not None:
        row = named_sensor(wanted)
        return _choose_wanted(bands, as_items(wanted)) if row is None else _by_sensor(bands, row)
    colours = [band for band in bands if band.role != "alpha"]
    by_role, by_name = _by_role(colours), _by_description(colours)
    if by_role is not None and by_name is not None and by_role.numbers == by_name.numbers:
        by_name = None
    return by_name or by_role or _by_palette(colours) or _first_three(colours)


def as_items(wanted: Bands) -> tuple[int | str, ...]:
    """Numbers and names one by one: `"4,3,2"` as `(4, 3, 2)`."""
    if not isinstance(wanted, str):
        return (wanted,) if isinstance(wanted, int) else tuple(wanted)
    return tuple(int(part) if part.strip().isdigit() else part.strip() for part in wanted.split(","))


def _choose_wanted(bands: Sequence[Band], wanted: Sequence[int | str]) -> BandChoice:
    if len(wanted) == 1 and not _is_number(wanted[0]):
        known = {name for band in bands for name in (band.description.lower(), band.role) if name} - {"undefined"}
        if str(wanted[0]).strip().lower() not in known:
            raise unknown("band or sensor", str(wanted[0]), known | set(SENSORS))
    chosen = [_find(bands, item) for item in wanted]
    if len(chosen) != 3:
        listed = ",".join(str(item) for item in wanted) or "none"
        raise UsageError(f"Three bands are needed (red, green, blue), got {len(chosen)}: {listed}. {_hint(chosen)}")
    return _as_choice(chosen, why="as asked", parts=_parts(bands))


def _is_number(item: int | str) -> bool:
    return str(item).strip().lstrip("+-").isdigit()


def _by_sensor(bands: Sequence[Band], row: Sensor) -> BandChoice:
    """What a sensor's row says: by the names of the bands, else by their colours, else by their order."""
    colours = [band for band in bands if band.role != "alpha"]
    named = [band for band in colours if not is_position(band.description, band.number, letter=False)]
    found = {colour: [band for band in named if row.part(code_of(band.description)) == colour] for colour in RGB}
    if all(found.values()):
        return _as_sensor(row, [_only(colour, found[colour]) for colour in RGB], named)
    if not all(is_position(band.description, band.number) for band in colours):
        listed = ", ".join(band.description for band in named[:8]) + (", ..." if len(named) > 8 else "")
        missing = ", ".join(colour for colour in RGB if not found[colour])
        raise UsageError(
            f"The bands are named {listed}, of which none is the {missing} of {row.name}; name another sensor, or the "
            "bands by number, such as --bands 3,2,1."
        )
    by_role = _by_role(colours)
    if by_role is not None:
        note = f"{_chosen(by_role.numbers)} ({row.name}, by their colour interpretation)."
        return replace(by_role, sensor=row.name, notes=(note,))
    order = row.order(len(colours))
    if order is None:
        counts = ", ".join(sorted({str(len(order.split())) for order in row.orders}, key=int))
        raise UsageError(
            f"The raster has {_counted(colours)} that it does not name, and {row.name} comes with {counts}; "
            f"name the bands by number, such as --bands {'3,2,1' if len(colours) > 2 else '1,1,1'}."
        )
    chosen = [colours[order.index(colour)] for colour in RGB]
    why = f"{row.name}, by the order {' '.join(order)}, as the file does not name them"
    return _as_choice(chosen, why=why, names=RGB, parts=RGB, sensor=row.name)


def _as_sensor(row: Sensor, chosen: Sequence[Band], named: Sequence[Band]) -> BandChoice:
    """By names; a band that the sensor does not have shows that it is another one."""
    codes = {code for codes in row.codes.values() for code in codes.split()}
    for band in named:
        code = code_of(band.description)
        if codes and code not in codes and re.fullmatch(r"(?:s[rt]_)?b\d+a?", code):
            raise UsageError(
                f"Band {band.number} is named {band.description!r}, and {row.name} has no such band; name another "
                "sensor, or the bands by number, such as --bands 3,2,1."
            )
    why = f"{row.name}, by their names {', '.join(band.description for band in chosen)}"
    return _as_choice(chosen, why=why, names=RGB, parts=RGB, sensor=row.name)


def _only(colour: str, found: Sequence[Band]) -> Band:
    if len(found) > 1:
        listed = ", ".join(f"{band.number} ({band.description})" for band in found)
        raise UsageError(f"Several bands are {colour}: {listed}; choose by number, such as --bands 3,2,1.")
    return found[0]


def _find(bands: Sequence[Band], item: int | str) -> Band:
    text = str(item).strip()
    if text.lstrip("+-").isdigit():
        return _find_number(bands, int(text))
    folded = text.lower()
    matches = [band for band in bands if band.description.lower() == folded]
    matches = matches or [band for band in bands if band.role == folded]
    if len(matches) > 1:
        numbers = ", ".join(str(band.number) for band in matches)
        raise UsageError(f"Several bands are named {text!r} (numbers {numbers}); choose by number.")
    if not matches:
        known = {name for band in bands for name in (band.description.lower(), band.role) if name}
        raise unknown("band", text, (known - {"undefined"}) | {str(band.number) for band in bands})
    return matches[0]


def _find_number(bands: Sequence[Band], number: int) -> Band:
    if not 1 <= number <= len(bands):
        has = "1 band" if len(bands) == 1 else f"{len(bands)} bands"
        raise UsageError(f"Band {number} does not exist: the raster has {has}, counted from 1.")
    return bands[number - 1]


def _by_role(bands: Sequence[Band]) -> BandChoice | None:
    by_role = {band.role: band for band in reversed(bands)}
    if not all(role in by_role for role in RGB):
        return None
    chosen = [by_role[role] for role in RGB]
    quiet = [band.number for band in chosen] == [1, 2, 3]
    return _as_choice(chosen, why="by their colour interpretation", names=RGB, quiet=quiet, parts=_parts(bands))


def _by_description(bands: Sequence[Band]) -> BandChoice | None:
    described = {band.description.lower(): band for band in reversed(bands)}
    for names, sensor in DESCRIPTIONS:
        if all(name in described for name in names) and (names != _TM or _is_thematic_mapper(described)):
            chosen = [described[name] for name in names]
            why = f"by their names {', '.join(band.description for band in chosen)}"
            return _as_choice(chosen, why=f"{why} ({sensor})" if sensor else why, names=RGB, parts=RGB)
    return None


def _is_thematic_mapper(described: Container[str]) -> bool:
    """Whether surface reflectances are those of Landsat 4 to 7, which have no sixth, rather than of Landsat 8."""
    return "st_b6" in described or "sr_b4" not in described or ("sr_b7" in described and "sr_b6" not in described)


def _by_palette(bands: Sequence[Band]) -> BandChoice | None:
    if len(bands) != 1 or bands[0].role != "palette":
        return None
    note = "One band with a colour table, read as the colours of that table."
    return BandChoice(numbers=(bands[0].number,) * 3, names=RGB, through_palette=True, notes=(note,), parts=RGB)


def _first_three(bands: Sequence[Band]) -> BandChoice:
    if len(bands) == 1:
        return _as_choice(list(bands) * 3, why="the only one", parts=_parts(bands))
    if len(bands) < 3:
        raise UsageError(f"The raster has {_counted(bands)} and three are needed (red, green, blue). {_hint(bands)}")
    why = "the first three, as the file does not say which they are"
    return _as_choice(bands[:3], why=why, parts=_parts(bands))


def _parts(bands: Sequence[Band]) -> dict[int, str]:
    """Number to what the band shows, as far as its name or else its colour interpretation tells."""
    found = {}
    for band in bands:
        code = code_of(band.description)
        parts = {row.part(code) for row in SENSORS.values()} - {None}
        found[band.number] = "/".join(sorted(map(str, parts))) or (band.role if band.role in RGB else "")
    known = _by_description(bands)
    return found if known is None else found | dict(zip(known.numbers, RGB, strict=True))


def _hint(bands: Sequence[Band]) -> str:
    numbers = [band.number for band in bands[:3]] or [1]
    filled = ",".join(str(number) for number in (numbers + [numbers[-1]] * 3)[:3])
    return f"Choose them, repeating one if need be, for example --bands {filled}."


def _counted(bands: Sequence[Band]) -> str:
    return "1 band" if len(bands) == 1 else f"{len(bands)} bands"


def _chosen(numbers: Sequence[int]) -> str:
    if len(set(numbers)) == 1:
        return f"Band {numbers[0]} repeated three times as red, green, blue"
    return f"Bands {','.join(map(str, numbers))} chosen as red, green, blue"


def _as_choice(
    chosen: Sequence[Band],
    *,
    why: str,
    names: tuple[str, ...] = (),
    quiet: bool = False,
    parts: Mapping[int, str] | tuple[str, ...] = (),
    sensor: str | None = None,
) -> BandChoice:
    """A choice and the sentence about it; `parts` are those of the three, or of all bands by number."""
    first, second, third = (band.number for band in chosen)
    shown = [parts.get(band.number, "") for band in chosen] if isinstance(parts, Mapping) else list(parts)
    return BandChoice(
        numbers=(first, second, third),
        names=names or tuple(band.name for band in chosen),
        notes=() if quiet else (f"{_chosen((first, second, third))} ({why}).",),
        sensor=sensor,
        parts=(shown[0], shown[1], shown[2]),
    )
