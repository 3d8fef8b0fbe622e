"""ISPRS Vaihingen (https://www.isprs.org/education/benchmarks/UrbanSemLab): near infrared, red and green."""

from earthwords.data.segmentation.sets.potsdam import COLOURS, ISPRS
from earthwords.data.segmentation.spec import DatasetSpec, Layout, Tiling, indexed, mmseg, results, segearth

AREAS = (6, 24, 35, 16, 14, 22, 10, 4, 2, 20, 8, 31, 33, 27, 38, 12, 29)

SPEC = DatasetSpec(
    name="vaihingen",
    title="ISPRS Vaihingen",
    rank=5,
    group="multi-class",
    classes=("impervious surface", "building", "low vegetation", "tree", "car", "clutter"),
    palette=COLOURS,
    background=5,
    settings=segearth(0.1, newer=("road", "building", "grass", "tree", "car", "clutter")),
    gsd_m=(0.09, 0.09),
    licence="ISPRS, for research",
    source="https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-vaihingen.aspx",
    download="ISPRS_semantic_labeling_Vaihingen.zip and ..._ground_truth_eroded_COMPLETE.zip, unpacked",
    published=results(recalled=True, segearth_ov=29.1),
    count=398,
    original=Layout(
        images=(
            "top/top_mosaic_09cm_{area}.tif",
            "*/top/top_mosaic_09cm_{area}.tif",
            "*/top_mosaic_09cm_{area}.tif",
        ),
        labels=("top_mosaic_09cm_{area}_noBoundary.tif", "*/top_mosaic_09cm_{area}_noBoundary.tif"),
        name="{area}",
        encoding=ISPRS,
    ),
    only=tuple(f"area{number}" for number in AREAS),
    tiling=Tiling(height=512, width=512),
    prepared=mmseg(indexed(6, first=1)),
    notes="The bands are near infrared, red, green. Clutter is part of the mean. Eroded ground truth. Windows begin "
    "every 512 pixels, as mmsegmentation makes them.",
    unverified=("published",),
)
