"""The plugin as a zip for QGIS (`make qgis`): the same bytes from the same sources.

python3 qgis/build.py dist/earthwords_qgis.zip
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PLUGIN = HERE / "earthwords_qgis"
SUFFIXES = (".py", ".txt", ".svg", "")
DAY = (1980, 1, 1, 0, 0, 0)
"""Of every file: when a file was written says nothing about it."""


def version() -> str:
    """Of the package."""
    text = (HERE.parent / "src" / "earthwords" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, flags=re.M)
    assert found is not None
    return found[1]


def contents() -> dict[str, bytes]:
    """Name in the zip to bytes; the metadata have the version of the package."""
    files = [path for path in sorted(PLUGIN.iterdir()) if path.is_file() and path.suffix in SUFFIXES]
    found = {f"{PLUGIN.name}/{path.name}": path.read_bytes() for path in files}
    name = f"{PLUGIN.name}/metadata.txt"
    found[name] = found[name].replace(b"version=dev\n", f"version={version()}\n".encode())
    found[f"{PLUGIN.name}/LICENSE"] = (HERE.parent / "LICENSE").read_bytes()
    return dict(sorted(found.items()))


def build(path: Path) -> None:
    """Write the zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents().items():
            info = zipfile.ZipInfo(name, DAY)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
