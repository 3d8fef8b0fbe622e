"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from earthwords.errors import OutputError, UsageError
from earthwords.files.atomic import atomic_path, check_output, staging, without_hidden


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.name == target.name
        assert not target.exists()
    assert contents(tmp_path) == {"report.json": "new"}


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_after_an_error_nothing_has_changed(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("new")
        raise error
    assert contents(tmp_path) == {"report.json": "old"}


def test_stale_sidecars_go_and_new_ones_come(tmp_path: Path) -> None:
    for name in ("a.tif", "a.tif.ovr", "a.tif.aux.xml", "b.tif.ovr"):
        (tmp_path / name).write_text("old")
    with staging(tmp_path / "a.tif", overwrite=True) as folder:
        for name in ("a.tif", "a.tif.aux.xml", "scratch"):
            (folder / name).write_text("new")
    assert contents(tmp_path) == {"a.tif": "new", "a.tif.aux.xml": "new", "b.tif.ovr": "old"}


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "er" / "a.txt") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path / "deep" / "er") == {"a.txt": "new"}


def test_an_existing_file_needs_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(UsageError, match=r"a.txt exists; pass --overwrite \(overwrite=True\) to replace it") as caught:
        check_output(tmp_path / "a.txt")
    assert caught.value.exit_code == 2
    assert check_output(str(tmp_path / "a.txt"), overwrite=True) == tmp_path / "a.txt"


def test_a_file_that_came_up_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists"), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        (tmp_path / "a.txt").write_text("someone else's")
    assert contents(tmp_path) == {"a.txt": "someone else's"}


@pytest.mark.parametrize("path", ["s3://bucket/a.tif", "https://x.org/a.tif", "/vsimem/a.tif"])
def test_outputs_are_local(path: str) -> None:
    with pytest.raises(UsageError, match="is not a local path"):
        check_output(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; name a file inside it"):
        check_output(tmp_path, overwrite=True)


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(OutputError, match=r"Cannot make the folder .*a \(File exists\)"):
        check_output(tmp_path / "a" / "b.tif")


def test_an_operating_system_error_becomes_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"Cannot write .*a.txt \(No space left on device\); free some space"),
        atomic_path(tmp_path / "a.txt"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert contents(tmp_path) == {}


def test_a_block_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a.txt was not written"), atomic_path(tmp_path / "a.txt"):
        pass


def test_folders_in_use_stay(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), staging(tmp_path / "new" / "deep" / "a"):
        (tmp_path / "new" / "notes.txt").write_text("somebody else's")
        raise ValueError("x")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["notes.txt"]


def test_hidden_folders_are_left_out_of_what_gdal_says(tmp_path: Path) -> None:
    with staging(tmp_path / "a.tif") as outer, staging(outer / "a.tif") as inner:
        words = f"'{inner / 'scratch-a.tif'}' not recognized; see {tmp_path / '.config' / 'x'}"
        assert without_hidden(words) == f"'{tmp_path / 'scratch-a.tif'}' not recognized; see {tmp_path}/.config/x"
        (inner / "a.tif").write_text("new")
