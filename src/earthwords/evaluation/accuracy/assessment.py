"""What an assessment has found: tables for people and for pandas, JSON, a chart."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.errors import number_of
from earthwords.evaluation.accuracy.calibration import Calibration
from earthwords.evaluation.accuracy.estimators import Estimate, Strata, Z
from earthwords.files.atomic import writing
from earthwords.files.output_sets import staging_all
from earthwords.files.output_tags import save_png
from earthwords.files.plaintext import csv_cell, write_json
from earthwords.geo.destinations import plan_assessment
from earthwords.geo.sources.inputs import Inputs
from earthwords.types import Colour
from earthwords.viz.area_chart import AreaBar, area_chart

if TYPE_CHECKING:
    from pandas import DataFrame

Design = Literal["drawn", "given", "counted"]
NO_CLASS = "(no class)"
_UNITS: dict[str, tuple[tuple[float, float, str], ...]] = {
    "m2": ((1e8, 1e6, "km2"), (1e5, 1e4, "ha"), (0.0, 1.0, "m2")),
    "px": ((0.0, 1.0, "pixels"),),
}
"""Unit of areas -> from how much on, divided by what, called what."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Assessment:
    """How sure a map is. In a notebook it shows itself as a chart of areas.

    Example:
        >>> found = earthwords.assess("out/labels.tif", truth="points.gpkg")
        >>> found.areas
        >>> found.save("assessed")
    """

    map: str
    truth: str
    design: Design
    """`drawn`: points of `assess --draw`; `given`: points of others; `counted`: every pixel with a known truth."""
    classes: tuple[str, ...]
    """Of the map, then those that only the truth has."""
    colours: tuple[Colour | None, ...]
    mapped_areas: tuple[float | None, ...]
    """What the map gives each class; None: it is no class of the map."""
    unit: str
    """Of areas: `m2`, or `px` without a CRS."""
    total_area: float
    """That the figures are about."""
    counts: NDArray[np.int64]
    """`(map, truth)` points or pixels; the last row is of places where the map has no class."""
    proportions: NDArray[np.float64]
    """The same as shares of the area."""
    overall: Estimate
    """Scalar."""
    users: Estimate
    producers: Estimate
    area: Estimate
    """`(class,)` shares, 0..1; standard errors NaN where unknown, and 0 where every pixel was counted."""
    strata: Strata | None = None
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()
    inputs: Inputs | None = None
    """What was read, and is not replaced."""

    @property
    def points(self) -> int:
        """Points, or pixels, that count."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> DataFrame:
        """User's and producer's accuracy of every class, and the overall accuracy, as shares, with SE and interval."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "class": self.classes,
                "mapped": self.counts[: len(self.classes)].sum(axis=1),
                "true": self.counts.sum(axis=0),
                **_columns("users", self.users),
                **_columns("producers", self.producers),
            }
        )
        frame.attrs["overall"] = _plain(self.overall)
        return frame

    @property
    def areas(self) -> DataFrame:
        """Area of every class: as mapped, and as estimated with SE and interval of 95 %, in `unit`."""
        import pandas as pd

        low, high = self.area.interval()
        scale = self.total_area
        figures = {
            "mapped": [math.nan if area is None else area for area in self.mapped_areas],
            "estimated": self.area.value * scale,
            "se": self.area.se * scale,
            "low": low * scale,
            "high": high * scale,
        }
        named = {f"{name}_{self.unit}": values for name, values in figures.items()}
        return pd.DataFrame({"class": self.classes, **named, "share": self.area.value, "share_se": self.area.se})

    @property
    def confusion(self) -> DataFrame:
        """Points, or pixels: rows are classes of the map, columns the truth."""
        import pandas as pd

        rows = [*self.classes, NO_CLASS]
        frame = pd.DataFrame(
            self.counts, index=pd.Index(rows, name="map"), columns=pd.Index(self.classes, name="truth")
        )
        return frame if self.counts[-1].any() else frame.iloc[:-1]

    def to_dataframe(self) -> DataFrame:
        """`areas` and `accuracy` side by side, a row for each class."""
        return self.areas.merge(self.accuracy, on="class")

    def as_json(self) -> dict[str, Any]:
        """Plain values; None for what is unknown."""
        scale = self.total_area
        low, high = self.area.interval()
        rows = []
        for i, name in enumerate(self.classes):
            rows.append({
                "name": name,
                "mapped_area": self.mapped_areas[i],
                "counted_as_mapped": int(self.counts[i].sum()),
                "counted_as_true": int(self.counts[:, i].sum()),
                "users_accuracy": _plain(self.users, i),
                "producers_accuracy": _plain(self.producers, i),
                "area": {
                    "value": _number(self.area.value[i] * scale), "se": _number(self.area.se[i] * scale),
                    "low": _number(low[i] * scale), "high": _number(high[i] * scale),
                    "share": _number(self.area.value[i]), "share_se": _number(self.area.se[i]),
                },
            })  # fmt: skip
        strata = [] if self.strata is None else [
            {"name": name, "area": float(size), "pixels": _number(pixels)}
            for name, size, pixels in zip(self.strata.names, self.strata.sizes, self.strata.pixels, strict=True)
        ]  # fmt: skip
        return {
            "map": self.map, "truth": self.truth, "design": self.design, "unit": self.unit,
            "total_area": self.total_area, "counted": self.points, "overall_accuracy": _plain(self.overall),
            "classes": rows, "strata": strata,
            "confusion": {
                "rows": [*self.classes, NO_CLASS], "columns": list(self.classes), "counts": self.counts.tolist(),
                "proportions": self.proportions.tolist(),
            },
            "calibration": None if self.calibration is None else self.calibration.as_json(),
            "notes": list(self.notes),
        }  # fmt: skip

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        counted = self.design == "counted"
        divisor, unit = self._display()
        what = number_of(self.points, "pixel" if counted else "point")
        overall = _share(float(self.overall.value), float(self.overall.se), counted)
        part = "what was counted" if counted else "the map"
        title = f"{self.map}: {overall} of {part} is right, by {what} of {self.truth}"
        suffix = "" if counted else " (95 %)"
        area_name = "true" if counted else "estimated"
        columns = ("class", f"mapped, {unit}", f"{area_name}, {unit}{suffix}", f"user's accuracy{suffix}",
                   f"producer's accuracy{suffix}", "pixels" if counted else "points")  # fmt: skip
        rows = []
        for i, name in enumerate(self.classes):
            area, se = (float(each[i]) * self.total_area / divisor for each in (self.area.value, self.area.se))
            mapped = self.mapped_areas[i]
            rows.append([
                name, "-" if mapped is None else _amount(mapped / divisor),
                _amount(area) if counted else f"{_amount(area)} ± {_amount(Z * se)}",
                _share(float(self.users.value[i]), float(self.users.se[i]), counted),
                _share(float(self.producers.value[i]), float(self.producers.se[i]), counted),
                f"{self.counts[i].sum():,}",
            ])  # fmt: skip
        return title, columns, rows

    def plot(self) -> Image.Image:
        """A chart of areas, as mapped and as estimated with intervals of 95 %, as a PIL image."""
        divisor, unit = self._display()
        counted = self.design == "counted"
        low, high = (ends * self.total_area / divisor for ends in self.area.interval())
        bars = [
            AreaBar(
                name=name,
                mapped=None if (mapped := self.mapped_areas[i]) is None else mapped / divisor,
                estimated=float(self.area.value[i]) * self.total_area / divisor,
                low=None if counted else float(low[i]), high=None if counted else float(high[i]),
                half=Z * float(self.area.se[i]) * self.total_area / divisor,
                colour=self.colours[i],
            )
            for i, name in enumerate(self.classes)
        ]  # fmt: skip
        right = _share(float(self.overall.value), float(self.overall.se), counted)
        return area_chart(bars, counted=counted, title=f"{Path(self.map).name}: {right} right", unit=unit)

    def save(self, path: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
        """Write what the suffix says; a folder or none gets everything.

        Args:
            path: `.json` report; `.csv` areas and accuracies; `.png` chart; a folder or no suffix: assessment.json,
                areas.csv, accuracy.csv, confusion.csv, areas.png, and reliability.png if there are probabilities.
            overwrite: replace existing files.

        Returns:
            Kind to path.

        Raises:
            UsageError, OutputError: an unknown suffix, or a file that exists or cannot be written.
        """
        has_curve = self.calibration is not None
        paths = plan_assessment(Path(path), reliability=has_curve, overwrite=overwrite, inputs=self.inputs)
        writers: dict[str, Callable[[Path], None]] = {
            "report": lambda place: write_json(place, self.as_json(), indent=2),
            "table": lambda place: _write_csv(place, self.to_dataframe()),
            "areas": lambda place: _write_csv(place, self.areas),
            "accuracy": lambda place: _write_csv(place, self.accuracy),
            "confusion": lambda place: _write_csv(place, self.confusion.reset_index()),
            "chart": lambda place: save_png(self.plot(), place, kind="chart"),
        }
        if self.calibration is not None:
            curve = self.calibration.plot
            writers["reliability"] = lambda place: save_png(curve(), place, kind="chart")
        with staging_all(paths, settings={"map": self.map, "truth": self.truth}, overwrite=overwrite) as places:
            for kind, place in places.items():
                with writing(place):
                    writers[kind](place)
        return paths

    def __repr__(self) -> str:
        return f"Assessment({self.table()[0]})"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.plot().save(buffer, format="PNG")
        return buffer.getvalue()

    def _display(self) -> tuple[float, str]:
        """What areas are divided by for people, and what they are called then."""
        return next((divisor, name) for least, divisor, name in _UNITS[self.unit] if self.total_area >= least)


def _columns(name: str, found: Estimate) -> dict[str, NDArray[np.float64]]:
    low, high = found.interval()
    return {name: found.value, f"{name}_se": found.se, f"{name}_low": low, f"{name}_high": high}


def _plain(found: Estimate, i: int | None = None) -> dict[str, float | None]:
    """Value, standard error and interval as numbers."""
    ends = found.interval()
    figures = (found.value, found.se, *ends)
    values = [float(each if i is None else np.asarray(each)[i]) for each in figures]
    return {name: _number(value) for name, value in zip(("value", "se", "low", "high"), values, strict=True)}


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def _share(value: float, se: float, counted: bool) -> str:
    if not math.isfinite(value):
        return "-"
    if counted:
        return f"{value:.1%}"
    return f"{value:.1%} ± {Z * se:.1%}" if math.isfinite(se) else f"{value:.1%} ± ?"


def _amount(value: float) -> str:
    if not math.isfinite(value):
        return "?"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _write_csv(path: Path, frame: DataFrame) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([csv_cell(str(name)) for name in frame.columns])
        for row in frame.itertuples(index=False):
            writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return "" if isinstance(value, float) and not math.isfinite(value) else csv_cell(value)


def zero_errors(found: Assessment) -> list[str]:
    """Sentences on classes whose sample shows no error, or no omission, if there are any."""
    if found.design == "counted":
        return []
    notes, points = [], found.counts[: len(found.classes)].sum(axis=1)
    right = [
        f"{name} ({points[i]:,} points: at least {1 - 3 / points[i]:.0%})"
        for i, name in enumerate(found.classes)
        if points[i] > 3 and found.users.value[i] == 1
    ]
    if right:
        notes.append(
            f"No error among the points mapped {', '.join(right)}: do not take a standard error of 0 at its word; the "
            "user's accuracy may be as low as what stands in brackets (rule of three)."
        )
    whole = [name for i, name in enumerate(found.classes) if points[i] and found.producers.value[i] == 1]
    if whole:
        notes.append(
            f"No point shows {', '.join(whole)} where the map has something else: what a map misses rarely, few points "
            "see, so these areas may be larger than their intervals say."
        )
    return notes
