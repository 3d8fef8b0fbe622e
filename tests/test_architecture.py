"""Imports point down and in no circle, torch, GDAL, drawing and processes stay in their rooms, rooms stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "earthwords"

LEVEL = {
    "errors": 0,
    "interrupt": 0,
    "compiling": 0,
    "waiting": 0,
    "types": 1,
    "reports": 2,
    "mask_set": 2,
    "plugins": 1,
    "files": 1,
    "presets": 2,
    "segment_preset": 1,
    "refer_presets": 2,
    "kernels": 2,
    "geo": 3,
    "text": 3,
    "jobs": 3,
    "viz": 3,
    "synthetic": 3,
    "models": 4,
    "data": 4,
    "inference": 5,
    "training": 5,
    "archive": 6,
    "evaluation": 7,
    "tasks": 8,
    "cli": 9,
    "serve": 9,
}
TORCH_ALLOWED = {"kernels", "jobs", "models", "inference", "training", "archive", "evaluation", "tasks"}
RASTER_ALLOWED = {"geo"}
RASTER_LIBRARIES = {"rasterio", "pyogrio", "fiona", "osgeo"}


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [p for p in sorted(SRC.rglob("*.py")) if p.parent != SRC or p.name not in ("__init__.py", "__main__.py")]


def broken(rule: Callable[[Path], Iterator[str]]) -> list[str]:
    """What a rule finds wrong in all files."""
    return [f"{path.relative_to(SRC)}: {wrong}" for path in files() for wrong in rule(path)]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every imported module, at any depth of the file, except under `if TYPE_CHECKING`."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    stack: list[ast.AST] = [tree(path)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        stack.extend(ast.iter_child_nodes(node))


def test_imports_point_down() -> None:
    assert broken(points_up) == []


def points_up(path: Path) -> Iterator[str]:
    here = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "earthwords" or len(parts) < 2 or parts[1] not in LEVEL:
            continue
        there = parts[1]
        if there != here and LEVEL[there] >= LEVEL[here]:
            yield f"{here} imports {name}"


def test_heavy_libraries_stay_in_their_rooms() -> None:
    assert broken(is_heavy) == []


def is_heavy(path: Path) -> Iterator[str]:
    roots = {name.split(".")[0] for name in imports(path)}
    if room(path) not in TORCH_ALLOWED and roots & {"torch", "transformers"}:
        yield "imports torch"
    if room(path) not in RASTER_ALLOWED and roots & RASTER_LIBRARIES:
        yield f"imports {roots & RASTER_LIBRARIES}"


def graph() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, at any depth of the file."""
    modules = {str(p.relative_to(SRC.parent).with_suffix("")).replace("/", ".").removesuffix(".__init__"): p
               for p in SRC.rglob("*.py")}  # fmt: skip
    return {name: (set(imports(path)) & modules.keys()) - {name} for name, path in modules.items()}


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name not in done:
            for other in sorted(edges[name]):
                if found := walk(other, (*above, name)):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := walk(name, ()))), [])


def test_no_files_import_each_other_in_a_circle() -> None:
    edges = graph()
    packages = {name for name in edges if (SRC.parent / name.replace(".", "/")).is_dir()}
    # a package's table of contents names its files, and importing a file imports the package: that is no circle
    assert circle({name: others - packages for name, others in edges.items() if name not in packages}) == []


def test_what_a_circle_is() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []
    assert graph()["earthwords.kernels.bilateral"] >= {"earthwords.kernels.joint_kernel", "earthwords.kernels._weights"}


REGISTRIES = {"tasks", "data/segmentation/sets", "models/upsamplers"}
"""One row or one verb a file: these may grow."""
MOST_FILES = 20


def test_folders_have_at_most_20_files() -> None:
    counts = Counter(str(path.parent.relative_to(SRC)) for path in SRC.rglob("*.py"))
    assert {folder: n for folder, n in counts.items() if n > MOST_FILES and folder not in REGISTRIES} == {}


def test_tasks_are_verbs_and_their_options() -> None:
    assert {path.name for path in (SRC / "tasks").glob("_*.py")} == {"__init__.py", "_options.py"}


DRAWING = {"PIL.ImageDraw", "PIL.ImageFont"}
DRAWING_ALLOWED = {"viz", "synthetic"}
"""The renderer of scenes draws ground, not pictures for people."""
EXECUTORS = {"concurrent.futures", "multiprocessing", "ray"}
EXECUTORS_ALLOWED = {"jobs"}
SECOND_THREAD = SRC / "geo" / "sources" / "gdal_dataset.py"
"""GDAL's settings belong to a thread: what must not change them is asked in another one."""


def test_drawing_and_processes_stay_in_their_rooms() -> None:
    assert broken(draws_or_starts) == []


