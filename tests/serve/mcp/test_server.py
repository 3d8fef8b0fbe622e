"""The server over its standard streams, asked by the client of the SDK."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import MCPError
from PIL import Image

from earthwords.cli.app import run
from earthwords.serve.mcp.verbs import TOOLS
from tests.conftest import ROOT
from tests.serve.mcp.conftest import data_of, talk, text_of

if TYPE_CHECKING:
    from mcp import Client

WORDS = ["building,roof", "road", "trees", "grass", "water"]


def test_tools_images_a_map_and_its_resources(folder: Path) -> None:
    async def words(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == {"list_images", "describe_image", *(tool.name for tool in TOOLS)}
        for tool in tools.values():
            assert tool.description and tool.input_schema["additionalProperties"] is False
            assert all(each.get("description") for each in tool.input_schema.get("properties", {}).values()), tool.name
        assert tools["segment"].input_schema["required"] == ["src", "text"]
        assert not (await client.list_resources()).resources

        found = data_of(await client.call_tool("list_images", {}))
        assert [row["name"] for row in found["images"]] == ["dates/after.tif", "dates/before.tif", "town.tif"]
        about = data_of(await client.call_tool("describe_image", {"src": "town.tif"}))
        assert (about["height"], about["width"], about["bands"]) == (150, 200, 3) and about["crs"].startswith("EPSG:")
        for name in ("../outside.tif", "nothing.tif"):
            refused = await client.call_tool("describe_image", {"src": name})
            assert refused.is_error and str(folder) not in text_of(refused) and "\n" not in text_of(refused)
        assert (await client.call_tool("sgment", {})).is_error

        heard: list[tuple[float, str | None]] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, message))

        result = await client.call_tool("segment", {"src": "town.tif", "text": WORDS}, progress_callback=hear)
        answer = data_of(result)
        assert [row["name"] for row in answer["report"]["classes"]] == [*("building",), *WORDS[1:]]
        assert sum(row["area_m2"] for row in answer["report"]["classes"]) <= 150 * 200 * 0.25 * 1.01
        steps = [step for step, _ in heard]
        assert steps == sorted(set(steps)) and any("segmenting" in str(message) for _, message in heard)
        check_resources(folder, answer, [(r.uri, r.mime_type) for r in (await client.list_resources()).resources])
        for file in answer["files"]:
            if "uri" in file:
                check_content(folder / file["path"], (await client.read_resource(file["uri"])).contents[0])
        for uri in ("earthwords://results/../town.tif", "earthwords://results/%2e%2e/town.tif", "file:///etc/passwd",
                    "earthwords://results/" + answer["files"][0]["path"].removeprefix("results/")):  # fmt: skip
            with pytest.raises(MCPError):
                await client.read_resource(uri)
        again = await client.call_tool("segment", {"src": "town.tif", "text": WORDS})
        assert again.is_error and "exists" in text_of(again) and "`overwrite`" in text_of(again)

    talk(folder, words)


def check_resources(folder: Path, answer: dict[str, Any], listed: list[tuple[str, str | None]]) -> None:
    """What is listed are the report and the picture of the one result."""
    told = {file["uri"] for file in answer["files"] if "uri" in file}
    assert {uri for uri, _ in listed} == told
    assert sorted(str(kind) for _, kind in listed) == ["application/json", "image/png"]
    assert {file["path"].split("/")[0] for file in answer["files"]} == {"results"}
    assert all((folder / file["path"]).is_file() for file in answer["files"])
    report = next(folder / file["path"] for file in answer["files"] if file["kind"] == "report")
    notes = json.loads(report.read_text(encoding="utf-8"))["notes"]
    assert len(answer["notes"]) >= len(notes)


def check_content(path: Path, content: Any) -> None:
    """A resource is the file."""
    if path.suffix == ".json":
        assert json.loads(content.text) == json.loads(path.read_text(encoding="utf-8"))
    else:
        data = base64.b64decode(content.blob)
        assert data == path.read_bytes() and Image.open(io.BytesIO(data)).format == "PNG"


def children(folder: Path) -> list[str]:
    """Command lines of the verbs that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if "segment" in line and any(str(folder) in word for word in line):
            found.append(" ".join(line))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are told by /proc")
def test_a_cancelled_call_ends_its_process_and_goes_on(folder: Path) -> None:
    asked = {"src": "dates", "text": WORDS, "dst": "maps/dates"}

    async def words(client: Client) -> tuple[list[str], dict[str, Any]]:
        with anyio.CancelScope() as scope:

            async def hear(progress: float, total: float | None, message: str | None) -> None:
                if message is not None and message.startswith("segmenting: 1 of 2"):
                    assert children(folder)
                    scope.cancel()

            await client.call_tool("segment", asked, progress_callback=hear)
        assert scope.cancelled_caught
        with anyio.fail_after(60):
            while children(folder):
                await client.call_tool("list_images", {})  # it answers meanwhile
        kept = [path.name for path in (folder / "maps" / "dates").iterdir() if path.is_dir()]
        return kept, data_of(await client.call_tool("segment", asked))

    kept, answer = talk(folder, words)
    scenes = {scene["source"]: scene for scene in answer["report"]["scenes"]}
    assert sorted(kept) == [".batch.json.journal", "after"] and scenes.keys() == {"dates/after.tif", "dates/before.tif"}
    assert [scenes[name]["status"] for name in sorted(scenes)] == ["before", "done"]


def test_stdout_carries_the_protocol_alone(folder: Path) -> None:
    """By hand, in the oldest words: lines of JSON, and an end when the input ends."""
    client = {"name": "test", "version": "1"}
    asked = [
        {"id": 1, "method": "initialize",
         "params": {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "describe_image", "arguments": {"src": "town.tif"}}},
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "earthwords", "mcp", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, encoding="utf-8", env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    answers = []
    for message in asked:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        if "id" in message:
            answers.append(json.loads(process.stdout.readline()))
    process.stdin.close()
    rest = process.stdout.read()
    assert (process.wait(60), rest) == (0, "")
    assert [answer["id"] for answer in answers] == [1, 2] and answers[0]["result"]["serverInfo"]["name"] == "earthwords"
    assert answers[1]["result"]["structuredContent"]["name"] == "town.tif"


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert run(["mcp", str(folder)]) == 2
    assert (
        capsys.readouterr().err == 'earthwords: The server for assistants needs mcp: pip install "earthwords[mcp]".\n'
    )
