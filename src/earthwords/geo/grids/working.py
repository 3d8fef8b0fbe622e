"""The grid that a scene is worked on: its own ground cut into pixels of another size."""

from __future__ import annotations

import math

from earthwords.errors import UsageError
from earthwords.types import Grid

MAX_SHRINK = 512
"""Most native pixels along the side of a working pixel."""
MAX_ENLARGE = 64
"""Most working pixels along the side of a native pixel."""


def working_grid(native: Grid, gsd: float | None) -> Grid:
    """`native` cut into pixels of about `gsd` metres on either axis, at least one; both cover the same ground.

    Raises:
        UsageError: `gsd` is not positive or far from the grid's own, or the grid has no CRS to measure metres with.
    """
    if gsd is None:
        return native
    if not (math.isfinite(gsd) and gsd > 0):
        raise UsageError(f"The ground sample distance must be a positive number of metres, got {gsd:g}.")
    own, sides = native.gsd_m, native.ground_pixel_m
    if own is None or sides is None:
        raise UsageError(
            f"A ground sample distance of {gsd:g} m was asked for, but without a CRS the size of a pixel in "
            "metres is unknown; leave --gsd out."
        )
    if gsd > own * MAX_SHRINK:
        raise UsageError(
            f"A ground sample distance of {gsd:g} m is more than {MAX_SHRINK} times coarser than the scene's "
            f"{own:.3g} m; ask for a finer one."
        )
    if gsd * MAX_ENLARGE < own:
        raise UsageError(
            f"A ground sample distance of {gsd:g} m is more than {MAX_ENLARGE} times finer than the scene's "
            f"{own:.3g} m; ask for a coarser one (metres, not degrees)."
        )
    across, down = sides
    height, width = max(1, round(native.height * down / gsd)), max(1, round(native.width * across / gsd))
    return native if (height, width) == native.shape else native.resized(height, width)
