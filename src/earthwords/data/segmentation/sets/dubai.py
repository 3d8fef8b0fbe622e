"""Dubai (MBRSC and Humans in the Loop): land cover of a desert city, 72 images of eight tiles."""

from earthwords.data.segmentation.spec import IGNORED, DatasetSpec, Encoding, Layout, indexed, mmseg

COLOURS = ((60, 16, 152), (132, 41, 246), (110, 193, 228), (254, 221, 58), (226, 169, 41))
UNLABELLED = (155, 155, 155)

SPEC = DatasetSpec(
    name="dubai",
    title="Dubai (MBRSC)",
    rank=22,
    group="local",
    classes=("building", "land", "road", "vegetation", "water"),
    palette=COLOURS,
    licence="CC0 1.0",
    source="https://humansintheloop.org/resources/datasets/semantic-segmentation-dataset-2",
    download="all eight tiles, with images and masks",
    split="test",
    count=18,
    original=Layout(
        images=("images/tile{tile}_image_part_{part}.jpg", "Tile {tile}/images/image_part_{part}.jpg"),
        labels=("masks/tile{tile}_image_part_{part}.png", "Tile {tile}/masks/image_part_{part}.png"),
        name="tile{tile}_image_part_{part}",
        encoding=Encoding(
            values={index: index for index in range(5)},
            colours={UNLABELLED: IGNORED, **{rgb: index for index, rgb in enumerate(COLOURS)}},
        ),
    ),
    only=tuple(f"tile{tile}_image_part_{part:03d}" for tile in (7, 8) for part in range(1, 10)),
    prepared=mmseg(indexed(5), split="test", image=".jpg"),
    notes="Land is unpaved ground. Tiles 7 and 8 are measured, 1 to 5 are for training and 6 for validation; images of "
    "one tile abut.",
    unverified=("licence", "source", "original: the layout Tile N/images, Tile N/masks"),
)
