"""Referring expressions from masks: proposed by rules, checked by a second reader, said in drawn words.

For an image with the masks of its things, expressions by class, number, size, colour, place, side and nearness are
proposed (`measures`), each with the things that it means. One is kept only if `judge`, which reads the masks in its
own way, comes to exactly those things; margins on both sides keep out what people might see otherwise.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from earthwords.data.annotations.instances import Expression, Instances, Marked
from earthwords.data.expressions import colour_names
from earthwords.data.expressions.grammar import (
    ADJECTIVES,
    ALL,
    ENDS,
    NEAREST,
    PLACES,
    SIDES,
    SUPERLATIVES,
    Form,
    phrase,
)
from earthwords.data.expressions.relations import COMMON, Measures
from earthwords.data.expressions.verify import Judge
from earthwords.text import phrases

ABSENT = "absent"
MOST_MARKS = 6
"""Things of an image that others are related to."""
KINDS_TRIED, FORMS_TRIED = 8, 6
"""Kinds, and proposals of each, that are looked at for one more expression."""
MOST = 8
"""Things that an expression means at most, unless it means all of a class."""
SAME = 2
"""Expressions of one image that mean the same things, at most, while there are others."""


def express(
    things: Instances, rgb: NDArray[np.uint8], *, count: int = 8, negatives: float = 0.0, seed: int = 0
) -> Marked:
    """Up to `count` expressions of an image, all different; fewer where little can be told apart.

    They depend on the seed, the name of the image, its masks and pixels, and on nothing else.

    Args:
        things: the masks.
        rgb: `(row, col, 3)` pixels of the image, or of its window.
        count: most expressions.
        negatives: share of them that mean nothing that is there.
        seed: of the choice and of the wording.
    """
    draw = random.Random(f"{seed}/{things.example.name}")
    maker = _Maker(Measures(things, rgb), Judge(things, rgb), draw)
    wanted = sum(draw.random() < negatives for _ in range(count))
    for _ in range(count - wanted):
        maker.one_more()
    if negatives < 1:  # the share stays the same where less could be said
        wanted = min(wanted, math.ceil(len(maker.made) * negatives / (1 - negatives)))
    for _ in range(wanted):
        maker.one_more(absent=True)
    return Marked(
        example=things.example,
        ids=things.ids,
        classes=dict(enumerate(things.classes, start=1)),
        expressions=tuple(maker.made),
        refused=maker.refused,
    )


class _Maker:
    """Chooses a kind, then a class, then a form of it, until one passes."""

    def __init__(self, measures: Measures, judge: Judge, draw: random.Random) -> None:
        self.measures, self.judge, self.draw = measures, judge, draw
        self.made: list[Expression] = []
        self.refused = 0
        self._used: Counter[str] = Counter()
        self._means: Counter[tuple[int, ...]] = Counter()
        self._forms: set[Form] = set()
        self.marks = _marks(measures)

    def one_more(self, *, absent: bool = False) -> None:
        """Say one more, if there is one among a number of proposals."""
        for attempt in range(KINDS_TRIED):
            kind = ABSENT if absent else self._kind()
            for _ in range(FORMS_TRIED):
                form = self._propose_absent() if absent else self._propose(kind)
                if form is not None and self._add(kind, form, again=absent or attempt >= KINDS_TRIED // 2):
                    return

    def _add(self, kind: str, form: Form, *, again: bool) -> bool:
        """Say it if it is clear, new and passes the check; `again`: also if its things were meant often."""
        meant = self.measures.select(form)
        if meant is None or bool(meant) == (kind == ABSENT):
            return False
        form = self._with_number(form, len(meant))
        ids = tuple(position + 1 for position in meant)
        worn = self._means[ids] >= SAME and not again
        if worn or form in self._forms or not self._may_be_meant(form, meant):
            return False
        self._forms.add(form)
        if self.judge.resolve(form) != frozenset(ids):
            self.refused += 1
            return False
        text = phrase(form, self.draw)
        if any(text == each.text for each in self.made):
            return False
        name = ABSENT if kind == ABSENT else form.kind
        self.made.append(Expression(text=text, ids=ids, kind=name, category=form.name))
        self._used.update((kind, form.name))
        self._means[ids] += 1
        return True

    def _kind(self) -> str:
        """One that was not used much."""
        weights = [weight / (1 + 3 * self._used[kind]) for kind, (weight, _) in KINDS.items()]
        return self.draw.choices(list(KINDS), weights)[0]

    def _propose(self, kind: str) -> Form | None:
        """A form of a kind, of a class that was not used much."""
        names = list(self.measures.members)
        if not names:
            return None
        name = self.draw.choices(names, [1 / (1 + self._used[name]) for name in names])[0]
        forms = list(KINDS[kind][1](self, name))
        return self.draw.choice(forms) if forms else None

    def _propose_absent(self) -> Form | None:
        """A class that is not there, or one that is, with a colour or at a place where none of it is."""
        names = list(self.measures.members)
        missing = [name for name in self.measures.things.known if name not in names]
        if missing and (not names or self.draw.random() < 0.6):
            return Form(name=self.draw.choice(missing))
        if not names:
            return None
        forms = list(self.draw.choice((_places, _other_colours))(self, self.draw.choice(names)))
        return self.draw.choice(forms) if forms else None

    def _with_number(self, form: Form, found: int) -> Form:
        """One, a number of things, or simply more than one."""
        if form.superlative or form.whole:
            return form
        if found == 0:
            return replace(form, number=self.draw.choice((1, 1, ALL)))
        if found == 1:
            return replace(form, number=1)
        counted = found in phrases.NUMBERS and (form == Form(name=form.name) or self.draw.random() < 0.6)
        return replace(form, number=found if counted else ALL)

    def _may_be_meant(self, form: Form, meant: tuple[int, ...]) -> bool:
        """Whether things are large enough, and not all of the picture."""
        chosen = list(meant)
        if form.whole:
            return not self.measures.things.vague[chosen].all()
        if self.measures.things.vague[chosen].any() or len(chosen) > MOST:
            return False
        return form.kind != "all"


def _marks(measures: Measures) -> list[Form]:
    """What others can be related to: the only one of its class, the largest of it, or all of what cannot be counted."""
    found = []
    pixels = measures.things.ids.size
    for name, members in measures.members.items():
        if measures.things.vague[members].all() or measures.area[members].sum() > COMMON * pixels:
            continue
        if len(members) == 1:
            found.append(Form(name=name))
            continue
        if phrases.mass_word(name):
            found.append(Form(name=name, number=ALL, whole=True))
        found.append(Form(name=name, size="largest"))
    return found


def _category(maker: _Maker, name: str) -> Iterator[Form]:
    yield Form(name=name)


def _whole(maker: _Maker, name: str) -> Iterator[Form]:
    if len(maker.measures.members[name]) > 1 or phrases.mass_word(name):
        yield Form(name=name, number=ALL, whole=True)


def _superlatives(maker: _Maker, name: str) -> Iterator[Form]:
    for size in (
        SUPERLATIVES[:1] if phrases.mass_word(name) else SUPERLATIVES
    ):  # the smallest bit of grass is an accident
        yield Form(name=name, size=size)
    if len(maker.measures.members[name]) > 3:
        yield Form(name=name, size="largest", number=maker.draw.choice((2, 2, 3)))


def _adjectives(maker: _Maker, name: str) -> Iterator[Form]:
    yield from (Form(name=name, size=size) for size in (ADJECTIVES[:1] if phrases.mass_word(name) else ADJECTIVES))


def _named_colours(maker: _Maker, name: str) -> list[str]:
    """Colours that some, but not all things of a class have; green is no news of plants."""
    members = maker.measures.members[name]
    if len(members) < 2 or not phrases.has_colour(name):
        return []
    return [c for c in colour_names.NAMES if 0 < (maker.measures.colour[c][members] > 0).sum() < len(members)]


def _colours(maker: _Maker, name: str) -> Iterator[Form]:
    yield from (Form(name=name, colour=colour) for colour in _named_colours(maker, name))


def _other_colours(maker: _Maker, name: str) -> Iterator[Form]:
    """Colours that nothing of a class has; for what is absent."""
    if not phrases.has_colour(name):
        return
    members = maker.measures.members[name]
    yield from (Form(name=name, colour=c) for c in colour_names.NAMES if (maker.measures.colour[c][members] < 0).all())


def _places(maker: _Maker, name: str) -> Iterator[Form]:
    yield from (Form(name=name, place=place) for place in PLACES)


def _ends(maker: _Maker, name: str) -> Iterator[Form]:
    yield from (Form(name=name, end=end) for end in ENDS)


def _related(maker: _Maker, name: str, relations: tuple[str, ...]) -> Iterator[Form]:
    marks = [mark for mark in maker.marks if mark.name != name]
    if len(marks) > MOST_MARKS:
        marks = maker.draw.sample(marks, MOST_MARKS)
    for mark in marks:
        for relation in relations:
            if relation in (NEAREST, "beside") or not mark.whole:
                yield Form(name=name, relation=relation, mark=mark)


def _coloured(maker: _Maker, name: str, others: Callable[[_Maker, str], Iterator[Form]]) -> Iterator[Form]:
    found = _named_colours(maker, name)
    for form in others(maker, name) if found else ():
        yield replace(form, colour=maker.draw.choice(found))


def _sized_places(maker: _Maker, name: str) -> Iterator[Form]:
    yield from (Form(name=name, place=place, size="largest") for place in PLACES)


KINDS: dict[str, tuple[float, Callable[[_Maker, str], Iterator[Form]]]] = {
    "category": (2.0, _category),
    "all": (0.7, _whole),
    "largest": (2.0, _superlatives),
    "large": (1.0, _adjectives),
    "colour": (3.0, _colours),
    "place": (3.0, _places),
    "end": (1.2, _ends),
    "left": (4.0, partial(_related, relations=SIDES[:4])),
    "beside": (1.2, partial(_related, relations=("beside",))),
    "nearest": (2.0, partial(_related, relations=(NEAREST,))),
    "colour+place": (1.5, partial(_coloured, others=_places)),
    "largest+colour": (0.7, partial(_coloured, others=_superlatives)),
    "colour+end": (0.5, partial(_coloured, others=_ends)),
    "largest+place": (1.2, _sized_places),
}
"""What can be told apart by: how often it is tried, and the forms for a class."""
