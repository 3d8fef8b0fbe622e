"""Presets of newer backbones, small: a rendered scene, against transformers' own forward, and killed on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import SiglipModel

from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import SEGMENT_PRESETS
from earthwords.synthetic import render_scene
from earthwords.text.siglip import PaddedTokenizer, SiglipTokenizer
from earthwords.text.templates import fill, load_templates
from earthwords.text.vocabulary import parse_classes
from tests import published
from tests.conftest import Command, write_raster
from tests.micro import write_micro
from tests.published_metaclip2 import write_metaclip2
from tests.tasks.test_killed import cases, needs_fork, survive
from tests.verbs import OUT

WORDS = ("water", "a red roof", "road", "trees")
ASKED = [part for word in WORDS for part in ("-t", word)]
TOY = ["--tile-size", "64", "--overlap", "32", "--device", "cpu", "--offline", "--quiet"]


@pytest.fixture(scope="module")
def siglip2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SiglipModel]:
    folder = tmp_path_factory.mktemp("hub") / "siglip2"
    return folder, published.write_siglip(folder, second=True)


@pytest.fixture(scope="module")
def metaclip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "metaclip2"
    write_metaclip2(folder)
    return folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    picture = render_scene(height=64, width=48, seed=3).image
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", np.moveaxis(picture, -1, 0))


def labels(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "labels.tif") as dataset:
        return dataset.read(1)


def head_alone(model: SiglipModel, tokens: Tensor, attention: str) -> Tensor:
    """What transformers' head gives of each token `(batch, token, width)`, by its parts."""
    head = model.vision_model.head
    if attention == "maskclip":  # attended to alone
        return torch.cat([head(tokens[:, i : i + 1])[:, None] for i in range(tokens.shape[1])], dim=1)
    query = head.attention.in_proj_weight.chunk(3)[0], head.attention.in_proj_bias.chunk(3)[0]
    same = torch.nn.MultiheadAttention(tokens.shape[-1], head.attention.num_heads, batch_first=True)
    same.load_state_dict(head.attention.state_dict())
    with torch.no_grad():  # keys that are queries
        width = tokens.shape[-1]
        same.in_proj_weight[width : 2 * width], same.in_proj_bias[width : 2 * width] = query
    found = same(tokens, tokens, tokens)[0]
    return found + head.mlp(head.layernorm(found))


