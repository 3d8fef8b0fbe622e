"""Sets found in folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from earthwords.data.segmentation.fakes import make_fake
from earthwords.data.segmentation.find import find_sets, named_by
from earthwords.data.segmentation.spec import all_specs
from tests.data.segmentation.test_prepare import prepare


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *((spec.name, spec.name) for spec in all_specs()),
        ("LoveDA", "loveda"),
        ("WHU_Sat_II", "whu-sat2"),
        ("massachusetts_roads_tiles", "massachusetts-tiles"),
        ("Massachusetts_test_49", "massachusetts-road"),
        ("dubai_mbrsc", "dubai"),
        ("ISPRS Potsdam", "potsdam"),
        ("ucmerced21", None),
        ("whu_rs19_embeddings", None),
    ],
)
def test_names_of_folders(folder: str, name: str | None, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    found = named_by(tmp_path / folder)
    assert (found and found.name) == name


def test_what_prepare_noted_counts_more_than_a_name(tmp_path: Path) -> None:
    make_fake("udd5", tmp_path / "src")
    prepare("udd5", tmp_path / "src", tmp_path / "sets" / "vdd", partial=True)
    found = find_sets(tmp_path / "sets")
    assert [each.spec.name for each in found] == ["udd5"]
    assert [each.spec.name for each in find_sets(tmp_path / "sets", ["udd5"])] == ["udd5"]
    assert found[0].root == tmp_path / "sets" / "vdd"


def test_patterns_may_begin_with_the_folder(tmp_path: Path) -> None:
    make_fake("massachusetts-road", tmp_path)
    for names in ((), ("massachusetts-road",)):
        (found,) = find_sets(tmp_path, names or ["Massachusetts_test_49"])
        assert found.spec.name == "massachusetts-road" and len(found) == 2


def test_the_digest_tells_names_labels_and_images(tmp_path: Path) -> None:
    make_fake("vdd", tmp_path / "vdd")
    (whole,) = find_sets(tmp_path)
    seen = {whole.digest, whole[:1].digest}
    for kind in ("src", "gt"):
        path = next((tmp_path / "vdd").rglob(f"test/{kind}/*"))
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        seen.add(find_sets(tmp_path)[0].digest)
        path.write_bytes(before)
    assert len(seen) == 4 and find_sets(tmp_path)[0].digest == whole.digest
    prepare("vdd", tmp_path / "vdd", tmp_path / "made" / "vdd", partial=True)
    (made,) = find_sets(tmp_path / "made")
    noted = made.digest
    path = made.pairs[0].labels
    path.write_bytes(path.read_bytes() + b" ")
    assert find_sets(tmp_path / "made")[0].digest == noted, "contents as noted; `data check` compares them"
