"""The page in a browser: open an image, say words."""

from __future__ import annotations

import numpy as np

from tests.web.running import Shown, expect


def test_images_of_the_folder_are_listed_and_shown(shown: Shown) -> None:
    shown.go()
    expect(shown.page.locator(".card .name")).to_have_text(["harbour.tif", "plain.tif", "town.tif"])
    assert "token" not in shown.page.url
    shown.open("harbour.tif")
    picture = shown.picture()
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2000, "the map shows no image"
    centre = picture[picture.shape[0] // 2 - 40 :][:80, picture.shape[1] // 2 - 40 :][:, :80]
    assert centre.std() > 5


def test_an_image_without_a_place_says_so(shown: Shown) -> None:
    shown.go().open("plain.tif")
    expect(shown.page.locator(".notes .caution").first).to_contain_text("neither where it is")
    expect(shown.page.get_by_text("no georeference")).to_be_visible()


def test_words_become_classes_with_suggestions_and_warnings(shown: Shown) -> None:
    shown.go().open("town.tif")
    box = shown.page.locator("#words-input")
    box.press_sequentially("roa")
    expect(shown.page.get_by_role("option", name="road", exact=True)).to_be_visible()
    box.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", "offer-0")
    box.press("Escape")
    expect(shown.page.get_by_role("option")).to_have_count(0)
    box.fill("road, street")
    box.press("Enter")
    shown.say("qwertyuiop")
    expect(shown.page.locator(".chip")).to_have_count(2)
    expect(shown.page.locator(".chip").first).to_contain_text("road street")
    expect(shown.page.locator(".words .notes")).to_contain_text("qwertyuiop")
    box.press("Backspace")
    expect(shown.page.locator(".chip")).to_have_count(1)
