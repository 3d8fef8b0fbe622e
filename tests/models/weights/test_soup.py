"""Means of checkpoints: every number, a fingerprint of their own, and refusals in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio
import torch
from transformers import CLIPModel

from earthwords.errors import UsageError, WeightsError
from earthwords.models.clip.model import DenseMethod
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.soup_name import parse_soup
from earthwords.models.weights.table import find, load_clip
from tests import published
from tests.conftest import Command
from tests.micro import write_micro


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, CLIPModel, CLIPModel]:
    folder, models = tmp_path_factory.mktemp("soup"), []
    for name, step in (("a", 0.0), ("b", 0.3)):
        model = published.clip(patch=16)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(step * torch.randn_like(parameter))
        published.write_clip(folder / name, model, weights="model.safetensors")
        models.append(model)
    return folder / "a", folder / "b", *models


def test_the_mean_of_every_number(clips: tuple[Path, Path, CLIPModel, CLIPModel]) -> None:
    """As transformers' model with averaged weights sees and reads; each weight counts."""
    first, second, one, two = clips
    for name, share in ((f"soup:{first},{second}", 0.5), (f"soup:3*{first},1*{second}", 0.75)):
        found = load_clip(name)
        assert found.weights_id == name
        expected, other = one.state_dict(), two.state_dict()
        model = CLIPModel(one.config).eval()
        model.load_state_dict({key: share * value + (1 - share) * other[key] for key, value in expected.items()})
        pixels = torch.randn(2, 3, 64, 64)
        ids = torch.from_numpy(found.tokenizer(["a road", "the roof"]))
        with torch.inference_mode():
            image = model.get_image_features(pixel_values=pixels).pooler_output
            text = model.get_text_features(input_ids=ids).pooler_output
            torch.testing.assert_close(found.encode_image(pixels), image, atol=2e-5, rtol=2e-5)
            torch.testing.assert_close(found.encode_text(["a road", "the roof"]), text, atol=2e-5, rtol=2e-5)
            assert found.encode_dense(pixels, DenseMethod()).values.shape == (2, 16, 4, 4)


def test_a_fingerprint_of_its_own(clips: tuple[Path, Path, CLIPModel, CLIPModel]) -> None:
    first, second, *_ = clips
    names = (str(first), str(second), f"soup:{first},{second}", f"soup:2*{first},{second}")
    for tower in ("vision", "text"):
        assert len({tower_hash(load_clip(name), tower) for name in names}) == 4
    swapped = load_clip(f"soup:{second},{first}")
    assert tower_hash(swapped, "vision") == tower_hash(load_clip(names[2]), "vision")


def test_layouts_that_differ(clips: tuple[Path, Path, CLIPModel, CLIPModel], micro: Path, tmp_path: Path) -> None:
    first, *_ = clips
    with pytest.raises(WeightsError, match=r"cannot be mixed: \w+ of the vision tower is .* and .*one architecture"):
        load_clip(f"soup:{first},{micro}")
    published.write_clip(tmp_path / "c", published.clip(patch=16), weights="model.safetensors")
    picture = json.loads((tmp_path / "c" / "preprocessor_config.json").read_text())
    (tmp_path / "c" / "preprocessor_config.json").write_text(json.dumps({**picture, "image_mean": [0.5] * 3}))
    with pytest.raises(WeightsError, match="their pixels are normalised differently"):
        load_clip(f"soup:{first},{tmp_path / 'c'}")
    published.write_siglip(tmp_path / "s", second=True)
    with pytest.raises(WeightsError, match="they are of different kinds"):
        load_clip(f"soup:{first},{tmp_path / 's'}")


@pytest.mark.parametrize("name", ["soup:", "soup:a", "soup:a,a", "soup:a,", "soup:soup:a,b", "soup:2*a,a"])
def test_no_mean(name: str) -> None:
    with pytest.raises(UsageError, match="is no mean of checkpoints: write two or more"):
        parse_soup(name)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "x", ""])
def test_no_weight(weight: str) -> None:
    with pytest.raises(UsageError, match="no positive number"):
        parse_soup(f"soup:{weight}*a,b")


def test_what_is_known_of_a_mean(command: Command, micro: Path) -> None:
    spec = find("soup:openai-vit-b-32,0.5*remoteclip-vit-b-32")
    assert spec.licence == "MIT; none stated for the weights" and spec.megabytes == 605 and spec.gate == "no"
    assert parse_soup("soup:openai-vit-b-32, 3*x") == [("openai-vit-b-32", 0.25), ("x", 0.75)]
    done = command("segment", "none.tif", "out", "--model", f"soup:{micro},openai-vit-b32", "-t", "road")
    assert done.code in (1, 2)
    command("models", "show", f"soup:{micro},openai-vit-b32").failed(2, "Did you mean 'openai-vit-b-32'?")


def test_segment(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    """Of the same checkpoint under two names the map is that of the checkpoint."""
    again = write_micro(tmp_path / "again")
    asked = ["-t", "road", "-t", "water", "--tile-size", "64", "--device", "cpu", "--quiet"]
    for name, model in (("one", micro), ("soup", f"soup:{micro},{again}")):
        done = command("segment", scene_file, tmp_path / name, "--model", model, *asked)
        assert done.code == 0, done.err
    maps = []
    for name in ("one", "soup"):
        with rasterio.open(tmp_path / name / "labels.tif") as dataset:
            maps.append(dataset.read(1))
            assert ("soup:" in dataset.tags()["EARTHWORDS_WEIGHTS"]) == (name == "soup")
    assert (maps[0] == maps[1]).all() and len(set(maps[0].ravel().tolist())) > 1
