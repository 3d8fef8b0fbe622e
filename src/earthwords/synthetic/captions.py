"""Sentences about a scene, true to its labels and its objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.noise import GroundView
from earthwords.synthetic.plan import Plan
from earthwords.synthetic.scene import CLASSES, LABEL, SceneObject

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SEVERAL = 25
"""Up to this many things are "several", beyond "many"."""
_MASS = {"water", "grass", "bare land", "snow", "pavement", "cropland"}
"""Titles of classes spoken of in the singular."""
_LEAST = 0.004
"""Share of the picture from which a stuff class is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a scene holds, ready for sentences."""

    shares: NDArray[np.float64]
    """`(class,)` share of the picture."""
    counts: NDArray[np.int64]
    """`(class,)` objects of thing classes."""
    labels: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    signs: frozenset[str]
    """Words of the plan's signs that stand inside the view."""

    @property
    def things(self) -> list[int]:
        """Thing classes in the picture, the most pixels first."""
        return [int(i) for i in np.argsort(-self.shares) if self.counts[i]]

    @property
    def stuff(self) -> list[int]:
        """Stuff classes in the picture, the most pixels first."""
        order = np.argsort(-self.shares)
        return [int(i) for i in order if self.shares[i] >= _LEAST and not CLASSES[i].thing]

    def has(self, title: str) -> bool:
        label = LABEL[title]
        return bool(self.counts[label]) if CLASSES[label].thing else bool(self.shares[label] >= _LEAST)


def summarise(labels: NDArray[np.uint8], objects: tuple[SceneObject, ...], plan: Plan, view: GroundView) -> Summary:
    """Count what is there, and find which signs are in sight."""
    width, height = view.extent
    inside = {
        sign.word
        for sign in plan.signs
        if 0.02 * width < sign.x - view.x0 < 0.98 * width and 0.02 * height < sign.y - view.y0 < 0.98 * height
    }
    return Summary(
        shares=np.bincount(labels.ravel(), minlength=256)[: len(CLASSES)] / labels.size,
        counts=np.bincount([o.label for o in objects], minlength=len(CLASSES)),
        labels=labels,
        objects=objects,
        signs=frozenset(inside),
    )


def count_phrase(label: int, count: int) -> str:
    """`"two ships"`, `"several cars"`, `"many buildings"`."""
    row = CLASSES[label]
    if count <= 10:
        return f"{NUMBERS[count]} {row.title if count == 1 else row.plural}"
    return f"{'several' if count <= _SEVERAL else 'many'} {row.plural}"


_KINDS: Mapping[str, tuple[str, str]] = {
    "house": ("house", "houses"),
    "hall": ("industrial building", "industrial buildings"),
    "hangar": ("hangar", "hangars"),
    "tower": ("tall building", "tall buildings"),
    "block of flats": ("apartment building", "apartment buildings"),
}
"""What buildings are called when most of them are of a kind."""


def kind_phrase(summary: Summary, label: int) -> str:
    """As `count_phrase`, but with the common word for the buildings of the place."""
    count = int(summary.counts[label])
    kinds = Counter(o.attributes.get("kind", "") for o in summary.objects if o.label == label)
    kind, times = kinds.most_common(1)[0]
    if label != LABEL["building"] or kind not in _KINDS or times < 0.7 * count:
        return count_phrase(label, count)
    one, many = _KINDS[kind]
    number = count_phrase(label, count).split()[0]
    return f"{number} {one if count == 1 else many}"