def draws_or_starts(path: Path) -> Iterator[str]:
    found = set(imports(path))
    if room(path) not in DRAWING_ALLOWED and found & DRAWING:
        yield "draws"
    if room(path) not in EXECUTORS_ALLOWED and path != SECOND_THREAD:
        roots = {name for name in found for library in EXECUTORS if name == library or name.startswith(f"{library}.")}
        if roots:
            yield "starts threads or processes"


def test_every_room_has_a_level_and_is_told() -> None:
    assert {room(p) for p in files()} == LEVEL.keys()
    page = (SRC.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = page.partition("## Imports point down")[2].partition("```\n")[2].partition("```")[0]
    found = {
        name: int(line.split()[0])
        for line in told.splitlines()
        for name in re.findall(r"[a-z_]+", line.partition("(")[0])
    }
    assert found == LEVEL


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_the_pages_name_are_there(page: str) -> None:
    root = SRC.parents[1]
    named = set(re.findall(r"`([\w/.]+\.(?:py|tsv|toml))`", (root / page).read_text(encoding="utf-8")))
    there = [path.as_posix() for folder in ("src", "tests", "benchmarks") for path in (root / folder).rglob("*.*")]
    missing = {name for name in named if not (root / name).exists() and not any(p.endswith(f"/{name}") for p in there)}
    assert len(named) > 5 and {name for name in missing if "NAME" not in name} == set()


def test_no_function_is_longer_than_80_lines() -> None:
    assert broken(long_functions) == []


def long_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            docstring = ast.get_docstring(node, clean=False)
            length -= len(docstring.splitlines()) if docstring else 0
            if length > 80:
                yield f"{node.name} has {length} lines"


def test_no_two_classes_bear_the_same_name() -> None:
    """Private ones, which nobody imports, excepted."""
    names = Counter(node.name for path in files() for node in tree(path).body if isinstance(node, ast.ClassDef))
    assert names["Segmenter"] == 1
    assert [name for name, number in names.items() if number > 1 and not name.startswith("_")] == []


def test_looking_for_sources_loads_nothing_heavy() -> None:
    code = (
        "import sys, earthwords.geo.sources.find as s; s.find_sources('nofile.tif'); "
        "print(sorted({'torch', 'numpy', 'rasterio', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def calls_without_encoding(path: Path) -> Iterator[str]:
    """Calls that read or write text as the locale has it."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        owner, name = "", getattr(node.func, "id", "")
        if isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value), node.func.attr
        given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
        modes = [word.value for word in given if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        modes = [mode for mode in modes if re.fullmatch(r"[rwax+tb]{1,3}", mode)]
        text = any("b" not in mode for mode in modes) or (name == "open" and not owner and not modes)
        binary = owner in ("tarfile", "rasterio")
        opens = name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile") and not binary
        reads = (name == "read_text" and bool(owner) and not node.args) or (name == "write_text" and len(node.args) < 2)
        runs = owner == "subprocess" and {"text", "universal_newlines"} & {k.arg for k in node.keywords}
        if (opens and text) or reads or runs:
            yield f"{path.name}:{node.lineno}: {ast.unparse(node)[:80]}"


def test_text_is_read_and_written_as_utf8() -> None:
    assert broken(calls_without_encoding) == []


def test_the_rules_find_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_architecture.SRC", tmp_path)
    (tmp_path / "geo").mkdir()
    path = tmp_path / "geo" / "code.py"
    body = "".join(f"    x = {i}\n" for i in range(81))
    path.write_text(
        f"import torch\nfrom PIL import ImageDraw\nimport ray\nfrom earthwords.tasks import x\ndef f():\n{body}",
        encoding="utf-8",
    )
    wrong = [*points_up(path), *is_heavy(path), *draws_or_starts(path), *long_functions(path)]
    assert wrong == ["geo imports earthwords.tasks", "geo imports earthwords.tasks.x", "imports torch", "draws",
                     "starts threads or processes", "f has 82 lines"]  # fmt: skip


def test_what_the_rule_on_text_finds(tmp_path: Path) -> None:
    wrong = ["open(p)", "open(p, 'w')", "p.open('a')", "p.read_text()", "p.write_text(t)", "os.fdopen(1, 'w')",
             "subprocess.run(a, text=True)"]  # fmt: skip
    right = ["open(p, 'rb')", "p.open('wb')", "read_text(p)", "p.read_text(encoding='utf-8')", "zipped.open(name)",
             "p.write_text(t, encoding='utf-8')", "tarfile.open(p, 'w')", "Index.open(p)"]  # fmt: skip
    (tmp_path / "code.py").write_text("\n".join([*wrong, *right]), encoding="utf-8")
    assert [int(line.split(":")[1]) for line in calls_without_encoding(tmp_path / "code.py")] == [1, 2, 3, 4, 5, 6, 7]
