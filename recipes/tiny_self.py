"""Masks that `tiny` itself draws for pictures whose scene is known, as further regions for its training.

    python recipes/tiny_self.py DATA LISTING MODEL OUT [--most 2500] [--least 0.75]

LISTING is a folder that `tiny_data.py` made; MODEL is the model so far. Of its pictures of AID, UC Merced and RSSCN7,
at most so many each, MODEL names the material of every pixel, from two sizes and two orientations, among what the scene
can hold: a desert has no water, an airport no crops; of UC Merced 17 labels say what each picture shows (Chaudhuri et
al. 2018). Pixels whose best word is less probable than `--least` are left out. `OUT/train.jsonl` is the listing with
these lines added, as sets `aid-self`, `ucm-self` and `rsscn7-self`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from earthwords.inference.windows.text_bank import encode_words
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.weights.table import load_clip
from earthwords.text.templates import TEMPLATES

WORDS = {
    "building": "building,roof,house",
    "road": "road,street,highway",
    "pavement": "pavement,paved area,concrete",
    "water": "water,lake,river,sea",
    "trees": "trees,tree,forest",
    "grass": "grass,lawn,meadow",
    "cropland": "cropland,field,farmland",
    "bare land": "bare land,soil,sand",
}
"""Materials, and the names that they are trained with."""
_TOWN = "building road pavement trees grass"
SCENES = {
    "airport": "building road pavement grass bare trees",
    "bareland": "bare grass road",
    "baseballfield": _TOWN + " bare",
    "beach": "bare water trees building",
    "bridge": "water road building trees grass bare",
    "center": _TOWN,
    "church": _TOWN,
    "commercial": _TOWN,
    "denseresidential": _TOWN,
    "desert": "bare",
    "farmland": "cropland road trees building",
    "forest": "trees",
    "industrial": _TOWN + " bare",
    "meadow": "grass trees",
    "mediumresidential": _TOWN,
    "mountain": "trees grass bare",
    "park": _TOWN + " water",
    "parking": "building road pavement trees",
    "playground": _TOWN,
    "pond": "water trees grass cropland road building bare",
    "port": "water building pavement road trees",
    "railwaystation": "building road pavement trees",
    "resort": _TOWN + " water bare",
    "river": "water trees grass cropland bare building road",
    "school": _TOWN,
    "sparseresidential": _TOWN,
    "square": _TOWN,
    "stadium": _TOWN,
    "storagetanks": _TOWN + " bare water",
    "viaduct": _TOWN,
    "field": "cropland road trees",
    "grass": "grass trees",
    "industry": _TOWN + " bare",
    "river_lake": "water trees grass cropland bare building road",
    "resident": _TOWN,
}
"""What a scene of AID or RSSCN7 can hold, by the first word of a material."""
MULTI = {
    "bare-soil": "bare",
    "buildings": "building",
    "chaparral": "",
    "field": "cropland",
    "grass": "grass",
    "mobile-home": "building",
    "pavement": "road pavement",
    "sand": "bare",
    "sea": "water",
    "trees": "trees",
    "water": "water",
}
"""UC Merced's labels; those that are missing here are small things."""
SETS = ("aid", "ucm", "rsscn7")
SIZES = (1.0, 1.6)


def multi_labels(path: Path) -> dict[str, set[str]]:
    """Name of a picture to its labels."""
    rows = [line.split("\t") for line in path.read_text().splitlines() if line.strip()]
    return {row[0]: {name for name, value in zip(rows[0][1:], row[1:], strict=False) if value == "1"} for row in rows}


def possible(line: dict[str, Any], labels: dict[str, set[str]]) -> list[int]:
    """Positions in `WORDS` of what the picture can hold; none: it is not used."""
    path = Path(line["image"])
    if line["set"] == "ucm":
        shown = labels[path.stem]
        names = {part for label in shown for part in MULTI.get(label, "").split()}
        names = set() if "chaparral" in shown else names
    else:
        names = set(SCENES[path.parent.name.lower()].split())
    return [i for i, title in enumerate(WORDS) if title.split()[0] in names]


@torch.inference_mode()
def probabilities(backbone: ClipBackbone, image: Image.Image, words: torch.Tensor) -> torch.Tensor:
    """`(word, row, col)`: mean over sizes and two orientations."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (backbone.mean, backbone.std))
    total = torch.zeros(len(words), image.height, image.width)
    for factor in SIZES:
        side = [round(extent * factor / backbone.patch) * backbone.patch for extent in (image.width, image.height)]
        pixels = torch.from_numpy(np.array(image.resize(side, Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
        both = torch.stack([pixels, pixels.flip(-1)])
        dense = F.normalize(backbone.encode_dense((both - mean) / std, DenseMethod()).values, dim=1)
        logits = backbone.logit_scale * torch.einsum("bdhw,cd->bchw", dense, words)
        logits = F.interpolate(logits, size=total.shape[1:], mode="bilinear")
        total += logits[0] + logits[1].flip(-1)
    return (total / (2 * len(SIZES))).softmax(dim=0)


def drawn_from(lines: list[dict[str, Any]], most: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """At most so many."""
    return [lines[i] for i in sorted(rng.permutation(len(lines))[:most])]


def drawn(listing: Path, data: Path, model: str, out: Path, *, most: int, least: float) -> Iterator[dict[str, Any]]:
    """Lines of the pictures with their masks, which are written to `out / "masks"`."""
    backbone = load_clip(model)
    bank = encode_words(backbone, list(WORDS), TEMPLATES["aerial"])
    labels = multi_labels(data / "ucmerced21/LandUse_Multilabeled.txt")
    lines = [json.loads(text) for text in (listing / "train.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["set"] in SETS and possible(line, labels)]
    (out / "masks").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for line in (line for name in SETS for line in drawn_from([one for one in lines if one["set"] == name], most, rng)):
        path = (listing / line["image"]).resolve()
        kept = possible(line, labels)
        with Image.open(path) as image:
            best, label = probabilities(backbone, image.convert("RGB"), bank[kept]).max(dim=0)
        mask = np.where(best.numpy() >= least, np.array(kept)[label.numpy()], 255).astype(np.uint8)
        target = out / "masks" / f"{line['set']}-{path.stem}.png"
        Image.fromarray(mask).save(target)
        yield {
            "image": os.path.relpath(path, out),
            "set": f"{line['set']}-self",
            "mask": os.path.relpath(target, out),
            "classes": {str(i): names for i, names in enumerate(WORDS.values())},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("listing", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=2500)
    parser.add_argument("--least", type=float, default=0.75)
    args = parser.parse_args()
    out, listing = args.out.resolve(), args.listing.resolve()
    found = list(drawn(listing, args.data, args.model, out, most=args.most, least=args.least))
    before = [json.loads(text) for text in (listing / "train.jsonl").read_text().splitlines()]
    for line in before:
        for field in ("image", "mask"):
            if field in line:
                line[field] = os.path.relpath(listing / line[field], out)
    (out / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*before, *found]))
    print(f"{len(found)} masks drawn in {out / 'masks'}")


if __name__ == "__main__":
    main()