def join_words(words: list[str]) -> str:
    """`"a, b and c"`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def stuff_words(label: int, signs: frozenset[str]) -> str:
    """A stuff class in running text; water is named after its sign."""
    if CLASSES[label].title == "water":
        if "flood" in signs:
            return "flood water"
        for word in ("sea", "river", "lake", "pond"):
            if word in signs:
                return f"a {word}" if word != "sea" else "the sea"
    return CLASSES[label].plural if CLASSES[label].title not in {"pavement"} else "paved areas"


def describe(summary: Summary, *, place: str, seed: int) -> tuple[str, ...]:
    """At least three sentences; they name only what is there."""
    rng = np.random.default_rng([seed, 0xCA])
    sentences = [_overview(summary, place, rng), _counting(summary, rng), _covering(summary, rng)]
    sentences += [s for s in (_roofs(summary), _where(summary), _beside(summary), _signs(summary)) if s]
    return tuple(sentences)


def _overview(summary: Summary, place: str, rng: np.random.Generator) -> str:
    """The whole scene in a sentence."""
    view = rng.choice(["An aerial image", "A satellite image", "An aerial photograph", "A view from above"])
    listed = [kind_phrase(summary, i) for i in summary.things[:2]]
    listed += [w for w in (stuff_words(i, summary.signs) for i in summary.stuff[:4]) if w != place][:3]
    of = f" of {place}" if place else ""
    return f"{view}{of} with {join_words(listed)}." if listed else f"{view}{of}."


def _counting(summary: Summary, rng: np.random.Generator) -> str:
    """Things and their numbers."""
    if not summary.things:
        only = join_words([stuff_words(i, summary.signs) for i in summary.stuff] or ["nothing"])
        return f"The picture shows only {only}."
    listed = [count_phrase(i, int(summary.counts[i])) for i in summary.things]
    verb = "is" if summary.counts[summary.things[0]] == 1 else "are"
    tail = rng.choice(["in the picture", "in this image", "to be seen"])
    return f"There {verb} {join_words(listed)} {tail}."


def _covering(summary: Summary, rng: np.random.Generator) -> str:
    """What covers most of the ground."""
    label = int(np.argmax(summary.shares))
    share = float(summary.shares[label])
    name = "buildings" if CLASSES[label].title == "building" else CLASSES[label].plural
    if share > 0.97:
        return f"The whole picture is covered by {name}."
    much = "Almost all" if share > 0.85 else "Most" if share > 0.5 else "Much"
    return f"{much} of the {rng.choice(['ground', 'area', 'picture'])} is covered by {name}."


def _roofs(summary: Summary) -> str:
    """The common colour of roofs, or of other coloured things."""
    for title, part in (("building", "roofs"), ("storage tank", ""), ("ship", "hulls"), ("plane", ""), ("car", "")):
        colours = Counter(
            o.attributes["colour"] for o in summary.objects if o.title == title and "colour" in o.attributes
        )
        total = int(summary.counts[LABEL[title]])
        if total < 3 or not colours:
            continue
        colour, count = colours.most_common(1)[0]
        if count >= 0.6 * total:
            row = CLASSES[LABEL[title]]
            return (
                f"Most of the {row.plural} have {colour} {part}." if part else f"Most of the {row.plural} are {colour}."
            )
    return ""


def _where(summary: Summary) -> str:
    """Where one of the smaller stuff classes lies."""
    for label in summary.stuff[1:]:
        rows, cols = np.nonzero(summary.labels == label)
        height, width = summary.labels.shape
        if rows.std() / height > 0.24 and cols.std() / width > 0.24:
            continue
        row = "top" if rows.mean() < height / 3 else "bottom" if rows.mean() > 2 * height / 3 else ""
        col = "left" if cols.mean() < width / 3 else "right" if cols.mean() > 2 * width / 3 else ""
        place = " ".join(w for w in (row, col) if w)
        name = stuff_words(label, summary.signs)
        verb = "lies" if CLASSES[label].title in _MASS - {"cropland", "pavement"} else "lie"
        return f"{name[0].upper() + name[1:]} {verb} {f'at the {place}' if place else 'in the middle'}."
    return ""


def _beside(summary: Summary) -> str:
    """Which two classes touch along the longest border, roads and railways first."""
    labels = summary.labels
    wanted = [
        i for i in (LABEL["water"], LABEL["railway"], LABEL["runway"], LABEL["road"]) if summary.shares[i] >= _LEAST
    ]
    for label in wanted:
        inside = labels == label
        near = np.concatenate([labels[1:][inside[:-1]], labels[:-1][inside[1:]], labels[:, 1:][inside[:, :-1]]])
        near = near[(near != label) & (near != LABEL["pavement"]) & (near < len(CLASSES))]
        if len(near) == 0:
            continue
        other = int(np.bincount(near).argmax())
        if CLASSES[other].thing or summary.shares[other] < _LEAST:
            continue
        name = stuff_words(other, summary.signs)
        verb = "lies" if CLASSES[other].title in _MASS - {"cropland", "pavement"} else "lie"
        return f"{name[0].upper() + name[1:]} {verb} next to {stuff_words(label, summary.signs)}."
    return ""


_SIGNS: Mapping[str, str] = {
    "roundabout": "a roundabout",
    "parking lot": "a parking lot",
    "stadium": "a stadium",
    "marina": "a marina",
    "solar farm": "a solar farm",
    "tank farm": "a tank farm",
    "railway station": "a railway station",
    "beach": "a beach",
    "terminal": "an airport terminal",
    "interchange": "a highway interchange",
    "bridge": "a bridge",
}


def _signs(summary: Summary) -> str:
    """Named places in sight."""
    found = [phrase for word, phrase in _SIGNS.items() if word in summary.signs]
    return f"The picture shows {join_words(found)}." if found else ""
