"""Which three bands of a raster become red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from earthwords.errors import UsageError, unknown

RGB = ("red", "green", "blue")

DESCRIPTIONS: tuple[tuple[tuple[str, str, str], str], ...] = (
    (RGB, ""),
    (("r", "g", "b"), ""),
    (("b04", "b03", "b02"), "as in Sentinel-2"),
    (("b4", "b3", "b2"), "as in Sentinel-2 and Landsat 8"),
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


def bands_of(dataset: DatasetReader) -> tuple[Band, ...]:
    """All bands of an open raster, in file order."""
    return tuple(
        Band(number=i + 1, role=role.name.lower(), description=(text or "").strip())
        for i, (role, text) in enumerate(zip(_roles(dataset), dataset.descriptions, strict=True))
    )


def alpha_band(dataset: DatasetReader) -> int | None:
    """Number of the band that holds transparency, if any."""
    roles = _roles(dataset)
    return roles.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in roles else None


def _roles(dataset: DatasetReader) -> tuple[ColorInterp, ...]:
    """A remark of GDAL about the CRS, made at opening, is raised by the first call after it; the next one works."""
    try:
        return tuple(dataset.colorinterp)
    except CPLE_BaseError:
        return tuple(dataset.colorinterp)


def choose_bands(bands: Sequence[Band], wanted: Sequence[int | str] | None = None) -> BandChoice:
    """Three bands out of `bands`.

    `wanted` holds numbers (1-based) or names, and may repeat a band. Without it: the colour
    interpretation, else well-known descriptions, else a colour table, else the first three bands.

    Raises:
        UsageError: `wanted` names no such band or not three of them, or the raster has fewer than three.
    """
    if wanted is not None:
        return _choose_wanted(bands, wanted)
    colours = [band for band in bands if band.role != "alpha"]
    choice = _by_role(colours) or _by_description(colours) or _by_palette(colours)
    return choice or _first_three(colours)


def _choose_wanted(bands: Sequence[Band], wanted: Sequence[int | str]) -> BandChoice:
    chosen = [_find(bands, item) for item in wanted]
    if len(chosen) != 3:
        listed = ",".join(str(item) for item in wanted) or "none"
        raise UsageError(f"Three bands are needed (red, green, blue), got {len(chosen)}: {listed}. {_hint(chosen)}")
    return _as_choice(chosen, why="as asked")


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
    why = "by their colour interpretation"
    return _as_choice(chosen, why=why, names=RGB, quiet=[band.number for band in chosen] == [1, 2, 3])


def _by_description(bands: Sequence[Band]) -> BandChoice | None:
    described = {band.description.lower(): band for band in reversed(bands)}
    for names, sensor in DESCRIPTIONS:
        if all(name in described for name in names):
            chosen = [described[name] for name in names]
            why = f"by their names {', '.join(band.description for band in chosen)}"
            return _as_choice(chosen, why=f"{why} ({sensor})" if sensor else why, names=RGB)
    return None


def _by_palette(bands: Sequence[Band]) -> BandChoice | None:
    if len(bands) != 1 or bands[0].role != "palette":
        return None
    note = "One band with a colour table, read as the colours of that table."
    return BandChoice(numbers=(bands[0].number,) * 3, names=RGB, through_palette=True, notes=(note,))


def _first_three(bands: Sequence[Band]) -> BandChoice:
    if len(bands) < 3:
        has = "1 band" if len(bands) == 1 else f"{len(bands)} bands"
        raise UsageError(f"The raster has {has} and three are needed (red, green, blue). {_hint(bands)}")
    return _as_choice(bands[:3], why="the first three, as the file does not say which they are")


def _hint(bands: Sequence[Band]) -> str:
    numbers = [band.number for band in bands[:3]] or [1]
    filled = ",".join(str(number) for number in (numbers + [numbers[-1]] * 3)[:3])
    return f"Choose them, repeating one if need be, for example --bands {filled}."


def _as_choice(chosen: Sequence[Band], *, why: str, names: tuple[str, ...] = (), quiet: bool = False) -> BandChoice:
    first, second, third = (band.number for band in chosen)
    names = names or tuple(band.name for band in chosen)
    if first == second == third:
        note = f"Band {first} repeated three times as red, green, blue ({why})."
    else:
        note = f"Bands {first},{second},{third} chosen as red, green, blue ({why})."
    return BandChoice(numbers=(first, second, third), names=names, notes=() if quiet else (note,))
