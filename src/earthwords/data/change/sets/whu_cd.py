"""WHU building change (http://gpcv.whu.edu.cn/data/building_dataset.html), Christchurch 2012 and 2016."""

from earthwords.data.change.spec import ChangeSetSpec, pictures

SPEC = ChangeSetSpec(
    name="whu-cd",
    title="WHU-CD",
    before=(*pictures("{split}/A"), *pictures("A")),
    after=(*pictures("{split}/B"), *pictures("B")),
    labels=(*pictures("{split}/label"), *pictures("label"), *pictures("{split}/OUT")),
    listed=("list/{split}.txt",),
    gsd_m=(0.2, 0.2),
    source="http://gpcv.whu.edu.cn/data/building_dataset.html",
    notes="The original is one pair of 15,354 x 32,507 pixels; most papers cut it to 256 x 256.",
    unverified=("before", "after", "labels", "listed"),
)
