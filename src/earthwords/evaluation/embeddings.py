"""Embeddings that were computed elsewhere, as a folder or a file of arrays.

By name, in any of `.safetensors`, `.npz`, or one `.npy` / `.pt` an array:

    images (image, dim)      labels (image,)          texts (template, class, dim)
    captions (text, dim)     image_of_caption (text,)
    numbers (image, 10, dim) counts (image,)          of RemoteCount: the sentence with one ... ten
    train, validation, test  indices of images

`classes` come from `classes.json`, `classes.txt` or the "classes" of `reference.json`. RS-TransCLIP's cache is read
too: `images.pt`, `classes.pt` (the labels) and a `texts_TEMPLATE.pt` for each template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import EarthwordsError, SourceError, UsageError, brief, did_you_mean
from earthwords.evaluation.metrics.zeroshot import unit
from earthwords.files.plaintext import read_text
from earthwords.files.reading import check_file, parse_json, read_bytes
from earthwords.models.weights.bounds import check_zip
from earthwords.models.weights.checkpoint import read_pytorch, read_state

if TYPE_CHECKING:
    from earthwords.evaluation.tuned import Towers

Array = NDArray[Any]
_MOST_UNPACKED = 100
"""Labels and the like compress well; NumPy compresses where it is asked to."""
NAMES = (
    "images",
    "labels",
    "texts",
    "captions",
    "image_of_caption",
    "numbers",
    "counts",
    "train",
    "validation",
    "test",
)
_SUFFIXES = (".safetensors", ".npz", ".npy", ".pt")


@dataclass(frozen=True, kw_only=True)
class StoredEmbeddings:
    """One model's embeddings of one data set. A source for `evaluation.suite`."""

    name: str
    model: str
    arrays: dict[str, Array]
    classes: tuple[str, ...]
    fingerprint: str
    """Hash of the files."""

    def notes(self, task: str) -> tuple[str, ...]:
        """Nothing: whose words these vectors are is not known."""
        return ()

    @property
    def about(self) -> dict[str, Any]:
        """Nothing is known of how they came about."""
        return {"embeddings": "precomputed"}

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """`(image,)`."""
        found = self.arrays.get("labels")
        return None if found is None else found.astype(np.int64)

    @property
    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Images of `train`, `validation`, `test`."""
        return {k: self.arrays[k].astype(np.int64) for k in ("train", "validation", "test") if k in self.arrays}

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.arrays["images"])

    @property
    def counts(self) -> NDArray[np.int64] | None:
        """`(image,)` numbers of objects."""
        found = self.arrays.get("counts")
        return None if found is None else found.astype(np.int64)

    @property
    def tags(self) -> NDArray[np.bool_] | None:
        """`(image, label)` which of several labels images have."""
        found = self.arrays.get("tags")
        return None if found is None else found.astype(bool)

    @property
    def tag_names(self) -> tuple[str, ...]:
        """Labels have no words here: their numbers."""
        return tuple(map(str, range(self._need("tags").shape[1])))

    def tag_prompts(self) -> NDArray[np.float32]:
        """`(template, label, dim)`."""
        return self._need("tag_texts").astype(np.float32)

    def towers(self, method: str) -> Towers:
        """Raises `UsageError`: there are none.

        Args:
            method: that asks for them.
        """
        raise UsageError(f"{method} trains the model itself, and {self.name} holds vectors alone: give --data, images.")

    def paths(self, index: NDArray[np.int64]) -> list[Path]:
        """None: there are no files."""
        return []

    def embed(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """`(index, dim)` unit vectors."""
        return unit(self.arrays["images"][index])

    def prompts(self) -> NDArray[np.float32]:
        """`(template, class, dim)`."""
        return self._need("texts").astype(np.float32)

    def captions(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """`(text, dim)` unit vectors of these images' sentences, and the place in `index` of the image of each."""
        place = np.full(self.size, -1)
        place[index] = np.arange(len(index))
        owner = place[self._need("image_of_caption")]
        return unit(self._need("captions")[owner >= 0]), owner[owner >= 0]

    def numbers(self, index: NDArray[np.int64], style: str) -> NDArray[np.float32]:
        """`(index, 10)` similarities to the sentences with one ... ten; `style` was chosen when they were encoded."""
        return np.asarray(np.einsum("nd,nkd->nk", self.embed(index), unit(self._need("numbers")[index])))

    def _need(self, name: str) -> Array:
        if name not in self.arrays:
            raise UsageError(f"The embeddings {self.name} have no {name!r}; there are: {', '.join(self.arrays)}.")
        return self.arrays[name]


def read_stored(path: Path) -> list[StoredEmbeddings]:
    """Every model's embeddings in a folder, or those of one file.

    Each `.safetensors` or `.npz` of a folder is a model of its own; loose arrays are one together.

    Raises:
        UsageError: nothing is there.
        SourceError: a file is damaged, or its arrays do not fit each other.
    """
    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*"))[:50] if path.parent.is_dir() else []
        raise UsageError(
            f"There are no embeddings at {path}. {did_you_mean(path.name, beside) if beside else ''}".strip()
        )
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES)
    folder = path.parent if path.is_file() else path
    whole = [file for file in files if file.suffix in (".safetensors", ".npz")]
    if whole:
        return [_stored(folder, file.stem, [file]) for file in whole]
    loose = [file for file in files if file.stem in (*NAMES, "classes") or file.stem.startswith("texts_")]
    if not any(file.stem == "images" for file in loose):
        raise UsageError(f"{path} holds no embeddings: expected .safetensors, .npz, or images.npy (.pt) and labels.")
    return [_stored(folder, folder.name, loose)]


