"""Every command run twice, in processes whose hashes differ: the same bytes, but for times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.verbs import contents, into, maps, others, trainings

SCRIPT = """
import json, sys
from earthwords.cli import main
from earthwords.inference.change.dense import PosteriorDifference
from earthwords.inference.windows import blocks

blocks.PIXELS = 32 * 190
PosteriorDifference.sides = (128,)
for name, argv in json.load(open(sys.argv[1])).items():
    assert main(argv) == 0, name
"""


def test_the_same_bytes(micro: Path, tmp_path: Path) -> None:
    lines = {**trainings(tmp_path, micro, steps=4), **maps(tmp_path, micro), **others(tmp_path, micro)}
    (tmp_path / "lines.json").write_text(
        json.dumps({name: into(argv, name.replace(" ", "-")) for name, argv in lines.items()})
    )
    running = []
    for seed in ("1", "2"):
        place = tmp_path / f"seed-{seed}"
        place.mkdir()
        environment = {
            **os.environ, "PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": "1760000000", "OMP_NUM_THREADS": "1",
            "EARTHWORDS_CACHE": str(tmp_path / f"cache-{seed}"),
        }  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "lines.json")]
        running.append(
            subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        )
    for process in running:
        _, said = process.communicate(timeout=900)
        assert process.returncode == 0, said.decode()
    first, second = (contents(tmp_path / f"seed-{seed}") for seed in ("1", "2"))
    assert {name.split("/")[0].split(".")[0] for name in first} == {name.replace(" ", "-") for name in lines}
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
