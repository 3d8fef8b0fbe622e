"""The package as a table of contents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import earthwords
from earthwords.errors import UsageError
from tests.micro import patchwork


def test_every_name_is_there() -> None:
    for name in earthwords.__all__:
        value = getattr(earthwords, name)
        assert value is not None
        assert name == "__version__" or name in dir(earthwords)
    names = {
        "segment",
        "upsample",
        "Upsampler",
        "Referrer",
        "refer",
        "demo",
        "doctor",
        "list_models",
        "pull",
        "pairs",
        "expressions",
        "evaluate",
        "classify",
        "train_clip",
        "train_refer",
        "train_upsampler",
        "Segmenter",
        "open_scene",
    }
    assert names <= set(earthwords.__all__)


def test_names_are_what_they_say() -> None:
    from earthwords.geo.scene import open_scene
    from earthwords.inference.segmenter import Segmenter
    from earthwords.tasks.segment import segment

    assert earthwords.segment is segment
    assert earthwords.Segmenter is Segmenter
    assert earthwords.open_scene is open_scene
    assert issubclass(UsageError, earthwords.EarthwordsError)
    assert issubclass(earthwords.SegmentationResult, earthwords.Segmentation)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'segmnt'"):
        earthwords.segmnt  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, earthwords; earthwords.__version__; dir(earthwords); "
        "print([m for m in ('torch', 'rasterio', 'transformers', 'numpy', 'pyogrio', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_script_of_three_lines(micro: Path) -> None:
    preset = earthwords.load_preset("tiny")
    segmenter = earthwords.Segmenter.from_preset(preset, model=micro, device="cpu")
    result = segmenter.predict(patchwork(70, 90), ["building,roof", "road"])
    assert result.labels.shape == (70, 90)
