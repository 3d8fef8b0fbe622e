"""Every row says what its neighbours need."""

from __future__ import annotations

from dataclasses import fields

import pytest

from earthwords.data.segmentation.fakes import FAKES
from earthwords.data.segmentation.spec import GROUPS, IGNORED, PACKAGE, DatasetSpec, all_specs, find_spec
from earthwords.errors import UsageError
from earthwords.plugins import names
from earthwords.presets import SEGMENT_PRESETS
from tests.conftest import ROOT

SPECS = {spec.name: spec for spec in all_specs()}
PAPER = [
    *("openearthmap", "loveda", "isaid", "potsdam", "vaihingen", "uavid", "udd5", "vdd"),
    *("whu-aerial", "whu-sat2", "inria", "xbd"),
    *("chn6-cug", "deepglobe-road", "massachusetts-road", "spacenet-road", "wbs-si"),
]


def test_the_papers_sets_come_first_and_in_its_order() -> None:
    assert [spec.name for spec in all_specs()][:17] == PAPER
    assert [spec.rank for spec in all_specs()] == list(range(1, len(SPECS) + 1))
    assert set(SPECS) == set(names(PACKAGE)) == set(FAKES)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_row_is_sound(spec: DatasetSpec) -> None:
    assert spec.group in GROUPS and spec.title and spec.source.startswith("http") and spec.licence and spec.download
    vocabulary = spec.vocabulary()
    assert len(vocabulary) == len(spec.classes) == len(spec.palette or spec.classes)
    assert vocabulary.background == spec.background
    assert {c.colour for c in vocabulary.classes} == set(spec.palette) or not spec.palette
    for layout in (spec.original, *spec.layouts):
        encoding = layout.encoding
        meant = {*encoding.values.values(), *encoding.colours.values()} - {IGNORED}
        if encoding.at_least is None:
            assert meant == set(range(len(spec.classes)))
        else:
            assert not meant and len(spec.classes) == 2
    image, label = spec.prepared.images[0], spec.prepared.labels[0]
    assert image.count("{key}") == label.count("{key}") == 1 and "*" not in image + label
    originals = {path.rpartition(".")[2].lower() for path in spec.original.images}
    assert image.endswith(".png") or originals == {image.rpartition(".")[2].lower()}
    assert label.endswith((".png", ".tif"))
    assert len(set(spec.only)) == len(spec.only)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_what_is_not_verified_is_named(spec: DatasetSpec) -> None:
    known = {field.name for field in fields(spec)}
    assert {each.partition(":")[0] for each in spec.unverified} <= known
    recalled = any(not number.verified for number in spec.published)
    assert recalled == ("published" in spec.unverified)
    assert all("arxiv.org" in number.source and 0 < number.value < 100 for number in spec.published)


def test_settings_are_those_of_the_papers_configurations() -> None:
    thresholds = [SPECS[name].settings["segearth-ov"].threshold for name in PAPER]
    assert thresholds == [0.1, 0.3, 0.4, 0.1, 0.1, 0.3, 0.4, 0.3, 0.6, 0.7, 0.6, 0.0, 0.8, 0.7, 0.7, 0.7, 0.6]
    assert [n for n in PAPER if SPECS[n].settings["segearth-ov"].cls_weight != -0.3] == ["xbd"]
    assert [SPECS[n].background for n in PAPER[:8]] == [0, 0, 0, 5, 5, 0, 4, 0]
    assert "segearth-ov" in SEGMENT_PRESETS
    assert SPECS["potsdam"].vocabulary().titles[2] == "low vegetation"
    assert SPECS["potsdam"].vocabulary("segearth-ov-2").titles[2] == "grass"
    assert SPECS["openearthmap"].vocabulary().queries[1:3] == ("bareland", "barren")
    assert (SPECS["inria"].metric, SPECS["loveda"].metric) == ("IoU", "mIoU")


def test_the_mean_of_the_multi_class_sets_is_the_printed_one() -> None:
    values = [number.value for name in PAPER[:8] for number in SPECS[name].published if number.method == "segearth-ov"]
    assert len(values) == 8 and sum(values) / 8 == pytest.approx(39.2, abs=0.05)


def test_the_page_names_every_set() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    for spec in SPECS.values():
        assert f"| `{spec.name}` | {spec.title} | {len(spec.classes)} |" in page, spec.name


def test_names_are_found_whatever_their_spelling() -> None:
    assert find_spec("WHU_Aerial") is SPECS["whu-aerial"]
    with pytest.raises(UsageError, match=r"Unknown data set 'lovda'\. Did you mean 'loveda'"):
        find_spec("lovda")
