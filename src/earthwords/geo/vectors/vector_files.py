"""Vector files that the user names: local ones, read without any connection, whatever else they point to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyogrio

from earthwords.errors import SourceError
from earthwords.geo.sources.gdal_names import check_waits
from earthwords.geo.sources.network import OFF
from earthwords.geo.sources.vrt import describes_service, head_of

_lock = threading.Lock()
_AT_ONCE = 2**16
"""Features."""


@contextmanager
def local_vectors(path: str | Path) -> Iterator[None]:
    """Read `path` inside the block: OGR's settings, which are those of the whole process, allow no connection.

    Raises:
        SourceError: `path` is no file of features, but tells where some are, or would be waited for.
    """
    check_waits(str(path))
    head = head_of(Path(path))
    if b"<OGRVRTDataSource" in head or describes_service(head):
        raise SourceError(f"{path} holds no features but says where some are; name their own file.")
    with _lock:
        before = {name: pyogrio.get_gdal_config_option(name) for name in OFF}
        pyogrio.set_gdal_config_options(OFF)
        try:
            yield
        finally:
            pyogrio.set_gdal_config_options(before)


def words_of(path: str | Path) -> Iterator[str]:
    """All that is text in a vector file: columns of all layers and their metadata, each once, such as where tiles are.

    Nothing of what is no vector file.
    """
    known: set[str] = set()
    with suppress(SourceError, OSError, ValueError, RuntimeError), local_vectors(path):
        for layer, _ in pyogrio.list_layers(path):
            about = pyogrio.read_info(path, layer=layer)
            for metadata in (about["dataset_metadata"], about["layer_metadata"]):
                known.update((metadata or {}).values())
            kinds = zip(about["fields"], about["dtypes"], strict=True)
            columns = [str(name) for name, kind in kinds if kind == "object"]
            for first in range(0, max(about["features"], 0), _AT_ONCE) if columns else ():
                part = {"skip_features": first, "max_features": _AT_ONCE}
                values = pyogrio.raw.read(path, layer=layer, columns=columns, read_geometry=False, **part)[3]
                known.update(value for column in values for value in column if isinstance(value, str))
    yield from sorted(known)
