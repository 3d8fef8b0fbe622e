"""The server: lists tools and resources, runs calls, and speaks the protocol alone on standard output."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from earthwords import __version__
from earthwords.errors import EarthwordsError
from earthwords.serve.errors import problem_of
from earthwords.serve.mcp import resources
from earthwords.serve.mcp.answers import SCHEMA, answer_of, as_told, text_of
from earthwords.serve.mcp.arguments import ToolArguments
from earthwords.serve.mcp.images import DESCRIBE_SCHEMA, LIST_SCHEMA, FolderImages
from earthwords.serve.mcp.root import Root
from earthwords.serve.mcp.running import run
from earthwords.serve.mcp.settings import AssistantSettings
from earthwords.serve.mcp.verbs import TOOLS, VerbTool, tool_named

Context = ServerRequestContext[Any]
Look = Callable[[dict[str, Any]], tuple[dict[str, Any], str]]

INSTRUCTIONS = (
    "Earthwords finds what one names in satellite and aerial images. Files are named relative to one folder: begin "
    "with list_images and describe_image. Words are plain English, commas between synonyms, such as 'building,roof'; "
    "each text is a class. Results lie below results/ and are resources (report.json, preview.png). Every answer has "
    "notes: tell the cautions among them to the person who asked, they say what a result is worth. A call that was "
    "cancelled goes on from the blocks and scenes that were done when it is made again with the same arguments."
)


class Assistant:
    """What answers an assistant."""

    def __init__(self, settings: AssistantSettings) -> None:
        self.settings = settings
        self.root = Root(settings.folder)
        self.images = FolderImages(self.root)
        self.tools = {tool.name: ToolArguments(tool) for tool in TOOLS}
        self.looks: dict[str, Look] = {"list_images": self.images.list, "describe_image": self.images.describe}
        self._one = anyio.CapacityLimiter(1)
        """Of what loads a model."""

    async def list_tools(self, context: Context, params: Any) -> types.ListToolsResult:
        """All tools."""
        return types.ListToolsResult(tools=await anyio.to_thread.run_sync(self._described))

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Do what a tool does; what goes wrong is told in a sentence, as the tool's answer."""
        given = params.arguments or {}
        try:
            if (look := self.looks.get(params.name)) is not None:
                found, text = await anyio.to_thread.run_sync(look, given)
                return _answer(found, text)
            return await self._run(context, tool_named(params.name), given)
        except Exception as error:
            return _failure(as_told(problem_of(error).detail, self.root))

    async def list_resources(self, context: Context, params: Any) -> types.ListResourcesResult:
        """All results."""
        paths = await anyio.to_thread.run_sync(resources.listed, self.root)
        return types.ListResourcesResult(resources=[self._resource(path) for path in paths])

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """A result."""
        uri = str(params.uri)
        try:
            path = resources.path_of(uri, self.root)
            data = await anyio.to_thread.run_sync(path.read_bytes)
        except (EarthwordsError, OSError) as error:
            sentence = self.root.within(problem_of(error).detail)
            raise MCPError(types.INVALID_PARAMS, sentence, {"uri": uri}) from None
        kind = resources.TYPES[path.suffix.lower()]
        contents: types.TextResourceContents | types.BlobResourceContents
        if kind.startswith("image/"):
            blob = base64.b64encode(data).decode("ascii")
            contents = types.BlobResourceContents(uri=uri, mime_type=kind, blob=blob)
        else:
            contents = types.TextResourceContents(uri=uri, mime_type=kind, text=data.decode("utf-8", "replace"))
        return types.ReadResourceResult(contents=[contents])

    async def _run(self, context: Context, tool: VerbTool, given: dict[str, Any]) -> types.CallToolResult:
        """Run a verb, one that loads a model after the other."""
        arguments = self.tools[tool.name]
        call = await anyio.to_thread.run_sync(arguments.call, given, self.root, self.settings)
        if call.dst is not None:
            call.dst.parent.mkdir(parents=True, exist_ok=True)

        async def tell(stages: float, words: str) -> None:
            await context.session.report_progress(stages, None, self.root.within(words))

        async with self._one if tool.heavy else anyio.CapacityLimiter(1):
            ran = await run(call.argv, tell=tell, cwd=self.root.path)
        if ran.error is not None:
            return _failure(as_told(ran.error, self.root))
        answer = answer_of(ran, self.root, call.dst)
        links = [
            types.ResourceLink(**self._about(file["path"], file["uri"])) for file in answer["files"] if "uri" in file
        ]
        return _answer(answer, text_of(tool.name, answer), links, failed=ran.code != 0)

    def _described(self) -> list[types.Tool]:
        """Their names, arguments and meanings."""
        looks = [
            types.Tool(
                name="list_images", title="List the images of the folder", input_schema=LIST_SCHEMA,
                description="List the images below the folder with size, CRS, resolution and bands.",
                annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            ),
            types.Tool(
                name="describe_image", title="Describe an image", input_schema=DESCRIBE_SCHEMA,
                description="Tell size, CRS, resolution, bounds, bands and day of an image, and what is odd about it.",
                annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            ),
        ]  # fmt: skip
        return looks + [
            types.Tool(
                name=tool.name, title=tool.title, description=self.tools[tool.name].about,
                input_schema=self.tools[tool.name].schema, output_schema=SCHEMA,
                annotations=types.ToolAnnotations(
                    read_only_hint=not tool.writes, destructive_hint=tool.writes, open_world_hint=False
                ),
            )
            for tool in TOOLS
        ]  # fmt: skip

    def _resource(self, path: Any) -> types.Resource:
        uri = resources.uri_of(path, self.root)
        assert uri is not None
        return types.Resource(**self._about(self.root.name_of(path), uri))

    def _about(self, name: str, uri: str) -> dict[str, Any]:
        path = self.root.path / name
        kind = resources.TYPES[path.suffix.lower()]
        return {"name": name, "uri": uri, "mime_type": kind, "size": path.stat().st_size}


def create_server(settings: AssistantSettings) -> Server[Any]:
    """The server, not yet speaking with anybody."""
    assistant = Assistant(settings)
    return Server(
        "earthwords", version=__version__, title="earthwords", instructions=INSTRUCTIONS,
        on_list_tools=assistant.list_tools, on_call_tool=assistant.call_tool,
        on_list_resources=assistant.list_resources, on_read_resource=assistant.read_resource,
    )  # fmt: skip


def run_server(settings: AssistantSettings) -> None:
    """Speak over standard input and output until the input ends."""
    server = create_server(settings)

    async def speak() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(speak)


def _answer(found: dict[str, Any], text: str, links: Any = (), *, failed: bool = False) -> types.CallToolResult:
    content = [types.TextContent(type="text", text=text), *links]
    return types.CallToolResult(content=content, structured_content=found, is_error=failed)


def _failure(sentence: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=sentence)], is_error=True)
