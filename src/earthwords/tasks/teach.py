"""A preset that has learned from a few marks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.errors import UsageError
from earthwords.inference.checks import check_mask, check_paths, check_raster
from earthwords.inference.options import SegmenterSpec, check_aoi, reach, scene_spec, sources_in
from earthwords.inference.teach.folder import check_earlier, check_folder
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.inference.teach.report import TeachReport
else:
    TeachReport = object  # it loads much, and a command line reads the annotations

Head = Literal["auto", "words", "anchored", "prototypes", "lp++", "taskres", "linear"]


@opt.documented
def teach(
    labels: Annotated[Path, opt.ARGUMENTS],
    dst: opt.Dst,
    *,
    scenes: Annotated[Sequence[str], opt.several(opt.ARGUMENTS, "SCENE...")] = (),
    text: opt.Text = (),
    column: Annotated[str | None, opt.option(opt.WORDS, metavar="NAME")] = None,
    names: Annotated[Path | None, opt.option(opt.WORDS, metavar="FILE")] = None,
    background: Annotated[str | None, opt.option(opt.WORDS, metavar="WORD")] = None,
    onto: Annotated[Path | None, opt.option(opt.MODEL, metavar="FOLDER")] = None,
    head: Annotated[Head, opt.MODEL] = "auto",
    preset: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|FILE")] = None,
    model: opt.Model = None,
    bands: opt.Bands = None,
    gsd: opt.Gsd = None,
    aoi: opt.Aoi = None,
    asset: opt.Asset = None,
    item: opt.Item = None,
    nodata: opt.Nodata = None,
    mask: opt.Mask = None,
    stretch: opt.Stretch = "auto",
    allow_remote_parts: opt.AllowRemoteParts = False,
    batch_size: opt.BatchSize = None,
    seed: Annotated[int, opt.option(opt.RUNNING, metavar="N")] = 0,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> TeachReport:
    """Learn from a few marks, beside the words: a preset that maps all scenes better.

    Marks are points or polygons with a class, a label raster, or a folder of images with masks. What is taken is chosen
    on marks that are left out; where marks do not help, the words stay as they are. The result is a folder that every
    verb takes as `--preset`.

    Args:
        labels: Points or polygons of any file that OGR reads, with a column of classes; "not water" marks what is no
            water. Or a raster of classes; or a folder with images/ and masks/ of the same names.
        dst: Folder of the preset.
        scenes: Rasters that the marks lie in: paths, folders, quoted patterns, or @FILE with one a line; more than one
            may follow.
        column: Column that holds the classes; default: class, label or name.
        names: Names of the values of a label raster: a text file, one a line from value 0, or JSON such as
            {"1": "ship,boat"}.
        background: Class that takes the pixels below a threshold; default: a class named background, if any.
        onto: Folder of an earlier teaching to go on from: its marks count too, and its choice of a head stays.
        head: How marks are learned: auto chooses between the words alone and a logistic regression anchored at them;
            prototypes, lp++ (LP++), taskres (TaskRes) and linear (a linear probe) as published. One that is named is
            taken, even if the words are better, which is said.
        preset: Preset to begin from; default: that of `onto`, else tiny.
        aoi: Polygons of any vector file and CRS: only marks that lie inside are learned from.
        seed: Of what is drawn: pixels of large marks, and which places are left out together.

    Returns:
        What was learned, and how well it does on marks that were left out, beside the words alone.

    Raises:
        UsageError: a wrong option, marks beside the scenes, a single class, or `strict` and a caution.
        SourceError: the marks or a scene cannot be read.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> earthwords.teach("marks.gpkg", "my-water", scenes=["scenes"], text=["water", "building", "trees"])
        >>> earthwords.segment("scenes", "maps", preset="my-water")
    """
    began, console = time.perf_counter(), Console(quiet=quiet)
    labels, dst, scenes = Path(labels), Path(dst), [scenes] if isinstance(scenes, str) else scenes
    scenes = sources_in(scenes, asset, item, offline, allow_remote_parts)
    check_paths([labels], what="points or polygons with a class, a label raster, or a folder of images and masks")
    if onto is not None:
        check_earlier(onto)
    chosen = preset if preset is not None else str(onto) if onto is not None else DEFAULT_PRESET
    model_spec = SegmenterSpec.of(chosen, model=model, batch=batch_size, device=device, offline=offline)
    row = model_spec.row
    if row.head is not None:
        raise UsageError(f"The preset {chosen} has a head, which marks cannot teach; take the one it was made from.")
    again = onto is not None and dst.resolve() == onto.resolve()
    check_folder(dst, overwrite=overwrite or again)
    if seed < 0:
        raise UsageError(f"--seed must be 0 or more, got {seed}.")
    for scene in scenes:
        check_raster(scene)
    check_mask(mask)
    check_aoi(aoi)
    from earthwords.inference.teach.collect import collect
    from earthwords.inference.teach.marked_pixels import known_of
    from earthwords.inference.teach.opening import open_labels, scene_openers
    from earthwords.inference.teach.teaching import TeachRequest, by_words_of, read_earlier, teaching_of

    marks, sources = open_labels(
        labels, column=column, names=names, text=text, seed=seed, scenes=scenes, console=console
    )  # fmt: skip
    spec = scene_spec("", bands, gsd, None, nodata, stretch, mask, reach(offline, allow_remote_parts), row=row, aoi=aoi)
    segmenter = replace(model_spec, row=replace(row, taught=None)).load(console)
    before = None if onto is None else read_earlier(onto, segmenter)
    request = TeachRequest(
        words=text, background=background, head=head, seed=seed, strict=strict, bands=spec.bands,
        gsd=row.taught_gsd if gsd is None else gsd, nodata=spec.nodata, stretch=spec.stretch,
    )  # fmt: skip
    known = known_of(dst) if before is None else before.pixels
    found = collect(
        segmenter, scene_openers(segmenter, sources, spec), marks, console, seed=seed, known=known
    )  # fmt: skip
    by_words = None if row.taught is None else by_words_of(Path(row.taught))
    teaching = teaching_of(segmenter, found, request, console, began=began, before=before, by_words=by_words)
    return teaching.save(dst, overwrite=overwrite or again)
