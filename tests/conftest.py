"""What the upper layers need: a toy model, a georeferenced scene that hides no swapped axis, a clean cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, when huggingface_hub is imported

import numpy as np
import pytest
import rasterio
from affine import Affine

from earthwords.cli import main
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import SEGMENT_PRESETS
from earthwords.types import ClassName, Vocabulary
from tests.micro import patchwork, write_micro

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH = 130, 190
TRANSFORM = Affine(0.5, 0.0, 326_417.5, 0.0, -0.5, 2_781_133.0)
CRS = "EPSG:32640"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read from or left in the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARTHWORDS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a toy model, for `model=` and `--model`."""
    return write_micro(tmp_path_factory.mktemp("models") / "micro")


@pytest.fixture(scope="session")
def segmenter(micro: Path) -> Segmenter:
    """The toy model with small windows."""
    row = replace(SEGMENT_PRESETS["tiny"], name="micro", tile_size=64, overlap=32, blend="mean")
    return Segmenter.from_preset(row, model=micro, device="cpu")


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """`(row, col, 3)` uint8, 0 in all bands where nothing was observed: a corner and a slanted edge."""
    image = patchwork(HEIGHT, WIDTH)
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    image[(rows >= 100) & (cols < 45)] = 0
    image[cols - rows > 170] = 0
    return image


@pytest.fixture
def vocabulary() -> Vocabulary:
    """Three classes with colours of their own, one with a character that XML escapes."""
    rows = (("building", "roof"), (220, 60, 50)), (("road",), (120, 120, 130)), (("water & ice",), (31, 119, 220))
    return Vocabulary(classes=tuple(ClassName(names=names, colour=colour) for names, colour in rows))


def write_raster(path: Path, data: np.ndarray, **options: Any) -> Path:
    """`(band, row, col)` as a GeoTIFF of `CRS` and `TRANSFORM` unless told otherwise."""
    count, height, width = data.shape
    profile = {"driver": "GTiff", "crs": CRS, "transform": TRANSFORM, **options}
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=data.dtype, **profile) as dataset:
        dataset.write(data)
    return path


@pytest.fixture(scope="session")
def scene_file(tmp_path_factory: pytest.TempPathFactory, image: np.ndarray) -> Path:
    """`image` as a GeoTIFF of 0.5 m, nodata 0."""
    folder = tmp_path_factory.mktemp("scenes")
    return write_raster(folder / "scene.tif", np.moveaxis(image, -1, 0), nodata=0, photometric="RGB")


@pytest.fixture
def make_scene(tmp_path: Path) -> Callable[..., Path]:
    """`make_scene(data (band, row, col), name=..., **profile)`: a GeoTIFF in a folder of its own."""
    folder = tmp_path / "sources"

    def make(data: np.ndarray, *, name: str = "scene.tif", **options: Any) -> Path:
        folder.mkdir(exist_ok=True)
        return write_raster(folder / name, data, **options)

    return make


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str

    def failed(self, code: int, *fragments: str) -> None:
        """It ended with one sentence that holds the fragments, and no traceback."""
        assert self.code == code, self.err
        assert self.out == ""
        assert self.err.startswith("earthwords: ") and self.err.count("\n") == 1, self.err
        for fragment in fragments:
            assert fragment in self.err


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("segment", ...)`: run a command line in this process."""

    def run(*argv: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real rasters, where the machine has it."""
    folder = Path(os.environ.get("EARTHWORDS_DATA", ROOT.parent / "shared" / "data")) / "geotiff_demo"
    if not folder.is_dir():
        pytest.skip(f"no real rasters in {folder}; set EARTHWORDS_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The embedded weights, where they are built in."""
    folder = ROOT / "src" / "earthwords" / "assets" / "tiny"
    if not (folder / "config.json").exists():
        pytest.skip("the embedded weights are not built in: src/earthwords/assets/tiny is missing")
    return folder
