"""The shipped `refseg-tiny`: it reads sentences on rendered scenes that nobody learned from."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import earthwords
from earthwords.data.annotations.instances import Expression
from earthwords.data.manifests.expressions import ReferringManifest, read_referring
from earthwords.evaluation.benchmark.referring_protocol import measure, pointing
from earthwords.models.refseg.load import load_refseg
from earthwords.synthetic import CLASSES, DRAWN_THEMES, render_scene

FIRST_SEED = 90_000
"""Far from those of `recipes/refer_data.py`."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> ReferringManifest:
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("images", "masks", "instances"):
        (folder / name).mkdir()
    for number in range(8):
        theme = DRAWN_THEMES[number % len(DRAWN_THEMES)]
        scene = render_scene(height=240, width=256, gsd=0.5, theme=theme, seed=FIRST_SEED + number)
        for name, array in (("images", scene.image), ("masks", scene.labels), ("instances", scene.instances)):
            pixels = array.astype(np.uint16) if name == "instances" else array
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "classes.json").write_text(json.dumps({str(i): row.names[0] for i, row in enumerate(CLASSES)}))
    earthwords.expressions(folder, folder / "list.jsonl", count=12, quiet=True)
    return read_referring(folder / "list.jsonl")


def test_it_points_better_than_chance(manifest: ReferringManifest) -> None:
    def everything(image: NDArray[np.uint8], said: Sequence[Expression]) -> list[NDArray[np.bool_]]:
        return [np.ones(image.shape[:2], bool) for _ in said]

    def shuffled(image: NDArray[np.uint8], said: Sequence[Expression]) -> list[NDArray[np.bool_]]:
        return answer(image, [*said[1:], *said[:1]])

    answer = pointing(load_refseg("refseg-tiny").model)
    found, chance, others = (measure(predict, manifest).scores for predict in (answer, everything, shuffled))
    assert found.samples > 50
    assert found.gIoU > 0.25 and found.gIoU > 1.5 * chance.gIoU and found.gIoU > 1.3 * others.gIoU
