"""Weights from the cache, whole or in part, and from a hub that is slow, wrong or silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earthwords.errors import WeightsError
from earthwords.models.refseg.load import assemble
from earthwords.models.weights.download import sha256_of
from earthwords.models.weights.table import WEIGHTS, fetch, fetch_tokenizer, find, load_clip
from earthwords.refer_presets import REFER_PRESETS
from earthwords.text.siglip import SiglipTokenizer
from tests import hub, published
from tests.models.published.conftest import small
from tests.origin import silent
from tests.special import within


def test_a_cache_without_the_weights_or_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an earlier version may have left it: offline it says what to do, online it fetches what is missing."""
    source = "google/siglip-so400m-patch14-384"
    published.write_siglip(tmp_path / "siglip")
    published.write_sam(tmp_path / "sam")
    preset = REFER_PRESETS["rsrefseg-b"]
    folders = {source: tmp_path / "siglip", str(preset.segmenter): tmp_path / "sam"}
    with hub.served(folders, tmp_path / "hub", monkeypatch):
        fetch_tokenizer(find(source))
        with pytest.raises(WeightsError, match=r"is not in the cache; run once without --offline"):
            fetch(find(source), offline=True)
        assert SiglipTokenizer.from_folder(fetch_tokenizer(find(source), offline=True)).end == 1
        assemble(preset)
    assemble(preset, offline=True)


class TestHashes:
    @pytest.fixture
    def row(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        published.write_openai(tmp_path / "repository" / "RemoteCLIP-ViT-B-32.pt", published.clip(patch=32))
        return "remoteclip-vit-b-32"

    def test_another_file_than_the_rows(self, row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        repository = {WEIGHTS[row].source: tmp_path / "repository"}
        known = pytest.raises(WeightsError, match=r"has another RemoteCLIP-ViT-B-32\.pt than this version knows")
        with hub.served(repository, tmp_path / "hub", monkeypatch), known:
            load_clip(row)

    def test_a_file_of_the_hubs_cache_that_was_altered(
        self, row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hub names it by its sha256, which is looked at once, and again when the file changes."""
        small(row, monkeypatch)
        hashed: list[Path] = []
        monkeypatch.setattr(
            "earthwords.models.weights.fetch.sha256_of", lambda path: hashed.append(path) or sha256_of(path)
        )
        with hub.served({WEIGHTS[row].source: tmp_path / "repository"}, tmp_path / "hub", monkeypatch):
            path = fetch(WEIGHTS[row])
        assert fetch(WEIGHTS[row], offline=True) == path and len(hashed) == 1
        blob = path.resolve()
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:-1] + b"X")
        with pytest.raises(WeightsError, match=r"was cut or altered after its download .*delete it and run again"):
            fetch(WEIGHTS[row], offline=True)


def test_a_hub_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its list of files is asked for without any timeout of the library's own."""
    from huggingface_hub import constants

    monkeypatch.setenv("EARTHWORDS_HTTP_TIMEOUT", "0.5")
    with hub.served({}, tmp_path / "hub", monkeypatch), silent() as url:
        monkeypatch.setattr(constants, "ENDPOINT", url.removesuffix("/file.bin"))
        for name in ("openai-vit-b-16", "remoteclip-vit-b-32"):
            with pytest.raises(
                WeightsError,
                match=rf"{name} .*cannot be fetched .*; try again later, or pass",
            ):
                within(20, lambda name=name: fetch(WEIGHTS[name]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("source", ["openai-vit-b-16", "anyup-paper"])
def test_a_signal_ends_a_run_that_waits_for_a_file(
    source: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that lists its files and sends none; a server that says nothing."""
    published.write_sam(tmp_path / "sam")
    repository = {WEIGHTS["openai-vit-b-16"].source: tmp_path / "sam"}
    code = (
        "import sys; from dataclasses import replace; from earthwords.models.weights import table as weights; "
        "row = weights.WEIGHTS[sys.argv[1]]; url = sys.argv[2]; "
        "weights.WEIGHTS[row.name] = replace(row, source=url) if row.source.startswith('http') else row; "
        "from earthwords.cli import main; sys.exit(main(['models', 'pull', row.name, '--quiet']))"
    )
    with hub.served(repository, tmp_path / "hub", monkeypatch, mute=True) as asked, silent() as url:
        own = {"HF_ENDPOINT": asked.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        argv = [sys.executable, "-c", code, source, url]
        run = subprocess.Popen(argv, env={**os.environ, **own}, stderr=subprocess.PIPE)
        if source == "openai-vit-b-16":
            assert asked.reached.wait(60)
        else:
            assert within(60, lambda: wait_for(tmp_path / "cache", "*.part"))
        began = time.perf_counter()
        run.send_signal(number)
        run.communicate(timeout=60)
        assert time.perf_counter() - began < 5 and run.returncode not in (0, None)


def wait_for(folder: Path, pattern: str) -> bool:
    while not list(folder.rglob(pattern)):
        time.sleep(0.01)
    return True
