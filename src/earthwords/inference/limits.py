"""What numbers may be, what goes together, and where an index may be. Loads nothing heavy: mistakes are told first."""

from __future__ import annotations

import os
import re
from pathlib import Path

from earthwords.errors import UsageError
from earthwords.models.sam3.refusals import check_clip
from earthwords.presets import SegmentPreset

ABOUT, WORK = "index.json", ".work"
"""What is in the folder of an index when it is made, and while it is."""
MOST_COUNT = 1_000_000
"""Things of a class that anybody may say there are."""
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def check_numbers(*, threshold: float, batch: int | None) -> None:
    """Refuse impossible numbers, before anything is downloaded.

    Raises:
        UsageError: no probability, or an empty batch.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"The threshold is a probability between 0 and 1, got {threshold:g}.")
    check_batch(batch)


def check_batch(batch: int | None) -> None:
    """Refuse an empty batch, before anything is downloaded.

    Raises:
        UsageError: it is empty.
    """
    if batch is not None and batch < 1:
        raise UsageError(f"At least one window must be encoded at once, got a batch of {batch}.")


def check_threshold(threshold: float, *, name: str = "threshold") -> None:
    """Raises `UsageError` for a threshold that no pixel, or every pixel, exceeds."""
    if not 0 <= threshold < 1:
        raise UsageError(f"The {name} is a probability of 0 or more and below 1, got {threshold:g}.")


def check_index(folder: Path) -> None:
    """Refuse a folder without an index.

    Raises:
        UsageError: there is none, or an unfinished one.
    """
    if not os.path.lexists(folder / ABOUT):
        raise no_index(folder)


def no_index(folder: Path) -> UsageError:
    """The error for a folder without an index."""
    unfinished = " (an unfinished one is there: index again to go on)" if (folder / WORK).exists() else ""
    return UsageError(f"There is no index in {folder}{unfinished}; make one with `earthwords index`.")


def parse_memory(text: str) -> int:
    """Bytes of `2GiB`, `1500MB`, `2G`; units are powers of 1024.

    Raises:
        UsageError: anything else, or nothing.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = int(float(match[1]) * (1 << _UNITS[match[2].upper()])) if match else 0
    if size < 1:
        raise UsageError(f"The memory is a size such as 2GiB or 1500MB, not {text!r}.")
    if match and not match[2] and size < 1024:
        raise UsageError(f"{text.strip()!r} would be bytes of memory; give a unit, such as {match[1]}GiB.")
    return size


def check_joint(row: SegmentPreset, *, joint: bool, upsampler: str | None) -> None:
    """Raises `UsageError` where tokens cannot decide together."""
    if not joint:
        return
    if upsampler not in (None, "none"):
        raise UsageError(f"--joint shares out tokens, which are not upsampled: leave --upsampler {upsampler} out.")
    check_clip(row)
    if row.head is not None or row.taught is not None:
        why = f"has the head {row.head}" if row.head is not None else "was taught by marks"
        raise UsageError(f"--joint takes cosines of words, and the preset {row.name} {why}: leave one of them out.")
