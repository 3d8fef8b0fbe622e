"""Paths that no file system takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command
from tests.tasks.conftest import names

LONG = "n" * 300


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
