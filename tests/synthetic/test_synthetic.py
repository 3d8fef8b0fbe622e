"""Synthetic scenes: the same every time, and their truth fits their pixels."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.synthetic import (
    CHANGES,
    CLASSES,
    THEMES,
    Landscape,
    RenderedScene,
    SceneObject,
    ScenePair,
    render_pair,
    render_scene,
    vocabulary,
)
from earthwords.synthetic.brushes.canvas import Sun
from earthwords.synthetic.captions import count_phrase
from earthwords.synthetic.light import shadow
from earthwords.synthetic.scene import LABEL, NONE
from earthwords.types import Window

HEIGHT, WIDTH = 150, 220


def scene(theme: str, *, seed: int = 0, gsd: float = 0.5, height: int = HEIGHT, width: int = WIDTH) -> RenderedScene:
    return render_scene(height=height, width=width, gsd=gsd, theme=theme, seed=seed)


def of(rendered: RenderedScene, title: str) -> list[SceneObject]:
    return [o for o in rendered.objects if o.title == title]


def share(rendered: RenderedScene, title: str) -> float:
    return float((rendered.labels == LABEL[title]).mean())


@pytest.mark.parametrize("theme", THEMES)
def test_shapes_and_dtypes(theme: str) -> None:
    s = scene(theme)
    assert s.image.shape == (HEIGHT, WIDTH, 3) and s.image.dtype == np.uint8
    assert s.labels.shape == (HEIGHT, WIDTH) and s.labels.dtype == np.uint8
    assert s.instances.shape == (HEIGHT, WIDTH) and s.instances.dtype == np.int32
    assert s.grid.shape == (HEIGHT, WIDTH) and s.grid.gsd_m == pytest.approx(s.gsd_m) == 0.5
    assert s.theme == theme and len(s.captions) >= 3
    assert s.image.std() > 4


@pytest.mark.parametrize("theme", THEMES)
def test_objects_fit_their_pixels(theme: str) -> None:
    s = scene(theme, seed=1)
    assert sorted(np.unique(s.instances[s.instances > 0])) == [o.id for o in s.objects]
    for o in s.objects:
        rows, cols = np.nonzero(s.instances == o.id)
        assert o.box == (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
        assert (s.labels[rows, cols] == o.label).all()
        assert CLASSES[o.label].thing
        low, high = o.polygon.min(axis=0) - 1, o.polygon.max(axis=0) + 1
        assert (low <= (o.box[0], o.box[1])).all() and (high >= (o.box[2], o.box[3])).all()
    things = np.array([c.thing for c in CLASSES] + [False] * (256 - len(CLASSES)))
    assert np.array_equal(things[s.labels], s.instances > 0)


def test_labels_are_classes_of_the_vocabulary() -> None:
    words = vocabulary()
    assert words.titles == tuple(c.title for c in CLASSES)
    for theme in THEMES:
        labels = np.unique(scene(theme).labels)
        assert set(labels.tolist()) <= {*range(len(CLASSES)), NONE}


def test_same_seed_same_scene() -> None:
    a, b, c = scene("town", seed=3), scene("town", seed=3), scene("town", seed=4)
    assert np.array_equal(a.image, b.image) and np.array_equal(a.labels, b.labels)
    assert np.array_equal(a.instances, b.instances) and a.captions == b.captions
    assert not np.array_equal(a.labels, c.labels)
    assert a.grid == b.grid != c.grid


def test_same_seed_same_scene_in_another_process() -> None:
    code = (
        "import zlib; from earthwords.synthetic import render_scene as r;"
        "s = r(height=90, width=130, theme='coast', seed=7); print(zlib.crc32(s.image.tobytes() + s.labels.tobytes()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}
    )
    s = scene("coast", seed=7, height=90, width=130)
    assert int(other.stdout) == zlib.crc32(s.image.tobytes() + s.labels.tobytes())


def test_without_a_theme_the_seed_draws_one() -> None:
    themes = {render_scene(height=24, width=32, seed=k).theme for k in range(12)}
    assert len(themes) > 4 and themes <= set(THEMES)


@pytest.mark.parametrize(
    ("theme", "expected"),
    [
        ("town", ("building", "road", "grass", "trees", "car")),
        ("arid-suburb", ("building", "road", "bare land")),
        ("farmland", ("cropland", "road")),
        ("forest", ("trees",)),
        ("coast", ("water", "bare land")),
        ("harbour", ("water", "pavement", "ship")),
        ("airport", ("plane", "pavement", "grass")),
        ("industrial", ("building", "pavement", "road")),
        ("river", ("water",)),
        ("lake-park", ("water", "grass", "trees")),
        ("commercial", ("building", "road")),
        ("stadium", ("building", "sports field")),
        ("sports", ("grass", "sports field")),
        ("solar-farm", ("solar panel",)),
        ("parking", ("pavement", "car")),
        ("railway", ("railway", "building")),
        ("greenhouses", ("greenhouse",)),
        ("desert", ("bare land",)),
    ],
)
def test_a_theme_shows_its_classes(theme: str, expected: tuple[str, ...]) -> None:
    scenes = [scene(theme, seed=k, gsd=1.0) for k in range(4)]
    for title in expected:
        assert sum(share(s, title) > 0.001 for s in scenes) >= 2, f"{title} is rare in {theme}"


@pytest.mark.parametrize("theme", THEMES)
def test_captions_name_only_what_is_there(theme: str) -> None:
    for seed in range(2):
        s = scene(theme, seed=seed, gsd=1.0)
        text = " ".join(s.captions).lower()
        for label, row in enumerate(CLASSES):
            present = bool((s.labels == label).any())
            for name in (*row.names, row.plural):
                if re.search(rf"\b{name}s?\b", text):
                    assert present or _other_reading(name, label, s), f"{name!r} in {text!r}"


def _other_reading(name: str, label: int, s: RenderedScene) -> bool:
    """A word may be part of another class's name, such as the field of a sports field."""
    others = [i for i, row in enumerate(CLASSES) if i != label and any(name in n for n in (*row.names, row.plural))]
    return any((s.labels == i).any() for i in others)


