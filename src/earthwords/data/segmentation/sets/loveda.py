"""LoveDA (https://github.com/Junjue-Wang/LoveDA): land cover of town and country in three Chinese cities."""

from earthwords.data.segmentation.spec import DatasetSpec, Layout, indexed, mmseg, results, segearth

SPEC = DatasetSpec(
    name="loveda",
    title="LoveDA",
    rank=2,
    group="multi-class",
    classes=("background", "building,roof,house", "road", "water", "barren", "forest", "agricultural"),
    palette=(
        (255, 255, 255),
        (255, 0, 0),
        (255, 255, 0),
        (0, 0, 255),
        (159, 129, 183),
        (0, 255, 0),
        (255, 195, 128),
    ),
    background=0,
    settings=segearth(0.3),
    gsd_m=(0.3, 0.3),
    licence="CC BY-NC-SA 4.0",
    source="https://zenodo.org/record/5706578",
    download="Val.zip",
    published=results(maskclip=27.8, sclip=30.4, clearclip=32.4, segearth_ov=36.9),
    count=1669,
    original=Layout(
        images=("Val/*/images_png/{key}.png",), labels=("Val/*/masks_png/{key}.png",), encoding=indexed(7, first=1)
    ),
    prepared=mmseg(indexed(7, first=1)),
    notes="Rural and Urban are merged. Label 0 (no data) is ignored, 1 to 7 are the classes.",
    unverified=("count",),
)
