"""VDD (https://github.com/RussRobin/VDD): varied scenes, angles and light from a drone."""

from earthwords.data.segmentation.spec import DatasetSpec, Layout, indexed, results, segearth

FOLDERS = Layout(images=("test/src/{key}.JPG",), labels=("test/gt/{key}.png",), encoding=indexed(7))

SPEC = DatasetSpec(
    name="vdd",
    title="VDD",
    rank=8,
    group="multi-class",
    classes=("background", "facade", "road", "vegetation", "vehicle", "roof", "water"),
    background=0,
    settings=segearth(0.3),
    licence="non-commercial use",
    source="https://github.com/RussRobin/VDD",
    download="VDD with test/src and test/gt",
    published=results(maskclip=32.9, sclip=37.9, clearclip=39.3, segearth_ov=45.3),
    split="test",
    count=80,
    original=FOLDERS,
    prepared=FOLDERS,
    notes="Its page at Hugging Face says CC BY 4.0, its repository non-commercial. Its publishers call class 1 wall; "
    "SegEarth-OV asks for facade.",
    unverified=("count",),
)
