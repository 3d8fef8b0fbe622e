"""Images and words as unit vectors of one space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import Caution, UsageError, printable
from earthwords.files.plaintext import utf8
from earthwords.geo.bands import Bands
from earthwords.geo.scene import Scene
from earthwords.geo.sources.network import Network
from earthwords.inference.cautions import Tally, resolution_notes
from earthwords.inference.limits import check_batch
from earthwords.inference.windows.predictor import WindowedPredictor
from earthwords.inference.windows.text_bank import build_text_bank
from earthwords.jobs.progress import Report
from earthwords.jobs.threads import Pool, one_core
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.device import choose_device
from earthwords.models.weights.fingerprint import TOWERS, tower_hash, weights_hash
from earthwords.models.weights.resolve import resolve
from earthwords.presets import DEFAULT_PRESET, SegmentPreset
from earthwords.text.templates import load_templates
from earthwords.types import ClassName, Raster, Vocabulary, Window

MOST_SIDE = 2048
"""Pixels a side of an image that is read as it is; a larger one is shrunk while it is read."""

T = TypeVar("T")
Vector = NDArray[np.float32]


class Embedder(WindowedPredictor[ClipBackbone]):
    """A CLIP whose image and text towers meet in one space; of the preset, weights and templates count.

    Example:
        >>> embedder = earthwords.Embedder.from_preset("tiny")
        >>> likeness = embedder.image("ortho.tif") @ embedder.words("a town with many roofs")
    """

    def __init__(self, preset: SegmentPreset, backbone: ClipBackbone, *, batch: int | None = None) -> None:
        super().__init__(preset, backbone, batch=batch)
        self.templates = load_templates(preset.templates)

    @classmethod
    def from_preset(
        cls,
        preset: str | SegmentPreset = DEFAULT_PRESET,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        batch: int | None = None,
        offline: bool = False,
        allow_remote_parts: bool = False,
        report: Report = lambda done, total: None,
    ) -> Embedder:
        """Load the weights of a preset, or others.

        Args:
            preset: a name, a TOML file, or a row.
            model: other CLIP weights: a name, a Hugging Face id, a folder or a file.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            batch: images encoded at once; by default one a core, on a GPU 8.
            offline: use files that are here already, never the network.
            allow_remote_parts: as for `open_scene`, of the images that are read.
            report: told about downloads.

        Returns:
            It, ready to embed.

        Raises:
            UsageError, WeightsError: unknown names, unreachable or unfitting weights.
        """
        network = Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)
        found = resolve(preset, model=model)
        check_batch(batch)
        backbone = found.load_backbone(device=choose_device(device), offline=offline, report=report)
        made = cls(found.row, backbone, batch=batch)
        made.network = network
        return made

    def __repr__(self) -> str:
        row = self.preset
        towers = f"images of {self.side} px and words to {self.dim} numbers"
        return f"Embedder({row.name!r}: weights {row.weights}, {towers}, on {self.backbone.device})"

    @property
    def side(self) -> int:
        """Pixels a side of the images that the model was trained on."""
        return int(self.backbone.model.vision_model.config.image_size)

    @property
    def dim(self) -> int:
        """Entries of a vector."""
        return self.backbone.dim

    @cached_property
    def weights_hash(self) -> str:
        """Of both towers, and how images are normalised."""
        towers = [tower_hash(self.backbone, name) for name in TOWERS]
        return weights_hash({}, self.backbone.mean, self.backbone.std, *towers)

    def at_tile_gsd(self, scene: Scene, gsd: float | None) -> Scene:
        """The same open scene at `gsd`, the ground sample distance of an index; where none was named, or the size of a
        pixel is unknown, at `working_gsd`."""
        return self.at_working_gsd(scene) if gsd is None or scene.native.gsd_m is None else scene.at(gsd)

    def words(self, text: str) -> Vector:
        """`(dim,)` of a sentence: the mean over the preset's templates.

        Raises:
            UsageError: there are no words.
            WeightsError: the model has no text tower.
        """
        text = " ".join(text.split())
        if not text:
            raise UsageError("There are no words to search for; say something, or give an image.")
        if utf8(text) != text:
            raise UsageError(f"The words '{printable(text)}' are not UTF-8 text; type them again.")
        word = Vocabulary(classes=(ClassName(names=(text,), colour=(0, 0, 0)),))
        return np.asarray(build_text_bank(self.backbone, word, self.templates).vectors[0])

    def image(
        self,
        source: Any,
        *,
        bounds: tuple[float, float, float, float] | None = None,
        bands: Bands | None = None,
        gsd: float | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
        mask: str | Path | ArrayLike | None = None,
        transform: Affine | Sequence[float] | None = None,
        crs: Any = None,
    ) -> Vector:
        """`(dim,)` of a raster, of the part in `bounds` (its CRS), of an open rasterio dataset, an xarray object, or an
        array `(row, col, 3)`; the arguments are those of `open_scene`."""
        how: dict[str, Any] = {"bands": bands, "gsd": gsd, "bounds": bounds, "nodata": nodata, "stretch": stretch}
        how |= {"mask": mask, "transform": transform, "crs": crs}
        with self.open(source, **how) as scene:
            whole = Window(row=0, col=0, height=scene.grid.height, width=scene.grid.width)
            if scene.region == Window(row=0, col=0, height=scene.native.height, width=scene.native.width) and (
                max(scene.grid.shape) <= MOST_SIDE
            ):
                raster = scene.read(whole)
            else:
                raster = scene.shrunk(scene.region, most=MOST_SIDE)
        if not raster.valid.any():
            raise UsageError(f"{scene.source} has no valid pixel in the part asked for.")
        return np.asarray(self._encode([self.prepared(raster)])[0])

    @torch.inference_mode()
    def prepared(self, raster: Raster) -> Tensor:
        """`(3, side, side)`: normalised, the mean colour where nothing was observed, resized with antialiasing."""
        with one_core():
            pixels = torch.from_numpy(np.ascontiguousarray(raster.data, np.float32))
            valid = torch.from_numpy(raster.valid)
            mean, std = (pixels.new_tensor(v)[:, None, None] for v in (self.backbone.mean, self.backbone.std))
            if pixels.shape[1:] != (self.side, self.side):
                filled = torch.where(valid, pixels, mean)
                size = (self.side, self.side)
                resized = F.interpolate(filled[None], size=size, mode="bicubic", antialias=True, align_corners=False)
                return (resized[0].clamp_(0, 1) - mean) / std
            return (pixels - mean).div_(std).mul_(valid)

    def encoded(self, items: Iterable[T], raster: Callable[[T], Raster | None]) -> Iterator[tuple[T, Vector | None]]:
        """Items in their order, each with the vector of its raster, if it has one.

        On a CPU every image is computed alone by one core, on a GPU in full batches: the bits of a vector do not
        depend on the others.
        """

        def one(item: T) -> tuple[T, Vector | None]:
            found = raster(item)
            return item, None if found is None else self._encode([self.prepared(found)])[0]

        if self._on_cpu:
            with Pool(self.threads) as pool:
                yield from pool.ordered(one, items)
            return
        waiting: list[tuple[T, Tensor | None]] = []
        for item in items:
            found = raster(item)
            waiting.append((item, None if found is None else self.prepared(found)))
            if sum(pixels is not None for _, pixels in waiting) == self.batch:
                yield from self._flush(waiting)
                waiting = []
        yield from self._flush(waiting)

    def _flush(self, waiting: list[tuple[T, Tensor | None]]) -> Iterator[tuple[T, Vector | None]]:
        images = [pixels for _, pixels in waiting if pixels is not None]
        vectors = iter(self._encode(images) if images else ())
        for item, pixels in waiting:
            yield item, None if pixels is None else next(vectors)

    @torch.inference_mode()
    def _encode(self, images: Sequence[Tensor]) -> Vector:
        """`(image, dim)` unit vectors."""
        with one_core():
            pixels = torch.stack(list(images)).to(self.backbone.device)
            found = self._computed(lambda batch: F.normalize(self.backbone.encode_image(batch), dim=-1), pixels)
            return found.float().cpu().numpy()


def tiles_notes(embedder: Embedder, sizes: Iterable[float], *, what: str) -> tuple[str, ...]:
    """Cautions about tiles that were seen at a resolution which the weights never learned.

    Args:
        sizes: metres of their pixels as they were seen; NaN: unknown, of which nothing is said.
        what: they are, in the plural.
    """
    tally, total = Tally(), 0
    for size in sizes:
        gsd = None if np.isnan(size) else float(size)
        notes = resolution_notes(gsd, gsd, model=embedder.learner, gsd=embedder.preset.gsd)
        tally.add(note for note in notes if isinstance(note, Caution))
        total += 1
    return tally.lines(total, what=what)
