"""What the process of views can do: maps of parts, marks that teach, things, sentences, places to mark, similar places.

Only this process loads the model. Everything here is called from one thread.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from earthwords.errors import UsageError
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.segment.view import SceneView
from earthwords.jobs.job import Tick
from earthwords.models.taught import load_taught
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.presets import load_preset
from earthwords.serve.errors import not_found
from earthwords.serve.library import note
from earthwords.serve.state import ServeSettings
from earthwords.serve.views.features import collection, marks_on
from earthwords.serve.views.parts import SeenView, ViewPart
from earthwords.serve.views.picture import TopScores
from earthwords.types import Grid, Window

if TYPE_CHECKING:
    from earthwords.geo.scene import Scene
    from earthwords.inference.refer.referrer import Referrer
    from earthwords.inference.segment.result import SegmentationResult

MOST_OPEN = 8
"""Views whose sources stay open."""
MOST_COUNTED = 2048
"""Pixels a side in which things are counted at once."""
MOST_TAUGHT = 16
"""Teachings in memory; others are read again from the workspace."""


class Studio:
    """A warm model, and what is known of the parts that were looked at."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.base = Segmenter.from_preset(settings.preset, device=settings.device, offline=True)
        self._views: OrderedDict[tuple[Any, ...], tuple[SceneView, Grid]] = OrderedDict()
        self._taught: OrderedDict[str, Segmenter] = OrderedDict()
        self._referrer: Referrer | None = None
        self._warm()

    def _warm(self) -> None:
        """Compile and load what the first request would wait for."""
        side = self.base.preset.tile_size
        with self.base.view(np.full((side, side, 3), 90, np.uint8)) as view:
            view.predict(["road", "water"])
        self.base.parts.clear()

    def look(
        self, *, part: ViewPart, words: Sequence[str], fast: bool, taught: str | None, against: Any, tick: Tick
    ) -> SeenView:
        """A map of a part."""
        began, before = time.perf_counter(), self.base.parts.computed
        segmenter = self._segmenter(taught)
        view, placed = self._view(part)
        result = view.predict(
            list(words) or None, by=segmenter, threshold=0.0,
            against=None if taught and against == "auto" else against, coarse=fast, probabilities=True, tick=tick,
        )  # fmt: skip
        assert result.probabilities is not None
        vocabulary, own = result.vocabulary, dict(segmenter.preset.thresholds)
        scores = TopScores.of(result.probabilities, result.labels, nodata=vocabulary.nodata)
        thresholds = {title: own.get(title, segmenter.preset.threshold) for title in vocabulary.titles}
        notes = [note(text) for text in result.notes]
        if part.shrunk:
            notes.append(note(f"Seen at {max(result.grid.shape)} pixels a side; look closer for the source's own."))
        kept = pickle.dumps(replace(result, probabilities=None), protocol=5)
        return SeenView(
            result=kept, vocabulary=vocabulary, grid=result.grid, scores=scores, placed=placed, thresholds=thresholds,
            notes=notes, seconds=time.perf_counter() - began, cached=self.base.parts.computed == before,
        )  # fmt: skip

    def export(
        self, *, result: bytes, thresholds: Mapping[str, float], name: str, min_area: float, simplify: float, tick: Tick
    ) -> bytes:
        """A map at other thresholds, by title, as a file of a name.

        Args:
            result: of a `SeenView`.
        """
        found: SegmentationResult = pickle.loads(result)
        vocabulary = found.vocabulary
        levels = np.array([thresholds[title] for title in vocabulary.titles], np.float32)
        seen = found.labels != vocabulary.nodata
        below = seen & (found.score < levels[np.where(seen, found.labels, 0)])
        other = vocabulary.nodata if vocabulary.background is None else vocabulary.background
        labels = np.where(below, other, found.labels).astype(found.labels.dtype)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            replace(found, labels=labels).save(path, min_area=min_area, simplify=simplify)
            return path.read_bytes()

    def teach(
        self, *, part: ViewPart, words: Sequence[str], marks: dict[str, Any], onto: str | None, name: str, tick: Tick
    ) -> dict[str, Any]:
        """Learn from marks in a part, and keep it in the workspace under a name."""
        view, placed = self._view(part)
        own = view.scene.native
        if not part.shrunk:
            placed = part.raster.facts.placed
        found = view.teach(marks_on(marks, own, placed), list(words), onto=self._segmenter(onto))
        assert found.teaching is not None
        found.teaching.save(taught_folder(self.settings, name))
        self._remember(name, found)
        report = found.teaching.report
        rows = [
            {"class": row.name, "marks": row.marks, "words_iou": row.words_iou, "taught_iou": row.taught_iou}
            for row in report.classes
        ]
        return {"method": report.chosen, "rows": rows, "notes": [note(text) for text in report.notes]}

    def forget(self, *, name: str, tick: Tick) -> None:
        """Drop a teaching from the memory."""
        self._taught.pop(name, None)

    def refer(self, *, part: ViewPart, sentence: str, every: bool, tick: Tick) -> dict[str, Any]:
        """Where a sentence points to."""
        if self._referrer is None:
            from earthwords.inference.refer.referrer import Referrer

            self._referrer = Referrer.from_preset(device=self.settings.device, offline=True)
        pixels, how = self._pixels(part)
        result = self._referrer.predict(pixels, [sentence], every=every, **how)
        rows = result.polygons()
        areas = rows.columns.get("area_m2", rows.columns.get("area_px"))
        assert areas is not None
        properties = [
            {"sentence": sentence, "score": round(float(score), 4), "area_m2": round(float(area), 2)}
            for score, area in zip(rows.columns["score"], areas, strict=True)
        ]
        return collection(list(rows.geometries), properties, result.grid, part.placed(result.grid), result.notes)

    def count(self, *, part: ViewPart, words: Sequence[str], tick: Tick) -> dict[str, Any]:
        """The things of a part, as points."""
        from earthwords.geo.vectors.features import read_features
        from earthwords.tasks.count import count

        if max(part.window.height, part.window.width) > MOST_COUNTED:
            raise UsageError(
                f"Things are counted in at most {MOST_COUNTED:,} pixels a side: look closer, or begin a job."
            )
        settings, grid = self.settings, part.raster.facts.grid
        properties: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            dst = Path(folder, "found.gpkg")
            report: Any = count(
                str(part.raster.real), dst, text=list(words), bounds=grid.window(part.window).bounds, shapes="points",
                preset=settings.preset, device=settings.device, offline=True, resume=False, quiet=True,
            )  # fmt: skip
            numbers: dict[str, int] = report.counts
            shapes: list[Any] = []
            if sum(numbers.values()):
                rows = read_features(dst, kinds="mixed", what="instances")
                shapes = list(rows.geometries)
                pairs = zip(rows.columns["class"], rows.columns["score"], strict=True)
                properties = [{"class": str(title), "score": round(float(score), 4)} for title, score in pairs]
        found = collection(shapes, properties, grid, part.raster.facts.placed, report.notes)
        return {**found, "counts": {title: int(number) for title, number in numbers.items()}}

    def suggest(
        self, *, part: ViewPart, words: Sequence[str], taught: str | None, marks: dict[str, Any] | None, n: int,
        tick: Tick,
    ) -> dict[str, Any]:  # fmt: skip
        """What to mark next in a part."""
        pixels, how = self._pixels(part)
        grid = Grid(height=len(pixels), width=pixels.shape[1], transform=how["transform"], crs=how["crs"])
        known = marks_on(marks, grid, part.placed(grid)) if marks and marks["features"] else None
        found = self._segmenter(taught).suggest(n, list(words) or None, scenes=pixels, marks=known, **how)
        shapes = [place.shape(tile=False) for place in found.places]
        properties = [
            {"rank": place.rank, "reason": _reason(place.guess, place.runner_up), "guess": place.guess,
             "runner_up": place.runner_up, "uncertainty": round(place.uncertainty, 4)}
            for place in found.places
        ]  # fmt: skip
        own = found.places[0].grid if found.places else grid
        return collection(shapes, properties, own, part.placed(own), found.notes)

    def similar(
        self, *, folder: Path, words: str | None, part: ViewPart | None, limit: int, tick: Tick
    ) -> dict[str, Any]:
        """Tiles of an archive that are like words or a place, as footprints in degrees."""
        from earthwords.archive.index import Index

        with Index.open(folder, offline=True) as index:
            like = None if part is None else np.asarray(np.ma.filled(self._pixels(part)[0], 0))
            found = index.search(words, like=like, top=limit)
            layer = found.to_geodataframe()
        features = [
            {"type": "Feature", "geometry": shapely.geometry.mapping(row.geometry),
             "properties": {"score": round(float(row.score), 5), "name": str(row.source)}}
            for row in layer.to_crs(4326).itertuples()
        ]  # fmt: skip
        return {"type": "FeatureCollection", "features": features, "notes": [note(text) for text in found.notes]}

    def _segmenter(self, taught: str | None) -> Segmenter:
        """The base, or what marks have taught it.

        Raises:
            Problem: there is no such teaching.
        """
        if taught is None:
            return self.base
        if taught not in self._taught:
            folder = taught_folder(self.settings, taught)
            if not folder.is_dir():
                raise not_found("teaching", taught)
            head = load_taught(folder)
            if head.base != tower_hash(self.base.clip.backbone, "vision"):
                raise UsageError(f"The teaching {taught} belongs to another preset than {self.settings.preset}.")
            made = Segmenter(load_preset(str(folder)), self.base.encoder, taught=head, batch=self.base.batch)
            made.network, made.parts = self.base.network, self.base.parts
            self._remember(taught, made)
        self._taught.move_to_end(taught)
        return self._taught[taught]

    def _remember(self, name: str, taught: Segmenter) -> None:
        self._taught[name] = taught
        while len(self._taught) > MOST_TAUGHT:
            self._taught.popitem(last=False)

    def _view(self, part: ViewPart) -> tuple[SceneView, Grid]:
        """A part, open, and where the map shows it; those that were looked at last stay open."""
        if part.key in self._views:
            self._views.move_to_end(part.key)
            return self._views[part.key]
        if part.shrunk:
            pixels, how = self._pixels(part)
            view = self.base.view(pixels, **how, stretch="none")
            placed = part.placed(view.scene.native)
        else:
            scene = self._opened(part)
            scene.region = self._snapped(scene, part.window)
            view = SceneView(self.base, scene, parts=self.base.parts)
            placed = part.raster.facts.placed.window(scene.region)
        self._views[part.key] = view, placed
        while len(self._views) > MOST_OPEN:
            self._views.popitem(last=False)[1][0].close()
        return view, placed

    def _snapped(self, scene: Scene, window: Window) -> Window:
        """The part with its sides moved by half a step of the windows at most, so that few of them touch it."""
        stride = self.base.preset.tile_size - self.base.preset.overlap
        tall, wide = scene.native.shape
        row, height = _moved(window.row, window.row_stop, stride * tall / scene.grid.height, tall)
        col, width = _moved(window.col, window.col_stop, stride * wide / scene.grid.width, wide)
        return Window(row=row, col=col, height=height, width=width)

    def _opened(self, part: ViewPart) -> Scene:
        return self.base.open(str(part.raster.real))

    def _pixels(self, part: ViewPart) -> tuple[np.ma.MaskedArray[Any, Any], dict[str, Any]]:
        """A part as a picture `(row, col, 3)` of bytes, at most `max_side` pixels a side, and where it lies."""
        with self._opened(part) as scene:
            raster = scene.shrunk(part.window, most=part.max_side)
        picture = np.rint(np.moveaxis(raster.data, 0, -1) * 255).astype(np.uint8)
        hidden = np.broadcast_to(~raster.valid[..., None], picture.shape)
        how = {"transform": raster.grid.transform, "crs": raster.grid.crs}
        return np.ma.masked_array(picture, mask=hidden), how


def taught_folder(settings: ServeSettings, name: str) -> Path:
    """Where a teaching lies in the workspace."""
    return settings.workspace / "taught" / name


def _moved(first: int, stop: int, step: float, length: int) -> tuple[int, int]:
    """Both ends on the nearest multiple of a step, or where there is no more; the start and the length."""
    start = round(round(first / step) * step)
    end = length if stop == length else min(length, round(round(stop / step) * step))
    return (start, end - start) if end - start >= min(step, stop - first) else (first, stop - first)


def _reason(guess: str, runner_up: str | None) -> str:
    return guess if runner_up is None else f"{guess} or {runner_up}"
