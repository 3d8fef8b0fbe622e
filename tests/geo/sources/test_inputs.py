"""Whatever a source is called, the files that it is read from are found, and no output takes the place of one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely

from earthwords.errors import UsageError
from earthwords.geo.sources.inputs import Inputs, files_of

MakeRaster = Callable[..., Path]


@pytest.fixture
def folder(make_raster: MakeRaster, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raster with overviews beside it, and other things that are read from it."""
    monkeypatch.chdir(tmp_path)
    make_raster(rng.integers(1, 255, (3, 60, 90), dtype=np.uint8), name="a.tif")
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open("a.tif", "r+") as dataset:
        dataset.build_overviews([2])
    rasterio.shutil.copy("a.tif", "v.vrt", driver="VRT")
    text = Path("v.vrt").read_text(encoding="utf-8")
    Path("deep").mkdir()
    Path("deep/w.vrt").write_text(text.replace(">a.tif<", ">../v.vrt<"), encoding="utf-8")
    Path("photo.tif").write_text(text, encoding="utf-8")
    Path("raw.bin").write_bytes(bytes(60 * 90))
    Path("raw.vrt").write_text(
        '<VRTDataset rasterXSize="90" rasterYSize="60"><VRTRasterBand dataType="Byte" band="1" '
        'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="1">raw.bin</SourceFilename>'
        "</VRTRasterBand></VRTDataset>",
        encoding="utf-8",
    )
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.write("a.tif")
    rasterio.shutil.copy("a.tif", "j.jpg", driver="JPEG", worldfile="YES")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("a.tif", {"a.tif", "a.tif.ovr"}),
        ("HERE/a.tif", {"a.tif", "a.tif.ovr"}),
        ("file://HERE/a.tif", {"a.tif", "a.tif.ovr"}),
        ("GTIFF_DIR:1:HERE/a.tif", {"a.tif", "a.tif.ovr"}),
        ("GTIFF_DIR:1:a.tif", {"a.tif", "a.tif.ovr"}),
        ("v.vrt", {"v.vrt", "a.tif", "a.tif.ovr"}),
        ("photo.tif", {"photo.tif", "a.tif", "a.tif.ovr"}),
        ("deep/w.vrt", {"w.vrt", "v.vrt", "a.tif", "a.tif.ovr"}),
        ("vrt://deep/w.vrt?bands=1", {"w.vrt", "v.vrt", "a.tif", "a.tif.ovr"}),
        ("raw.vrt", {"raw.vrt", "raw.bin"}),
        ("j.jpg", {"j.jpg", "j.jpg.aux.xml", "j.wld"}),
        ("/vsizip/z.zip/a.tif", {"z.zip"}),
        ("/vsizip/{HERE/z.zip}/a.tif", {"z.zip"}),
        ("zip+file://HERE/z.zip!a.tif", {"z.zip"}),
        ("/vsisubfile/0_100000,HERE/a.tif", {"a.tif", "a.tif.ovr"}),
        ('NETCDF:"HERE/a.tif":red', {"a.tif", "a.tif.ovr"}),
        ("https://example.org/a.tif", set()),
    ],
)
def test_files_of_a_source(folder: Path, source: str, files: set[str]) -> None:
    named = source.replace("HERE", str(folder))
    assert {path.name for path in files_of(named)} == files
    if "photo" not in source and source != "j.jpg":
        assert {path.name for path in files_of(named, ask=False)} == files, "without GDAL"


def test_the_text_of_a_vrt_is_a_source(folder: Path) -> None:
    text = (folder / "v.vrt").read_text(encoding="utf-8")
    assert {path.name for path in files_of(text)} == {"a.tif", "a.tif.ovr"}


def test_a_vrt_may_begin_with_a_long_remark(folder: Path) -> None:
    text = Path("v.vrt").read_text(encoding="utf-8")
    Path("v.vrt").write_text(f"<!--{'made by hand ' * 50}-->\n{text}", encoding="utf-8")
    with rasterio.open("v.vrt") as dataset:
        assert dataset.driver == "VRT"
    assert {path.name for path in files_of("v.vrt", ask=False)} == {"v.vrt", "a.tif", "a.tif.ovr"}


