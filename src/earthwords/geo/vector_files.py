"""Vector files that the user names: local ones, read without any connection, whatever else they point to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyogrio

from earthwords.errors import SourceError
from earthwords.geo.network import OFF
from earthwords.geo.vrt import describes_service, head_of

_lock = threading.Lock()


@contextmanager
def local_vectors(path: str | Path) -> Iterator[None]:
    """Read `path` inside the block: OGR's settings, which are those of the whole process, allow no connection.

    Raises:
        SourceError: `path` is no file of features, but tells where some are.
    """
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
