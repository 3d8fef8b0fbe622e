"""argv to verb: help, versions, mistakes, JSON, and what is printed where."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import rasterio
import torch
from cyclopts import App

import earthwords
from earthwords.cli.app import app, explain
from earthwords.cli.commands import COMMANDS, FIRST, command_of
from earthwords.cli.commands import Command as Row
from earthwords.cli.show import show
from earthwords.presets import Attention
from earthwords.serve.mcp.verb import mcp
from earthwords.serve.verb import serve
from earthwords.tasks import _options as opt
from earthwords.tasks.assess import assess
from earthwords.tasks.change import change
from earthwords.tasks.classify import classify
from earthwords.tasks.data import check_data, list_data, prepare_data
from earthwords.tasks.demo import demo
from earthwords.tasks.evaluate import evaluate
from earthwords.tasks.evaluate_change import evaluate_change
from earthwords.tasks.evaluate_referring import evaluate_referring
from earthwords.tasks.evaluate_scenes import evaluate_scenes
from earthwords.tasks.evaluate_segmentation import evaluate_segmentation
from earthwords.tasks.expressions import expressions
from earthwords.tasks.index import index
from earthwords.tasks.models import pull, show_model
from earthwords.tasks.pairs import pairs
from earthwords.tasks.refer import refer
from earthwords.tasks.search import search
from earthwords.tasks.segment import segment
from earthwords.tasks.suggest import suggest
from earthwords.tasks.train_change import train_change
from earthwords.tasks.train_clip import train_clip
from earthwords.tasks.train_refer import train_refer
from earthwords.tasks.train_segment import train_segment
from earthwords.tasks.train_upsampler import train_upsampler
from earthwords.tasks.upsample import upsample
from tests.conftest import TRANSFORM, Command, write_raster
from tests.micro import patchwork

HEAVY = ("torch", "transformers", "rasterio", "pyogrio", "geopandas", "scipy", "PIL", "jinja2")


def commands(root: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, as it is typed."""
    yield path
    for name in root:
        if not name.startswith("-"):
            yield from commands(root[name], (*path, name))


def loaded(code: str) -> list[str]:
    """Heavy libraries that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("LOADED")[1].split()


@pytest.mark.parametrize("argv", [["--help"], ["segment", "--help"], ["models", "--version"], ["segment", "--nothing"]])
def test_what_needs_no_model_loads_nothing_heavy(argv: list[str]) -> None:
    assert loaded(f"from earthwords.cli import main; main({argv!r})") == []


@pytest.mark.parametrize("path", list(commands(app)), ids=" ".join)
def test_every_command_has_help(command: Command, path: tuple[str, ...]) -> None:
    done = command(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(" ".join(("Usage: earthwords", *path)))
    assert "Traceback" not in done.out


def test_the_commands() -> None:
    assert {" ".join(path) for path in commands(app)} >= {
        "", "segment", "refer", "upsample", "classify", "evaluate scenes", "evaluate segmentation",
        "evaluate referring", "pairs", "expressions", "demo", "doctor", "models",
        "models pull", "train", "train clip", "train segment", "train upsampler", "train refer",
        "train change",
    }  # fmt: skip


VERBS = [
    segment, change, suggest, refer, upsample, assess, classify, index, search, serve, mcp, evaluate,
    evaluate_scenes,
    evaluate_segmentation, evaluate_referring, evaluate_change, pairs, expressions, demo, list_data, prepare_data,
    check_data, show_model, pull, train_clip, train_segment, train_upsampler, train_refer, train_change,
]  # fmt: skip


def sections(verb: object) -> dict[str, str]:
    """Heading of a docstring's section to its text; what comes before has the heading ""."""
    head, *rest = re.split(r"^(Args|Returns|Raises|Example):\n", inspect.getdoc(verb) or "", flags=re.M)
    return {"": head, **dict(zip(rest[::2], rest[1::2], strict=True))}


@pytest.mark.parametrize("verb", VERBS)
def test_python_help_tells_all(verb: Callable[..., object]) -> None:
    found = sections(verb)
    assert set(found) == {"", "Args", "Returns", "Raises", "Example"}
    described = re.findall(r"^    (\w+): ", found["Args"], flags=re.M)
    assert described == list(inspect.signature(verb).parameters)
    assert "Error: " in found["Raises"]
    example = [line.strip()[4:] for line in found["Example"].splitlines() if line.strip()]
    assert f"earthwords.{verb.__name__}(" in ast.unparse(ast.parse("\n".join(example)))


