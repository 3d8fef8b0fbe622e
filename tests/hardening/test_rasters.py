"""Rasters that say of themselves what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from earthwords.errors import SourceError
from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.scene import open_scene
from earthwords.types import Window

WHOLE = Window(row=0, col=0, height=9, width=13)
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def vrt(tmp_path: Path) -> Callable[..., Path]:
    """`vrt(head, band)`: 13 x 9 pixels, three bands of the same file."""
    data = np.random.default_rng(2).integers(1, 255, (3, 9, 13), np.uint8)
    with rasterio.open(tmp_path / "s.tif", "w", driver="GTiff", height=9, width=13, count=3, dtype="uint8") as out:
        out.write(data)

    def write(*, head: str = "", band: str = "", kind: str = "Byte", bands: int = 3, file: bytes = b"s.tif") -> Path:
        one = f'<VRTRasterBand dataType="{kind}" band="%d">{band}<SimpleSource><SourceFilename relativeToVRT="1">'
        rest = "</SourceFilename><SourceBand>%d</SourceBand></SimpleSource></VRTRasterBand>"
        parts = [(one % i).encode() + file + (rest % i).encode() for i in range(1, bands + 1)]
        text = b'<VRTDataset rasterXSize="13" rasterYSize="9">' + head.encode() + b"".join(parts) + b"</VRTDataset>"
        (tmp_path / "s.vrt").write_bytes(text)
        return tmp_path / "s.vrt"

    return write


@pytest.mark.parametrize(
    "numbers", ["5,0,0,7,0,0", "5,0.5,0,7,0,0", "5,1,2,7,2,4", "nan,1,0,7,0,-1", "5,1e999,0,7,0,-1", "1e40,1,0,7,0,-1"]
)
def test_pixels_without_an_area(vrt: Callable[..., Path], numbers: str) -> None:
    path = vrt(head=f"<SRS>EPSG:32640</SRS><GeoTransform>{numbers}</GeoTransform>")
    with open_scene(path) as scene:
        assert scene.grid.crs is None and scene.grid.transform == Affine.identity()
        assert "geotransform whose pixels have no area" in scene.notes[0]
        assert scene.read(WHOLE).valid.all()


UTM = (
    'PROJCS["x",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",{degree}]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
    'PARAMETER["central_meridian",{meridian}],PARAMETER["scale_factor",{scale}],UNIT["metre",{metre}]]'
)
GOOD = {"degree": "0.0174532925199433", "meridian": "57", "scale": "0.9996", "metre": "1"}


BAD = [(key, value) for key in ("degree", "metre", "scale") for value in ("0", "-1", "1e40", "1e300", "nan")]


@pytest.mark.parametrize(("key", "value"), [*BAD, ("degree", "0.9999999999"), ("meridian", "1e300")])
def test_a_crs_that_leads_nowhere(vrt: Callable[..., Path], key: str, value: str) -> None:
    wkt = UTM.format(**{**GOOD, key: value})
    path = vrt(head=f"<SRS>{wkt}</SRS><GeoTransform>326417.5,0.5,0,2781133,0,-0.5</GeoTransform>")
    with open_scene(path) as scene:
        gsd = scene.grid.gsd_m
        assert gsd is None or 0 < gsd < 1e15
        areas = PixelAreas(scene.grid).block(0, 9)
        assert np.isfinite(areas).all() and (areas > 0).all()


def test_a_remark_about_the_crs_is_no_failure(vrt: Callable[..., Path]) -> None:
    """GDAL says of this degree that it cannot be converted, and the next call would raise it."""
    wkt = UTM.format(**{**GOOD, "degree": "[]"})
    path = vrt(head=f"<SRS>{wkt}</SRS><GeoTransform>326417.5,0.5,0,2781133,0,-0.5</GeoTransform>")
    with open_scene(path) as scene:
        assert scene.grid.crs is None and scene.read(WHOLE).valid.all()


def test_sides_that_no_raster_has(vrt: Callable[..., Path]) -> None:
    path = vrt()
    path.write_text(path.read_text().replace('rasterYSize="9"', 'rasterYSize="99999999"'))
    with pytest.raises(SourceError, match=r"claims to be 99,999,999 x 13 pixels"):
        open_scene(path)


def test_a_missing_palette(vrt: Callable[..., Path]) -> None:
    path = vrt(band="<ColorInterp>Palette</ColorInterp>", bands=1)
    with pytest.raises(SourceError, match=r"the file has none; read it as grey with --bands 1,1,1"):
        open_scene(path)
    open_scene(path, bands=[1, 1, 1]).close()


TABLE = '<ColorInterp>Palette</ColorInterp><ColorTable><Entry c1="1" c2="2" c3="3" c4="255"/></ColorTable>'


@pytest.mark.parametrize("kind", ["Byte", "Int16", "UInt16", "Int32", "UInt32", "Float32", "Float64"])
def test_palettes_of_every_type(vrt: Callable[..., Path], kind: str) -> None:
    """Indices beyond the table are transparent; a table of 2^32 colours is never made."""
    path = vrt(band=TABLE, kind=kind, bands=1)
    with rasterio.open(path.with_name("s.tif"), "r+") as dataset:
        dataset.write(np.where(np.arange(9 * 13).reshape(9, 13) % 2, 0, 200).astype(np.uint8), 1)
    with open_scene(path) as scene:
        raster = scene.read_native(WHOLE)
        assert raster.data.dtype == np.uint8 and raster.data[:, raster.valid][:, 0].tolist() == [1, 2, 3]
        assert raster.valid.sum() == 9 * 13 // 2
        assert np.allclose(scene.read(WHOLE).data.max(axis=(1, 2)), np.array([1, 2, 3]) / 255)


def test_a_vrt_that_is_not_utf8(vrt: Callable[..., Path]) -> None:
    """GDAL's message about the missing file would get lost, and the scene be read as zeros."""
    with pytest.raises(SourceError, match="a VRT that is not UTF-8 text"):
        open_scene(vrt(file=b"\xe5.tif"))


def test_a_vrt_of_a_missing_file(vrt: Callable[..., Path]) -> None:
    with open_scene(vrt(file=b"missing.tif")) as scene, pytest.raises(SourceError, match=r"missing\.tif"):
        scene.read(WHOLE)


def test_signalling_nans_are_invalid_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    data = np.random.default_rng(3).random((3, 9, 13)).astype(np.float32)
    data.view(np.uint32)[:, 2, 3] = 0x7F800001
    with rasterio.open(tmp_path / "f.tif", "w", "GTiff", 13, 9, 3, dtype="float32") as out:
        out.write(data)
    with open_scene(tmp_path / "f.tif") as scene:
        assert not scene.read(WHOLE).valid[2, 3]
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]
