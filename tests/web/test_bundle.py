"""The page in the package is the one that `web/src` describes, whole, small, and in two languages."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import cast

import pytest

import earthwords
from tests.conftest import ROOT

WEB = ROOT / "web"
STATIC = Path(earthwords.__file__).parent / "serve" / "static"
WIDGET = Path(earthwords.__file__).parent / "viz" / "widget"
MESSAGES = WEB / "src" / "page" / "messages"

pytestmark = pytest.mark.skipif(not WEB.is_dir(), reason="web/, the sources of the page, is not beside these tests")


def listed(bundle: Path) -> dict[str, str]:
    """Path to SHA-256 of the sources that a bundle was made from."""
    rows = (line.split("  ") for line in (bundle / "sources.sha256").read_text(encoding="utf-8").splitlines())
    return {path: digest for digest, path in rows}


@pytest.mark.parametrize("bundle", [STATIC, WIDGET], ids=["page", "widget"])
def test_the_bundle_is_of_these_sources(bundle: Path) -> None:
    found = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in listed(bundle)}
    assert found == listed(bundle), "the bundle is older than its sources: run `make web` and commit what it writes"


def test_every_source_of_the_page_is_in_the_bundle() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in (WEB / "src" / "page").rglob("*.*")}
    typed_only = {"web/src/page/types.ts"}  # nothing of it is left in the bundle
    assert names - listed(STATIC).keys() <= typed_only


def test_the_bundle_is_whole_and_small() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href)="([\w.-]+)"', page))
    assert named == {"main.css", "main.js"}
    assert 'rel="icon" type="image/svg+xml" href="data:image/svg+xml;base64,' in page, "asked for at every new link"
    assert {path.name for path in STATIC.iterdir()} == named | {
        "index.html", "favicon.svg", "maplibre-gl-worker.mjs", "LICENSES.txt", "sources.sha256"
    }  # fmt: skip
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < 2_500_000


def test_nothing_in_the_bundle_is_fetched_from_elsewhere() -> None:
    """Texts name addresses (licences, namespaces of XML); what is loaded is relative."""
    assert "//" not in re.sub(r"https?://www\.w3\.org/\S*", "", (STATIC / "index.html").read_text(encoding="utf-8"))
    assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", (STATIC / "main.css").read_text(encoding="utf-8"))


def test_licences_of_all_that_is_bundled_are_there() -> None:
    packages = json.loads((WEB / "package.json").read_text(encoding="utf-8"))["dependencies"]
    told = (STATIC / "LICENSES.txt").read_text(encoding="utf-8")
    assert {name for name, version in packages.items() if f"{name} {version} (" not in told} == set()


@cache
def messages(language: str) -> dict[str, str]:
    return cast(dict[str, str], json.loads((MESSAGES / f"{language}.json").read_text(encoding="utf-8")))


def test_both_languages_say_the_same_things() -> None:
    english, chinese = messages("en"), messages("zh")
    assert list(english) == list(chinese)
    blanks = re.compile(r"\{(\w+)\}")
    for key, text in english.items():
        assert text.strip() and chinese[key].strip(), key
        assert set(blanks.findall(text)) == set(blanks.findall(chinese[key])), key


def test_every_message_is_used_and_every_used_one_is_there() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (WEB / "src" / "page").rglob("*.ts*"))
    whole = set(re.findall(r"\bt\(\s*\"([\w.]+)\"", source))
    groups = {*re.findall(r"\bt\(\s*`([\w.]+)\$\{", source), *re.findall(r"\bone\(\"(\w+)\"", source)}
    named = whole | set(re.findall(r"\"([a-z]+(?:\.\w+)+)\"", source))
    assert whole <= messages("en").keys()
    assert {key for key in messages("en") if key not in named and not key.startswith(tuple(groups))} == set()
