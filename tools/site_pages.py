"""Pages of the site that are not files of `docs/`, made while MkDocs builds it.

* `index.md` and `zh.md` are the READMEs, `reference.md` the names of `earthwords`, from their docstrings;
* `gallery.md` shows scenes that the package renders and what it makes of them, made anew by each build
  (`EARTHWORDS_GALLERY=no` leaves it without pictures, for a quick look);
* links to files outside `docs/` become plain names, and the one script that the theme would fetch from a server is
  taken from `tools/`: the site stands alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
READMES = {"index.md": "README.md", "zh.md": "README.zh-CN.md"}
FETCHED = "https://unpkg.com/iframe-worker/shim"
SHIM = "assets/javascripts/iframe_worker_shim.js"
_UNDER = "\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false"
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture of the gallery."""

    title: str
    command: str
    picture: str
    """Of what the command writes."""
    text: str


GALLERY = (
    Shown(
        title="Words to a map",
        command="demo {}",
        picture="preview.png",
        text="A scene that the package renders, and what the embedded model makes of five words.",
    ),
    Shown(
        title="What changed",
        command="demo {} --change",
        picture="preview.png",
        text="Two dates of a rendered scene, and the buildings that came and went between them.",
    ),
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for page, readme in READMES.items():
        files.append(File.generated(config, page, content=_home((ROOT / readme).read_text(encoding="utf-8"))))
    files.append(File.generated(config, SHIM, abs_src_path=str(ROOT / "tools/iframe_worker_shim.js")))
    files.append(File.generated(config, "reference.md", content=_reference()))
    pictures = [] if os.environ.get("EARTHWORDS_GALLERY") == "no" else [_picture(shown) for shown in GALLERY]
    for shown, picture in zip(GALLERY, pictures, strict=False):
        files.append(File.generated(config, _place(shown), content=picture))
    files.append(File.generated(config, "gallery.md", content=_gallery(with_pictures=bool(pictures))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Links that leave `docs/` keep their text and name the file."""
    here = Path(page.file.src_uri).parent

    def plain(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = target.partition("#")[0]
        if "://" in target or target.startswith(("#", "mailto:")) or not path:
            return match[0]
        inside = os.path.normpath(here / path).replace(os.sep, "/")
        if files.get_file_from_path(inside) is not None:
            return match[0]
        name = os.path.relpath(Path(config.docs_dir, here, path).resolve(), ROOT).replace(os.sep, "/")
        if not (ROOT / name).exists():
            return match[0]  # a broken link stays one, and the build says so
        return text if text.strip("`") == name else f"{text} (`{name}`)"

    return _LINK.sub(plain, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Search of pages that are opened from disk, without asking a server."""
    return output.replace(FETCHED, relative(SHIM, page.file.dest_uri))


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """The same of the page of what is not found."""
    return output.replace(FETCHED, f"/{SHIM}")


def relative(target: str, page: str) -> str:
    """A file of the site as a page of it names it."""
    return os.path.relpath(target, os.path.dirname(page) or ".").replace(os.sep, "/")


def _home(text: str) -> str:
    """A README as a page of the site: what it names below `docs/` lies beside it."""
    text = text.replace("](docs/", "](").replace('"docs/', '"')
    for page, readme in READMES.items():
        text = text.replace(f"]({readme})", f"]({page})")
    return re.sub(r"\]\((?!\w+:|#)([A-Z][\w.]*)\)", r"](../\1)", text)


def _reference() -> str:
    from earthwords import _CONTENTS

    parts = [
        "# Python",
        "Every verb is a function; models and results are classes, all from `import earthwords`.",
    ]
    for name, place in _CONTENTS.items():
        parts.append(f"## {name}\n\n::: {place.replace(':', '.')}{_UNDER}")
    return "\n\n".join(parts) + "\n"


def _place(shown: Shown) -> str:
    return f"images/gallery-{GALLERY.index(shown) + 1}.png"


def _picture(shown: Shown) -> bytes:
    """What a command of the gallery draws."""
    with tempfile.TemporaryDirectory() as folder:
        words = shown.command.format(Path(folder, "out")).split()
        subprocess.run([sys.executable, "-m", "earthwords", *words, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        return Path(folder, "out", shown.picture).read_bytes()


def _gallery(*, with_pictures: bool) -> str:
    parts = ["# Gallery", "Made by the build of this site, from scenes that the package renders."]
    for shown in GALLERY:
        command = f"    earthwords {shown.command.format('out')}"
        picture = f"![{shown.text}]({_place(shown)})" if with_pictures else "(No pictures were made.)"
        parts += [f"## {shown.title}", command, shown.text, picture]
    return "\n\n".join(parts) + "\n"
