"""RSRefSeg's protocol over lists of described images, and the verb around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from earthwords.data.annotations.instances import Expression
from earthwords.data.manifests.expressions import ReferringManifest, read_referring
from earthwords.evaluation.benchmark.referring_protocol import examples, measure, pointing
from earthwords.models.refseg.load import assemble, load_refseg, store_refseg
from tests.conftest import Command
from tests.referring import micro_preset, write_list


@pytest.fixture
def manifest(tmp_path: Path) -> ReferringManifest:
    """Kinds and classes told; the last expression of each image means nothing."""
    path = write_list(tmp_path / "list", images=3)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    for line in lines:
        for said, kind in zip(line["expressions"], ("colour", "colour", "all"), strict=True):
            said |= {"kind": kind, "class": "roof"}
        line["expressions"].append({"text": "the lake", "ids": [], "kind": "absent", "class": "lake"})
    path.write_text("\n".join(map(json.dumps, lines)))
    return read_referring(path)


def _shifted(image: NDArray[np.uint8], expressions: Sequence[Expression]) -> list[NDArray[np.bool_]]:
    """The red roof, half its width too far right; the blue one exactly; nothing else."""
    red, blue = (np.all(np.abs(image.astype(int) - colour) < 8, axis=-1) for colour in ((220, 40, 30), (40, 50, 220)))
    known = {"the red roof": np.roll(red, 9, axis=1), "the blue roof": blue}
    return [known.get(one.text, np.zeros(image.shape[:2], bool)) for one in expressions]


def test_figures_by_hand(manifest: ReferringManifest) -> None:
    found = measure(_shifted, manifest)
    assert found.scores.samples == 12 and found.scores.no_target == 3
    assert found.scores.gIoU == pytest.approx((3 * (1 / 3) + 3 * 1 + 3 * 0 + 3 * 1) / 12), (
        "nothing for nothing is a hit"
    )
    assert found.kinds["colour"].gIoU == pytest.approx(2 / 3) and found.kinds["absent"].gIoU == 1
    assert found.as_json()["kinds"]["all"] == {"samples": 3, "gIoU": 0.0}
    assert found.as_json()["categories"] == {"roof": pytest.approx(100 * (1 / 3 + 1 + 0) / 3)}
    skipped = measure(_shifted, manifest, empty="skip")
    assert skipped.scores.samples == 9 and "absent" not in skipped.kinds
    told = examples(found, manifest, 2)
    assert [which for which, *_ in told] == ["worst"] * 2 + ["median"] * 2 + ["best"] * 2
    assert [one.text for which, _, one, _ in told if which == "worst"] == ["both roofs"] * 2
    assert all(iou == 1 for which, _, _, iou in told if which == "best")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, micro: Path) -> Path:
    folder = tmp_path_factory.mktemp("refseg")
    preset = replace(micro_preset(micro), lora_rank=0)
    store_refseg(assemble(preset, seed=2), preset, folder)
    return folder


def test_answers_are_the_models_at_the_images_own_size(model: Path, manifest: ReferringManifest) -> None:
    net = load_refseg(str(model)).model
    line = manifest.lines[1]
    image, _ = line.load()
    masks = pointing(net, batch=3)(image, line.expressions)
    side = net.side
    with torch.inference_mode():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        square = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
        for mask, one in zip(masks, line.expressions, strict=True):
            logits = net(square, net.ids([one.text])).logits
            large = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
            expected = F.interpolate(large, image.shape[:2], mode="bilinear", align_corners=False)[0, 0] > 0
            assert mask.shape == (50, 70) and (mask != expected.numpy()).mean() < 0.01


def test_the_verb(command: Command, model: Path, tmp_path: Path) -> None:
    path = write_list(tmp_path / "list", images=2)
    argv = ["evaluate", "referring", path, "--model", model, "--out", tmp_path / "out", "--device", "cpu", "--quiet"]
    done = command(*argv, "--json")
    assert done.code == 0, done.err
    (entry,) = json.loads(done.out)["results"]
    assert entry["task"] == "referring" and entry["dataset"] == "list"
    expected = measure(pointing(load_refseg(str(model)).model), read_referring(path)).as_json()
    assert entry["figures"]["gIoU"] == pytest.approx(expected["gIoU"]) and entry["figures"]["samples"] == 6
    with Image.open(next((tmp_path / "out").glob("*.examples.png"))) as sheet:
        assert sheet.size[0] > 500
    assert "gIoU" in (tmp_path / "out" / "results.md").read_text()
    assert json.loads(command(*argv, "--json").out)["reused"] == 1


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["referring"], "Name the lists"),
        (["referring", "knn", "x.jsonl"], "ask for one of them"),
        (["referring", "none.jsonl"], "none.jsonl does not exist; name a list of described images"),
        (["refering", "x.jsonl"], "referring"),
    ],
)
def test_refusals(command: Command, tmp_path: Path, words: list[str], fragment: str) -> None:
    done = command("evaluate", *words, "--out", tmp_path / "out", "--quiet")
    assert done.code in (1, 2) and fragment in done.err and not (tmp_path / "out").exists()
