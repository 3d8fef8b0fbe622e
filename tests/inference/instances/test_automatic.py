"""Masks of a scene tile by tile are those of the whole scene."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.errors import UsageError
from earthwords.geo.scene import SceneSpec, open_scene
from earthwords.inference.instances.automatic import MaskJob, SamMasks, scene_masks
from earthwords.inference.instances.joining import TileMasks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.executor import Function, Local
from earthwords.jobs.job import Worker
from earthwords.jobs.journal import open_journal
from earthwords.mask_set import MaskSet
from earthwords.models.sam.settings import MaskSettings
from earthwords.types import Grid
from tests import published
from tests.conftest import write_raster

AROUND = np.ones((3, 3), int)


@dataclass(frozen=True)
class Regions:
    """Finds what hangs together in the colours of an image; red and green number the things, 0 is the ground."""

    shift: int = 0
    """Pixels that a mask is seen too low, in every second tile."""

    def load(self) -> Callable[[NDArray[np.uint8], Grid], MaskSet]:
        return self.find

    def settings(self) -> dict[str, str]:
        return {"regions": str(self.shift)}

    def find(self, image: NDArray[np.uint8], grid: Grid) -> MaskSet:
        numbers = image[..., 0].astype(int) + 256 * image[..., 1].astype(int)
        masks = []
        for number in np.unique(numbers[numbers > 0]):
            regions, count = ndimage.label(numbers == number, AROUND)
            masks += [regions == i for i in range(1, count + 1)]
        if self.shift and int(grid.transform.c) % 7 < 3:
            masks = [np.roll(mask, self.shift, axis=0) for mask in masks]
        random.Random(image.size).shuffle(masks)
        return MaskSet.pack(grid, [(0, 0)] * len(masks), masks, scores=np.linspace(0.5, 1, len(masks)))


def scene_of(numbers: NDArray[np.int_], path: Path) -> SceneSpec:
    """A raster whose colours number things."""
    bands = np.stack([numbers % 256, numbers // 256, np.full_like(numbers, 7)]).astype(np.uint8)
    write_raster(path, bands)
    return SceneSpec(source=str(path), stretch="none")


def things(height: int, width: int, *, count: int, most: int, seed: int) -> NDArray[np.int_]:
    """Blobs of at most `most` pixels a side, numbered; later ones may cut earlier ones in two."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((height, width), int)
    for i in range(1, count + 1):
        tall, wide = rng.integers(1, most + 1, 2)
        row, col = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        blob = ndimage.gaussian_filter(rng.random((tall, wide)), 1) > 0.4
        numbers[row : row + tall, col : col + wide][blob] = i
    return numbers


def parts_of(numbers: NDArray[np.int_]) -> set[tuple[int, int, bytes]]:
    """Where each connected part of a thing lies, and its pixels."""
    found = set()
    for number in np.unique(numbers[numbers > 0]):
        regions, _ = ndimage.label(numbers == number, AROUND)
        for i, (rows, cols) in enumerate(ndimage.find_objects(regions), 1):
            found.add((rows.start, cols.start, (regions[rows, cols] == i).tobytes()))
    return found


def listed(masks: MaskSet) -> list[tuple[int, int, bytes]]:
    return [(row, col, mask.tobytes()) for row, col, mask in masks]


@pytest.mark.parametrize(("side", "margin"), [(64, 16), (48, 5), (40, 13), (400, 20)])
def test_small_things_at_the_borders_of_tiles(side: int, margin: int, tmp_path: Path) -> None:
    """Every one exactly once and whole, wherever it lies; in the order of places."""
    numbers = things(150, 217, count=260, most=min(margin, 14), seed=side)
    job = MaskJob(spec=scene_of(numbers, tmp_path / "a.tif"), source=Regions(), side=side, margin=margin)
    with job.spec.open() as scene:
        masks = scene_masks(scene, job)
        assert (len(job.tiles(scene)) == 1) == (side == 400) and masks.grid.shape == (150, 217)
    found = listed(masks)
    assert len(found) == len(set(found)) > 150 and set(found) == parts_of(numbers)
    assert [place[:2] for place in found] == sorted(place[:2] for place in found)


@pytest.mark.parametrize(("side", "margin"), [(40, 6), (32, 1), (61, 11)])
def test_things_of_any_size_and_shape(side: int, margin: int, tmp_path: Path) -> None:
    """A spiral, a comb and blobs as large as several tiles."""
    numbers = things(160, 190, count=25, most=90, seed=side)
    numbers[8:13, 5:185] = numbers[8:150, 180:185] = numbers[145:150, 20:185] = 300
    numbers[30:150, 20:24] = numbers[30:34, 20:150] = numbers[30:120, 146:150] = 300
    numbers[60:64, 40:140] = 301
    for col in range(40, 140, 9):
        numbers[60:110, col : col + 3] = 301
    job = MaskJob(spec=scene_of(numbers, tmp_path / "a.tif"), source=Regions(), side=side, margin=margin)
    with job.spec.open() as scene:
        found = listed(scene_masks(scene, job))
    assert len(found) == len(set(found)) and set(found) == parts_of(numbers)
    assert max(len(pixels) for _, _, pixels in found) > 20_000