def page(command: Command, path: Sequence[str], width: int) -> str:
    """A help page of so many columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        return command(*path, "--help").out


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_help_pages(command: Command, row: Row) -> None:
    narrow, wide = (page(command, row.name.split(), width) for width in (80, 120))
    assert narrow.startswith(f"Usage: earthwords {row.name}")
    for text, width in ((narrow, 80), (wide, 120)):
        assert max(map(len, text.splitlines())) <= width
        told = " ".join(text.replace("│", " ").split())
        assert not re.search(r"default: (None|True|False|\(|\[|.*\.0\])", told.replace("[default", "\n[default"))
        assert not any(
            ending in text for ending in ("--no-overwrite", "--no-text", "--empty-", " STR", " FLOAT", " INT")
        )
    assert len(row.examples) == 2
    for what, typed in row.examples:
        assert f"# {what}" in narrow and command_of(typed) in narrow, "an example is not broken at 80 columns"


def test_help_shows_options_in_groups(command: Command) -> None:
    panels = re.findall(r"^╭─ ([A-Z]\w+) ─", page(command, ["segment"], 100), flags=re.M)
    assert panels == ["Arguments", "Words", "Model", "Reading", "Windows", "Outputs", "Running"]
    for path in commands(app):
        text = page(command, path, 100)
        assert "─ Parameters ─" not in text, f"an option of {path} has no group"


def test_help_describes_the_options(command: Command) -> None:
    text = " ".join(page(command, ["segment"], 120).replace("│", " ").split())
    assert "--text -t WORDS A class to look for, commas between synonyms" in text
    assert "--bands --bidx -b R,G,B Bands used as red, green, blue" in text
    assert "--min-area M2 Smallest polygon kept, m2 (pixels without a CRS). [default: 0]" in text
    assert "--bounds W S E N" in text and "[default: 2GiB]" in text and "[default: --resume]" in text


@pytest.mark.parametrize(
    "typed", [typed for rows in (FIRST, *(row.examples for row in COMMANDS)) for _, typed in rows if "$(" not in typed]
)
def test_examples_can_be_typed(typed: str) -> None:
    app.parse_args([word for word in shlex.split(typed.partition(" > ")[0]) if word not in ("--json", "earthwords")])


SAME = {
    "--bands": ("-b", "--bidx"), "--out": ("-o",), "--text": ("-t",), "--nodata": (), "--offline": (), "--quiet": (),
    "--device": (), "--overwrite": (), "--gsd": (),
}  # fmt: skip


@pytest.mark.parametrize("path", [path for path in commands(app) if path], ids=" ".join)
def test_an_option_has_the_same_names_everywhere(path: tuple[str, ...]) -> None:
    home = app
    for word in path:
        home = home[word]
    collection = home.assemble_argument_collection() if home.default_command else ()
    for name, others in SAME.items():
        for argument in collection:
            if name in argument.names:
                assert set(others) <= set(argument.names), f"{' '.join(path)} {name}"


def test_names_of_parts_are_those_of_the_models() -> None:
    from earthwords import plugins
    from earthwords.models.clip.attention import ATTENTION
    from earthwords.models.weights.resolve import IMPLICIT

    upsamplers = set(plugins.names("earthwords.models.upsamplers"))
    assert set(get_args(Attention)) == set(ATTENTION)
    assert set(get_args(opt.Upsampler)) == {"none", *upsamplers}
    assert set(get_args(opt.Method)) == {IMPLICIT, *upsamplers}
    assert set(get_args(opt.Features)) == {"penultimate", *ATTENTION}


def test_the_version(command: Command) -> None:
    assert command("--version").out.strip() == earthwords.__version__


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "earthwords", "sgment"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'Did you mean "segment"?' in done.stderr


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["segmnt", "a", "b"], ['Unknown command "segmnt"', 'Did you mean "segment"?']),
        (["segment", "a", "b", "--treshold", "1"], ["Unknown option: --treshold", "Did you mean --threshold?"]),
        (["segment", "a"], ["DST is missing", "earthwords segment SRC DST -t", "See `earthwords segment --help`"]),
        (["segment", "a", "b", "-t", "road", "water"], ["-t road -t water", "-t road,water"]),
        (["segment", "-t", "bare land", "water", "a", "b"], ["'b' is left over", "-t 'bare land' -t water"]),
        (["segment", "a", "b", "c"], ["'c' is left over", "earthwords segment SRC DST"]),
        (["segment", "a", "b", "-t", "road", "c.tif"], ["'c.tif' is left over", "earthwords segment SRC DST"]),
        (["segment", "a", "b", "-t"], ["-t needs WORDS"]),
        (["segment", "a", "b", "--probabilities"], ["--probabilities needs no or uint8 or float32"]),
        (["segment", "a", "b", "--attention", "gam"], ["--attention", 'Did you mean "gem"?']),
        (["refer", "s.tif", "the white plane", "out.gpkg"], ["earthwords refer s.tif out.gpkg -t 'the white plane'"]),
        (["refer", "s.tif", "a, b", "c", "out", "--all"], ["earthwords refer s.tif out -t 'a, b' -t c"]),
        (["refer", "s.tif", "o.tif", "-t", "a roof", "a lake"], ["-t 'a roof' -t 'a lake'"]),
        (["train", "clip", "list.jsonl"], ["OUT is missing", "earthwords train clip TRAIN-DATA OUT"]),
        (["models", "list"], ["list", "See `earthwords models --help`"]),
        (["models", "pull"], ["NAME is missing"]),
        (["segment", "a", "b", "--bounds", "1", "2"], ["--bounds needs W S E N, got 2 of them"]),
        (["segment", "a", "b", "--gsd", "fine"], ["--gsd", '"fine"']),
    ],
    ids=lambda value: " ".join(value),
)
@pytest.mark.parametrize("debug", [False, True])
def test_mistakes(command: Command, argv: list[str], fragments: list[str], debug: bool) -> None:
    command(*argv, *(["--debug"] if debug else [])).failed(2, *fragments)


@pytest.mark.parametrize("option", ["--batch-size", "--epochs", "--steps", "--lr", "--save-frequency", "--image-size"])
def test_training_needs_positive_numbers(command: Command, tmp_path: Path, option: str) -> None:
    done = command("train", "clip", tmp_path / "list.jsonl", tmp_path / "out", option, 0)
    done.failed(2, f"{option} must be above 0, got 0")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Five bands in degrees, west of Greenwich: a name and a place for every number."""
    data = np.random.default_rng(5).integers(1, 255, (5, 60, 100)).astype(np.uint8)
    data[3] = data[3] // 4
    transform = rasterio.Affine(0.001, 0, -115.1, 0, -0.001, 36.06)
    return write_raster(tmp_path / "five.tif", data, crs="EPSG:4326", transform=transform)


