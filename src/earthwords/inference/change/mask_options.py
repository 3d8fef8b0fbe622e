"""What the methods of `change` by masks may be told, looked at before anything heavy is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from earthwords.errors import UsageError
from earthwords.types import Grid, Window

ANYCHANGE, MCI, IMC = "anychange", "dynamicearth-mci", "dynamicearth-imc"
BY_MASKS = (ANYCHANGE, MCI, IMC)
REGIONS = "regions"
"""Masks without a segmenter: connected regions of what words say."""
SAM, CLIP = "sam", "clip"
"""Features of the segmenter that makes the masks, and of the preset's own image tower."""
NAMED = {"dino": "dino-vit-b-16", "dinov2": "dinov2-vit-b-14"}
"""Short names of weights of `models.dino`."""
WEIGHTS = "sam-vit-b"
"""Weights of SAM where none are named: of AnyChange's three the best by F1 on four sets (https://arxiv.org/abs/2402.01188,
table 1), and the smallest."""
THETA, CLIP_THETA = 145.0, 160.0
"""Degrees: what the authors take for most sets, and for features of a CLIP, which differ less."""


AUTO = "auto"
"""The angle that Otsu's threshold stands for."""
Theta: TypeAlias = float | str | None


@dataclass(frozen=True, kw_only=True)
class Click:
    """A place on a thing of the kind that is looked for."""

    x: float
    y: float
    """In the CRS of the first date; pixels without one."""
    second: bool = True
    """At which date it is there."""

    @classmethod
    def parse(cls, text: str) -> Click:
        """`X,Y`, or `X,Y,before` and `X,Y,after`.

        Raises:
            UsageError: it is neither.
        """
        x, y, date = [*(part.strip() for part in text.split(",")), "after", "", ""][:3]
        try:
            place = float(x), float(y)
        except ValueError:
            place = math.nan, math.nan
        if not all(map(math.isfinite, place)) or text.count(",") > 2 or date not in ("before", "after"):
            raise UsageError(f"--click is X,Y in BEFORE's CRS, or X,Y,before for a thing of that date; got {text!r}.")
        return cls(x=place[0], y=place[1], second=date == "after")

    def __str__(self) -> str:
        return f"{self.x:g},{self.y:g},{'after' if self.second else 'before'}"

    def pixel(self, grid: Grid, within: Window) -> tuple[float, float]:
        """Row and column in a grid, the upper left corner of its first pixel at 0.

        Raises:
            UsageError: it is not within what both dates cover.
        """
        col, row = ~grid.transform @ (self.x, self.y)
        if not (within.row <= row < within.row_stop and within.col <= col < within.col_stop):
            raise UsageError(f"--click {self} is not on the ground that both dates cover (X,Y in BEFORE's CRS).")
        return float(row), float(col)


def clicks_of(texts: str | Sequence[str]) -> tuple[Click, ...]:
    """Places as `Click.parse` takes them."""
    return tuple(Click.parse(text) for text in ([texts] if isinstance(texts, str) else texts))


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """How masks are made and compared; None: the method's own."""

    segmenter: str | None = None
    """Who draws the masks: weights of a SAM, or `regions`."""
    comparer: str | None = None
    """Whose features tell whether a mask changed: `clip`, `dino`, `dinov2`, or weights of a DINO."""
    theta: Theta = None
    """Degrees, larger keeps more; or `AUTO`."""
    clicks: tuple[Click, ...] = ()
    """Only things like these are compared."""
    instances: bool = True
    """At its own date a mask must show a class that was asked for."""

    def checked(self, method: str) -> MaskOptions:
        """The same, if the method takes it.

        Raises:
            UsageError: it does not.
        """
        if method not in BY_MASKS:
            given: dict[str, object] = {
                "--segmenter": self.segmenter,
                "--comparer": self.comparer,
                "--theta": self.theta,
            }
            given |= {"--no-instances": None if self.instances else True, "--click": self.clicks or None}
            wrong = [name for name, value in given.items() if value is not None]
            if wrong:
                raise UsageError(f"{wrong[0]} is for the methods by masks ({', '.join(BY_MASKS)}), not for {method}.")
            return self
        if self.clicks and method != ANYCHANGE:
            raise UsageError(f"--click belongs to {ANYCHANGE}, not to {method}: its words say what is looked for.")
        if isinstance(self.theta, str) and self.theta != AUTO:
            raise UsageError(f"--theta is an angle in degrees or auto, not {self.theta!r}.")
        if isinstance(self.theta, float | int) and not 0 <= self.theta <= 180:
            raise UsageError(f"--theta must be between 0 and 180 degrees, got {self.theta:g}.")
        if method == ANYCHANGE and self.segmenter == REGIONS:
            raise UsageError(
                "anychange compares SAM's masks by SAM's features: name one by --segmenter, such as sam-vit-b."
            )
        if method == ANYCHANGE and self.comparer not in (None, SAM):
            raise UsageError("anychange compares by SAM's own features; --comparer is for the dynamicearth methods.")
        if method != ANYCHANGE and self.comparer == SAM:
            raise UsageError("SAM's own features are those of --method anychange; name clip, dino or dinov2.")
        if method != MCI and not self.instances:
            raise UsageError(f"--no-instances belongs to {MCI}, not to {method}.")
        return self

    def of(self, method: str) -> MaskOptions:
        """With the method's own where nothing is said."""
        if method not in BY_MASKS:
            return self
        comparer = SAM if method == ANYCHANGE else self.comparer or "dinov2"
        theta = self.theta if self.theta is not None else CLIP_THETA if comparer == CLIP else THETA
        return MaskOptions(
            segmenter=self.segmenter or WEIGHTS,
            comparer=NAMED.get(comparer, comparer),
            theta=theta,
            clicks=self.clicks,
            instances=self.instances,
        )

    def notes(self, theta: float | None, area: float) -> tuple[str, ...]:
        """What was found of both dates in place of what was not told.

        Args:
            theta: the angle, if it was found.
            area: pixels of the working grid of what was clicked.
        """
        angle = "" if theta is None else f"--theta auto: {theta:.2f} degrees, Otsu's threshold of both dates."
        like = f"--click: only masks of {area / 4:.0f} to {area * 4:.0f} pixels of the working grid that look like it."
        return tuple(filter(None, (angle, like if self.clicks else "")))

    def tags(self, method: str) -> dict[str, str]:
        """For settings."""
        if method not in BY_MASKS:
            return {}
        whole = self.of(method)
        rule = {"instances": "yes" if whole.instances else "no"} if method == MCI else {}
        theta = AUTO if whole.theta == AUTO else f"{float(whole.theta or 0):g}"
        named = {"segmenter": str(whole.segmenter), "comparer": str(whole.comparer), "theta": theta}
        clicks = {"clicks": "; ".join(map(str, whole.clicks))} if whole.clicks else {}
        return {**named, **clicks, **rule}
