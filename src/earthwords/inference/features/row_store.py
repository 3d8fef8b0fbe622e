"""The finished rows of an unfinished run and its components, on disk in the folder of its journal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from earthwords.files.reading import parse_json
from earthwords.inference.features.pca import Components
from earthwords.inference.features.strips import FeatureStrip
from earthwords.inference.windows.array_file import save_arrays, shapes_in

COMPONENTS = "components.safetensors"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A strip of an earlier run."""

    row: int
    """First row, counted from the top of the region."""
    values: NDArray[np.float32]
    """`(channel, row, col)`, NaN where nothing was observed."""
    tokens: NDArray[np.float32] | None
    """`(component, row, col)`, see `FeatureStrip`."""


class RowStore:
    """Finished rows, from the top, in files of some strips each."""

    def __init__(self, folder: Path, *, width: int, channels: int, coloured: int) -> None:
        """
        Args:
            folder: the journal's.
            width: columns.
            channels: of the values.
            coloured: components of the tokens; 0: no tokens.
        """
        self.folder = folder
        self._layers = {"values": channels, "tokens": coloured} if coloured else {"values": channels}
        self._width = width
        self.rows = 0
        """That are there, from the top."""
        self.failures: list[str] = []
        """What was left out of them."""
        self.observed = False
        """Whether any of them holds a valid pixel."""
        while (height := self._height(self.rows)) is not None:
            with safe_open(self._path(self.rows), framework="np") as file:
                about = file.metadata()
            self.failures = parse_json(about["failures"])
            self.observed |= about["observed"] == "yes"
            self.rows += height

    def save(self, strips: Sequence[FeatureStrip], failures: Sequence[str]) -> None:
        """Remember the strips that follow, and all that was left out so far."""
        arrays = {"values": np.concatenate([strip.values for strip in strips], axis=1)}
        tokens = [strip.tokens for strip in strips if strip.tokens is not None]
        if tokens:
            arrays["tokens"] = np.concatenate(tokens, axis=1)
        self.observed |= any(bool(strip.valid.any()) for strip in strips)
        about = {
            "failures": json.dumps(list(failures)),
            "observed": "yes" if self.observed else "no",
            "strips": json.dumps([len(strip.valid) for strip in strips]),
        }
        save_arrays(self._path(self.rows), arrays, about=about)
        self.rows += sum(len(strip.valid) for strip in strips)

    def strips(self) -> Iterator[Rows]:
        """Those of earlier runs, as they were saved."""
        row, stop = 0, self.rows
        while row < stop:
            with safe_open(self._path(row), framework="np") as file:
                first = 0
                for height in parse_json(file.metadata()["strips"]):
                    part = {name: file.get_slice(name)[:, first : first + height] for name in self._layers}
                    yield Rows(row=row + first, values=part["values"], tokens=part.get("tokens"))
                    first += height
            row += first

    def _path(self, row: int) -> Path:
        return self.folder / f"rows-{row:09}.safetensors"

    def _height(self, row: int) -> int | None:
        """Rows of the file that begins with this one; None: there is no whole one."""
        shapes = shapes_in(self._path(row))
        height = shapes["values"][1] if len(shapes.get("values", ())) == 3 else 0
        wanted = {name: (count, height, self._width) for name, count in self._layers.items()}
        return height if height and shapes == wanted else None


def save_components(folder: Path, components: Components, *, sampled: int, failures: Sequence[str]) -> None:
    """Remember components, from how many tokens they are, and what of these could not be read."""
    arrays = {name: value.numpy() for name, value in vars(components).items()}
    save_arrays(folder / COMPONENTS, arrays, about={"tokens": str(sampled), "failures": json.dumps(list(failures))})


def read_components(folder: Path) -> tuple[Components, int, list[str]] | None:
    """What `save_components` has remembered, if anything."""
    if not shapes_in(folder / COMPONENTS):
        return None
    with safe_open(folder / COMPONENTS, framework="pt") as file:
        about = file.metadata()
        # Copies: MKL rounds by where numbers begin in memory, and those of a mapped file begin anywhere.
        found = Components(**{name: file.get_tensor(name).clone() for name in file.keys()})  # noqa: SIM118
    return found, int(about["tokens"]), parse_json(about["failures"])
