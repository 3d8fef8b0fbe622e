"""The options that mean the same in every verb, and the groups that `--help` shows options in.

A verb writes `offline: Offline = False` for an option of this file, and `Annotated[float, WORDS]` for one of its own
that belongs to a group; of its own ones the docstring tells the meaning. `documented` completes the docstring.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar, get_type_hints

from cyclopts import Group, Parameter

from earthwords import presets
from earthwords.presets import Blend

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from shapely.geometry.base import BaseGeometry

    Rgb = str | Sequence[int | str]
    Area: TypeAlias = str | Path | BaseGeometry | GeoDataFrame
else:
    Area = Path
    Rgb = str  # what the command line takes

Verb = TypeVar("Verb", bound=Callable[..., Any])


def _group(title: str, place: int) -> Parameter:
    return Parameter(group=Group(title, sort_key=place))


ARGUMENTS_PANEL = Group("Arguments", sort_key=0)
ARGUMENTS = Parameter(group=ARGUMENTS_PANEL)
WORDS = _group("Words", 1)
WHERE = _group("Place and time", 2)
MODEL = _group("Model", 3)
READING = _group("Reading", 4)
WINDOWS = _group("Windows", 5)
MEASURING = _group("Measuring", 6)
TRAINING = _group("Training", 7)
DUPLICATES = _group("Duplicates", 8)
OUTPUTS = _group("Outputs", 9)
RUNNING = _group("Running", 10)


def option(group: Parameter, help: str = "", **settings: Any) -> Parameter:
    """A parameter of a group, with what cyclopts' `Parameter` takes; without `help` the docstring tells it."""
    described: dict[str, Any] = {"help": help} if help else {}
    return Parameter(group=group.group, **described, **settings)


def several(group: Parameter, metavar: str, **settings: Any) -> Parameter:
    """A parameter that takes all values behind it."""
    return option(group, metavar=metavar, negative="", consume_multiple=True, **settings)


# Arguments
Src = Annotated[
    str,
    option(
        ARGUMENTS,
        "Raster: a path, a URL or a /vsi path; anything GDAL reads. Or many: a folder, a quoted pattern such as "
        '"scenes/*.tif", or @FILE with one a line.',
    ),
]
Dst = Annotated[Path, option(ARGUMENTS, name=["--dst", "--out", "-o"])]
Out = Annotated[
    Path | None,
    option(ARGUMENTS, "The destination, if it is not the last argument.", name=["--out", "-o"], metavar="PATH"),
]
ResultsFolder = Annotated[
    Path, option(ARGUMENTS, "Folder of report.html, results.json, results.md, plots and pictures.",
                 name=["--out", "-o"], metavar="DIR"),
]  # fmt: skip
TrainOut = Annotated[Path, option(ARGUMENTS, name=["--out", "-o"])]

# Words
Text = Annotated[
    Sequence[str],
    option(
        WORDS,
        "A class to look for, commas between synonyms, such as building,roof,house; repeat -t for more classes.",
        name=["--text", "-t"], metavar="WORDS", show_default=False,
    ),
]  # fmt: skip
Sentences = Annotated[
    Sequence[str],
    option(
        WORDS,
        'What to point at, such as "the white plane beside the terminal"; repeat -t for more sentences.',
        name=["--text", "-t"], metavar="SENTENCE", show_default=False,
    ),
]  # fmt: skip
Threshold = Annotated[
    float | None,
    option(
        WORDS,
        "Least probability (0..1) of a label; below it: background, or nodata without one; default: the preset's.",
        metavar="PROBABILITY",
    ),
]
Classes = Annotated[
    Path | None,
    option(WORDS, "Text file with the classes instead of -t (as SegEarth-OV's): one a line.", metavar="FILE"),
]
Against = Annotated[
    str | None,
    option(
        WORDS,
        "Words that compete with the classes, as background: auto (what most scenes consist of), words with commas "
        "between, or none; default: auto for a single class, else none.",
        metavar="auto|WORDS",
    ),
]
Strict = Annotated[
    bool,
    option(
        RUNNING,
        "What makes a result worth less (a resolution, colours or words that the model never learned, a map that is "
        "mostly undecided) is an error, not a line.",
        negative="",
    ),
]
Background = Annotated[
    str | None,
    option(
        WORDS, "Class that takes the pixels below the threshold; default: a class named background, if any.",
        metavar="WORD",
    ),
]  # fmt: skip
Templates = Annotated[
    str | None,
    option(
        WORDS,
        "Sentences put around the words: openai80, openai7, maskclip5, aerial, remoteclip, photo, none, or a text file "
        "with {}; default: the preset's.",
        metavar="NAME|FILE",
    ),
]