def test_tiles_that_do_not_agree_to_the_pixel(tmp_path: Path) -> None:
    """A thing that tiles see a pixel apart is still one, as one of them sees it."""
    numbers = np.zeros((130, 200), int)
    for i, (row, col) in enumerate((row, col) for row in range(4, 118, 14) for col in range(3, 188, 13)):
        numbers[row : row + 9, col : col + 8] = i + 1
    job = MaskJob(spec=scene_of(numbers, tmp_path / "a.tif"), source=Regions(shift=1), side=48, margin=12)
    with job.spec.open() as scene:
        masks = scene_masks(scene, job)
    assert len(masks) == numbers.max() and set(masks.areas.tolist()) == {72}
    rows = {row for row, _, _ in masks}
    assert rows <= {*range(4, 118, 14), *range(5, 119, 14)} and len(rows) > 9


def test_masks_of_two_classes_stay_two(tmp_path: Path) -> None:
    """The same ground may be two things."""
    numbers = np.zeros((60, 100), int)
    numbers[20:40, 10:90] = 1

    @dataclass(frozen=True)
    class Twice(Regions):
        def find(self, image: NDArray[np.uint8], grid: Grid) -> MaskSet:
            (one,) = super().find(image, grid)
            places, masks = [one[:2]] * 2, [one[2]] * 2
            return MaskSet.pack(grid, places, masks, classes=[1, 0], titles=["roof", "house"])

    job = MaskJob(spec=scene_of(numbers, tmp_path / "a.tif"), source=Twice(), side=60, margin=8)
    with job.spec.open() as scene:
        masks = scene_masks(scene, job)
    assert masks.boxes.tolist() == [[20, 10, 20, 80]] * 2 and sorted(masks.classes) == [0, 1]
    assert masks.titles == ("roof", "house")


def test_what_only_one_tile_sees_is_told(tmp_path: Path) -> None:
    """A thing that goes on behind the border of the tile that sees it."""
    numbers = np.zeros((60, 100), int)
    numbers[20:40, 10:90] = 1
    numbers[50:55, 5:9] = 2

    @dataclass(frozen=True)
    class Left(Regions):
        def find(self, image: NDArray[np.uint8], grid: Grid) -> MaskSet:
            found = super().find(image, grid)
            return found if grid.transform.c == scene.grid.transform.c else found.take([])

    job = MaskJob(spec=scene_of(numbers, tmp_path / "a.tif"), source=Left(), side=60, margin=8)
    notes: list[str] = []
    with job.spec.open() as scene:
        masks = scene_masks(scene, job, notes=notes)
        assert masks.boxes.tolist() == [[20, 10, 20, 50], [50, 5, 5, 4]]
        assert len(notes) == 1 and notes[0].startswith("1 of 2 masks reach the border of a tile")
        scene_masks(scene, replace(job, source=Regions()), notes=notes)
    assert len(notes) == 1


def test_what_was_not_observed_is_in_no_mask(tmp_path: Path) -> None:
    """Masks lose such pixels, and tiles without others are not asked about."""
    numbers = np.ones((90, 120), int)
    spec = replace(scene_of(numbers, tmp_path / "a.tif"), mask=str(tmp_path / "mask.tif") + ":0")
    valid = np.zeros((90, 120), np.uint8)
    valid[5:80, 3:47] = 1
    write_raster(tmp_path / "mask.tif", valid[None])
    asked = []

    @dataclass(frozen=True)
    class Everything(Regions):
        def find(self, image: NDArray[np.uint8], grid: Grid) -> MaskSet:
            asked.append(image)
            return MaskSet.pack(grid, [(0, 0)], [np.ones(grid.shape, bool)])

    with spec.open() as scene:
        masks = scene_masks(scene, MaskJob(spec=spec, source=Everything(), side=40, margin=4))
    assert np.array_equal(masks.union(), valid.astype(bool)) and len(masks) == 1
    assert 0 < len(asked) < 9 and all((image == image[0, 0]).all() for image in asked)


def test_a_region_and_another_working_grid(tmp_path: Path) -> None:
    """Masks lie on the working grid of the region."""
    numbers = np.zeros((120, 160), int)
    numbers[40:60, 60:90] = 3
    numbers[20:36, 100:140] = 4
    spec = scene_of(numbers, tmp_path / "a.tif")
    with spec.open() as scene:
        west, _, east, north = scene.native.bounds
        step = (east - west) / 160
        bounds = (west + 50 * step, north - 80 * step, west + 130 * step, north - 10 * step)
        double = 2 * (scene.native.gsd_m or 1)
    part = replace(spec, bounds=bounds)
    with part.open() as scene:
        masks = scene_masks(scene, MaskJob(spec=part, source=Regions(), side=32, margin=4))
        assert masks.grid == scene.native.window(scene.region)
    assert masks.boxes.tolist() == [[10, 50, 16, 30], [30, 10, 20, 30]]
    coarse = replace(spec, gsd=double)
    with coarse.open() as scene:
        masks = scene_masks(scene, MaskJob(spec=coarse, source=Regions(), side=32, margin=4))
        assert masks.grid == scene.grid and masks.grid.shape == (60, 80)
    large = masks.boxes[masks.areas > 40]  # at its border a thing and the ground make other numbers
    assert len(large) == 2 and np.abs(large - [[10, 50, 8, 20], [20, 30, 10, 15]]).max() <= 2


