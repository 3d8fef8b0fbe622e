"""What a VRT may be made of."""

from __future__ import annotations

import html
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio

from earthwords.errors import SourceError
from earthwords.geo.scene import open_scene
from earthwords.geo.sources import vrt
from earthwords.geo.sources.network import Network
from earthwords.geo.sources.vrt import Inspector, Size, VrtPart, parts_of
from tests.geo.test_scene import whole

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
PROPERTIES = '<SourceProperties RasterXSize="13" RasterYSize="9" DataType="Byte" BlockXSize="13" BlockYSize="9"/>'


def source(name: str, *, relative: int = 1) -> str:
    inside = f'<SourceFilename relativeToVRT="{relative}">{html.escape(name)}</SourceFilename>'
    return f"<SimpleSource>{inside}<SourceBand>1</SourceBand>{PROPERTIES}</SimpleSource>"


def write(path: Path, *parts: str, head: str = "", band: str = "") -> Path:
    """Three bands of the same parts."""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{n}"{band}>{"".join(parts)}</VRTRasterBand>' for n in (1, 2, 3)
    )
    path.write_text(f'{head}<VRTDataset rasterXSize="13" rasterYSize="9">{bands}</VRTDataset>')
    return path


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    data = np.random.default_rng(3).integers(1, 250, (1, 9, 13), np.uint8)
    with rasterio.open(tmp_path / "tile.tif", "w", "GTiff", 13, 9, 1, dtype="uint8") as dataset:
        dataset.write(data)
    return tmp_path / "tile.tif"


def size_of(path: Path) -> Size:
    return Inspector(source=str(path), network=Network.NAMED, reaches=False).file(path)


def refused(path: Path, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        open_scene(path)
    assert str(path) in str(caught.value)


# Parts


def test_a_mosaic_is_read_as_before(tile: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "m.vrt", source("tile.tif"))
    with open_scene(path) as scene, rasterio.open(tile) as dataset:
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, np.repeat(dataset.read(), 3, axis=0))
    assert size_of(path) == Size(3, 1)


def test_parts_are_found_relative_to_the_file_behind_a_link(tile: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "photo.tif"
    link.symlink_to(write(tmp_path / "m.vrt", source("inner.vrt")))
    write(tmp_path / "inner.vrt", source("tile.tif"))
    assert size_of(link) == Size(9, 2)
    with open_scene(link) as scene:
        assert scene.read(whole(scene)).valid.all()


TRICKY = {
    "comment": "<SimpleSource><SourceFilename>far<!-- -->/near.tif</SourceFilename></SimpleSource>",
    "element": "<SimpleSource><SourceFilename>far<x/>/near.tif</SourceFilename></SimpleSource>",
    "attribute": '<SimpleSource SourceFilename="far"/>',
    "case": "<SimpleSource><sourcefilename>far</sourcefilename></SimpleSource>",
    "entity": "<SimpleSource><SourceFilename>&#102;ar</SourceFilename></SimpleSource>",
    "cdata": "<SimpleSource><SourceFilename><![CDATA[far]]></SourceFilename></SimpleSource>",
    "quotes": "<SimpleSource><SourceFilename relativeToVRT='0'>far</SourceFilename></SimpleSource>",
    "argument": '<Argument name="gain_dataset_filename_1">far</Argument>',
    "metadata": '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">far</MDI></Metadata>',
    "dem": "<RPCTransformer><DEMPath>far</DEMPath></RPCTransformer>",
    "warp": "<GDALWarpOptions><SourceDataset>far</SourceDataset></GDALWarpOptions>",
}


@pytest.mark.parametrize("name", TRICKY)
def test_parts_are_found_however_they_are_named(name: str) -> None:
    """Also where a plain mosaic's names are found by a glance."""
    for before in ("", source("tile.tif")):
        text = f"<VRTDataset><VRTRasterBand>{before}{TRICKY[name]}</VRTRasterBand></VRTDataset>".encode()
        assert "far" in {part.name for part in parts_of(text, "a.vrt")}


@pytest.mark.parametrize("relative", ['relativeToVRT="1"', 'relativeToVRT="0"', "", 'relativeToVRT="1" shared="0"'])
def test_a_glance_finds_what_a_careful_look_finds(relative: str) -> None:
    parts = "".join(f"<S><SourceFilename {relative}>t {i}.tif</SourceFilename></S>" for i in range(50))
    plain = f'<VRTDataset><VRTRasterBand subClass="x">{parts}</VRTRasterBand></VRTDataset>'.encode()
    careful = plain.replace(b"</VRTDataset>", b"<!-- --></VRTDataset>")
    assert vrt._plain_parts(careful) is None
    glance = vrt._plain_parts(plain.replace(b" >", b">"))
    assert glance == parts_of(careful, "a.vrt")
    assert glance == [VrtPart(f"t {i}.tif", 'relativeToVRT="1"' in relative, False) for i in range(50)]


# Bare bytes


def raw(name: str, *, relative: int = 1) -> str:
    offsets = "<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>13</LineOffset>"
    return f'<SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>{offsets}'


RAW = ' subClass="VRTRawRasterBand"'


@pytest.mark.parametrize("place", ["bytes.raw", "below/bytes.raw", "./below/../bytes.raw"])
def test_bare_bytes_beside_and_below_a_vrt_are_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / place).write_bytes(bytes(range(1, 118)))
    with open_scene(write(tmp_path / "r.vrt", raw(place), band=RAW)) as scene:
        assert scene.read_native(whole(scene)).data[0].ravel().tolist() == list(range(1, 118))


