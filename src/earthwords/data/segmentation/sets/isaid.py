"""iSAID (https://captain-whu.github.io/iSAID): fifteen kinds of objects on the images of DOTA-v1.0."""

from earthwords.data.segmentation.spec import DatasetSpec, Encoding, Layout, Tiling, indexed, mmseg, results, segearth

COLOURS = (
    (0, 0, 0),
    (0, 0, 63),
    (0, 63, 63),
    (0, 63, 0),
    (0, 63, 127),
    (0, 63, 191),
    (0, 63, 255),
    (0, 127, 63),
    (0, 127, 127),
    (0, 0, 127),
    (0, 0, 191),
    (0, 0, 255),
    (0, 191, 127),
    (0, 127, 191),
    (0, 127, 255),
    (0, 100, 155),
)

SPEC = DatasetSpec(
    name="isaid",
    title="iSAID",
    rank=3,
    group="multi-class",
    classes=(
        "background",
        "ship",
        "store tank",
        "baseball diamond",
        "tennis court",
        "basketball court",
        "ground track field",
        "bridge",
        "large vehicle",
        "small vehicle",
        "helicopter",
        "swimming pool",
        "roundabout",
        "soccer ball field",
        "plane",
        "harbor",
    ),
    palette=COLOURS,
    background=0,
    settings=segearth(0.4),
    licence="research only",
    source="https://captain-whu.github.io/iSAID/dataset.html",
    download="val/images of DOTA-v1.0 and val/Semantic_masks of iSAID, unpacked",
    published=results(maskclip=14.5, sclip=16.1, clearclip=18.2, segearth_ov=21.7),
    count=11644,
    original=Layout(
        images=("val/images/images/{key}.png", "val/images/{key}.png"),
        labels=(
            "val/Semantic_masks/images/{key}_instance_color_RGB.png",
            "val/Semantic_masks/{key}_instance_color_RGB.png",
        ),
        encoding=Encoding(colours={rgb: index for index, rgb in enumerate(COLOURS)}, otherwise=0),
    ),
    tiling=Tiling(height=896, width=896, step=512, name="{name}_{top}_{bottom}_{left}_{right}", pad=True),
    prepared=mmseg(indexed(16), also="_instance_color_RGB"),
    notes="Colours that no class has are background, as in mmsegmentation, which does not fill up an image that is too "
    "small in one direction and has exactly 896 pixels in the other; here every tile is whole.",
    unverified=("licence",),
)
