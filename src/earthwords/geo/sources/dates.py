"""When a raster was taken, as far as its metadata tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

KEYS = (
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATE",
    "DATE_ACQUIRED",
    "SENSING_TIME",
    "DATATAKE_SENSING_START",
    "PRODUCT_START_TIME",
    "EXIF_DATETIMEORIGINAL",
    "DATETIME",
    "TIFFTAG_DATETIME",
)
"""The likeliest first; TIFFTAG_DATETIME is often the time of processing."""

_DATE = re.compile(r"\s*(\d{4})[-:/]?(\d{2})[-:/]?(\d{2})(?!\d)")


def date_of(tags: Mapping[str, str]) -> str | None:
    """The day, `YYYY-MM-DD`; None if no key of `KEYS` tells one."""
    folded = {key.upper(): value for key, value in tags.items()}
    days = (iso_day(folded[key]) for key in KEYS if key in folded)
    return next((day for day in days if day is not None), None)


def iso_day(text: str) -> str | None:
    """`2018:07:16 12:00:00`, `20180716T...` or `2018-07-16` as `2018-07-16`; None if it is no date."""
    found = _DATE.match(text)
    if found is None:
        return None
    year, month, day = found.groups()
    return f"{year}-{month}-{day}" if 1 <= int(month) <= 12 and 1 <= int(day) <= 31 else None
