"""WHU building data set, satellite part II (http://gpcv.whu.edu.cn/data/building_dataset.html): East Asia."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, results, segearth

SPEC = DatasetSpec(
    name="whu-sat2",
    title="WHU-Sat.II",
    rank=10,
    group="building",
    classes=("background", "building"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    settings=segearth(0.7),
    gsd_m=(0.45, 0.45),
    licence="for research",
    source="http://gpcv.whu.edu.cn/data/building_dataset.html",
    download="Satellite dataset \u2161 (East Asia), the cropped images with test/image and test/label",
    published=results("IoU", segearth_ov=28.4),
    split="test",
    count=3726,
    original=Layout(images=("test/image/{key}.tif",), labels=("test/label/{key}.tif",), encoding=BINARY),
    prepared=Layout(images=("test/image/{key}.tif",), labels=("test/label_cvt/{key}.tif",), encoding=indexed(2)),
    unverified=("count", "gsd_m"),
)
