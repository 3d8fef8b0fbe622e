"""The views that were made last, as the server holds them: pictures, single places, files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.sources.served import lonlat_bounds, pixel_of_lonlat
from earthwords.serve.errors import not_found
from earthwords.serve.views.parts import SeenView, ViewPart
from earthwords.serve.views.picture import score_picture

MOST_BYTES = 256 * 2**20
"""Of all views that are held."""
SUFFIXES = {"png": ".png", "geojson": ".geojson", "gpkg": ".gpkg", "geotiff": ".tif"}


@dataclass(frozen=True, kw_only=True)
class HeldView:
    """A view with its picture."""

    id: str
    seen: SeenView
    picture: bytes
    body: dict[str, Any]
    """As the API tells it."""

    @property
    def nbytes(self) -> int:
        """About what it takes."""
        return len(self.seen.result) + 4 * self.seen.scores.top.nbytes + len(self.picture)

    def at(self, lng: float, lat: float) -> dict[str, Any]:
        """What is at a place in degrees."""
        told: dict[str, Any] = {"class": None, "score": 0.0, "second": None, "second_score": 0.0}
        pixel = pixel_of_lonlat(self.seen.placed, lng, lat)
        if pixel is not None:
            titles = self.seen.vocabulary.titles
            top, score, second, second_score = self.seen.scores.at(*pixel)
            if top >= 0:
                told = {
                    "class": titles[top], "score": score, "second": titles[second] if second >= 0 else None,
                    "second_score": second_score,
                }  # fmt: skip
        return {**told, "lng": lng, "lat": lat}

    def file_name(self, format: str) -> str:
        """Of an export."""
        return f"view-{self.id[:8]}{SUFFIXES[format]}"


class Gallery:
    """The last views by id; several threads may ask."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.nbytes = 0
        self._held: OrderedDict[str, HeldView] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def find(self, id: str) -> HeldView | None:
        """A view that is still there."""
        with self._lock:
            if id in self._held:
                self._held.move_to_end(id)
            return self._held.get(id)

    def get(self, id: str) -> HeldView:
        """A view.

        Raises:
            Problem: there is none of that id, or it has gone to make room.
        """
        found = self.find(id)
        if found is None:
            raise not_found("view (any more)", id)
        return found

    def hold(self, view: HeldView) -> None:
        """Keep a view; those not asked for longest go."""
        with self._lock:
            if (earlier := self._held.pop(view.id, None)) is not None:
                self.nbytes -= earlier.nbytes
            self._held[view.id] = view
            self.nbytes += view.nbytes
            while self.nbytes > self.most_bytes and len(self._held) > 1:
                self.nbytes -= self._held.popitem(last=False)[1].nbytes

    def forget_taught(self, name: str) -> None:
        """Drop what a teaching has made."""
        with self._lock:
            for id in [id for id, view in self._held.items() if view.body["taught"] == name]:
                self.nbytes -= self._held.pop(id).nbytes


def view_id(part: ViewPart, asked: Mapping[str, Any]) -> str:
    """The same for the same request."""
    told = json.dumps([repr(part.key), dict(asked)], sort_keys=True)
    return hashlib.blake2s(told.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def held(id: str, part: ViewPart, seen: SeenView, *, fast: bool, taught: str | None) -> HeldView:
    """A view as the API tells it; made once."""
    vocabulary, georeferenced = seen.vocabulary, part.raster.facts.georeferenced
    picture, corners, size = score_picture(seen.scores, seen.placed)
    measured = PixelAreas(seen.grid) if georeferenced else None
    height = seen.grid.height
    pixels = np.ones((height, 1)) if measured is None else measured.block(0, height)
    colours = ["#{:02x}{:02x}{:02x}".format(*entry.colour) for entry in vocabulary.classes]
    areas = seen.scores.areas(len(vocabulary), pixels)
    body = {
        "id": id, "source": part.raster.id, "fast": fast, "taught": taught,
        "bounds": list(lonlat_bounds(seen.placed) or part.raster.facts.bounds), "corners": corners,
        "width": size[0], "height": size[1], "gsd_m": seen.grid.gsd_m if georeferenced else None,
        "classes": [
            {"title": entry.title, "colour": colour, "queries": list(entry.queries),
             "background": number == vocabulary.background}
            for number, (entry, colour) in enumerate(zip(vocabulary.classes, colours, strict=True))
        ],
        "thresholds": seen.thresholds, "scores_url": f"/api/views/{id}/scores.png",
        "histogram": {
            "unit": "px" if measured is None else measured.unit,
            "observed": float(np.broadcast_to(pixels, seen.scores.top.shape)[seen.scores.top > 0].sum()),
            "classes": [
                {"title": entry.title, "colour": colour, "areas": [round(float(area), 3) for area in row]}
                for entry, colour, row in zip(vocabulary.classes, colours, areas, strict=True)
            ],
        },
        "notes": seen.notes, "seconds": round(seen.seconds, 3), "cached": seen.cached,
    }  # fmt: skip
    return HeldView(id=id, seen=seen, picture=picture, body=body)
