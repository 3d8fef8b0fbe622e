"""Each format on a tiny file written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from earthwords.data.annotations.boxes._common import How, read_classes
from earthwords.data.annotations.boxes.voc import parse
from earthwords.data.annotations.boxes.yolo import names_of_yaml
from earthwords.data.annotations.example import Annotated
from earthwords.data.captions.pipeline import detect
from earthwords.data.captions.records import READERS
from earthwords.errors import EarthwordsError, SourceError, UsageError
from earthwords.plugins import load
from tests.conftest import TRANSFORM, write_raster
from tests.micro import patchwork

HEIGHT, WIDTH = 40, 60


def image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patchwork(height, width)).save(path)
    return path


def read(source: Path, how: How | None = None, name: str = "auto") -> list[Annotated]:
    how = how or How()
    reader = load(READERS, detect(source) if name == "auto" else name, kind="format")
    return [example for item in reader.items(source, how) for example in reader.load(item, how)]


def seen(example: Annotated) -> list[tuple[str, list[float]]]:
    return list(zip(example.classes, example.boxes.tolist(), strict=True))


def coco(folder: Path) -> Path:
    image(folder / "images" / "a.png")
    image(folder / "images" / "b.png")
    boxes = [
        {"image_id": 7, "category_id": 2, "bbox": [10, 5, 20, 8]},
        {"image_id": 7, "category_id": 1, "bbox": [50, 30, 30, 30]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"image_id": 3, "category_id": 1, "segmentation": [[1, 2, 8, 2, 8, 9], [4, 4, 12, 5, 6, 6]]},
    ]
    told = {
        "images": [{"id": 7, "file_name": "b.png"}, {"id": 3, "file_name": "a.png"}],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "ship"}, {"id": 2, "name": "harbor"}],
    }
    path = folder / "annotations" / "instances_all.json"
    path.parent.mkdir()
    path.write_text(json.dumps(told))
    return path


def test_coco(tmp_path: Path) -> None:
    a, b = read(coco(tmp_path))
    assert (a.name, a.size) == ("a", (HEIGHT, WIDTH))
    assert seen(a) == [("ship", [1, 2, 12, 9])]
    assert seen(b) == [("harbor", [10, 5, 30, 13])], "the other one is more than 70 % outside"
    assert seen(read(tmp_path / "annotations" / "instances_all.json", How(visible=0.1))[1])[1][1] == [50, 30, 60, 40]


def test_classes_are_renamed_and_left_out(tmp_path: Path) -> None:
    source = coco(tmp_path)
    assert [e.classes for e in read(source, How(classes={"ship": "vessel,boat", "harbor": ""}))] == [
        ("vessel,boat",),
        (),
    ]
    assert [e.classes for e in read(source, How(classes={"*": ""}))] == [(), ()]


def voc(folder: Path, extra: str = "") -> Path:
    image(folder / "JPEGImages" / "x.y.png")
    (folder / "Annotations").mkdir()
    box = "<xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>12</ymax>"
    thing = f"<object><name> bridge</name><bndbox>{box}</bndbox></object>"
    text = f"<?xml version='1.0'?>{extra}<annotation>{thing}</annotation>"
    (folder / "Annotations" / "x.y.xml").write_text(text)
    return folder


def test_voc(tmp_path: Path) -> None:
    (only,) = read(voc(tmp_path))
    assert seen(only) == [("bridge", [0, 10, 20, 12])]
    assert only.image.endswith("x.y.png")


@pytest.mark.parametrize("extra", ["<!DOCTYPE a [<!ENTITY b 'c'>]>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>"])
def test_entities_are_refused(tmp_path: Path, extra: str) -> None:
    with pytest.raises(SourceError, match="declares a document type"):
        read(voc(tmp_path, extra))


@pytest.mark.parametrize("text", ["", "<a>", "<a></b>", "\0", "<?xml version='1.0' encoding='nowhere'?><a/>"])
def test_xml_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(SourceError, match="is not XML"):
        parse(tmp_path / "a.xml")


def test_dota(tmp_path: Path) -> None:
    image(tmp_path / "images" / "P1.png")
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "labelTxt" / "P1.txt").write_text(
        "imagesource:GoogleEarth\ngsd:0.146\n10 5 20 10 15 20 5 15 small-vehicle 0\n30.5 1 40 1 40 3 30.5 3 plane 1\n"
    )
    (only,) = read(tmp_path)
    assert seen(only) == [("small-vehicle", [5, 5, 20, 20]), ("plane", [30.5, 1, 40, 3])]


def test_yolo(tmp_path: Path) -> None:
    image(tmp_path / "images" / "train" / "a.png")
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("1 0.5 0.5 0.2 0.1\n0 0.1 0.2 0.3 0.2 0.3 0.6\n\n")
    with pytest.raises(UsageError, match="have no names"):
        read(tmp_path)
    (tmp_path / "data.yaml").write_text("path: .\nnames:\n  0: 'ship'\n  1: storage tank # round\nnc: 2\n")
    (only,) = read(tmp_path)
    assert [name for name, _ in seen(only)] == ["storage tank", "ship"]
    assert np.allclose(only.boxes, [[24, 18, 36, 22], [6, 8, 18, 24]])
    (tmp_path / "classes.txt").write_text("boat\ntank\n")
    assert read(tmp_path)[0].classes == ("tank", "boat")
    with pytest.raises(SourceError, match="class 1, which has no name"):
        read(tmp_path, How(classes={"0": "boat"}))


@pytest.mark.parametrize(
    "text",
    ["nc: 2\nnames: [a, 'b c']\n", "names:\n- a\n- b c\n", "names: {0: a, 1: b c}", 'names:\n  1: "b c"\n  0: a'],
)
def test_names_of_yaml(text: str) -> None:
    assert names_of_yaml(text) == {"0": "a", "1": "b c"}


def mask() -> np.ndarray:
    mask = np.full((HEIGHT, WIDTH), 9, np.uint8)
    mask[3:6, 4:10], mask[20:30, 30:31], mask[39, 59] = 0, 1, 1
    return mask


EXPECTED = [("building", [4, 3, 10, 6]), ("road", [30, 20, 31, 30]), ("road", [59, 39, 60, 40])]
COLOURS = {0: (60, 16, 152), 1: (110, 193, 228), 9: (155, 155, 155)}


def save_mask(path: Path, how: str) -> None:
    values = mask()
    if how == "colours":
        Image.fromarray(np.array([COLOURS.get(i, (0, 0, 0)) for i in range(10)], np.uint8)[values]).save(path)
    elif how == "16 bit":
        Image.fromarray(values.astype(np.uint16)).save(path)
    else:
        picture = Image.fromarray(values)
        if how == "palette":
            picture.putpalette([c for i in range(10) for c in COLOURS.get(i, (0, 0, 0))])
        picture.save(path)


@pytest.mark.parametrize("how", ["values", "palette", "colours", "16 bit"])
def test_masks(tmp_path: Path, how: str) -> None:
    image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    save_mask(tmp_path / "masks" / "a.png", how)
    with pytest.raises(UsageError, match="What the values"):
        read(tmp_path)
    table = {"classes": ["building", "road"], "palette": {"building": "#3C1098", "road": "#6EC1E4"}, "ignore": 255}
    (tmp_path / "classes.json").write_text(json.dumps(table))
    (only,) = read(tmp_path)
    assert seen(only) == EXPECTED
    assert seen(read(tmp_path, How(least=2))[0]) == EXPECTED[:2]


def test_tiles_of_masks_and_boxes(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    save_mask(tmp_path / "masks" / "a.png", "values")
    found = {e.name: seen(e) for e in read(tmp_path, How(tile=25, classes={"0": "building", "1": "road"}))}
    assert len(found) == 6, "two rows, three columns"
    assert found["a@0,0"] == [("building", [4, 3, 10, 6])]
    assert found["a@15,25"] == [("road", [5, 5, 6, 15])], "the last row of tiles is moved back to end at the border"
    assert found["a@15,35"] == [("road", [24, 24, 25, 25])]
    assert {e.size for e in read(tmp_path, How(tile=25, classes={"0": "x"}))} == {(25, 25)}


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png", HEIGHT, WIDTH + 1)
    (tmp_path / "masks").mkdir()
    save_mask(tmp_path / "masks" / "a.png", "values")
    with pytest.raises(SourceError, match=r"is 40 x 60 pixels, its image .* 40 x 61"):
        read(tmp_path, How(classes={"0": "x"}))


def geojson(folder: Path, make_crs: str | None = "EPSG:32640") -> Path:
    """A polygon of 10 x 20 pixels at row 5, column 20, and one mostly outside the tile of 32 pixels."""
    write_raster(folder / "town.tif", np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), photometric="RGB")

    def ring(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
        return [list(TRANSFORM @ p) for p in ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))]

    shapes = [("house", ring(20, 5, 30, 25)), ("shed", ring(31, 2, 41, 4)), ("", ring(1, 1, 3, 3))]
    features = [
        {"type": "Feature", "properties": {"kind": k, "n": 1}, "geometry": {"type": "Polygon", "coordinates": [r]}}
        for k, r in shapes
    ]
    crs = {"crs": {"type": "name", "properties": {"name": make_crs}}} if make_crs else {}
    path = folder / "town.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", **crs, "features": features}))
    return path


def test_polygons_over_a_raster(tmp_path: Path) -> None:
    path = geojson(tmp_path)
    with pytest.raises(UsageError, match="no column with classes"):
        read(path)
    with pytest.raises(UsageError, match="no column 'klass'; it has kind, n"):
        read(path, How(field="klass"))
    found = {e.name: e for e in read(path, How(field="kind", tile=32))}
    assert [(e.window.row, e.window.col) for e in found.values() if e.window] == [(0, 0), (0, 28), (8, 0), (8, 28)]
    assert found["town@0,0"].classes == ("house",)
    assert np.allclose(found["town@0,0"].boxes, [[20, 5, 30, 25]])
    assert np.allclose(found["town@8,0"].boxes, [[20, 0, 30, 17]])
    assert found["town@0,28"].classes == ("shed",), "20 % of the house are not enough"
    assert np.allclose(found["town@0,28"].boxes, [[3, 2, 13, 4]])
    assert set(read(path, How(classes={"*": "building"}))[0].classes) == {"building"}


def test_polygons_in_another_crs(tmp_path: Path) -> None:
    import geopandas

    path = geojson(tmp_path)
    frame = geopandas.read_file(path).to_crs("EPSG:4326")
    frame.to_file(tmp_path / "town.gpkg")
    (only,) = read(tmp_path / "town.gpkg", How(field="kind"))
    assert only.window is None and only.size == (HEIGHT, WIDTH)
    assert np.allclose(only.boxes, [[20, 5, 30, 25], [31, 2, 41, 4]], atol=0.01)


def test_rasters_of_other_types(tmp_path: Path) -> None:
    from earthwords.data.annotations.image_io import read_rgb

    data = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(1, HEIGHT, WIDTH)
    write_raster(tmp_path / "a.tif", data)
    Image.fromarray(data[0]).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        pixels = read_rgb(str(tmp_path / name))
        assert pixels.shape == (HEIGHT, WIDTH, 3) and pixels[0, 0].max() == 0 and pixels[-1, -1].min() == 255


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "coco": (coco, "annotations/instances_all.json"),
    "voc": (voc, "Annotations/x.y.xml"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"images": 1, "annotations": []}', "<annotation/>", "\x00\xff"])
def test_damaged_annotations(tmp_path: Path, name: str, text: str) -> None:
    make, where = BROKEN[name]
    source = make(tmp_path)
    (tmp_path / where).write_text(text, encoding="latin-1")
    if name == "voc" and text == "<annotation/>":
        assert read(source)[0].classes == ()
        return
    with pytest.raises(EarthwordsError):
        read(source, name=name)


def test_nothing_that_is_known(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"--format \(coco, dota, geojson, masks, voc, yolo\)"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c.txt", "a\n\nb c\n", {"0": "a", "2": "b c"}),
        ("c.json", '["a", "b"]', {"0": "a", "1": "b"}),
        ("c.json", '{"3": "a,b", "#FF00aa": "c"}', {"3": "a,b", "#ff00aa": "c"}),
        ("c.json", '{"classes": {"4": "a"}}', {"4": "a"}),
    ],
)
def test_tables_of_classes(tmp_path: Path, name: str, text: str, expected: dict[str, str]) -> None:
    (tmp_path / name).write_text(text)
    assert read_classes(tmp_path / name) == expected


@pytest.mark.parametrize("text", ["[]", "1", '{"a": 1}', "{}"])
def test_tables_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UsageError, match="names no classes"):
        read_classes(tmp_path / "c.json")


def test_a_rotated_grid(tmp_path: Path) -> None:
    """Boxes are those of the pixels, whichever way the grid is turned on the ground."""
    from earthwords.geo.vectors.polygons import raster_grid, read_polygons

    path = geojson(tmp_path)
    turned = TRANSFORM @ Affine.rotation(90)
    write_raster(tmp_path / "turned.tif", np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), transform=turned)
    shapes, said, field = read_polygons(str(path), raster_grid(str(tmp_path / "turned.tif")), field="kind")
    assert (said.tolist(), field) == (["house", "shed", ""], "kind")
    assert np.allclose(shapes[0].bounds, (5, -30, 25, -20))
