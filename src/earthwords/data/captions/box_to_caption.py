"""B2C: five captions from the boxes of an image, by rules.

After RemoteCLIP (https://arxiv.org/abs/2306.11029, section III-B): one caption of the objects in the middle, one of
those that are not, three of the numbers of objects of classes drawn at random; more than ten are "many". The place of
an object is the centre of its box. The authors' templates and their extent of the middle are not published; here the
middle is the middle third of either axis, and an image without objects there (or with none elsewhere) gets one more of
the others.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.data.annotations.example import Annotated, Boxes
from earthwords.text import phrases

Kind: TypeAlias = tuple[str, ...]
"""The words for a class; classes with the same words are one."""

MOST_DRAWN = 3
"""Classes of a caption about numbers."""
BOTH_CHANCE = 0.25
"""How often two classes are named without their numbers, where that is possible."""


def captions(example: Annotated, *, count: int = 5, seed: int = 0) -> tuple[str, ...]:
    """`count` captions, none for an image without objects.

    They depend on the seed, the name of the image, its size, boxes and classes, and on nothing else. They differ from
    each other as far as the table of words goes.
    """
    if not len(example.boxes):
        return ()
    kinds = [phrases.words_for(name) for name in example.classes]
    everywhere = Counter(kinds)
    middle = in_middle(example.boxes, example.size)
    at_middle = Counter(kind for kind, inside in zip(kinds, middle, strict=True) if inside)
    draw = random.Random(f"{seed}/{example.name}")
    speaker = _Speaker(draw, everywhere)
    for templates, numbers in ((phrases.MIDDLE, at_middle), (phrases.EDGE, everywhere - at_middle)):
        if numbers and len(speaker.sentences) < count:
            speaker.say(templates, numbers)
    while len(speaker.sentences) < count:
        speaker.say(phrases.ANYWHERE, _some(draw, everywhere))
    return tuple(speaker.sentences)


def in_middle(boxes: Boxes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """`(n,)` whether the centre of a box lies in the middle third of both axes of an image of `(height, width)`."""
    height, width = size
    places = (boxes[:, :2] + boxes[:, 2:]) / (2 * width, 2 * height)
    return np.asarray(((places >= 1 / 3) & (places <= 2 / 3)).all(axis=1))


def _some(draw: random.Random, numbers: Counter[Kind]) -> Counter[Kind]:
    """One to three of the classes, with their numbers."""
    chosen = draw.sample(sorted(numbers), draw.randint(1, min(MOST_DRAWN, len(numbers))))
    return Counter({kind: numbers[kind] for kind in chosen})


class _Speaker:
    """Makes sentences that differ: a template comes again when all have been used."""

    def __init__(self, draw: random.Random, kinds: Iterable[Kind]) -> None:
        self.draw = draw
        self.sentences: list[str] = []
        self._used: Counter[str] = Counter()
        shared = Counter(word for kind in kinds for word in kind)
        self._own = {kind: [word for word in kind if shared[word] == 1] or list(kind) for kind in kinds}

    def say(self, templates: Sequence[str], numbers: Counter[Kind]) -> None:
        """One more sentence, of classes and their numbers in random order."""
        kinds = self.draw.sample(sorted(numbers), len(numbers))
        nouns = [self.draw.choice(self._own[kind]) for kind in kinds]
        two = templates is phrases.ANYWHERE and len(kinds) == 2 and min(numbers.values()) > 1
        if two and self.draw.random() < BOTH_CHANCE:
            templates, things = phrases.BOTH, [phrases.plural(noun) for noun in nouns]
        else:
            many = [self.draw.choice(phrases.MANY) for _ in kinds]
            things = [phrases.counted(n, numbers[k], m) for n, k, m in zip(nouns, kinds, many, strict=True)]
        self.sentences.append(phrases.sentence(self._template(templates), things, single=numbers[kinds[0]] == 1))

    def _template(self, templates: Sequence[str]) -> str:
        least = min(self._used[template] for template in templates)
        chosen = self.draw.choice([template for template in templates if self._used[template] == least])
        self._used[chosen] += 1
        return chosen
