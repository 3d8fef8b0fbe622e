"""`evaluate segmentation`: all sets, presets, ablations, workers, and runs that were killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from earthwords.data.segmentation.fakes import FAKES, make_fake
from earthwords.data.segmentation.loader import open_set
from earthwords.data.segmentation.spec import all_specs, find_spec
from earthwords.evaluation.benchmark.variants import find_variants
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.device import worker_device
from earthwords.presets import load_preset
from earthwords.tasks.evaluate import evaluate
from tests.conftest import Command
from tests.data.segmentation.test_prepare import check, prepare
from tests.micro import patchwork

PRESET = 'base = "tiny"\nweights = "{micro}"\ntile_size = 32\noverlap = 16\n'
PARTS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of Dubai's form, two of buildings; a folder that is no set."""
    folder = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(2)
    for name, files in {
        "dubai_mbrsc": [f"tile{7 + part % 2}_image_part_{1 + part:03d}" for part in range(PARTS)],
        "buildings_mix": ["crowdai_1", "nzlnd_38"],
    }.items():
        for kind in ("images", "masks"):
            (folder / name / kind).mkdir(parents=True)
        for number, stem in enumerate(files):
            height, width = 40 + 7 * number, 66 - 3 * number
            Image.fromarray(patchwork(height, width, seed=number)).save(
                folder / name / "images" / f"{stem}.jpg", quality=95
            )
            labels = np.kron(rng.integers(0, 5, (12, 9)), np.ones((8, 8), int))[:height, :width].astype(np.uint8)
            if name == "dubai_mbrsc":
                labels[:4] = 255
            else:
                labels = ((labels == 1) * 255).astype(np.uint8)
            Image.fromarray(labels).save(folder / name / "masks" / f"{stem}.png")
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="module")
def toml(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset with the toy model and small windows."""
    path = tmp_path_factory.mktemp("presets") / "toy.toml"
    path.write_text(PRESET.format(micro=micro))
    return path


Run = Callable[..., Any]


@pytest.fixture
def run(root: Path, toml: Path, tmp_path: Path) -> Run:
    """`run("dubai", ...)`: measure with the toy preset."""

    def measured(*names: str, **options: Any) -> Any:
        options = {"data": root, "preset": str(toml), "out": tmp_path / "out", "quiet": True, **options}
        return evaluate("segmentation", *names, **options)

    return measured


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the one with times."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("times.json", None)
    return found


def test_every_set_from_its_fake_to_its_figures(tmp_path: Path, command: Command, tiny: Path) -> None:
    """Fake, prepare, check, evaluate with the embedded model; the smallest original of each that suffices."""
    for name in FAKES:
        spec = find_spec(name)
        make_fake(name, tmp_path / "src" / name)
        if spec.only and name in ("potsdam", "vaihingen", "inria", "dubai"):
            spec = replace(spec, count=None)
        prepare(name, tmp_path / "src" / name, tmp_path / "sets" / name, partial=True)
        assert not [line for line in check(name, tmp_path / "sets" / name, partial=True).lines if line.ok is False]
    done = command(
        "evaluate", "segmentation", "--data", tmp_path / "sets", "--out", tmp_path / "out", "--most", 1, "--examples",
        0, "--image-size", 48, "--preset", "tiny", "--quiet", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    entries = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert [entry["dataset"] for entry in entries] == [spec.name for spec in all_specs()]
    text = (tmp_path / "out" / "results.md").read_text()
    for entry, spec in zip(entries, all_specs(), strict=True):
        figures, settings = entry["figures"], entry["settings"]
        assert entry["classes"] == list(spec.titles) and figures["metric"] == spec.metric
        assert figures["images"] == 1 and len(figures["image_scores"]) == 1
        assert np.array(figures["confusion"]).shape == (len(spec.classes), len(spec.classes) + 1)
        assert 0 <= figures["tuned"]["aAcc"] <= 100 and len(figures["fixed"]["IoU"]) == len(spec.classes)
        assert figures["fixed"]["threshold"] == 0 and settings["cls_weight"] == "0"
        wanted = spec.settings["segearth-ov"].threshold if spec.settings else 0.0
        assert figures["tuned"]["threshold"] == wanted
        assert f"| {spec.name} | {spec.metric} | 1 |" in text
    assert text.index("| openearthmap |") < text.index("| loveda |") < text.index("| vdd |")
    assert "| 40.3 |" in text and "| 29.1 ? |" in text and "?: unverified." in text


def test_figures_are_those_of_a_plain_loop(root: Path, toml: Path, run: Run) -> None:
    found = run("dubai", threshold=0.3).entries[0]
    assert (found.task, found.dataset, found.model) == ("segmentation", "dubai", "toy")
    segmenter, items = Segmenter.from_preset(load_preset(str(toml))), open_set("dubai", root / "dubai_mbrsc")
    for which, least in (("tuned", 0.0), ("fixed", 0.3)):
        hit, true, said = np.zeros(5), np.zeros(5), np.zeros(5)
        for item in items:
            result = segmenter.predict(item.image, items.vocabulary("toy"), threshold=least)
            for label in range(5):
                truth, meant = item.labels == label, (result.labels == label) & (item.labels != 255)
                hit[label] += (truth & meant).sum()
                true[label], said[label] = true[label] + truth.sum(), said[label] + meant.sum()
        with np.errstate(invalid="ignore"):
            iou = 100 * hit / (true + said - hit)
        part = found.figures[which]
        assert part["threshold"] == least
        np.testing.assert_allclose([np.nan if v is None else v for v in part["IoU"]], iou, rtol=0, atol=1e-12)
        assert part["mIoU"] == pytest.approx(np.nanmean(iou), abs=1e-12)
        assert part["aAcc"] == pytest.approx(100 * hit.sum() / true.sum(), abs=1e-12)
    assert found.figures["tuned"]["mIoU"] != found.figures["fixed"]["mIoU"]
    assert 5 < found.figures["tuned"]["mIoU"] < 60


def test_classes_with_a_threshold_of_their_own_are_measured_at_it(
    root: Path, toml: Path, run: Run, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    title = open_set("dubai", root / "dubai_mbrsc").spec.titles[1]
    own.write_text(f'base = "{toml}"\nthresholds = {{ "{title}" = 0.99 }}\n')
    plain, found = run("dubai").entries[0], run("dubai", preset=str(own)).entries[0]
    assert found.settings["thresholds of classes"] == f"{title} 0.99"
    for which in ("tuned", "fixed"):
        before, after = plain.figures[which], found.figures[which]
        assert before["recall"][1] > 0 and not after["recall"][1], "no pixel is so sure"
        assert before["recall"][2] == after["recall"][2]
    given = run("dubai", preset=str(own), threshold=0.0).entries[0]
    assert "thresholds of classes" not in given.settings
    assert given.figures["fixed"]["IoU"] == plain.figures["fixed"]["IoU"]


def test_pictures_are_of_the_best_the_median_and_the_worst(root: Path, run: Run, tmp_path: Path) -> None:
    found = run("dubai", examples=2).entries[0]
    shown, scores = found.figures["examples"], dict(found.figures["image_scores"])
    assert [row["kind"] for row in shown] == ["best", "median", "worst"]
    assert shown[0]["score"] == max(scores.values()) == scores[shown[0]["name"]]
    assert shown[2]["score"] == min(scores.values())
    items = {item.name: item for item in open_set("dubai", root / "dubai_mbrsc")}
    colours = np.array(find_spec("dubai").palette)
    for row in shown:
        item = items[row["name"]]
        truth, said, image = (
            np.asarray(Image.open(tmp_path / "out" / row[kind]).convert("RGB")).astype(int)
            for kind in ("truth", "prediction", "image")
        )
        counted = item.labels != 255
        assert np.array_equal(truth[counted], colours[item.labels[counted]])
        assert (np.ptp(truth[~counted], axis=-1) == 0).all(), "grey"
        assert {tuple(rgb) for rgb in said.reshape(-1, 3)} <= {tuple(rgb) for rgb in colours}
        with rasterio.open(item.image) as dataset:
            assert np.array_equal(image, np.moveaxis(dataset.read(), 0, -1))
        right = sum((np.all(said == colours[c], -1) & (item.labels == c)).sum() for c in range(5)) / counted.sum()
        assert 0 < right < 1


def test_presets_in_one_run_and_what_is_done_is_kept(root: Path, toml: Path, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(toml.read_text() + 'attention = "maskclip"\n')
    both = run("dubai", "buildings-mix", preset=[f"{toml},{other}", str(toml)], examples=0)
    assert [(e.model, e.dataset) for e in both.entries] == [
        (model, name) for model in ("toy", "other") for name in ("dubai", "buildings-mix")
    ]
    assert both.entries[1].figures["metric"] == "IoU" and both.entries[0].figures != both.entries[2].figures
    text = (tmp_path / "out" / "results.md").read_text()
    assert "| data set | figure | images | toy | toy, fixed threshold | other | other, fixed threshold |" in text
    again = run("buildings_mix", "dubai_mbrsc", examples=0)
    assert again.reused == 2 and [e.dataset for e in again.entries] == ["buildings-mix", "dubai"]
    assert run("dubai", examples=0, threshold=0.4).reused == 0, "another fixed threshold"
    assert run("dubai", examples=0, templates="none").reused == 0, "other words"
    image = root / "buildings_mix" / "masks" / "nzlnd_38.png"
    before = image.read_bytes()
    try:
        Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
        assert run("buildings-mix", examples=0).reused == 0, "other labels"
    finally:
        image.write_bytes(before)
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["results"]) == 4


def test_without_names_all_sets_of_a_folder_or_the_folder_itself(root: Path, run: Run) -> None:
    assert [e.dataset for e in run(examples=0, most=1).entries] == ["dubai", "buildings-mix"]
    alone = run(examples=0, most=2, data=root / "dubai_mbrsc").entries
    assert [(e.dataset, e.figures["images"]) for e in alone] == [("dubai", 2)]
    names = [name for name, _ in alone[0].figures["image_scores"]]
    assert names == ["tile7_image_part_001", "tile8_image_part_004"], "evenly drawn"
    assert [e.dataset for e in run("dubai", examples=0, most=1, data=root / "dubai_mbrsc").entries] == ["dubai"]


def test_an_image_may_be_seen_smaller(run: Run) -> None:
    own, small = (run("dubai", examples=0, most=1, image_size=side).entries[0] for side in (0, 24))
    assert own.settings["images seen"] == "as segment does"
    assert small.settings["images seen"] == "24 pixels at their longer side"
    assert own.figures["confusion"] != small.figures["confusion"]
    assert np.sum(own.figures["confusion"]) == np.sum(small.figures["confusion"]), "the truth stays as it is"


def test_settings_of_papers(micro: Path, run: Run, tmp_path: Path) -> None:
    """A preset without a ground resolution sees sets as SegEarth-OV does, with its weight of the global token."""
    for name in ("xbd", "whu-aerial"):
        make_fake(name, tmp_path / "src" / name)
        prepare(name, tmp_path / "src" / name, tmp_path / "sets" / name, partial=True)
    row = tmp_path / "row.toml"
    row.write_text(f'base = "segearth-ov"\nweights = "{micro}"\n')
    found = run(data=tmp_path / "sets", preset=str(row), most=1, examples=0).entries
    told = {e.dataset: (e.settings["cls_weight"], e.figures["tuned"]["threshold"]) for e in found}
    assert told == {"xbd": ("0", 0.0), "whu-aerial": ("-0.3", 0.6)}
    assert {e.settings["images seen"] for e in found} == {"448 pixels at their longer side"}
    assert found[0].settings["tuned threshold"] == "0.6, tuned for segearth-ov"
    assert found[0].figures["tuned"]["recall"][0] >= found[0].figures["fixed"]["recall"][0], "more background"


def test_ablations(run: Run, tmp_path: Path) -> None:
    found = run("dubai", compare="attention", most=2, examples=0)
    assert [e.model for e in found.entries][:2] == ["toy+attention=vanilla", "toy+attention=maskclip"]
    assert len(found.entries) == 7 and not found.left_out
    biases = run("dubai", compare="bias", most=1, examples=0)
    assert [e.settings["cls_weight"] for e in biases.entries] == ["0", "-0.1", "-0.2", "-0.3", "-0.4", "-0.5"]
    upsamplers = run("dubai", compare="upsampler", most=1, examples=0)
    assert [e.settings["variant"] for e in upsamplers.entries] == ["none", "bilinear"]
    assert any(text.startswith("toy+upsampler=jbu on dubai: ") for text in upsamplers.left_out)
    lines = (tmp_path / "out" / "results.md").read_text().splitlines()
    start = lines.index("## Segmentation: attention of toy on dubai") + 2
    assert lines[start].startswith("| attention | mIoU | difference |")
    values = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 : start + 9]]
    assert [row[0] for row in values] == ["vanilla", "maskclip", "sclip", "gem", "clearclip", "naclip", "segearth"]
    assert values[0][2] == ""
    for row in values[1:]:
        assert float(row[2]) == pytest.approx(float(row[1]) - float(values[0][1]), abs=0.011)
    assert "## Segmentation: bias of toy on dubai" in lines


def test_backbones_and_templates(run: Run, micro: Path, toml: Path) -> None:
    found = run("dubai", compare="backbone", backbones=f"{micro},tiny", most=1, examples=0)
    assert [e.settings["variant"] for e in found.entries] == [str(micro), "tiny"]
    here = run("dubai", compare="backbone", most=1, examples=0)
    assert [e.settings["variant"] for e in here.entries] == [str(micro), "tiny"], "what is here already"
    assert len(here.left_out) > 8 and all("run once without --offline" in text for text in here.left_out)
    assert next(v.about["variant"] for v in find_variants([str(toml)], compare="templates")) == "none"


@pytest.mark.parametrize("cluster", [None, pytest.param("local", marks=pytest.mark.slow)])
def test_workers_change_nothing(run: Run, tmp_path: Path, cluster: str | None) -> None:
    if cluster:
        pytest.importorskip("ray", reason="Ray is not installed")
    run("dubai", out=tmp_path / "one")
    run("dubai", out=tmp_path / "two", workers=2, cluster=cluster)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_workers_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert [worker_device("cuda", number) for number in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert [worker_device(device, 1) for device in ("cuda:2", "cpu", "mps")] == ["cuda:2", "cpu", "mps"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert worker_device("cuda", 4) == "cuda"


DRIVER = """
import contextlib, io, json, os, signal, sys

from earthwords.cli import main
from earthwords.jobs.journal import Journal
import earthwords.evaluation.benchmark.segmentation

events, out, *argv = json.loads(sys.argv[1])


def command(event):
    "The command in a child that kills itself when so many things have happened; its exit code, or minus the signal."
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = [event]

    def count(function):
        def counted(*args, **kwargs):
            for step in (0, 1):
                if step:
                    result = function(*args, **kwargs)
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result
        return counted

    def torn(self, name, result):
        left[0] -= 1
        if left[0] == 0:
            self._file.write(b"\\3\\0\\0\\0\\xff")
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return save(self, name, result)

    save = count(Journal.save)
    Journal.save = torn
    os.replace = count(os.replace)
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        code = main([*argv, "--out", out])
    if code:
        print(said.getvalue(), file=sys.__stderr__, flush=True)
    os._exit(code)


codes = [command(event) for event in events]
assert command(0) == 0
print(json.dumps(codes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "events",
    [
        pytest.param([4, 22, 18, 5], id="some"),
        pytest.param([1, 3, 6, 4, 5, 7, 18, 21, 22, 3, 4, 5, 6], id="many", marks=pytest.mark.slow),
    ],
)
def test_killed_and_begun_again_the_same_bytes(
    run: Run, root: Path, toml: Path, tmp_path: Path, events: list[int]
) -> None:
    run("dubai", out=tmp_path / "whole")
    wanted = contents(tmp_path / "whole")
    assert {"results.json", "results.md", "report.html"} <= wanted.keys() and len(wanted) == 4 + 3 * 3
    argv = ["evaluate", "segmentation", "dubai", "--data", root, "--preset", toml, "--quiet"]
    # An image is three: a torn line, before and after a line; a file is two. Five images, the file of times, nine
    # pictures, a plot, results.json, results.md and report.html; the last kills are of runs that find all done.
    told = json.dumps([events, str(tmp_path / "out"), *map(str, argv)])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, told], capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout) == [-9] * len(events)
    assert contents(tmp_path / "out") == wanted


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["segmentation", "dubay", "--data", "ROOT"], ["'dubay' is no set", "Did you mean 'dubai'?"]),
        (["segmentation", "loveda", "--data", "ROOT"], ["does not hold LoveDA", "expected"]),
        (["segmentation", "--data", "ROOT/notes"], ["No folder in", "data list"]),
        (["segmentation", "--data", "ROOT/nowhere"], ["nowhere is not a folder"]),
        (["segmentation", "dubai"], ["give --data ROOT"]),
        (["segmentation", "dubai", "--data", "ROOT", "--preset", "tinny"], ["'tinny'", "Did you mean 'tiny'?"]),
        (["segmentation", "dubai", "--data", "ROOT", "--templates", "aeriel"], ["Did you mean 'aerial'?"]),
        (["segmentation", "dubai", "--data", "ROOT", "--threshold", "1.5"], ["between 0 and 1, got 1.5"]),
        (["segmentation", "dubai", "--data", "ROOT", "--workers", "0"], ["--workers must be at least 1, got 0"]),
        (["segmentation", "dubai", "--data", "ROOT", "--most", "0"], ["--most must be at least 1"]),
        (["segmentation", "dubai", "--data", "ROOT", "--backbones", "tiny"], ["--compare backbone"]),
        (["segmentation", "dubai", "--data", "ROOT", "--compare", "colour"], ["--compare"]),
        (["segmentation", "knn", "--data", "ROOT"], ["apart from knn"]),
        (["scenes", "knn", "--data", "ROOT", "--most", "3"], ["Unknown option: --most", "evaluate scenes --help"]),
        (
            ["segmentation", "dubai", "--data", "ROOT", "--preset", "ROOT/a/x.toml,ROOT/b/x.toml"],
            ["Two presets", "'x'"],
        ),
        (["segmentatoin", "dubai", "--data", "ROOT"], ['Did you mean "segmentation"?']),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_refusals(argv: list[str], fragments: list[str], root: Path, tmp_path: Path, command: Command) -> None:
    for place in ("a", "b"):
        (root / place).mkdir(exist_ok=True)
        (root / place / "x.toml").write_text('base = "tiny"\n')
    words = [word.replace("ROOT", str(root)) for word in argv]
    command("evaluate", *words, "--out", tmp_path / "out", "--quiet").failed(2, *fragments)
    assert not (tmp_path / "out").exists()


def test_labels_of_another_size_are_told(root: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "buildings-mix"
    for kind, suffix, shape in (("images", "jpg", (30, 44)), ("masks", "png", (44, 30))):
        (folder / kind).mkdir(parents=True)
        Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(folder / kind / f"a.{suffix}")
    with pytest.raises(Exception, match=r"a\.png has \(44, 30\) pixels, its image \(30, 44\)"):
        run(data=tmp_path)
    assert not (tmp_path / "out" / "results.json").exists()


def test_two_folders_of_one_set(root: Path, run: Run, tmp_path: Path) -> None:
    for name in ("dubai_a", "dubai_b"):
        (tmp_path / "sets" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"dubai_a and .*dubai_b both are"):
        run(data=tmp_path / "sets")
    with pytest.raises(ValueError, match=r"more than once \(dubai_a and dubai_b\); name the folder"):
        run("dubai", data=tmp_path / "sets")
