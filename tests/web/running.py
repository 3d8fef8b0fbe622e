"""What a browser shows of a server."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="the page is not tested without playwright (pip install playwright)")

from playwright.sync_api import Locator, Page, expect

from tests.web.serving import DEADLINE_S, Server

expect.set_options(timeout=1000 * DEADLINE_S)


@dataclass
class Shown:
    """The page in a browser, and all that it asked for and complained about."""

    page: Page
    server: Server
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(1000 * DEADLINE_S)
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self._heard(message.type, message.text))

    def _asked(self, url: str) -> None:
        if not url.startswith("data:"):  # its icon, which nobody is asked for
            self.requests.append(url)

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "GPU stall" not in text:  # of reading pixels in software
            self.complaints.append(text)

    def go(self, link: str = "") -> Shown:
        """The address that was printed, or a link to something shown."""
        self.page.goto(link or self.server.address)
        expect(self.page.get_by_role("heading", name="earthwords")).to_be_visible()
        return self

    def open(self, name: str) -> Shown:
        self.page.get_by_role("button", name=name).click()
        expect(self.page.get_by_role("heading", name=name)).to_be_visible()
        self.settle()
        return self

    def say(self, words: str) -> Shown:
        self.page.locator("#words-input").fill(words)
        self.page.locator("#words-input").press("Enter")
        return self

    def look(self) -> dict[str, Any]:
        """Look at the view; what the server answered last."""
        with self.page.expect_response(exact, timeout=1000 * DEADLINE_S) as answer:
            self.page.locator("#look").click()
        expect(self.page.get_by_role("heading", name="In this view", exact=True)).to_be_visible()
        self.settle()
        view: dict[str, Any] = answer.value.json()
        return view

    def settle(self) -> None:
        """Until the map shows all that it asked for: nothing is asked and two pictures are equal."""
        before = self.picture()
        for _ in range(1000):
            count = len(self.requests)
            self.page.wait_for_timeout(120)
            after = self.picture()
            if count == len(self.requests) and np.array_equal(before, after):
                return
            before = after
        raise AssertionError("the map never comes to rest")

    @property
    def map(self) -> Locator:
        return self.page.locator(".gl canvas").first

    def picture(self) -> np.ndarray:
        """`(row, col, 3)` of the map as it is seen, without what lies over it."""
        box = self.page.locator(".gl").bounding_box()
        assert box is not None and box["height"] > 100
        shot = self.page.screenshot(clip={**box}, animations="disabled")
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def threshold(self, title: str, value: float) -> None:
        """Move the slider of a class as a person does who types a number."""
        box = self.page.get_by_label(f"Least score of {title}")
        box.fill(str(value))
        box.press("Tab")

    def row(self, title: str) -> Locator:
        return self.page.locator(f"[data-class='{title}'].class")

    def tab(self, name: str) -> Shown:
        self.page.get_by_role("tab", name=name).click()
        return self

    def job_strip(self, state: str) -> Locator:
        return self.page.locator(f".strip[data-state='{state}']")

    def strangers(self) -> list[str]:
        """Requests that went elsewhere."""
        own = (self.server.base, "blob:")
        return [url for url in self.requests if not url.startswith(own)]


def exact(response: Any) -> bool:
    """Whether it is the answer that is not the coarse one."""
    if not response.url.endswith("/api/views") or response.status != 200:
        return False
    return not response.json()["fast"]
