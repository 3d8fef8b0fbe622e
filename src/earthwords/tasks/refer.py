"""Pointing at things in a georeferenced raster with a sentence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.tasks._progress import Talk
from earthwords.tasks.segment import Bands, creation_options, scene_spec
from earthwords.types import SceneReport

TINY_NOTICE = (
    "Using the embedded model 'refseg-tiny', which is small and was trained briefly: it reads classes better than "
    "relations. For real work train RSRefSeg on sentences of your own (docs/train-refer.md) and give --model."
)


def refer(
    src: str,
    *sentence_and_dst: Annotated[str | Path, Parameter(name="[SENTENCE...] DST")],
    sentences: Path | None = None,
    all: Annotated[bool, Parameter(negative="")] = False,
    preset: str = "refseg-tiny",
    model: str | None = None,
    threshold: float = 0.5,
    min_score: float = 0.0,
    overlap: int | None = None,
    bands: Annotated[Bands | None, Parameter(name=["--bands", "-b", "--bidx"])] = None,
    gsd: float | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    nodata: float | None = None,
    stretch: str = "auto",
    on_error: Literal["stop", "nodata"] = "stop",
    probabilities: Literal["no", "uint8", "float32"] = "no",
    min_area: float = 0.0,
    simplify: float = 0.0,
    co: Annotated[Sequence[str], Parameter(show_default=False)] = (),
    device: str = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> SceneReport:
    """Point at one thing, or at all that a sentence fits: its mask, polygon and score, on the map.

    `earthwords refer scene.tif "the large building beside the lake" found.gpkg`. A scene is searched from fine to
    coarse; of every sentence the surest place is given. Several sentences share one look at the scene.

    Parameters
    ----------
    src
        Raster: a path, a URL or a /vsi path; anything GDAL reads.
    sentence_and_dst
        What to point at, one sentence or several, and last where the result goes. .tif: labels, 0 for the first
        sentence (COG with colour table); .gpkg .geojson .fgb .parquet: polygons with sentence and score; .png: picture;
        a folder or no suffix: labels.tif, polygons.gpkg, their styles (.qml), preview.png and report.json.
    sentences
        Text file with more of them, one a line.
    all
        All places that a sentence fits, at the finest resolution, instead of the surest.
    preset
        Name of a referring preset; with --model of a checkpoint of the authors, its architecture.
    model
        Trained weights: a folder of `train refer`, or a checkpoint of RSRefSeg's authors.
    threshold
        Probability (0..1) above which a pixel belongs to a mask.
    min_score
        Mean probability (0..1) that a mask must exceed, else nothing is found: for things that may not be there.
    overlap
        Pixels that neighbouring views share; default: half of what the model sees.
    bands
        Bands used as red, green, blue, such as 4,3,2; numbers from 1, or names.
    gsd
        Ground sample distance to work at, metres; the output keeps the source's pixels.
    bounds
        West south east north in the source's CRS: only this part.
    nodata
        Value that means "no observation", instead of the file's own.
    stretch
        auto (uint8 as it is, else 2-98 %), percentile, none, or LOW,HIGH.
    on_error
        A part that cannot be read, twice: stop, or nodata (goes on; the report lists it).
    probabilities
        Also write probabilities.tif, a band per sentence: uint8 (0..250, 255 nodata) or float32. Masks of different
        sentences may overlap there.
    min_area
        Smallest polygon kept, m2 (pixels without a CRS).
    simplify
        Tolerance of simplified outlines, metres (pixels without a CRS); 0 keeps the pixel edges.
    co
        GDAL creation option of the GeoTIFFs, KEY=VAL; repeat for more.
    device
        auto, cpu, cuda, mps.
    overwrite
        Replace existing outputs.
    offline
        Never use the network.
    quiet
        No progress, no notices.
    """
    from earthwords.inference.account import Account
    from earthwords.inference.outputs import About, OutputOptions, plan_outputs, write_outputs
    from earthwords.inference.referrer import Referrer, check_threshold
    from earthwords.inference.strip import observed
    from earthwords.text.vocabulary import parse_sentences, read_sentences

    began, talk = time.perf_counter(), Talk(quiet=quiet)
    if not sentence_and_dst:
        raise UsageError('Say what to point at, and where the result goes: earthwords refer SRC "SENTENCE" DST.')
    *said, last = map(str, sentence_and_dst)
    dst = Path(last)
    vocabulary = parse_sentences([*said, *([] if sentences is None else read_sentences(sentences))])
    check_threshold(threshold)
    check_threshold(min_score, name="least score")
    options = OutputOptions(
        probabilities=probabilities,
        min_area=min_area,
        simplify=simplify,
        creation_options=creation_options(co),
        overwrite=overwrite,
    )
    account = Account(on_error=on_error)
    paths = plan_outputs(dst, probabilities=probabilities != "no", overwrite=overwrite, source=str(src))
    with scene_spec(src, bands, gsd, bounds, nodata, stretch).open() as scene:
        for note in scene.notes:
            talk.say(f"Note: {note}")
        if preset == "refseg-tiny" and model is None:
            talk.say(TINY_NOTICE)
        with talk.download(f"loading {model or preset}"):
            referrer = Referrer.from_preset(preset, model=model, device=device, overlap=overlap, offline=offline)
        loading_s = time.perf_counter() - began
        with talk.bar("looking", len(referrer.plan(scene, every=all)), unit="views") as bar:
            matches = referrer.find(
                scene, vocabulary.titles, every=all, threshold=threshold, min_score=min_score, account=account, tick=bar
            )
        notes = referrer.notes(vocabulary.titles, matches)
        for note in notes:
            talk.say(f"Note: {note}")
        strips = referrer.strips(
            scene, matches, vocabulary, threshold=threshold, probabilities=probabilities != "no", account=account
        )
        about = About(
            source=scene.tags()["EARTHWORDS_SOURCE"],
            grid=scene.native.window(scene.region),
            vocabulary=vocabulary,
            tags={**scene.tags(), **referrer.tags(vocabulary, threshold=threshold, every=all, min_score=min_score)},
            notes=(*scene.notes, *notes),
            loading_s=loading_s,
        )
        report = write_outputs(paths, observed(strips, scene.source), about=about, options=options, account=account)
    for failure in report.failures:
        talk.say(f"Left out: {failure}")
    return report