class Backwards(Local):
    """The last tile first, each by a worker of its own, as if it were another process."""

    def run(self, function: Function, tasks: Iterable[Any], **more: Any) -> Iterator[tuple[int, Any]]:
        for number, task in reversed(list(enumerate(tasks))):
            sent, worker = pickle.loads(pickle.dumps(function)), Worker()
            yield number, pickle.loads(pickle.dumps(sent(worker, task)))


def same(found: MaskSet, expected: MaskSet) -> bool:
    return (
        listed(found) == listed(expected)
        and np.array_equal(found.scores, expected.scores)
        and np.array_equal(found.classes, expected.classes)
    )


def test_the_order_of_tiles_and_workers_change_nothing(tmp_path: Path) -> None:
    numbers = things(110, 130, count=80, most=30, seed=3)
    job = MaskJob(spec=scene_of(numbers, tmp_path / "a.tif"), source=Regions(shift=1), side=48, margin=8)
    with job.spec.open() as scene:
        expected = scene_masks(scene, job)
        assert len(expected) > 60 and same(scene_masks(scene, job, executor=Backwards()), expected)


def test_a_run_that_ended_early_goes_on(tmp_path: Path) -> None:
    """Tiles in the journal are not computed again, and give the same masks."""
    numbers = things(100, 90, count=50, most=30, seed=4)
    job = MaskJob(spec=scene_of(numbers, tmp_path / "a.tif"), source=Regions(), side=48, margin=8)
    ticks: list[float] = []

    def stop(done: float) -> None:
        ticks.append(done)
        if sum(ticks) == 4:
            raise KeyboardInterrupt

    with job.spec.open() as scene:
        expected, tiles = scene_masks(scene, job), len(job.tiles(scene))
        again: list[float] = []
        for tick in (stop, again.append):
            try:
                with open_journal(tmp_path / ".journal", settings=job.settings()) as journal:
                    assert same(scene_masks(scene, job, journal=journal, tick=tick), expected)
            except KeyboardInterrupt:
                assert len(ticks) == 4
    assert sum(again) == tiles - 3 > 2


def test_tiles_as_bytes() -> None:
    grid = open_scene(np.zeros((9, 14, 3), np.uint8)).grid
    one, other = np.eye(4, 5, dtype=bool), np.ones((1, 11), bool)
    masks = MaskSet.pack(grid, [(2, 3), (8, 0)], [one, other], scores=[0.25, 1], classes=[1, 0], titles=["a", "ä"])
    for some in (masks, masks.take([1]), masks.take([])):
        tile = TileMasks(masks=some, cut=np.arange(len(some)) > 0, failures=("rows 1..2",))
        found = TileMasks.from_bytes(tile.to_bytes(), grid)
        assert same(found.masks, some) and found.masks.titles == ("a", "ä") and found.failures == tile.failures
        assert np.array_equal(found.cut, tile.cut)


@pytest.mark.parametrize("margin", [0, 16])
def test_margins_that_leave_no_core(margin: int, tmp_path: Path) -> None:
    job = MaskJob(spec=scene_of(np.zeros((50, 60), int), tmp_path / "a.tif"), source=Regions(), side=32, margin=margin)
    with job.spec.open() as scene, pytest.raises(UsageError, match=f"Tiles of 32 .* got {margin}"):
        scene_masks(scene, job)


def test_sam_of_a_scene(tmp_path: Path) -> None:
    """A scene that fits into a tile has the masks that the generator gives; those of more tiles lie in the scene."""
    torch.manual_seed(0)
    published.write_sam(tmp_path / "sam")
    pixels = np.random.default_rng(2).integers(0, 256, (3, 12, 16), np.uint8).repeat(6, 1).repeat(6, 2)
    write_raster(tmp_path / "a.tif", pixels)
    spec = SceneSpec(source=str(tmp_path / "a.tif"), stretch="none")
    rules = MaskSettings(name="all", points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1)
    source, policy = SamMasks(weights=str(tmp_path / "sam"), rules=rules), FailurePolicy()
    with spec.open() as scene:
        whole = scene_masks(scene, MaskJob(spec=spec, source=source, side=96, margin=8), policy=policy)
        expected = source.load()(np.ascontiguousarray(pixels.transpose(1, 2, 0)), scene.grid)
        order = np.lexsort(expected.boxes.T[::-1])
        assert listed(whole) == listed(expected.take(order)) and len(whole) > 5
        many = scene_masks(scene, MaskJob(spec=spec, source=source, side=48, margin=8), policy=policy)
    assert len(many) and many.boxes.min() >= 0 and not policy.failures
    assert ((many.boxes[:, :2] + many.boxes[:, 2:]) <= (72, 96)).all()
