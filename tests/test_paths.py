"""Why no file can be read at a path: the true reason."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from earthwords.paths import trouble

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes differ")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a.tif")
    assert trouble(tmp_path / "a.tif") is None and trouble(tmp_path / "link") is None


@posix
def test_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.tif").symlink_to("/nowhere/gone.tif")
    Path("loop.tif").symlink_to("loop.tif")
    Path("folder").symlink_to("gone")
    assert trouble("x.tif") == "is a link to /nowhere/gone.tif, which does not exist"
    assert trouble("loop.tif") == "is a link that leads in a circle"
    assert trouble("folder/a.tif") == "does not exist: folder is a link to gone, which does not exist"


@posix
def test_parts_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.tif").touch()
    assert trouble("a.tif/b.tif") == "does not exist: a.tif is a file, not a folder"
    assert trouble("gone/b.tif") == "does not exist"
    assert trouble("n" * 300) == "is too long for a path"
    assert trouble("a\0b") == "is not a possible path"


@posix
def test_what_would_be_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    assert trouble(tmp_path / "pipe.tif") == "is a pipe, not a file"
    assert trouble("/dev/null") == "is a device, not a file"
    assert trouble(tmp_path) == "is a folder, not a file"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert trouble(tmp_path / "s") == "is a socket, not a file"


@posix
def test_rights(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    path = tmp_path / "closed" / "a.tif"
    path.touch(mode=0o000)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert trouble(path) == "may not be read (permission denied)"
    path.parent.chmod(0o000)
    try:
        assert trouble(path) == (f"cannot be reached: the folder {path.parent} may not be entered (permission denied)")
    finally:
        path.parent.chmod(0o700)
