"""What to mark next: places where a map is unsure, unlike each other and unlike what is marked already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError, some_of
from earthwords.inference.checks import check_file, check_named
from earthwords.inference.options import (
    ARRAYS,
    SegmenterSpec,
    check_limits,
    reach,
    scene_spec,
    source_of,
    with_rivals,
    words_of,
)
from earthwords.jobs.progress import Bar, Console
from earthwords.presets import DEFAULT_PRESET
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.inference.suggest.result import Suggestions
    from earthwords.inference.suggest.run import Open
else:
    Suggestions = object  # loads much, and a command line reads the annotations

SuggestRule = Literal["margin-diversity", "fast", "hslabeling", "strategic", "margin", "entropy", "random"]
"""The rows of `inference.suggest.select.RULES`."""


@opt.documented
def suggest(
    src: Annotated[str, opt.ARGUMENTS],
    dst: opt.Dst,
    *,
    n: Annotated[int, opt.option(opt.OUTPUTS, name=["-n", "--number"], metavar="N")] = 20,
    text: opt.Text = (),
    classes: opt.Classes = None,
    against: opt.Against = None,
    threshold: opt.Threshold = None,
    background: opt.Background = None,
    marks: Annotated[Path | None, opt.option(opt.WHERE, metavar="FILE")] = None,
    rule: Annotated[SuggestRule, opt.OUTPUTS] = "margin-diversity",
    tiles: Annotated[int | None, opt.option(opt.OUTPUTS, metavar="PIXELS")] = None,
    seed: Annotated[int, opt.option(opt.OUTPUTS, metavar="N")] = 0,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    upsampler_weights: opt.UpsamplerWeights = None,
    bands: opt.Bands = None,
    gsd: opt.Gsd = None,
    bounds: opt.Bounds = None,
    aoi: opt.Aoi = None,
    asset: opt.Asset = None,
    item: opt.Item = None,
    nodata: opt.Nodata = None,
    mask: opt.Mask = None,
    stretch: opt.Stretch = "auto",
    allow_remote_parts: opt.AllowRemoteParts = False,
    on_error: Annotated[Literal["stop", "skip"], opt.RUNNING] = "stop",
    batch_size: opt.BatchSize = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Suggestions:
    """Suggest what to mark next: points or tiles with an empty class to fill in.

    Of scenes and words a model makes the map; of maps that `segment --probabilities` wrote no model is needed. Places
    are spread evenly over the scenes.

    Args:
        src: Rasters, named as for `segment`; or, without words, maps of probabilities: the file, the folder that
            `segment` made, or many of them.
        dst: .gpkg .geojson .fgb .parquet: features with an empty `class`, and `guess`, `runner_up`, `uncertainty`
            (0..1), `rank`, `source`.
        n: Places to suggest.
        marks: File of points, lines or polygons that are marked already: avoided, and places unlike them are preferred.
            Features whose `class` is empty count as not marked.
        rule: How places are chosen, see docs/suggest.md.
        tiles: Suggest squares of so many pixels instead of points.
        seed: Of what is drawn; equal seeds give equal places.
        on_error: A scene that cannot be read: stop, or skip (goes on, and lists it).

    Returns:
        The places in the order of choice, what was looked at, and what was passed over.

    Raises:
        UsageError: an option is wrong, an output exists, or there are fewer candidates than places asked for.
        SourceError: a raster, a map or the marks cannot be read, or no pixel is valid.
        OutputError: the output cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> todo = earthwords.suggest("ortho.tif", "todo.gpkg", text=["roof", "road", "trees"], n=30)
        >>> todo.places[0].guess
    """
    from earthwords.geo.destinations import plan_suggestions
    from earthwords.geo.sources.find import find_sources, inputs_of

    src, console = source_of(src, asset, item, offline, allow_remote_parts), Console(quiet=quiet)
    src = os.fspath(check_named(src, what="A raster", instead=ARRAYS))
    weights: dict[str, Any] = {"model": model, "upsampler_weights": upsampler_weights}
    model_spec = SegmenterSpec.of(preset, **weights, batch=batch_size, device=device, offline=offline)
    row, network = model_spec.row, reach(offline, allow_remote_parts)
    check_limits(model_spec.threshold(threshold), batch_size, "2GiB", 1, (), aoi=aoi)
    if marks is not None:
        check_file(marks, what="a file of marks such as .gpkg or .geojson")
    plan_suggestions(Path(dst), overwrite=overwrite)
    worded = bool(text) or classes is not None or row.taught is not None
    if n < 1 or (tiles is not None and tiles < 8):
        what = f"-n {n}" if n < 1 else f"--tiles {tiles}"
        raise UsageError(f"{what} is too small: at least one place, and tiles of 8 pixels a side.")
    if worded:
        _check_no_map(src)
    words = with_rivals(words_of(row, text, classes, background, model=model), against, mask) if worded else None
    listed: Sequence[str] = (find_sources(src, say=console.say) or [src]) if worded else _maps(
        src, against=against, threshold=threshold, background=background, preset=preset, model=model, bands=bands,
        gsd=gsd, upsampler_weights=upsampler_weights, nodata=nodata, aoi=aoi, mask=mask, stretch=stretch,
        batch_size=batch_size,
    )  # fmt: skip
    inputs = inputs_of(listed, lists=[src], classes=classes, marks=marks, mask=mask, aoi=aoi, **model_spec.read)
    plan_suggestions(Path(dst), overwrite=overwrite, inputs=inputs)
    from earthwords.inference.suggest.marked import read_marked
    from earthwords.inference.suggest.opening import map_scenes, model_scenes
    from earthwords.inference.suggest.run import SuggestOptions, suggest_places

    options = SuggestOptions(n=n, rule=rule, tiles=tiles, seed=seed, on_error=on_error)
    marked = None if marks is None else read_marked(marks)
    bars: list[Bar] = []
    opened: dict[str, Open]
    if words is None:
        opened = map_scenes(listed, console, bounds=bounds, on_bar=lambda: bars[0])
    else:
        spec = scene_spec(src, bands, gsd, bounds, nodata, stretch, mask, network, row=row, aoi=aoi)
        how: dict[str, Any] = {"threshold": threshold, "strict": strict, "on_bar": lambda: bars[0]}
        opened = model_scenes(listed, model_spec.load(console), words, spec, console, **how)
    with _bar(console, len(listed)) as bar:
        bars.append(bar)
        found = suggest_places(opened, options, marked)
    return _saved(found, Path(dst), console, overwrite=overwrite)


def _check_no_map(src: str) -> None:
    """Refuse words for what is a map already.

    Raises:
        UsageError: it is one.
    """
    from earthwords.files.output_tags import wrote

    if wrote(src):
        from earthwords.geo.probability_map import is_map

        if is_map(src):
            raise UsageError(f"{src} is a map of probabilities already; leave the words out.")


def _maps(src: str, **unused: object) -> list[str]:
    """The maps that are meant where no words are given.

    Args:
        unused: options of a model, by their names.

    Raises:
        UsageError: there are none, or an option is given that says nothing to them.
    """
    from earthwords.geo.probability_map import find_maps, no_map

    found = find_maps(src)
    if not found:
        raise no_map(src)
    usual = {"preset": DEFAULT_PRESET, "stretch": "auto"}
    given = [f"--{name.replace('_', '-')}" for name, value in unused.items() if value != usual.get(name)]
    if given:
        raise UsageError(
            f"{some_of(given)}: of no use where {src} is a map already; leave {'it' if len(given) == 1 else 'them'} "
            "out, or name scenes, and words by -t."
        )
    return found


@contextmanager
def _bar(console: Console, scenes: int) -> Iterator[Bar]:
    """Over many scenes; a single one has its own."""
    if scenes == 1:
        yield Bar()
        return
    with console.bar("looking", scenes, unit="scenes") as bar:
        yield bar


def _saved(found: Suggestions, dst: Path, console: Console, *, overwrite: bool) -> Suggestions:
    console.notes(found.notes)
    console.outputs({}, found.failures)
    console.say(found.summary())
    console.notes(found.save(dst, overwrite=overwrite))
    console.outputs({"suggestions": dst})
    return replace(found, output=dst)
