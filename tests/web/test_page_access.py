"""The page for everyone: on a phone, checked by axe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.web.running import Shown, expect
from tests.web.serving import Server


def violations(shown: Shown) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(shown.page).response["violations"]
    return [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]]


def test_axe_finds_nothing_in_any_state(shown: Shown) -> None:
    shown.go()
    expect(shown.page.locator(".card").first).to_be_visible()
    press = shown.page.keyboard.press
    states: dict[str, Callable[[], Any]] = {
        "list": lambda: None,
        "words": lambda: shown.open("harbour.tif").say("water,sea; road; qwertyuiop"),
        "view": lambda: shown.look(),
        "teach": lambda: (shown.tab("Teach"), press("m")),
        "change": lambda: shown.tab("Change").page.locator("#later").select_option(label="town.tif"),
        "history": lambda: (shown.page.locator("h1").click(), press("h")),
        "help": lambda: (press("Escape"), shown.page.locator("h1").click(), press("?")),
        "dark": lambda: (press("Escape"), shown.page.emulate_media(color_scheme="dark"), shown.tab("Words")),
    }
    found = {}
    for name, reach in states.items():
        reach()
        shown.page.wait_for_timeout(100)
        found[name] = violations(shown)
    assert found == {name: [] for name in states}
    shown.tab("Teach")
    press("Control+z")


def test_a_phone_has_the_panel_as_a_sheet(server: Server, browser: Any) -> None:
    with browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, locale="zh-CN") as context:
        shown = Shown(context.new_page(), server)
        shown.go().open("harbour.tif")
        expect(shown.page.locator("html")).to_have_attribute("lang", "zh-CN")
        map, panel = shown.page.locator(".gl").bounding_box(), shown.page.locator(".panel").bounding_box()
        assert map is not None and panel is not None
        assert panel["y"] > 300 and map["height"] > 300 and panel["width"] == 390
        assert shown.page.evaluate("() => document.documentElement.scrollWidth") == 390
        shown.page.get_by_role("button", name="缩小面板").click()
        lower = shown.page.locator(".panel").bounding_box()
        assert lower is not None and lower["y"] > panel["y"] + 100
        assert violations(shown) == []
        assert shown.complaints == []
