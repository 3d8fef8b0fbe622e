"""Weights brought to this machine: from Hugging Face or a URL into a cache, once, checked, unpacked if zipped."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.geo.sources.network import is_offline
from earthwords.models.weights.download import Report, download, sha256_of, timeout_s

if TYPE_CHECKING:
    from earthwords.models.weights.spec import WeightSpec

TOKENIZERS = ("*.json", "*.txt", "spiece.model")
"""Files of a Hugging Face repository that hold its configuration and its tokenizer."""
_SAFE = "model*.safetensors"
FOLDER = (*TOKENIZERS, _SAFE)
"""What a model in transformers' layout needs; `PICKLED` instead of the last where there are no safetensors."""
PICKLED = "pytorch_model*.bin"
_CHECKPOINTS = (".pt", ".pth", ".bin", ".safetensors")


def cache_folder() -> Path:
    """`$EARTHWORDS_CACHE`, else `~/.cache/earthwords`."""
    return Path(os.environ.get("EARTHWORDS_CACHE") or Path.home() / ".cache" / "earthwords")


def fetch(spec: WeightSpec, *, offline: bool = False, report: Report = lambda done, total: None) -> Path:
    """The local folder or file of these weights, downloaded once and verified.

    Raises:
        WeightsError: not in the cache and offline, unreachable, or of another sha256 than the row's.
    """
    if spec.source == "package":
        return Path(str(files("earthwords").joinpath("assets", str(spec.file))))
    if Path(spec.source).exists():
        return Path(spec.source)
    offline = offline or is_offline()
    if spec.source.startswith(("http://", "https://", "file://")):
        return _from_url(spec, offline=offline, report=report)
    return _from_hub(spec, offline=offline)


def fetch_tokenizer(spec: WeightSpec, *, offline: bool = False) -> Path:
    """The local folder of a model's configuration and tokenizer, without its weights.

    Raises:
        WeightsError: as `fetch`.
    """
    if Path(spec.source).exists():
        return Path(spec.source)
    return _snapshot(spec, TOKENIZERS, offline=offline or is_offline())


def _from_hub(spec: WeightSpec, *, offline: bool) -> Path:
    if spec.file is not None:
        file = _single(spec, spec.file, offline=offline)
        _check_blob(file, spec, spec.sha256)
        return file
    folder = _snapshot(spec, FOLDER, offline=offline)
    if not list(folder.glob(_SAFE)):
        folder = _snapshot(spec, (*TOKENIZERS, PICKLED), offline=offline)
    weights = [*folder.glob(_SAFE), *folder.glob(PICKLED)]
    if not weights:
        raise _missing(spec, offline=offline, why="it has no model.safetensors and no pytorch_model.bin")
    for file in weights:
        _check_blob(file, spec, spec.sha256 if file.name == spec.hashed else None)
    return folder


def _single(spec: WeightSpec, name: str, *, offline: bool) -> Path:
    """A file of a repository; the hub is not asked for one that is here."""
    import huggingface_hub as hub

    with suppress(Exception):
        return Path(hub.hf_hub_download(spec.source, name, local_files_only=True))
    with _hub_errors(spec, offline=offline):
        if not offline:
            _names(spec)
        return Path(hub.hf_hub_download(spec.source, name, local_files_only=offline))


def _names(spec: WeightSpec) -> list[str]:
    """Files of a repository. Asked once; the library would ask a hub that does not answer six times for a file."""
    import huggingface_hub as hub

    return [file.rfilename for file in hub.HfApi().model_info(spec.source, timeout=timeout_s()).siblings or ()]


def _snapshot(spec: WeightSpec, patterns: tuple[str, ...], *, offline: bool) -> Path:
    """The folder with the files of these names; what is there is taken where the hub does not answer."""
    import huggingface_hub as hub

    def local() -> Path:
        return Path(hub.snapshot_download(spec.source, allow_patterns=list(patterns), local_files_only=True))

    with _hub_errors(spec, offline=offline):
        if offline:
            return local()
        try:
            # one by one, as the threads of `snapshot_download` would be waited for after Ctrl-C
            for name in _names(spec):
                if any(fnmatch(name, pattern) for pattern in patterns):
                    hub.hf_hub_download(spec.source, name)
            return Path(hub.snapshot_download(spec.source, allow_patterns=list(patterns)))
        except Exception:
            with suppress(Exception):
                return local()
            raise


@contextmanager
def _hub_errors(spec: WeightSpec, *, offline: bool) -> Iterator[None]:
    """The hub's errors in our words; it is not waited for without end."""
    from huggingface_hub.errors import GatedRepoError

    if not offline:
        _bound_waiting()
    try:
        yield
    except MemoryError:
        raise
    except GatedRepoError as error:
        raise WeightsError(
            f"{spec.name} is gated: accept its licence at https://huggingface.co/{spec.source}, make a token at "
            "https://huggingface.co/settings/tokens and give it as the environment variable HF_TOKEN, then run again."
        ) from error
    except Exception as error:  # those of whatever HTTP library it uses
        raise _missing(spec, offline=offline, why=brief(error)) from error


