"""What `teach` leaves in a folder: a vector for each word of each class, which pixels are multiplied with like words.

`taught.json` holds the classes and how they were learned, `taught.safetensors` the numbers. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError, WeightsError, brief
from earthwords.files.atomic import atomic_path, writing
from earthwords.files.plaintext import write_json
from earthwords.files.reading import check_file, read_json
from earthwords.types import ClassName, Colour, TextBank, Vocabulary

CARD, NUMBERS = "taught.json", "taught.safetensors"
_MOST_CLASSES, _MOST_QUERIES, _MOST_DIM = 1000, 10_000, 65_536


@dataclass(frozen=True, kw_only=True)
class TaughtHead:
    """Classes as they were taught."""

    vocabulary: Vocabulary
    weight: NDArray[np.float32]
    """`(query, dim)`: its product with a pixel's feature is the logit, before `bias`."""
    bias: NDArray[np.float32]
    """`(query,)`."""
    query_class: NDArray[np.int64]
    """`(query,)`."""
    base: str
    """Hash of the image tower whose pixels it was taught with."""
    method: str
    """How it was learned, such as `anchored 1`; `words` where marks did not help."""
    cue_weight: NDArray[np.float32] | None = None
    """`(query, cue)` of the standardised bands, colours and textures; None: words' features alone."""
    cue_mean: NDArray[np.float32] | None = None
    cue_std: NDArray[np.float32] | None = None
    """`(cue,)` of the marks and what surrounds them."""

    def lacking(self, wanted: Vocabulary) -> Vocabulary | None:
        """The classes that were not taught, None if there are none."""
        known = self._known()
        others = tuple(c for c in wanted.classes if c.title.casefold() not in known)
        return Vocabulary(classes=others) if others else None

    def _known(self) -> dict[str, int]:
        return {name.title.casefold(): i for i, name in enumerate(self.vocabulary.classes)}

    def bank(self, wanted: Vocabulary, *, words: TextBank | None, logit_scale: float, weights_id: str) -> TextBank:
        """The vectors of the classes that are wanted, in the preset's cosines.

        Args:
            wanted: classes; of those that were not taught the words alone count.
            words: of `lacking(wanted)`.
            logit_scale: what cosines are multiplied with later.
            weights_id: of the text tower.
        """
        known, scale, other = self._known(), np.float32(logit_scale), 0
        width = 0 if self.cue_weight is None else self.cue_weight.shape[1]
        vectors, biases, cues, owner = [], [], [], []
        for index, name in enumerate(wanted.classes):
            taught = known.get(name.title.casefold())
            if taught is None:
                assert words is not None
                rows = words.vectors[words.query_class == other]
                bias, cue = np.zeros(len(rows), np.float32), np.zeros((len(rows), width), np.float32)
                other += 1
            else:
                mine = self.query_class == taught
                rows, bias = self.weight[mine] / scale, self.bias[mine] / scale
                cue = np.zeros((len(rows), 0), np.float32) if self.cue_weight is None else self.cue_weight[mine] / scale
            vectors.append(rows)
            biases.append(bias)
            cues.append(cue)
            owner.append(np.full(len(rows), index, np.int64))
        return TextBank(
            vectors=np.concatenate(vectors), query_class=np.concatenate(owner), vocabulary=wanted,
            weights_id=weights_id, bias=np.concatenate(biases), cues=np.concatenate(cues) if width else None,
        )  # fmt: skip


def store_taught(head: TaughtHead, folder: Path, *, notes: Mapping[str, Any]) -> None:
    """Write both files; `notes` is more for the card."""
    from safetensors.numpy import save

    arrays = {"weight": head.weight, "bias": head.bias, "query_class": head.query_class}
    for name in ("cue_weight", "cue_mean", "cue_std"):
        if getattr(head, name) is not None:
            arrays[name] = getattr(head, name)
    with atomic_path(folder / NUMBERS, overwrite=True) as part, writing(folder / NUMBERS):
        part.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    classes = [
        {"names": list(c.names), "colour": list(c.colour), "read_as": list(c.read_as)} for c in head.vocabulary.classes
    ]
    told = {"classes": classes, "background": head.vocabulary.background, "base": head.base, "method": head.method}
    with atomic_path(folder / CARD, overwrite=True) as part:
        write_json(part, told | dict(notes), indent=2)


def taught_vocabulary(folder: str | Path) -> Vocabulary:
    """The classes of a folder of `teach`.

    Raises:
        WeightsError: there are none.
    """
    return _card(Path(folder))[0]


def load_taught(folder: str | Path) -> TaughtHead:
    """What a folder of `teach` holds.

    Raises:
        WeightsError: it holds nothing of the kind, or it is damaged.
    """
    from safetensors.numpy import load_file

    place = Path(folder)
    vocabulary, card = _card(place)
    try:
        check_file(place / NUMBERS)
        arrays = load_file(place / NUMBERS)
        head = TaughtHead(
            vocabulary=vocabulary, base=str(card["base"]), method=str(card["method"]),
            **{name: arrays[name] for name in arrays if name in TaughtHead.__dataclass_fields__},
        )  # fmt: skip
        _check(head)
    except Exception as error:  # of safetensors, with bases of its own
        raise WeightsError(f"{place / NUMBERS} does not hold what `teach` writes: {brief(error)}.") from error
    return head


def _card(folder: Path) -> tuple[Vocabulary, dict[str, Any]]:
    try:
        card = read_json(folder / CARD)
        classes = tuple(
            ClassName(
                names=tuple(map(str, c["names"])), colour=_colour(c["colour"]),
                read_as=tuple(map(str, c["read_as"])),
            )
            for c in card["classes"]
        )  # fmt: skip
        background = card["background"]
        if not 2 <= len(classes) <= _MOST_CLASSES or not (background is None or 0 <= background < len(classes)):
            raise ValueError("its classes are impossible")
        return Vocabulary(classes=classes, background=background), card
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, UsageError) as error:
        raise WeightsError(f"{folder} is not a folder of `teach`: {brief(error)}.") from error


def _colour(values: Any) -> Colour:
    red, green, blue = map(int, values)
    return red, green, blue


def _check(head: TaughtHead) -> None:
    """Raises `ValueError` for numbers that do not belong together."""
    count = len(head.weight)
    if not (head.weight.ndim == 2 and head.weight.shape[1] <= _MOST_DIM and 0 < count <= _MOST_QUERIES):
        raise ValueError(f"weights of shape {head.weight.shape}")
    fits = head.bias.shape == head.query_class.shape == (count,)
    if not fits or set(np.unique(head.query_class).tolist()) != set(range(len(head.vocabulary))):
        raise ValueError("vectors of other classes")
    if not all(np.isfinite(a).all() for a in (head.weight, head.bias)):
        raise ValueError("numbers that are not finite")
    if head.cue_weight is not None:
        width = head.cue_weight.shape[1]
        pair = (head.cue_mean, head.cue_std)
        if len(head.cue_weight) != count or any(a is None or a.shape != (width,) for a in pair):
            raise ValueError("cues that do not fit")
