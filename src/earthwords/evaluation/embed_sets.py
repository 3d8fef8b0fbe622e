"""A set of pictures seen by a CLIP: a source of embeddings for `evaluation.suite`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.archive.embed import ImagePreprocess, embed_images, embed_texts, files_id, picture_notes, preprocess_for
from earthwords.data.classification.sets import SceneSet, read_tags
from earthwords.errors import Caution, UsageError
from earthwords.evaluation.metrics.counting import candidates
from earthwords.evaluation.metrics.zeroshot import unit
from earthwords.evaluation.tuned import Towers
from earthwords.geo.sources.network import Network
from earthwords.jobs.progress import Console
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.weights.fingerprint import TOWERS, tower_hash
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.text.known_words import word_cautions
from earthwords.text.templates import fill, load_templates
from earthwords.text.vocabulary import in_english

Index = NDArray[np.int64]
_BY_CLASS = ("zero-shot", "transductive")
"""Tasks that the names of classes are read for."""


class EncodedSet:
    """Encodes what tasks ask for, once, and remembers it on disk."""

    def __init__(
        self,
        scenes: SceneSet,
        backbone: ClipBackbone,
        preprocess: ImagePreprocess,
        *,
        model: str,
        templates: str | None,
        batch: int,
        console: Console,
    ) -> None:
        self.scenes, self.backbone, self.preprocess = scenes, backbone, preprocess
        self.batch, self.console = batch, console
        self.name, self.model, self.classes, self.size = scenes.name, model, scenes.classes, len(scenes.paths)
        self.templates = templates or scenes.templates
        self.prompt_texts = load_templates(self.templates)
        self._known: dict[int, NDArray[np.float32]] = {}

    def notes(self, task: str) -> tuple[str, ...]:
        """What is known of the words of a task; see `word_cautions`."""
        words = self.tag_names if task == "multi-label" else self.classes if task in _BY_CLASS else ()
        cautions = word_cautions([in_english(word) for word in words], self.backbone.lexicon, self._name)
        return (*cautions, *self._picture_cautions)

    @property
    def _name(self) -> str:
        return Path(self.backbone.weights_id).name

    @cached_property
    def _picture_cautions(self) -> tuple[str, ...]:
        """Cautions about colours and resolution of the pictures."""
        row = load_preset(DEFAULT_PRESET)
        gsd = row.gsd if self.model == row.weights else None
        notes = picture_notes(self.scenes.paths, self.preprocess, model=self._name, gsd=gsd)
        return tuple(note for note in notes if isinstance(note, Caution))

    @property
    def about(self) -> dict[str, Any]:
        """How pictures and words are encoded."""
        how = {"crop": "shorter side resized, middle square", "square": "both sides resized"}[self.preprocess.fit]
        shown = {"pixels": f"{self.preprocess.side} x {self.preprocess.side}, {how}", "templates": self.templates}
        bands = {} if self.preprocess.bands is None else {"bands": ",".join(map(str, self.preprocess.bands))}
        if self.preprocess.nodata is not None:
            bands["nodata"] = f"{self.preprocess.nodata:g}"
        return {**shown, **bands, **({} if self.preprocess.stretch == "auto" else {"stretch": self.preprocess.stretch})}

    @cached_property
    def fingerprint(self) -> str:
        """Of weights, files, words and splits."""
        scenes = self.scenes
        parts = [
            *(tower_hash(self.backbone, tower) for tower in TOWERS), str(self.preprocess), files_id(scenes.paths),
            scenes.classes, self.prompt_texts, scenes.captions,
            {name: index.tolist() for name, index in scenes.parts.items()},
            *([] if values is None else values.tolist() for values in (scenes.labels, scenes.counts)),
            *([] if scenes.table is None else [files_id([scenes.table])]),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    @cached_property
    def _tagged(self) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
        return read_tags(self.scenes)  # only for the task that needs it: a damaged table stops no other

    @property
    def tags(self) -> NDArray[np.bool_] | None:
        """`(image, label)` which of several labels images have."""
        return self._tagged[0]

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The words for each of them."""
        return self._tagged[1]

    @property
    def labels(self) -> Index | None:
        """`(image,)`."""
        return self.scenes.labels

    @property
    def counts(self) -> Index | None:
        """`(image,)` numbers of objects, 0 where that is not told."""
        return self.scenes.counts

    @property
    def parts(self) -> dict[str, Index]:
        """Images of `train`, `validation`, `test`."""
        return self.scenes.parts

    def embed(self, index: Index) -> NDArray[np.float32]:
        """`(index, dim)` unit vectors; whole splits are encoded at once, so that tasks share them."""
        wanted = {int(i) for i in index} - self._known.keys()
        groups = [group for group in self._groups() if wanted.intersection(group.tolist())]
        total = sum(map(len, groups))
        if total:
            with self.console.bar(f"encoding {self.name}", total, unit="images") as tick:
                for group in groups:
                    paths = [self.scenes.paths[i] for i in group]
                    vectors = embed_images(self.backbone, paths, self.preprocess, batch=self.batch, tick=tick)
                    self._known |= dict(zip(group.tolist(), unit(vectors), strict=True))
        return np.stack([self._known[int(i)] for i in index]) if len(index) else np.empty((0, self.backbone.dim), "f4")

    def towers(self, method: str) -> Towers:
        """What a method that trains them begins from; it reads the first prompt alone."""
        prompt = self.prompt_texts[0]
        return Towers(backbone=self.backbone, preprocess=self.preprocess, prompt=prompt, batch=self.batch)

    def paths(self, index: Index) -> list[Path]:
        """The files of some images."""
        return [self.scenes.paths[i] for i in index]

    def prompts(self) -> NDArray[np.float32]:
        """`(template, class, dim)`."""
        if not self.classes:
            raise UsageError(f"{self.name} tells no classes of its images, so they cannot be classified.")
        return self._filled(self.classes)

    def tag_prompts(self) -> NDArray[np.float32]:
        """`(template, label, dim)`, of several labels an image."""
        return self._filled(self.tag_names)

    def _filled(self, words: Sequence[str]) -> NDArray[np.float32]:
        sentences = [text for word in words for text in fill(self.prompt_texts, in_english(word))]
        vectors = self._texts("encoding class names", sentences)
        return vectors.reshape(len(words), len(self.prompt_texts), -1).swapaxes(0, 1)

    def captions(self, index: Index) -> tuple[NDArray[np.float32], Index]:
        """`(text, dim)` unit vectors of these images' sentences, and the place in `index` of the image of each."""
        pairs = [(text, place) for place, i in enumerate(index) for text in self.scenes.captions[i]]
        if not pairs:
            return np.empty((0, self.backbone.dim), np.float32), np.empty(0, np.int64)
        owner = np.array([place for _, place in pairs], np.int64)
        return unit(self._texts("encoding sentences", [text for text, _ in pairs])), owner

    def numbers(self, index: Index, style: str) -> NDArray[np.float32]:
        """`(index, 10)` similarities of images to their first sentences with one ... ten."""
        counts = self.scenes.counts
        missing = [i for i in index if not self.scenes.captions[i]]
        if counts is None or missing:
            raise UsageError(f"{self.name} has no sentence with a count for {self.scenes.paths[missing[0]].name}.")
        texts = [text for i in index for text in candidates(self.scenes.captions[i][0], int(counts[i]), style)]
        vectors = unit(self._texts("encoding sentences", texts)).reshape(len(index), -1, self.backbone.dim)
        return np.asarray(np.einsum("nd,nkd->nk", self.embed(index), vectors))

    def _texts(self, what: str, sentences: Sequence[str]) -> NDArray[np.float32]:
        with self.console.bar(what, len(sentences), unit="sentences") as tick:
            return embed_texts(self.backbone, sentences, tick=tick)

    def _groups(self) -> list[Index]:
        """The splits, and what is in none of them."""
        seen = np.zeros(self.size, bool)
        groups = []
        for part in self.parts.values():
            groups.append(part[~seen[part]])
            seen[part] = True
        return [group for group in (*groups, np.flatnonzero(~seen)) if len(group)]


def pictures(
    sets: Sequence[SceneSet],
    console: Console,
    *,
    model: str,
    templates: str | None,
    side: int | None,
    fit: str,
    bands: Sequence[int | str] | None,
    nodata: float | None,
    stretch: str,
    batch: int,
    device: str,
    offline: bool,
) -> Iterator[EncodedSet]:
    """Data sets seen by one model, which is loaded with the first."""
    from earthwords.models.device import choose_device
    from earthwords.models.weights.table import load_clip

    with console.download(f"loading {model}") as report:
        backbone = load_clip(model, offline=offline, device=choose_device(device), report=report).eval()
    network = Network.allowed(offline=offline, allow_remote_parts=False)
    preprocess = preprocess_for(
        backbone, side=side, fit=fit, bands=bands, nodata=nodata, stretch=stretch, network=network
    )
    for scenes in sets:
        yield EncodedSet(scenes, backbone, preprocess, model=model, templates=templates, batch=batch, console=console)
