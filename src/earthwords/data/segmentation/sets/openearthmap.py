"""OpenEarthMap without its xBD part (https://open-earth-map.org): land cover at 44 cities and more."""

from earthwords.data.segmentation.spec import DatasetSpec, Layout, indexed, mmseg, results, segearth

SPEC = DatasetSpec(
    name="openearthmap",
    title="OpenEarthMap without xBD",
    rank=1,
    group="multi-class",
    classes=(
        "background",
        "bareland,barren",
        "grass",
        "pavement",
        "road",
        "tree,forest",
        "water,river",
        "cropland",
        "building,roof,house",
    ),
    palette=(
        (0, 0, 0),
        (128, 0, 0),
        (0, 255, 36),
        (148, 148, 148),
        (255, 255, 255),
        (34, 97, 38),
        (0, 69, 255),
        (75, 181, 73),
        (222, 31, 7),
    ),
    background=0,
    settings=segearth(0.1),
    gsd_m=(0.25, 0.5),
    licence="CC BY-NC-SA 4.0 for the labels, images as their publishers have them",
    source="https://open-earth-map.org",
    download="OpenEarthMap_wo_xBD: a folder a region with images/ and labels/, and val.txt",
    published=results(maskclip=25.1, sclip=29.3, clearclip=31.0, segearth_ov=40.3),
    original=Layout(
        images=("*/images/{key}.tif",),
        labels=("*/labels/{key}.tif",),
        listed=("val.txt",),
        all_there=False,
        encoding=indexed(9),
    ),
    prepared=mmseg(indexed(9), image=".tif", label=".tif"),
    notes="Names in val.txt that the distribution without xBD lacks are left out. A re-run of SegEarth-OV saw 39.75.",
    unverified=("gsd_m", "licence"),
)
