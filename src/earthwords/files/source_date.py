"""The time that outputs tell, for those who want the same bytes again."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from earthwords.errors import UsageError


def source_date() -> datetime | None:
    """What the environment's SOURCE_DATE_EPOCH says; None: nothing.

    Raises:
        UsageError: it is no number.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return datetime.fromtimestamp(int(given), UTC) if given else None
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH is a number of seconds since 1970, not {given!r}.") from error
