"""Names of files, those of strangers too: nothing outside of the folder is read or written."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from earthwords.errors import EarthwordsError, SourceError, UsageError
from earthwords.serve.mcp.arguments import ToolArguments
from earthwords.serve.mcp.root import Root
from earthwords.serve.mcp.settings import AssistantSettings
from earthwords.serve.mcp.verbs import TOOLS, tool_named

HOSTILE = [
    "../outside.tif", "dates/../../outside.tif", "/etc/passwd", "~/town.tif", "@list.txt", "C:\\town.tif", "a\\..\\b",
    "\\\\host\\share\\a.tif", "https://example.org/a.tif", "/vsicurl/https://example.org/a.tif", "s3://bucket/a.tif",
    "file:///etc/passwd", "town.tif\0", "\0", "", " ", ".", ".git/config", "dates/.hidden/a.tif", "<VRTDataset/>",
    "\ud800.tif", "a" * 5000, "link.tif", "away/a.tif",
]  # fmt: skip


@pytest.fixture
def root(folder: Path) -> Root:
    (folder / "link.tif").symlink_to(folder.parent / "outside.tif")
    (folder / "away").symlink_to(folder.parent)
    return Root(folder)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(root: Root, name: str) -> None:
    with pytest.raises(EarthwordsError):
        root.image(name)
    if name not in ("a" * 5000,):
        with pytest.raises(UsageError):
            root.new(name)


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.files], ids=lambda tool: tool.name)
@pytest.mark.parametrize("name", ["../outside.tif", "/etc/passwd", "https://example.org/a.tif", "link.tif", "x\0y"])
def test_every_argument_that_is_a_file_is_checked(root: Root, tool: object, name: str) -> None:
    arguments = ToolArguments(tool)  # type: ignore[arg-type]
    good = {"before": "dates/before.tif", "after": "dates/after.tif", "src": "town.tif", "map": "town.tif"}
    for option in arguments.options.values():
        if option.parameter not in tool.files:  # type: ignore[attr-defined]
            continue
        given = {name: good.get(name, "town.tif") for name in arguments.tool.arguments}
        given |= {"text": ["road"]} if "text" in arguments.tool.needs else {}
        given |= {"scenes": ["town.tif"]} if tool.name == "teach" else {}  # type: ignore[attr-defined]
        given[option.name] = name
        for place in ("src", "archive"):
            if place in given and tool.name in ("classify", "index"):  # type: ignore[attr-defined]
                given[place] = [given[place]]
        if option.name in ("scenes", "like", "unlike"):
            given[option.name] = [name]
        with pytest.raises(EarthwordsError):
            arguments.call(given, root, AssistantSettings(folder=root.path))


def test_a_vrt_and_what_says_where_features_are(root: Root) -> None:
    source = f"<SourceFilename>{root.path.parent / 'outside.tif'}</SourceFilename>"
    (root.path / "a.vrt").write_text(f"<VRTDataset>{source}</VRTDataset>", encoding="utf-8")
    (root.path / "a.tif").write_text(f"<VRTDataset>{source}</VRTDataset>", encoding="utf-8")
    (root.path / "a.gpkg").write_text("<OGRVRTDataSource/>", encoding="utf-8")
    (root.path / "a.geojson").write_text("<OGRVRTDataSource/>", encoding="utf-8")
    steps = '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read /etc/a.gpkg"}'
    (root.path / "b.geojson").write_text(" " * 70 + steps, encoding="utf-8")
    for name in ("a.vrt", "a.tif"):
        with pytest.raises(SourceError, match="is no GeoTIFF, PNG, JPEG or JPEG 2000"):
            root.image(name)
    for name in ("a.gpkg", "a.geojson", "b.geojson", "town.tif"):
        with pytest.raises(UsageError, match="is no GeoPackage"):
            root.vectors(name)
    (root.path / "c.geojson").write_text('{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    assert root.vectors("c.geojson") == root.path / "c.geojson"
    sqlite3.connect(root.path / "c.gpkg").execute("CREATE TABLE a (b)").connection.close()
    assert root.vectors("c.gpkg").suffix == ".gpkg"


def test_a_link_inside_of_a_folder(root: Root) -> None:
    inner = root.path / "many"
    inner.mkdir()
    (inner / "a.tif").symlink_to(root.path / "town.tif")
    assert root.images("many") == inner, "within the folder links may lead anywhere"
    (inner / "b.tif").symlink_to(root.path.parent / "outside.tif")
    with pytest.raises(UsageError, match=r"many/b.tif is a link that leads out of the folder"):
        root.images("many")


def test_where_is_written(root: Root) -> None:
    settings = AssistantSettings(folder=root.path)
    segment = ToolArguments(tool_named("segment"))
    asked = {"src": "town.tif", "text": ["-road", "building,roof"], "bounds": [-1, -2, 3, 4.5], "min_area": 2}
    call = segment.call(asked, root, settings)
    again = segment.call({**asked, "overwrite": True}, root, settings)
    assert call.dst == again.dst, "the same call goes on in the same place"
    assert call.dst is not None and call.dst.parent == root.results
    assert call.dst != segment.call({**asked, "min_area": 3}, root, settings).dst
    assert "--overwrite=True" not in again.argv and "--overwrite" not in call.argv and "--overwrite" in again.argv
    assert "--text=-road" in call.argv and "--min-area=2.0" in call.argv
    assert call.argv[call.argv.index("--bounds") + 1 :][:4] == ["-1.0", "-2.0", "3.0", "4.5"]
    assert segment.call({**asked, "dst": "maps/a.gpkg"}, root, settings).dst == root.path / "maps" / "a.gpkg"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"src": "town.tif"}, "segment needs text: A class to look for"),
        (
            {"src": "town.tif", "text": ["a"], "treshold": 0.5},
            "takes no argument 'treshold'. Did you mean 'threshold'?",
        ),
        ({"src": "town.tif", "text": "road"}, "text: Input should be a valid list"),
        ({"src": "town.tif", "text": ["a"], "threshold": "high"}, "threshold"),
        ({"src": "town.tif", "text": ["a"], "bounds": [1, 2]}, "bounds"),
        ({"src": "town.tif", "text": ["a\0b"]}, "text holds a letter that is none"),
        ({"src": "town.tif", "text": ["a" * 70_000]}, "text is too long"),
        ({"src": "town.tif", "text": ["a"], "mask": "../outside.tif"}, "leads out of the folder"),
        ({"src": "town.tif", "text": ["a"], "mask": "a;b"}, "neither a file nor the name of a band"),
        ({"src": "twon.tif", "text": ["a"]}, "twon.tif does not exist. Did you mean"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(list(value)[-1]),
)
def test_one_sentence_about_wrong_arguments(root: Root, given: dict[str, object], sentence: str) -> None:
    with pytest.raises(EarthwordsError) as caught:
        ToolArguments(tool_named("segment")).call(given, root, AssistantSettings(folder=root.path))
    assert sentence in root.within(str(caught.value)) and "\n" not in str(caught.value)
    assert str(root.path) not in root.within(str(caught.value))


def test_a_preset_of_the_folder_reaches_no_server(root: Root) -> None:
    segment = ToolArguments(tool_named("segment"))
    (root.path / "mine.toml").write_text('base = "tiny"\n', encoding="utf-8")
    asked, settings = {"src": "town.tif", "text": ["a"]}, AssistantSettings(folder=root.path)
    assert "--offline" in segment.call({**asked, "preset": "mine.toml"}, root, settings).argv
    assert "--offline" not in segment.call({**asked, "preset": "clearclip"}, root, settings).argv
    assert f"--preset={root.path / 'mine.toml'}" in segment.call({**asked, "preset": "mine.toml"}, root, settings).argv


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX's")
def test_a_pipe(root: Root) -> None:
    os.mkfifo(root.path / "pipe.tif")
    with pytest.raises(SourceError, match=r"pipe.tif is a pipe"):
        root.image("pipe.tif")
