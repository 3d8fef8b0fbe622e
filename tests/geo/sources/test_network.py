"""What opens connections: nothing that was forbidden, and nothing that a local file points to without being asked."""

from __future__ import annotations

import contextlib
import html
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio._env import get_gdal_config

from earthwords.errors import EarthwordsError, SourceError, UsageError
from earthwords.geo.grids.footprints import read_area
from earthwords.geo.scene import open_scene
from earthwords.geo.sources.gdal_dataset import raster_shape, read_band
from earthwords.geo.sources.network import BLOCKED, Network, is_remote
from earthwords.geo.vectors.polygons import raster_grid, read_polygons
from earthwords.types import Window
from tests.geo.test_scene import Make, distinct, whole
from tests.servers import Listener

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.mark.parametrize(
    "name",
    [
        "http://h/a.tif", "HTTPS://h/a.tif", "s3://b/a.tif", "gs://b/a.tif", "ftp://h/a", "zip+https://h/a.zip!a.tif",
        "/vsicurl/http://h/a.tif", "/vsicurl?url=http%3A%2F%2Fh", "/vsis3/b/a.tif", "/vsis3_streaming/b/a.tif",
        "/vsiaz/b/a.tif", "/vsizip//vsicurl/http://h/a.zip/a.tif", "/vsigzip//vsigs/b/a.gz", "/vsinew/b/a.tif",
        "/vsisubfile/0_9,/vsicurl/http://h/a.tif", "vrt://http://h/a.tif?bands=1", "vrt:///vsis3/b/a.tif",
        'NETCDF:"http://h/a.nc":b', 'HDF5:"/vsis3/b/a.h5"://b', "GTIFF_DIR:1:/vsicurl/http://h/a.tif", "WMS:h", "wcs:h",
        'STACIT:"h.json"', "EEDAI:x", "PG:host=h", "<GDAL_WMS><ServerUrl>http://h</ServerUrl></GDAL_WMS>",
    ],
)  # fmt: skip
def test_names_of_what_is_on_a_network(name: str) -> None:
    assert is_remote(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.tif", "/data/a.tif", "C:\\a\\b.tif", "file:///a/b.tif", "zip://a.zip!b.tif", "/vsizip/a.zip/b.tif",
        "/vsigzip/a.gz", "/vsimem/a.tif", "/vsistdin/", "/data/vsicurl.tif", "/data/vsion/a.tif", "vrt://a.tif?bands=1",
        'NETCDF:"a.nc":b', 'HDF5:"a.h5"://b', "HDF5:a.h5://group/b", "GTIFF_DIR:1:a.tif", "GPKG:a.gpkg:b", "wms.tif",
    ],
)  # fmt: skip
def test_names_of_what_is_here(name: str) -> None:
    assert not is_remote(name)


# Traps: local files that send GDAL to a server

BAND = '<VRTRasterBand dataType="Byte" band="{n}">{inside}</VRTRasterBand>'
WMS = """<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow>
<UpperLeftX>-9</UpperLeftX><UpperLeftY>9</UpperLeftY><LowerRightX>9</LowerRightX><LowerRightY>-9</LowerRightY>
<TileLevel>1</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY></DataWindow><BandsCount>3</BandsCount>
<BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY></GDAL_WMS>"""
PROPERTIES = '<SourceProperties RasterXSize="64" RasterYSize="64" DataType="Byte" BlockXSize="64" BlockYSize="64"/>'

Trap = Callable[[Path, str], object]


def vrt_text(*names: str, kind: str = "SimpleSource", extra: str = "", properties: str = PROPERTIES) -> str:
    """Three bands of 64 x 64 pixels of each of some files."""
    parts = "".join(
        f"<{kind}><SourceFilename>{html.escape(name)}</SourceFilename><SourceBand>1</SourceBand>{properties}"
        '<SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/><DstRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
        + ("<Kernel><Size>3</Size><Coefs>0 0 0 0 1 0 0 0 0</Coefs></Kernel>" if kind.startswith("Kernel") else "")
        + f"</{kind}>"
        for name in names
    )
    bands = "".join(BAND.format(n=n, inside=parts) for n in (1, 2, 3))
    return f'<VRTDataset rasterXSize="64" rasterYSize="64">{extra}{bands}</VRTDataset>'


