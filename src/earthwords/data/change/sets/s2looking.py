"""S2Looking (https://github.com/S2Looking/Dataset), buildings seen from the side by satellites."""

from earthwords.data.change.spec import ChangeSetSpec

SPEC = ChangeSetSpec(
    name="s2looking",
    title="S2Looking",
    before=("{split}/Image1/{key}.png",),
    after=("{split}/Image2/{key}.png",),
    labels=("{split}/label/{key}.png",),
    counts=(3500, 500, 1000),
    gsd_m=(0.5, 0.8),
    source="https://github.com/S2Looking/Dataset",
    notes="Roofs move with the angle of view; label1 (new) and label2 (gone) lie beside label and are not read.",
    unverified=("before", "after", "labels", "gsd_m"),
)