# Model
Preset = Annotated[
    str, option(MODEL, "How the model is put together: a name from `earthwords models`, or a file.toml of your own.",
                metavar="NAME|FILE"),
]  # fmt: skip
Model = Annotated[
    str | None,
    option(
        MODEL, "Other CLIP weights: a name, a Hugging Face id, a folder or a checkpoint file.", metavar="NAME|ID|PATH"
    ),
]
UpsamplerWeights = Annotated[
    str | None,
    option(
        MODEL,
        "Checkpoint of the upsampler; default: the one that belongs to upsampler and model, if any.",
        metavar="NAME|FILE",
    ),
]

Upsampler = Literal["none", "bilinear", "jbu", "simfeatup", "anyup", "naf", "ifa", "resize-conv"]
"""`none`, and the files of `models.upsamplers`."""
OtherUpsampler = Annotated[Upsampler | None, option(MODEL, "Other upsampler.")]

Method = Literal["bilinear", "jbu", "simfeatup", "anyup", "naf", "ifa", "resize-conv", "featup-implicit"]
"""The files of `models.upsamplers`, and `inference.features.upsampler.IMPLICIT`."""
Features = Literal["penultimate", "vanilla", "maskclip", "sclip", "gem", "clearclip", "naclip", "segearth"]
"""What dense features can be taken: tokens that enter the last block, or what an attention makes of them."""

# Reading
Bands = Annotated[
    Rgb | None,
    option(
        READING,
        "Bands used as red, green, blue, such as 4,3,2; numbers from 1, or names. Or a sensor: sentinel-2, landsat-8, "
        "landsat-5, naip, planetscope, pleiades. Default: found by the file.",
        name=["--bands", "-b", "--bidx"], metavar="R,G,B",
    ),
]  # fmt: skip
Gsd = Annotated[
    float | None,
    option(
        READING,
        "Ground sample distance to work at, metres a pixel; the output keeps the source's pixels.",
        metavar="METRES",
    ),
]
Bounds = Annotated[
    tuple[float, float, float, float] | None,
    option(READING, "West south east north in the source's CRS: only this part.", metavar="W S E N"),
]
Aoi = Annotated[
    Area | None,
    option(
        READING,
        "Polygons of any vector file and CRS: only what lies inside is computed, the rest is nodata. With --bounds "
        "what lies in both.",
        metavar="FILE",
    ),
]
Asset = Annotated[
    str | None,
    option(
        READING,
        "Which asset is read where SRC is a STAC Item, Collection or ItemCollection (.json, a URL); default: its one "
        "raster with data, else visual.",
        metavar="NAME",
    ),
]
Item = Annotated[
    str | None, option(READING, "Which Item, by its id, where SRC is STAC with several; default: all.", metavar="ID")
]
Nodata = Annotated[
    float | None,
    option(READING, 'Value that means "no observation", instead of the file\'s own.', metavar="VALUE"),
]
Mask = Annotated[
    str | None,
    option(
        READING,
        'Clouds and fill as "no observation": a quality band of the scene (scl, qa, or its name), or a raster on the '
        "same ground ({stem} stands for the scene's name). Zeros hide, or the values that follow: FILE:3,8-10,bit4.",
        metavar="BAND|FILE",
    ),
]
Stretch = Annotated[
    str,
    option(
        READING,
        "How values become brightness: auto (bytes as they are, else 2-98 %), percentile, none, or LOW,HIGH; of radar "
        "amplitude, power or db, what the numbers are, or with limits: db:-25,0.",
        metavar="HOW",
    ),
]

AllowRemoteParts = Annotated[
    bool,
    option(
        READING,
        "Let local files that point to servers, such as a VRT or the description of a WMS, be read from there.",
        negative="",
    ),
]

# Windows
TileSize = Annotated[
    int | None, option(WINDOWS, "Side of the windows, pixels; default: the preset's.", metavar="PIXELS")
]
Overlap = Annotated[
    int | None,
    option(WINDOWS, "Pixels that neighbouring windows share; default: the preset's, or half.", metavar="PIXELS"),
]
BlendMode = Annotated[
    Blend | None,
    option(
        WINDOWS,
        "Weight of a pixel where windows overlap: mean (all alike, as in the papers), linear, cosine or tukey (less "
        "towards the border of a window); default: the preset's.",
    ),
]

Precision = Annotated[
    presets.Precision | None,
    option(
        WINDOWS,
        "What the image tower is computed in: fp32, or bf16, which is faster on processors with instructions for it "
        "and changes a few labels; the share is told. Default: the preset's.",
    ),
]
BatchSize = Annotated[
    int | None,
    option(
        WINDOWS,
        "Windows computed at once: on a CPU one a core (default: all cores), on a GPU in one call (default: 8). "
        "Changes no bit of the result on a CPU.",
        metavar="N",
    ),
]