def _stored(folder: Path, model: str, files: list[Path]) -> StoredEmbeddings:
    arrays: dict[str, Array] = {}
    templates = []
    for file in files:
        for name, value in _arrays(file):
            if name.startswith("texts_"):
                if "averageprompt" not in name:
                    templates.append(value)
            elif name in (*NAMES, "classes"):
                arrays["labels" if name == "classes" else name] = value
    if templates and "texts" not in arrays:
        arrays["texts"] = _stacked(templates, arrays, folder)
    classes = _classes(folder, arrays)
    digest = hashlib.sha256("\n".join(classes).encode())
    for file in files:
        digest.update(read_bytes(file))
    _check(folder / model, arrays, classes)
    fingerprint = digest.hexdigest()[:32]
    return StoredEmbeddings(name=folder.name, model=model, arrays=arrays, classes=classes, fingerprint=fingerprint)


def _arrays(file: Path) -> Iterator[tuple[str, Array]]:
    """Names and arrays of a file; nothing in it is run."""
    try:
        if file.suffix == ".npz":
            check_zip(file, times=_MOST_UNPACKED)
            with np.load(file, allow_pickle=False) as table:
                yield from {name: table[name] for name in table.files}.items()
        elif file.suffix == ".npy":
            check_file(file)
            yield file.stem, np.load(file, allow_pickle=False)
        elif file.suffix == ".pt":
            value = read_pytorch(file)
            yield file.stem, (value.float() if value.is_floating_point() else value).numpy()
        else:
            for name, tensor in read_state(file).items():
                yield name, (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except EarthwordsError as error:
        raise SourceError(str(error)) from error
    except Exception as error:  # the libraries raise whatever the damage makes them stumble over
        raise SourceError(f"Cannot read embeddings from {file}: {brief(error)}.") from error


def _stacked(templates: list[Array], arrays: dict[str, Array], folder: Path) -> Array:
    """`(template, class, dim)`, each file `(class, dim)` or transposed."""
    dim = arrays["images"].shape[-1]
    same = [each if each.ndim == 2 and each.shape[1] == dim else each.T for each in templates]
    if len({each.shape for each in same}) != 1 or same[0].ndim != 2:
        raise SourceError(f"The texts_*.pt in {folder} do not fit each other and the images.")
    return np.stack(same)


def _classes(folder: Path, arrays: dict[str, Array]) -> tuple[str, ...]:
    for file in (folder / "classes.json", folder / "classes.txt", folder / "reference.json"):
        if not file.is_file():
            continue
        try:
            text = read_text(file)
            found = text.split("\n") if file.suffix == ".txt" else parse_json(text)
        except (OSError, ValueError) as error:
            raise SourceError(f"Cannot read {file}: {brief(error)}.") from error
        found = found.get("classes", []) if isinstance(found, dict) else found
        if names := tuple(str(name).strip() for name in found if str(name).strip()):
            return names
    texts, labels = arrays.get("texts"), arrays.get("labels")
    count = 0 if labels is None or not labels.size else int(labels.max()) + 1
    count = texts.shape[1] if texts is not None and texts.ndim == 3 else count
    return tuple(f"class {i}" for i in range(count))


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape is the wanted one, of which -1 may be anything."""
    return len(found) == len(wanted) and all(w in (-1, f) for w, f in zip(wanted, found, strict=True))


def _check(where: Path, arrays: dict[str, Array], classes: tuple[str, ...]) -> None:
    """Raises `SourceError` where shapes or indices do not fit."""
    images = arrays.get("images")
    if images is None or images.ndim != 2 or not len(images):
        raise SourceError(f"{where}: images must be (image, dim), got {None if images is None else images.shape}.")
    count, dim = map(int, images.shape)
    expected = {
        "labels": (count,), "texts": (-1, len(classes), dim), "captions": (-1, dim), "image_of_caption": (-1,),
        "numbers": (count, 10, dim), "counts": (count,), "train": (-1,), "validation": (-1,), "test": (-1,),
    }  # fmt: skip
    limits = dict.fromkeys(("image_of_caption", "train", "validation", "test"), int(count))
    limits["labels"] = len(classes)
    for name, shape in expected.items():
        found = arrays.get(name)
        if found is None:
            continue
        if not _fits(found.shape, shape):
            wanted = tuple("any" if side == -1 else side for side in shape)
            raise SourceError(f"{where}: {name} must have the shape {wanted}, got {found.shape}.")
        if name in limits and found.size:
            low, high = int(found.min()), int(found.max())
            if low < 0 or high >= limits[name]:
                raise SourceError(f"{where}: {name} must be 0..{limits[name] - 1}, got {low}..{high}.")
    if ("captions" in arrays) != ("image_of_caption" in arrays) or (
        "captions" in arrays and len(arrays["captions"]) != len(arrays["image_of_caption"])
    ):
        raise SourceError(f"{where}: captions and image_of_caption belong together, one for one.")
