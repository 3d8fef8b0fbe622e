"""`earthwords mcp`: the verbs as tools for assistants."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

from earthwords.errors import SourceError, UsageError
from earthwords.geo.sources.plain_files import SETTING
from earthwords.tasks import _options as opt


@opt.documented
def mcp(
    root: Annotated[Path, opt.option(opt.ARGUMENTS)] = Path("."),
    *,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
) -> None:
    """Let an AI assistant use the verbs on the rasters of a folder: a server of the Model Context Protocol.

    An assistant starts it and speaks with it over standard input and output (docs/mcp.md); it ends when its input does.
    Files outside of the folder are neither read nor written; results go below `results` in it.

    Args:
        root: Folder of the rasters and of the results.

    Returns:
        Nothing, when its input ends.

    Raises:
        SourceError: the folder is missing.
        UsageError: it is none, or the package of the extra is missing.

    Example:
        >>> earthwords.mcp("scenes")
    """
    folder = Path(root)
    if not folder.exists():
        raise SourceError(f"{folder} does not exist; name a folder with rasters.")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the folder that it lies in.")
    if importlib.util.find_spec("mcp") is None:
        raise UsageError('The server for assistants needs mcp: pip install "earthwords[mcp]".')
    os.environ[SETTING] = "1"  # for everything that opens sources, children too
    from earthwords.serve.mcp.server import run_server
    from earthwords.serve.mcp.settings import AssistantSettings

    run_server(AssistantSettings(folder=folder, device=device, offline=offline))
    if "mcp" in sys.orig_argv:  # the command: a thread still waits for input that does not come
        sys.stderr.flush()
        os._exit(0)
