"""From what a job is asked for to the command line that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError
from earthwords.serve.errors import Problem, not_found
from earthwords.serve.jobs.child import command, program

if TYPE_CHECKING:
    from earthwords.serve.state import ServerState

Arguments = dict[str, Any]
PROGRESS = ("--progress", "json")


def result_folder(state: ServerState, id: str) -> Path:
    """Where a job's outputs go."""
    return state.settings.workspace / "results" / id


def output_of(state: ServerState, kind: str, id: str, arguments: Arguments) -> Path:
    """What is there when a job is done."""
    if kind == "index":
        return state.settings.workspace / "indexes" / str(arguments["name"])
    if kind == "teach":
        return state.settings.workspace / "taught" / id
    if kind == "prepare":
        return state.library.copy_of(state.library.get(arguments["source"]))
    return result_folder(state, id)


def has_result(kind: str) -> bool:
    """Whether a job ends in a map that `/api/results` tells of."""
    return kind not in ("index", "teach", "prepare")


def tell_result(state: ServerState, id: str, kind: str, arguments: Arguments) -> None:
    """Write down what a result will be of."""
    from earthwords.serve.result_store import begin_result

    sources = arguments.get("sources") or [arguments["source"]]
    words = arguments.get("sentences") or arguments.get("words") or ()
    threshold = arguments.get("threshold")
    begin_result(state.settings.workspace, id, kind=kind, job=id, sources=sources, words=words, threshold=threshold)


def is_done(path: Path) -> bool:
    """Whether all outputs of a command are there; they appear together."""
    return path.is_file() or any((path / name).is_file() for name in ("report.json", "index.json"))


def argv_of(state: ServerState, kind: str, id: str, arguments: Arguments) -> list[str]:
    """The command of a job.

    Raises:
        Problem, UsageError: a source is not there (any more), or the arguments do not fit.
    """
    dst = str(output_of(state, kind, id, arguments))
    settings = state.settings
    if kind == "prepare":
        return program("earthwords.serve.overviews", _source(state, arguments["source"]), dst)
    common = ["--device", settings.device, *(["--offline"] if settings.offline else []), *PROGRESS]
    return command(kind, *_BUILDERS[kind](state, arguments, dst), *common)


def label_of(state: ServerState, kind: str, arguments: Arguments) -> str:
    """A job in a few words."""
    what = ", ".join(arguments.get("sentences") or arguments.get("words") or [])
    ids = [arguments["source"]] if arguments.get("source") else arguments.get("sources") or []
    names = [state.library.get(id).name for id in ids[:3]]
    where = ", ".join(names) + (", ..." if len(ids) > 3 else "")
    return " in ".join(part for part in (what or kind, where) if part)


def check(state: ServerState, kind: str, arguments: Arguments) -> None:
    """Refuse what cannot be done before it is queued.

    Raises:
        Problem, UsageError: what is missing, or one too many.
    """
    allowed, needed = _FIELDS[kind]
    for name in arguments:
        if name not in allowed:
            raise UsageError(f"A job of kind {kind} takes no {name!r}; it takes: {', '.join(sorted(allowed))}.")
    for name in needed:
        if not arguments.get(name):
            raise UsageError(f"A job of kind {kind} needs {name!r}.")
    if kind == "segment" and not arguments.get("words") and not arguments.get("taught"):
        raise UsageError("Say what to look for: 'words', or what marks have 'taught'.")
    if kind == "change" and len(arguments["sources"]) != 2:
        raise UsageError(f"Changes are between two sources, in order; got {len(arguments['sources'])}.")
    if kind == "index" and output_of(state, kind, "", arguments).exists():
        raise Problem(409, f"There is an index {arguments['name']!r} already; choose another name.")
    _check_texts(state, arguments)
    argv_of(state, kind, "new", arguments)


def _check_texts(state: ServerState, arguments: Arguments) -> None:
    """As `/api/words/check` reads words, and the command sentences.

    Raises:
        UsageError: the sentence about one that says nothing, or is given twice.
    """
    from earthwords.serve.words import vocabulary_of
    from earthwords.text.vocabulary import parse_sentences

    if arguments.get("words"):
        vocabulary_of(state, arguments["words"])
    if arguments.get("sentences"):
        parse_sentences(arguments["sentences"])


