"""Sets of scenes for classification, retrieval and counting, as their publishers lay them out on disk.

A set is a folder with a folder of images for each class (`images/CLASS/FILE` or `CLASS/FILE`), or with a JSON file of
records (`{"images": [{"filename", "split", "cls", "captions" or "sentences": [{"raw"}], "count"}]}`, Karpathy's layout)
whose images lie in it, in its `images`, or in the `images` of a folder beside it. Splits come from the records, or from
`train.txt`, `val.txt` and `test.txt` that name files, or from the records of another set on the same images. A table
beside the images, `*multilabel*.txt`, `.tsv` or `.csv`, may tell several labels an image, as that of DLRSD's classes
for UC Merced does (https://doi.org/10.1109/TGRS.2017.2760909): a column of names, then one of 0 and 1 for each label.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError, brief, did_you_mean
from earthwords.files.paths import PICTURES
from earthwords.files.plaintext import Unreadable, read_text
from earthwords.files.reading import parse_json

SUFFIXES = (*PICTURES, ".tif", ".tiff")
PARTS = {"train": "train", "restval": "train", "val": "validation", "valid": "validation", "validation": "validation",
         "test": "test"}  # fmt: skip
"""Names of splits in files, and ours."""


@dataclass(frozen=True, kw_only=True)
class SceneSet:
    """Images with what is known of them."""

    name: str
    paths: tuple[Path, ...]
    labels: NDArray[np.int64] | None
    """`(image,)` index of its class; None: without classes."""
    classes: tuple[str, ...]
    """The words for each class."""
    parts: dict[str, NDArray[np.int64]]
    """Images of `train`, `validation` and `test`, as far as files tell."""
    captions: tuple[tuple[str, ...], ...]
    """`(image,)` sentences of each, perhaps none."""
    counts: NDArray[np.int64] | None
    """`(image,)` how many objects its first sentence speaks of, 0 where that is not told."""
    templates: str
    """Name of the prompts that RemoteCLIP uses for this set."""
    table: Path | None = None
    """File with several labels an image, for `read_tags`; None: there is none."""


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """What is known of a published set: how its classes are called and asked for."""

    folders: tuple[str, ...]
    """Names of its folder, in lower case without punctuation."""
    words: tuple[str, ...] = ()
    """Class names that a folder name spells in one."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Folder of a class, in lower case without punctuation, to its words."""
    templates: str = "remoteclip5"
    splits: str | None = None
    """Name of a folder beside it whose records split the same images."""


PUBLISHED = (
    PublishedSet(folders=("aid", "aid30"), splits="rsicd_captions"),
    PublishedSet(folders=("rsicdcaptions", "rsicd")),
    PublishedSet(folders=("rsitmdcaptions", "rsitmd")),
    PublishedSet(
        folders=("eurosat", "eurosatrgb"),
        templates="remoteclip-eurosat",
        renamed={
            "permanentcrop": "permanent crop land", "residential": "residential buildings or homes or apartments",
            "pasture": "pasture land", "sealake": "lake or sea", "herbaceousvegetation": "brushland or shrubland",
            "annualcrop": "annual crop land", "industrial": "industrial buildings or commercial buildings",
            "highway": "highway or road",
        },
    ),
    PublishedSet(folders=("mlrsnet",)),
    PublishedSet(folders=("optimal31", "optimal")),
    PublishedSet(folders=("patternnet",)),
    PublishedSet(folders=("resisc45", "resisc", "nwpuresisc45"), templates="remoteclip-resisc45"),
    PublishedSet(folders=("rsscn7", "rs2800"), renamed={"riverlake": "river or lake"}),
    PublishedSet(
        folders=("rsc11", "rsc11dataset"),
        words=("dense forest", "high buildings", "sparse forest", "low buildings", "residential area", "storage tanks"),
    ),
    PublishedSet(folders=("rsicb128",)),
    PublishedSet(folders=("rsicb256",)),
    PublishedSet(folders=("whuearth", "siriwhu"), words=("idle land",)),
    PublishedSet(folders=("whurs19",), words=("football field", "railway station")),
    PublishedSet(
        folders=("ucmerced21", "ucmerced", "ucmcaptions", "ucm"),
        words=("baseball diamond", "golf course", "mobile home park", "parking lot", "storage tanks", "tennis court"),
        renamed={
            "denseresidential": "dense residential area", "mediumresidential": "medium residential area",
            "sparseresidential": "sparse residential area",
        },
        splits="ucm_captions",
    ),
)  # fmt: skip
"""The twelve sets of RemoteCLIP's table (class words of its codebase, https://github.com/ChenDelong1999/ITRA), the sets
of its retrieval, and UC Merced (words of our own)."""

_ANY = PublishedSet(folders=())
_TABLE = re.compile(r".*multi[-_ ]?label.*\.(txt|tsv|csv)", re.IGNORECASE)


