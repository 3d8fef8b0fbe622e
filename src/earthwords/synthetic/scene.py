"""What a rendered scene holds, and the table of classes its labels speak about."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earthwords.types import ClassName, Colour, Grid, Vocabulary

NONE = 255
"""Label of pixels that belong to no class."""


@dataclass(frozen=True, kw_only=True)
class SceneClass:
    """One row of the class table; its label is its position in `CLASSES`."""

    names: tuple[str, ...]
    """Synonyms in the singular; the first one is the title."""
    plural: str
    colour: Colour
    """RGB of the label map, 0..255."""
    thing: bool = False
    """True: countable, every object has its own instance id. False: stuff, such as water."""

    @property
    def title(self) -> str:
        return self.names[0]


def _row(names: str, plural: str, colour: Colour, *, thing: bool = False) -> SceneClass:
    return SceneClass(names=tuple(names.split(", ")), plural=plural, colour=colour, thing=thing)


CLASSES: tuple[SceneClass, ...] = (
    _row("building, roof, house", "buildings", (220, 60, 60), thing=True),
    _row("road, street, highway", "roads", (250, 200, 60)),
    _row("pavement, parking lot, concrete, paved area", "paved areas", (170, 170, 180)),
    _row("water, lake, river, sea", "water", (50, 110, 220)),
    _row("trees, tree, forest, woodland", "trees", (30, 110, 50)),
    _row("grass, lawn, meadow", "grass", (140, 210, 90)),
    _row("cropland, field, farmland, agriculture", "fields", (200, 220, 120)),
    _row("bare land, bareland, barren, soil, sand, desert", "bare land", (190, 140, 90)),
    _row("car, vehicle", "cars", (230, 40, 200), thing=True),
    _row("truck, lorry", "trucks", (160, 30, 160), thing=True),
    _row("ship, boat, vessel", "ships", (255, 130, 30), thing=True),
    _row("plane, airplane, aircraft", "planes", (255, 255, 255), thing=True),
    _row("swimming pool, pool", "swimming pools", (60, 230, 240), thing=True),
    _row("storage tank, tank, oil tank", "storage tanks", (120, 70, 220), thing=True),
    _row("solar panel, photovoltaic panel", "solar panels", (20, 30, 110), thing=True),
    _row("tennis court, sports court", "tennis courts", (240, 110, 130), thing=True),
    _row("sports field, football field, soccer field", "sports fields", (90, 240, 130), thing=True),
    _row("runway, airstrip", "runways", (90, 90, 90)),
    _row("railway, railroad, train track", "railways", (110, 70, 60)),
    _row("container, shipping container", "containers", (150, 90, 30), thing=True),
    _row("greenhouse, glasshouse", "greenhouses", (190, 240, 240), thing=True),
    _row("snow, snowfield", "snow", (235, 235, 255)),
)

LABEL: dict[str, int] = {row.title: label for label, row in enumerate(CLASSES)}
"""Label of each class, by its title."""


def vocabulary() -> Vocabulary:
    """The class table as a `Vocabulary`: class `i` has label `i`."""
    return Vocabulary(classes=tuple(ClassName(names=row.names, colour=row.colour) for row in CLASSES))


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One visible object of a thing class."""

    id: int
    """Its value in `RenderedScene.instances`, from 1."""
    label: int
    box: tuple[int, int, int, int]
    """`(row0, col0, row1, col1)` around the visible pixels, half-open."""
    polygon: NDArray[np.float64]
    """`(k, 2)` oriented outline, `(row, col)` in pixels; it may reach beyond the image."""
    attributes: dict[str, str] = field(default_factory=dict)
    """`colour` (a colour name), `size` ("small", "medium" or "large" for its class), `kind`, ..."""

    @property
    def title(self) -> str:
        return CLASSES[self.label].title


@dataclass(frozen=True, kw_only=True)
class RenderedScene:
    """An image and everything that is known about it."""

    image: NDArray[np.uint8]
    """`(row, col, 3)` RGB."""
    labels: NDArray[np.uint8]
    """`(row, col)`, position in `CLASSES`, 255 where no class was drawn."""
    objects: tuple[SceneObject, ...]
    instances: NDArray[np.int32]
    """`(row, col)`, the id of the thing at the pixel, 0 where there is none."""
    captions: tuple[str, ...]
    """At least three English sentences about the scene."""
    grid: Grid
    gsd_m: float
    """Side of a pixel on the ground, in metres."""
    theme: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that differs between the two scenes of a pair."""

    kind: str
    """Such as "building removed" or "ship arrived"."""
    before: str
    """Title of the class that lay there before."""
    after: str
    """Title of the class that lies there after."""
    box: tuple[int, int, int, int]
    """`(row0, col0, row1, col1)` around the changed pixels, half-open."""
