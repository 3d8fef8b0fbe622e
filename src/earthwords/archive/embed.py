"""Whole images and sentences to vectors, remembered on disk in pieces so that an interrupted run goes on.

That is no journal: what a piece holds is named by weights, files and sentences alone, so tasks, sets and later runs
share it, it stays when a run is over, and settings that do not matter to it refuse nothing.

A picture is first resized, then cut: `crop` as CLIP does it (the shorter side to the model's size, then the middle
square), `square` resizes both sides to it and cuts nothing. JPEG, PNG and the like are read by PIL; any other raster is
opened as a scene (bands, 16 bits, nodata), and what was not observed takes the model's mean colour.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from earthwords.errors import Caution, EarthwordsError, SourceError, UsageError, unknown
from earthwords.files.atomic import atomic_path, sweep
from earthwords.files.paths import PICTURES, trouble
from earthwords.files.reading import check_file
from earthwords.geo.masks import split_mask
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.sources.network import Network, is_remote
from earthwords.geo.vectors.aoi import Aoi
from earthwords.inference.cautions import GREY, Tally, colour_cautions, resolution_notes
from earthwords.jobs.threads import Pool, one_core
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.table import cache_folder
from earthwords.types import Raster, Window

FITS = ("crop", "square")
MOST_LOOKED_AT = 500
"""Images whose headers tell what is known of their worth; of more, as many evenly drawn."""
PIECE = 512
"""Images or sentences of a remembered piece."""
_MOST_SIDE = 1024
"""A larger scene is first averaged to about this, by the longer side."""
Array = NDArray[np.float32]
Item = TypeVar("Item")
Source: TypeAlias = str | Path
Encode: TypeAlias = Callable[[Sequence[Sequence[Source]]], Iterator[Array]]
"""Vectors of batches, in their order."""


@dataclass(frozen=True, kw_only=True)
class ImagePreprocess:
    """How pictures become the model's input."""

    side: int
    """Pixels a side of what the model sees."""
    fit: str = "crop"
    """A name of `FITS`."""
    bands: tuple[int | str, ...] | None = None
    nodata: float | None = None
    """Value that means "no observation", instead of the file's own."""
    stretch: str = "auto"
    mask: str | None = field(default=None, repr=False)
    """As for `open_scene`."""
    aoi: Aoi | None = field(default=None, repr=False)
    """Outside of it nothing is observed; what its bounds leave of a raster is the picture."""
    network: Network = field(default=Network.NAMED, repr=False, compare=False)
    """What may be reached to read them."""

    @property
    def reading(self) -> dict[str, Any]:
        """How a raster is opened."""
        how = {"bands": self.bands, "nodata": self.nodata, "stretch": self.stretch, "mask": self.mask, "aoi": self.aoi}
        return {**how, **self.network.as_options()}

    def settings(self) -> dict[str, str]:
        """What is given, by the names of the options."""
        bands = None if self.bands is None else ",".join(map(str, self.bands))
        values = {
            "image-size": self.side, "fit": self.fit, "bands": bands, "nodata": self.nodata, "stretch": self.stretch,
            "mask": self.mask, "aoi": self.aoi,
        }  # fmt: skip
        return {name: str(value) for name, value in values.items() if value is not None}

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise unknown("fit", self.fit, FITS)


def preprocess_for(
    backbone: ClipBackbone,
    *,
    side: int | None = None,
    fit: str = "crop",
    bands: Sequence[int | str] | None = None,
    nodata: float | None = None,
    stretch: str = "auto",
    mask: str | Path | None = None,
    aoi: Aoi | None = None,
    network: Network = Network.NAMED,
) -> ImagePreprocess:
    """The model's own size unless told otherwise.

    Raises:
        UsageError: a side that is no multiple of the patch.
    """
    side = int(backbone.model.config.vision_config.image_size) if side is None else side
    if side < backbone.patch or side % backbone.patch:
        raise UsageError(f"The side must be a multiple of the model's {backbone.patch} pixels, got {side}.")
    return ImagePreprocess(
        side=side,
        fit=fit,
        bands=None if bands is None else tuple(bands),
        nodata=nodata,
        stretch=stretch,
        mask=None if mask is None else str(mask),
        aoi=aoi,
        network=network,
    )


def embed_images(
    backbone: ClipBackbone,
    sources: Sequence[Source],
    preprocess: ImagePreprocess,
    *,
    batch: int = 64,
    tick: Callable[[float], None] = lambda done: None,
    cache: Path | None = None,
    encode: Encode | None = None,
) -> Array:
    """`(image, dim)` unit vectors of pictures or rasters, each as a whole.

    Args:
        batch: images in one call of the model.
        tick: told the number of images done since the last call.
        cache: folder of remembered vectors; by default in `models.weights.cache_folder()`.
        encode: computes batches; default: threads of this process.

    Raises:
        SourceError: an image cannot be read.
    """
    place = (cache or cache_folder() / "images") / images_id(backbone, preprocess)
    encode = encode or partial(encoded_here, backbone, preprocess)
    return _pieces(sources, list(map(identity, sources)), batch, encode, place, backbone.dim, tick)


