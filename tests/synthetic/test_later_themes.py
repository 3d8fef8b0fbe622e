"""Later themes and conditions (floods, leafless woods, courtyards, metal roofs): labels agree with the drawing."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.errors import UsageError
from earthwords.synthetic import (
    CONDITIONS,
    DRAWN_THEMES,
    THEMES,
    Landscape,
    RenderedScene,
    render_pair,
    render_scene,
    usual_conditions,
)
from earthwords.synthetic.conditions import draw_conditions
from earthwords.synthetic.scene import LABEL
from earthwords.types import Window

LATER = tuple(theme for theme in THEMES if theme not in DRAWN_THEMES)
HEIGHT, WIDTH = 150, 210
GOLDEN = {
    "town": 1950281959,
    "arid-suburb": 1408425647,
    "farmland": 493754823,
    "forest": 1934400155,
    "coast": 1749617449,
    "harbour": 1718060716,
    "airport": 2721854088,
    "industrial": 2721854088,
    "river": 2644439771,
    "desert": 768701928,
    "lake-park": 3081588709,
    "commercial": 2367344882,
    "flats": 2963686513,
    "mountain": 2590667120,
    "stadium": 493754823,
    "sports": 2462115785,
    "solar-farm": 390797357,
    "parking": 379182613,
    "bridge": 215662072,
    "interchange": 1419351141,
    "storage-tanks": 3188090548,
    "village": 360528305,
    "railway": 565987479,
    "golf": 3877510334,
    "greenhouses": 811904403,
}
"""CRC-32 of the labels and instances of a small scene of each first theme, before there were later ones."""


def scene(
    theme: str, *, seed: int = 0, gsd: float = 0.5, height: int = HEIGHT, width: int = WIDTH,
    conditions: tuple[str, ...] | None = None,
) -> RenderedScene:  # fmt: skip
    return render_scene(height=height, width=width, gsd=gsd, theme=theme, seed=seed, conditions=conditions)


def at(rendered: RenderedScene, *titles: str) -> NDArray[np.bool_]:
    return np.isin(rendered.labels, [LABEL[title] for title in titles])


def mean_colour(rendered: RenderedScene, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    return rendered.image[where].mean(axis=0)


@pytest.mark.parametrize("theme", DRAWN_THEMES)
def test_first_themes_are_laid_out_as_before(theme: str) -> None:
    s = scene(theme, seed=5, gsd=0.6, height=60, width=90)
    assert zlib.crc32(s.labels.tobytes() + s.instances.tobytes()) == GOLDEN[theme]


def test_first_themes_know_no_special_conditions() -> None:
    for theme in DRAWN_THEMES:
        assert {usual_conditions(theme, seed=seed) for seed in range(9)} == {()}


def test_a_seed_alone_draws_a_first_theme() -> None:
    drawn = [render_scene(height=8, width=9, seed=seed).theme for seed in range(60)]
    assert set(drawn) <= set(DRAWN_THEMES) and len(set(drawn)) > 15
    assert drawn[:6] == ["harbour", "commercial", "railway", "farmland", "flats", "river"]


@pytest.mark.parametrize("theme", LATER)
@pytest.mark.parametrize("gsd", [0.1, 0.3, 1.0, 4.0])
def test_later_themes_draw_at_every_scale(theme: str, gsd: float) -> None:
    s = scene(theme, seed=3, gsd=gsd, height=70, width=110)
    again = scene(theme, seed=3, gsd=gsd, height=70, width=110)
    assert s.image.shape == (70, 110, 3) and s.labels.shape == s.instances.shape == (70, 110)
    assert s.image.std() > 3 and s.labels.max() < 255
    assert np.array_equal(s.image, again.image) and np.array_equal(s.labels, again.labels)
    assert s.captions == again.captions


@pytest.mark.parametrize(
    ("theme", "expected"),
    [
        ("flood", ("water", "building", "trees")),
        ("leafless-forest", ("trees",)),
        ("old-town", ("building", "road", "pavement", "trees", "car")),
        ("informal-settlement", ("building", "road", "bare land")),
        ("tropical-village", ("building", "road", "trees", "bare land")),
        ("us-grid-city", ("building", "road", "pavement")),
        ("bare-fields", ("cropland", "road")),
    ],
)
def test_a_later_theme_shows_its_classes(theme: str, expected: tuple[str, ...]) -> None:
    scenes = [scene(theme, seed=k, gsd=0.8) for k in range(6)]
    for title in expected:
        assert sum(at(s, title).mean() > 0.004 for s in scenes) >= 4, f"{title} is rare in {theme}"


def test_flood_water_is_brown_and_roofs_stand_out() -> None:
    wet, redder, houses = [], [], 0
    for seed in range(10):
        s = scene("flood", seed=seed, gsd=0.8, conditions=())
        water = at(s, "water")
        wet.append(water.mean())
        red, _, blue = mean_colour(s, water)
        redder.append(red - blue)
        near = np.roll(water, 3, axis=0) | np.roll(water, -3, axis=0)
        houses += (near & at(s, "building")).sum() > 40
    assert np.mean(redder) > 10 and np.mean(np.array(redder) > 3) >= 0.8
    assert min(wet) > 0.12 and 0.3 < np.mean(wet) < 0.9
    assert houses >= 5


def test_a_flood_hides_streets_and_cars_but_no_roof() -> None:
    for seed in (2, 12, 22, 32):
        land = Landscape.of(height=HEIGHT, width=WIDTH, gsd=0.6, theme="flood", seed=seed, conditions=())
        land.plan.tilt = (0.0, 0.0)
        flooded = land.render()
        land.plan.flood = None
        dry = land.render()
        drowned = at(flooded, "water") & ~at(dry, "water")
        assert not (drowned & at(dry, "building")).any()
        assert np.array_equal(at(flooded, "building"), at(dry, "building"))
        assert not flooded.instances[drowned].any()
        assert (flooded.labels == dry.labels)[~drowned].all()
        assert drowned.mean() > 0.1
        for car in (o for o in dry.objects if o.title == "car"):
            inside = dry.instances == car.id
            assert drowned[inside].all() or not drowned[inside].any()


def test_a_flooded_place_is_called_so() -> None:
    captions = [" ".join(scene("flood", seed=seed, gsd=1.0).captions) for seed in range(4)]
    assert all("flooded area" in text or "flood water" in text for text in captions)
    assert not any(re.search("roundabout|parking lot|beach| sea", text) for text in captions)


def _excess_green(s: RenderedScene, where: NDArray[np.bool_]) -> float:
    red, green, blue = mean_colour(s, where)
    return float(2 * green - red - blue) / float(red + green + blue)


def test_leafless_trees_are_trees_that_are_not_green() -> None:
    bare, leafy, woods = [], [], []
    for seed in range(6):
        for days, found in ((("leafless",), bare), ((), leafy)):
            s = scene("leafless-forest", seed=seed, gsd=0.5, conditions=days)
            woods.append(at(s, "trees").mean())
            found.append(_excess_green(s, at(s, "trees")))
    assert np.median(woods) > 0.6
    assert np.max(bare) < 0.06 and np.mean(leafy) > np.mean(bare) + 0.05


def test_conditions_leave_the_layout_alone() -> None:
    for theme, names in (("town", ("low-sun", "jpeg")), ("old-town", ("haze",)), ("forest", ("leafless",))):
        plain, special = scene(theme, conditions=()), scene(theme, conditions=names)
        assert np.array_equal(plain.labels, special.labels), theme
        assert not np.array_equal(plain.image, special.image), theme


def test_snow_covers_open_ground_and_no_road() -> None:
    plain, white = (scene("town", seed=1, conditions=names) for names in ((), ("snow",)))
    snow = at(white, "snow")
    assert snow.mean() > 0.05
    assert at(plain, "grass", "bare land", "cropland")[snow].mean() > 0.995
    assert (plain.labels == white.labels)[~snow].mean() > 0.995
    assert white.image[snow].mean() > white.image[at(white, "road")].mean() + 20


def test_courtyards_are_no_roads() -> None:
    """Ground that houses close off from the street net is never labelled road."""
    closed = 0
    for seed in range(6):
        s = scene("old-town", seed=seed, gsd=0.6, height=260, width=300, conditions=())
        parts, count = ndimage.label(~at(s, "building"))
        inner = [
            k
            for k in range(1, count + 1)
            if k not in np.unique(np.r_[parts[[0, -1]].ravel(), parts[:, [0, -1]].ravel()])
        ]
        for k in inner:
            closed += (parts == k).sum() > 60
            assert not at(s, "road")[parts == k].any()
            assert at(s, "pavement", "grass", "bare land", "trees", "car")[parts == k].mean() > 0.95
    assert closed >= 3


def test_informal_roofs_are_small_and_dense() -> None:
    sizes, shares = [], []
    for seed in range(5):
        s = scene("informal-settlement", seed=seed, gsd=0.3, conditions=())
        shares.append(at(s, "building").mean())
        for o in s.objects:
            if o.title == "building":
                sides = np.hypot(*(o.polygon - np.roll(o.polygon, 1, axis=0)).T) * s.gsd_m
                sizes.append(sides[0] * sides[1])
    assert np.median(shares) > 0.3 and 15 < np.median(sizes) < 130


def test_shadows_of_a_low_sun_keep_the_label_of_the_ground() -> None:
    darker = 0
    for seed in range(4):
        plain, low = (scene("village", seed=seed, conditions=names) for names in ((), ("low-sun",)))
        assert np.array_equal(plain.labels, low.labels)
        ground = at(low, "grass", "bare land", "pavement", "road")
        darker += (low.image[ground].mean(axis=1) < 0.5 * np.median(low.image[ground])).mean() > 0.02
    assert darker >= 2
    for seed in range(20):
        day = draw_conditions(region="temperate", seed=seed, special=("low-sun",))
        assert 12 <= np.degrees(day.sun.elevation) <= 30


def test_a_condition_draws_the_same_whatever_others_are_asked_for() -> None:
    for seed in range(5):
        alone = draw_conditions(region="temperate", seed=seed, special=("jpeg",))
        both = draw_conditions(region="temperate", seed=seed, special=("jpeg", "low-sun"))
        assert 35 <= alone.sensor.quality <= 60
        assert both.sensor == alone.sensor and both.sun != alone.sun
        assert draw_conditions(region="temperate", seed=seed).season == alone.season


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_can_be_asked_for(name: str) -> None:
    plain, special = (scene("village", seed=2, height=60, width=90, conditions=c) for c in ((), (name,)))
    assert special.image.shape == plain.image.shape and not np.array_equal(special.image, plain.image)


def test_windows_of_a_flood_under_a_low_sun_fit_together() -> None:
    land = Landscape.of(height=160, width=200, theme="flood", seed=12, conditions=("low-sun",))
    whole = land.render()
    window = Window(row=70, col=90, height=80, width=100)
    part = land.render(window)
    assert (part.labels == whole.labels[window.slices]).mean() > 0.98
    assert np.abs(part.image.astype(float) - whole.image[window.slices]).mean() < 12


@pytest.mark.parametrize("theme", LATER)
def test_pairs_of_later_themes_differ_only_where_they_say(theme: str) -> None:
    for seed in range(3):
        pair = render_pair(height=120, width=170, theme=theme, seed=seed)
        assert np.array_equal(pair.mask == 1, pair.before.labels != pair.after.labels)
        assert pair.mask.mean() < 0.6


def test_unknown_conditions_are_explained() -> None:
    with pytest.raises(UsageError, match="Did you mean 'low-sun'"):
        scene("town", conditions=("lowsun",))
    with pytest.raises(UsageError, match=r"write \('snow',\)"):
        render_scene(height=8, width=9, conditions="snow")


def test_the_page_lists_all_themes_and_conditions() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rendered-scenes.md").read_text()
    for name in (*THEMES, *CONDITIONS):
        assert f"`{name}`" in page, name


def test_roads_of_earth_and_lanes_are_roads() -> None:
    """At least a few percent of a settlement are lanes that a reader can follow across the picture."""
    for theme in ("informal-settlement", "tropical-village"):
        for seed in range(4):
            s = scene(theme, seed=seed, gsd=0.5, height=220, width=280, conditions=())
            parts, _ = ndimage.label(at(s, "road", "car", "truck"), structure=np.ones((3, 3)))
            assert at(s, "road").mean() > 0.03
            assert np.bincount(parts.ravel())[1:].max() > 0.3 * at(s, "road").sum(), f"{theme} {seed}: broken roads"