def known(name: str) -> PublishedSet:
    """What is known of a set of this name; nothing in particular of another."""
    return next((row for row in PUBLISHED if _plain(name) in row.folders), _ANY)


def class_words(folder: str, row: PublishedSet = _ANY) -> str:
    """The words for the folder of a class: those of its set, else its name, split at capitals and underscores."""
    spelled = {_plain(words): words for words in row.words} | row.renamed
    if _plain(folder) in spelled:
        return spelled[_plain(folder)]
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", folder)
    return " ".join(re.split(r"[\s_\-]+", parts.strip())).lower()


def read_scene_set(folder: Path, *, names: dict[str, str] | None = None) -> SceneSet:
    """A set from its folder; nothing but names is read, no image.

    Args:
        names: folder of a class to its words, instead of those of `class_words`.

    Raises:
        UsageError: no such folder, or nothing in it that is known.
        SourceError: its records or splits cannot be read, or name files that are not there.
    """
    if not folder.is_dir():
        beside = sorted(p.name for p in folder.parent.glob("*") if p.is_dir()) if folder.parent.is_dir() else []
        hint = f" {did_you_mean(folder.name, beside)}" if beside else ""
        raise UsageError(f"There is no data set {folder.name!r} in {folder.parent}.{hint}")
    row = known(folder.name)
    found = next((made for path in sorted(folder.glob("*.json")) if (made := _records(path)) is not None), None)
    if found is None:
        scenes = _from_folders(folder, row, names or {})
    else:
        scenes = _from_records(folder, found, row, names or {})
    return replace(scenes, table=next((p for p in sorted(folder.iterdir()) if _TABLE.fullmatch(p.name)), None))


def find_scene_sets(root: Path) -> list[Path]:
    """The sets in a folder: those with records and those of a published name; else the folder itself."""
    inside = [each for each in sorted(root.iterdir()) if each.is_dir()]
    found = [each for each in inside if _has_records(each) or (known(each.name) is not _ANY and is_scene_set(each))]
    return found or ([root] if is_scene_set(root) else [])


def is_scene_set(folder: Path) -> bool:
    """Whether `read_scene_set` would find something here."""
    return folder.is_dir() and (_has_records(folder) or len(_class_folders(folder)[1]) > 1)


def _has_records(folder: Path) -> bool:
    try:
        return any(_records(path) is not None for path in sorted(folder.glob("*.json")))
    except SourceError:
        return False


def _from_records(folder: Path, records: list[dict[str, Any]], row: PublishedSet, names: dict[str, str]) -> SceneSet:
    where = _image_folder(folder, str(records[0]["filename"]))
    paths = tuple(where / str(record["filename"]) for record in records)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise SourceError(
            f"{len(missing):,} of the {len(paths):,} images of {folder} are missing, such as {missing[0]}."
        )
    folders = sorted({str(record["cls"]) for record in records if record.get("cls")})
    complete = bool(folders) and all(record.get("cls") for record in records)
    counts = np.array([int(record.get("count", 0)) for record in records], np.int64)
    return SceneSet(
        name=folder.name,
        paths=paths,
        labels=np.array([folders.index(str(r["cls"])) for r in records], np.int64) if complete else None,
        classes=tuple(names.get(name) or class_words(name, row) for name in folders) if complete else (),
        parts=_parts(str(record.get("split", "")) for record in records),
        captions=tuple(tuple(_sentences(record)) for record in records),
        counts=counts if counts.any() else None,
        templates=row.templates,
    )


def _from_folders(folder: Path, row: PublishedSet, names: dict[str, str]) -> SceneSet:
    root, folders = _class_folders(folder)
    if not folders:
        raise UsageError(f"{folder} holds no folders of images, one a class, and no JSON of records: no data set.")
    paths = [path for each in folders for path in _pictures(each)]
    labels = [i for i, each in enumerate(folders) for _ in _pictures(each)]
    return SceneSet(
        name=folder.name,
        paths=tuple(paths),
        labels=np.array(labels, np.int64),
        classes=tuple(names.get(each.name) or class_words(each.name, row) for each in folders),
        parts=_split_files(folder, root, paths) or _splits_beside(folder, root, paths, row),
        captions=((),) * len(paths),
        counts=None,
        templates=row.templates,
    )


def _class_folders(folder: Path) -> tuple[Path, list[Path]]:
    """Where the folders of the classes lie, and these; those without an image do not count."""
    root = folder / "images" if (folder / "images").is_dir() else folder
    return root, [each for each in sorted(root.iterdir()) if each.is_dir() and any(_iter_pictures(each))]


