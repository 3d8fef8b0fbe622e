"""Colours of made things, by name, and ways to draw from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.materials import linear

CAR_COLOURS = (
    ("d8d8d8", "white", 0.30), ("9a9c9e", "silver", 0.22), ("2a2b2e", "black", 0.18), ("55585c", "grey", 0.14),
    ("8a2424", "red", 0.07), ("2c4470", "blue", 0.07), ("b0a48a", "beige", 0.02),
)  # fmt: skip
SHIP_COLOURS = (("dedede", "white", 0.6), ("7a2e28", "red", 0.1), ("33465e", "blue", 0.15), ("6a6a66", "grey", 0.15))
HULL_COLOURS = (("7c3a30", "red", 0.3), ("3c4650", "black", 0.3), ("4f6a7c", "blue", 0.2), ("5e6e50", "green", 0.2))
CONTAINER_COLOURS = (
    ("8c3c2c", "red", 0.25), ("2f5580", "blue", 0.25), ("9a968c", "grey", 0.15), ("b07c34", "orange", 0.15),
    ("3f6b4c", "green", 0.12), ("d0d0cc", "white", 0.08),
)  # fmt: skip
HALL_COLOURS = (
    ("c4c6c8", "white", 0.28), ("9b9c9c", "grey", 0.26), ("6d89b4", "blue", 0.16), ("a85a48", "red", 0.10),
    ("b4ab9c", "beige", 0.10), ("77797a", "grey", 0.10),
)  # fmt: skip
FLAT_COLOURS = (
    ("a8a49c", "grey", 0.35), ("8b8884", "grey", 0.25), ("cfccc4", "white", 0.2), ("6b6866", "black", 0.12),
    ("b39a84", "brown", 0.08),
)  # fmt: skip
TANK_COLOURS = (("e2e2de", "white", 0.65), ("b4b6b4", "grey", 0.2), ("8c7a66", "brown", 0.1), ("8fa0a8", "blue", 0.05))
POOL_COLOURS = (("5fb8cc", "blue", 0.6), ("7accd4", "blue", 0.25), ("4a9ab8", "blue", 0.15))
COURT_COLOURS = (("4f7a5c", "green", 0.4), ("5a7ca0", "blue", 0.3), ("a8684c", "red", 0.3))
WALL_COLOURS = (("d6d0c4", "white", 0.6), ("b8ac98", "beige", 0.4))
FENCE_COLOURS = (("8c7a64", "brown", 0.6), ("b8b4ac", "white", 0.4))
CLUTTER_COLOURS = (
    ("a8a49c", "grey", 0.3), ("dcdad4", "white", 0.25), ("5c564e", "black", 0.2), ("7a5c48", "brown", 0.15),
    ("4a6a90", "blue", 0.06), ("8c3c34", "red", 0.04),
)  # fmt: skip
STAND_COLOURS = (("d8d8d6", "white", 0.5), ("a8aaac", "grey", 0.3), ("9c5a4c", "red", 0.1), ("6d89b4", "blue", 0.1))
PANEL_COLOURS = (("27324c", "blue", 0.6), ("20242e", "black", 0.3), ("3c4a70", "blue", 0.1))
GREENHOUSE_COLOURS = (("c4ccc8", "white", 0.7), ("9fb0ac", "grey", 0.3))
TRUCK_COLOURS = (("d4d4d4", "white", 0.55), ("5a7090", "blue", 0.12), ("9c4038", "red", 0.13), ("8a8a86", "grey", 0.2))
PLANE_COLOURS = (("e8e8e8", "white", 0.8), ("c4c8cc", "grey", 0.2))
PITCH_COLOURS = (("4f7038", "green", 0.8), ("3f6a3c", "green", 0.2))

Rows = tuple[tuple[str, str, float], ...]


def pick(
    rng: np.random.Generator, rows: Rows, count: int, *, spread: float = 0.1
) -> tuple[NDArray[np.float32], list[str]]:
    """`(count, 3)` linear colours drawn by weight and varied a little, and their names."""
    weights = np.array([w for _, _, w in rows])
    index = rng.choice(len(rows), size=count, p=weights / weights.sum())
    colours = np.stack([linear(c) for c, _, _ in rows])[index]
    colours = colours * np.exp(rng.normal(0, spread, (count, 1)))
    return colours.astype(np.float32), [rows[i][1] for i in index]


def pick_roofs(rng: np.random.Generator, roofs: tuple[str, ...], count: int) -> tuple[NDArray[np.float32], list[str]]:
    """The same from a region's `"rrggbb name"` rows."""
    rows = tuple((*row.split(" ", 1), 1.0) for row in roofs)
    return pick(rng, rows, count, spread=0.16)  # type: ignore[arg-type]
