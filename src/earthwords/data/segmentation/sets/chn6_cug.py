"""CHN6-CUG (https://grzy.cug.edu.cn/zhuqiqi): roads of six Chinese cities."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, results, segearth

SPEC = DatasetSpec(
    name="chn6-cug",
    title="CHN6-CUG",
    rank=13,
    group="road",
    classes=("background", "road"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    settings=segearth(0.8),
    gsd_m=(0.5, 0.5),
    licence="for research",
    source="https://grzy.cug.edu.cn/zhuqiqi/zh_CN/yjgk/32368/list/index.htm",
    download="CHN6-CUG with val/images and val/gt",
    published=results("IoU", recalled=True, segearth_ov=35.4),
    count=903,
    original=Layout(
        images=("val/images/{key}_sat.jpg", "val/images/{key}.jpg"),
        labels=("val/gt/{key}_mask.png", "val/gt/{key}.png"),
        encoding=BINARY,
    ),
    prepared=Layout(images=("val/image_cvt/{key}.jpg",), labels=("val/label_cvt/{key}.png",), encoding=indexed(2)),
    unverified=("licence", "count", "gsd_m", "published"),
)
