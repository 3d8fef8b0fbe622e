"""Which numbers are said to mean little: things too small for the model, or of sizes that such things do not have."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from earthwords.inference.instances.candidates import InstanceCandidates
from earthwords.inference.instances.choose import doubts, several_as_one, worth
from earthwords.inference.instances.options import CountOptions
from earthwords.mask_set import MaskSet
from earthwords.text.usual_sizes import usual_size
from earthwords.types import Grid

GRID = Grid(height=60, width=90, transform=Affine(0.5, 0, 4e5, 0, -0.5, 5e6), crs=CRS.from_epsg(32633))


def found(sides: list[int], classes: list[int]) -> InstanceCandidates:
    """Squares of so many pixels a side, a quarter of a square metre each."""
    places = [(i % 7 * 8, i * 3) for i in range(len(sides))]
    masks = MaskSet.pack(
        GRID, places, [np.ones((s, s), bool) for s in sides], titles=["car", "court"], classes=classes
    )  # fmt: skip
    scores = np.ones((len(sides), 2), np.float32)
    return InstanceCandidates(masks=masks, similarity=scores, centres=np.zeros((len(sides), 2)))


@pytest.mark.parametrize(
    ("method", "token", "sides", "said"),
    [
        ("regions", 4.0, [6, 6, 6], ["2.2 times the 4 m2", None]),
        ("regions", 3.0, [6, 6, 6], [None, None]),
        ("regions", 3.0, [6, 6, 2, 30], ["2 of 4 cover less than 5 m2 or more than 25 m2", None]),
        ("regions", 3.0, [6, 6, 6, 2], [None, None]),
        ("regions", 200.0, [], ["0.0 times", "2.0 times"]),
        ("peaks", 4.0, [1, 1, 1], ["2.2 times", None]),
        ("peaks", 3.0, [1, 1, 1], [None, None]),
        ("instructsam", 200.0, [6, 1, 1], ["2 of 3 cover", None]),
    ],
)
def test_doubts(method: str, token: float, sides: list[int], said: list[str | None]) -> None:
    """Cars of `sides`; a court of 400 m2 always is one."""
    things = found([*sides, 40], [0] * len(sides) + [1])
    counting = CountOptions(counted=(0, 1), method=method)
    sizes = [usual_size(["cars"]), usual_size(["Tennis court", "court"])]
    areas = things.masks.areas * 0.25
    told = doubts(things, counting, sizes=sizes, areas=areas, token=token)
    for text, wanted in zip(told, said, strict=True):
        assert (text is None) if wanted is None else (text is not None and wanted in text), told
    notes = worth(things, counting, seen=1.0, doubted=told)
    assert [note for note in notes if "means little" in note] == [
        f"{title}: {text}" for title, text in zip(things.masks.titles, told, strict=True) if text
    ]


@pytest.mark.parametrize(
    ("method", "sides", "said"),
    [
        ("regions", [11, 11, 11, 4, 4], "half of them cover 30 m2 or more, 3.4 times what one usually covers (9 m2)"),
        ("regions", [10, 10, 10, 10, 20], None),  # 2.8 times, and one of 11 times
        ("regions", [20, 20], None),  # two may be large
        ("peaks", [20, 20, 20], None),
        ("instructsam", [20, 20, 20], "11.1 times"),
    ],
)
def test_several_that_count_as_one(method: str, sides: list[int], said: str | None) -> None:
    """Cars of 9 m2; nothing is known of how large the other class is."""
    things = found([*sides, 40, 40, 40], [0] * len(sides) + [1] * 3)
    counting = CountOptions(counted=(0, 1), method=method)
    told = several_as_one(things, counting, sizes=[usual_size(["cars"]), None], areas=things.masks.areas * 0.25)
    assert (told == ()) if said is None else (len(told) == 1 and said in told[0] and told[0].startswith("car: ")), told


def test_sizes_of_words() -> None:
    boats = usual_size(["boats", "ship"])
    assert boats is not None and (boats.smallest, boats.largest) == (3, 20_000)
    assert usual_size(["sailing boat"]) == usual_size(["yacht"]) != usual_size(["ships"])
    assert usual_size(["water"]) is None and usual_size(["container ship yard"]) is None
