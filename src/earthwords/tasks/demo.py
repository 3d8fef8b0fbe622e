"""The main job on a scene that is rendered on the spot, so that the truth is known and no network needed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from earthwords.inference.checks import check_parts
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from earthwords.inference.change.dates.report import ChangeReport
    from earthwords.reports import SceneReport

WORDS = (
    "building,roof,house",
    "road,street",
    "water,river,lake",
    "trees,forest",
    "grass,meadow,field,cropland",
)
"""What the demo asks for; a rendered class belongs to the words that name it."""


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """How well the map agrees with what was rendered."""

    folder: Path
    iou: dict[str, float]
    """Class title to intersection over union, 0..1; classes that are not in the scene are left out."""
    miou: float
    seconds: float
    """Wall time of everything: rendering, loading, segmenting, writing."""
    report: SceneReport

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "folder": str(self.folder), "report": self.report.as_json()}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = [[name, f"{value:.1%}"] for name, value in self.iou.items()]
        rows.append(["mean", f"{self.miou:.1%}"])
        return f"Agreement with the truth; {self.seconds:.1f} s in all; see {self.folder}", ["class", "IoU"], rows


@dataclass(frozen=True, kw_only=True)
class ChangeDemo:
    """How well the map of changes agrees with what was rendered."""

    folder: Path
    f1: dict[str, float | None]
    """Of the pixels of buildings that are gone, that are new, and of both, 0..1; None: there are none, on the map
    either."""
    seconds: float
    """Wall time of everything: rendering, loading, comparing, writing."""
    report: ChangeReport

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        found = {"folder": str(self.folder), "f1": self.f1, "seconds": self.seconds}
        return {**found, "report": self.report.as_json()}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = [[name, "-" if value is None else f"{value:.1%}"] for name, value in self.f1.items()]
        return f"Agreement with the truth; {self.seconds:.1f} s in all; see {self.folder}", ["buildings", "F1"], rows


@opt.documented
def demo(
    folder: Annotated[Path, opt.option(opt.ARGUMENTS, name=["--folder", "--out", "-o"])] = Path("earthwords-demo"),
    *,
    change: Annotated[bool, opt.option(opt.ARGUMENTS, negative="")] = False,
    size: Annotated[int | None, opt.option(opt.ARGUMENTS, metavar="PIXELS")] = None,
    seed: Annotated[int, opt.option(opt.ARGUMENTS, metavar="N")] = 5,
    preset: opt.Preset = DEFAULT_PRESET,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> DemoResult | ChangeDemo:
    """Render a scene, segment it by words, and compare with the truth; needs no network and no data.

    Args:
        folder: Where scene.tif, truth.tif and the outputs of `segment` go; or before.tif, after.tif and those of
            `change`.
        change: Two dates between which buildings came and went, and the map of that.
        size: Height of the scene in pixels of 0.5 m; it is a quarter wider. Default: 1024, of two dates 320.
        seed: Another one renders another scene.

    Returns:
        How well the map agrees with what was rendered, class by class; of two dates what came and what went.

    Raises:
        UsageError: a wrong option, or an earlier demo is there.
        OutputError: an output cannot be written.
        WeightsError: the weights of another preset than tiny are missing.

    Example:
        >>> earthwords.demo("first", size=512).miou
    """
    if change:
        return _change_demo(
            Path(folder), 320 if size is None else size, seed, preset=preset, overwrite=overwrite, device=device,
            offline=offline, quiet=quiet,
        )  # fmt: skip
    size = 1024 if size is None else size
    from earthwords.geo.destinations import plan_outputs

    console = Console(quiet=quiet)
    began = time.perf_counter()
    folder = Path(folder)
    check_parts(load_preset(preset), maps=True)  # a wrong name is told before anything is rendered
    plan_outputs(folder, probabilities=False, overwrite=overwrite)

    import numpy as np

    from earthwords.files.atomic import check_output
    from earthwords.geo.geotiff import RasterWriter
    from earthwords.geo.sources.gdal_dataset import read_band
    from earthwords.synthetic import CLASSES, render_scene
    from earthwords.tasks.segment import segment

    made = not folder.exists()
    for name in ("scene.tif", "truth.tif"):
        check_output(folder / name, overwrite=overwrite)
    with _removed_on_failure(folder, made=made, kept=overwrite):
        scene = render_scene(height=size, width=size * 5 // 4, gsd=0.5, theme="bridge", seed=seed)
        with RasterWriter(folder / "scene.tif", grid=scene.grid, count=3, dtype="uint8", overwrite=overwrite) as writer:
            writer.write(0, np.moveaxis(scene.image, -1, 0))
        with RasterWriter(
            folder / "truth.tif",
            grid=scene.grid,
            dtype="uint8",
            nodata=255,
            colours=[c.colour for c in CLASSES],
            categories=[c.title for c in CLASSES],
            overwrite=overwrite,
        ) as writer:
            writer.write(0, scene.labels)
        console.say(f"Rendered {size} x {size * 5 // 4} pixels of 0.5 m with known truth.")
        made_map = segment(
            str(folder / "scene.tif"), folder, text=WORDS, preset=preset, overwrite=overwrite, device=device,
            offline=offline or preset == DEFAULT_PRESET, quiet=quiet,
        )  # fmt: skip
    iou = _agreement(scene.labels, read_band(folder / "labels.tif"), [c.title for c in CLASSES])
    seconds = round(time.perf_counter() - began, 1)
    miou = float(np.mean(list(iou.values())))
    return DemoResult(
        folder=folder, iou=iou, miou=round(miou, 4), seconds=seconds, report=cast("SceneReport", made_map)
    )


def _change_demo(
    folder: Path, size: int, seed: int, *, preset: str, overwrite: bool, device: str, offline: bool, quiet: bool
) -> ChangeDemo:
    """Two dates, and what `change` makes of them."""
    from earthwords.geo.destinations import plan_changes

    console, began = Console(quiet=quiet), time.perf_counter()
    check_parts(load_preset(preset), maps=True)
    plan_changes(folder, overwrite=overwrite)

    import numpy as np

    from earthwords.files.atomic import check_output
    from earthwords.geo.geotiff import RasterWriter
    from earthwords.geo.sources.gdal_dataset import read_band
    from earthwords.synthetic import CLASSES, render_pair
    from earthwords.tasks.change import change

    made = not folder.exists()
    for name in ("before.tif", "after.tif", "truth.tif"):
        check_output(folder / name, overwrite=overwrite)
    with _removed_on_failure(folder, made=made, kept=overwrite):
        kinds = ("buildings built", "buildings removed")
        pair = render_pair(height=size, width=size * 5 // 4, gsd=0.5, theme="town", seed=seed, changes=kinds)
        for name, scene in (("before", pair.before), ("after", pair.after)):
            path = folder / f"{name}.tif"
            with RasterWriter(path, grid=scene.grid, count=3, dtype="uint8", overwrite=overwrite) as writer:
                writer.write(0, np.moveaxis(scene.image, -1, 0))
        building = next(i for i, kind in enumerate(CLASSES) if kind.title == "building")
        first, second = pair.before.labels == building, pair.after.labels == building
        truth = np.where(first & ~second, 1, np.where(second & ~first, 2, 0)).astype(np.uint8)
        path = folder / "truth.tif"
        with RasterWriter(path, grid=pair.before.grid, dtype="uint8", nodata=255, overwrite=overwrite) as writer:
            writer.write(0, truth)
        console.say(f"Rendered two dates of {size} x {size * 5 // 4} pixels of 0.5 m with known truth.")
        report = change(
            folder / "before.tif", folder / "after.tif", folder, text=WORDS[:1], preset=preset, overwrite=overwrite,
            device=device, offline=offline or preset == DEFAULT_PRESET, quiet=quiet,
        )  # fmt: skip
    found = read_band(folder / "change.tif")
    f1 = _agreement_of_changes(truth, found)
    seconds = round(time.perf_counter() - began, 1)
    return ChangeDemo(folder=folder, f1=f1, seconds=seconds, report=cast("ChangeReport", report))


_RENDERED = ("scene.tif", "before.tif", "after.tif", "truth.tif", "truth.tif.aux.xml")


@contextmanager
def _removed_on_failure(folder: Path, *, made: bool, kept: bool) -> Iterator[None]:
    """After an exception take away what was rendered (unless `kept`), and the folder if it was `made` for that."""
    try:
        yield
    except BaseException:
        for name in () if kept else _RENDERED:
            (folder / name).unlink(missing_ok=True)
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _agreement_of_changes(truth: NDArray[np.uint8], found: NDArray[np.generic]) -> dict[str, float | None]:
    """See `ChangeDemo.f1`; 1 is gone, 2 is new."""
    import numpy as np

    f1: dict[str, float | None] = {}
    for name, labels in (("gone", [1]), ("new", [2]), ("both", [1, 2])):
        mine, true = np.isin(found, labels), np.isin(truth, labels)
        count = int(mine.sum() + true.sum())
        f1[name] = round(2 * int((mine & true).sum()) / count, 4) if count else None
    return f1


def _agreement(truth: NDArray[np.uint8], found: NDArray[np.generic], titles: Sequence[str]) -> dict[str, float]:
    """IoU of every asked class that was rendered; pixels of other things do not count."""
    import numpy as np

    from earthwords.evaluation.metrics.segmentation import Confusion

    asked = [words.split(",")[0] for words in WORDS]
    table = np.full(256, 255, np.uint8)
    for label, title in enumerate(titles):
        for index, words in enumerate(WORDS):
            if title in words.split(","):
                table[label] = index
    confusion = Confusion(len(asked))
    confusion.add(table[truth], found.astype(np.int64))
    present = confusion.counts.sum(axis=1) > 0
    scores = confusion.scores().iou
    return {title: round(float(scores[i]), 4) for i, title in enumerate(asked) if present[i]}
