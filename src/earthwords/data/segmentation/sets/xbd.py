"""xBD (https://xview2.org): buildings before and after disasters; only the images from before are measured."""

from earthwords.data.segmentation.spec import DatasetSpec, Encoding, Layout, indexed, results, segearth

SPEC = DatasetSpec(
    name="xbd",
    title="xBD (before)",
    rank=12,
    group="building",
    classes=("background", "building"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    settings=segearth(0.0, cls_weight=0.0),
    licence="CC BY-NC-SA 4.0",
    source="https://xview2.org",
    download="test/images and test/targets (masks as PNG)",
    published=results("IoU", recalled=True, segearth_ov=37.0),
    split="test",
    count=933,
    original=Layout(
        images=("test/images/{key}_pre_disaster.png",),
        labels=("test/targets/{key}_pre_disaster_target.png",),
        name="{key}_pre_disaster",
        encoding=Encoding(at_least=1),
    ),
    prepared=Layout(
        images=("test/images_pre/{key}.png",), labels=("test/targets_cvt_pre/{key}.png",), encoding=indexed(2)
    ),
    notes="Targets tell the damage; any value from 1 on is a building.",
    unverified=("licence", "count", "published", "original: the folder called images"),
)