def vrt(*names: str, **how: str) -> Trap:
    """`{url}` in a name is the server's."""
    return lambda folder, url: (folder / "photo.tif").write_text(
        vrt_text(*(name.format(url=url, folder=folder) for name in names), **how)
    )


def plain(path: Path) -> Path:
    data = np.random.default_rng(1).integers(1, 250, (3, 64, 64), np.uint8)
    with rasterio.open(path, "w", "GTiff", 64, 64, 3, dtype="uint8") as dataset:
        dataset.write(data)
    return path


def mosaic(folder: Path, url: str) -> None:
    """Parts side by side, large enough for GDAL to read them by threads of its own."""
    parts = "".join(
        f"<SimpleSource><SourceFilename>/vsicurl/{url}/{i}.tif</SourceFilename><SourceBand>1</SourceBand>"
        '<SourceProperties RasterXSize="1500" RasterYSize="1500" DataType="Byte" BlockXSize="1500" BlockYSize="1"/>'
        f'<SrcRect xOff="0" yOff="0" xSize="1500" ySize="1500"/><DstRect xOff="{1500 * i}" yOff="0" xSize="1500" '
        'ySize="1500"/></SimpleSource>'
        for i in range(4)
    )
    bands = "".join(BAND.format(n=n, inside=parts) for n in (1, 2, 3))
    (folder / "photo.tif").write_text(f'<VRTDataset rasterXSize="6000" rasterYSize="1500">{bands}</VRTDataset>')


def masked(folder: Path, url: str) -> None:
    """A mask in a VRT, of an image that is here."""
    plain(folder / "own.tif")
    inside = f"<SimpleSource><SourceFilename>/vsicurl/{url}/m.tif</SourceFilename>{PROPERTIES}</SimpleSource>"
    mask = f'<MaskBand><VRTRasterBand dataType="Byte">{inside}</VRTRasterBand></MaskBand>'
    (folder / "photo.tif").write_text(vrt_text(str(folder / "own.tif"), extra=mask))


def mask_beside(folder: Path, url: str) -> None:
    """A .msk that is a VRT."""
    plain(folder / "photo.tif")
    flags = '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
    (folder / "photo.tif.msk").write_text(vrt_text(f"/vsicurl/{url}/m.tif", extra=flags))


def overview(folder: Path, url: str) -> None:
    """GDAL looks for overviews where a sidecar says."""
    data = np.random.default_rng(1).integers(1, 250, (3, 2500, 2500), np.uint8)
    with rasterio.open(folder / "photo.tif", "w", "GTiff", 2500, 2500, 3, dtype="uint8", nodata=0) as dataset:
        dataset.write(data)
    item = f'<MDI key="OVERVIEW_FILE">/vsicurl/{url}/o.tif</MDI>'
    text = f'<PAMDataset><Metadata domain="OVERVIEWS">{item}</Metadata></PAMDataset>'
    (folder / "photo.tif.aux.xml").write_text(text)


def warped(folder: Path, url: str) -> None:
    (folder / "photo.tif").write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="64" subClass="VRTWarpedDataset"><GeoTransform>0,1,0,0,0,-1'
        '</GeoTransform><VRTRasterBand dataType="Byte" band="1" subClass="VRTWarpedRasterBand"/><BlockXSize>64'
        "</BlockXSize><BlockYSize>64</BlockYSize><GDALWarpOptions><ResampleAlg>NearestNeighbour</ResampleAlg>"
        f"<SourceDataset>/vsicurl/{url}/w.tif</SourceDataset><BandList><BandMapping src='1' dst='1'/></BandList>"
        "</GDALWarpOptions></VRTDataset>"
    )


def zipped(folder: Path, url: str) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("deep.tif", vrt_text(f"/vsicurl/{url}/z.tif"))
    (folder / "photo.tif").write_text(vrt_text(f"/vsizip/{folder}/a.zip/deep.tif"))


def nested(folder: Path, url: str) -> None:
    (folder / "inner.tif").write_text(vrt_text(f"/vsicurl/{url}/n.tif"))
    (folder / "middle.tif").write_text(vrt_text(f"{folder}/inner.tif"))
    (folder / "photo.tif").write_text(vrt_text(f"vrt://{folder}/middle.tif?bands=1,2,3"))


