"""Words: what a model knows that begins like what is typed, and what is said of words before any run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from earthwords.errors import UsageError
from earthwords.serve.errors import problems
from earthwords.serve.library import note
from earthwords.serve.schemas import Asked, ClassBody, Key, NoteBody, Words
from earthwords.text import glossary
from earthwords.text.known_words import LEAST, KnownWords, read_words

if TYPE_CHECKING:
    from earthwords.presets import SegmentPreset
    from earthwords.serve.state import ServerState
    from earthwords.types import Vocabulary

MOST = 50


class SuggestionBody(BaseModel):
    """A word to offer."""

    word: str
    known: bool


class SuggestionsBody(BaseModel):
    """Words to offer, the best first."""

    suggestions: list[SuggestionBody]
    language: str


class CheckAsked(Asked):
    """Words, and where they will be looked for."""

    source: Key | None = None
    words: Words


class CheckBody(BaseModel):
    """What is known before any run."""

    classes: list[ClassBody]
    notes: list[NoteBody]


def router(state: ServerState) -> APIRouter:
    """`/api/words`."""
    routes = APIRouter(prefix="/api/words", tags=["words"])

    @routes.get("", responses=problems(422))
    async def suggest_words(
        q: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=MOST)] = 8
    ) -> SuggestionsBody:
        """Words that begin with, or hold, what is typed; those that the model has learned first."""
        found = await state.run(suggestions, q, limit, state.settings.preset)
        return SuggestionsBody(
            suggestions=[SuggestionBody(word=word, known=known) for word, known in found],
            language="zh" if glossary.is_chinese(q) else "en",
        )

    @routes.post("/check", responses=problems(404, 408, 413, 415, 422))
    async def check_words(asked: CheckAsked) -> CheckBody:
        """What is known of words, and of a source, before anything is computed."""
        vocabulary, notes = await state.run(checked, state, asked)
        return CheckBody(classes=classes_of(vocabulary), notes=[NoteBody.model_validate(note(text)) for text in notes])

    return routes


def suggestions(typed: str, limit: int, preset: str) -> list[tuple[str, bool]]:
    """Words with whether the model knows them."""
    text = " ".join(typed.casefold().split())
    lexicon = lexicon_of(preset)
    if glossary.is_chinese(text):
        terms = [(term, entry.english[0]) for entry in glossary.entries() for term in entry.chinese if text in term]
        terms.sort(key=lambda pair: (not pair[0].startswith(text), not _knows(lexicon, pair[1]), len(pair[0])))
        return [(term, _knows(lexicon, english)) for term, english in dict.fromkeys(terms)][:limit]
    words = [word for word in _english(preset) if text in word]
    words.sort(key=lambda word: (not word.startswith(text), not _knows(lexicon, word), -_often(lexicon, word), word))
    return [(word, _knows(lexicon, word)) for word in words[:limit]]


def checked(state: ServerState, asked: CheckAsked) -> tuple[Vocabulary, tuple[str, ...]]:
    """The vocabulary, and every sentence about it and about the source.

    Raises:
        UsageError: no words, or a Chinese one that nobody can translate.
    """
    from earthwords.inference.cautions import scene_notes, vocabulary_notes
    from earthwords.presets import load_preset
    from earthwords.text.competing import compete

    vocabulary = compete(vocabulary_of(state, asked.words), "auto")
    row = load_preset(state.settings.preset)
    notes: tuple[str, ...] = vocabulary_notes(vocabulary, lexicon=lexicon_of(row.name), model=row.name)
    if asked.source is None:
        return vocabulary, notes
    raster = state.library.get(asked.source)
    with state.library.scene(raster) as scene:
        about = scene_notes(scene.at(_working_gsd(row, scene.native.gsd_m)), model=row.name, gsd=row.gsd)
        return vocabulary, (*scene.notes, *about, *notes)


def vocabulary_of(state: ServerState, words: Sequence[str]) -> Vocabulary:
    """The classes of words as the server's model reads them.

    Raises:
        UsageError: a class without a word, a word given twice, or a Chinese one that nobody can translate.
    """
    from earthwords.models.weights.languages import reads_any_language
    from earthwords.presets import load_preset
    from earthwords.text.vocabulary import parse_classes

    return parse_classes(words, translate=not reads_any_language(load_preset(state.settings.preset).weights))


def classes_of(vocabulary: Vocabulary) -> list[ClassBody]:
    """As the API tells them."""
    return [
        ClassBody(
            title=c.title,
            queries=list(c.queries),
            colour="#{:02x}{:02x}{:02x}".format(*c.colour),
            background=number == vocabulary.background,
        )
        for number, c in enumerate(vocabulary.classes)
    ]


@lru_cache(maxsize=4)
def lexicon_of(preset: str) -> KnownWords | None:
    """The words of the training of a preset's model; None: it has no list, and knows most words of the web."""
    from earthwords.presets import load_preset

    try:
        weights = load_preset(preset).weights
    except UsageError:
        return None
    embedded = resources.files("earthwords.assets").joinpath(weights)
    for folder in (Path(str(embedded)), Path(weights)):
        if folder.is_dir():
            return read_words(folder)
    return None


@lru_cache(maxsize=4)
def _english(preset: str) -> tuple[str, ...]:
    """Everything that may be offered: names of the glossary, and names that the model has learned."""
    names = [name for entry in glossary.entries() for name in entry.english]
    lexicon = lexicon_of(preset)
    if lexicon is not None:
        names += [word for word, count in lexicon.pictures.items() if count >= LEAST and glossary.theme(word)]
    return tuple(dict.fromkeys(names))


def _knows(lexicon: KnownWords | None, word: str) -> bool:
    return lexicon is None or lexicon.doubt(word, "") is None


def _often(lexicon: KnownWords | None, word: str) -> int:
    return 0 if lexicon is None else lexicon.pictures.get(word, 0)


def _working_gsd(row: SegmentPreset, own: float | None) -> float | None:
    """The size of pixels that the model sees: its finest, where the scene is finer."""
    return row.gsd[0] if row.gsd is not None and own is not None and own < row.gsd[0] else None
