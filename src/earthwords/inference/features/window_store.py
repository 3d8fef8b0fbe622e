"""Windows that take minutes each, on disk until their rows are finished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.numpy import load_file
from torch import Tensor

from earthwords.inference.windows.array_file import save_arrays, shapes_in
from earthwords.types import Window


class WindowStore:
    """Windows of an unfinished run, a file each in the folder of its journal. Threads may share it."""

    def __init__(self, folder: Path, *, channels: int) -> None:
        """
        Args:
            channels: numbers a pixel; a file with another number of them is none.
        """
        self.folder = folder
        self.channels = channels

    def has(self, places: Sequence[Window]) -> bool:
        """Whether all of these are there."""
        return all(self._has(place) for place in places)

    def read(self, places: Sequence[Window], device: torch.device | str) -> Iterator[Tensor]:
        """Values `(channel, h, w)` of windows that are there."""
        for place in places:
            yield torch.from_numpy(load_file(self._path(place))["values"]).to(device)

    def save(self, places: Sequence[Window], values: Sequence[Tensor | None]) -> None:
        """Remember windows, but for those that were left out, which deserve another try."""
        for place, found in zip(places, values, strict=True):
            if found is not None:
                save_arrays(self._path(place), {"values": found.cpu().numpy()}, about={})

    def count(self, places: Iterable[Window]) -> int:
        """How many of these are there."""
        return sum(self._has(place) for place in places)

    def forget_all_but(self, places: Iterable[Window]) -> None:
        """Remove the windows that are needed no more."""
        needed = {self._path(place) for place in places}
        for path in self.folder.glob("window-*.safetensors"):
            if path not in needed:
                path.unlink()

    def _path(self, place: Window) -> Path:
        return self.folder / f"window-{place.row}-{place.col}.safetensors"

    def _has(self, place: Window) -> bool:
        return shapes_in(self._path(place)).get("values") == (self.channels, place.height, place.width)