def described(text: str, *, inside: bool = False) -> Trap:
    """A description of a service, itself or as a part."""

    def make(folder: Path, url: str) -> None:
        told = text.replace("{{", "{").replace("}}", "}").replace("{url}", url)
        (folder / ("part.xml" if inside else "photo.tif")).write_text(told)
        if inside:
            (folder / "photo.tif").write_text(vrt_text(f"{folder}/part.xml"))

    return make


def linked(folder: Path, url: str) -> None:
    (folder / "far").mkdir()
    (folder / "far" / "a.vrt").write_text(vrt_text(f"/vsicurl/{url}/l.tif"))
    (folder / "photo.tif").symlink_to(folder / "far" / "a.vrt")


def tile_index(folder: Path, url: str) -> None:
    table = {"location": np.array([f"/vsicurl/{url}/t.tif"], object)}
    pyogrio.raw.write(
        folder / "photo.gti.gpkg", shapely.to_wkb(np.array([shapely.box(0, 0, 64, 64)])),
        list(table.values()), list(table), geometry_type="Polygon", crs="EPSG:32633", driver="GPKG",
    )  # fmt: skip
    (folder / "photo.tif").write_text(
        f"<GDALTileIndexDataset><IndexDataset>{folder}/photo.gti.gpkg</IndexDataset><LocationField>location"
        "</LocationField><ResX>1</ResX><ResY>1</ResY><BandCount>3</BandCount><DataType>Byte</DataType>"
        "</GDALTileIndexDataset>"
    )


def stac(folder: Path, url: str) -> None:
    where = {"proj:shape": [64, 64], "proj:transform": [1, 0, 0, 0, -1, 64]}
    asset = {"href": f"{url}/s.tif", "type": "image/tiff; application=geotiff", "roles": ["data"], **where}
    item = {
        "stac_version": "1.0.0",
        "type": "Feature",
        "id": "a",
        "bbox": [0, 0, 1, 1],
        "collection": "c",
        "properties": {"proj:epsg": 32633},
        "assets": {"b": asset},
    }
    (folder / "photo.tif").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))


WCS = "<WCS_GDAL><ServiceURL>{url}/?</ServiceURL><Version>1.0.0</Version><CoverageName>a</CoverageName></WCS_GDAL>"
WMTS = "<GDAL_WMTS><GetCapabilitiesUrl>{url}/</GetCapabilitiesUrl></GDAL_WMTS>"

TRAPS: dict[str, Trap] = {
    "curl": vrt("/vsicurl/{url}/a.tif"),
    "streaming": vrt("/vsicurl_streaming/{url}/a.tif"),
    "http": vrt("{url}/a.tif"),
    "bare": vrt("/vsicurl/{url}/a.tif", properties=""),
    "kernel": vrt("/vsicurl/{url}/a.tif", kind="KernelFilteredSource"),
    "complex": vrt("/vsicurl/{url}/a.tif", kind="ComplexSource"),
    "zip on a server": vrt("/vsizip//vsicurl/{url}/a.zip/a.tif"),
    "part of a file": vrt("/vsisubfile/0_99,/vsicurl/{url}/a.tif"),
    "dap": vrt('NETCDF:"{url}/a.nc":b', properties=""),
    "inline": vrt(vrt_text("/vsicurl/{url}/a.tif")),
    "mosaic": mosaic,
    "mask": masked,
    "mask beside": mask_beside,
    "overview": overview,
    "warped": warped,
    "zipped": zipped,
    "nested": nested,
    "linked": linked,
    "tms": described(WMS),
    "tms as a part": described(WMS, inside=True),
    "wcs": described(WCS),
    "wmts": described(WMTS),
    "tile index": tile_index,
    "stac": stac,
}


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        yield server


def look(path: Path, **how: bool) -> EarthwordsError | None:
    """Open it as any verb does, and read a little of it."""
    try:
        with open_scene(path, bands=[1, 1, 1] if "warped" in path.read_text("latin-1") else None, **how) as scene:
            scene.read(Window(row=0, col=0, height=min(1400, scene.grid.height), width=min(1400, scene.grid.width)))
    except EarthwordsError as error:
        return error
    return None


