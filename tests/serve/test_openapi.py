"""What `/openapi.json` describes is what the server does, by schemathesis."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.conftest import finish, start

CONFIG = """
[checks.negative_data_rejection]
# 413, too: a body that is too large is refused before it is read
expected-statuses = [400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 503]
"""


@pytest.mark.slow
def test_every_answer_is_described(folder: Path) -> None:
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("schemathesis is missing: pip install 'earthwords[dev]'")
    (folder / "schemathesis.toml").write_text(CONFIG)
    server = start(folder, "--offline", "--device", "cpu")
    try:
        argv = [
            sys.executable, "-m", "schemathesis.cli", "run", f"{server.address}/openapi.json", "-u", server.address,
            "-H", f"Authorization: Bearer {server.token}", "--exclude-path", "/api/events", "--max-examples", "4",
            "--seed", "3", "--checks", "all", "--phases", "coverage,fuzzing",
            "--exclude-checks", "positive_data_acceptance",  # such as words that say nothing: 422 is described
            "--generation-database", "none",
        ]  # fmt: skip
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "160"},
        )  # fmt: skip
        assert server.ask("/healthz")[0] == 200
    finally:
        finish(server)
    assert done.returncode == 0, done.stdout + done.stderr
