"""How large things usually are, seen from above: what a count can be held against.

Square metres of the ground that a thing covers: the smallest that are common, a usual one, the largest. They follow
from common measures: a car is 1.8 m x 4.5 m, a container 2.44 m x 6.1 m or 12.2 m, a tennis court 23.77 m x 10.97 m and
36 m x 18 m with what is around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from earthwords.text.known_words import forms


@dataclass(frozen=True, kw_only=True)
class UsualSize:
    """Of a thing, square metres."""

    smallest: float
    usual: float
    largest: float


_SIZES: tuple[tuple[str, float, float, float], ...] = (
    ("building,house,roof,rooftop,home", 15, 120, 20_000),
    ("shed,hut,garage,cabin", 4, 25, 200),
    ("warehouse,factory,hangar,hall", 200, 2_000, 200_000),
    ("car,vehicle,automobile,van,taxi", 5, 9, 25),
    ("truck,lorry,bus,coach", 12, 30, 70),
    ("motorcycle,motorbike,bicycle", 0.7, 1.5, 4),
    ("train,tram,railway carriage,wagon", 30, 80, 3_000),
    ("ship,vessel,ferry", 8, 60, 20_000),
    ("boat,yacht,sailing boat", 3, 25, 500),
    ("plane,airplane,aeroplane,aircraft,jet,airliner", 30, 200, 5_000),
    ("helicopter", 15, 40, 300),
    ("container,shipping container", 10, 30, 45),
    ("storage tank,tank,oil tank,silo", 20, 150, 8_000),
    ("swimming pool,pool", 8, 30, 1_300),
    ("tennis court", 180, 400, 900),
    ("basketball court,sports court", 150, 420, 1_000),
    ("football field,soccer field,sports field,baseball field", 1_500, 7_000, 20_000),
    ("greenhouse,glasshouse", 30, 500, 20_000),
    ("tree,tree crown,palm,palm tree,oil palm", 2, 25, 400),
    ("solar panel,photovoltaic panel", 1, 20, 5_000),
    ("tent,caravan", 4, 15, 300),
    ("cow,horse,cattle", 0.8, 1.6, 4),
    ("sheep,goat", 0.3, 0.7, 1.5),
    ("person,people,pedestrian", 0.1, 0.3, 1.5),
)
"""Words that mean the same kind of thing, and its sizes."""


def usual_size(names: Iterable[str]) -> UsualSize | None:
    """Of a class with such names: the usual one of the first name that is known, the ends of all; None: none is."""
    found = [row for name in names for row in _SIZES if forms(name.casefold()) & _words(row)]
    if not found:
        return None
    _, lows, _, highs = zip(*found, strict=True)
    return UsualSize(smallest=min(lows), usual=found[0][2], largest=max(highs))


def _words(row: tuple[str, float, float, float]) -> set[str]:
    return set(row[0].split(","))