@pytest.mark.parametrize("name", TRAPS)
def test_local_files_reach_nobody_unless_allowed(
    tmp_path: Path, listener: Listener, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TRAPS[name](tmp_path, listener.url)
    path = tmp_path / "photo.tif"
    failed = look(path)
    assert listener.connections == 0
    refused = look(path, offline=True)
    assert listener.connections == 0
    if name not in ("overview", "tile index"):
        assert failed is not None and "--allow-remote-parts" in str(failed)
        assert refused is not None and "parts that are read over the network" in str(refused)
        assert "--allow-remote-parts" not in str(refused)
    in_thread = threading.Thread(target=look, args=(path,))
    in_thread.start()
    in_thread.join()
    assert listener.connections == 0
    monkeypatch.setenv("NO_PROXY", "*")
    look(path)
    assert listener.connections == 0
    look(path, allow_remote_parts=True)
    assert listener.connections > 0 or name == "stac"  # the trap works; GDAL finds fault with the item before it asks


@pytest.mark.parametrize(
    "name", ["{url}/a.tif", "/vsicurl/{url}/a.tif", "vrt://{url}/a.tif?bands=1", "/vsizip//vsicurl/{url}/a.zip/a.tif"]
)
def test_named_servers_are_asked_unless_offline(listener: Listener, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = name.format(url=listener.url)
    with pytest.raises(UsageError, match=r"is read over the network, and nothing may be .--offline"):
        open_scene(source, offline=True)
    monkeypatch.setenv("EARTHWORDS_OFFLINE", "1")
    with pytest.raises(UsageError, match="is read over the network"):
        open_scene(source)
    assert listener.connections == 0
    monkeypatch.delenv("EARTHWORDS_OFFLINE")
    with pytest.raises(SourceError, match="Cannot open"):
        open_scene(source)
    assert listener.connections > 0


def test_a_mask_on_a_server_is_named_too(make_raster: Make, rng: np.random.Generator, listener: Listener) -> None:
    path = make_raster(distinct(rng, "uint8"))
    with pytest.raises(UsageError, match="is read over the network"):
        open_scene(path, mask=f"{listener.url}/m.tif", offline=True)
    assert listener.connections == 0
    with pytest.raises(SourceError, match=r"Cannot open http.*/m\.tif"):
        open_scene(path, mask=f"{listener.url}/m.tif")
    assert listener.connections > 0


def test_both_options_at_once_make_no_sense() -> None:
    with pytest.raises(UsageError, match="--offline forbids what --allow-remote-parts allows"):
        Network.allowed(offline=True, allow_remote_parts=True)


@pytest.mark.parametrize("read", [read_band, lambda path: raster_shape(str(path)), lambda path: raster_grid(str(path))])
def test_label_rasters_and_sizes_reach_nobody(tmp_path: Path, listener: Listener, read: Callable) -> None:
    vrt("/vsicurl/{url}/a.tif")(tmp_path, listener.url)
    with contextlib.suppress(SourceError):
        read(tmp_path / "photo.tif")
    with pytest.raises(UsageError, match="is read over the network"):
        read(f"{listener.url}/a.tif")
    assert listener.connections == 0


VECTORS = {
    "vrt": '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>/vsicurl/{url}/a.geojson</SrcDataSource>'
    "</OGRVRTLayer></OGRVRTDataSource>",
    "wfs": "<OGRWFSDataSource><URL>{url}/wfs</URL></OGRWFSDataSource>",
    "pipeline": '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read /vsicurl/{url}/a.geojson"}',
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector_files_reach_nobody(
    make_raster: Make, rng: np.random.Generator, tmp_path: Path, listener: Listener, name: str
) -> None:
    area = tmp_path / "area.geojson"
    area.write_text(VECTORS[name].replace("{url}", listener.url))
    grid = raster_grid(str(make_raster(distinct(rng, "uint8"))))
    for read in (read_area, lambda path: read_polygons(str(path), grid)):
        with pytest.raises(SourceError, match="holds no features but says where some are"):
            read(area)
    assert listener.connections == 0
    with contextlib.suppress(Exception):
        pyogrio.read_dataframe(area)
    assert listener.connections > 0  # without our care


def test_settings_of_one_thread_are_no_others(make_raster: Make, rng: np.random.Generator) -> None:
    """A program may read from servers in other threads while this one reads a local file with the network off."""
    path = make_raster(distinct(rng, "uint16", (3, 900, 1100)))
    seen: set[str | None] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(get_gdal_config("GDAL_HTTP_PROXY"))

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(5):
        with open_scene(path) as scene:
            scene.read(whole(scene))
            scene.date()
    done.set()
    thread.join()
    assert seen == {None}
    assert not any(BLOCKED in value for value in os.environ.values())
