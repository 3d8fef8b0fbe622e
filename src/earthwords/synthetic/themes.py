"""The table of themes: each one lays out a whole scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earthwords.synthetic.noise import GroundView
from earthwords.synthetic.plan import Flood, Plan, Stamps
from earthwords.synthetic.regions import REGION, REGIONS
from earthwords.synthetic.zones.corridors import across, clear, highway, interchange, railway
from earthwords.synthetic.zones.grid_city import green, grid_city, waterfront
from earthwords.synthetic.zones.industry import (
    commercial,
    greenhouses,
    industrial,
    parking,
    slabs,
    solar_farm,
    tank_farm,
    waste,
)
from earthwords.synthetic.zones.layout import Frame, Rect, blob, offset, resample, smooth_line, wiggle
from earthwords.synthetic.zones.leisure import golf, lake_park, park, sports_ground, stadium
from earthwords.synthetic.zones.metal_roofs import informal, tropical
from earthwords.synthetic.zones.mosaic import Fill, cut_through, mosaic
from earthwords.synthetic.zones.old_town import old_town
from earthwords.synthetic.zones.open_ground import desert, fields, forest, forest_in, hedge, village
from earthwords.synthetic.zones.season_fields import bare_fields
from earthwords.synthetic.zones.town import Site, plants_at, residential, villas
from earthwords.synthetic.zones.transport import airport, harbour, sea_traffic, station


@dataclass(frozen=True, kw_only=True)
class Theme:
    """One row of `THEMES`."""

    lay: Fill
    """Adds everything to the plan of the site."""
    regions: tuple[str, ...]
    """Where such scenes exist; names of `REGIONS`."""
    bend: float = 0.02
    """Largest amplitude of bent streets, as a share of their wavelength."""
    word: str = ""
    """What the whole scene is called in captions; empty: nothing."""
    needs: tuple[str, ...] = ()
    """Titles of classes that must be in the picture for the word to hold."""
    days: tuple[tuple[str, ...], ...] = ((),)
    """Rows of `conditions.SPECIAL` it is seen under unless others are asked for; one of these is drawn."""


def town(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {residential: 0.78, park: 0.08, waste: 0.05, slabs: 0.04, sports_ground: 0.05}
    mosaic(site, rect, zones, size=site.rng.uniform(220, 380))
    cut_through(site, rect, share=0.2)


def arid_suburb(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {villas: 0.7, desert: 0.2, park: 0.05, parking: 0.05}
    mosaic(site, rect, zones, size=site.rng.uniform(200, 340), width=12)
    cut_through(site, rect, share=0.25)


def farmland(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {fields: 0.84, village: 0.07, forest: 0.06, greenhouses: 0.03}
    mosaic(site, rect, zones, size=site.rng.uniform(300, 500), road="country road", width=7)


def greenhouse_land(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {greenhouses: 0.75, fields: 0.25}
    mosaic(site, rect, zones, size=site.rng.uniform(140, 220), road="track", width=5)


def village_land(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {village: 0.5, fields: 0.4, forest: 0.1}
    mosaic(site, rect, zones, size=site.rng.uniform(160, 240), road="country road", width=6)


def industry(site: Site, rect: Rect) -> None:
    mosaic(site, rect, {industrial: 0.88, waste: 0.06, parking: 0.06}, size=site.rng.uniform(280, 420))
    cut_through(site, rect)


def city(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {commercial: 0.75, slabs: 0.13, park: 0.08, parking: 0.04}
    mosaic(site, rect, zones, size=site.rng.uniform(240, 340), width=18)
    cut_through(site, rect)


def flats(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {slabs: 0.8, commercial: 0.08, park: 0.06, sports_ground: 0.06}
    mosaic(site, rect, zones, size=site.rng.uniform(240, 340), width=18)


def car_park(site: Site, rect: Rect) -> None:
    mosaic(site, rect, {parking: 0.85, industrial: 0.15}, size=site.rng.uniform(120, 200), width=10)


def sports(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {sports_ground: 0.7, park: 0.15, parking: 0.15}
    mosaic(site, rect, zones, size=site.rng.uniform(170, 260), width=9)


def arena(site: Site, rect: Rect) -> None:
    """A stadium in the middle of a town."""
    inner = Rect(-230, -115, 230, 115)
    for part in (rect._replace(t1=-130), rect._replace(t0=130)):
        if part.depth > 60:
            mosaic(site, part, {residential: 0.5, commercial: 0.2, park: 0.3}, size=260)
    for part in (Rect(rect.s0, -115, -245, 115), Rect(245, -115, rect.s1, 115)):
        if part.length > 40:
            park(site, part)
    for t in (-122.0, 122.0):
        site.plan.ribbon(site.frame.line((rect.s0, t), (rect.s1, t)), "avenue", width=12)
    stadium(site, inner)


def rail_town(site: Site, rect: Rect) -> None:
    """A railway station between town blocks."""
    zones: dict[Fill, float] = {residential: 0.4, commercial: 0.3, slabs: 0.3}
    mosaic(site, rect, zones, size=260)
    station(site, rect)


def solar(site: Site, rect: Rect) -> None:
    mosaic(site, rect, {solar_farm: 0.85, fields: 0.15}, size=site.rng.uniform(300, 420), road="track", width=5)


def woodland(site: Site, rect: Rect) -> None:
    forest(site, rect)
    rng = site.rng
    for _ in range(rng.integers(0, 4)):
        s, t = rect.inset(rect.length * 0.2).scatter(rng, 1)
        ground = site.frame.ground(s, t)[0]
        outline = blob((ground[0], ground[1]), rng, radius=rng.uniform(15, 60), rough=0.1)
        site.plan.area(outline, str(rng.choice(["meadow", "grass", "soil"])))
    if rng.random() < 0.6:
        line = across(site, rect)
        site.plan.ribbon(line, str(rng.choice(["track", "country road"])), width=rng.uniform(4, 7))


_SLOPES = (
    ("rock", "meadow", "floor"),
    ("rock", "soil", "meadow"),
    ("rock", "soil", "rock"),
    ("snow", "rock", "floor"),
    ("soil", "rock", "meadow"),
    ("meadow", "floor", "floor"),
)
"""What mountains are covered with, from high and steep to low and flat."""


def mountain(site: Site, rect: Rect) -> None:
    """Slopes of rock, grass and forest."""
    rng = site.rng
    site.plan.relief = float(rng.uniform(80, 190))
    site.plan.terrain = _SLOPES[rng.integers(len(_SLOPES))]
    s, t = rect.lattice(rng, spacing=max(5.0, 1.2 * site.coarse), jitter=0.5)
    ground = site.frame.ground(s, t)
    plants_at(site, ground[:, 0], ground[:, 1], size=(4, 9), conifers=float(rng.choice([0.1, 0.8])), kind="wood")
    if rng.random() < 0.4:
        site.plan.ribbon(across(site, rect), "track", width=5)


def coast(site: Site, rect: Rect) -> None:
    """Land with a town or scrub on one side, a beach, and the sea on the other."""
    rng = site.rng
    shore_t = rng.uniform(-0.25, 0.25) * min(site.extent)
    land = rect._replace(t1=shore_t - rng.uniform(25, 50))
    fill: Fill = [town, arid_suburb, desert, farmland][rng.choice(4, p=[0.45, 0.15, 0.25, 0.15])]
    site.cover(rect, "scrub")
    fill(site, land)
    s = np.linspace(rect.s0 - 50, rect.s1 + 50, 9)
    line = smooth_line(site.frame.ground(s, shore_t + rng.normal(0, 14, 9)))
    line = wiggle(line, rng, rough=0.03, detail=max(1.5, site.coarse))
    far = site.frame.ground([rect.s1 + 50, rect.s0 - 50], [rect.t1 + 50, rect.t1 + 50])
    beach = offset(resample(line, step=8.0), -rng.uniform(12, 40))
    site.plan.area(np.concatenate([beach, far]), str(rng.choice(["sand", "sand", "sand", "rock"])))
    site.plan.area(np.concatenate([line, far]), "water")
    site.plan.sea, site.plan.shelf = True, float(rng.uniform(20, 70))
    site.plan.swell, site.plan.glitter = float(rng.uniform(0.05, 0.4)), float(rng.choice([0, 0.05]))
    site.plan.wind = float(site.frame.angle + np.pi / 2)
    sea_traffic(site, rect._replace(t0=shore_t + 60), count=int(rng.integers(0, 4)))
    site.plan.sign("beach", line[::8])
    site.plan.sign("sea", offset(line[::8], 30.0))


def river(site: Site, rect: Rect) -> None:
    """A river through farmland, town, forest or dry land."""
    rng = site.rng
    fill: Fill = [farmland, town, woodland, desert][rng.choice(4, p=[0.4, 0.25, 0.25, 0.1])]
    fill(site, rect)
    middle = resample(across(site, rect), step=10.0)
    width = rng.uniform(12, 70)
    widths = width * (1 + 0.25 * np.sin(np.arange(len(middle)) / rng.uniform(5, 20) + rng.uniform(0, 6)))
    bank = rng.uniform(3, 12)
    clear(site.plan, middle, reach=width / 2 + bank)
    left = wiggle(offset(middle, -widths / 2), rng, rough=0.05, detail=max(1.5, site.coarse))
    right = wiggle(offset(middle, widths / 2), rng, rough=0.05, detail=max(1.5, site.coarse))
    wide = np.concatenate([offset(middle, -widths / 2 - bank), offset(middle, widths / 2 + bank)[::-1]])
    site.plan.area(wide, str(rng.choice(["meadow", "sand", "soil", "garden"])))
    if rng.random() < 0.7:
        for side in (-1, 1):
            hedge(site, offset(middle, side * (width / 2 + bank + 2)), spacing=6, size=(4, 10))
    site.plan.area(np.concatenate([left, right[::-1]]), "water")
    site.plan.sign("river", middle)
    if width > 25:
        along_river = Rect(rect.s0, -0.2 * rect.depth, rect.s1, 0.2 * rect.depth)
        sea_traffic(site, along_river, count=int(rng.integers(0, 12)), largest=width * 0.6)


def bridge(site: Site, rect: Rect) -> None:
    """A wide river between built-up banks, crossed by a highway or a railway."""
    rng = site.rng
    half = float(np.clip(min(site.extent) * rng.uniform(0.12, 0.3), 12, 220))
    fill: Fill = [town, industry, farmland, flats][rng.integers(4)]
    fill(site, rect)
    middle = site.frame.line((rect.s0, 0.0), (rect.s1, 0.0), step=10.0)
    middle = resample(middle, step=10.0)
    clear(site.plan, middle, reach=half + 14)
    shores = [wiggle(offset(middle, side * half), rng, rough=0.03, detail=max(1.5, site.coarse)) for side in (-1, 1)]
    bank = np.concatenate([offset(middle, -half - 14), offset(middle, half + 14)[::-1]])
    site.plan.area(bank, str(rng.choice(["meadow", "soil", "garden", "concrete"])))
    site.plan.area(np.concatenate([shores[0], shores[1][::-1]]), "water")
    sea_traffic(site, Rect(rect.s0, -half, rect.s1, half), count=int(rng.integers(0, 8)), largest=half)
    place_s = rng.uniform(-0.15, 0.15) * min(site.extent)
    crossing = site.frame.line((place_s, rect.t0), (place_s + rng.uniform(-60, 60), rect.t1))
    if rng.random() < 0.75:
        highway(site, crossing, ground="")
    else:
        railway(site, crossing, tracks=2, ground="")
    site.plan.sign("river", middle)
    site.plan.sign("bridge", site.frame.ground(place_s, 0.0))


def junction(site: Site, rect: Rect) -> None:
    """A highway interchange in a town or in dry land."""
    fill: Fill = [town, industry, desert, farmland][site.rng.integers(4)]
    fill(site, rect)
    interchange(site, rect, ground="sand" if fill is desert else str(site.rng.choice(["grass", "meadow", "soil"])))


def tanks(site: Site, rect: Rect) -> None:
    mosaic(site, rect, {tank_farm: 0.75, industrial: 0.25}, size=site.rng.uniform(110, 220), width=9)


def dunes(site: Site, rect: Rect) -> None:
    desert(site, rect)
    site.plan.ripples = float(site.rng.choice([0.0, site.rng.uniform(0.2, 1.2)]))
    site.plan.relief = float(site.rng.uniform(2, 12))
    if site.rng.random() < 0.5:
        site.plan.ribbon(across(site, rect), "track", width=5)


def flood(site: Site, rect: Rect) -> None:
    """Muddy water over the fields, streets and yards of a village, a town or a river plain."""
    rng = site.rng
    fill: Fill = [farmland, village_land, town, old_city, tropics, shanties, bare_land][
        rng.choice(7, p=[0.14, 0.24, 0.22, 0.1, 0.16, 0.06, 0.08])
    ]
    fill(site, rect)
    middle = resample(across(site, rect, sway=0.06), step=10.0)
    half = min(site.extent) * float(rng.choice([rng.uniform(0.16, 0.3), rng.uniform(0.3, 0.55)]))
    width = half * (1 + 0.2 * np.sin(np.arange(len(middle)) / rng.uniform(4, 15) + rng.uniform(0, 6)))
    shores = [
        wiggle(offset(middle, side * width), rng, rough=0.12, detail=max(2.0, 1.5 * site.coarse)) for side in (-1, 1)
    ]
    site.plan.flood = Flood(
        outline=np.concatenate([shores[0], shores[1][::-1]]), depth=float(rng.uniform(0.7, 2.1)),
        embankment=float(rng.choice([0.0, 0.0, 0.9])), variant=float(rng.random()),
    )  # fmt: skip
    site.plan.signs.clear()
    site.plan.sign("flood", middle)


def bare_forest(site: Site, rect: Rect) -> None:
    """Broad-leaved woodland with conifers in places, clearings, roads and houses in gardens."""
    rng = site.rng
    if rng.random() < 0.5:
        mosaic(site, rect, {leafy: 0.7, residential: 0.2, fields: 0.1}, size=rng.uniform(160, 280),
               road="country road", width=7)  # fmt: skip
        return
    leafy(site, rect)
    for _ in range(rng.integers(0, 5)):
        ground = site.frame.ground(*rect.inset(rect.length * 0.2).scatter(rng, 1))[0]
        outline = blob((ground[0], ground[1]), rng, radius=rng.uniform(15, 60), rough=0.1)
        site.plan.area(outline, str(rng.choice(["meadow", "grass", "soil", "water"])))
    for _ in range(rng.integers(0, 3)):
        kind = str(rng.choice(["track", "country road", "path"]))
        site.plan.ribbon(across(site, rect), kind, width=rng.uniform(3, 7))


def leafy(site: Site, rect: Rect) -> None:
    """Broad-leaved forest with stands of conifers."""
    rng = site.rng
    conifers = float(rng.choice([0.03, 0.2]))
    forest_in(site, rect.outline(site.frame), spacing=float(rng.uniform(4.5, 7.5)), conifers=conifers)
    for _ in range(rng.integers(0, 5)):
        ground = site.frame.ground(*rect.scatter(rng, 1))[0]
        outline = blob((ground[0], ground[1]), rng, radius=float(rng.uniform(12, 60)), rough=0.15)
        forest_in(site, outline, spacing=float(rng.uniform(4, 6)), conifers=0.9, floor=False)


def old_city(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {old_town: 0.85, green: 0.1, slabs: 0.05}
    mosaic(site, rect, zones, size=site.rng.uniform(220, 360), road="avenue", width=site.rng.uniform(12, 20))
    cut_through(site, rect, share=0.15)


def shanties(site: Site, rect: Rect) -> None:
    zones: dict[Fill, float] = {informal: 0.88, tropical: 0.06, waste: 0.06}
    mosaic(
        site, rect, zones, size=site.rng.uniform(180, 320), road=str(site.rng.choice(["earth lane", "lane"])), width=8
    )


def tropics(site: Site, rect: Rect) -> None:
    tropical(site, rect)


def grid_town(site: Site, rect: Rect) -> None:
    """A gridiron city; half of the scenes reach the water."""
    rng = site.rng
    shore = float(rng.uniform(-0.3, 0.4)) * min(site.extent) if rng.random() < 0.5 else None
    grid_city(site, rect if shore is None else rect._replace(t1=shore - 36))
    if shore is not None:
        waterfront(site, rect, shore=shore)
    elif rng.random() < 0.3:
        cut_through(site, rect, share=1.0)


def bare_land(site: Site, rect: Rect) -> None:
    bare_fields(site, rect)


_GREEN = ("temperate", "northeast", "mediterranean", "tropical", "dry plain")
_ALL = tuple(region.name for region in REGIONS)
_WARM = ("east africa", "pacific islands", "tropical")
_ANY_DAY: tuple[tuple[str, ...], ...] = ((), ("low-sun",), ("haze",), ("jpeg",), ("low-sun", "jpeg"), ("overcast",))

THEMES_TABLE: dict[str, Theme] = {
    "town": Theme(lay=town, regions=_GREEN, word="a town", needs=("building", "road")),
    "arid-suburb": Theme(
        lay=arid_suburb, regions=("arid", "arid", "red desert"), bend=0.05, word="a desert suburb",
        needs=("building", "road", "bare land"),
    ),
    "farmland": Theme(lay=farmland, regions=_ALL, bend=0.01, word="farmland", needs=("cropland",)),
    "forest": Theme(lay=woodland, regions=_GREEN, word="a forest", needs=("trees",)),
    "coast": Theme(
        lay=coast, regions=("temperate", "mediterranean", "tropical", "arid", "northeast"), word="a coast",
        needs=("water", "bare land"),
    ),
    "harbour": Theme(lay=harbour, regions=_ALL, bend=0.0, word="a harbour", needs=("water", "ship", "pavement")),
    "airport": Theme(lay=airport, regions=_ALL, bend=0.0, word="an airport", needs=("plane",)),
    "industrial": Theme(lay=industry, regions=_ALL, bend=0.005, word="an industrial area", needs=("building",)),
    "river": Theme(lay=river, regions=_ALL, word="a river", needs=("water",)),
    "desert": Theme(lay=dunes, regions=("arid", "red desert"), word="a desert", needs=("bare land",)),
    "lake-park": Theme(lay=lake_park, regions=_GREEN, word="a park", needs=("grass", "trees")),
    "commercial": Theme(lay=city, regions=_ALL, bend=0.01, word="a city centre", needs=("building", "road")),
    "flats": Theme(lay=flats, regions=_ALL, bend=0.01, word="a residential district", needs=("building",)),
    "mountain": Theme(lay=mountain, regions=_ALL, word="a mountain slope", needs=()),
    "stadium": Theme(lay=arena, regions=_ALL, bend=0.0, word="a stadium", needs=("building", "sports field")),
    "sports": Theme(lay=sports, regions=_GREEN, bend=0.0, word="a sports ground", needs=("sports field",)),
    "solar-farm": Theme(lay=solar, regions=_ALL, bend=0.0, word="a solar farm", needs=("solar panel",)),
    "parking": Theme(lay=car_park, regions=_ALL, bend=0.0, word="a parking lot", needs=("pavement", "car")),
    "bridge": Theme(lay=bridge, regions=_ALL, bend=0.01, word="a river", needs=("water",)),
    "interchange": Theme(lay=junction, regions=_ALL, bend=0.0, word="a highway", needs=("road", "car")),
    "storage-tanks": Theme(lay=tanks, regions=_ALL, bend=0.0, word="an industrial area", needs=("storage tank",)),
    "village": Theme(lay=village_land, regions=_GREEN, word="a village", needs=("building",)),
    "railway": Theme(lay=rail_town, regions=_ALL, bend=0.0, word="a railway line", needs=("railway",)),
    "golf": Theme(lay=golf, regions=_GREEN, word="a golf course", needs=("grass", "bare land")),
    "greenhouses": Theme(
        lay=greenhouse_land, regions=_ALL, bend=0.0
    ),
    "flood": Theme(
        lay=flood, regions=("temperate", "northeast", "tropical", "dry plain", "pacific islands", "old europe"),
        bend=0.03, word="a flooded area", needs=("water",),
        days=((), (), ("overcast",), ("haze",), ("jpeg",), ("leafless",)),
    ),
    "leafless-forest": Theme(
        lay=bare_forest, regions=("temperate", "northeast", "northeast", "old europe"), bend=0.03, word="a forest",
        needs=("trees",),
        days=(
            ("leafless",), ("leafless",), ("leafless",), ("leafless", "low-sun"), ("leafless", "dry-grass"),
            ("leafless", "jpeg"),
            ("snow",), ("snow", "low-sun"), ("autumn",), ("autumn", "low-sun"), ("autumn", "haze"),
        ),
    ),
    "old-town": Theme(
        lay=old_city, regions=("old europe",), bend=0.02, word="an old town", needs=("building", "road"),
        days=(*_ANY_DAY, ("dim",), ("leafless", "low-sun")),
    ),
    "informal-settlement": Theme(
        lay=shanties, regions=("east africa", "east africa", "pacific islands", "red desert"), bend=0.05,
        word="an informal settlement", needs=("building",), days=_ANY_DAY,
    ),
    "tropical-village": Theme(
        lay=tropics, regions=_WARM, bend=0.05, word="a village", needs=("building", "trees"), days=_ANY_DAY,
    ),
    "us-grid-city": Theme(
        lay=grid_town, regions=("us city",), bend=0.0, word="a city", needs=("building", "road"),
        days=((), ("dim",), ("dim",), ("dim", "jpeg"), ("low-sun",), ("low-sun", "dim"), ("haze",)),
    ),
    "bare-fields": Theme(
        lay=bare_land, regions=(*_ALL, "east africa"), bend=0.01, word="farmland", needs=("cropland",),
        days=(*_ANY_DAY, ("dry-grass",), ("leafless",), ("leafless", "dry-grass")),
    ),
}  # fmt: skip
THEMES: tuple[str, ...] = tuple(THEMES_TABLE)
"""All themes. Append new ones: the position of a theme is part of its seed."""
DRAWN_THEMES: tuple[str, ...] = THEMES[: THEMES.index("greenhouses") + 1]
"""The themes that a seed alone may draw; it stays as it is, so that a seed keeps its scene."""


def usual_conditions(theme: str, *, seed: int) -> tuple[str, ...]:
    """The special conditions (rows of `conditions.SPECIAL`) a scene of the theme is drawn under by default."""
    days = THEMES_TABLE[theme].days
    return days[int(np.random.default_rng([seed, THEMES.index(theme), 0xDA7]).integers(len(days)))]


def plan_scene(view: GroundView, *, theme: str, seed: int) -> tuple[Plan, str]:
    """Lay out a scene that covers the view; returns the plan and the name of its region."""
    row = THEMES_TABLE[theme]
    rng = np.random.default_rng([seed, THEMES.index(theme), 0xEA])
    region = str(rng.choice(row.regions))
    width, height = view.extent
    plan = Plan(theme=theme, rng=rng, extent=view.extent)
    wavelength = float(rng.uniform(500, 1200))
    frame = Frame(
        angle=float(rng.uniform(-np.pi, np.pi)), centre=(width / 2, height / 2), wavelength=wavelength,
        bend=float(rng.uniform(0, row.bend) * wavelength),
        phases=(float(rng.uniform(0, 6.28)), float(rng.uniform(0, 6.28))),
    )  # fmt: skip
    reach = float(np.hypot(width, height)) / 2 + 60
    site = Site(plan=plan, frame=frame, region=REGION[region], coarse=view.gsd, extent=view.extent)
    plan.water_variant, plan.wave_seed = float(rng.random()), int(rng.integers(2**31))
    plan.swell, plan.shelf = float(rng.uniform(0.01, 0.06)), float(rng.uniform(3, 20))
    plan.wind, plan.glitter = float(rng.uniform(0, 6.28)), float(rng.choice([0.0, 0.0, 0.1]))
    lean, azimuth = float(rng.choice([0.0, rng.uniform(0.02, 0.15), rng.uniform(0.15, 0.45)])), rng.uniform(0, 6.28)
    plan.tilt = (lean * float(np.cos(azimuth)), lean * float(np.sin(azimuth)))
    base = "grass" if rng.random() < REGION[region].lush else str(rng.choice(["soil", "meadow"]))
    plan.area([(-99, -99), (width + 99, -99), (width + 99, height + 99), (-99, height + 99)], base)
    row.lay(site, Rect(-reach, -reach, reach, reach))
    plan.stamps = {kind: [Stamps.join(tables)] for kind, tables in plan.stamps.items() if tables}
    return plan, region