@torch.inference_mode()
def cosines(folder: Path, model: SiglipModel, picture: np.ndarray, attention: str, templates: str) -> Tensor:
    """`(word, row, col)` of a picture of one window, by transformers."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    tokens = model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    grid = (picture.shape[0] // 16, picture.shape[1] // 16)
    dense = F.normalize(head_alone(model, tokens, attention), dim=-1)
    tokenizer = PaddedTokenizer(SiglipTokenizer.from_folder(folder), context=64)
    sentences = [text for word in WORDS for text in fill(load_templates(templates), word)]
    ids = torch.from_numpy(tokenizer(sentences))
    vectors = F.normalize(model.get_text_features(input_ids=ids).pooler_output, dim=1).unflatten(0, (len(WORDS), -1))
    words = F.normalize(vectors.mean(dim=1), dim=1)
    maps = (dense @ words.T).transpose(1, 2).unflatten(2, grid)
    return F.interpolate(maps, size=picture.shape[:2], mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("name", ["siglip2", "siglip2-qq", "siglip2-l", "siglip2-so400m"])
def test_siglip2(name: str, siglip2: tuple[Path, SiglipModel], scene: Path, command: Command, tmp_path: Path) -> None:
    folder, model = siglip2
    row = SEGMENT_PRESETS[name]
    (tmp_path / "sure.toml").write_text(f'base = "{name}"\nsigmoid = true\n')
    for preset, out in ((name, "out"), (tmp_path / "sure.toml", "sure")):
        argv = ["segment", scene, tmp_path / out, "--preset", preset, "--model", folder, *ASKED, *TOY]
        done = command(*argv, "--probabilities", "float32")
        assert done.code == 0, done.err
    with rasterio.open(scene) as dataset:
        picture = np.moveaxis(dataset.read(), 0, -1)
    found = cosines(folder, model, picture, row.attention, row.templates)
    scale, bias = float(model.logit_scale.detach().exp()), float(model.logit_bias.detach())
    expected = {"out": (row.logit_scale * found).softmax(dim=0), "sure": (scale * found + bias).sigmoid()}
    top = expected["out"].topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-4).numpy()
    assert clear.mean() > 0.9
    for out, probabilities in expected.items():
        with rasterio.open(tmp_path / out / "probabilities.tif") as dataset:
            np.testing.assert_allclose(dataset.read(), probabilities.numpy(), atol=1e-4)
        assert (labels(tmp_path / out) == found.argmax(dim=0).numpy())[clear].all()
    with rasterio.open(tmp_path / "sure" / "labels.tif") as dataset:
        assert dataset.tags()["EARTHWORDS_PROBABILITIES"] == "sigmoid"
        assert float(dataset.tags()["EARTHWORDS_LOGIT_SCALE"]) == pytest.approx(scale, rel=1e-4)


def test_a_sigmoid_that_nobody_learned(micro: Path, scene: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "sure.toml").write_text(f'base = "tiny"\nweights = "{micro}"\nsigmoid = true\n')
    out = tmp_path / "out"
    done = command("segment", scene, out, "--preset", tmp_path / "sure.toml", "-t", "road", "-t", "water", *TOY)
    done.failed(2, "learned no scale and bias of pairs", "leave `sigmoid` out")
    assert not out.exists()
    (tmp_path / "both.toml").write_text('base = "siglip2"\nsigmoid = true\nsum_to_one = true\n')
    done = command("segment", scene, out, "--preset", tmp_path / "both.toml", "-t", "road", "-t", "water", *TOY)
    done.failed(2, "the sigmoid of each word, which goes with no head")


@pytest.mark.parametrize("name", ["metaclip2", "metaclip2-l"])
def test_metaclip2(name: str, metaclip2: Path, scene: Path, command: Command, tmp_path: Path) -> None:
    """Chinese words go to it as they are, known to the glossary or not; and they are other words than their English."""
    asked = [part for word in ("道路", "屋顶", "草地水体") for part in ("-t", word)]
    done = command("segment", scene, tmp_path / "out", "--preset", name, "--model", metaclip2, *asked, *TOY, "--json")
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "out" / "labels.tif") as dataset:
        assert dataset.tags()["EARTHWORDS_VOCABULARY"] == "道路; 屋顶; 草地水体"
    segmenter = Segmenter.from_preset(name, model=metaclip2, device="cpu")
    vocabulary = segmenter.predict(scene, ["道路", "屋顶", "草地水体"]).vocabulary
    assert vocabulary.queries == ("道路", "屋顶", "草地水体")
    chinese = segmenter.text_bank(vocabulary).vectors
    english = segmenter.text_bank(parse_classes(["道路", "屋顶"])).vectors
    assert np.abs(chinese[:2] - english).max() > 1e-3
    command("segment", scene, tmp_path / "no", "-t", "草地水体", "-t", "道路", *TOY).failed(2, "is not in the glossary")


@needs_fork
def test_killed(siglip2: tuple[Path, SiglipModel], metaclip2: Path, micro: Path, tmp_path: Path) -> None:
    """Begun again, it leaves the bytes of a run that nobody disturbed."""
    picture = render_scene(height=330, width=190, seed=3).image
    scene = write_raster(tmp_path / "scene.tif", np.moveaxis(picture, -1, 0))
    again = write_micro(tmp_path / "again", seed=36)
    models = {"siglip2": siglip2[0], "metaclip2": metaclip2, "tiny": f"soup:{micro},{again}"}
    lines = {
        name: ["segment", str(scene), OUT, "--preset", name, "--model", str(folder), *ASKED, *TOY]
        for name, folder in models.items()
    }
    told = survive(tmp_path, cases(lines, "events", 11, **dict.fromkeys(models, 1)))
    assert told.keys() == models.keys(), json.dumps(told)
