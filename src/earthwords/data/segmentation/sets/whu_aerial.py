"""WHU building data set, aerial part (http://gpcv.whu.edu.cn/data/building_dataset.html): Christchurch."""

from earthwords.data.segmentation.spec import BINARY, DatasetSpec, Layout, indexed, results, segearth

SPEC = DatasetSpec(
    name="whu-aerial",
    title="WHU-Aerial",
    rank=9,
    group="building",
    classes=("background", "building"),
    palette=((0, 0, 0), (255, 255, 255)),
    background=0,
    settings=segearth(0.6),
    gsd_m=(0.3, 0.3),  # https://huggingface.co/datasets/giswqs/WHU-Building-Dataset
    licence="for research",
    source="http://gpcv.whu.edu.cn/data/building_dataset.html",
    download="the cropped aerial tiles with val/image and val/label",
    published=results("IoU", recalled=True, segearth_ov=49.2),
    count=1036,
    original=Layout(
        images=("val/image/{key}.png", "val/image/{key}.tif"),
        labels=("val/label/{key}.png", "val/label/{key}.tif", "val/mask/{key}.png", "val/mask/{key}.tif"),
        encoding=BINARY,
    ),
    prepared=Layout(images=("val/image/{key}.png",), labels=("val/label_cvt/{key}.png",), encoding=indexed(2)),
    unverified=("count", "published"),
)
