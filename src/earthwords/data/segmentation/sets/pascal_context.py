"""PASCAL Context (https://cs.stanford.edu/~roozbeh/pascal-context): photographs, 59 classes, the rest is ignored."""

from earthwords.data.segmentation.spec import DatasetSpec, Layout, indexed, mmseg

NAMES = """
    aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat,
    ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground,
    horse, keyboard, light, motorbike, mountain, mouse, person, plate, platform, pottedplant, road, rock, sheep,
    shelves, sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, tvmonitor, wall, water, window,
    wood
"""
"""In the order of mmsegmentation's PascalContextDataset59, which is that of the numbers in the label files."""

CLASSES = tuple(name.strip() for name in NAMES.split(","))

SPEC = DatasetSpec(
    name="pascal-context",
    title="PASCAL Context, 59 classes",
    rank=18,
    group="natural",
    classes=CLASSES,
    licence="that of PASCAL VOC 2010, for research",
    source="http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
    download="VOC2010 with JPEGImages, and SegmentationClassContext and ImageSets/SegmentationContext/val.txt, which "
    "mmsegmentation's tools/dataset_converters/pascal_context.py makes of trainval_merged.json",
    count=5104,
    original=Layout(
        images=("JPEGImages/{key}.jpg",),
        labels=("SegmentationClassContext/{key}.png",),
        listed=("ImageSets/SegmentationContext/val.txt",),
        encoding=indexed(59, first=1),
    ),
    prepared=mmseg(indexed(59, first=1), image=".jpg"),
    notes="Not seen from above: to compare methods with the papers they come from.",
    unverified=("licence", "count"),
)