@pytest.mark.parametrize("output", ["a.tif", "hard.tif", "soft.tif", "deep/../a.tif", "v.vrt", "deep/w.vrt"])
def test_no_output_is_a_part_of_the_source(folder: Path, output: str) -> None:
    os.link("a.tif", "hard.tif")
    Path("soft.tif").symlink_to("a.tif")
    with pytest.raises(UsageError, match=r"would be lost; choose another DST"):
        Inputs(["deep/w.vrt"]).check(["new.tif", output])


def test_what_is_said(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"^a\.tif is the source itself and would be lost; choose another DST\.$"):
        Inputs(["a.tif"]).check([Path("a.tif")])
    with pytest.raises(UsageError, match=r"^a\.tif is one of the sources and would be lost"):
        Inputs(["a.tif", "j.jpg"]).check([Path("a.tif")])
    with pytest.raises(UsageError, match=r"^a\.tif is a file that v\.vrt is read from and would be lost"):
        Inputs(["v.vrt"]).check([Path("a.tif")])
    with pytest.raises(UsageError, match=r"^j\.wld is read as --classes and would be lost"):
        Inputs(["v.vrt"], others={"--classes": "j.wld", "--model": None, "--preset": "tiny"}).check([Path("j.wld")])


def test_what_lies_beside_an_output_goes_too(folder: Path) -> None:
    """A new `a.tif.ovr` or none would take the place of the old one, also where `a.tif` is new."""
    Path("a.tif").rename("b.tif")
    Path("v.vrt").write_text(Path("v.vrt").read_text(encoding="utf-8").replace("a.tif", "a.tif.ovr"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"^a\.tif\.ovr is a file that v\.vrt is read from"):
        Inputs(["v.vrt"]).check([Path("a.tif")])


def test_a_folder_that_is_replaced(folder: Path) -> None:
    Inputs(listed=["a.tif"]).check(["new.jsonl"], folders=["deep", "none"])
    with pytest.raises(UsageError, match=r"w\.vrt is the source itself"):
        Inputs(listed=["deep/w.vrt"]).check(["new.jsonl"], folders=["deep"])


def test_others_are_left_alone(folder: Path) -> None:
    Path("old.tif").write_bytes(Path("a.tif").read_bytes())
    Inputs(["v.vrt"], others={"--model": folder / "deep"}).check(["old.tif", "new/labels.tif", "raw.bin"])


def test_a_mask_with_values_is_a_file(folder: Path) -> None:
    with pytest.raises(UsageError, match="read as --mask"):
        Inputs(["j.jpg"], others={"--mask": "a.tif:3,8-10"}).check(["a.tif"])


# Formats that name files of which GDAL does not tell


def write_tiles(name: str, driver: str, *locations: str) -> None:
    outlines = shapely.to_wkb(np.array([shapely.box(10 * n, 0, 10 * n + 7, 5) for n in range(len(locations))]))
    texts = [np.array(["red"] * len(locations), object), np.array(locations, object)]
    pyogrio.raw.write(
        name, outlines, texts, ["colour", "place"], geometry_type="Polygon", crs="EPSG:32633", driver=driver
    )


@pytest.mark.parametrize("ask", [True, False])
def test_tiles_of_an_index_are_read_too(folder: Path, *, ask: bool) -> None:
    Path("deep/b.tif").write_bytes(Path("a.tif").read_bytes())
    write_tiles("deep/t.gti.gpkg", "GPKG", "b.tif", "../v.vrt")
    assert {p.name for p in files_of("deep/t.gti.gpkg", ask=ask)} == {
        "t.gti.gpkg", "b.tif", "v.vrt", "a.tif", "a.tif.ovr",
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"b\.tif is a file that deep/t\.gti\.gpkg is read from"):
        (Inputs(["deep/t.gti.gpkg"]) if ask else Inputs(listed=["deep/t.gti.gpkg"])).check(["deep/b.tif"])


@pytest.mark.parametrize(("name", "driver"), [("t.shp", "ESRI Shapefile"), ("t.gti.fgb", "FlatGeobuf")])
def test_a_tile_index_of_any_kind(folder: Path, name: str, driver: str) -> None:
    write_tiles(name, driver, "GTIFF_DIR:1:j.jpg")
    own = {"t.shp", "t.shx", "t.dbf", "t.prj", "t.cpg"} if name == "t.shp" else {name}
    tiles = own | {"j.jpg", "j.jpg.aux.xml"}
    assert {p.name for p in files_of(f"GTI:{name}")} == tiles
    Path("t.tif").write_text(
        f"<GDALTileIndexDataset><IndexDataset>{name}</IndexDataset><LocationField>place</LocationField>"
        "<Overview><Dataset>raw&#46;bin</Dataset></Overview></GDALTileIndexDataset>"
    )
    assert {p.name for p in files_of("t.tif")} == tiles | {"t.tif", "raw.bin"}


def test_an_mrf_is_of_several_files(folder: Path) -> None:
    rasterio.shutil.copy("a.tif", "m.mrf", driver="MRF", compress="DEFLATE")
    Path("c.mrf").write_text(
        '<MRF_META><CachedSource><Source>m.mrf</Source></CachedSource><Raster><Size x="90" y="60" c="3"/></Raster>'
        "</MRF_META>"
    )
    own = {"m.mrf", "m.idx", "m.pzp", "m.mrf.aux.xml"}
    assert {p.name for p in files_of("m.mrf")} == own
    assert {p.name for p in files_of("c.mrf", ask=False)} == own | {"c.mrf"}


def test_json_names_files(folder: Path) -> None:
    Path("s.json").write_text('{"stac_version": "1.0.0", "assets": {"red": {"href": "./j.jpg"}}}')
    assert {p.name for p in files_of("s.json", ask=False)} == {"s.json", "j.jpg", "j.jpg.aux.xml"}


@pytest.mark.parametrize(
    "spelled",
    [
        "&#106;.jpg", "&#x6a;.jpg", "<![CDATA[j.jpg]]>", "j<![CDATA[.jpg]]>", "j.jpg<!-- a remark -->",
        "&#106;&#46;jpg",
        "&lt;VRTDataset>&lt;a b='j.jpg'/>&lt;/VRTDataset>",
        "&lt;VRTDataset>&lt;a>&amp;#106;.jpg&lt;/a>&lt;/VRTDataset>",
    ],
)  # fmt: skip
def test_a_part_is_found_however_it_is_spelled(folder: Path, spelled: str) -> None:
    text = Path("v.vrt").read_text(encoding="utf-8")
    Path("v.vrt").write_text(text.replace(">a.tif<", f">{spelled}<"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"^j\.jpg is a file that v\.vrt is read from"):
        Inputs(listed=["v.vrt", "raw.vrt"]).check(["j.jpg"])


def test_parts_beside_the_file_behind_a_link(folder: Path) -> None:
    Path("far").mkdir()
    Path("far/m.vrt").symlink_to("../deep/w.vrt")
    assert {p.name for p in files_of("far/m.vrt", ask=False)} == {"m.vrt", "v.vrt", "a.tif", "a.tif.ovr"}


def test_a_vrt_with_entities_of_its_own_is_read_without_them(folder: Path) -> None:
    text = Path("v.vrt").read_text(encoding="utf-8").replace("<VRTDataset", "\n<VRTDataset", 1)
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    Path("v.vrt").write_text(f'<!DOCTYPE V [<!ENTITY l0 "j.jpg">{lines}]>{text}', encoding="utf-8")
    assert {"a.tif", "v.vrt"} <= {p.name for p in files_of("v.vrt", ask=False)}
