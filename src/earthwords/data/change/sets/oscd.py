"""OSCD (https://rcdaudt.github.io/oscd/), Sentinel-2 pairs of 24 cities."""

from earthwords.data.change.spec import ANY, ChangeSetSpec
from earthwords.data.segmentation.spec import Encoding

SPEC = ChangeSetSpec(
    name="oscd",
    title="OSCD",
    before=("*Images/{key}/pair/img1.png", "{key}/pair/img1.png"),
    after=("*Images/{key}/pair/img2.png", "{key}/pair/img2.png"),
    labels=("*Labels/{key}/cm/cm.png", "{key}/cm/cm.png"),
    splits=(ANY,),
    encoding=Encoding(at_least=128),
    gsd_m=(10.0, 10.0),
    licence="CC BY-NC-SA 4.0",
    source="https://rcdaudt.github.io/oscd/",
    notes="The pictures of red, green and blue in `pair` are read; the 13 bands beside them are not.",
    unverified=("before", "after", "labels", "licence"),
)
