"""Results of jobs: a folder of outputs each, and beside it what it was asked for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from earthwords.files.atomic import atomic_path
from earthwords.files.plaintext import write_json
from earthwords.files.reading import read_json
from earthwords.serve.errors import not_found

_ID = re.compile(r"[A-Za-z0-9_-]{6,64}")


@dataclass(frozen=True, kw_only=True)
class ResultAbout:
    """What a result was asked for."""

    id: str
    job: str
    kind: str
    sources: tuple[str, ...]
    words: tuple[str, ...] = ()
    threshold: float | None = None


def result_folder(workspace: Path, id: str) -> Path:
    """Where the outputs lie."""
    return workspace / "results" / id


def begin_result(
    workspace: Path, id: str, *, kind: str, job: str, sources: Sequence[str], words: Sequence[str] = (),
    threshold: float | None = None,
) -> Path:  # fmt: skip
    """Write down what a job was asked for, before it runs; its folder of outputs, which the command makes."""
    about = ResultAbout(id=id, job=job, kind=kind, sources=tuple(sources), words=tuple(words), threshold=threshold)
    folder = result_folder(workspace, id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(_about(workspace, id), overwrite=True) as path:
        write_json(path, asdict(about), indent=2)
    return folder


def read_result(workspace: Path, id: str) -> ResultAbout:
    """What a result was asked for.

    Raises:
        Problem: there is none.
    """
    path = _about(workspace, id)
    if not _ID.fullmatch(id) or not path.is_file():
        raise not_found("result", id)
    found = read_json(path)
    return ResultAbout(**{**found, "sources": tuple(found["sources"]), "words": tuple(found["words"])})


def remove_result(workspace: Path, id: str) -> None:
    """Take a result away, whole; nothing happens where there is none."""
    _about(workspace, id).unlink(missing_ok=True)
    for folder in (result_folder(workspace, id), made_folder(workspace, id)):
        shutil.rmtree(folder, ignore_errors=True)


def made_folder(workspace: Path, id: str) -> Path:
    """What the server itself makes of a result: score rasters, histograms, exports."""
    return workspace / "made" / id


def _about(workspace: Path, id: str) -> Path:
    return workspace / "results" / f"{id}.json"
