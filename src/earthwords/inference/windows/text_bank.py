"""Words to unit vectors, remembered on disk.

Each word's vector is a file of its own, named by the text tower, the templates and the word: asking for
one more class encodes that one only.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import EarthwordsError
from earthwords.files.atomic import atomic_path, sweep
from earthwords.files.reading import check_file
from earthwords.jobs.threads import one_core
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.clip.words import encode_words
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.table import cache_folder
from earthwords.types import TextBank, Vocabulary


def build_text_bank(
    backbone: ClipBackbone, vocabulary: Vocabulary, templates: Sequence[str], *, cache: Path | None = None
) -> TextBank:
    """Encode every word of a vocabulary: mean of the normalised template embeddings, normalised.

    Args:
        cache: folder of remembered vectors; by default in `models.weights.cache_folder()`.
    """
    folder = (cache or cache_folder() / "text") / tower_hash(backbone, "text")
    words = vocabulary.queries
    paths = {word: folder / f"{_key(templates, word)}.npy" for word in words}
    known = {word: vector for word, path in paths.items() if (vector := _recall(path, backbone.dim)) is not None}
    if len(known) < len(paths):
        sweep(folder)
    for word in words:
        if word not in known:
            with one_core():  # alone and in one order: the same bits whatever else is asked for
                known[word] = encode_words(backbone, [word], templates)[0].cpu().numpy()
            _remember(paths[word], known[word])
    return TextBank(
        vectors=np.stack([known[word] for word in words]),
        query_class=vocabulary.query_class,
        vocabulary=vocabulary,
        weights_id=backbone.weights_id,
    )


def _key(templates: Sequence[str], word: str) -> str:
    return hashlib.sha256("\n".join([*templates, "", word]).encode()).hexdigest()[:32]


def _recall(path: Path, dim: int) -> NDArray[np.float32] | None:
    """The vector in a file; None if there is none, or the file is damaged."""
    try:
        check_file(path)
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if not isinstance(vector, np.ndarray) or vector.shape != (dim,) or vector.dtype != np.float32:
        return None
    return vector if abs(float(np.linalg.norm(vector)) - 1) < 1e-3 else None


def _remember(path: Path, vector: NDArray[np.float32]) -> None:
    """Best effort: a cache that cannot be written costs time, not the result."""
    with suppress(EarthwordsError, OSError), atomic_path(path, overwrite=True) as part, part.open("wb") as file:
        np.save(file, vector, allow_pickle=False)
