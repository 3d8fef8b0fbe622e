"""Files about the package agree with the package: lowest versions, the citation, the change log, the Makefile."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import earthwords
from tests.conftest import ROOT


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def requirements() -> list[Requirement]:
    """Of the package and all its extras."""
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]


def pinned() -> dict[str, Version]:
    """Name to version, as the constraints have them."""
    lines = text("constraints/minimum.txt").splitlines()
    rows = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert rows == sorted(rows)
    return {name: Version(version) for name, version in rows}


def test_the_constraints_are_the_lowest_versions_allowed() -> None:
    lowest: dict[str, Version] = {}
    for each in requirements():
        bounds = [spec.version for spec in each.specifier if spec.operator == ">="]
        assert len(bounds) == 1, f"{each} has no lowest version"
        version = Version(bounds[0])
        assert lowest.setdefault(each.name, version) == version, f"two lowest versions of {each.name}"
    assert pinned() == lowest


def test_the_citation_is_of_the_last_release() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == earthwords.__version__
    assert citation["license"] == pyproject()["project"]["license"]
    released = re.findall(r"^## (\S+)(?: \((\S+)\))?$", text("CHANGES.md"), flags=re.M)
    assert released[:2] == [("Unreleased", ""), (citation["version"], citation["date-released"])]


def test_what_a_source_distribution_names_is_there() -> None:
    for name in pyproject()["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (ROOT / name).exists(), name


def targets() -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([a-z-]+):", text("Makefile"), flags=re.M))


def test_what_make_quick_runs_is_there() -> None:
    chosen = re.search(r"^QUICK \?= (.*?[^\\])\n", text("Makefile"), flags=re.M | re.S)
    assert chosen is not None
    for name in chosen[1].replace("\\\n", " ").split():
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/releasing.md", ".github/workflows/test.yml"])
def test_targets_that_are_named_exist(page: str) -> None:
    lines = re.findall(r"(?:`|^ {4}|run: )make ([a-z -]+)", text(page), flags=re.M)
    named = {word for line in lines for word in line.split()}
    assert named and named <= targets()


def test_the_paths_that_newcomers_are_sent_to_are_there() -> None:
    page = text("CONTRIBUTING.md")
    for path in re.findall(r"`((?:src|tests|docs|benchmarks|constraints|tasks|files|cli)/[\w./-]+)`", page):
        if "NAME" not in path:
            assert (ROOT / path).exists() or (ROOT / "src" / "earthwords" / path).exists(), path