def test_json_alone_on_stdout(command: Command, scene: Path, micro: Path, tmp_path: Path) -> None:
    argv = ["segment", scene, tmp_path / "out.tif", "-t", "road", "-t", "水", "--model", micro]
    done = command(*argv, "--json")
    report = json.loads(done.out)
    assert done.code == 0 and [row["name"] for row in report["classes"]] == ["road", "水"]
    assert "Bands 1,2,3 chosen" in done.err, "notices go to stderr"
    quiet = command(*argv, "--json", "--quiet", "--overwrite")
    assert (quiet.code, quiet.err) == (0, "")
    again = json.loads(quiet.out)
    assert again["classes"] == report["classes"]


def test_numbers_below_zero(command: Command, scene: Path, micro: Path, tmp_path: Path) -> None:
    done = command(
        "segment", scene, tmp_path / "out.tif", "-t", "road", "--model", micro, "--quiet", "--json",
        "--bounds", "-115.09", "36.01", "-115.04", "36.05",
    )  # fmt: skip
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "out.tif") as written:
        assert written.shape == (40, 50)
        np.testing.assert_allclose(written.bounds, (-115.09, 36.01, -115.04, 36.05), atol=1e-9)


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        (["-t", "road", "-t", "water,river"], "road; water,river"),
        (["--text", "bare land", "--text=sea"], "bare land; sea"),
    ],
)
def test_words(command: Command, scene: Path, micro: Path, tmp_path: Path, options: list[str], classes: str) -> None:
    done = command("segment", *options, scene, tmp_path / "out.tif", "--model", micro, "--quiet", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["settings"]["vocabulary"] == classes


@pytest.mark.parametrize("option", [["-b", "4,3,2"], ["--bands=4,3,2"], ["--bidx", "4, 3, 2"]])
def test_bands(command: Command, scene: Path, micro: Path, tmp_path: Path, option: list[str]) -> None:
    done = command("segment", scene, tmp_path / "out.tif", *option, "-t", "a", "--model", micro, "--quiet", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["settings"]["bands"].startswith("4,3,2 (")


def test_a_table_shows_what_was_typed(command: Command, scene: Path, micro: Path, tmp_path: Path) -> None:
    odd = ["[red]roof[/red]", "[/x]", ":house:"]
    words = [part for word in odd for part in ("-t", word)]
    done = command("segment", scene, tmp_path / "out.gpkg", *words, "--model", micro)
    assert done.code == 0
    assert all(word in done.out for word in odd)
    assert "km2" in done.out or " ha" in done.out


def test_areas_in_a_table_have_fitting_units(capsys: pytest.CaptureFixture[str]) -> None:
    from earthwords.reports import ClassReport, SceneReport

    areas = {"pond": 730.0, "field": 52_000.0, "forest": 3_400_000.0}
    rows = tuple(
        ClassReport(label=i, name=name, pixels=9, share=0.3, area_m2=area, mean_score=None, polygons=None)
        for i, (name, area) in enumerate(areas.items())
    )
    settings = {"source": "x.tif", "outputs": {}, "nodata_share": 0.0, "settings": {}, "notes": ()}
    show(SceneReport(classes=rows, seconds={"total": 1.0}, **settings))  # type: ignore[arg-type]
    text = capsys.readouterr().out
    assert "730 m2" in text and "5.20 ha" in text and "3.40 km2" in text


def test_without_a_crs_pixels_are_counted(command: Command, micro: Path, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "plain.tif", np.moveaxis(patchwork(40, 70), -1, 0), crs=None, transform=TRANSFORM)
    done = command("segment", path, tmp_path / "out.tif", "-t", "road", "--model", micro)
    assert done.code == 0 and "pixels" in done.out and "2,800" in done.out and "m2" not in done.out


COMPLETE = """
source SCRIPT
complete -p earthwords > /dev/null || exit 9
COMP_WORDS=(TYPED); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
$(complete -p earthwords | sed -E 's/.*-F ([^ ]+).*/\\1/') earthwords "${COMP_WORDS[$COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["seg"], {"segment"}),
        (["train", ""], {"change", "clip", "refer", "segment", "upsampler"}),
        (["segment", "--thr"], {"--threshold"}),
        (["segment", "--attention", "c"], {"clearclip"}),
    ],
)
def test_a_shell_completes(command: Command, tmp_path: Path, typed: list[str], wanted: set[str]) -> None:
    done = command("completion", "bash")
    assert (done.code, done.err) == (0, "")
    (tmp_path / "script").write_text(done.out)
    words = shlex.join(["earthwords", *typed])
    script = COMPLETE.replace("SCRIPT", str(tmp_path / "script")).replace("TYPED", words)
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert {word.strip() for word in told.stdout.splitlines()} - {"--help", "-h"} == wanted, told.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_scripts_of_other_shells(command: Command, shell: str) -> None:
    done = command("completion", shell)
    assert done.code == 0 and "segment" in done.out and "blend-mode" in done.out


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ")
def test_a_reader_that_leaves_early(micro: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "earthwords", "models", "pull", str(micro), "--json"]
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, env=buffered)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_out_of_memory_is_told_as_such() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**52, dtype=torch.uint8)
    for error in (caught.value, MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")):
        sentence, code = explain(error)
        assert code == 1 and sentence.startswith("Out of memory; use a smaller --batch-size")


def test_an_exit_code_of_a_result(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthwords.tasks.doctor._self_test", lambda: 1 / 0)
    monkeypatch.setattr("earthwords.tasks.doctor._weights", lambda: "left out")
    done = command("doctor")
    assert done.code == 1 and "FAILED" in done.out and done.err == ""
