"""What is wrong with a command line, found before anything heavy is loaded.

The same is checked again where the work is done; here the point is that the answer comes at once.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from earthwords import plugins
from earthwords.errors import SourceError, UsageError, WeightsError, unknown
from earthwords.files.atomic import exists
from earthwords.files.paths import IMAGES, is_local_path, similar, trouble, unreadable
from earthwords.geo.sources.find import is_pattern
from earthwords.geo.sources.gdal_names import check_waits
from earthwords.inference.teach.folder import CARD
from earthwords.presets import Attention, Blend, SegmentPreset
from earthwords.refer_presets import REFER_PRESETS

_VALUES = re.compile(r":(?:-?\d+(?:-\d+)?|bit\d+)(?:,(?:-?\d+(?:-\d+)?|bit\d+))*$", re.IGNORECASE)
"""What hides a pixel, behind the name of a mask."""


def sources_and_dst(paths: Sequence[str | Path], out: Path | None, *, usage: str) -> tuple[list[str], Path]:
    """SRC... and DST, which is the last path unless `out` names it.

    Raises:
        UsageError: one of them is missing; `usage` shows how to say it.
    """
    sources = [os.fspath(path) for path in paths]
    if out is not None and sources:
        return sources, Path(out)
    if out is not None or len(sources) < 2:
        raise UsageError(f"Name at least one source and the destination: {usage}")
    return sources[:-1], Path(sources[-1])


def check_named(source: Any, *, what: str, instead: str) -> Any:
    """The source, if it is a path or an address; arrays, open datasets and the like go elsewhere.

    Args:
        source: what was given as a raster.
        what: what it should name.
        instead: the call that takes it, such as `Segmenter.from_preset().predict(array, words)`.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(source, (str, os.PathLike)):
        return source
    shape = getattr(source, "shape", None)
    kind = type(source).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) and shape else "")
    raise UsageError(f"{what} is named here by path or address, got {kind}; that goes to earthwords.{instead}.")


def check_path(given: Any, *, what: str) -> Any:
    """What was given, if it is a path.

    Raises:
        UsageError: it is a table, an array or the like.
    """
    if isinstance(given, (str, os.PathLike)):
        return given
    raise UsageError(f"{what} is named by a path, got {type(given).__name__}; write it to a file first.")


def check_raster(source: Any) -> None:
    """Refuse a single raster that is a path where nothing can be read; what means many, and arrays, are for others.

    Raises:
        SourceError: why not.
    """
    if not isinstance(source, (str, os.PathLike)):
        return
    source = os.fspath(source)
    if os.path.isdir(source) or source.startswith("@") or is_pattern(source):
        return
    if not is_local_path(source):
        check_waits(source)
        return
    if (error := unreadable(Path(source))) is not None:
        raise error


def check_mask(mask: object) -> None:
    """Refuse a mask that is named like a raster, or lies in a folder, and is not there.

    Raises:
        SourceError: why it cannot be read.
    """
    if not isinstance(mask, (str, os.PathLike)) or "{stem}" in str(mask):
        return
    what = str(mask).strip()
    what = what if os.path.lexists(what) else _VALUES.sub("", what)
    path = Path(what)
    if not is_local_path(what) or os.path.lexists(path) or path.suffix.lower() in IMAGES:
        check_raster(what)


def check_query(model: str | None, images: Iterable[str | Path], areas: Iterable[str | Path | None]) -> None:
    """Refuse weights, images to be similar to, or files of polygons that are not there.

    Raises:
        UsageError: an unknown model, or a file of polygons that cannot be read.
        SourceError: an image cannot be read.
        WeightsError: a path where nothing is.
    """
    check_weights(model)
    for area in areas:
        if area is not None and (why := trouble(area)) is not None:
            known = "name a file of polygons such as .gpkg or .geojson"
            raise UsageError(f"There is no area at {area}, which {why}; {known}.")
    for image in images:
        check_raster(str(image))


