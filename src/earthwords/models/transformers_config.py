"""The configuration of a network of transformers (SAM, SigLIP, DINO) from its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import WeightsError, brief

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def folder_config(kind: type[PretrainedConfig], path: Path) -> Any:
    """The configuration of a folder.

    Raises:
        WeightsError: it is not of this kind.
    """
    try:
        with without_remarks():
            return kind.from_pretrained(path, local_files_only=True)
    except MemoryError:
        raise
    except Exception as error:  # validation raises classes of its own, by the kind of mistake
        raise WeightsError(f"{path} is not a folder of transformers' {kind.__name__}: {brief(error)}.") from error


@contextmanager
def without_remarks() -> Iterator[None]:
    """transformers remarks on odd configurations; what does not fit is told as an error later."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
