"""Tensors to files: whole or not at all, and equal tensors make equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from earthwords.files.atomic import atomic_path
from earthwords.files.plaintext import utf8
from earthwords.files.reading import parse_json


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], *, about: Mapping[str, str]) -> None:
    """Write tensors of any device, replacing what is there.

    Args:
        about: the file's metadata, which safetensors itself would write in another order every time.

    Raises:
        OutputError: it cannot be written.
    """
    names = {utf8(name): utf8(value) for name, value in about.items()}
    blob = memoryview(save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}))
    stop = 8 + int.from_bytes(blob[:8], "little")  # https://github.com/huggingface/safetensors#format
    header = {"__metadata__": dict(sorted(names.items())), **parse_json(bytes(blob[8:stop]))}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path, overwrite=True) as part, part.open("wb") as file:  # `save_file` would hide it from others
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(blob[stop:])
