"""What is offered in the place of a path that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from earthwords.errors import SourceError, UsageError
from earthwords.files.paths import check_folder, missing
from tests.conftest import Command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names that are alike, of files of several kinds and of folders."""
    for name in ("scene.txt", "scene1.qml", "scenes.tif.aux.xml", "scene_1.tif"):
        (tmp_path / name).write_text("x")
    for name in ("scenes", "scene.tif.d"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_images_are_offered_where_an_image_is_wanted(folder: Path) -> None:
    assert str(missing(folder / "scene.tif")) == (
        f"{folder / 'scene.tif'} does not exist. Did you mean '{folder / 'scene_1.tif'}'?"
    )
    (folder / "scene_1.tif").unlink()
    assert str(missing(folder / "scene.tif")).endswith("does not exist. Check the path.")


def test_folders_are_offered_where_a_folder_is_wanted(folder: Path) -> None:
    with pytest.raises(UsageError, match=rf"name the one that holds images\. Did you mean '{folder / 'scenes'}'\?"):
        check_folder(folder / "scene", what="images")
    with pytest.raises(UsageError, match=r"scene\.txt is not a folder"):
        check_folder(folder / "scene.txt", what="images")


def test_verbs_offer_what_they_take(command: Command, folder: Path) -> None:
    command("segment", folder / "scene.tif", folder / "out", "-t", "road").failed(1, f"'{folder / 'scene_1.tif'}'")
    command("data", "check", "loveda", folder / "scene").failed(2, f"Did you mean '{folder / 'scenes'}'?")
    with pytest.raises(SourceError, match="scene_1"):
        raise missing(folder / "scene-1.tif")
