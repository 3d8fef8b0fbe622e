"""`count --method instructsam` and `--counts-from`: masks, similarities, and numbers from a server on this machine."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import torch
from affine import Affine
from PIL import Image

from earthwords.geo.scene import SceneSpec
from earthwords.inference.instances.instructsam import job as job_module
from earthwords.inference.instances.instructsam import server as server_module
from earthwords.inference.instances.instructsam import similarity
from earthwords.inference.instances.instructsam.assign import assign
from earthwords.inference.instances.instructsam.finder import MaskFinder, apart, on_grid
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.mask_set import MaskSet
from earthwords.models.sam.settings import MaskSettings
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Grid
from tests import published
from tests.conftest import Command, Outcome
from tests.servers import ChatServer, Listener
from tests.tasks.conftest import names

WORDS = ("-t", "building,roof", "-t", "water")
SIDES = [(5, 8, 12, 20), (60, 30, 25, 25), (61, 31, 22, 22), (90, 120, 40, 70), (0, 100, 9, 90)]


def run(command: Command, micro: Path, scene: Path, out: Path, *options: object) -> Outcome:
    toy = ("--model", micro, "--tile-size", 64, "--quiet", "--device", "cpu")
    return command("count", scene, out, *toy, *WORDS, "--against", "road", *options)


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sam"
    published.write_sam(folder)
    return folder


def squares(grid: Grid) -> MaskSet:
    """Rectangles of known places."""
    scores = np.linspace(0.5, 0.9, len(SIDES))
    return MaskSet.pack(grid, [s[:2] for s in SIDES], [np.ones(s[2:], bool) for s in SIDES], scores=scores)


@pytest.mark.parametrize("expected", [True, False])
def test_masks_are_compared_with_the_words(segmenter: Segmenter, scene_file: Path, expected: bool) -> None:
    vocabulary = parse_classes(["building,roof", "water", "road"], background="road")
    with SceneSpec(source=str(scene_file)).open() as scene:
        masks = squares(scene.native)
        finder = MaskFinder(
            masks=masks, scene=scene, segmenter=segmenter, vocabulary=vocabulary, counted=(1, 0), expected=expected,
            threshold=0.0, policy=FailurePolicy(on_error="stop"),
        )  # fmt: skip
        found = finder.finish()
        rgb, _ = read_twice(scene.read_rgb, scene.region, scene.native, FailurePolicy(on_error="stop"))
    backbone = segmenter.encoder.backbone
    image = np.rint(np.moveaxis(rgb, 0, -1) * 255).astype(np.uint8)
    boxes = masks.boxes[:, [1, 0, 3, 2]]
    how = {"side": backbone.model.vision_model.config.image_size, "mean": backbone.mean, "std": backbone.std}
    prompts = ["an image of a building", "an image of a roof", "an image of a water", "an image of a road"]
    with torch.inference_mode():
        features = similarity.region_features(image, boxes, backbone.encode_image, **how)
        table = similarity.similarities(features, backbone.encode_text(prompts))
    if not expected:
        table = (backbone.logit_scale * table).softmax(dim=1)
    classes = torch.stack([table[:, :2].amax(dim=1), table[:, 2], table[:, 3]], dim=1).numpy()
    places = {tuple(box): i for i, box in enumerate(masks.boxes.tolist())}
    index = [places[tuple(box)] for box in found.masks.boxes.tolist()]
    np.testing.assert_allclose(found.similarity, classes[index][:, [1, 0]], atol=2e-5)
    assert found.masks.titles == ("water", "building")
    if expected:
        assert sorted(index) == list(range(len(SIDES)))
    else:
        best = classes.argmax(axis=1)
        assert set(index) <= set(np.flatnonzero(best < 2).tolist())
        assert [found.masks.titles[c] for c in found.masks.classes] == [vocabulary.titles[b] for b in best[index]]


def test_masks_of_one_thing() -> None:
    grid = Grid(height=130, width=200, transform=Affine.identity(), crs=None)
    masks = squares(grid)
    kept = MaskSet.pack(grid, [s[:2] for s in SIDES], [np.ones(s[2:], bool) for s in SIDES],
                        scores=masks.scores, classes=[0, 0, 0, 0, 1])  # fmt: skip
    assert apart(kept).tolist() == [0, 2, 3, 4], "the surer of two that cover each other"


def test_masks_of_a_finer_grid() -> None:
    fine = Grid(height=120, width=180, transform=Affine.identity(), crs=None)
    mask = np.zeros((30, 40), bool)
    mask[5:25, 8:32] = True
    found = on_grid(
        MaskSet.pack(fine, [(30, 60)], [mask]), Grid(height=60, width=90, transform=fine.transform, crs=None)
    )
    whole = np.zeros((120, 180), bool)
    whole[30:60, 60:100] = mask
    np.testing.assert_array_equal(found.union(), whole[1::2, 1::2])


def test_masks_of_a_whole_scene(
    command: Command, micro: Path, sam: Path, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lenient = MaskSettings(name="toy", points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    monkeypatch.setattr(job_module, "MASK_RULES", lenient)
    how = ("--method", "instructsam", "--masks", sam, "--offline", "--expect", "water=2", "--expect", "roof=1")
    done = run(command, micro, scene_file, tmp_path / "out", *how)
    assert done.code == 0, done.err
    found = geopandas.read_file(tmp_path / "out" / "instances.gpkg")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["class"].value_counts().to_dict() == {
        row["name"]: row["count"] for row in report["classes"] if row["count"]
    }
    assert 0 < len(found) <= 3 and report["settings"]["count-masks"] == str(sam)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}, "no journal is left"
    no = run(command, micro, scene_file, tmp_path / "two", "--masks", sam)
    no.failed(2, "--masks belongs to --method instructsam")


def test_a_server_counts(
    command: Command, micro: Path, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARTHWORDS_API_KEY", "secret-7")
    with ChatServer('Sure: {"building": 3, "Water": 2, "cloud": 9}') as server:
        done = run(
            command, micro, scene_file, tmp_path / "out", "--counts-from", server.url, "--counts-model", "toy-vl"
        )
        assert done.code == 0, done.err
        ((path, key, body),) = server.requests
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret-7", "toy-vl")
    task, image = body["messages"][0]["content"]
    assert '"building", "water"' in task["text"]
    picture = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].partition(",")[2])))
    assert picture.size == (190, 130)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [(row["count"], row["expected"]) for row in report["classes"]] == [(3, 3), (2, 2)]
    assert any("toy-vl" in note and "building 3, water 2" in note for note in report["notes"])
    assert "secret-7" not in json.dumps(report)


@pytest.mark.parametrize(
    ("text", "status", "raw", "said"),
    [
        ("I see many ships.", 200, None, "gave no counts"),
        ('{"building": -3}', 200, None, "no whole number"),
        ('{"building": "many"}', 200, None, "no whole number"),
        ('{"a": 1} and {"b": 2}', 200, None, "no JSON object"),
        ('{"tree": 4}', 200, None, "none of which was asked for"),
        ("", 401, None, "EARTHWORDS_API_KEY"),
        ("", 500, None, "refuses: 500"),
        ("", 200, b"<html>", "does not answer as OpenAI"),
        ("", 200, b'{"choices": []}', "does not answer as OpenAI"),
        ("", 200, b"[" * 100_000, "does not answer as OpenAI"),
        ("", 200, b" " * (2**20 + 1), "more than 1,048,576 bytes"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, 200, None, "no JSON object"),
        ('{"building": 1e8}', 200, None, "no whole number"),
    ],
)
def test_nonsense_is_one_sentence(
    command: Command,
    micro: Path,
    scene_file: Path,
    tmp_path: Path,
    text: str,
    status: int,
    raw: bytes | None,
    said: str,
) -> None:
    with ChatServer(text, status=status, raw=raw) as server:
        done = run(command, micro, scene_file, tmp_path / "out", "--counts-from", server.url, "--counts-model", "m")
    done.failed(1, said)
    assert names(tmp_path) == set()


def test_no_answer_is_waited_for_without_end(
    command: Command, micro: Path, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that comes byte by byte; and neither picture nor key go where a server points to."""
    monkeypatch.setenv("EARTHWORDS_API_KEY", "secret-7")
    monkeypatch.setattr(server_module, "SECONDS", 0.6)

    def asked(url: str, *said: str) -> None:
        done = run(command, micro, scene_file, tmp_path / "out", "--counts-from", url, "--counts-model", "m")
        done.failed(1, *said)
        assert "secret-7" not in done.err

    with ChatServer("{}", trickle=True) as slow:
        asked(slow.url, "no whole answer within 0.6 s")
    with Listener() as elsewhere, ChatServer(status=307, location=f"{elsewhere.url}/v1") as pointing:
        asked(pointing.url, "307", "points elsewhere")
        assert elsewhere.connections == 0
    with Listener(b"hello\r\n\r\n") as nonsense:
        asked(nonsense.url, "cannot be asked")


def test_who_may_be_asked(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Listener() as nobody:
        how = ("--counts-from", nobody.url, "--counts-model", "m")
        run(command, micro, scene_file, out, *how, "--offline").failed(2, "--offline allows none")
        run(command, micro, scene_file, out, *how, "--expect", "water=1").failed(2, "not both")
        run(command, micro, scene_file, out, "--counts-from", nobody.url).failed(2, "--counts-model")
        assert nobody.connections == 0
    run(command, micro, scene_file, out, "--counts-model", "m").failed(2, "--counts-from")
    for wrong in ("ftp://a", "http://[::1", "http://a:9x/v1", "http://a b/v1"):
        run(command, micro, scene_file, out, "--counts-from", wrong, "--counts-model", "m").failed(2, "is an address")
    with ChatServer() as gone:
        asked = ("--counts-from", gone.url, "--counts-model", "m")
    run(command, micro, scene_file, out, *asked).failed(1, "cannot be asked")
    assert names(tmp_path) == set()


def test_the_same_counts_by_hand_and_by_rule() -> None:
    table = np.array([[0.9, 0.1], [0.8, 0.7], [0.2, 0.6]], np.float32)
    assert assign(table, [1, 1]).tolist() == [0, 1, -1]
