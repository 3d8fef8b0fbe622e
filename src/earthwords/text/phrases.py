"""The table of words: sentences, synonyms, plurals, what cannot be counted, and the parts of referring expressions.

All English of captions and expressions is here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

MIDDLE = (
    "{things} in the middle of the picture",
    "{there} {things} in the middle of the picture",
    "{things} {are} located in the middle of the picture",
    "{there} {things} in the center of the image",
    "{things} {are} at the center of this remote sensing image",
)
EDGE = (
    "{things} at the edge of the picture",
    "{there} {things} at the edge of the picture",
    "{things} {are} located at the edge of the picture",
    "{there} {things} near the edge of the image",
    "{things} {are} away from the center of this remote sensing image",
)
ANYWHERE = (
    "{there} {things} in the picture",
    "{things} {are} located in the picture",
    "{there} {things} in this remote sensing picture",
    "{things} in an aerial image",
    "{things} can be seen from above",
    "this satellite image shows {things}",
    "an overhead view of {things}",
    "an image from above with {things}",
)
BOTH = ("there are both {things} in the picture", "both {things} can be seen in the picture")
"""For two classes, each with more than one object; without their numbers."""
MANY = ("many", "a lot of", "lots of", "a large number of")
EXACT = 10
"""More than so many objects are `MANY` (RemoteCLIP, section III-B)."""
THING = "object"
"""For a class whose name has no letters."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "plane": ("plane", "airplane"),
    "airplane": ("airplane", "plane"),
    "aeroplane": ("airplane", "plane"),
    "baseball diamond": ("baseball diamond", "baseball field"),
    "baseball field": ("baseball field", "baseball diamond"),
    "soccer ball field": ("soccer field", "football field"),
    "soccer field": ("soccer field", "football field"),
    "football field": ("football field", "soccer field"),
    "ground track field": ("ground track field", "athletic track"),
    "storage tank": ("storage tank", "tank"),
    "oil tank": ("oil tank", "storage tank"),
    "oiltank": ("oil tank", "storage tank"),
    "harbor": ("harbor", "port"),
    "harbour": ("harbor", "port"),
    "roundabout": ("roundabout", "traffic circle"),
    "overpass": ("overpass", "flyover"),
    "ship": ("ship", "vessel"),
    "parking lot": ("parking lot", "car park"),
    "human": ("person",),
    "motor": ("motorcycle", "motorbike"),
    "awning tricycle": ("tricycle with an awning",),
    "t junction": ("T junction", "T-shaped junction"),
    "low vegetation": ("area of low vegetation", "patch of low vegetation"),
    "impervious surface": ("area of impervious surface", "paved area"),
    "impervious surfaces": ("area of impervious surface", "paved area"),
    "baseballfield": ("baseball field", "baseball diamond"),
    "basketballcourt": ("basketball court",),
    "golffield": ("golf course",),
    "groundtrackfield": ("ground track field", "athletic track"),
    "storagetank": ("storage tank", "tank"),
    "tenniscourt": ("tennis court",),
    "trainstation": ("train station", "railway station"),
}
"""Names as data sets spell them, and the words a caption has for them; names that are not here stand for themselves."""

MASS: dict[str, tuple[str, ...]] = {
    "water": ("area of water", "stretch of water"),
    "vegetation": ("area of vegetation", "patch of vegetation"),
    "grass": ("patch of grass", "area of grass"),
    "land": ("area of land", "piece of land"),
    "bare land": ("area of bare land", "patch of bare land"),
    "unpaved land": ("area of unpaved land",),
    "barren": ("area of barren land", "patch of barren land"),
    "cropland": ("area of cropland",),
    "farmland": ("area of farmland",),
    "agriculture": ("area of farmland", "cultivated area"),
    "agricultural": ("area of farmland", "cultivated area"),
    "rangeland": ("area of rangeland",),
    "grassland": ("area of grassland",),
    "woodland": ("area of woodland",),
    "shrubland": ("area of shrubland",),
    "wetland": ("area of wetland",),
    "soil": ("area of soil", "patch of soil"),
    "bare soil": ("area of bare soil", "patch of bare soil"),
    "sand": ("area of sand", "stretch of sand"),
    "snow": ("area of snow", "patch of snow"),
    "ice": ("area of ice",),
    "mud": ("area of mud",),
    "rock": ("area of rock",),
    "pavement": ("area of pavement", "paved area"),
    "asphalt": ("area of asphalt",),
    "concrete": ("area of concrete",),
    "chaparral": ("area of chaparral",),
    "scrub": ("area of scrub",),
    "debris": ("pile of debris",),
    "tree cover": ("group of trees", "patch of trees"),
    "clutter": ("area of clutter",),
}
"""What cannot be counted is counted in these."""