def _map(state: ServerState, arguments: Arguments, dst: str) -> list[str]:
    """What all maps of words begin with."""
    source, preset = _source(state, arguments["source"]), _preset(state, arguments)
    return [source, dst, *preset, *_words(arguments), *_bounds(state, arguments)]


def _segment(state: ServerState, arguments: Arguments, dst: str) -> list[str]:
    rivals = [] if arguments.get("taught") else ["--against", "auto"]  # as views have them
    return [
        *_map(state, arguments, dst), *_given(arguments, threshold="--threshold", min_area="--min-area"),
        "--probabilities", "uint8", *rivals,
    ]  # fmt: skip


def _count(state: ServerState, arguments: Arguments, dst: str) -> list[str]:
    return [
        *_map(state, arguments, dst), *_given(arguments, threshold="--threshold", min_area="--min-area"),
    ]  # fmt: skip


def _change(state: ServerState, arguments: Arguments, dst: str) -> list[str]:
    before, after = (_source(state, id) for id in arguments["sources"])
    return [
        before, after, dst, "--preset", state.settings.preset, *_words(arguments),
        *_given(arguments, threshold="--threshold", min_area="--min-area"),
        *(["--align"] if arguments.get("align") else []),
    ]  # fmt: skip


def _refer(state: ServerState, arguments: Arguments, dst: str) -> list[str]:
    sentences = [f"-t={sentence}" for sentence in arguments["sentences"]]
    return [
        _source(state, arguments["source"]), dst, *sentences, *_bounds(state, arguments),
        *_given(arguments, threshold="--threshold", min_area="--min-area"),
    ]  # fmt: skip


def _teach(state: ServerState, arguments: Arguments, dst: str) -> list[str]:
    from earthwords.serve.marks import file_of

    raster = state.library.get(arguments["source"])
    marks = file_of(state, raster.id)
    if not marks.is_file():
        raise UsageError(f"There are no marks on {raster.name} to learn from; draw some.")
    return [str(marks), dst, "--scenes", str(raster.real), *_preset(state, arguments), *_words(arguments)]


def _index(state: ServerState, arguments: Arguments, dst: str) -> list[str]:
    sources = [_source(state, id) for id in arguments["sources"]]
    return [*sources, dst, "--preset", state.settings.preset]


def _source(state: ServerState, id: str) -> str:
    return str(state.library.get(id).real)


def _words(arguments: Arguments) -> list[str]:
    """One argument each: a word that begins with a dash is no option."""
    return [f"-t={word}" for word in arguments.get("words") or ()]


def _preset(state: ServerState, arguments: Arguments) -> list[str]:
    taught = arguments.get("taught")
    if taught is None:
        return ["--preset", state.settings.preset]
    folder = state.settings.workspace / "taught" / taught
    if not folder.is_dir():
        raise not_found("teaching", taught)
    return ["--preset", str(folder)]


def _bounds(state: ServerState, arguments: Arguments) -> list[str]:
    """Of degrees, in the source's own coordinates."""
    if not arguments.get("bounds"):
        return []
    raster = state.library.get(arguments["source"])
    window = state.library.window(raster, arguments["bounds"])
    return ["--bounds", *(repr(float(value)) for value in raster.facts.grid.window(window).bounds)]


def _given(arguments: Arguments, **options: str) -> list[str]:
    found: list[str] = []
    for name, option in options.items():
        if arguments.get(name) is not None:
            found += [option, repr(float(arguments[name]))]
    return found


Builder = Callable[["ServerState", Arguments, str], list[str]]
_BUILDERS: dict[str, Builder] = {
    "segment": _segment, "count": _count, "change": _change, "refer": _refer, "teach": _teach, "index": _index,
}  # fmt: skip
_MAP = frozenset({"source", "words", "threshold", "taught", "bounds", "min_area"})
_FIELDS: dict[str, tuple[frozenset[str], Sequence[str]]] = {
    "segment": (_MAP, ("source",)),
    "count": (_MAP, ("source", "words")),
    "change": (frozenset({"sources", "words", "threshold", "align", "min_area"}), ("sources", "words")),
    "refer": (frozenset({"source", "sentences", "threshold", "bounds", "min_area"}), ("source", "sentences")),
    "teach": (frozenset({"source", "words", "taught"}), ("source",)),
    "index": (frozenset({"sources", "name"}), ("sources", "name")),
    "prepare": (frozenset({"source"}), ("source",)),
}
"""Of each kind the arguments that it takes, and those that it needs."""