def encode_batch(backbone: ClipBackbone, preprocess: ImagePreprocess, sources: Sequence[Source]) -> Array:
    """`(image, dim)` unit vectors; on a CPU one core computes them, so their bits are the same whoever does it.

    Raises:
        SourceError: an image cannot be read.
    """
    with Pool(2) as pool:
        read = pool.ordered(lambda source: load_picture(source, preprocess, backbone.mean), sources)
        pixels = np.stack(list(read))
    with torch.inference_mode(), one_core():
        images = torch.from_numpy(pixels).to(backbone.device).permute(0, 3, 1, 2).float() / 255
        mean, std = (images.new_tensor(v)[None, :, None, None] for v in (backbone.mean, backbone.std))
        return F.normalize(backbone.encode_image((images - mean) / std).float(), dim=-1).cpu().numpy()


def encoded_here(
    backbone: ClipBackbone, preprocess: ImagePreprocess, batches: Sequence[Sequence[Source]]
) -> Iterator[Array]:
    """Batches one after another on a GPU; on a CPU as many at once as there are cores, but no more than a piece."""
    most = max(1, PIECE // max(map(len, batches), default=1))
    threads = min(torch.get_num_threads(), most) if backbone.device.type == "cpu" else 1
    with Pool(threads) as pool:
        yield from pool.ordered(partial(encode_batch, backbone, preprocess), batches)


def embed_texts(
    backbone: ClipBackbone,
    sentences: Sequence[str],
    *,
    tick: Callable[[float], None] = lambda done: None,
    cache: Path | None = None,
) -> Array:
    """`(sentence, dim)` vectors as the model gives them, not normalised."""
    place = (cache or cache_folder() / "sentences") / tower_hash(backbone, "text")

    def encode(batches: Sequence[Sequence[str]]) -> Iterator[Array]:
        for part in batches:
            with torch.inference_mode():
                vectors = backbone.encode_text(part).float().cpu().numpy()
            yield vectors

    return _pieces(sentences, list(sentences), PIECE, encode, place, backbone.dim, tick)


def picture(source: str | Path, preprocess: ImagePreprocess, mean: Sequence[float]) -> Image.Image:
    """A picture or raster as a whole, or what lies in the area of interest.

    `mean` (0..1) stands where nothing was observed.

    Raises:
        SourceError: it cannot be read.
    """
    plain = (
        preprocess.bands is None
        and preprocess.nodata is None
        and preprocess.mask is None
        and preprocess.aoi is None
        and preprocess.stretch == "auto"
    )
    image = _plain(source) if plain else None
    return _scene(str(source), preprocess, mean) if image is None else image


def load_picture(source: str | Path, preprocess: ImagePreprocess, mean: Sequence[float]) -> NDArray[np.uint8]:
    """`picture`, resized and cut to `(side, side, 3)`.

    Raises:
        SourceError: it cannot be read.
    """
    image, side = picture(source, preprocess, mean), preprocess.side
    if preprocess.fit == "square":
        return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    width, height = image.size
    if width <= height:
        size = (side, int(side * height / width))
    else:
        size = (int(side * width / height), side)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def picture_notes(
    sources: Sequence[str | Path], preprocess: ImagePreprocess, *, model: str, gsd: tuple[float, float] | None
) -> tuple[str, ...]:
    """What headers tell of the colours of pictures and rasters, and of the resolution at which a model sees rasters.

    Those that cannot be read say nothing.

    Args:
        model: its name, as the user knows it.
        gsd: ground sample distances it learned, finest and coarsest, metres; None: nobody knows.
    """
    tally, sources = Tally(), sources[:: 1 + len(sources) // MOST_LOOKED_AT]
    for source in sources:
        with suppress(EarthwordsError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            tally.add(_cautions(source, preprocess, model, gsd))
    return tally.lines(len(sources), what="images looked at")


def _cautions(
    source: str | Path, preprocess: ImagePreprocess, model: str, gsd: tuple[float, float] | None
) -> tuple[str, ...]:
    if preprocess.bands is None and not is_remote(str(source)) and Path(source).suffix.lower() in PICTURES:
        check_file(source)
        with Image.open(source) as image:
            return (Caution(GREY),) if image.mode in ("1", "L", "LA", "I", "F", "I;16") else ()
    with open_scene(source, **preprocess.reading) as scene:
        own = scene.native.gsd_m
        if own is None:  # as of most pictures
            return colour_cautions(scene)
        shorter, longer = sorted(scene.native.shape)
        shrunk = (shorter if preprocess.fit == "crop" else longer) / preprocess.side
        return (*resolution_notes(own, own * max(1.0, shrunk), model=model, gsd=gsd), *colour_cautions(scene))


def _plain(source: str | Path) -> Image.Image | None:
    """A picture of three bands of bytes without transparency; None: it must be opened as a scene."""
    if is_remote(str(source)) or Path(source).suffix.lower() not in PICTURES or trouble(source) is not None:
        return None  # what is wrong, `open_scene` tells
    try:
        with Image.open(source) as image:
            if image.mode not in ("RGB", "L", "P") or "transparency" in image.info:
                return None
            return image.convert("RGB") if max(image.size) <= 4 * _MOST_SIDE else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # GDAL says what is wrong with it


def _scene(source: str, preprocess: ImagePreprocess, mean: Sequence[float]) -> Image.Image:
    with open_scene(source, **preprocess.reading) as scene:
        raster = _whole(scene)
    if not raster.valid.any():
        raise SourceError(f"{source} has no valid pixel.")
    data = np.where(raster.valid, raster.data, np.array(mean, np.float32)[:, None, None])
    return Image.fromarray(np.moveaxis(np.rint(255 * data).astype(np.uint8), 0, -1))


def _whole(scene: Scene) -> Raster:
    """All of a scene, or of what its area of interest touches, averaged to about `_MOST_SIDE`."""
    shrunk, aoi = scene.within(_MOST_SIDE), scene.aoi
    if aoi is None:
        height, width = shrunk.grid.shape
        return shrunk.read(Window(row=0, col=0, height=height, width=width))
    longer = max(scene.native.shape) * _MOST_SIDE / max(aoi.window.height, aoi.window.width)
    if longer < max(scene.native.shape):
        shrunk = scene.within(round(longer))
    else:
        shrunk = scene.at(None)
    tall, wide = (new / old for new, old in zip(shrunk.grid.shape, scene.native.shape, strict=True))
    row, col = int(aoi.window.row * tall), int(aoi.window.col * wide)
    window = Window(
        row=row, col=col, height=max(1, round(aoi.window.row_stop * tall) - row),
        width=max(1, round(aoi.window.col_stop * wide) - col),
    )  # fmt: skip
    raster = shrunk.read(window)
    return replace(raster, valid=raster.valid & aoi.inside(window, shrunk.grid.shape))


def images_id(backbone: ClipBackbone, preprocess: ImagePreprocess) -> str:
    """Hash of all that the vector of an image depends on beside the image."""
    how = [preprocess.side, preprocess.fit, preprocess.bands, preprocess.nodata, preprocess.stretch]
    mask: list[Any] = [] if preprocess.mask is None else [preprocess.mask, identity(split_mask(preprocess.mask)[0])]
    mask += [] if preprocess.aoi is None else [preprocess.aoi.digest, preprocess.aoi.of_scene]
    text = json.dumps([tower_hash(backbone, "vision"), backbone.mean, backbone.std, *map(str, how + mask)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def files_id(sources: Sequence[str | Path]) -> str:
    """Hash of a list of files with their sizes and times."""
    return hash_of(list(map(identity, sources)))


def identity(source: str | Path) -> str:
    """A file with its size and time; anything else by its name."""
    with suppress(OSError):
        found = Path(source).stat()
        return f"{Path(source).resolve()}|{found.st_size}|{found.st_mtime_ns}"
    return str(source)


def hash_of(texts: Sequence[str]) -> str:
    """Of some identities or sentences."""
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _pieces(
    items: Sequence[Item],
    identities: Sequence[str],
    batch: int,
    encode: Callable[[Sequence[Sequence[Item]]], Iterator[Array]],
    place: Path,
    dim: int,
    tick: Callable[[float], None],
) -> Array:
    """Vectors of all items; batches never reach beyond a piece."""
    sweep(place)
    starts = range(0, len(items), PIECE)
    paths = [place / f"{hash_of(identities[start : start + PIECE])}.npy" for start in starts]
    parts = [items[start : start + PIECE] for start in starts]
    cuts = [[part[i : i + batch] for i in range(0, len(part), batch)] for part in parts]
    known = [_recall(path, (len(part), dim)) for path, part in zip(paths, parts, strict=True)]
    missing = [part for cut, vectors in zip(cuts, known, strict=True) if vectors is None for part in cut]
    computed = encode(missing)
    out = [np.empty((0, dim), np.float32)]
    for path, cut, vectors in zip(paths, cuts, known, strict=True):
        if vectors is None:
            vectors = np.concatenate([next(computed) for _ in cut])
            with suppress(EarthwordsError, OSError), atomic_path(path, overwrite=True) as staged:
                np.save(staged, vectors, allow_pickle=False)
        out.append(vectors)
        tick(len(vectors))
    return np.concatenate(out)


def _recall(path: Path, shape: tuple[int, int]) -> Array | None:
    """The vectors in a file; None if there is none, or it is damaged."""
    try:
        check_file(path)
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    right = isinstance(found, np.ndarray) and found.shape == shape and found.dtype == np.float32
    return found if right and np.isfinite(found).all() else None
