"""Completion of commands and options by the shell: cyclopts writes the script."""

from __future__ import annotations

from typing import Annotated, Literal

from earthwords.errors import UsageError
from earthwords.tasks import _options as opt


def completion(shell: Annotated[Literal["bash", "zsh", "fish", "powershell"] | None, opt.ARGUMENTS] = None) -> None:
    """Print a script that lets a shell complete commands, options and their values; nothing is changed.

    Args:
        shell: Default: the one that this runs in.

    Raises:
        UsageError: the shell cannot be told.
    """
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    from earthwords.cli.app import app

    try:
        print(app.generate_completion(shell=shell or detect_shell()))
    except ShellDetectionError as error:
        raise UsageError("The shell cannot be told; name it: earthwords completion bash (or zsh, fish).") from error
