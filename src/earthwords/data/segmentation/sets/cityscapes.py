"""Cityscapes (https://www.cityscapes-dataset.com): streets of German towns from a car, 19 classes."""

from earthwords.data.segmentation.spec import IGNORED, DatasetSpec, Encoding, Layout, indexed

CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)

IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Number of each class in labelIds files (https://github.com/mcordts/cityscapesScripts); the others do not count."""

SPEC = DatasetSpec(
    name="cityscapes",
    title="Cityscapes",
    rank=21,
    group="natural",
    classes=CLASSES,
    palette=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    licence="for research, not commercial",
    source="https://www.cityscapes-dataset.com/downloads",
    download="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, unpacked",
    count=500,  # https://github.com/PaddlePaddle/PaddleSeg documents it
    original=Layout(
        images=("leftImg8bit/val/{city}/{key}_leftImg8bit.png",),
        labels=("gtFine/val/{city}/{key}_gtFine_labelIds.png",),
        encoding=Encoding(values={**dict.fromkeys(range(34), IGNORED), **{v: i for i, v in enumerate(IDS)}}),
    ),
    prepared=Layout(
        images=("leftImg8bit/val/{key}_leftImg8bit.png",),
        labels=("gtFine/val/{key}_gtFine_labelTrainIds.png",),
        encoding=indexed(19),
    ),
    others=(
        Layout(
            images=("leftImg8bit/val/{city}/{key}_leftImg8bit.png",),
            labels=("gtFine/val/{city}/{key}_gtFine_labelTrainIds.png",),
            encoding=indexed(19),
        ),
    ),
    notes="Not seen from above: to compare methods with the papers they come from.",
    unverified=("licence",),
)