@pytest.mark.parametrize("how", ["above", "absolute", "link", "folder link", "process", "attribute", "case"])
def test_bare_bytes_elsewhere_are_refused(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(117))
    folder = tmp_path / "far" / "away"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    inside = {
        "above": raw("../../secret"),
        "absolute": raw(str(secret), relative=0),
        "link": raw("link"),
        "folder link": raw("up/secret"),
        "process": raw("secret", relative=0),
        "attribute": f'<x SourceFilename="{secret}"/>',
        "case": raw("../../secret"),
    }[how]
    path = write(folder / "r.vrt", inside, band=RAW.lower() if how == "case" else RAW)
    refused(path, "reads bare bytes of .*, which is not beside or below it")


def test_bare_bytes_deep_inside_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(117))
    (tmp_path / "far").mkdir()
    write(tmp_path / "far" / "r.vrt", raw("../secret"), band=RAW)
    refused(write(tmp_path / "m.vrt", source("far/r.vrt")), "reads bare bytes of")
    inline = (tmp_path / "far" / "r.vrt").read_text()
    refused(write(tmp_path / "i.vrt", source(inline)), "reads bare bytes of")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("deep.tif", inline.replace("../secret", str(tmp_path / "secret")))
    refused(write(tmp_path / "z.vrt", source(f"/vsizip/{tmp_path}/a.zip/deep.tif", relative=0)), "reads bare bytes of")
    with pytest.raises(SourceError, match="reads bare bytes of"):
        open_scene(f"/vsizip/{tmp_path}/a.zip/deep.tif")


# Depth and number


def chain(folder: Path, length: int, *, fan: int = 1) -> Path:
    """VRTs inside one another, each of which names the next `fan` times."""
    below = "tile.tif"
    for i in range(length):
        write(folder / f"{i}.vrt", source(below) * fan)
        below = f"{i}.vrt"
    return folder / below


def test_chains_are_bounded(tile: Path, tmp_path: Path) -> None:
    with open_scene(chain(tmp_path, vrt.MOST_DEPTH)) as scene:
        assert scene.read(whole(scene)).valid.all()
    refused(chain(tmp_path, vrt.MOST_DEPTH + 1), "a VRT of VRTs of VRTs, more than 6 inside one another")


def test_chains_that_meet_are_bounded_too(tile: Path, tmp_path: Path) -> None:
    """What was looked through at the top of a chain still counts at its end."""
    long = chain(tmp_path, vrt.MOST_DEPTH - 2)
    write(tmp_path / "a.vrt", source(long.name))
    write(tmp_path / "b.vrt", source("a.vrt"))
    refused(write(tmp_path / "m.vrt", source(long.name), source("a.vrt"), source("b.vrt")), "inside one another")


def test_a_page_of_text_that_takes_days_to_read_is_refused(tile: Path, tmp_path: Path) -> None:
    """40 names in each of five files are 100 million parts."""
    refused(chain(tmp_path, 5, fan=40), r"a VRT of more than 2,000,000 files, each counted as often as it is named")
    assert size_of(chain(tmp_path, 3, fan=10)) == Size(30**3, 3)


