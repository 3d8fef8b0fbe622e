"""Well-known sensors: what their bands are called, in which order files have them, what their numbers mean.

A row is data; `bands.py` chooses by it, `scene.py` applies its scale. Names of bands are compared in the form that
`code_of` gives them: `B04`, `band 4` and `T32TQM_20220125T101311_B04_10m` are all `b4`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from earthwords.errors import unknown

REFLECTIVE = {
    "coastal": "coastal_blue coastal_aerosol aerosol ultra_blue",
    "blue": "b",
    "green": "g green_ii",
    "green1": "green_i",
    "yellow": "",
    "red": "r",
    "rededge": "red_edge re rededge1 re1 rededge2 re2 rededge3 re3 rededge071 rededge075 rededge078",
    "nir": "n ir infrared near_infrared nir1 nir08 nir2 nir09 nira narrow_nir nir_narrow",
    "swir1": "swir swir16 swir_1",
    "swir2": "swir22 swir_2",
    "pan": "p panchromatic",
}
"""What any file may call a part of the spectrum (https://github.com/stac-extensions/eo#common-band-names)."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A product of a sensor: how its numbers become reflectance, `scale * number + offset`."""

    name: str
    dtypes: tuple[str, ...]
    """Of the numbers, as numpy calls them."""
    scale: float
    offset: float = 0.0
    fill: float | None = None
    """The number that means "nothing here", in files that name none."""
    pattern: str = ""
    """Pattern of the file's name, tags or band names where they tell this product; empty: it is assumed."""


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A row of `SENSORS`."""

    name: str
    also: tuple[str, ...] = ()
    """Other names of the same row."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """Part of the spectrum to the codes of its band, several separated by blanks."""
    orders: tuple[str, ...]
    """Parts of the spectrum in the order of common files without names of bands, one for a number of bands."""
    levels: tuple[Level, ...] = ()
    """Products, the first that fits counts; none: numbers have no fixed meaning."""
    fill: float | None = None
    """As `Level.fill`, of numbers that are no reflectance."""

    def order(self, count: int) -> tuple[str, ...] | None:
        """Parts of the spectrum of a file with so many bands, if there is such a product."""
        return next((tuple(order.split()) for order in self.orders if len(order.split()) == count), None)

    def part(self, code: str) -> str | None:
        """What a band of this code shows, as far as this sensor or everybody says so."""
        return next((part for part, codes in self.codes.items() if code in codes.split()), None) or common_part(code)

    def level(self, dtype: str, known: str) -> Level | None:
        """The product that numbers of this type belong to, by what is `known` of the file."""
        fitting = [level for level in self.levels if dtype in level.dtypes]
        return next((level for level in fitting if re.search(level.pattern, known, re.IGNORECASE)), None)


_OLI = {
    "coastal": "b1 sr_b1", "blue": "b2 sr_b2", "green": "b3 sr_b3", "red": "b4 sr_b4", "nir": "b5 sr_b5",
    "swir1": "b6 sr_b6", "swir2": "b7 sr_b7", "pan": "b8", "cirrus": "b9", "thermal": "b10 b11 st_b10",
}  # fmt: skip
_TM = {
    "blue": "b1 sr_b1", "green": "b2 sr_b2", "red": "b3 sr_b3", "nir": "b4 sr_b4", "swir1": "b5 sr_b5",
    "thermal": "b6 st_b6", "swir2": "b7 sr_b7", "pan": "b8",
}  # fmt: skip

# Scale and offset: https://www.usgs.gov/faqs/how-do-i-use-a-scale-factor-landsat-level-2-science-products
# Of Level 1, without the correction for the sun's height:
# https://www.usgs.gov/landsat-missions/using-usgs-landsat-level-1-data-product
# Of Collection 1 and HLS (int16): https://lpdaac.usgs.gov/documents/1698/HLS_User_Guide_V2.pdf
_LANDSAT_SR = Level(
    name="Collection 2 Level 2", dtypes=("uint16",), scale=2.75e-5, offset=-0.2, fill=0,
    pattern=r"(?:^|[_/])L2S[PR]_|SR_B\d",
)  # fmt: skip
_LANDSAT_TOA = Level(
    name="Level 1, top of the atmosphere", dtypes=("uint16",), scale=2e-5, offset=-0.1, fill=0,
    pattern=r"(?:^|[_/])L1(?:TP|GT|GS)_",
)  # fmt: skip
_LANDSAT_C1 = Level(name="Collection 1 Level 2 or HLS", dtypes=("int16",), scale=1e-4, fill=-9999)
_LANDSAT = (_LANDSAT_TOA, _LANDSAT_SR, replace(_LANDSAT_SR, pattern=""), _LANDSAT_C1)

SENSORS = {
    row.name: row
    for row in (
        # Bands: https://sentiwiki.copernicus.eu/web/s2-mission ; the offset of -1000 since processing baseline 04.00:
        # https://sentiwiki.copernicus.eu/web/s2-processing ; Earth Engine's *_HARMONIZED and others have taken it away:
        # https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED
        # Orders: Level 1C (https://github.com/phelber/EuroSAT), Level 2A has no B10, 10 m and 20 m bands
        # (https://bigearth.net), 10 m bands, HLS's six (https://huggingface.co/ibm-nasa-geospatial), true colour.
        Sensor(
            name="sentinel-2",
            also=("sentinel2", "s2", "sentinel-2-l2a", "sentinel-2-l1c"),
            codes={
                "coastal": "b1",
                "blue": "b2",
                "green": "b3",
                "red": "b4",
                "rededge": "b5 b6 b7",
                "nir": "b8 b8a",
                "vapour": "b9",
                "cirrus": "b10",
                "swir1": "b11",
                "swir2": "b12",
            },
            orders=(
                "coastal blue green red rededge rededge rededge nir nir vapour cirrus swir1 swir2",
                "coastal blue green red rededge rededge rededge nir nir vapour swir1 swir2",
                "blue green red rededge rededge rededge nir nir swir1 swir2",
                "blue green red nir swir1 swir2",
                "blue green red nir",
                "red green blue",
            ),
            levels=(
                Level(
                    name="processing baseline 04.00 or later",
                    dtypes=("uint16", "int16"),
                    scale=1e-4,
                    offset=-0.1,
                    fill=0,
                    pattern=r"_N(?:0[4-9]|[1-9]\d)\d\d_|PROCESSING_BASELINE=0?(?:[4-9]|[1-9]\d)\.",
                ),
                Level(
                    name="processing baseline before 04.00",
                    dtypes=("uint16", "int16"),
                    scale=1e-4,
                    fill=0,
                    pattern=r"_N0[0-3]\d\d_|PROCESSING_BASELINE=0?[0-3]\.",
                ),
                Level(name="without the offset of baseline 04.00", dtypes=("uint16", "int16"), scale=1e-4, fill=0),
            ),
            fill=0,
        ),
        # https://www.usgs.gov/faqs/what-are-band-designations-landsat-satellites
        # Orders: Level 1 with and without thermal bands, surface reflectance, B2 to B7, B2 to B5, true colour.
        Sensor(
            name="landsat-8",
            also=("landsat8", "landsat-9", "landsat9", "l8", "l9"),
            codes=_OLI,
            orders=(
                "coastal blue green red nir swir1 swir2 pan cirrus thermal thermal",
                "coastal blue green red nir swir1 swir2 pan cirrus",
                "coastal blue green red nir swir1 swir2",
                "blue green red nir swir1 swir2",
                "blue green red nir",
                "red green blue",
            ),
            levels=_LANDSAT,
            fill=0,
        ),
        Sensor(
            name="landsat-5",
            also=("landsat5", "landsat-4", "landsat4", "landsat-7", "landsat7", "l5", "l7"),
            codes=_TM,
            orders=(
                "blue green red nir swir1 thermal swir2",
                "blue green red nir swir1 swir2",
                "blue green red nir",
                "red green blue",
            ),
            levels=_LANDSAT,
            fill=0,
        ),
        # https://developers.google.com/earth-engine/datasets/catalog/USDA_NAIP_DOQQ
        Sensor(name="naip", orders=("red green blue nir", "red green blue")),
        # https://docs.planet.com/data/imagery/planetscope/psscene/
        Sensor(
            name="planetscope",
            also=("planet", "ps", "psscene"),
            orders=(
                "coastal blue green1 green yellow red rededge nir",
                "blue green red nir",
                "red green blue",
            ),
            levels=(
                Level(
                    name="surface reflectance",
                    dtypes=("uint16",),
                    scale=1e-4,
                    fill=0,
                    pattern=r"_SR(?:[_.\n]|$)|surface.reflectance",
                ),
            ),
            fill=0,
        ),
        # DIMAP V2 is delivered red first, B0 being blue: https://www.orfeo-toolbox.org (PleiadesImageMetadataInterface)
        Sensor(
            name="pleiades",
            also=("pléiades", "phr", "spot-6", "spot-7"),
            codes={"blue": "b0", "green": "b1", "red": "b2", "nir": "b3", "pan": "p"},
            orders=("red green blue nir", "red green blue"),
            fill=0,
        ),
    )
}
"""Name to row."""

_CODE = re.compile(r"(?:^|.*?_)((?:sr|st)_)?b(?:and)?_?0*(\d+)(a?)(?:_\d+m)?$")
_POSITION = re.compile(r"(?:band|layer|channel|ch|(b))?_?0*(\d+)$")


def formula(scale: float, offset: float) -> str:
    """Such as `0.0001 x number - 0.1`."""
    return f"{scale:g} x number" + (f" {'-' if offset < 0 else '+'} {abs(offset):g}" if offset else "")


def find_sensor(name: str) -> Sensor | None:
    """The row of a name, in any case, if there is one."""
    folded = name.strip().lower().replace("_", "-").replace(" ", "-")
    return next((row for row in SENSORS.values() if folded in (row.name, *row.also)), None)


def sensor(name: str) -> Sensor:
    """The row of a name.

    Raises:
        UsageError: there is none.
    """
    found = find_sensor(name)
    if found is None:
        raise unknown("sensor", name, SENSORS)
    return found


def plain(description: str) -> str:
    """What stands before the first comma, bracket or dash, in lower case, blanks as `_`, without a file's suffix."""
    first = re.split(r"\s*[,(:;]|\s+-\s+", description.strip().lower(), maxsplit=1)[0]
    return re.sub(r"[\s-]+", "_", re.sub(r"\.(?:tiff?|jp2)$", "", first))


def code_of(description: str) -> str:
    """The code in a band's description, such as `b4` or `sr_b4`; else the description as `plain` gives it."""
    found = _CODE.match(plain(description))
    return f"{found[1] or ''}b{found[2]}{found[3]}" if found else plain(description)


def is_position(description: str, number: int, *, letter: bool = True) -> bool:
    """Whether a description tells nothing, or only that this is the band of that number: `Band 3`, and with `letter`
    `B3` too, which for some sensors is a name."""
    found = _POSITION.match(plain(description))
    return not plain(description) or (found is not None and int(found[2]) == number and (letter or not found[1]))


def common_part(code: str) -> str | None:
    """The part of the spectrum that a name such as `red`, `r` or `nir` means for any sensor."""
    return next((part for part, names in REFLECTIVE.items() if code == part or code in names.split()), None)
