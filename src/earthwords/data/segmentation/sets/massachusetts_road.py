"""Massachusetts roads (https://www.cs.toronto.edu/~vmnih/data), the part in GlobalRoadSet's validation set."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, results, segearth

SPEC = DatasetSpec(
    name="massachusetts-road",
    title="Massachusetts",
    rank=15,
    group="road",
    classes=("background", "road"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    settings=segearth(0.7),
    gsd_m=(1.0, 1.0),
    licence="CC BY-NC-SA 4.0 (GlobalRoadSet), academic use",
    source="https://github.com/xiaoyan07/GRNet_GRSet",
    download="Massachusetts_test_49 of the validation set of GlobalRoadSet",
    published=results("IoU", segearth_ov=11.5),
    split="test",
    count=49,
    original=Layout(
        images=("Massachusetts_test_49/img/{key}.jpg", "img/{key}.jpg"),
        labels=("Massachusetts_test_49/gt/{key}.png", "gt/{key}.png"),
        encoding=BINARY,
    ),
    prepared=Layout(images=("img/{key}.jpg",), labels=("label_cvt/{key}.png",), encoding=indexed(2)),
)
