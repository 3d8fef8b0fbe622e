"""The structured form of a referring expression, and its English."""

from __future__ import annotations

import random
from dataclasses import dataclass

from earthwords.text import phrases

ALL = -1
"""As a number: however many there are."""

PLACES: dict[str, tuple[float, float, float, float]] = {
    "left": (0, 0, 0.4, 1),
    "right": (0.6, 0, 1, 1),
    "top": (0, 0, 1, 0.4),
    "bottom": (0, 0.6, 1, 1),
    "top left": (0, 0, 0.4, 0.4),
    "top right": (0.6, 0, 1, 0.4),
    "bottom left": (0, 0.6, 0.4, 1),
    "bottom right": (0.6, 0.6, 1, 1),
    "centre": (0.3, 0.3, 0.7, 0.7),
}
"""Left, top, right, bottom of a place, in parts of the image's sides."""
SUPERLATIVES = ("largest", "smallest")
ADJECTIVES = ("large", "small")
ENDS = ("leftmost", "rightmost", "topmost", "bottommost")
SIDES = ("left", "right", "above", "below", "beside")
NEAREST = "nearest"


@dataclass(frozen=True, kw_only=True)
class Form:
    """What an expression says. Filters (colour, place, adjective, side) come first, then what is superlative among the
    things that are left: `smallest`, `leftmost` or `nearest`."""

    name: str
    """Class, as the annotations have it."""
    number: int = 1
    """How many are meant; `ALL`: not said, two or more, or a whole class."""
    whole: bool = False
    """All that there is of the class."""
    colour: str = ""
    place: str = ""
    """A key of `PLACES`."""
    size: str = ""
    """Of `SUPERLATIVES` or `ADJECTIVES`."""
    end: str = ""
    """Of `ENDS`."""
    relation: str = ""
    """Of `SIDES`, or `NEAREST`."""
    mark: Form | None = None
    """What it is related to."""

    @property
    def kind(self) -> str:
        """What tells the things apart, such as `colour+place`."""
        attributes = [self.size, self.colour and "colour", self.place and "place", self.end and "end", self.relation]
        parts = [part for part in attributes if part]
        if not parts:
            parts = ["all" if self.number == ALL else "category" if self.number == 1 else "count"]
        return "+".join(parts)

    @property
    def superlative(self) -> str:
        """What is the most; empty: nothing."""
        found = (self.size if self.size in SUPERLATIVES else "", self.end, self.relation == NEAREST and NEAREST)
        return next((word for word in found if word), "")


def phrase(form: Form, draw: random.Random) -> str:
    """`the two white ships on the left`, in words drawn from the table."""
    article = "" if draw.random() < phrases.BARE else "the "
    if form.kind == "all" and form.whole:
        return _whole(form, draw)
    return article + _core(form, draw)


def _whole(form: Form, draw: random.Random) -> str:
    mass = phrases.mass_word(form.name)
    if mass and draw.random() < 0.7:
        return draw.choice(phrases.WHOLE_MASS).format(mass)
    return draw.choice(phrases.WHOLE).format(phrases.plural(_noun(form.name, draw)))


def _core(form: Form, draw: random.Random) -> str:
    """Without the article."""
    noun = _noun(form.name, draw)
    if form.number != 1:
        noun = phrases.plural(noun)
    before = [phrases.NUMBERS[form.number]] if form.number > 1 else []
    if form.size:
        before.append(draw.choice(phrases.SIZES[form.size]))
    if form.colour:
        before.append(draw.choice(phrases.COLOURS[form.colour]))
    if form.size in SUPERLATIVES and form.number > 1:
        before = [before[1], *before[:1], *before[2:]] if draw.random() < 0.3 else before
    text = " ".join([*before, noun])
    if form.end:
        text = draw.choice(phrases.ENDS[form.end]).format(text)
    if form.place:
        text += f" {draw.choice(phrases.PLACES[form.place])}"
    if form.relation and form.mark is not None:
        text += f" {draw.choice(phrases.RELATIONS[form.relation])} {_mark(form.mark, draw)}"
    return text


def _mark(form: Form, draw: random.Random) -> str:
    mass = phrases.mass_word(form.name)
    if form.whole and mass:
        return f"the {mass}"
    return f"the {_core(form, draw)}"


def _noun(name: str, draw: random.Random) -> str:
    return draw.choice(phrases.words_for(name))
