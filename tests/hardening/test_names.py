"""Paths that no file system takes, and what GDAL would say besides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.hardening.mutate import tiff_entries
from tests.tasks.conftest import names

LONG = "n" * 300
GEO_ASCII = 34737


@pytest.mark.parametrize(
    "options", ["--model", "--templates", "--classes", "--preset", "--upsampler jbu --upsampler-weights", "SRC", "DST"]
)
def test_a_name_that_is_too_long(
    command: Command, scene_file: Path, micro: Path, tmp_path: Path, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, out = (LONG if options == place else path for place, path in (("SRC", scene_file), ("DST", "out")))
    words = [] if options == "--classes" else ["-t", "road"]
    more = [] if options in ("SRC", "DST") else [*options.split(), f"{LONG}.toml"]
    model = [] if options == "--model" else ["--model", micro]
    done = command("segment", source, out, "--quiet", "--tile-size", 64, *words, *model, *more)
    assert done.code in (1, 2)
    done.failed(done.code, "nnnn")
    assert "Unexpected failure" not in done.err and "too long" in done.err.lower()
    assert names(tmp_path) == set()


def test_the_remarks_of_gdal_stay_away(micro: Path, scene_file: Path, tmp_path: Path) -> None:
    """A GeoTIFF whose text tags are cut: GDAL prints several warnings about it."""
    damaged = bytearray(scene_file.read_bytes())
    start = next(start for tag, start, _ in tiff_entries(bytes(damaged)) if tag == GEO_ASCII)
    damaged[start + 4 : start + 8] = (2).to_bytes(4, "little")
    (tmp_path / "scene.tif").write_bytes(damaged)
    argv = [sys.executable, "-m", "earthwords", "segment", "scene.tif", "out.tif", "-t", "road", "--quiet"]
    argv += ["--tile-size", "64", "--model", str(micro)]
    environment = {name: value for name, value in os.environ.items() if name != "CPL_LOG"}
    ran = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert (ran.returncode, ran.stderr) == (0, "")