PLURALS: dict[str, str] = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "aircraft": "aircraft",
    "spacecraft": "spacecraft",
    "watercraft": "watercraft",
    "hovercraft": "hovercraft",
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "crossroads": "crossroads",
    "barracks": "barracks",
    "headquarters": "headquarters",
    "works": "works",
    "salina": "salinas",
    "roof": "roofs",
    "reef": "reefs",
    "cliff": "cliffs",
    "wharf": "wharves",
    "leaf": "leaves",
    "bus": "buses",
    "gas": "gases",
    "photo": "photos",
    "silo": "silos",
    "volcano": "volcanoes",
    "stadium": "stadiums",
    "axis": "axes",
    "minibus": "minibuses",
    "trolleybus": "trolleybuses",
    "campus": "campuses",
    "canvas": "canvases",
}
"""Last words whose plural is not told by `_RULES`, or that look like plurals and are not."""

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
"""Sets of so many things are counted in an expression."""
TOGETHER = {"tree cover": "trees"}
"""What all of `MASS` is called, where that is another word."""
BARE = 0.25
"""How often an expression has no article: `largest ship`."""
WHOLE = ("all {}", "all the {}", "all of the {}", "every one of the {}")
WHOLE_MASS = ("all {}", "all the {}", "the {}", "all of the {}")
SIZES: dict[str, tuple[str, ...]] = {
    "largest": ("largest", "biggest"),
    "smallest": ("smallest",),
    "large": ("large", "big"),
    "small": ("small", "little"),
}
COLOURS: dict[str, tuple[str, ...]] = {
    "white": ("white",),
    "grey": ("grey", "gray"),
    "black": ("black", "dark"),
    "red": ("red",),
    "brown": ("brown",),
    "yellow": ("yellow",),
    "green": ("green",),
    "blue": ("blue",),
}
UNCOLOURED = {
    *("road", "street", "highway", "runway", "railway", "bridge", "tree", "forest", "group of trees", "tree crown"),
    *("paved area", "parking lot", "field", "bare land", "track"),
}
"""Beside `MASS`: what is not told apart by its colour, because names of colours fit it badly from above."""
PLACES: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "on the left side", "in the left part of the image"),
    "right": ("on the right", "on the right side", "in the right part of the image"),
    "top": ("at the top", "in the upper part of the image", "at the top of the picture"),
    "bottom": ("at the bottom", "in the lower part of the image", "at the bottom of the picture"),
    "top left": ("in the top left corner", "in the upper left", "at the top left"),
    "top right": ("in the top right corner", "in the upper right", "at the top right"),
    "bottom left": ("in the bottom left corner", "in the lower left", "at the bottom left"),
    "bottom right": ("in the bottom right corner", "in the lower right", "at the bottom right"),
    "centre": ("in the middle", "in the center", "in the centre of the image"),
}
ENDS: dict[str, tuple[str, ...]] = {
    "leftmost": ("leftmost {}", "{} furthest to the left", "{} farthest left"),
    "rightmost": ("rightmost {}", "{} furthest to the right", "{} farthest right"),
    "topmost": ("topmost {}", "{} nearest to the top", "uppermost {}"),
    "bottommost": ("lowest {}", "{} nearest to the bottom", "bottommost {}"),
}
RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above",),
    "below": ("below", "under"),
    "beside": ("next to", "beside", "right beside"),
    "nearest": ("nearest to", "closest to"),
}