# Training
Beta2 = Annotated[float, option(TRAINING, "Of AdamW.", metavar="DECAY")]
Seed = Annotated[int, option(TRAINING, "Of weights and of everything drawn.", metavar="N")]
SaveFrequency = Annotated[int, option(TRAINING, "Steps between checkpoints.", metavar="STEPS")]
ReportTo = Annotated[
    Literal["tensorboard"] | None,
    option(OUTPUTS, "Figures also as event files in OUT/tensorboard, beside OUT/log.csv."),
]
ResumeTraining = Annotated[
    bool,
    option(RUNNING, "Go on from a checkpoint in the folder; --no-resume begins anew.", show_default="--resume"),
]

# Outputs
Probabilities = Annotated[
    Literal["no", "uint8", "float32"],
    option(
        OUTPUTS, "Also write probabilities.tif, a band per class: uint8 (0 to 250, 255 is nodata) or float32 (0 to 1)."
    ),
]
MinArea = Annotated[float, option(OUTPUTS, "Smallest polygon kept, m2 (pixels without a CRS).", metavar="M2")]
Zones = Annotated[
    Path | None,
    option(
        OUTPUTS,
        "Polygons, such as districts, of any vector file and CRS: the figures of each, in zones.gpkg and the report.",
        metavar="FILE",
    ),
]
Stac = Annotated[
    bool, option(OUTPUTS, "Also write item.json into the folder: the map as a STAC Item, for catalogues.", negative="")
]
Simplify = Annotated[
    float,
    option(
        OUTPUTS,
        "Tolerance of simplified outlines, metres (pixels without a CRS); 0 keeps the pixel edges.",
        metavar="METRES",
    ),
]
Co = Annotated[
    Sequence[str],
    option(
        OUTPUTS, "GDAL creation option of the GeoTIFFs, such as COMPRESS=ZSTD; repeat for more.",
        metavar="KEY=VAL", show_default=False,
    ),
]  # fmt: skip
Overwrite = Annotated[bool, option(OUTPUTS, "Replace outputs that exist.", negative="")]

# Running
Device = Annotated[
    str,
    option(
        RUNNING,
        "Where to compute: auto (a GPU if there is one), cpu, or what else `earthwords doctor` lists.",
        metavar="NAME",
    ),
]
Memory = Annotated[
    str,
    option(
        RUNNING,
        "Memory to work with, beside the loaded model, such as 2GiB; decides how a scene is cut, not the result.",
        metavar="SIZE",
    ),
]
Workers = Annotated[int, option(RUNNING, "Processes that share the work.", metavar="N")]
Cluster = Annotated[
    str | None,
    option(
        RUNNING,
        "Address of a Ray cluster (auto, ray://HOST:PORT, or local); needs earthwords[cluster].",
        metavar="ADDRESS",
    ),
]
OnError = Annotated[
    Literal["stop", "nodata"],
    option(RUNNING, "A window that cannot be read or computed, twice: stop, or nodata (go on; the report lists it)."),
]
Resume = Annotated[
    bool,
    option(
        RUNNING,
        "Go on with an unfinished run of the same command; --no-resume begins anew.",
        show_default="--resume",
    ),
]
ResumeMeasuring = Annotated[
    bool, option(RUNNING, "Keep what is done; --no-resume computes everything again.", show_default="--resume")
]
Offline = Annotated[bool, option(RUNNING, "Never use the network.", negative="")]
Quiet = Annotated[bool, option(RUNNING, "No progress, no notices, no table of what is in files.", negative="")]
Verbose = Annotated[bool, option(RUNNING, "Also say how it is computed.", negative="")]


def documented(verb: Verb) -> Verb:
    """List the options of this file among the arguments in a verb's docstring, in their order, for `help()`."""
    if verb.__doc__ is None:  # python -OO
        return verb
    head, title, rest = inspect.cleandoc(verb.__doc__).partition("\nArgs:\n")
    own, gap, more = rest.partition("\n\n")
    described = {entry.split(":")[0].strip(" *"): entry for entry in re.split(r"\n(?=    \S)", own)}
    for name, hint in get_type_hints(verb, include_extras=True).items():
        help = next((p.help for p in getattr(hint, "__metadata__", ()) if isinstance(p, Parameter) and p.help), None)
        if help and name not in described:
            described[name] = textwrap.fill(f"{name}: {help}", 110, initial_indent=" " * 4, subsequent_indent=" " * 8)
    entries = [described[name] for name in inspect.signature(verb).parameters if name in described]
    verb.__doc__ = "".join((head, title, "\n".join(entries), gap, more))
    return verb
