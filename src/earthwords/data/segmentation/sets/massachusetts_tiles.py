"""Massachusetts roads (https://www.cs.toronto.edu/~vmnih/data) in tiles of 300 x 300 pixels."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, mmseg

SPEC = DatasetSpec(
    name="massachusetts-tiles",
    title="Massachusetts roads, tiles",
    rank=23,
    group="local",
    classes=("background,building,house,trees,grass,field,bare land,soil,water", "road,street"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    gsd_m=(1.0, 1.0),
    licence="none stated; images of MassGIS, roads of OpenStreetMap (ODbL)",
    source="https://www.cs.toronto.edu/~vmnih/data",
    download="tiles cut from the sheets, images/ and masks/ of equal names",
    split="all",
    count=158,
    original=Layout(images=("images/{key}.jpg",), labels=("masks/{key}.png",), encoding=BINARY),
    prepared=mmseg(indexed(2), split="all", image=".jpg"),
    notes="A selection of every second of 51 sheets, not a published split: numbers compare with nothing printed. "
    "Names begin with their sheet; who trains on some splits by sheet. Nobody has set words for it: ours name what "
    "lies around.",
)
