"""SECOND (https://captain-whu.github.io/SCD/), change between six classes of land cover."""

from earthwords.data.change.spec import ChangeSetSpec
from earthwords.data.segmentation.spec import Encoding

_COLOURS = ((255, 255, 255), (0, 0, 255), (128, 128, 128), (0, 128, 0), (0, 255, 0), (128, 0, 0), (255, 0, 0))
"""Unchanged, then the classes."""

SPEC = ChangeSetSpec(
    name="second",
    title="SECOND",
    before=("{split}/im1/{key}.png",),
    after=("{split}/im2/{key}.png",),
    labels=("{split}/label2/{key}.png",),
    earlier_labels=("{split}/label1/{key}.png",),
    splits=("train", "test"),
    encoding=Encoding(colours={rgb: min(i, 1) for i, rgb in enumerate(_COLOURS)}),
    semantic=Encoding(colours={rgb: i for i, rgb in enumerate(_COLOURS)}),
    classes=("water", "ground,non-vegetated ground", "low vegetation", "tree", "building", "playground"),
    counts=(2968, 1694),
    gsd_m=(0.5, 3.0),
    source="https://captain-whu.github.io/SCD/",
    notes="512 x 512 pixels of several cities and sensors; a pixel has classes only where it changed.",
    unverified=("before", "after", "labels", "earlier_labels", "gsd_m", "counts"),
)
