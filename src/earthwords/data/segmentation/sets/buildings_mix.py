"""Building masks of six sources (Inria, WHU, crowdAI, ISPRS, SpaceNet, New Zealand), for tests across domains."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, mmseg

SPEC = DatasetSpec(
    name="buildings-mix",
    title="Buildings of six sources",
    rank=24,
    group="local",
    classes=("background,road,street,pavement,trees,grass,field,bare land,soil,sand,water", "building,roof,house"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    licence="mixed, for research",
    source="https://github.com/arghadeep25/Building-Footprint-Extraction-from-High-Resolution-Satellite-Images",
    download="the samples of the repository, images/ and masks/ of equal names",
    split="all",
    count=83,
    original=Layout(images=("images/{key}.jpg",), labels=("masks/{key}.png",), encoding=BINARY),
    prepared=mmseg(indexed(2), split="all", image=".jpg"),
    notes="Names begin with their source. Not a published split: numbers compare with nothing printed. "
    "Nobody has set words for it: ours name what lies around.",
)