def _bound_waiting() -> None:
    """Requests of `huggingface_hub` that have no timeout, such as for the list of files, get ours."""
    from huggingface_hub.utils import get_session

    def bound(request: Any) -> None:
        waits = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            kind: timeout_s() if waits.get(kind) is None else waits[kind]
            for kind in ("connect", "read", "write", "pool")
        }

    session = get_session()
    hooks = session.event_hooks
    if not any(getattr(hook, "__qualname__", "") == bound.__qualname__ for hook in hooks.get("request", ())):
        session.event_hooks = {**hooks, "request": [*hooks.get("request", ()), bound]}


def _missing(spec: WeightSpec, *, offline: bool, why: str) -> WeightsError:
    failed = f"cannot be fetched ({why}); try again later"
    what = "is not in the cache; run once without --offline" if offline else failed
    return WeightsError(f"{spec.name} ({spec.source} on Hugging Face) {what}, or pass a local copy with --model PATH.")


def _from_url(spec: WeightSpec, *, offline: bool, report: Report) -> Path:
    target = cache_folder() / "weights" / spec.name / spec.source.rsplit("/", 1)[-1]
    if target.suffix == ".zip" and (path := _unpacked_before(target)):
        return _as_verified(path, spec, archive=spec.sha256)
    ours = not target.exists()
    if ours:
        if offline:
            raise WeightsError(
                f"{spec.name} is not in {target.parent}; run once without --offline, or copy {spec.source} there."
            )
        _bring(spec, target, report=report)
    _as_verified(target, spec)
    if target.suffix != ".zip":
        return target
    path = _unpacked(target)
    if ours:
        for file in (target, _record_of(target)):
            file.unlink(missing_ok=True)
    return path


def _bring(spec: WeightSpec, target: Path, *, report: Report) -> None:
    try:
        _record(target, download(spec.source, target, sha256=spec.sha256, report=report))
    except WeightsError as error:
        raise WeightsError(f"{spec.name}: {error}; {spec.source} is not what it was, or broken.") from error
    except OSError as error:
        part = target.with_name(f"{target.name}.part")
        kept = " What came is kept; the same command goes on from there." if part.exists() else ""
        raise WeightsError(f"{spec.name} cannot be fetched from {spec.source}: {brief(error)}.{kept}") from error


def _unpacked_before(archive: Path) -> Path | None:
    found = (archive.with_suffix(suffix) for suffix in _CHECKPOINTS)
    return next((path for path in found if path.exists()), None)


def _unpacked(archive: Path) -> Path:
    """The checkpoint in a zip, beside it and under its name, once and for all."""
    from earthwords.models.weights.checkpoint import unpack  # which loads torch

    handle, part = tempfile.mkstemp(dir=archive.parent, suffix=".part")
    os.close(handle)
    try:
        path = archive.with_suffix(unpack(archive, Path(part)))
        found = sha256_of(Path(part))
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
    _record(path, found, archive=sha256_of(archive))
    return path


def _as_verified(path: Path, spec: WeightSpec, *, archive: str | None = None) -> Path:
    """A file of the cache, hashed again if its size or time is not what was recorded when it was last hashed.

    Args:
        archive: sha256 that the zip must have had which the file is from.

    Raises:
        WeightsError: it is not what was downloaded, or not what the row says.
    """
    record = _recorded(path)
    expected = record.get("sha256") if path.suffix != Path(spec.source).suffix else spec.sha256 or record.get("sha256")
    if archive is not None and record.get("archive") != archive:
        raise WeightsError(
            f"{path} is not from the archive of {spec.name} (sha256 {archive}); delete it and run again."
        )
    if expected is None or {"sha256": expected, **_stamp(path)}.items() <= record.items():
        return path
    found = sha256_of(path)
    if found != expected:
        raise WeightsError(
            f"{path} was cut or altered after its download (sha256 {found}, expected {expected}); "
            "delete it and run again."
        )
    _record(path, found, **({"archive": record["archive"]} if "archive" in record else {}))
    return path


def _check_blob(file: Path, spec: WeightSpec, expected: str | None) -> None:
    """A large file in the hub's cache is named by its sha256; it is hashed once, and again when it has changed.

    Raises:
        WeightsError: it was cut or altered, or is not what the row says.
    """
    blob = Path(os.path.realpath(file))
    named = blob.name if re.fullmatch(r"[0-9a-f]{64}", blob.name) else None
    wanted = expected or named
    if wanted is None:
        return
    record = cache_folder() / "verified" / f"{wanted}.json"
    with suppress(OSError, ValueError):
        if read_json(record) == {"path": str(blob), **_stamp(blob)}:
            return
    found = sha256_of(blob)
    if found == named != wanted:
        raise WeightsError(
            f"{spec.name}: {spec.source} has another {file.name} than this version knows (sha256 {found}, expected "
            f"{wanted}); if you trust it, pass its folder or file with --model."
        )
    if found != wanted:
        raise WeightsError(
            f"{spec.name}: {blob} was cut or altered after its download (sha256 {found}, expected {wanted}); "
            "delete it and run again."
        )
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"path": str(blob), **_stamp(blob)}), encoding="utf-8")


def _stamp(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _recorded(path: Path) -> dict[str, Any]:
    """What `_record` wrote; empty if it is not there or not readable."""
    try:
        record = read_json(_record_of(path))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _record(path: Path, sha256: str, **more: str) -> None:
    """Best effort: without a record the file is hashed again next time."""
    with suppress(OSError):
        _record_of(path).write_text(json.dumps({"sha256": sha256, **_stamp(path), **more}), encoding="utf-8")


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified.json")
