"""The page by the keyboard alone."""

from __future__ import annotations

from tests.web.running import Shown, expect


def test_everything_is_reached_by_keys(shown: Shown) -> None:
    page, press = shown.page, shown.page.keyboard.press
    shown.go()
    card = page.get_by_role("button", name="plain.tif")
    for _ in range(20):
        press("Tab")
        if card.evaluate("each => each === document.activeElement"):
            break
    press("Enter")
    expect(page.get_by_role("heading", name="plain.tif")).to_be_visible()
    press("/")
    page.keyboard.type("roof; road")
    press("Enter")
    expect(page.locator(".chip")).to_have_count(2)
    press("Enter")
    expect(page.get_by_role("heading", name="In this view", exact=True)).to_be_visible()
    page.get_by_role("tab", name="Words").focus()
    press("1")
    expect(page.get_by_role("button", name="Show roof")).to_have_attribute("aria-pressed", "true")
    press("ArrowRight")
    expect(page.get_by_role("tab", name="Teach")).to_be_focused()
    press("m")
    expect(page.locator(".marks summary")).to_have_text("Marks: 1")
    press("Control+z")
    expect(page.locator(".marks summary")).to_have_text("Marks: 0")
    press("ArrowLeft")
    press("e")
    expect(page.get_by_role("dialog", name="Export")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    press("?")
    expect(page.get_by_role("dialog", name="Help and shortcuts")).to_be_visible()
    press("Escape")
    shown.map.focus()
    press("ArrowRight")
    expect(page.locator(".readout")).to_be_visible()
    box = page.get_by_label("Least score of road")
    box.focus()
    press("Control+a")
    page.keyboard.type("1")
    press("Tab")
    expect(page.locator("[data-class='road'].class .area")).to_have_text("0 px")
