"""A tiny fake of every set, as its publisher lays it out: to try preparation, loading and scores without the data.

The rows are written from the publishers' descriptions, not derived from `data/segmentation/sets`: one checks the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.data.segmentation.spec import IGNORED
from earthwords.errors import unknown

Labels = NDArray[np.uint8]
Raw = int | tuple[int, int, int]

CELL = 8
"""Side of the squares that the truth is made of; that of JPEG's blocks, so that masks survive it."""


@dataclass(frozen=True, kw_only=True)
class Fake:
    """Files of a fake."""

    images: tuple[str, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    """Of the originals, as `Layout.name` has them."""
    raws: tuple[Raw, ...]
    """What a pixel of each class is in a label file: a value, or a colour."""
    ignored: tuple[Raw, ...] = ()
    """What pixels are that do not count."""
    aliases: Mapping[int, Raw] = field(default_factory=dict)
    """A second value or colour of a class."""
    sizes: tuple[tuple[int, int], ...] = ((72, 104), (80, 64))
    """Rows and columns of the first image and the others."""
    mode: str = ""
    """Of PIL, for labels: empty for RGB colours and grey values, `P` for values with a palette, `1` for bits."""
    decoys: tuple[str, ...] = ()
    """Images and labels of parts that are not measured."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Lists of names."""


def make_fake(name: str, folder: Path) -> dict[str, Labels]:
    """Write the fake of a set into a folder, as it would be unpacked; the truth `(row, col)` of each original by name.

    Raises:
        UsageError: there is no such set.
    """
    if name not in FAKES:
        raise unknown("data set", name, FAKES)
    fake, truths = FAKES[name], {}
    for number, (image, labels, item) in enumerate(zip(fake.images, fake.labels, fake.names, strict=True)):
        truth = _truth(fake, number)
        _save(folder / image, Image.fromarray(_pixels(truth, number)))
        _save(folder / labels, _encoded(truth, fake))
        truths[item] = truth.labels
    for number, path in enumerate(fake.decoys):
        _save(folder / path, Image.fromarray(np.full((9, 7), 13 + number, np.uint8)))
    for path, text in fake.texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return truths


@dataclass(frozen=True, kw_only=True)
class _Truth:
    labels: Labels
    raws: NDArray[np.uint8]
    """`(row, col)` values or `(row, col, 3)` colours."""


def _truth(fake: Fake, number: int) -> _Truth:
    """Squares of every class, then of what is ignored, then of aliases, over and over; others for each image."""
    known: list[tuple[int, Raw]] = list(enumerate(fake.raws))
    known += [(IGNORED, raw) for raw in fake.ignored] + list(fake.aliases.items())
    height, width = fake.sizes[min(number, len(fake.sizes) - 1)]
    rows, cols = np.mgrid[:height, :width] // CELL
    index = (rows * (width // CELL + 1) + cols + 3 * number) % len(known)
    raws = np.array([raw for _, raw in known], np.uint8)
    return _Truth(labels=np.array([label for label, _ in known], np.uint8)[index], raws=raws[index])


def _pixels(truth: _Truth, number: int) -> NDArray[np.uint8]:
    """An image whose bands differ and which tells rows from columns."""
    height, width = truth.labels.shape
    rows, cols = np.mgrid[:height, :width]
    bands = rows * 3 + 10 * number, cols * 2, truth.labels * 7 + (rows ^ cols)
    return np.stack(bands, axis=-1).astype(np.uint8)


def _encoded(truth: _Truth, fake: Fake) -> Image.Image:
    if fake.mode == "1":
        return Image.fromarray(truth.raws > 0)
    image = Image.fromarray(truth.raws)
    if fake.mode == "P":
        image.putpalette([(37 * i + 11 * band) % 256 for i in range(256) for band in range(3)])
    return image


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".jpg":
        image.save(path, quality=95)
    else:
        image.save(path)


class _Paths(TypedDict):
    images: tuple[str, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]


def _pairs(images: str, labels: str, keys: tuple[str, ...]) -> _Paths:
    """Paths of images and labels whose names differ in one place."""
    return _Paths(
        images=tuple(images.format(key) for key in keys),
        labels=tuple(labels.format(key) for key in keys),
        names=keys,
    )


_MASK = (0, 255)
_ISPRS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))
_BLACK = (0, 0, 0)

FAKES: dict[str, Fake] = {
    "openearthmap": Fake(
        images=("aachen/images/aachen_5.tif", "tokyo/images/tokyo_12.tif"),
        labels=("aachen/labels/aachen_5.tif", "tokyo/labels/tokyo_12.tif"),
        names=("aachen_5", "tokyo_12"),
        raws=tuple(range(9)),
        decoys=("aachen/images/aachen_1.tif", "aachen/labels/aachen_1.tif"),
        texts={"val.txt": "tokyo_12.tif\naachen_5.tif\nof_xbd_3.tif\n", "train.txt": "aachen_1.tif\n"},
    ),
    "loveda": Fake(
        images=("Val/Rural/images_png/2522.png", "Val/Urban/images_png/3514.png"),
        labels=("Val/Rural/masks_png/2522.png", "Val/Urban/masks_png/3514.png"),
        names=("2522", "3514"),
        raws=(1, 2, 3, 4, 5, 6, 7),
        ignored=(0,),
        decoys=("Train/Urban/images_png/1.png", "Train/Urban/masks_png/1.png"),
    ),
    "isaid": Fake(
        **_pairs("val/images/images/{}.png", "val/Semantic_masks/images/{}_instance_color_RGB.png", ("P0003", "P0007")),
        raws=(
            *((0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63)),
            *((0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255)),
            (0, 100, 155),
        ),
        aliases={0: (1, 2, 3)},
        sizes=((900, 100), (72, 1000)),
    ),
    "potsdam": Fake(
        images=("2_Ortho_RGB/top_potsdam_2_13_RGB.tif", "2_Ortho_RGB/top_potsdam_7_13_RGB.tif"),
        labels=(
            "5_Labels_all_noBoundary/top_potsdam_2_13_label_noBoundary.tif",
            "5_Labels_all_noBoundary/top_potsdam_7_13_label_noBoundary.tif",
        ),
        names=("2_13", "7_13"),
        raws=_ISPRS,
        ignored=(_BLACK, (252, 255, 0)),
        sizes=((520, 1030), (512, 300)),
        decoys=(
            "2_Ortho_RGB/top_potsdam_2_10_RGB.tif",
            "5_Labels_all_noBoundary/top_potsdam_2_10_label_noBoundary.tif",
        ),
    ),
    "vaihingen": Fake(
        images=("top/top_mosaic_09cm_area2.tif", "top/top_mosaic_09cm_area38.tif"),
        labels=("gts/top_mosaic_09cm_area2_noBoundary.tif", "gts/top_mosaic_09cm_area38_noBoundary.tif"),
        names=("area2", "area38"),
        raws=_ISPRS,
        ignored=(_BLACK,),
        sizes=((560, 600), (513, 512)),
        decoys=("top/top_mosaic_09cm_area1.tif", "gts/top_mosaic_09cm_area1_noBoundary.tif"),
    ),
    "uavid": Fake(
        images=("test_gt/seq21/Images/000000.png", "test_gt/seq22/Images/000000.png"),
        labels=("test_gt/seq21/Labels/000000.png", "test_gt/seq22/Labels/000000.png"),
        names=("seq21_000000", "seq22_000000"),
        raws=((0, 0, 0), (128, 0, 0), (128, 64, 128), (192, 0, 192), (0, 128, 0), (128, 128, 0), (64, 64, 0)),
        aliases={3: (64, 0, 128)},
        sizes=((1088, 1280), (48, 1280)),
    ),
    "udd5": Fake(
        **_pairs("UDD/UDD5/val/src/{}.JPG", "UDD/UDD5/val/gt/{}.png", ("DJI_0285", "DJI_0627")),
        raws=(0, 1, 2, 3, 4),
        mode="P",
        decoys=("UDD/UDD5/train/src/DJI_0001.JPG", "UDD/UDD5/train/gt/DJI_0001.png"),
    ),
    "vdd": Fake(
        **_pairs("VDD/test/src/{}.JPG", "VDD/test/gt/{}.png", ("DJI_0028", "DJI_0102")),
        raws=(0, 1, 2, 3, 4, 5, 6),
        decoys=("VDD/train/src/DJI_0001.JPG", "VDD/train/gt/DJI_0001.png"),
    ),
    "whu-aerial": Fake(**_pairs("WHU-BD/val/image/{}.tif", "WHU-BD/val/label/{}.tif", ("2", "10")), raws=_MASK),
    "whu-sat2": Fake(
        **_pairs("1. cropped/test/image/{}.tif", "1. cropped/test/label/{}.tif", ("1_165", "1_401")), raws=_MASK
    ),
    "inria": Fake(
        **_pairs(
            "AerialImageDataset/train/images/{}.tif",
            "AerialImageDataset/train/gt/{}.tif",
            ("austin1", "tyrol-w3"),
        ),
        raws=_MASK,
        sizes=((1010, 1000), (300, 1001)),
        decoys=(
            "AerialImageDataset/train/images/austin2.tif",
            "AerialImageDataset/train/gt/austin2.tif",
            "AerialImageDataset/test/images/bellingham1.tif",
        ),
    ),
    "xbd": Fake(
        images=("test/images/joplin_00000003_pre_disaster.png", "test/images/moore_00000007_pre_disaster.png"),
        labels=(
            "test/targets/joplin_00000003_pre_disaster_target.png",
            "test/targets/moore_00000007_pre_disaster_target.png",
        ),
        names=("joplin_00000003_pre_disaster", "moore_00000007_pre_disaster"),
        raws=(0, 1),
        aliases={1: 3},
        decoys=(
            "test/images/joplin_00000003_post_disaster.png",
            "test/targets/joplin_00000003_post_disaster_target.png",
        ),
    ),
    "chn6-cug": Fake(
        **_pairs("CHN6-CUG/val/images/{}_sat.jpg", "CHN6-CUG/val/gt/{}_mask.png", ("am100001", "sh100403")),
        raws=_MASK,
    ),
    "deepglobe-road": Fake(
        **_pairs("DeepGlobe_test_1530/img/{}_sat.jpg", "DeepGlobe_test_1530/gt/{}_mask.png", ("10452", "994520")),
        raws=_MASK,
        decoys=("Massachusetts_test_49/img/7.jpg", "Massachusetts_test_49/gt/7.png"),
    ),
    "massachusetts-road": Fake(
        **_pairs("Massachusetts_test_49/img/{}.jpg", "Massachusetts_test_49/gt/{}.png", ("10378780_15", "23429080_15")),
        raws=_MASK,
        decoys=("SpaceNet_test_567/img/7.jpg", "SpaceNet_test_567/gt/7.png"),
    ),
    "spacenet-road": Fake(
        **_pairs("SpaceNet_test_567/img/{}.jpg", "SpaceNet_test_567/gt/{}.png", ("AOI_2_Vegas_img5", "AOI_4_img12")),
        raws=_MASK,
        decoys=("Massachusetts_test_49/img/7.jpg", "Massachusetts_test_49/gt/7.png"),
    ),
    "wbs-si": Fake(
        **_pairs("Images/{}.jpg", "Masks/{}.jpg", ("water_body_8", "water_body_100")),
        raws=_MASK,
        decoys=("Images/water_body_1.jpg", "Masks/water_body_1.jpg"),
    ),
    "pascal-context": Fake(
        **_pairs("VOC2010/JPEGImages/{}.jpg", "VOC2010/SegmentationClassContext/{}.png", ("2008_8", "2010_3293")),
        raws=tuple(range(1, 60)),
        ignored=(0,),
        decoys=("VOC2010/JPEGImages/2008_000002.jpg", "VOC2010/SegmentationClassContext/2008_000002.png"),
        texts={"VOC2010/ImageSets/SegmentationContext/val.txt": "2008_8\n2010_3293\n"},
    ),
    "pascal-context60": Fake(
        **_pairs("VOC2010/JPEGImages/{}.jpg", "VOC2010/SegmentationClassContext/{}.png", ("2008_8", "2010_3293")),
        raws=tuple(range(60)),
        texts={"VOC2010/ImageSets/SegmentationContext/val.txt": "2008_8\n2010_3293\n"},
    ),
    "coco-stuff": Fake(
        **_pairs("images/val2017/{}.jpg", "annotations/val2017/{}.png", ("000000000139", "000000581781")),
        raws=(
            *range(11), *range(12, 25), 26, 27, *range(30, 44), *range(45, 65), 66, 69, *range(71, 82), *range(83, 90),
            *range(91, 182),
        ),
        ignored=(255,),
        sizes=((112, 136), (128, 120)),
        decoys=("images/train2017/000000000009.jpg", "annotations/train2017/000000000009.png"),
    ),
    "cityscapes": Fake(
        images=(
            "leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png",
            "leftImg8bit/val/munster/munster_000173_000019_leftImg8bit.png",
        ),
        labels=(
            "gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png",
            "gtFine/val/munster/munster_000173_000019_gtFine_labelIds.png",
        ),
        names=("frankfurt_000000_000294", "munster_000173_000019"),
        raws=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
        ignored=(0, 3, 5, 9, 18, 29, 30),
        decoys=(
            "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png",
            "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png",
        ),
    ),
    "dubai": Fake(
        images=("Tile 7/images/image_part_001.jpg", "Tile 8/images/image_part_009.jpg"),
        labels=("Tile 7/masks/image_part_001.png", "Tile 8/masks/image_part_009.png"),
        names=("tile7_image_part_001", "tile8_image_part_009"),
        raws=((60, 16, 152), (132, 41, 246), (110, 193, 228), (254, 221, 58), (226, 169, 41)),
        ignored=((155, 155, 155),),
        decoys=("Tile 1/images/image_part_001.jpg", "Tile 1/masks/image_part_001.png"),
    ),
    "massachusetts-tiles": Fake(
        **_pairs("images/{}.jpg", "masks/{}.png", ("10078735_15_900_1200", "10078735_15_1200_300")),
        raws=_MASK,
        mode="1",
    ),
    "buildings-mix": Fake(**_pairs("images/{}.jpg", "masks/{}.png", ("crowdai_1", "nzlnd_38")), raws=_MASK, mode="1"),
}  # fmt: skip
"""Of every set in `data/segmentation/sets`."""
