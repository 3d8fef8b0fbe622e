"""Words that compete with those asked for.

A softmax gives every pixel to one of its words, so a lone word takes the whole scene. `AGAINST` names what most scenes
consist of; `compete` makes of it a background class, without what means the same as a class asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from earthwords.errors import UsageError
from earthwords.text import glossary
from earthwords.text.known_words import forms
from earthwords.text.vocabulary import in_english, split_words
from earthwords.types import ClassName, Vocabulary

AUTO, NONE = "auto", "none"
BACKGROUND = "background"
GREY = (60, 60, 60)


@dataclass(frozen=True)
class Ground:
    """Something that most scenes have, whatever one looks for."""

    words: tuple[str, ...]
    kin: frozenset[str]
    """Wider words, and others that mean the same in a scene: who asks for one of them does not want it to compete."""


def _ground(words: str, kin: str) -> Ground:
    return Ground(tuple(words.split(",")), frozenset(kin.split(",")))


AGAINST: tuple[Ground, ...] = (
    _ground("building,roof,house", "built-up area,urban area,city,town,settlement,residential area,artificial surface"),
    _ground(
        "road,street,pavement", "highway,asphalt,concrete,parking lot,paved area,impervious surface,transport,runway"
    ),
    _ground("trees,forest", "woodland,vegetation,greenery,plants,green space,tree canopy,wood,orchard"),
    _ground("grass,meadow", "lawn,grassland,vegetation,greenery,plants,green space,pasture,low vegetation,herbaceous"),
    _ground("cropland,field", "farmland,agriculture,agricultural land,crops,vegetation,farm,arable land"),
    _ground("bare land,soil,sand", "land,ground,barren land,desert,earth,bare ground,bare soil,beach,dirt"),
    _ground("water,river,lake,sea", "flood,flood water,water body,ocean,pond,reservoir,surface water,wetland"),
)
"""What `--against auto` adds: the grounds of LoveDA and OpenEarthMap, in words that every preset knows."""


THINGS: tuple[Ground, ...] = (
    _ground("car,vehicle", "truck,lorry,bus,van,traffic,parking lot,automobile"),
    _ground("ship,boat", "vessel,yacht,ferry,barge,harbour,harbor,marina,port"),
    _ground("airplane", "plane,aircraft,jet,airport,helicopter,airliner"),
    _ground("shipping container", "container,truck,lorry,train,freight"),
    _ground("storage tank", "tank,silo,oil tank,gas tank,industry"),
    _ground("swimming pool", "pool,water,lake,pond,basin"),
    _ground("tennis court,sports field", "court,field,stadium,playground,pitch,basketball court,football field"),
)
"""What `count` adds to them: things that are taken for others."""


def against(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The words of `AGAINST` that mean nothing of what a vocabulary asks for."""
    return tuple(word for ground in AGAINST if not _is_queried(ground, vocabulary.queries) for word in ground.words)


def against_things(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The words of `AGAINST` and of `THINGS` that mean nothing of what a vocabulary asks for."""
    found = [word for thing in THINGS if not _is_queried(thing, vocabulary.queries) for word in thing.words]
    return tuple(dict.fromkeys((*against(vocabulary), *found)))


def lacking(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The first words of the grounds that no class means."""
    return tuple(ground.words[0] for ground in AGAINST if not _is_queried(ground, vocabulary.queries))


def compete(vocabulary: Vocabulary, how: str | Sequence[str] | None = None) -> Vocabulary:
    """The vocabulary, with words that compete as its background.

    Args:
        how: `auto`: those of `against`; words, or strings of words with commas between; `none`: as it is; None:
            `auto` for a vocabulary of a single class, `none` for others.

    Raises:
        UsageError: a word is one of the classes already, or Chinese and not in the glossary, or the only class is the
            background.
    """
    if len(vocabulary) == 1 and vocabulary.background is not None:
        only = vocabulary.titles[0]
        raise UsageError(f"{only!r} is what is left where nothing is found, and the only class: say what to look for.")
    if how is None:
        how = AUTO if len(vocabulary) == 1 else NONE
    texts = [how] if isinstance(how, str) else list(how)
    if texts == [NONE]:
        return vocabulary
    words = against(vocabulary) if texts == [AUTO] else _words(texts, vocabulary)
    return with_background(vocabulary, words) if words else vocabulary


def with_background(vocabulary: Vocabulary, words: Sequence[str]) -> Vocabulary:
    """Words as, or as part of, the background."""
    index = vocabulary.background
    if index is None:
        added = ClassName(names=(BACKGROUND,), colour=GREY, read_as=tuple(words))
        return Vocabulary(classes=(*vocabulary.classes, added), background=len(vocabulary))
    classes = list(vocabulary.classes)
    classes[index] = replace(classes[index], read_as=(*classes[index].queries, *words))
    return replace(vocabulary, classes=tuple(classes))


def _words(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(in_english(word) for text in texts for word in split_words(text)))
    queried = {query.lower() for query in vocabulary.queries}
    if {AUTO, NONE} & set(found):
        raise UsageError(f"--against is {AUTO}, {NONE} or words, not both: {', '.join(found)}.")
    twice = next((word for word in found if word.lower() in queried), None)
    if twice is not None:
        raise UsageError(f"{twice!r} is a class and cannot compete against itself; leave it out of --against.")
    if not found:
        raise UsageError(f"Name words that compete, such as --against building,road, or {AUTO}, or {NONE}.")
    return found


def _is_queried(ground: Ground, queries: Sequence[str]) -> bool:
    """Whether a word asked for means a ground, or more than it."""
    meant = {form for word in (*ground.words, *ground.kin) for form in forms(word)}
    meant |= {form for word in ground.words for other in glossary.related(word) for form in forms(other)}
    return any(forms(query.lower()) & meant for query in queries)