_RULES = ((r"(s|x|z|ch|sh)$", r"\1es"), (r"([^aeiou])y$", r"\1ies"), (r"$", "s"))
_SINGULAR = ((r"([^aeiou])ies$", r"\1y"), (r"(x|ch|sh|ss)es$", r"\1"), (r"([^sui])s$", r"\1"))
"""Plurals as data sets name classes; never words that end in -ss, -us or -is."""
_AN = re.compile(r"(?!(uni|use|usu|eu|one\b|u\b|ur[aeiou]))[aeiou]|hour|heir|honou?r|[mfnlsxr]\b", re.IGNORECASE)


def clean(name: str) -> str:
    """A class as data sets write it, as words: `small-vehicle`, `GolfCourse`, `land (unpaved area)`, `Toll_station`."""
    name = re.sub(r"\([^)]*\)", " ", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.sub(r"[-_/.\s]+", " ", name).split()).lower()


@cache
def words_for(name: str) -> tuple[str, ...]:
    """Singular words for a class, sorted; its own synonyms stand between commas. Never empty."""
    found: dict[str, None] = {}
    for raw in name.split(","):
        word = clean(raw)
        if not word:
            continue
        single = singular(word)
        options = SYNONYMS.get(word) or MASS.get(word) or SYNONYMS.get(single) or MASS.get(single) or (single,)
        found |= dict.fromkeys(options)
    return tuple(sorted(found)) or (THING,)


@cache
def mass_word(name: str) -> str:
    """What a class is called as a whole if it cannot be counted, such as `water`; empty if it can."""
    found = (word for raw in name.split(",") if (word := clean(raw)) in MASS)
    word = next(found, "")
    return TOGETHER.get(word, word)


@cache
def has_colour(name: str) -> bool:
    """Whether things of a class are told apart by colours."""
    return not mass_word(name) and not any(singular(clean(raw)) in UNCOLOURED for raw in name.split(","))


def plural(noun: str) -> str:
    """`area of water` to `areas of water`, `tennis court` to `tennis courts`."""
    head, rest = _parted(noun)
    before, space, last = head.rpartition(" ")
    if last.lower() in PLURALS:
        return f"{before}{space}{PLURALS[last.lower()]}{rest}"
    pattern, repl = next(rule for rule in _RULES if re.search(rule[0], last))
    return f"{before}{space}{re.sub(pattern, repl, last, count=1)}{rest}"


def singular(noun: str) -> str:
    """One of what may be named in the plural: `parking lots`, `buses`, but not `grass`."""
    head, rest = _parted(noun)
    before, space, last = head.rpartition(" ")
    irregular = next((one for one, many in PLURALS.items() if many == last and one != last), None)
    if last in PLURALS or irregular:
        return f"{before}{space}{irregular if irregular and last not in PLURALS else last}{rest}"
    rule = next((rule for rule in _SINGULAR if len(last) > 3 and re.search(rule[0], last)), None)
    return f"{before}{space}{re.sub(*rule, last)}{rest}" if rule else noun


def _parted(noun: str) -> tuple[str, str]:
    """`area`, ` of water`: what is inflected, and what follows it."""
    before, word, after = re.fullmatch(r"(.*?)(?:( of| with| under)( .*))?", noun).groups("")  # type: ignore[union-attr]
    return before, word + after


def counted(noun: str, number: int, many: str) -> str:
    """`a plane`, `3 planes`, or above ten `many planes`."""
    if number == 1:
        return f"{'an' if _AN.match(noun) else 'a'} {noun}"
    return f"{number if number <= EXACT else many} {plural(noun)}"


def sentence(template: str, things: Sequence[str], *, single: bool) -> str:
    """A template with its things put in.

    Args:
        things: noun phrases such as `3 planes`.
        single: whether the first of them is one object.
    """
    listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
    there = "there is" if single else "there are"
    text = template.format(things=listed, there=there, are="is" if single and len(things) == 1 else "are")
    return text[0].upper() + text[1:]
