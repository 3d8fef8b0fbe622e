"""LEVIR-CD (https://justchenhao.github.io/LEVIR/), new and torn-down buildings in Texas."""

from earthwords.data.change.spec import ChangeSetSpec

SPEC = ChangeSetSpec(
    name="levir-cd",
    title="LEVIR-CD",
    before=("{split}/A/{key}.png",),
    after=("{split}/B/{key}.png",),
    labels=("{split}/label/{key}.png",),
    counts=(445, 64, 128),
    gsd_m=(0.5, 0.5),
    licence="academic use only",
    source="https://justchenhao.github.io/LEVIR/",
    notes="Pairs of 1,024 x 1,024 pixels, 5 to 14 years apart.",
    unverified=("licence",),
)
