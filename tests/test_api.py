"""The package as a table of contents."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from PIL import Image

import earthwords
from earthwords.errors import UsageError
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.refseg.load import assemble
from earthwords.synthetic import render_scene
from tests.conftest import TRANSFORM, write_raster
from tests.micro import patchwork
from tests.referring import micro_preset


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
        "train_change",
        "train_clip",
        "train_refer",
        "train_segment",
        "train_upsampler",
        "Segmenter",
        "open_scene",
    }
    assert names <= set(earthwords.__all__)


def test_names_are_what_they_say() -> None:
    from earthwords.geo.scene import open_scene
    from earthwords.inference.segment.segmenter import Segmenter
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
        "heavy = ('torch', 'rasterio', 'transformers', 'numpy', 'pyogrio', 'rich', 'jinja2'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_script_of_three_lines(micro: Path) -> None:
    preset = earthwords.load_preset("tiny")
    segmenter = earthwords.Segmenter.from_preset(preset, model=micro, device="cpu")
    result = segmenter.predict(patchwork(70, 90), ["building,roof", "road"])
    assert result.labels.shape == (70, 90)


CLASSES = [
    earthwords.Segmenter, earthwords.Referrer, earthwords.Embedder, earthwords.Upsampler, earthwords.Index,
    earthwords.SegmentationResult, earthwords.Assessment, earthwords.SearchResult,
    earthwords.SegmentationSet, earthwords.SegmentPreset,
]  # fmt: skip
LOADING = [cls.from_preset for cls in CLASSES[:4]] + [earthwords.Index.open]
VERBS = [
    earthwords.segment, earthwords.refer, earthwords.upsample, earthwords.assess, earthwords.classify, earthwords.index,
    earthwords.search,
]  # fmt: skip


def example(named: Any) -> str:
    """The code of the example in a docstring."""
    lines = (inspect.getdoc(named) or "").split("Example:\n")[1].splitlines()
    return "\n".join(line.strip()[4:] for line in lines if line.strip().startswith((">>>", "...")))


def test_classes_and_how_they_are_loaded_are_explained() -> None:
    for cls in CLASSES:
        assert example(cls)
    for function in (*LOADING, earthwords.Segmenter.predict, earthwords.Referrer.predict, earthwords.Index.search):
        doc = inspect.getdoc(function) or ""
        assert all(f"\n{title}:\n" in doc for title in ("Args", "Returns", "Raises")), function
        args = doc.split("Args:\n")[1].split("\n\n")[0]
        told = {name for names in re.findall(r"^    ([\w, ]+): ", args, flags=re.M) for name in names.split(", ")}
        assert told == inspect.signature(function).parameters.keys() - {"self", "cls"}, function


def fill(points: Path) -> None:
    """What a person does with drawn points."""
    frame = geopandas.read_file(points)
    frame["class"] = frame["stratum"]
    frame.to_file(points)


def test_examples_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one folder, in the order of the list, on a scene that every one of them finds there."""
    monkeypatch.chdir(tmp_path)
    scene = render_scene(height=96, width=120, gsd=0.5, theme="town", seed=3)
    for folder in ("", "photos", "scenes", "sets/dubai_mbrsc/images", "sets/dubai_mbrsc/masks"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for path in ("ortho.tif", "scenes/a.tif", "photos/a.tif"):
        write_raster(tmp_path / path, np.moveaxis(scene.image, -1, 0), photometric="RGB", transform=TRANSFORM)
    Image.fromarray(scene.image).save("sets/dubai_mbrsc/images/tile7_image_part_001.jpg")
    Image.fromarray(np.zeros(scene.labels.shape, np.uint8)).save("sets/dubai_mbrsc/masks/tile7_image_part_001.png")
    order = [*VERBS, *CLASSES]
    for named in order:
        if named is earthwords.Assessment:
            fill(Path("points.gpkg"))
        if named is earthwords.SearchResult:
            (tmp_path / "ships.gpkg").unlink()
        for there in ("map.tif", "found.gpkg"):
            (tmp_path / there).unlink(missing_ok=True)
        exec(compile(example(named), f"example of {named.__name__}", "exec"), {"earthwords": earthwords})
    assert {"out", "features.tif", "archive.index", "ships.gpkg", "polygons.gpkg"} <= {
        p.name for p in tmp_path.iterdir()
    }


def test_a_name_for_a_person(micro: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    windows = "windows of 64 px overlapping by 32"
    parts = f"weights {micro}, attention segearth, upsampler none"
    assert repr(segmenter) == f"Segmenter('micro': {parts}, {windows}, on cpu)"
    upsampler = earthwords.Upsampler.from_preset("bilinear", model=micro, device="cpu")
    assert repr(upsampler).startswith(
        f"Upsampler('bilinear': weights {micro}, features segearth, 16 channels, windows of"
    )
    embedder = earthwords.Embedder.from_preset(model=micro, device="cpu")
    assert f"weights {micro}, images of" in repr(embedder) and "to 16 numbers, on cpu" in repr(embedder)
    preset = replace(micro_preset(micro), lora_rank=0)
    referrer = earthwords.Referrer(assemble(preset, seed=1), preset, overlap=16)
    assert repr(referrer) == f"Referrer({preset.name!r}: words by {micro}, views of 64 px overlapping by 16, on cpu)"
    found = segmenter.predict(patchwork(70, 90), ["road", "water"])
    assert re.fullmatch(r"SegmentationResult\(70 x 90 pixels: road \d+\.\d%, water \d+\.\d%\)", repr(found))
