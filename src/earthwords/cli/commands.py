"""Every command: where its function is, what lists say of it, how it is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Examples: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A row of the table of commands."""

    name: str
    """As typed, such as `train clip`."""
    panel: str = ""
    """Heading of the list it stands in; one with a word before it stands in that word's list."""
    target: str
    """`module:function`; imported when the command is used."""
    help: str
    usage: str
    """What follows the name."""
    examples: Examples
    """What for, and what follows `earthwords`; two of them."""

    @property
    def epilogue(self) -> str:
        """Examples, and what every command has, as Markdown."""
        return shown(self.examples)


def command_of(typed: str) -> str:
    """An example as it is typed: one that is more than a call of this program is whole."""
    return typed if "earthwords" in typed else f"earthwords {typed}"


def shown(examples: Examples) -> str:
    """The end of a help page, as Markdown."""
    lines = [line for what, typed in examples for line in (f"# {what}", command_of(typed), "")]
    return "\n".join(("Examples:", "", *(f"    {line}" for line in lines), EVERYWHERE))


EVERYWHERE = (
    "Every command also takes --json (result as JSON on stdout), --progress auto, json (what it tells as lines of JSON "
    "on stderr) or none (no bars), and --debug (tracebacks)."
)

START, MAPS, ARCHIVES, TRAINING = "To begin", "Maps", "Images and archives", "Measuring and training"
PANELS = (START, MAPS, ARCHIVES, TRAINING)

FIRST: Examples = (
    ("the main job on a scene rendered here", "demo"),
    ("your own raster", 'segment ortho.tif out -t "roof,house" -t road -t water'),
)

GROUPS = {
    "models": (START, "Presets and weights: list, show one, download."),
    "data": (TRAINING, "Data sets for segmentation: list, prepare, check."),
    "evaluate": (TRAINING, "Measure a model: scenes, segmentation, referring, change."),
    "train": (TRAINING, "Train models."),
}
"""Words that other words follow: the list that each stands in, and what lists say of it."""

