"""PASCAL Context with background as a class of its own."""

from dataclasses import replace

from earthwords.data.segmentation.sets.pascal_context import CLASSES
from earthwords.data.segmentation.sets.pascal_context import SPEC as WITHOUT_BACKGROUND
from earthwords.data.segmentation.spec import indexed, mmseg

SPEC = replace(
    WITHOUT_BACKGROUND,
    name="pascal-context60",
    title="PASCAL Context, 60 classes",
    rank=19,
    classes=("background", *CLASSES),
    background=0,
    original=replace(WITHOUT_BACKGROUND.original, encoding=indexed(60)),
    prepared=mmseg(indexed(60), image=".jpg"),
)
