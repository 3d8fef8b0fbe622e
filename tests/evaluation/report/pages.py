"""Results that pages are made of, and pages as a browser reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image

from earthwords.evaluation.report.page import write_page
from earthwords.evaluation.results import ResultEntry

KNOWN = {
    "html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "article", "footer", "div",
    "h1", "h2", "h3", "h4", "p", "a", "b", "i", "span", "small", "abbr", "ul", "li", "dl", "dt", "dd", "figure",
    "figcaption", "img", "details", "summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "rect",
    "line", "text",
}  # fmt: skip


@dataclass
class Node:
    """An element."""

    name: str
    attributes: dict[str, str | None]
    inside: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.inside)

    def all(self, name: str = "", class_: str = "") -> list[Node]:
        """Every element below, in order, of a name and a class."""
        found = []
        for part in self.inside:
            if isinstance(part, Node):
                classes = (part.attributes.get("class") or "").split()
                if name in ("", part.name) and (not class_ or class_ in classes):
                    found.append(part)
                found += part.all(name, class_)
        return found

    def rows(self) -> list[list[str]]:
        """The text of a table's cells."""
        return [[cell.text for cell in row.inside if isinstance(cell, Node)] for row in self.all("tr")]


class Reader(HTMLParser):
    """A tree; elements that are not closed in turn are an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Node("", {})]
        self.feed(text)
        self.close()
        assert len(self.stack) == 1, f"not closed: {self.stack[-1].name}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"attributes given twice: {tag} {attrs}"
        node = Node(tag, dict(attrs))
        self.stack[-1].inside.append(node)
        if tag not in ("img", "meta"):
            self.stack.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().name == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.stack[-1].inside.append(data)


def read(folder: Path, entries: list[ResultEntry]) -> Node:
    """The page of entries, checked for what every page must be."""
    path = write_page(folder, entries, version="9.8")
    text = path.read_text(encoding="utf-8")
    assert path == folder / "report.html" and text.startswith("<!DOCTYPE html>\n")
    page = Reader(text).stack[0]
    assert {node.name for node in page.all()} <= KNOWN
    assert not [name for node in page.all() for name in node.attributes if name.startswith("on")]
    ids = [node.attributes["id"] for node in page.all() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    for node in page.all():
        for name in ("src", "href"):
            address = node.attributes.get(name)
            if address is None:
                continue
            if address.startswith("#"):
                assert address[1:] in ids
            else:
                assert ":" not in address and (folder / unquote(address)).is_file()
    for table in page.all("table"):
        heads = [cell for part in table.all("thead") for cell in part.all("th")]
        assert heads and all(head.text.strip() or head.attributes.get("colspan") for head in heads)
        assert table.all("caption")[0].text
        widths = {
            sum(int(c.attributes.get("colspan") or 1) for c in row.inside if isinstance(c, Node))
            for part in table.all("tbody")
            for row in part.all("tr")
        }
        assert len(widths) <= 1, "rows of different length"
    for image in page.all("img"):
        assert image.attributes["alt"]
    return page


def table(page: Node, caption: str) -> Node:
    """The only table whose caption begins so."""
    found = [each for each in page.all("table") if each.all("caption")[0].text.startswith(caption)]
    assert len(found) == 1, f"{len(found)} tables of {caption!r}"
    return found[0]


def scenes(
    task: str = "zero-shot", dataset: str = "meadows", model: str = "plain", scores: tuple[float, ...] = (75, 50)
) -> ResultEntry:
    """Figures of whole images."""
    figures: dict[str, Any] = {
        "images": "test split, 6",
        "top1": sum(scores) / len(scores) + 0.126,
        "top5": 99.5238,
        "mean_per_class": sum(scores) / len(scores),
        "per_class": list(scores),
        "confusion": [[3, 1], [1, 1]],
    }
    return ResultEntry(
        task=task, dataset=dataset, model=model, settings={"templates": "aerial", "scale": 0.123456},
        classes=("hay", "corn"), figures=figures, seconds=1.5,
    )  # fmt: skip


COUNTS = [[600, 250, 50, 100], [30, 60, 0, 10], [0, 0, 0, 0]]


SCORES = [["a", 12.0], ["b", 63.0], ["c", None], ["d", 64.9], ["e", 100.0], ["f", 0.0]]


def labelled(
    dataset: str = "meadows",
    model: str = "plain",
    *,
    miou: float = 41.0,
    classes: tuple[str, ...] = ("hay", "corn", "pond"),
    **more: Any,
) -> ResultEntry:
    """Figures of pixels."""
    tuned = {
        "threshold": 0.35, "mIoU": miou, "foreground_IoU": miou + 7, "aAcc": 66.25, "mAcc": 55.5, "mF1": 44.125,
        "boundary_IoU": None, "IoU": [62.5, 20.75, None], "precision": [95.2, 19.4, None],
        "recall": [60.0, 60.0, None], "F1": [73.6, 29.3, None],
    }  # fmt: skip
    figures = {
        "images": 1234, "metric": "mIoU", "tuned": tuned,
        "fixed": {**tuned, "threshold": 0.1, "mIoU": miou - 3.25, "foreground_IoU": miou + 1, "IoU": [51.2, 11.1]},
        "confusion": COUNTS, "image_scores": SCORES,
    }  # fmt: skip
    settings = {"preset": model, "weights": "abc"}
    if compared := re.fullmatch(r"(.+)\+(attention|bias)=(.+)", model, re.DOTALL):
        settings |= dict(zip(("base", "compare", "variant"), compared.groups(), strict=True))
    return ResultEntry(
        task="segmentation", dataset=dataset, model=model, settings=settings, classes=classes,
        figures={**figures, **more}, seconds=0.0,
    )  # fmt: skip


def published(value: float, *, verified: bool = True, metric: str = "mIoU", method: str = "segearth-ov") -> Any:
    source = "A paper" if verified else "A talk"
    return {"method": method, "value": value, "metric": metric, "source": source, "verified": verified}


def paint(folder: Path, name: str, size: tuple[int, int] = (7, 4)) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 80, 30)).save(folder / name)
    return name
