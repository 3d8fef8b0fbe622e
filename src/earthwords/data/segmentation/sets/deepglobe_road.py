"""DeepGlobe roads (https://competitions.codalab.org/competitions/18467), the part in GlobalRoadSet's validation set."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, results, segearth

SPEC = DatasetSpec(
    name="deepglobe-road",
    title="DeepGlobe",
    rank=14,
    group="road",
    classes=("background", "road"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    settings=segearth(0.7),
    gsd_m=(0.5, 0.5),
    licence="CC BY-NC-SA 4.0 (GlobalRoadSet), academic use",
    source="https://github.com/xiaoyan07/GRNet_GRSet",
    download="DeepGlobe_test_1530 of the validation set of GlobalRoadSet",
    published=results("IoU", recalled=True, segearth_ov=17.8),
    split="test",
    count=1530,
    original=Layout(
        images=("DeepGlobe_test_1530/img/{key}_sat.jpg", "img/{key}_sat.jpg"),
        labels=("DeepGlobe_test_1530/gt/{key}_mask.png", "gt/{key}_mask.png"),
        encoding=BINARY,
    ),
    prepared=Layout(images=("image_cvt/{key}.jpg",), labels=("label_cvt/{key}.png",), encoding=indexed(2)),
    unverified=("gsd_m", "published"),
)
