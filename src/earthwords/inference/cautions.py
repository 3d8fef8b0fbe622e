"""What is known of how much a result is worth: a request held against what a model learned.

Words are judged by `text.known_words`, resolution and colours by the preset's row. Notes are sentences for the user;
those that are a `Caution` become an error where the user asked for that (`--strict`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from earthwords.errors import Caution, UsageError, some_of
from earthwords.geo.scene import Scene
from earthwords.models.taught import TaughtHead
from earthwords.text.competing import AGAINST, THINGS, lacking
from earthwords.text.known_words import Lexicon, word_cautions
from earthwords.types import ClassName, Vocabulary

GREY = "The picture is grey, and the models learned true colours: what they make of it means little."
RADAR_COLOURS = (
    "The picture has colours, and the model learned radar images of one band: name it, such as --bands 1,1,1."
)
FALSE_COLOURS = "The bands {} are no true colours, which the models learned: what they make of them means little."

NO_BACKGROUND = (
    "No mark names a background, so every pixel gets one of these classes, and what is none of them is mapped, too: "
    "add the class background, and mark some of it."
)

SENSOR, RADAR = "EARTHWORDS_SENSOR", "radar"
"""The tag of results whose model learned radar images."""
FEW, MANY = 2, 5
"""Grounds of `competing.AGAINST` that classes must mean more than, or much of a scene fits none of them; and those from
which on hardly anything is left over."""
_NUMBER = re.compile(r"(?<!\w)\d[\d.,]*")
FAR = 2.0
"""So many times coarser than what was learned a map is worth little; less than that, it may be."""


def scene_notes(
    scene: Scene, *, model: str, gsd: tuple[float, float] | None, levels: bool = False, radar: bool = False
) -> tuple[str, ...]:
    """What a scene's resolution and colours mean for a model.

    Args:
        model: its name, as the user knows it.
        gsd: ground sample distances it learned, finest and coarsest, metres; None: nobody knows.
        levels: the scene is looked at in coarser grids too, so that it cannot be too fine.
        radar: it learned radar images, which are grey.
    """
    return (
        *resolution_notes(scene.native.gsd_m, scene.grid.gsd_m, model=model, gsd=gsd, levels=levels),
        *colour_cautions(scene, radar=radar),
    )


def resolution_notes(
    own: float | None, worked: float | None, *, model: str, gsd: tuple[float, float] | None, levels: bool = False
) -> Iterator[str]:
    """What the size of a pixel means for a model; see `scene_notes`.

    Args:
        own: the size in the file, metres; None: unknown.
        worked: the size that the model sees, metres.
    """
    if gsd is None:
        return
    known, learned = (0.0 if levels else gsd[0], gsd[1]), f"{model} learned {gsd[0]:g} to {gsd[1]:g} m"
    if own is None or worked is None:
        yield f"The size of a pixel on the ground is unknown; {learned}."
    elif worked > known[1] * 1.01:
        far = worked > FAR * known[1]
        near = "small things are missed, and the result may be wrong throughout"
        less = "most things are too small to be known, the result means little" if far else near
        yield Caution(f"Worked at {worked:.3g} m a pixel, but {learned}: {less}.")
    elif worked < known[0] * 0.98:
        yield Caution(f"Worked at {worked:.3g} m a pixel, but {learned}: things look too large to be known.")
    elif own < known[0] * 0.98:
        yield f"A pixel is {own:.3g} m; worked at {worked:.3g} m, as {learned}."


def colour_cautions(scene: Scene, *, radar: bool = False) -> tuple[Caution, ...]:
    """Whether bands stand for other colours than their own; of radar images (`radar`) the pixels tell later."""
    if radar:
        return ()
    if scene.is_grey:
        return (Caution(GREY),)
    return (Caution(FALSE_COLOURS.format(", ".join(scene.bands))),) if scene.is_false_colour else ()


_RIVALS = frozenset(word for ground in (*AGAINST, *THINGS) for word in ground.words)
"""Words that are added on their own accord: nobody asks what they mark."""


def vocabulary_notes(vocabulary: Vocabulary, *, lexicon: Lexicon | None, model: str) -> tuple[str, ...]:
    """What is known of the words: translations, words never learned, and how they compete.

    Args:
        lexicon: what the model can read; None: nobody knows.
    """
    asked = [c for i, c in enumerate(vocabulary.classes) if i != vocabulary.background]
    notes = translation_notes(asked)
    notes += word_cautions([query for c in asked for query in c.queries], lexicon, model)
    if vocabulary.background is not None and (background := vocabulary.classes[vocabulary.background]).read_as:
        notes.append(f"As {background.title} compete: {', '.join(background.read_as)}.")
        notes += word_cautions([word for word in background.read_as if word not in _RIVALS], lexicon, model)
    missing = lacking(vocabulary)
    if vocabulary.background is None and len(missing) > len(AGAINST) - MANY:
        sentence = (
            "Pixels get the likeliest of these words, and none of them means "
            f"{', '.join(missing)}: add --against auto, or more classes."
        )
        notes.append(Caution(sentence) if len(missing) >= len(AGAINST) - FEW else sentence)
    return tuple(notes)


def taught_notes(
    taught: TaughtHead,
    vocabulary: Vocabulary,
    *,
    lexicon: Lexicon | None,
    model: str,
    options: str = "",
) -> tuple[str, ...]:
    """What is known of classes that marks have taught, and of words beside; arguments as of `vocabulary_notes`.

    Args:
        options: how scenes are read, see `SegmentPreset.taught_options`.
    """
    known = {title.casefold() for title in taught.vocabulary.titles}
    others = [c for c in vocabulary.classes if c.title.casefold() not in known]
    notes = [f"Taught by marks ({taught.method}): {some_of(taught.vocabulary.titles)}."]
    if options:
        notes.append(f"It was taught with {options}, and reads scenes so unless told otherwise.")
    if others:
        notes.append(f"Not taught, by words alone: {some_of(c.title for c in others)}.")
        notes += word_cautions([query for c in others for query in c.queries], lexicon, model)
    if vocabulary.background is None and len(lacking(vocabulary)) > len(AGAINST) - MANY:
        notes.append(Caution(NO_BACKGROUND))
    return tuple(notes)


def translation_notes(classes: Iterable[ClassName]) -> list[str]:
    """What words in Chinese are read as."""
    translated = [c.described for c in classes if c.read_as]
    return [f"Read as English: {'; '.join(translated)}."] if translated else []


def image_notes(vocabulary: Vocabulary, *, lexicon: Lexicon | None, model: str) -> tuple[str, ...]:
    """What is known of words that whole images are told apart by; arguments as for `vocabulary_notes`."""
    notes = translation_notes(vocabulary.classes)
    notes += word_cautions(vocabulary.queries, lexicon, model)
    if len(vocabulary) == 1:
        only = vocabulary.titles[0]
        notes.append(Caution(f"{only!r} is the only class, so every image is one; name others for it to compete with."))
    return tuple(notes)


PRESENT = 0.5
"""A network that says of a window how probable it is that a thing is there at all, means no below this."""


def presence_notes(presence: Mapping[int, float], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Which classes are nowhere, by a network that says so.

    Args:
        presence: of classes by label, the largest of all windows; the background's is not looked at.
    """
    absent = [
        f"{vocabulary.titles[label]} ({value:.2f})"
        for label, value in presence.items()
        if value < PRESENT and label != vocabulary.background
    ]
    if not absent:
        return ()
    return (
        Caution(f"The model says of every window that it shows none of: {some_of(absent)}; by its presence, 0..1."),
    )


def is_radar(tags: Mapping[str, str]) -> bool:
    """Whether the tags of a result say that its model learned radar images."""
    return tags.get(SENSOR) == RADAR


class Tally:
    """The notes of many scenes, those that differ in numbers only counted together."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, notes: Iterable[str]) -> None:
        """Of one scene."""
        for key, note in {_NUMBER.sub("#", note): note for note in notes}.items():
            first, count = self._found.get(key, (note, 0))
            self._found[key] = first, count + 1

    def lines(self, total: int, *, what: str) -> tuple[str, ...]:
        """A sentence each, with the number of scenes where that is not all of `total`."""
        return tuple(
            note if count == total else type(note)(f"{count:,} of {total:,} {what}: {note}")
            for note, count in self._found.values()
        )


def enforce(notes: Iterable[str], *, strict: bool) -> None:
    """Make an error of cautions.

    Raises:
        UsageError: `strict`, and there are some; it tells the first one.
    """
    found = list(dict.fromkeys(note for note in notes if isinstance(note, Caution)))
    if strict and found:
        many = f"The first of {len(found)} cautions, errors" if len(found) > 1 else "An error"
        raise UsageError(f"{found[0].rstrip('.')} ({many} because of --strict).")
