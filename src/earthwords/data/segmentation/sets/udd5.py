"""UDD5 (https://github.com/MarcWong/UDD): Chinese towns from a low-flying drone."""

from earthwords.data.segmentation.spec import DatasetSpec, Encoding, Layout, results, segearth

COLOURS = ((107, 142, 35), (102, 102, 156), (128, 64, 128), (0, 0, 142), (0, 0, 0))

LABELS = Encoding(
    values={index: index for index in range(5)}, colours={rgb: index for index, rgb in enumerate(COLOURS)}
)
FOLDERS = Layout(images=("val/src/{key}.JPG",), labels=("val/gt/{key}.png",), encoding=LABELS)

SPEC = DatasetSpec(
    name="udd5",
    title="UDD5",
    rank=7,
    group="multi-class",
    classes=("vegetation", "building", "road", "vehicle", "background"),
    palette=COLOURS,
    background=4,
    settings=segearth(0.4),
    licence="non-commercial use",
    source="https://github.com/MarcWong/UDD",
    download="UDD5 with val/src and val/gt",
    published=results(maskclip=32.4, sclip=38.7, clearclip=41.8, segearth_ov=50.6),
    count=40,
    original=FOLDERS,
    prepared=FOLDERS,
    notes="Not UDD6, whose labels have another order.",
    unverified=("count",),
)
