"""UAVid (https://uavid.nl): streets seen obliquely from a drone; SegEarth-OV measures its images, not its videos."""

from earthwords.data.segmentation.spec import DatasetSpec, Encoding, Layout, Tiling, indexed, mmseg, results, segearth

COLOURS = (
    (0, 0, 0),
    (128, 0, 0),
    (128, 64, 128),
    (192, 0, 192),
    (0, 128, 0),
    (128, 128, 0),
    (64, 64, 0),
)
MOVING_CAR = (64, 0, 128)

SPEC = DatasetSpec(
    name="uavid",
    title="UAVid (images)",
    rank=6,
    group="multi-class",
    classes=("background", "building", "road", "car", "tree", "vegetation", "human"),
    palette=COLOURS,
    background=0,
    settings=segearth(0.3),
    licence="CC BY-NC-SA 4.0",
    source="https://uavid.nl",
    download="the test sequences with their labels, as test_gt/SEQUENCE/Images and Labels",
    published=results(recalled=True, segearth_ov=42.5),
    split="test",
    original=Layout(
        images=("test_gt/{seq}/Images/{frame}.png", "uavid_test/{seq}/Images/{frame}.png"),
        labels=("test_gt/{seq}/Labels/{frame}.png", "uavid_test/{seq}/Labels/{frame}.png"),
        name="{seq}_{frame}",
        encoding=Encoding(colours={MOVING_CAR: 3, **{rgb: index for index, rgb in enumerate(COLOURS)}}, otherwise=0),
    ),
    tiling=Tiling(height=1080, width=1280, name="{name}_{top}_{bottom}_{left}_{right}", pad=True),
    prepared=mmseg(indexed(7), split="test"),
    notes="Moving and static cars are one class. Colours that no class has are background, as in SegEarth-OV.",
    unverified=("licence", "published", "original: the folders called Images"),
)
