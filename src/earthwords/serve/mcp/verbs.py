"""The verbs that are tools, a row each: which options an assistant is offered, and which of them are files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earthwords.errors import unknown


@dataclass(frozen=True, kw_only=True)
class VerbTool:
    """A verb as a tool."""

    name: str
    command: tuple[str, ...]
    """As typed."""
    target: str
    """`module:function`; types and texts of its options are those of the tool."""
    title: str
    says: str = ""
    """Of the tool alone, behind what the verb says of itself."""
    arguments: tuple[str, ...] = ()
    """What stands without an option's name, in order."""
    options: tuple[str, ...] = ()
    """Parameters of the function."""
    needs: tuple[str, ...] = ()
    """What must be given, though the function has a default."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Argument to what of `root.READERS` it is; `preset` and `mask` are names or files."""
    own: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    """Arguments that the function has not, or calls otherwise: type and meaning."""
    ending: str | None = None
    """Of the place that is written to by itself; None: nothing is written unless a place is named."""
    writes: bool = True
    heavy: bool = True
    """Whether it loads a model; one of those runs at a time."""


_SCENE = ("bands", "gsd", "bounds", "nodata", "stretch")
_PARTS = (*_SCENE, "aoi", "mask")
_WORDS = ("text", "classes", "against", "threshold", "background")
_LAST = ("overwrite", "strict")
_FILES = {"src": "images", "aoi": "vectors", "mask": "mask", "zones": "vectors", "classes": "text", "preset": "preset"}
PLACE = "Where to write below the folder; default: a name of its own below results/."
_NAMES = "Images below the folder, or folders of them, as list_images names them."

TOOLS = (
    VerbTool(
        name="segment", command=("segment",), target="earthwords.tasks.segment:segment", title="Map an image by words",
        arguments=("src",), needs=("text",), files=_FILES, ending="",
        options=(*_WORDS, "preset", "upsampler", *_PARTS, "probabilities", "zones", "min_area", "simplify", "stac",
                 *_LAST),
    ),
    VerbTool(
        name="refer", command=("refer",), target="earthwords.tasks.refer:refer", title="Find a thing by a sentence",
        arguments=("src",), needs=("text",), files={**_FILES, "sentences": "text"}, ending="",
        options=("text", "sentences", "all", "threshold", "min_score", *_PARTS, "min_area", "simplify", *_LAST),
    ),
    VerbTool(
        name="change", command=("change",), target="earthwords.tasks.change:change", title="Compare two dates by words",
        arguments=("before", "after"), needs=("text",), ending="",
        files={**_FILES, "before": "image", "after": "image"},
        own={"before": (str, "Image of the first date."), "after": (str, "Image of the second date.")},
        options=("text", "classes", "against", "threshold", "background", "preset", "scales", "align", "search",
                 "match_histogram", "bands", "bands_after", "gsd", "bounds", "aoi", "nodata", "stretch", "mask",
                 "min_area", "simplify", *_LAST),
    ),
    VerbTool(
        name="count", command=("count",), target="earthwords.tasks.count:count", title="Count things by words",
        arguments=("src",), needs=("text",), files=_FILES, ending="",
        options=("text", "classes", "against", "threshold", "expect", "method", "split", "distance", "preset", *_PARTS,
                 "shapes", "zones", "min_area", *_LAST),
    ),
    VerbTool(
        name="classify", command=("classify",), target="earthwords.tasks.classify:classify",
        title="Say which words fit whole images", arguments=("src",), needs=("text",),
        files={**_FILES, "shots": "images"}, own={"src": (list[str], _NAMES)},
        options=("text", "classes", "transductive", "shots", "preset", "bands", "nodata", "stretch", "fit", *_LAST),
    ),
    VerbTool(
        name="index", command=("index",), target="earthwords.tasks.index:index", title="Make images searchable",
        arguments=("archive",), files={**_FILES, "archive": "images"}, ending=".index",
        own={"archive": (list[str], _NAMES)},
        options=("preset", *_SCENE[:2], "nodata", "stretch", "tile_size", "overlap", "min_valid", "prune", *_LAST),
    ),
    VerbTool(
        name="search", command=("search",), target="earthwords.tasks.search:search", title="Search an index",
        arguments=("index",),
        files={"index": "index", "like": "image", "unlike": "image", "within": "vectors", "like_geometry": "vectors",
               "unlike_geometry": "vectors"},
        options=("text", "like", "unlike", "like_bounds", "like_bands", "like_geometry", "unlike_geometry", "weight",
                 "unlike_weight", "combine", "bounds", "within", "after", "before", "top", "distinct", *_LAST),
        own={"index": (str, "Folder that the tool index has made.")},
    ),
    VerbTool(
        name="assess", command=("assess",), target="earthwords.tasks.assess:assess", title="Say how sure a map is",
        arguments=("map",), ending=".gpkg", heavy=False,
        says="Give either truth or draw (or standard_error). The place is for the points that are drawn; of a truth, "
             "for the report, which is written only if a place is named.",
        files={"map": "images", "truth": "marks", "classes": "text", "truth_classes": "text", "chips": "image"},
        options=("truth", "column", "classes", "truth_classes", "ignore", "draw", "standard_error", "expected",
                 "allocation", "rare", "seed", "chips", "chip_size", *_LAST),
    ),
    VerbTool(
        name="teach", command=("teach",), target="earthwords.tasks.teach:teach", title="Learn from marks",
        arguments=("labels",), needs=("scenes",), ending="",
        says="The place that was written to is then the preset of segment, count and others.",
        files={**_FILES, "labels": "marks", "scenes": "images", "names": "text", "onto": "images"},
        options=("scenes", "text", "column", "names", "background", "onto", "head", "preset", *_SCENE[:2], "nodata",
                 "stretch", "mask", "seed", *_LAST),
    ),
    VerbTool(
        name="suggest", command=("suggest",), target="earthwords.tasks.suggest:suggest", title="Say what to mark next",
        arguments=("src",), files={**_FILES, "marks": "vectors"}, ending=".geojson",
        options=("n", *_WORDS, "marks", "rule", "tiles", "seed", "preset", *_PARTS, *_LAST),
    ),
    VerbTool(
        name="upsample", command=("upsample",), target="earthwords.tasks.upsample:upsample",
        title="Dense features of an image", arguments=("src",), files=_FILES, ending=".png",
        options=("method", "preset", "features", *_PARTS, "components", *_LAST),
    ),
    VerbTool(
        name="models", command=("models",), target="earthwords.tasks.models:models", title="List presets and weights",
        writes=False, heavy=False,
    ),
    VerbTool(
        name="show_model", command=("models", "show"), target="earthwords.tasks.models:show_model",
        title="What is known of a preset", arguments=("name",), writes=False, heavy=False,
        own={"name": (str, "A preset or weights, as the tool models lists them.")}, files={"name": "preset"},
    ),
    VerbTool(
        name="doctor", command=("doctor",), target="earthwords.tasks.doctor:doctor", title="Check the installation",
        writes=False, heavy=False,
    ),
)  # fmt: skip


def tool_named(name: str) -> VerbTool:
    """A row.

    Raises:
        UsageError: there is none.
    """
    for tool in TOOLS:
        if tool.name == name:
            return tool
    raise unknown("tool", name, [tool.name for tool in TOOLS])
