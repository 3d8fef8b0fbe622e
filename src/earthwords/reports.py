"""What becomes of a piece of work: the reports of verbs, class by class, zone by zone, scene by scene."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earthwords.errors import number_of


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """What was found of one class."""

    label: int
    name: str
    pixels: int
    share: float
    """Of the pixels with an observation, 0..1."""
    area_m2: float | None
    """None without a CRS."""
    mean_score: float | None
    """Mean probability where this class was chosen; None where it was nowhere."""
    polygons: int | None
    """None when no polygons were made."""
    undecided: float | None = None
    """Share of these pixels, 0..1, whose second best class is nearly as probable; None where nobody knows."""


@dataclass(frozen=True, kw_only=True)
class ZoneReport:
    """What was found in a zone, or outside of all."""

    zone: int
    """Row of the file, from 1; the one behind the last row is outside of all."""
    name: str
    area: float
    """What was observed of it, square metres, or pixels without a CRS."""
    classes: dict[str, dict[str, float | None]]
    """Title to figures, such as `area_m2` and `share`, or `count` and `share`; None where nothing was observed."""


@dataclass(frozen=True, kw_only=True)
class SceneReport:
    """What became of a scene."""

    source: str
    outputs: dict[str, Path]
    """Kind, such as `labels` or `polygons`, to path."""
    classes: tuple[ClassReport, ...]
    nodata_share: float
    """Of all pixels, 0..1."""
    settings: dict[str, str]
    notes: tuple[str, ...]
    """What was assumed, and what is known of the result's worth."""
    seconds: dict[str, float]
    """Wall time: loading (of a command, from the begin of its process), segmenting, finishing, total."""
    unlabelled_share: float = 0.0
    """Of the observed pixels, 0..1: those without a class, as no word fits there or is probable enough."""
    undecided_share: float | None = None
    """Of the pixels with a label, 0..1: those whose two best classes are close; None where nobody knows."""
    undecided_margin: float | None = None
    """What close means: `(first - second) / (first + second)` of their probabilities is below this."""
    rounding_share: float | None = None
    """Of the observed pixels, 0..1: those that are decided by less than the rounding of a reduced precision; None for
    float32."""
    failures: tuple[str, ...] = ()
    """What could not be read or computed and was left out, where that was allowed."""
    zones: tuple[ZoneReport, ...] = ()
    """Of the zones asked for, and of what is outside of all; empty where none were asked for."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `report.json` and `--json`."""
        return {**asdict(self), "outputs": {kind: str(path) for kind, path in self.outputs.items()}}


@dataclass(frozen=True, kw_only=True)
class FeatureReport:
    """What became of the features of a scene."""

    source: str
    dst: Path
    outputs: dict[str, Path]
    """Kind, such as `features` or `preview`, to path."""
    method: str
    bands: tuple[str, ...]
    """Of the raster, described."""
    variance: tuple[float, ...]
    """Share of the variance of the tokens that each band holds, 0..1; empty for all channels."""
    height: int
    width: int
    nodata_share: float
    """Of all pixels, 0..1."""
    settings: dict[str, str]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    """Wall time: loading, sampling (for the components), upsampling, finishing, total."""
    failures: tuple[str, ...] = ()
    """What could not be read or computed and was left out, where that was allowed."""

    @property
    def megapixels(self) -> float:
        """Pixels of the result, millions."""
        return self.height * self.width / 1e6

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `report.json` and `--json`."""
        outputs = {kind: str(path) for kind, path in self.outputs.items()}
        return {**asdict(self), "dst": str(self.dst), "outputs": outputs, "megapixels": self.megapixels}

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        title = (
            f"{self.source}: {self.height:,} x {self.width:,} pixels by {self.method}, "
            f"{self.seconds['total']:.1f} s; see {self.dst}"
        )
        if not self.variance:
            return title, ("bands", "variance"), [[f"{self.bands[0]} to {self.bands[-1]}", "all"]]
        shares = zip(self.bands, self.variance, strict=True)
        rows = [[band.split(" (")[0], f"{share:.1%}"] for band, share in shares]
        return title, ("band", "variance"), [*rows, ["together", f"{sum(self.variance):.1%}"]]


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What became of many scenes."""

    file: Path
    """Where the same is written down."""
    scenes: tuple[dict[str, Any], ...]
    """Source, status (done, before: by an earlier run, failed), seconds, reason, outputs, notes."""
    seconds: float
    """Wall time."""
    left_out: tuple[str, ...] = ()
    """What lies among the scenes and is none: outputs of earlier runs."""
    notes: tuple[str, ...] = ()
    """What is known of the worth of the scenes that were done now, those that are alike together."""

    @property
    def exit_code(self) -> int:
        """1 if a scene failed."""
        return int(any(scene["status"] == "failed" for scene in self.scenes))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "file": str(self.file)}

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        failed = sum(scene["status"] == "failed" for scene in self.scenes)
        title = f"{number_of(len(self.scenes), 'scene')}, {failed} failed, {self.seconds:.1f} s; see {self.file}"
        rows = [[s["source"], s["status"], f"{s['seconds']:.1f} s", s["reason"]] for s in self.scenes]
        return title, ("scene", "status", "time", "reason"), rows


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What became of an archive."""

    index: Path
    sources: int
    """In the index, with those of earlier runs."""
    tiles: int
    skipped: int
    """Tiles with too few valid pixels, which are not in the index."""
    added: int
    changed: int
    kept: int
    """Sources that were new, had changed, or were left alone."""
    vanished: tuple[str, ...]
    """Sources of the index that are not there any more."""
    pruned: bool
    """Whether those were left out."""
    failures: tuple[str, ...]
    """A sentence for every source that could not be read."""
    embedded: int
    """Tiles that this run made vectors of."""
    seconds: float
    """Wall time."""
    notes: tuple[str, ...] = ()
    """What is known of the worth of these vectors."""

    @property
    def output(self) -> Path:
        """Where it lies."""
        return self.index

    @property
    def exit_code(self) -> int:
        """1 if a source could not be read."""
        return int(bool(self.failures))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "index": str(self.index)}

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        what = f"{number_of(self.tiles, 'tile')} of {number_of(self.sources, 'source')}"
        title = f"{self.index}: {what}, {self.seconds:.1f} s"
        gone = f"{len(self.vanished):,} {'left out' if self.pruned else 'still in the index (--prune leaves them out)'}"
        rows = [
            ["new", f"{self.added:,}"],
            ["changed", f"{self.changed:,}"],
            ["kept", f"{self.kept:,}"],
            ["vanished", gone if self.vanished else "0"],
            ["failed", f"{len(self.failures):,}"],
            ["tiles embedded", f"{self.embedded:,} ({self.embedded / max(self.seconds, 1e-9):,.0f} a second)"],
            ["tiles without enough valid pixels", f"{self.skipped:,}"],
        ]
        return title, ("sources", "number"), rows