def test_circles_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "self.vrt", source("self.vrt")), "made of itself")
    write(tmp_path / "a.vrt", source("b.vrt"))
    refused(write(tmp_path / "b.vrt", source("./a.vrt")), "made of itself")
    (tmp_path / "link.vrt").symlink_to(tmp_path / "c.vrt")
    refused(write(tmp_path / "c.vrt", source("link.vrt")), "made of itself")


def test_a_text_without_end_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "large.vrt")
    with path.open("r+b") as file:
        file.truncate(vrt.MOST_BYTES + 1)
    refused(path, "a VRT of more than 512 MiB")


# What runs or unfolds


def test_python_is_never_run(tile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    proof = tmp_path / "proof"
    code = f"<PixelFunctionCode><![CDATA[open({str(proof)!r}, 'w')]]></PixelFunctionCode>"
    language = "<PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    inside = f"<PixelFunctionType>f</PixelFunctionType>{language}{code}{source('tile.tif')}"
    path = write(tmp_path / "p.vrt", inside, band=' subClass="VRTDerivedRasterBand"')
    refused(path, "computes pixels by Python code, which is never run")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "p.vrt")
    with pytest.raises(SourceError):
        open_scene(f"/vsizip/{tmp_path}/a.zip/p.vrt").read(whole(open_scene(tile, bands=[1, 1, 1])))
    assert not proof.exists()


def test_functions_of_gdals_own_are_fine(tile: Path, tmp_path: Path) -> None:
    inside = f"<PixelFunctionType>inv</PixelFunctionType>{source('tile.tif')}"
    text = write(tmp_path / "f.vrt", inside, band=' subClass="VRTDerivedRasterBand"').read_text()
    (tmp_path / "f.vrt").write_text(text.replace('dataType="Byte" band', 'dataType="Float32" band'))
    with open_scene(tmp_path / "f.vrt") as scene, rasterio.open(tile) as dataset:
        np.testing.assert_allclose(scene.read_native(whole(scene)).data[0], 1 / dataset.read(1), rtol=1e-6)


def test_definitions_that_unfold_are_refused(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
    )
    head = f"{laughs}]>"
    refused(write(tmp_path / "laughs.vrt", source("&j;").replace("&amp;", "&"), head=head), "definitions of its own")


@pytest.mark.parametrize("text", ["<VRTDataset>", "<VRTDataset><a></VRTDataset>", "<VRTDataset><a b=1/></VRTDataset>"])
def test_a_damaged_text_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.vrt").write_text(text)
    refused(tmp_path / "d.vrt", "is a damaged VRT|not a raster that GDAL can read")
    (tmp_path / "d.vrt").write_text(f"<!-- a remark -->{text}")
    refused(tmp_path / "d.vrt", "is a damaged VRT")


# What is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    refused(tmp_path / "pipe.tif", "is a pipe, not a file")
    with pytest.raises(SourceError, match=r"pipe\.tif is a pipe, not a file"):
        open_scene(write(tmp_path / "m.vrt", source("pipe.tif")))
    with pytest.raises(SourceError, match=r"/dev/zero is a device, not a file"):
        open_scene("/dev/zero")
    with pytest.raises(SourceError, match=r"/dev/zero is a device, not a file"):
        open_scene(write(tmp_path / "z.vrt", source("/dev/zero", relative=0)))


def test_a_missing_part_is_an_error_in_every_thread(tile: Path, tmp_path: Path) -> None:
    """GDAL's own threads lose such errors: the part would be zeros."""
    parts = "".join(
        f"<SimpleSource><SourceFilename relativeToVRT='1'>{name}</SourceFilename><SourceProperties RasterXSize='1500' "
        "RasterYSize='1500' DataType='Byte' BlockXSize='1500' BlockYSize='1'/><SrcRect xOff='0' yOff='0' xSize='1500' "
        f"ySize='1500'/><DstRect xOff='{1500 * i}' yOff='0' xSize='1500' ySize='1500'/></SimpleSource>"
        for i, name in enumerate(("here.tif", "gone.tif", "here.tif"))
    )
    with rasterio.open(tmp_path / "here.tif", "w", "GTiff", 1500, 1500, 1, dtype="uint8") as dataset:
        dataset.write(np.full((1, 1500, 1500), 7, np.uint8))
    path = write(tmp_path / "m.vrt", parts)
    text = path.read_text().replace('rasterXSize="13" rasterYSize="9"', 'rasterXSize="4500" rasterYSize="1500"')
    path.write_text(text)
    with open_scene(path) as scene, pytest.raises(SourceError, match=r"gone\.tif"):
        scene.read(whole(scene))
