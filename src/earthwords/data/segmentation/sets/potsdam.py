"""ISPRS Potsdam (https://www.isprs.org/education/benchmarks/UrbanSemLab): a German town in six classes."""

from earthwords.data.segmentation.spec import (
    IGNORED,
    DatasetSpec,
    Encoding,
    Layout,
    Tiling,
    indexed,
    mmseg,
    results,
    segearth,
)

COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))

ISPRS = Encoding(colours={(0, 0, 0): IGNORED, **{rgb: index for index, rgb in enumerate(COLOURS)}}, otherwise=IGNORED)
"""Colours of both ISPRS sets; black is the border of objects."""

SPEC = DatasetSpec(
    name="potsdam",
    title="ISPRS Potsdam",
    rank=4,
    group="multi-class",
    classes=("road,parking lot", "building", "low vegetation", "tree", "car", "clutter,background"),
    palette=COLOURS,
    background=5,
    settings=segearth(0.1, newer=("road", "building", "grass", "tree", "car", "clutter,background")),
    gsd_m=(0.05, 0.05),
    licence="ISPRS, for research",
    source="https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx",
    download="2_Ortho_RGB.zip and 5_Labels_all_noBoundary.zip, unpacked",
    published=results(maskclip=31.7, sclip=36.6, clearclip=40.9, segearth_ov=47.1),
    count=2016,
    original=Layout(
        images=("2_Ortho_RGB/top_potsdam_{row}_{col}_RGB.tif", "*/top_potsdam_{row}_{col}_RGB.tif"),
        labels=(
            "5_Labels_all_noBoundary/top_potsdam_{row}_{col}_label_noBoundary.tif",
            "*/top_potsdam_{row}_{col}_label_noBoundary.tif",
            "*/top_potsdam_{row}_{col}_label*.tif",
        ),
        name="{row}_{col}",
        encoding=ISPRS,
    ),
    only=(
        "5_15",
        "6_15",
        "6_13",
        "3_13",
        "4_14",
        "6_14",
        "5_14",
        "2_13",
        "4_15",
        "2_14",
        "5_13",
        "4_13",
        "3_14",
        "7_13",
    ),
    tiling=Tiling(height=512, width=512),
    prepared=mmseg(indexed(6, first=1)),
    notes="Clutter is part of the mean. mmsegmentation says step 256, but its windows begin every 512 pixels, as here.",
    unverified=("gsd_m", "original: how label files are called"),
)
