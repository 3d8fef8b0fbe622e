"""What is read over a network, and what may be.

Whoever opens a raster says what it may reach (`Network`). Where that is nothing, GDAL is told so by settings that no
file can undo; where it is something, GDAL works in a process of its own (`remote.py`) and answers in time or not.
"""

from __future__ import annotations

import os
import re
from enum import Enum
from typing import Any

from earthwords.errors import SourceError, UsageError, printable

SERVICES = (
    "WMS:", "WMTS:", "WCS:", "IIP:", "AGS:", "OGCAPI:", "STACIT:", "STACTA:", "DAAS:", "EEDA:", "EEDAI:", "PLMOSAIC:",
    "PLSCENES:", "NGW:", "WFS:", "OAPIF:", "CSW:", "ES:", "CARTO:", "AMIGOCLOUD:", "PG:", "MYSQL:", "MSSQL:", "OCI:",
)  # fmt: skip
"""Prefixes of GDAL's drivers that ask a server."""

_REMOTE_FILES = {"curl", "s3", "gs", "az", "adls", "oss", "swift", "webhdfs", "hdfs"}
_LOCAL_FILES = {"mem", "zip", "gzip", "tar", "7z", "rar", "subfile", "sparse", "crypt", "cached", "stdin", "stdout"}
"""GDAL's file systems (`/vsiNAME/`) that reach a network, and those that do not by themselves."""
_LOCAL_SCHEMES = {"file", "vrt", "zip", "tar", "gzip"}
_FILE_SYSTEM = re.compile(r"/vsi([a-z0-9]+)(?:_streaming)?[/?]", re.IGNORECASE)
_SCHEME = re.compile(r"(?<![\w.])([a-z][a-z0-9+-]*)://", re.IGNORECASE)

BLOCKED = "earthwords-network-off"
"""A kind of proxy that there is not: curl gives up before it opens a socket."""

OFF: dict[str, str] = {
    "GDAL_HTTP_PROXY": f"{BLOCKED}://none",
    "GDAL_HTTPS_PROXY": f"{BLOCKED}://none",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": BLOCKED,
}
"""Settings under which GDAL reaches no server: the file systems have one file, which is none, and drivers a proxy that
is none (unless the environment's NO_PROXY names the server; the file systems do not care)."""


def offline_environment() -> dict[str, str | None]:
    """What `--offline` sets (None: takes away) in the environment of the process, for all libraries and children."""
    nobody = {"no_proxy": None, "NO_PROXY": None}  # without a network there is no way around a proxy either
    return {"EARTHWORDS_OFFLINE": "1", "PROJ_NETWORK": "OFF", **OFF, **nobody}


def is_offline() -> bool:
    """Whether the environment says EARTHWORDS_OFFLINE=1, which is `--offline` for every run."""
    return os.environ.get("EARTHWORDS_OFFLINE", "") not in ("", "0")


class Network(Enum):
    """What may be read over a network."""

    NONE = "none"
    """Nothing: `--offline`, and what must be local anyway."""
    NAMED = "named"
    """Sources that the user names; not what local files (a VRT, an index) point to."""
    PARTS = "parts"
    """Those too: `--allow-remote-parts`."""

    @classmethod
    def allowed(cls, *, offline: bool, allow_remote_parts: bool) -> Network:
        """From the options of those names, and EARTHWORDS_OFFLINE=1 in the environment.

        Raises:
            UsageError: both.
        """
        if offline and allow_remote_parts:
            raise UsageError("--offline forbids what --allow-remote-parts allows; leave one of them out.")
        return cls.NONE if offline or is_offline() else cls.PARTS if allow_remote_parts else cls.NAMED

    def as_options(self) -> dict[str, Any]:
        """The options of `open_scene`."""
        return {"offline": self is Network.NONE, "allow_remote_parts": self is Network.PARTS}

    def of_stored(self) -> Network:
        """The same for sources that the user does not name, but a file such as an index."""
        return self if self is Network.PARTS else Network.NONE

    def reaches(self, source: str) -> bool:
        """Whether GDAL may open connections to read `source`.

        Raises:
            UsageError: `source` is remote and may not be read.
        """
        if self is Network.NONE and is_remote(source):
            raise UsageError(
                f"{public(source)} is read over the network, and nothing may be (--offline, or an input that must be "
                "local); copy it to a local file first."
            )
        return self is Network.PARTS or (self is Network.NAMED and is_remote(source))

    def refusal(self, source: str, part: str) -> SourceError:
        """The error for a local file that points to what may not be read."""
        way = (
            "and nothing may be: copy the parts to local files first"
            if self is Network.NONE
            else "allow that by --allow-remote-parts (allow_remote_parts=True), if you trust who made it"
        )
        return SourceError(f"{source} has parts that are read over the network ({public(part)}); {way}.")


def is_remote(name: str) -> bool:
    """Whether GDAL reads `name` over a network: a URL, a network file system, a service; also deep inside a name."""
    first = _FILE_SYSTEM.match(name)
    return (
        any(scheme.lower() not in _LOCAL_SCHEMES for scheme in _SCHEME.findall(name))
        or any(system.lower() in _REMOTE_FILES for system in _FILE_SYSTEM.findall(name))
        or (first is not None and first[1].lower() not in _LOCAL_FILES)
        or name.lstrip().upper().startswith(SERVICES)
    )


def was_blocked(reason: str) -> bool:
    """Whether GDAL's words are about a server's files, or about the settings that keep it from them."""
    return BLOCKED in reason or any(system.lower() in _REMOTE_FILES for system in _FILE_SYSTEM.findall(reason))


def public(source: str) -> str:
    """`source` as text for people, without what follows a question mark in a URL: signatures belong into no output."""
    return printable(source.partition("?")[0] if "://" in source else source)