def check_paths(paths: Iterable[str | Path], *, what: str) -> None:
    """Refuse files or folders that are not there.

    Raises:
        SourceError: one of them, which should be `what`.
    """
    for path in map(Path, paths):
        if not os.path.lexists(path):
            raise SourceError(f"{path} does not exist; name {what}. {similar(path, os.path.exists)}")


def check_file(path: str | Path, *, what: str) -> None:
    """Refuse a path at which no file can be read.

    Raises:
        SourceError: why not.
    """
    if (why := trouble(path)) is not None:
        raise SourceError(f"{path} {why}; name {what}. {similar(Path(path), os.path.isfile)}")


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that exists, unless it may be replaced, or a killed run left something that goes first.

    Raises:
        UsageError: it exists.
    """
    if any(path.parent.glob(f".{glob.escape(path.name)}.*")):
        return
    if os.path.lexists(path) and not path.is_dir() and not overwrite:
        raise exists(path)


def check_parts(
    row: SegmentPreset, *, model: str | None = None, upsampler_weights: str | None = None, maps: bool = False
) -> None:
    """Refuse a preset that names what there is not.

    Args:
        maps: only maps are wanted, which a SAM 3 gives too; else features of a CLIP.

    Raises:
        UsageError: an unknown name.
        WeightsError: a path where nothing is.
    """
    for kind, name, known in (
        ("attention", row.attention, get_args(Attention)),
        ("upsampler", row.upsampler, plugins.names("earthwords.models.upsamplers")),
        ("blend mode", row.blend, get_args(Blend)),
    ):
        if name is not None and name not in known:
            raise unknown(kind, name, known)
    from earthwords.models.sam3.refusals import check_clip, check_fusion
    from earthwords.text.templates import load_templates

    load_templates(row.templates)
    check_fusion(row)
    if not maps:
        check_clip(row)
    check_weights(row.weights if model is None else model, upsampler_weights, row.head)


def check_weights(*names: str | Path | None) -> None:
    """Refuse names of weights that mean nothing.

    Raises:
        UsageError: an unknown name.
        WeightsError: a path where nothing is.
    """
    from earthwords.models.weights.table import find

    for name in names:
        if name is not None:
            find(str(name))


def check_referrer(preset: str, model: str | Path | None) -> None:
    """Refuse a referring preset that there is not, and a model that is nowhere.

    Raises:
        UsageError: an unknown name, or what `teach` has written.
        WeightsError: a path where nothing is.
    """
    for folder in (preset, model):
        if folder is not None and (Path(folder) / CARD).is_file():
            raise UsageError(
                f"{folder} was taught classes by marks, and `refer` is for sentences: map its classes by `earthwords "
                f"segment SRC DST --preset {folder}`, or leave it out."
            )
    if model is None and preset not in REFER_PRESETS and not os.path.exists(preset):
        raise unknown("preset", preset, REFER_PRESETS)
    if model is not None and model not in REFER_PRESETS:
        if not os.path.lexists(model):
            from earthwords.models.weights.table import no_referrer

            raise no_referrer(str(model))
        if not os.path.isdir(model) and (why := trouble(model)) is not None:
            raise WeightsError(f"Cannot read weights from {model}: it {why}.")


def check_list(path: str | Path, *, model: str | None, architecture: str) -> None:
    """Refuse a list of pictures, weights or an architecture that are not there; see `check_file`, `check_weights`."""
    check_file(path, what="a list of pictures, JSON lines")
    check_weights(model)
    from earthwords.models.architectures import ARCHITECTURES

    if model is None and architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)


def check_described(*lists: str | Path | None, preset: str, model: str | None) -> None:
    """Refuse lists of described images or a model that are not there; see `check_file`, `check_referrer`."""
    for path in lists:
        if path is not None:
            check_file(path, what="a list of described images, JSON lines")
    check_referrer(preset, model)


def check_images(*names: str | None, backbone: Iterable[str]) -> None:
    """Refuse images or backbones that are not there; see `check_raster`, `check_weights`."""
    for name in names:
        if name is not None:
            check_raster(name)
    check_weights(*backbone)


def check_positive(**options: float | None) -> None:
    """Raises `UsageError` for an option that is given and not above 0."""
    for name, value in options.items():
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0, got {value:g}.")