def _iter_pictures(folder: Path) -> Iterator[Path]:
    return (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _pictures(folder: Path) -> list[Path]:
    """By name, numbers in order: 2 before 10."""
    return sorted(_iter_pictures(folder), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _records(path: Path) -> list[dict[str, Any]] | None:
    """The records of a JSON file; None: it is something else."""
    try:
        table = parse_json(read_text(path, most=None))
    except (OSError, ValueError) as error:
        raise SourceError(f"Cannot read {path}: {brief(error)}.") from error
    found = table.get("images") if isinstance(table, dict) else None
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        return None
    if not all(isinstance(record, dict) and record.get("filename") for record in found):
        raise SourceError(f"Cannot read {path}: every one of its images needs a filename.")
    return found


def _image_folder(folder: Path, first: str) -> Path:
    """Where the images of records lie: here, in `images`, or in the `images` of a folder beside."""
    beside = (each / "images" for each in sorted(folder.parent.iterdir()) if each.is_dir())
    for place in (folder, folder / "images", *beside):
        if (place / first).is_file():
            return place
    raise SourceError(
        f"The images of {folder} are not in it, in its images, nor in images of a folder beside: {first}."
    )


def _sentences(record: dict[str, Any]) -> list[str]:
    """As RemoteCLIP reads them: first letter large, the others small."""
    given = record.get("captions") or record.get("sentences") or []
    raw = [entry.get("raw", "") if isinstance(entry, dict) else str(entry) for entry in given]
    return [text.strip().capitalize() for text in raw if text.strip()]


def _parts(splits: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    found: dict[str, list[int]] = {}
    for i, split in enumerate(splits):
        if split.lower() in PARTS:
            found.setdefault(PARTS[split.lower()], []).append(i)
    return {name: np.array(index, np.int64) for name, index in found.items()}


def _split_files(folder: Path, root: Path, paths: Sequence[Path]) -> dict[str, NDArray[np.int64]]:
    place = _places(root, paths)
    parts: dict[str, list[int]] = {}
    for file, name in ((folder / f"{word}.txt", part) for word, part in PARTS.items()):
        if not file.is_file():
            continue
        try:
            lines = read_text(file, most=None).splitlines()
        except Unreadable as error:
            raise SourceError(f"Cannot read {file}: {error}.") from error
        for line in filter(None, map(str.strip, lines)):
            if (found := place(line)) is None:
                raise SourceError(f"{file} names {brief(line)!r}, which is no image of {root}.")
            parts.setdefault(name, []).append(found)
    return {name: np.array(sorted(index), np.int64) for name, index in parts.items()}


def _splits_beside(folder: Path, root: Path, paths: Sequence[Path], row: PublishedSet) -> dict[str, NDArray[np.int64]]:
    """The splits that another set's records give the same images."""
    if row.splits is None or row.splits == folder.name:
        return {}
    place = _places(root, paths)
    split_of = [""] * len(paths)
    for file in sorted((folder.parent / row.splits).glob("*.json")):
        for record in _records(file) or []:
            if (found := place(str(record["filename"]))) is not None:
                split_of[found] = str(record.get("split", ""))
    return _parts(split_of)


def _places(root: Path, paths: Sequence[Path]) -> Callable[[str], int | None]:
    """From `CLASS/FILE`, or `FILE` where that is unique, to the place in the list."""
    full = {path.relative_to(root).as_posix(): i for i, path in enumerate(paths)}
    short: dict[str, int | None] = {}
    for i, path in enumerate(paths):
        short[path.name] = None if path.name in short else i
    return lambda name: full.get(name.removeprefix("images/"), short.get(name))


def read_tags(scenes: SceneSet) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """`(image, label)` which of several labels images have, None where no table tells, and the words for each label.

    Raises:
        SourceError: the table cannot be read, or lacks an image.
    """
    table = scenes.table
    if table is None:
        return None, ()
    try:
        comma = "," if table.suffix.lower() == ".csv" else "\t"
        file = io.StringIO(read_text(table, most=None), newline="")
        head, *rows = [row for row in csv.reader(file, delimiter=comma) if any(map(str.strip, row))]
        known = {Path(row[0].strip()).stem: [_bit(cell) for cell in row[1:] if cell.strip()] for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"Cannot read the labels in {table}: {brief(error)}.") from error
    labels = tuple(class_words(name.strip()) for name in head[1:] if name.strip())
    wrong = next((stem for path in scenes.paths if len(known.get(stem := path.stem, ())) != len(labels)), None)
    if wrong is not None or not labels:
        raise SourceError(f"{table} does not tell the {len(labels)} labels of its head for the image {wrong}.")
    return np.array([known[path.stem] for path in scenes.paths], bool), labels


def _bit(cell: str) -> bool:
    if cell.strip() not in ("0", "1"):
        raise ValueError(f"{brief(repr(cell))} is neither 0 nor 1")
    return cell.strip() == "1"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
