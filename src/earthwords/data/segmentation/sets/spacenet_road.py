"""SpaceNet roads (https://spacenet.ai/spacenet-roads-dataset), the part in GlobalRoadSet's validation set."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, results, segearth

SPEC = DatasetSpec(
    name="spacenet-road",
    title="SpaceNet",
    rank=16,
    group="road",
    classes=("background", "road"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    settings=segearth(0.7),
    gsd_m=(0.3, 0.3),
    licence="CC BY-NC-SA 4.0 (GlobalRoadSet), academic use",
    source="https://github.com/xiaoyan07/GRNet_GRSet",
    download="SpaceNet_test_567 of the validation set of GlobalRoadSet",
    published=results("IoU", recalled=True, segearth_ov=23.8),
    split="test",
    count=567,
    original=Layout(
        images=("SpaceNet_test_567/img/{key}.jpg", "img/{key}.jpg"),
        labels=("SpaceNet_test_567/gt/{key}.png", "gt/{key}.png"),
        encoding=BINARY,
    ),
    prepared=Layout(images=("img/{key}.jpg",), labels=("label_cvt/{key}.png",), encoding=indexed(2)),
    unverified=("gsd_m", "published"),
)
