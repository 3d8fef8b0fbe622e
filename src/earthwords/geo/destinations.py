"""What a DST means: which files a command writes, and whether it may. Loads nothing heavy, so that it is told first."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from earthwords.errors import OutputError, UsageError
from earthwords.files.atomic import check_local, check_name, exists, shape_parts
from earthwords.files.output_sets import half_set
from earthwords.files.output_tags import wrote
from earthwords.files.reading import read_json
from earthwords.geo.sources.inputs import Inputs

RASTERS = (".tif", ".tiff")
VECTORS = (".gpkg", ".geojson", ".fgb", ".parquet", ".shp", ".pmtiles")
EDITABLE = VECTORS[:-1]
"""Those that a person can fill in; tiles are for looking at."""
PICTURES = (".png",)
PAGES = (".html",)
RESULTS = (*VECTORS, ".csv", *PICTURES)

PCA = ".pca.safetensors"
MAP_FILES = {
    "labels": "labels.tif",
    "style": "labels.qml",
    "polygons": "polygons.gpkg",
    "polygons_style": "polygons.qml",
    "preview": "preview.png",
    "report": "report.json",
}
"""What a folder gets of a map."""
COUNT_FILES = {
    "instances": "instances.gpkg",
    "style": "instances.qml",
    "preview": "preview.png",
    "report": "report.json",
}
"""What a folder gets of counted things."""
CHANGE_FILES = {
    "labels": "change.tif",
    "style": "change.qml",
    "polygons": "changes.gpkg",
    "polygons_style": "changes.qml",
    "preview": "preview.png",
    "report": "report.json",
}
"""What a folder gets of a comparison of two dates."""
CHANGES_TABLE = "changes.json"
"""What a folder gets beside those of each pair of more than two dates."""
FEATURE_FILES = {
    "features": "features.tif",
    "components": f"features{PCA}",
    "preview": "preview.png",
    "report": "report.json",
}
"""What a folder gets of features."""
ITEM_FILE = "item.json"
"""What a folder gets of a map as a STAC Item."""
ZONES_FILE = "zones.gpkg"
"""What a folder gets of the zones that figures are asked of."""
RESULT_FILES = {"places": "results.gpkg", "table": "results.csv", "sheet": "sheet.png", "report": "report.json"}
"""What a folder gets of a search."""
ASSESSMENT_FILES = {
    "report": "assessment.json",
    "areas": "areas.csv",
    "accuracy": "accuracy.csv",
    "confusion": "confusion.csv",
    "chart": "areas.png",
    "reliability": "reliability.png",
}
"""What a folder gets of an assessment."""
_ASSESSMENT_KINDS = {".json": "report", ".csv": "table", ".png": "chart"}


def plan_outputs(
    dst: Path,
    *,
    probabilities: bool,
    overwrite: bool,
    inputs: Inputs | None = None,
    folder: bool = False,
    zones: bool = False,
    stac: bool = False,
) -> dict[str, Path]:
    """Kind of output of a map to path; the suffix of `dst` decides, a folder or no suffix gets the `MAP_FILES`.

    Args:
        inputs: what the command reads.
        folder: `dst` is a folder whatever its name.
        zones: figures of zones are written too.
        stac: the STAC Item of a folder is written too.

    Raises:
        UsageError: unknown suffix, a URL, a file that the command reads, or one is there and may not be
            overwritten.
        OutputError: a file cannot be put there.
    """
    kinds = {kind: dst / name for kind, name in MAP_FILES.items()} if folder else _of_map(dst)
    if probabilities:
        bundle = "report" in kinds
        kinds["probabilities"] = dst / "probabilities.tif" if bundle else dst.with_name(f"{dst.stem}_probabilities.tif")
    kinds = _with_zones(kinds, dst) if zones else kinds
    return checked(_with_item(kinds, dst) if stac else kinds, dst, overwrite=overwrite, inputs=inputs)


def plan_counts(
    dst: Path, *, zones: bool, overwrite: bool, inputs: Inputs | None = None, folder: bool = False
) -> dict[str, Path]:
    """Kind of output of counted things to path; the suffix of `dst` decides, a folder or no suffix gets the
    `COUNT_FILES`.

    Args:
        zones: figures of zones are written too.
        inputs: what the command reads.
        folder: `dst` is a folder whatever its name.

    Raises:
        UsageError, OutputError: as `plan_outputs`.
    """
    suffix = dst.suffix.lower()
    if folder or os.path.isdir(dst) or not suffix:
        kinds = {kind: dst / name for kind, name in COUNT_FILES.items()}
    elif suffix in VECTORS:
        kinds = {"instances": dst}
    elif suffix in PICTURES:
        kinds = {"preview": dst}
    elif suffix in PAGES:
        kinds = {"page": dst}
    else:
        raise unknown_suffix(dst, (*VECTORS, *PICTURES, *PAGES))
    return checked(_with_zones(kinds, dst) if zones else kinds, dst, overwrite=overwrite, inputs=inputs)


def _with_zones(kinds: dict[str, Path], dst: Path) -> dict[str, Path]:
    """The same, and the file of zones."""
    bundle = "report" in kinds
    return {**kinds, "zones": dst / ZONES_FILE if bundle else dst.with_name(f"{dst.stem}_zones.gpkg")}


def _with_item(kinds: dict[str, Path], dst: Path) -> dict[str, Path]:
    """The same, and the STAC Item."""
    if "report" not in kinds:
        raise UsageError(f"--stac describes the files of a folder, and {dst.name} is one file; give DST no suffix.")
    if importlib.util.find_spec("pystac") is None:
        raise UsageError('--stac needs the package pystac: pip install "earthwords[stac]".')
    return {**kinds, "item": dst / ITEM_FILE}


def plan_changes(dst: Path, *, overwrite: bool, inputs: Inputs | None = None, folder: bool = False) -> dict[str, Path]:
    """Kind of output of a comparison to path; the suffix of `dst` decides, a folder or no suffix gets the
    `CHANGE_FILES`.

    Args:
        inputs: what the command reads.
        folder: `dst` is a folder whatever its name.

    Raises:
        UsageError, OutputError: as `plan_outputs`.
    """
    whole = folder or os.path.isdir(dst) or not dst.suffix
    kinds = {kind: dst / name for kind, name in CHANGE_FILES.items()} if whole else _of_map(dst)
    return checked(kinds, dst, overwrite=overwrite, inputs=inputs)


def plan_features(
    dst: Path, *, components: bool, overwrite: bool, inputs: Inputs | None = None, folder: bool = False
) -> dict[str, Path]:
    """Kind of output of features to path; the suffix of `dst` decides, a folder or no suffix gets the `FEATURE_FILES`.

    Args:
        components: the raster holds components, which are written beside it.
        inputs: what the command reads.
        folder: `dst` is a folder whatever its name.

    Raises:
        UsageError, OutputError: as `plan_outputs`.
    """
    suffix = dst.suffix.lower()
    if folder or os.path.isdir(dst) or not suffix:
        kinds = {kind: dst / name for kind, name in FEATURE_FILES.items()}
    elif suffix in RASTERS:
        kinds = {"features": dst, "components": dst.with_suffix(PCA)}
    elif suffix in PICTURES:
        kinds = {"preview": dst}
    else:
        raise unknown_suffix(dst, (".tif", *PICTURES))
    if not components:
        kinds.pop("components", None)
    return checked(kinds, dst, overwrite=overwrite, inputs=inputs)


def plan_results(dst: Path, *, overwrite: bool, inputs: Inputs | None = None) -> dict[str, Path]:
    """Kind of output of a search to path; the suffix of `dst` decides, a folder or no suffix gets the `RESULT_FILES`.

    Raises:
        UsageError, OutputError: as `plan_outputs`.
    """
    suffix = dst.suffix.lower()
    if os.path.isdir(dst) or not suffix:
        kinds = {kind: dst / name for kind, name in RESULT_FILES.items()}
    elif suffix in RESULTS:
        kinds = {"places" if suffix in VECTORS else "table" if suffix == ".csv" else "sheet": dst}
    else:
        raise unknown_suffix(dst, RESULTS)
    return checked(kinds, dst, overwrite=overwrite, inputs=inputs)


def plan_suggestions(dst: Path, *, overwrite: bool, inputs: Inputs | None = None) -> dict[str, Path]:
    """The one file of vectors of `suggest`.

    Raises:
        UsageError, OutputError: as `plan_outputs`.
    """
    if os.path.isdir(dst) or dst.suffix.lower() not in EDITABLE:
        raise UsageError(f"Suggestions are one file of features, not {dst.name}: one of {', '.join(EDITABLE)}.")
    return checked({"suggestions": dst}, dst, overwrite=overwrite, inputs=inputs)


def plan_assessment(dst: Path, *, reliability: bool, overwrite: bool, inputs: Inputs | None = None) -> dict[str, Path]:
    """Kind of output of an assessment to path; the suffix of `dst` decides, a folder or no suffix gets the
    `ASSESSMENT_FILES`.

    Args:
        reliability: probabilities are looked at too.

    Raises:
        UsageError, OutputError: as `plan_outputs`.
    """
    suffix = dst.suffix.lower()
    if os.path.isdir(dst) or not suffix:
        kinds = {kind: dst / name for kind, name in ASSESSMENT_FILES.items() if reliability or kind != "reliability"}
    elif suffix in _ASSESSMENT_KINDS:
        kinds = {_ASSESSMENT_KINDS[suffix]: dst}
    else:
        raise unknown_suffix(dst, _ASSESSMENT_KINDS)
    return checked(kinds, dst, overwrite=overwrite, inputs=inputs)


def checked(kinds: dict[str, Path], dst: Path, *, overwrite: bool, inputs: Inputs | None = None) -> dict[str, Path]:
    """The same outputs of `dst`, if they can be written; see `plan_outputs`.

    Those of a run that died while they moved may be there, see `output_sets`.
    """
    check_local(dst)
    for path in kinds.values():
        check_name(path)
    if inputs is not None:
        inputs.check([*kinds.values(), *(left_over(kinds) if overwrite else ())])
    half = half_set(kinds.values())
    there = next((path for path in kinds.values() if os.path.lexists(path) and not half.owns(path)), None)
    if there is None and not half.files:
        there = next((part for path in kinds.values() for part in shape_parts(path) if os.path.lexists(part)), None)
    if there is not None and not overwrite:
        raise exists(there)
    _check_place(next(iter(kinds.values())).parent)
    return kinds


def left_over(kinds: Mapping[str, Path]) -> tuple[Path, ...]:
    """Outputs of an earlier run in the same place that this one has not, such as figures of zones: they would lie
    beside outputs of which they say nothing. Only what the earlier report names; beside a DST that is one file, what
    bears its name and was written by earthwords."""
    if "report" not in kinds:
        return _beside(next(iter(kinds.values())), kinds)
    folder = kinds["report"].parent
    try:
        named = read_json(kinds["report"])["outputs"]
        found = [folder / Path(named[kind]).name for kind in _OPTIONAL if kind in named and kind not in kinds]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple(path for path in found if path.is_file() and path not in kinds.values())


def _beside(dst: Path, kinds: Mapping[str, Path]) -> tuple[Path, ...]:
    if not dst.is_file():
        return ()
    zones, probabilities = dst.with_name(f"{dst.stem}_zones.gpkg"), dst.with_name(f"{dst.stem}_probabilities.tif")
    found = [zones] if "zones" not in kinds and _holds_figures(zones) else []
    found += [probabilities] if "probabilities" not in kinds and wrote(probabilities) else []
    return tuple(path for path in found if path not in kinds.values())


def _holds_figures(path: Path) -> bool:
    """Whether a file is a GeoPackage of zones with figures, as earthwords writes it."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            layers = file.execute("SELECT table_name FROM gpkg_contents").fetchall()
            columns = {row[1] for row in file.execute("PRAGMA table_info(zones)")}
    except sqlite3.Error:
        return False
    return layers == [("zones",)] and {"zone", "name"} < columns and any(c.startswith("area_") for c in columns)


_OPTIONAL = "zones", "probabilities", "item"
"""Kinds that a run has or has not."""


def unknown_suffix(dst: Path, known: Iterable[str]) -> UsageError:
    """The error for a file that nothing is written to."""
    return UsageError(f"Cannot write {dst.name}: the suffix must be one of {', '.join(known)}, or none for a folder.")


def _of_map(dst: Path) -> dict[str, Path]:
    suffix = dst.suffix.lower()
    if os.path.isdir(dst) or not suffix:
        return {kind: dst / name for kind, name in MAP_FILES.items()}
    for kind, suffixes in (("labels", RASTERS), ("polygons", VECTORS), ("preview", PICTURES), ("page", PAGES)):
        if suffix in suffixes:
            return {kind: dst}
    raise unknown_suffix(dst, (".tif", *VECTORS, *PICTURES, *PAGES))


def _check_place(folder: Path) -> None:
    """Fail now rather than after the work; nothing is made yet."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise OutputError(f"Cannot make the folder {folder}: {there} is a file; choose another place.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {there} is not writable; choose another one.")