def test_captions_count_right() -> None:
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    checked = 0
    for theme in ("harbour", "town", "airport", "industrial", "village", "stadium"):
        s = scene(theme, seed=2)
        for row in CLASSES:
            if not row.thing:
                continue
            count = len(of(s, row.title))
            found = re.findall(rf"(\w+) (?:{row.title}|{row.plural})\b", s.captions[1])
            assert bool(found) == (count > 0)
            if found:
                word = "several" if count > 10 else "ten"
                word = numbers[count - 1] if count <= 10 else "many" if count > 25 else word
                assert found == [word], s.captions[1]
                checked += 1
    assert checked >= 8


def test_count_phrase() -> None:
    assert count_phrase(LABEL["ship"], 1) == "one ship"
    assert count_phrase(LABEL["ship"], 2) == "two ships"
    assert count_phrase(LABEL["building"], 26) == "many buildings"


@pytest.mark.parametrize(
    ("theme", "title", "metres"), [("parking", "car", (4.0, 5.5)), ("town", "building", (5.0, 27.0))]
)
def test_things_scale_with_the_ground_sample_distance(theme: str, title: str, metres: tuple[float, float]) -> None:
    sides = {}
    for gsd in (0.5, 1.0):
        found = []
        for seed in range(3):
            for o in of(scene(theme, seed=seed, gsd=gsd, height=220, width=220), title):
                edges = np.hypot(*(o.polygon - np.roll(o.polygon, 1, axis=0)).T)
                found.append(edges.max())
        assert len(found) > 20
        sides[gsd] = float(np.median(found))
        assert metres[0] <= sides[gsd] * gsd <= metres[1]
    assert sides[0.5] / sides[1.0] == pytest.approx(2.0, rel=0.2)


def test_pixels_of_a_thing_fill_its_outline() -> None:
    filled = []
    for seed in range(4):
        s = scene("parking", seed=seed, gsd=0.3)
        for o in of(s, "car"):
            if (o.polygon > 0).all() and (o.polygon < (HEIGHT, WIDTH)).all():
                sides = np.hypot(*(o.polygon - np.roll(o.polygon, 1, axis=0)).T)
                filled.append((s.instances == o.id).sum() / (sides[0] * sides[1]))
    assert len(filled) > 20
    assert 0.85 < np.median(filled) < 1.1


def test_things_look_different_from_their_surroundings() -> None:
    apart = []
    for seed in range(8):
        s = scene("harbour", seed=seed, height=200, width=200, gsd=1.0)
        ships, water = s.labels == LABEL["ship"], s.labels == LABEL["water"]
        if ships.sum() > 50 and water.any():
            apart.append(np.abs(s.image[ships].mean(axis=0) - s.image[water].mean(axis=0)).max())
    assert len(apart) >= 3 and np.median(apart) > 15


def test_shadows_fall_away_from_the_sun_and_keep_the_label() -> None:
    height = np.zeros((40, 60), dtype=np.float32)
    height[18:22, 28:32] = 10.0
    dark = shadow(height, Sun(azimuth=0.0, elevation=np.pi / 4), gsd=1.0)
    assert dark[20, 20:26].min() > 0.9
    assert dark[20, 36:].max() == 0 and dark[20, :15].max() == 0
    assert dark[5:15].max() == 0 and dark[26:].max() == 0


