"""What a server has ready before it answers."""

from __future__ import annotations

import subprocess
import sys


def test_what_the_threads_of_tiles_import_is_there_before_they_begin() -> None:
    """Threads that import a library at the same time may find half of it: the first tiles were errors."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from earthwords.serve.app import create_app, new_state\n"
        "from earthwords.serve.state import ServeSettings\n"
        "create_app(new_state(ServeSettings(folder=Path('.'), workspace=Path('.'))))\n"
        "sys.exit(0 if 'rio_tiler.io' in sys.modules else 1)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
