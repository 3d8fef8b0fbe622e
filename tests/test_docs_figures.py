"""A figure that stands on several pages is the same on all of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT

N = r"([\d,]+(?:\.\d+)?)"
"""A number."""
READMES = ("README.md", "README.zh-CN.md")
TINY, REFSEG, EVALUATE = "docs/models/tiny.md", "docs/models/refseg-tiny.md", "docs/evaluate.md"
UPSAMPLERS, SETS = "docs/upsamplers.md", "docs/benchmarks.md"


def both(pattern: str) -> list[tuple[str, str]]:
    return [(page, pattern) for page in READMES]


FIGURES: dict[str, list[tuple[str, str]]] = {
    "demo, mIoU": [
        ("README.md", rf"known truth at {N} % mIoU"), ("README.zh-CN.md", rf"真值的 mIoU 为 {N} %"),
        (TINY, rf"`earthwords demo`: {N}"),
    ],
    "demo, seconds": [("README.md", "takes about (eleven) seconds"), ("README.zh-CN.md", "约需(十一)秒")],
    "Dubai 7-8, tiny": [
        *both(rf"\| {N} % \| `benchmarks/compare_models.py` \|\n\| (?:places|训练)"),
        (TINY, rf"Dubai tiles 7 and 8, mIoU \|[^|]*\| \*\*{N}"),
    ],
    "Dubai 7-8, earlier weights": [
        (UPSAMPLERS, rf"after the second half `jbu` {N}"), (SETS, rf"\| dubai \| tiny \| 18 \| mIoU \| {N}"),
    ],
    "Dubai 7-8, earlier weights without upsampler": [
        (UPSAMPLERS, rf"after the second half `jbu` [\d.]+, none {N}"),
        (SETS, rf"\| dubai \| tiny-plain \| 18 \| mIoU \| {N}"),
    ],
    "Berlin, roofs": [*both(rf"\| {N} / [\d.]+ / [\d.]+ / [\d.]+ % \|"), (TINY, rf"\| Berlin \|[^\n]*\| \*\*{N}")],
    "Nairobi, roofs": [
        *both(rf"\| [\d.]+ / {N} / [\d.]+ / [\d.]+ % \|"), (TINY, rf"\| Nairobi \|[^\n]*\| \*\*{N}"),
    ],
    "Dubai 7-8, always land": [*both(rf"\"?land\"?[^|]*?{N} %[)）] \|"), (TINY, rf'says "land" everywhere has {N}')],
    "AID, zero-shot": [
        *both(rf"\| {N} % \| `benchmarks/compare_models.py` \|\n\| RSICD"),
        (TINY, rf"AID test, zero-shot \|[^|]*\| \*\*{N}"),
    ],
    "AID, zero-shot, earlier weights": [
        (TINY, rf"AID test, zero-shot \| {N}"), (EVALUATE, rf"\| zero-shot \| [\d.]+ \| {N}"),
    ],
    "UC Merced, zero-shot, earlier weights": [
        (TINY, rf"UC Merced test, zero-shot \| {N}"), (EVALUATE, rf"\| zero-shot \| {N}"),
        ("docs/classify.md", rf"`tiny` \(its earlier weights\) from {N}"),
    ],
    "UC Merced, transductive": [
        (EVALUATE, rf"\| transductive \| {N}"),
        ("docs/classify.md", rf"`tiny` \(its earlier weights\) from [\d.]+ to {N}"),
    ],
    "RSICD, mean recall": [
        *both(rf"RSICD[^|]*\| {N} %"), (TINY, rf"RSICD test, mean recall \|[^|]*\| \*\*{N}"),
    ],
    "RSICD, mean recall, earlier weights": [
        (TINY, rf"RSICD test, mean recall \| {N}"), (EVALUATE, rf"retrieval, mean recall \| [\d.]+ \| {N}"),
    ],
    "UCM-captions, mean recall, earlier weights": [
        (TINY, rf"UCM-captions test, mean recall \| {N}"), (EVALUATE, rf"retrieval, mean recall \| {N}"),
    ],
    "refseg-tiny, gIoU on Dubai 7-8": [*both(rf"gIoU[^\d]*{N} %"), (REFSEG, rf"which is told no class \| {N}")],
    "the class's map, gIoU on Dubai 7-8": [
        *both(rf"gIoU[^\d]*[\d.]+ %[^\d]*{N} %"), (REFSEG, rf"all pixels of the class \| \*\*{N}"),
    ],
    "size of tiny, MB": [*both(rf"`tiny`[,，] ?{N} MB"), (TINY, rf"transformers' layout, {N} MB")],
    "size of refseg-tiny, MB": [*both(rf"refseg-tiny.md\)[,，] ?{N} MB"), (REFSEG, rf"file {N} MB")],
    "parameters of tiny-jbu": [(TINY, rf"`tiny-jbu` \| {N}"), (UPSAMPLERS, r"\| `jbu` \| (\d+,\d+) ")],
    "parameters of tiny-simfeatup": [
        (TINY, rf"`tiny-simfeatup` \| {N}"), (UPSAMPLERS, r"\| `simfeatup` \| (\d+,\d+) "),
    ],
    "parameters of tiny-anyup": [(TINY, rf"`tiny-anyup` \| {N}"), (UPSAMPLERS, rf"\| `anyup` \(64 wide\) \| {N}")],
    "a training step of SimFeatUp, times as fast": [
        ("README.md", rf"authors' way \| {N} times as fast"), ("README.zh-CN.md", rf"\| 快 {N} 倍，梯度"),
        ("docs/train-upsampler.md", rf"s \({N} times as fast\)"),
    ],
    "search in a million vectors of 512 entries, ms": [*both(rf"\| {N} ms"), ("docs/search.md", rf"\({N} ms\)")],
    "search in a million vectors, share of a product and a sort": [
        ("README.md", rf"ms, {N} of a product"), ("README.zh-CN.md", rf"的 {N} \|"),
        ("docs/search.md", rf"ms\), [\d.]+ \({N}\)"),
    ],
    "memory of 50,000 x 50,000, GiB at most": [
        ("README.md", rf"1\.4 to {N} GiB"), ("README.zh-CN.md", rf"1\.4 至 {N} GiB"),
        ("docs/scale.md", rf"at most\s+{N} GiB"),
    ],
}  # fmt: skip
"""Figure to where it stands: a page, and what is around it there."""


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def values(page: str, pattern: str) -> list[str]:
    found = [next(filter(None, match.groups()), "") for match in re.finditer(pattern, text(page))]
    return [value.replace(",", "") for value in found if value]


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_the_same_on_all_pages(figure: str) -> None:
    found = [(page, value) for page, pattern in FIGURES[figure] for value in values(page, pattern)]
    pages = {page for page, _ in FIGURES[figure]}
    assert {page for page, _ in found} == pages and len(found) >= len(FIGURES[figure]), f"not found: {found}"
    words = {"eleven": "11", "十一": "11"}
    numbers = [words.get(value, value) for _, value in found]
    digits = min(len(number.partition(".")[2]) for number in numbers)
    assert len({f"{float(number):.{digits}f}" for number in numbers}) == 1, found


def numbers(page: str) -> Counter[str]:
    """All numbers of a page, but for those in code and links."""
    plain = re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+", "", text(page))
    return Counter(number.rstrip(",") for number in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", plain))


def test_both_readmes_tell_the_same_numbers() -> None:
    english, chinese = map(numbers, READMES)
    assert english == chinese, f"only in English: {english - chinese}, only in Chinese: {chinese - english}"
    assert sum(english.values()) > 40


def test_sizes_are_those_of_the_files() -> None:
    for name, page, pattern in (
        ("tiny", TINY, rf"transformers' layout, {N} MB"), ("refseg-tiny", REFSEG, rf"file {N} MB"),
    ):  # fmt: skip
        folder = ROOT / "src" / "earthwords" / "assets" / name
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
        assert values(page, pattern) == [f"{size:.1f}"]


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", here.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (here.parent / target).exists(), f"{page}: {target}"


def test_links_of_the_readmes_lead_somewhere() -> None:
    for page in (*READMES, "CHANGES.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(page)):
            assert "://" in target or Path(ROOT / target).exists(), f"{page}: {target}"