def test_odd_sizes_and_extreme_distances() -> None:
    for height, width, gsd in ((1, 1, 0.5), (3, 97, 0.2), (61, 5, 5.0), (64, 48, 3.3)):
        for theme in ("town", "coast", "farmland", "mountain", "desert"):
            s = scene(theme, height=height, width=width, gsd=gsd)
            assert s.image.shape == (height, width, 3)


def test_windows_fit_together() -> None:
    land = Landscape.of(height=160, width=200, theme="town", seed=1)
    whole = land.render()
    for row, col in ((0, 0), (80, 100), (80, 0)):
        window = Window(row=row, col=col, height=80, width=100)
        part = land.render(window)
        assert part.image.shape == (80, 100, 3)
        assert part.grid == whole.grid.window(window)
        expected = whole.labels[window.slices]
        assert (part.labels == expected).mean() > 0.995
        assert np.abs(part.image.astype(float) - whole.image[window.slices]).mean() < 12
        assert {o.id for o in part.objects} == set(np.unique(part.instances)) - {0}


def test_a_window_outside_the_scene_is_explained() -> None:
    with pytest.raises(UsageError, match="outside the scene"):
        Landscape.of(height=20, width=30).render(Window(row=50, col=0, height=5, width=5))


@pytest.fixture(scope="module")
def pair() -> ScenePair:
    return render_pair(height=260, width=320, theme="town", seed=2, changes=("buildings built", "buildings removed"))


def test_pair_mask_is_where_labels_differ(pair: ScenePair) -> None:
    before, after, mask, changes = pair
    assert mask.dtype == np.uint8 and mask.any() and not mask.all()
    assert np.array_equal(mask == 1, before.labels != after.labels)
    assert changes
    covered = np.zeros(mask.shape, dtype=bool)
    for change in changes:
        covered[change.box[0] : change.box[2], change.box[1] : change.box[3]] = True
    assert not (mask.astype(bool) & ~covered).any()


def test_pair_changes_say_what_happened(pair: ScenePair) -> None:
    before, after, _, changes = pair
    kinds = {change.kind for change in changes}
    assert kinds == {"building built", "building removed"}
    for change in changes:
        built = change.kind == "building built"
        assert (change.after if built else change.before) == "building"
        rows, cols = slice(change.box[0], change.box[2]), slice(change.box[1], change.box[3])
        scene_with, scene_without = (after, before) if built else (before, after)
        count = [(s.labels[rows, cols] == LABEL["building"]).sum() for s in (scene_with, scene_without)]
        assert count[0] > count[1]


def test_pair_is_seen_on_another_day(pair: ScenePair) -> None:
    before, after, mask, _ = pair
    same = mask == 0
    difference = np.abs(before.image[same].astype(float) - after.image[same].astype(float)).mean()
    assert difference > 3
    assert before.grid == after.grid


@pytest.mark.parametrize("kind", CHANGES)
def test_every_kind_of_change(kind: str) -> None:
    theme = {"ships": "harbour", "planes": "airport", "trees felled": "forest", "water level": "lake-park"}.get(
        kind, "town"
    )
    for seed in range(4):
        pair = render_pair(height=240, width=280, gsd=0.7, theme=theme, seed=seed, changes=(kind,))
        assert pair.mask.any() == bool(pair.changes)
        assert np.array_equal(pair.mask == 1, pair.before.labels != pair.after.labels)
        if pair.changes:
            assert pair.mask.mean() < 0.6
            return
    pytest.fail(f"no scene of {theme} has {kind}")


def test_a_pair_without_changes() -> None:
    pair = render_pair(height=90, width=120, theme="town", seed=2, changes=())
    assert not pair.mask.any() and pair.changes == ()
    assert not np.array_equal(pair.before.image, pair.after.image)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"theme": "harbor"}, "Did you mean 'harbour'"),
        ({"theme": "moon"}, "Unknown theme 'moon'"),
        ({"height": 0}, "at least one pixel"),
        ({"gsd": 30.0}, "0.1 to 5 metres"),
        ({"gsd": float("nan")}, "0.1 to 5 metres"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_are_explained(arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        render_scene(**({"height": 32, "width": 40} | arguments))
    with pytest.raises(UsageError, match=re.escape(words)):
        render_pair(**({"height": 32, "width": 40} | arguments))


def test_wrong_changes_are_explained() -> None:
    with pytest.raises(UsageError, match="Did you mean 'ships'"):
        render_pair(height=32, width=40, changes=("ship",))
    with pytest.raises(UsageError, match="number of changes"):
        render_pair(height=32, width=40, amount=-1)
