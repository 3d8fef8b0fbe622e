"""DSIFN (https://doi.org/10.1016/j.isprsjprs.2020.06.003), Chinese cities."""

from earthwords.data.change.spec import ChangeSetSpec, pictures

SPEC = ChangeSetSpec(
    name="dsifn",
    title="DSIFN",
    before=pictures("{split}/t1"),
    after=pictures("{split}/t2"),
    labels=pictures("{split}/mask"),
    counts=(3600, 340, 48),
    gsd_m=(2.0, 2.0),
    source="https://doi.org/10.1016/j.isprsjprs.2020.06.003",
    notes="512 x 512 pixels of six cities; change of every kind counts.",
    unverified=("before", "after", "labels", "counts", "gsd_m"),
)
