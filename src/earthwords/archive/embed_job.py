"""Vectors of many images: computed by an executor, remembered in the journal of a run, damaged images left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from safetensors.numpy import load, save

from earthwords.archive.embed import (
    Array,
    Encode,
    ImagePreprocess,
    Source,
    embed_images,
    encode_batch,
    encoded_here,
    hash_of,
    identity,
    images_id,
    load_picture,
)
from earthwords.errors import EarthwordsError, SourceError
from earthwords.geo.vectors.aoi import OutsideError
from earthwords.jobs.executor import Executor, Local
from earthwords.jobs.job import Worker
from earthwords.jobs.journal import Journal
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.device import worker_device
from earthwords.models.weights.table import load_clip


@dataclass(frozen=True, kw_only=True)
class EncodeImages:
    """What a worker must know to encode batches of images."""

    model: str
    """As for `load_clip`."""
    preprocess: ImagePreprocess
    device: str = "cpu"
    offline: bool = False

    def __call__(self, worker: Worker, sources: Sequence[Source]) -> Array:
        """`(image, dim)` unit vectors.

        Raises:
            SourceError: an image cannot be read.
        """
        device = worker_device(self.device, worker.number)
        key = self.model, device, self.offline
        backbone = worker.keep("clip", key, lambda: load_clip(self.model, offline=self.offline, device=device).eval())
        return encode_batch(backbone, self.preprocess, sources)


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """Images to vectors; those that cannot be read are left out, unless it is the only one."""

    backbone: ClipBackbone
    encode: EncodeImages
    batch: int
    executor: Executor | None = None
    """None: this process."""
    journal: Journal | None = None
    """Its parts are the vectors of batches."""

    def run(
        self, sources: Sequence[str], *, tick: Callable[[float], None], say: Callable[[str], None]
    ) -> tuple[Array, list[str], tuple[str, ...]]:
        """Vectors, the sources they are of, and why others were left out.

        Args:
            tick: told the number of images done since the last call.
            say: told of those that are left out.

        Raises:
            SourceError: no image can be read.
            OutsideError: the area of interest touches none.
        """
        try:
            return self._embedded(sources, tick), list(sources), ()
        except (OutsideError, SourceError):
            if len(sources) == 1:
                raise
        executor, check = self.executor or Local(), partial(_damage, self.encode.preprocess, tuple(self.backbone.mean))
        damages = list(executor.in_order(check, sources))
        failures = [damage for damage in damages if damage is not None]
        for damage in failures:
            say(f"Left out: {damage}")
        kept = [source for source, damage in zip(sources, damages, strict=True) if damage is None]
        if not kept:
            raise failures[0]
        return self._embedded(kept, lambda done: None), kept, tuple(map(str, failures))

    def _embedded(self, sources: Sequence[str], tick: Callable[[float], None]) -> Array:
        encode: Encode = partial(encoded_here, self.backbone, self.encode.preprocess)
        if self.executor is not None:
            encode = partial(self.executor.ordered, self.encode)
        if self.journal is not None:
            encode = partial(remembered, self.journal, encode, images_id(self.backbone, self.encode.preprocess))
        preprocess = self.encode.preprocess
        return embed_images(self.backbone, sources, preprocess, batch=self.batch, tick=tick, encode=encode)


def remembered(journal: Journal, encode: Encode, how: str, batches: Sequence[Sequence[Source]]) -> Iterator[Array]:
    """Vectors of batches, those that are in the journal from there.

    Args:
        how: see `images_id`.
    """
    names = [hash_of([how, *map(identity, batch)]) for batch in batches]
    missing = {name: batch for name, batch in zip(names, batches, strict=True) if name not in journal}
    computed = zip(missing, encode(list(missing.values())), strict=True)
    for name in names:
        while name not in journal:
            done, vectors = next(computed)
            journal.save(done, save({"vectors": vectors}))
        yield load(journal.read(name))["vectors"]


def _damage(preprocess: ImagePreprocess, mean: Sequence[float], source: str) -> EarthwordsError | None:
    """Why an image cannot be read, or is not asked for."""
    try:
        load_picture(source, preprocess, mean)
    except (OutsideError, SourceError) as error:
        return error
    return None
