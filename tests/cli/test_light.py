"""What the embedded model does needs none of transformers, which takes seconds to load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import ROOT, write_raster

TOLD = """
import sys
from earthwords.cli import main

before, after, out = sys.argv[1:]
words = ["-t", "road", "-t", "water", "--device", "cpu", "--offline", "--quiet"]
for argv in (
    ["segment", before, out + "/map", *words],
    ["count", before, out + "/things.gpkg", *words],
    ["change", before, after, out + "/change", *words],
    ["classify", before, out + "/classes.csv", *words],
    ["suggest", before, out + "/next.gpkg", *words],
    ["index", before, out + "/index", "--quiet"],
):
    assert main(argv) == 0, argv
    loaded = {name.split(".")[0] for name in sys.modules}
    assert "torch" in loaded and "transformers" not in loaded, argv
"""


def test_verbs_with_the_embedded_model_load_no_transformers(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 255, (2, 3, 70, 90), np.uint8)
    before, after = (write_raster(tmp_path / f"{i}.tif", pixels[i]) for i in range(2))
    done = subprocess.run(
        [sys.executable, "-c", TOLD, str(before), str(after), str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
