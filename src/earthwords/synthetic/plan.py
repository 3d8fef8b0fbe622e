"""A scene before it is drawn: outlines, ribbons and stamps in ground metres, x right, y down.

A plan knows nothing of pixels, seasons or sensors, so the same plan can be drawn twice under
another sky, or edited in between (`change.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
"""`(k, 2)` ground `(x, y)` in metres."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """A piece of ground made of one material."""

    outline: Points
    material: str
    variant: float = 0.5
    """0..1, picks one of the material's shades."""
    rows_angle: float = 0.0
    """Direction of furrows or tyre lines, radians."""
    rows_spacing: float = 0.0
    """Metres between them; 0: none."""
    rows_depth: float = 0.0
    """Relative change of brightness across a row."""
    rows_form: str = "furrow"
    """"furrow": waves; "paint": thin white lines; "slab": squares with dark joints."""


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A change of the ground's material, only where another material lies."""

    area: Area
    """What comes there, and where; with a rim the outline has no meaning."""
    within: str
    """The material it replaces."""
    rim: float = 0.0
    """Above 0: only within so many metres of that material's border."""


@dataclass(frozen=True, kw_only=True)
class Ribbon:
    """A road, railway, runway, path, pier or ditch: a line with a width."""

    line: Points
    kind: str
    """A row of `ribbons.KINDS`."""
    width: float
    """Metres, without sidewalks."""
    variant: float = 0.5
    """0..1, picks the shade of its surface."""


@dataclass(frozen=True, kw_only=True)
class Stamps:
    """A table of things drawn in their own frame (u along, v across); one row per part."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    length: NDArray[np.float32]
    """Along u, metres."""
    width: NDArray[np.float32]
    """Along v, metres."""
    angle: NDArray[np.float32]
    """Of u, radians from x towards y."""
    height: NDArray[np.float32]
    """Above the ground, metres."""
    base: NDArray[np.float32]
    """Height of what it stands on, metres."""
    red: NDArray[np.float32]
    green: NDArray[np.float32]
    blue: NDArray[np.float32]
    """Linear light 0..1; for plants a negative red asks for the region's colours."""
    style: NDArray[np.float32]
    """Meaning depends on the kind, such as the form of the roof."""
    key: NDArray[np.float32]
    """0..1, the row's own random number."""
    thing: NDArray[np.int32]
    """The object it is part of; 0 for stuff."""

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[np.generic]) -> Stamps:
        """The rows at `index` (integers, or a boolean per row)."""
        return Stamps(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def colour(self) -> NDArray[np.float32]:
        """`(n, 3)` linear light."""
        return np.stack([self.red, self.green, self.blue], axis=1)

    @staticmethod
    def join(tables: list[Stamps]) -> Stamps:
        """All rows of the tables, in order."""
        return Stamps(**{f.name: np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Stamps)})


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A word for captions that holds if its ground point is in the picture."""

    word: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Flood:
    """Standing water full of earth. It hides what is lower; what is higher stands out."""

    outline: Points
    depth: float
    """Greatest depth in metres."""
    embankment: float
    """Height of roads above the ground, metres."""
    variant: float
    """0..1, picks the colour of the water."""


@dataclass(kw_only=True)
class Plan:
    """All that a scene is made of; the fill functions of `zones_*.py` add to it."""

    theme: str
    rng: np.random.Generator
    """For the layout only; what it decides is stored in the rows."""
    areas: list[Area] = field(default_factory=list)
    """In painting order."""
    overlays: list[Overlay] = field(default_factory=list)
    """Laid over the areas, below the ribbons."""
    ribbons: list[Ribbon] = field(default_factory=list)
    """The later ones lie on top."""
    stamps: dict[str, list[Stamps]] = field(default_factory=dict)
    """Kind of painter -> its tables."""
    facts: dict[int, dict[str, str]] = field(default_factory=dict)
    """Thing -> attributes known at planning time, such as the name of its colour."""
    signs: list[Sign] = field(default_factory=list)
    """Layout words for captions, such as "roundabout", and where they hold."""
    extent: tuple[float, float] = (np.inf, np.inf)
    """Width and height of the whole scene, metres."""
    tilt: tuple[float, float] = (0.0, 0.0)
    """Metres `(x, y)` by which tops lean in the picture per metre of height: the sensor looks aslant."""
    relief: float = 0.0
    """Height of the hills in metres."""
    ripples: float = 0.0
    """Height of dunes in metres."""
    terrain: tuple[str, ...] = ()
    """Materials from high and steep to low and flat, which replace the ground; empty: none."""
    banks: bool = True
    """Whether the shores are natural, so that the water can fall."""
    sea: bool = False
    """True: the water has surf and waves."""
    water_variant: float = 0.0
    """0..1, picks one of the region's waters."""
    shelf: float = 12.0
    """Metres over which shallow water turns deep."""
    swell: float = 0.1
    """Strength of ripples and waves."""
    glitter: float = 0.0
    """Strength of sparkling sun on the water."""
    wind: float = 0.0
    """Direction of the waves, radians."""
    wave_seed: int = 0
    flood: Flood | None = None
    """Muddy water that lies over the ground after everything else is drawn; None: none."""
    _things: int = 0

    def area(self, outline: ArrayLike, material: str, *, variant: float | None = None, **rows: Any) -> None:
        """Add a piece of ground; without `variant` a random shade."""
        shade = float(self.rng.random()) if variant is None else variant
        points = np.asarray(outline, dtype=np.float64)
        self.areas.append(Area(outline=points, material=material, variant=shade, **rows))

    def ribbon(self, line: ArrayLike, kind: str, *, width: float, variant: float | None = None) -> None:
        """Add a road or another line with a width."""
        shade = float(self.rng.random()) if variant is None else variant
        points = np.asarray(line, dtype=np.float64)
        self.ribbons.append(Ribbon(line=points, kind=kind, width=width, variant=shade))

    def sign(self, word: str, points: ArrayLike) -> None:
        """Say that a word describes what lies at ground points `(k, 2)`."""
        for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2).tolist():
            self.signs.append(Sign(word=word, x=x, y=y))

    def new_things(self, count: int) -> NDArray[np.int32]:
        """`count` unused thing numbers."""
        self._things += count
        return np.arange(self._things - count + 1, self._things + 1, dtype=np.int32)

    def stamp(self, kind: str, **columns: ArrayLike) -> None:
        """Add rows to a kind; missing columns get a default, scalars are repeated."""
        count = len(np.atleast_1d(np.asarray(columns["x"])))
        colour = np.asarray(columns.pop("colour", (-1.0, -1.0, -1.0)), dtype=np.float32)
        red, green, blue = np.broadcast_to(colour, (count, 3)).T
        given: dict[str, ArrayLike] = {
            "base": 0.0, "style": 0.0, "angle": 0.0, "thing": 0, "key": self.rng.random(count),
            "red": red, "green": green, "blue": blue,
        } | columns  # fmt: skip
        table: dict[str, Any] = {}
        for name in (f.name for f in fields(Stamps)):
            dtype = np.int32 if name == "thing" else np.float32
            table[name] = np.broadcast_to(np.asarray(given[name], dtype=dtype), count).copy()
        self.stamps.setdefault(kind, []).append(Stamps(**table))

    def copy(self) -> Plan:
        """A plan that can be edited without touching this one."""
        return replace(
            self,
            areas=list(self.areas),
            overlays=list(self.overlays),
            ribbons=list(self.ribbons),
            stamps={kind: list(tables) for kind, tables in self.stamps.items()},
            facts=dict(self.facts),
            signs=list(self.signs),
        )
