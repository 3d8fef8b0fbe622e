"""The documentation as a site: it builds without a warning, asks no other server, and its packages agree with ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("mkdocs", reason="the site needs mkdocs: pip install '.[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, without the pictures of the gallery."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    environment = {**os.environ, "EARTHWORDS_GALLERY": "no", "NO_MKDOCS_2_WARNING": "1"}
    run = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_name_no_server_that_a_browser_would_ask(site: Path) -> None:
    loads = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"(https?:[^\"]+)\"")
    for page in site.rglob("*.html"):
        foreign = loads.findall(page.read_text("utf-8"))
        assert foreign == [], page.name


def test_every_local_link_and_picture_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue  # its links are those of a server's root
        for target in re.findall(r"(?:src|href)=\"([^\"#:]+)(?:#[^\"]*)?\"", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_reference_has_every_name_and_the_options_that_verbs_share(site: Path) -> None:
    from earthwords import _CONTENTS

    text = (site / "reference.html").read_text("utf-8")
    for name in _CONTENTS:
        assert f'<h2 id="{name.lower()}' in text, name
    assert text.count("Ground sample distance to work at") >= 3  # of `--gsd`, which several verbs have


def test_the_first_pages_are_the_readmes(site: Path) -> None:
    assert "Say what you are looking for" in (site / "index.html").read_text("utf-8")
    assert "卫星" in (site / "zh.html").read_text("utf-8")


def test_conda_asks_for_the_same_packages() -> None:
    def names(lines: list[str]) -> dict[str, str]:
        pairs = (re.fullmatch(r"([\w-]+)\s*(.*)", line) for line in lines)
        return {m[1].replace("_", "-").replace("pytorch", "torch"): m[2].strip() for m in pairs if m}

    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    recipe = (ROOT / "packaging/conda/meta.yaml").read_text("utf-8").partition("  run:\n")[2].partition("\n\n")[0]
    theirs = names([line.strip("- ") for line in recipe.splitlines() if "python >=" not in line])
    assert theirs == {name.replace("_", "-"): rest for name, rest in names(ours).items()}