COMMANDS = (
    Command(
        name="segment",
        panel=MAPS,
        target="earthwords.tasks.segment:segment",
        help="Segment a georeferenced raster by words.",
        usage="SRC DST -t WORDS [-t WORDS...] [OPTIONS]",
        examples=(
            ("map, polygons, picture and report in a folder", 'segment ortho.tif out -t "roof,house" -t road -t water'),
            ("polygons of at least 50 m2 of every scene of a folder",
             'segment scenes "maps/{stem}.gpkg" -t roof -t other --min-area 50'),
        ),
    ),
    Command(
        name="change",
        panel=MAPS,
        target="earthwords.tasks.change:change",
        help="What changed between two dates, by words.",
        usage="BEFORE AFTER DST -t WORDS [-t WORDS...] [OPTIONS]",
        examples=(
            ("buildings that came and went", 'change 2019.tif 2024.tif out -t "building,roof,house" --align'),
            ("from which class to which, in hectares",
             "change 2019.tif 2024.tif out -t building -t trees -t water -t grass"),
        ),
    ),
    Command(
        name="suggest",
        panel=MAPS,
        target="earthwords.tasks.suggest:suggest",
        help="What to mark next: where a map is unsure.",
        usage="SCENES-OR-MAP DST -n N [-t WORDS...] [OPTIONS]",
        examples=(
            ("thirty points of a scene", "suggest ortho.tif todo.gpkg -n 30 -t roof -t road -t trees"),
            ("of a map with probabilities, away from what is marked", "suggest out todo.gpkg --marks marks.gpkg"),
        ),
    ),
    Command(
        name="count",
        panel=MAPS,
        target="earthwords.tasks.count:count",
        help="Count things by words: where each is, how many.",
        usage="SRC DST -t WORDS [-t WORDS...] [OPTIONS]",
        examples=(
            ("ships and planes, as polygons with a report", 'count scene.tif out -t "ship,boat" -t plane'),
            ("houses as points, and their number in every district",
             'count ortho.tif out -t house --as points --zones districts.gpkg'),
        ),
    ),
    Command(
        name="refer",
        panel=MAPS,
        target="earthwords.tasks.refer:refer",
        help="Point at a thing in a raster with a sentence.",
        usage="SRC DST -t SENTENCE [-t SENTENCE...] [OPTIONS]",
        examples=(
            ("the surest place, as a polygon", 'refer ortho.tif found.gpkg -t "the bare land beside the road"'),
            ("two things, wherever they are", 'refer ortho.tif out -t "a building" -t "the lake" --all'),
        ),
    ),
    Command(
        name="teach",
        panel=MAPS,
        target="earthwords.tasks.teach:teach",
        help="Learn from a few marks, beside the words.",
        usage="LABELS DST --scenes SCENE... [-t WORDS...] [OPTIONS]",
        examples=(
            ("a preset from points and polygons with a column class",
             "teach marks.gpkg my-water --scenes scenes -t water -t trees"),
            ("more marks on top of it; then a map by it",
             "teach more.gpkg my-water --onto my-water --scenes scenes"),
        ),
    ),
    Command(
        name="serve",
        panel=MAPS,
        target="earthwords.serve.verb:serve",
        help="The same on a web map, and as an HTTP API.",
        usage="[FOLDER] [OPTIONS]",
        examples=(
            ("the rasters of a folder, in the browser", "serve scenes"),
            ("a rendered scene, at a free port", "serve --demo --port 0"),
        ),
    ),
    Command(
        name="mcp",
        panel=MAPS,
        target="earthwords.serve.mcp.verb:mcp",
        help="The verbs as tools for an AI assistant.",
        usage="[ROOT] [OPTIONS]",
        examples=(
            ("what an assistant starts, for the rasters of a folder", "mcp scenes"),
            ("without the network", "mcp scenes --offline"),
        ),
    ),
    Command(
        name="upsample",
        panel=MAPS,
        target="earthwords.tasks.upsample:upsample",
        help="Dense features of a raster, pixel by pixel.",
        usage="SRC DST [OPTIONS]",
        examples=(
            ("three components as a picture", "upsample ortho.tif features.png"),
            ("all channels by AnyUp", "upsample ortho.tif features.tif --method anyup --components all"),
        ),
    ),
    Command(
        name="assess",
        panel=MAPS,
        target="earthwords.tasks.assess:assess",
        help="How sure a map is: accuracy and areas with intervals.",
        usage="MAP --truth POINTS|RASTER|POLYGONS [-o DST] | --draw N -o POINTS [OPTIONS]",
        examples=(
            ("points to be interpreted, with a picture of each",
             "assess out/labels.tif --draw 300 -o points.gpkg --chips ortho.tif"),
            ("the figures, when the column class is filled in",
             "assess out/labels.tif --truth points.gpkg -o assessed"),
        ),
    ),
    Command(
        name="classify",
        panel=ARCHIVES,
        target="earthwords.tasks.classify:classify",
        help="Name what images and rasters show, each as a whole.",
        usage="SRC... [TABLE] -t WORDS [-t WORDS...] [OPTIONS]",
        examples=(
            ("one image, answer on the screen", "classify photo.jpg -t airport -t forest -t harbour"),
            ("words and examples, a folder a class, as a table", "classify photos classes.csv --shots examples"),
        ),
    ),
    Command(
        name="index",
        panel=ARCHIVES,
        target="earthwords.tasks.index:index",
        help="Make an archive searchable by words.",
        usage="ARCHIVE... INDEX [OPTIONS]",
        examples=(
            ("a folder of scenes; run it again when there are more", "index scenes archive.index"),
            ("tiles of 256 pixels of 1 m", "index scenes archive.index --gsd 1 --tile-size 256"),
        ),
    ),
    Command(
        name="search",
        panel=ARCHIVES,
        target="earthwords.tasks.search:search",
        help="Search an index by words, examples, place and day.",
        usage="INDEX [WORDS] [DST] [OPTIONS]",
        examples=(
            ("the best twenty, as polygons", 'search archive.index "harbour with many ships" ships.gpkg'),
            ("what looks like one image and not like another, as pictures",
             "search archive.index -o s.png --like a.jpg --unlike b.jpg"),
        ),
    ),
    Command(
        name="evaluate scenes",
        target="earthwords.tasks.evaluate_scenes:evaluate_scenes",
        help="Whole images: classification, retrieval, counting.",
        usage="TASK... [SET...] --data FOLDER -o DIR [OPTIONS]",
        examples=(
            ("zero-shot classification", "evaluate scenes zero-shot aid --data sets -o results"),
            ("on stored embeddings", "evaluate scenes knn linear-probe --embeddings aid.npz -o results"),
        ),
    ),
    Command(
        name="evaluate segmentation",
        target="earthwords.tasks.evaluate_segmentation:evaluate_segmentation",
        help="Labelled images: IoU of every class, at thresholds.",
        usage="SET... --data ROOT -o DIR, or FOLDER --classes FILE -o DIR",
        examples=(
            ("your own images and masks", "evaluate segmentation tiles --classes classes.txt -o results"),
            ("all upsamplers on a set", "evaluate segmentation loveda --data sets -o out --compare upsampler"),
        ),
    ),
    Command(
        name="evaluate referring",
        target="earthwords.tasks.evaluate_referring:evaluate_referring",
        help="Sentences that point: gIoU, cIoU, precision.",
        usage="LIST.jsonl... -o DIR [OPTIONS]",
        examples=(
            ("the embedded model", "evaluate referring val.jsonl -o results"),
            ("a model of one's own", "evaluate referring val.jsonl -o results --model my-refer"),
        ),
    ),
    Command(
        name="evaluate count",
        target="earthwords.tasks.evaluate_count:evaluate_count",
        help="Counted things: errors of the numbers, F1 of places.",
        usage="PREDICTIONS TRUTH [-o FILE.json]",
        examples=(
            ("what `count` found against boxes drawn by hand", "evaluate count out boxes.gpkg"),
            ("many scenes by their names, as JSON", "evaluate count found truth -o figures.json"),
        ),
    ),
    Command(
        name="evaluate change",
        target="earthwords.tasks.evaluate_change:evaluate_change",
        help="Pairs with masks of change: F1, IoU, kappa, SeK.",
        usage="FOLDER... -o DIR -t WORDS [OPTIONS]",
        examples=(
            ("buildings that came or went", "evaluate change levir -o results -t building,roof"),
            ("from class to class, by the set's own words", "evaluate change second -o results"),
        ),
    ),
    Command(
        name="pairs",
        panel=TRAINING,
        target="earthwords.tasks.pairs:pairs",
        help="Boxes and masks to images with captions.",
        usage="SRC... DST [OPTIONS]",
        examples=(
            ("boxes in DOTA's layout, as a list for `train clip`", "pairs dota/train pairs.jsonl --format dota"),
            ("masks, as shards, without what is in a test set",
             "pairs tiles shards --classes classes.json --against test-images"),
        ),
    ),
    Command(
        name="expressions",
        panel=TRAINING,
        target="earthwords.tasks.expressions:expressions",
        help="Masks to sentences that mean certain things.",
        usage="SRC... DST.jsonl [OPTIONS]",
        examples=(
            ("masks of a folder, with a picture of twelve of them",
             "expressions tiles expressions.jsonl --pictures 12"),
            ("the test split of a published set",
             "expressions RRSIS-D test.jsonl --format rrsisd --split test"),
        ),
    ),
    Command(
        name="data list",
        target="earthwords.tasks.data:list_data",
        help="What sets there are, and what is known of them.",
        usage="[NAME]",
        examples=(
            ("all sets", "data list"),
            ("everything about one", "data list loveda"),
        ),
    ),
    Command(
        name="data prepare",
        target="earthwords.tasks.data:prepare_data",
        help="Make a downloaded set ready to be measured.",
        usage="NAME SRC DST [OPTIONS]",
        examples=(
            ("the unpacked download of LoveDA", "data prepare loveda downloads/LoveDA sets/loveda"),
            ("a part of it, by four processes", "data prepare loveda part sets/loveda --partial --workers 4"),
        ),
    ),
    Command(
        name="data check",
        target="earthwords.tasks.data:check_data",
        help="Check a set on disk: counts, sizes, labels.",
        usage="NAME ROOT [OPTIONS]",
        examples=(
            ("a whole set", "data check loveda sets/loveda"),
            ("a part of one", "data check loveda sets/loveda --partial"),
        ),
    ),
    Command(
        name="train clip",
        target="earthwords.tasks.train_clip:train_clip",
        help="Train a CLIP on pictures and words.",
        usage="TRAIN-DATA OUT [OPTIONS]",
        examples=(
            ("the embedded model further, on a laptop", "train clip pairs.jsonl my-clip --model tiny --steps 2000"),
            ("low-rank additions to CLIP's weights",
             "train clip pairs.jsonl out --model openai-vit-b-16 --lora-rank 16"),
        ),
    ),
    Command(
        name="train upsampler",
        target="earthwords.tasks.train_upsampler:train_upsampler",
        help="Train a feature upsampler on images.",
        usage="IMAGES OUT [OPTIONS]",
        examples=(
            ("SimFeatUp for the embedded model", "train upsampler scenes my-upsampler --steps 500"),
            ("AnyUp on the features of two models",
             "train upsampler scenes out --method anyup --backbone tiny sky.pt"),
        ),
    ),
    Command(
        name="train segment",
        target="earthwords.tasks.train_segment:train_segment",
        help="Train a segmentation head, or the encoder, on images with masks.",
        usage="TRAIN-DATA OUT [OPTIONS]",
        examples=(
            ("a head for the embedded model", "train segment masks.jsonl my-head --steps 2000"),
            ("the embedded model itself, by held-out images",
             "train segment a.jsonl out --head none --val-data b.jsonl"),
        ),
    ),
    Command(
        name="train change",
        target="earthwords.tasks.train_change:train_change",
        help="Train a network for change on pairs of images with masks.",
        usage="TRAIN-DATA OUT [OPTIONS]",
        examples=(
            ("a set as it is unpacked, with its part val held out", "train change LEVIR-CD my-change"),
            ("your own pairs in folders A, B and label",
             "train change pairs my-change --val-data others"),
        ),
    ),
    Command(
        name="train refer",
        target="earthwords.tasks.train_refer:train_refer",
        help="Train RSRefSeg on described images.",
        usage="TRAIN-DATA OUT [OPTIONS]",
        examples=(
            ("the small one, from scratch", "train refer expressions.jsonl my-refer --steps 2000"),
            ("RSRefSeg with held-out figures",
             "train refer a.jsonl out --preset rsrefseg-b --val-data b.jsonl"),
        ),
    ),
    Command(
        name="models show",
        target="earthwords.tasks.models:show_model",
        help="What is known of a preset or of weights.",
        usage="NAME",
        examples=(
            ("a preset: licence, resolution, what has to be downloaded", "models show segearth-ov"),
            ("weights", "models show remoteclip-vit-b-32"),
        ),
    ),
    Command(
        name="models pull",
        target="earthwords.tasks.models:pull",
        help="Download weights into the cache.",
        usage="NAME [OPTIONS]",
        examples=(
            ("all that a preset needs", "models pull segearth-ov"),
            ("weights of Hugging Face", "models pull openai/clip-vit-base-patch32"),
        ),
    ),
    Command(
        name="demo",
        panel=START,
        target="earthwords.tasks.demo:demo",
        help="The main job on a scene rendered here; no network.",
        usage="[FOLDER] [OPTIONS]",
        examples=(
            ("into the folder earthwords-demo", "demo"),
            ("two dates, and what changed between them", "demo changes --change"),
        ),
    ),
    Command(
        name="doctor",
        panel=START,
        target="earthwords.tasks.doctor:doctor",
        help="Check the installation with a small self-test.",
        usage="",
        examples=(
            ("is all well?", "doctor"),
            ("for a bug report", "doctor --json"),
        ),
    ),
    Command(
        name="completion",
        panel=START,
        target="earthwords.cli.completion:completion",
        help="A script for the shell, to complete commands and options.",
        usage="[SHELL]",
        examples=(
            ("in this shell, until it is closed", 'eval "$(earthwords completion bash)"'),
            ("in every new one", "earthwords completion fish > ~/.config/fish/completions/earthwords.fish"),
        ),
    ),
)  # fmt: skip


def examples_of(group: str) -> Examples:
    """The first example of every command of a group."""
    return tuple(row.examples[0] for row in COMMANDS if row.name.split()[0] == group)
