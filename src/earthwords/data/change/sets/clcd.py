"""CLCD (https://github.com/liumency/CropLand-CD), lost cropland in Guangdong."""

from earthwords.data.change.spec import ChangeSetSpec

SPEC = ChangeSetSpec(
    name="clcd",
    title="CLCD",
    before=("{split}/time1/{key}.png",),
    after=("{split}/time2/{key}.png",),
    labels=("{split}/label/{key}.png",),
    counts=(360, 120, 120),
    gsd_m=(0.5, 2.0),
    source="https://github.com/liumency/CropLand-CD",
    notes="512 x 512 pixels of Gaofen-2, 2017 and 2019.",
    unverified=("before", "after", "labels", "gsd_m"),
)
