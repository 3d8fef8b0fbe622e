"""What images there are below the folder, and what each is."""

from __future__ import annotations

from typing import Any

from earthwords.errors import UsageError
from earthwords.serve.library import WORKSPACE, Library, note
from earthwords.serve.mcp.root import Root

MOST_LISTED = 200

LIST_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "below": {"type": "string", "default": "", "description": "A folder; default: all below the root."},
        "offset": {"type": "integer", "minimum": 0, "default": 0, "description": "Images to pass over."},
    },
    "additionalProperties": False,
}
DESCRIBE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"src": {"type": "string", "description": "An image, as list_images names it."}},
    "required": ["src"],
    "additionalProperties": False,
}


class FolderImages:
    """The images of a folder; may be asked by several threads."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._library = Library(root.path, root.path / WORKSPACE)

    def list(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Names, sizes, resolutions; as data and as text.

        Raises:
            UsageError: an argument is wrong.
        """
        below, offset = arguments.get("below") or "", arguments.get("offset") or 0
        if not isinstance(below, str) or not isinstance(offset, int) or offset < 0 or arguments.keys() - {
            "below", "offset",
        }:  # fmt: skip
            raise UsageError("list_images takes 'below', the name of a folder, and 'offset', a number from 0.")
        start = "" if below in ("", ".") else self.root.name_of(self.root.existing(below)) + "/"
        every = [raster for raster in self._library.all() if raster.name.startswith(start)]
        rows = [_row(self._library.about(raster)) for raster in every[offset : offset + MOST_LISTED]]
        left = max(0, len(every) - offset - len(rows))
        refused = self._library.refused()
        found = {"images": rows, "left": left, "left_out": dict(list(refused.items())[:20])}
        lines = [f"{row['name']}: {row['width']} x {row['height']} pixels, {_place(row)}" for row in rows]
        lines += [f"{left} more from offset {offset + len(rows)}."] if left else []
        return found, "\n".join(lines) or "There are no images below the folder."

    def describe(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Size, CRS, resolution, bands, day and notes of an image; as data and as text.

        Raises:
            UsageError, SourceError: there is no such image, or it is damaged.
        """
        from earthwords.geo.scene import open_scene
        from earthwords.geo.sources.served import facts_of

        if not isinstance(arguments.get("src"), str) or arguments.keys() != {"src"}:
            raise UsageError("describe_image takes 'src', the name of an image, and nothing else.")
        path = self.root.image(arguments["src"])
        facts = facts_of(path)
        with open_scene(str(path), offline=True) as scene:
            notes = list(dict.fromkeys((*scene.notes, *facts.notes)))
            grid = scene.native
            found: dict[str, Any] = {
                "name": self.root.name_of(path), "width": grid.width, "height": grid.height, "bands": facts.bands,
                "dtype": facts.dtype, "crs": facts.crs if facts.georeferenced else None,
                "gsd_m": grid.gsd_m if facts.georeferenced else None,
                "bounds": list(grid.bounds),
                "bounds_degrees": list(facts.bounds) if facts.georeferenced else None,
                "read_as_rgb": [
                    {"band": number, "name": name}
                    for number, name in zip(scene.choice.numbers, scene.bands, strict=False)
                ],
                "day": scene.date(),
                "notes": [{**note(text), "text": self.root.within(str(text))} for text in notes],
            }  # fmt: skip
        lines = [f"{found['name']}: {grid.width} x {grid.height} pixels, {facts.bands} bands, {_place(found)}"]
        return found, "\n".join([*lines, *(f"{n['kind'].capitalize()}: {n['text']}" for n in found["notes"])])


def _row(about: dict[str, Any]) -> dict[str, Any]:
    shown = ("name", "width", "height", "bands", "dtype", "crs", "gsd_m", "size_bytes", "notes")
    return {name: about[name] for name in shown}


def _place(row: dict[str, Any]) -> str:
    if row["crs"] is None:
        return "no place on the map"
    return f"{row['gsd_m']:.3g} m a pixel, {row['crs']}"
