"""Every row of the table and every base of a referring preset, as it lies on the hub, is fetched, loaded and used.

The files are small (`tests.published`), their names, classes and keys are the hub's; the hub is on this machine, and
`huggingface_hub` asks it for what `fetch` asks for.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPModel, SamConfig, SamModel

from earthwords.errors import WeightsError
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.dino import load_dino
from earthwords.models.refseg.encoders import ClipWords
from earthwords.models.refseg.load import assemble, load_refseg
from earthwords.models.refseg.model import RefSeg
from earthwords.models.sam.load import load_sam
from earthwords.models.sam.predictor import SamPredictor
from earthwords.models.upsamplers import anyup, jbu, naf, simfeatup
from earthwords.models.weights.table import WEIGHTS, fetch, fetch_tokenizer, find, load_clip, load_upsampler_state
from earthwords.refer_presets import REFER_PRESETS
from tests import hub, published
from tests.models.published.conftest import at_its_url, no_sockets, small
from tests.referring import _SAM
from tests.upsamplers import random_state

GENERATOR = torch.Generator().manual_seed(7)


WORDS = ["a road", "the Roof, left of the lake!"]


FOLDERS = {
    "openai-vit-b-16": ("pytorch_model.bin", 16),
    "openai-vit-b-32": ("pytorch_model.bin", 32),
    "openai-vit-l-14": ("model.safetensors", 14),
    "metaclip-vit-b-16": ("model.safetensors", 16),
}


FILES = {
    "laion-vit-b-16": {},
    "remoteclip-vit-b-32": {},
    "remoteclip-vit-l-14": {},
    "georsclip-vit-b-32": {},
    "georsclip-vit-l-14": {},
    "georsclip-vit-h-14": {},
    "alignearth-sar-vit-b-16": {},
    "farslip-s1-vit-b-16": {"training": True, "long": True},
    "farslip-s1-vit-b-32": {"training": True},
    "farslip-s2-vit-b-16": {"training": True, "long": True},
    "farslip-s2-vit-b-32": {"training": True},
}


ZIPPED = ("skyclip-vit-b-32", "skyclip-vit-l-14", "skyclip-vit-l-14-top30pct")


UPSAMPLERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "simfeatup-million-aid": ("simfeatup", simfeatup.build),
    "featup-clip": ("jbu", jbu.build),
    "featup-maskclip": ("jbu", jbu.build),
    "anyup-multi-backbone": ("anyup", anyup.build),
    "anyup-paper": ("anyup", anyup.build),
    "naf-release": ("naf", naf.build),
}


VISION = {"dino-vit-b-16": "pytorch_model.bin"} | {f"dinov2-vit-{size}-14": "model.safetensors" for size in "sbl"}


PACKAGED = ("tiny", "tiny-simfeatup", "tiny-jbu", "tiny-anyup", "refseg-tiny")


SAMS = ("sam-vit-b", "sam-vit-l", "sam-vit-h")


SAMS_OF_AUTHORS = ("sam-vit-b-authors", "sam-vit-l-authors", "sam-vit-h-authors")


SAM2S = ("sam2.1-hiera-tiny", "sam2.1-hiera-small", "sam2.1-hiera-base-plus", "sam2.1-hiera-large")


SIGLIPS = tuple(name for name in WEIGHTS if name.startswith("siglip2-"))
"""Those of `test_siglip2`."""
METACLIPS = tuple(name for name in WEIGHTS if name.startswith("metaclip-2-"))
"""Those of `test_metaclip2`."""


def test_no_row_is_forgotten() -> None:
    sams = {*SAMS, *SAMS_OF_AUTHORS, *SAM2S, "sam3"}  # whose test is tests/models/sam3/test_load.py
    assert {*FOLDERS, *FILES, *ZIPPED, *UPSAMPLERS, *VISION, *PACKAGED, *SIGLIPS, *METACLIPS, *sams} == WEIGHTS.keys()
    bases = {preset.segmenter for preset in REFER_PRESETS.values()} | {p.words for p in REFER_PRESETS.values()}
    assert bases == {*BASES, None, "tiny"}


def agrees(found: ClipBackbone, model: CLIPModel, tolerance: float = 2e-5) -> None:
    """It sees and reads as transformers' model does, which is told where sentences end."""
    side = model.config.vision_config.image_size
    pixels = torch.randn(2, 3, side, side, generator=GENERATOR)
    assert found.tokenizer is not None
    ids = torch.from_numpy(found.tokenizer(WORDS))
    assert ids.max() == 49407 and (ids == 49407).sum() == 2
    with torch.inference_mode():
        image = model.get_image_features(pixel_values=pixels).pooler_output
        text = model.get_text_features(input_ids=ids).pooler_output
        torch.testing.assert_close(found.encode_image(pixels), image, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(found.encode_text(WORDS), text, atol=tolerance, rtol=tolerance)
        assert found.encode_dense(pixels, DenseMethod()).values.shape == (2, 16, 4, 4)
        assert (text[0] - text[1]).abs().max() > 1e-3


def reads_words(found: ClipBackbone) -> None:
    """Words are between the start and the end of a sentence."""
    words = ClipWords(found, side=found.patch * 4)
    for fixed in (True, False):
        said = words.encode_texts(words.ids(WORDS, fixed=fixed))
        assert said.words.sum(dim=1).tolist() == [2, 8]
        assert said.words[0, :4].tolist() == [False, True, True, False]


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_clips(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, patch = FOLDERS[name]
    model = published.clip(patch=patch)
    published.write_clip(tmp_path / "repository", model, weights=weights)
    small(name, monkeypatch)
    repository = {WEIGHTS[name].source: tmp_path / "repository"}
    with hub.served(repository, tmp_path / "hub", monkeypatch) as asked:
        agrees(load_clip(name), model)
        tokens = {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
        assert asked.files == {"config.json", "preprocessor_config.json", weights, *tokens}
    with no_sockets(monkeypatch):
        found = load_clip(name, offline=True)
    agrees(found, model)
    reads_words(found)


@pytest.mark.parametrize("name", FILES)
def test_files_of_clips(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = WEIGHTS[name]
    how = FILES[name]
    model = published.clip(patch=int(name.rsplit("-", 1)[-1]), positions=248 if how.get("long") else 77)
    activation = {"quickgelu": "quick_gelu", "gelu": "gelu"}[str(row.activation)]
    model = with_activation(model, activation)
    published.write_openai(tmp_path / "repository" / str(row.file), model, **how)
    small(name, monkeypatch)
    with hub.served({row.source: tmp_path / "repository"}, tmp_path / "hub", monkeypatch) as asked:
        agrees(load_clip(name), model)
        assert asked.files == {row.file}
    with no_sockets(monkeypatch):
        found = load_clip(name, offline=True)
    assert found.tokenizer is not None and found.tokenizer.context == (248 if how.get("long") else 77)
    agrees(found, model)
    reads_words(found)


def with_activation(model: CLIPModel, name: str) -> CLIPModel:
    for tower in (model.config.text_config, model.config.vision_config):
        tower.hidden_act = name
    again = CLIPModel(model.config)
    again.load_state_dict(model.state_dict())
    return again.eval()


@pytest.mark.parametrize("name", ZIPPED)
def test_zipped_clips(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = WEIGHTS[name]
    activation = {"quickgelu": "quick_gelu", "gelu": "gelu"}[str(row.activation)]
    model = with_activation(published.clip(patch=32 if "b-32" in name else 14), activation)
    published.write_openai(tmp_path / "epoch_20.pt", model, training=True)
    stem = row.source.rsplit("/", 1)[-1].removesuffix(".zip")
    with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "epoch_20.pt", f"{stem}/epoch_20.pt")
    with at_its_url(name, (tmp_path / "made.zip").read_bytes(), monkeypatch):
        agrees(load_clip(name), model)
    with no_sockets(monkeypatch):
        found = load_clip(name, offline=True)
    agrees(found, model)
    reads_words(found)


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_upsamplers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, build = UPSAMPLERS[name]
    state = random_state(method, 16)
    assert state is not None
    path = tmp_path / "x"
    if method in ("anyup", "naf"):
        torch.save(state, path)
    else:
        published.write_lightning(path, state)
    with at_its_url(name, path.read_bytes(), monkeypatch):
        load_upsampler_state(name)
    features, picture = torch.randn(1, 16, 9, 10, generator=GENERATOR), torch.randn(1, 3, 63, 80, generator=GENERATOR)
    with torch.inference_mode():
        found = build(16, load_upsampler_state(name, offline=True))(features, picture, (63, 80))
        expected = build(16, state)(features, picture, (63, 80))
    assert found.shape == (1, 16, 63, 80) and torch.equal(found, expected)


@pytest.mark.parametrize("name", VISION)
def test_towers_without_words(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = published.write_dino(tmp_path / "repository", second="v2" in name)
    with hub.served({WEIGHTS[name].source: tmp_path / "repository"}, tmp_path / "hub", monkeypatch) as asked:
        load_dino(name)
        assert asked.files == {"config.json", "preprocessor_config.json", VISION[name]}
    with no_sockets(monkeypatch):
        found = load_dino(name, offline=True)
    side = model.config.image_size
    pixels = torch.randn(2, 3, side, side, generator=GENERATOR)
    bare = {"add_pooling_layer": False} if "v2" not in name else {}
    expected = type(model).from_pretrained(tmp_path / "repository", local_files_only=True, **bare)
    with torch.inference_mode():
        tokens = expected.eval()(pixel_values=pixels).last_hidden_state[:, 1:]
    cells = side // found.patch
    torch.testing.assert_close(found.encode_dense(pixels), tokens.transpose(1, 2).unflatten(2, (cells, cells)))


def draws(found: SamPredictor, model: Any) -> None:
    """The same masks of three points as transformers' model with the authors' norms."""
    for norm in model.mask_decoder.transformer.layers.modules():
        if isinstance(norm, torch.nn.LayerNorm):
            norm.eps = 1e-5
    picture = np.random.default_rng(7).integers(0, 256, (found.side, found.side, 3), np.uint8)
    points = np.array([[3.0, 5.0], [20.0, 9.0], [11.0, 30.0]])
    low, iou = found.decode(found.encode(picture), points=points)
    with torch.inference_mode():
        asked = torch.from_numpy(points)[None, :, None].float()
        theirs = model(pixel_values=found.prepare(picture), input_points=asked)
    torch.testing.assert_close(low, theirs.pred_masks[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(iou, theirs.iou_scores[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [*SAMS, *SAM2S])
def test_sams(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = (published.write_sam2 if name in SAM2S else published.write_sam)(tmp_path / "repository")
    with hub.served({WEIGHTS[name].source: tmp_path / "repository"}, tmp_path / "hub", monkeypatch) as asked:
        draws(load_sam(name), model)
        assert {"config.json", "model.safetensors"} <= asked.files and "pytorch_model.bin" not in asked.files
    with no_sockets(monkeypatch):
        draws(load_sam(name, offline=True), model)


@pytest.mark.parametrize("name", SAMS_OF_AUTHORS)
def test_sams_of_the_authors(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight heads in the mask decoder, which its shapes do not tell."""
    decoder = {**_SAM["mask_decoder_config"], "num_attention_heads": 8}
    model = published.spread(SamModel(SamConfig(**{**_SAM, "mask_decoder_config": decoder})))
    published.write_sam_of_authors(tmp_path / "sam.pth", model)
    with at_its_url(name, (tmp_path / "sam.pth").read_bytes(), monkeypatch):
        draws(load_sam(name), model)
    with no_sockets(monkeypatch):
        draws(load_sam(name, offline=True), model)


@pytest.mark.parametrize("name", PACKAGED)
def test_what_comes_with_the_package(name: str) -> None:
    row = WEIGHTS[name]
    if row.kind == "clip":
        found = load_clip(name, offline=True)
        assert found.encode_text(["road", "water"]).shape == (2, found.dim)
        assert found.encode_image(torch.zeros(1, 3, 128, 128)).shape == (1, found.dim)
        words = ClipWords(found, side=256)
        said = words.encode_texts(words.ids(["the red roof", "a lake"], fixed=True))
        assert said.words.sum(dim=1).tolist() == [3, 2]
    elif row.kind == "upsampler":
        assert load_upsampler_state(name, offline=True)
    else:
        points(load_refseg(name, offline=True).model)


def points(model: RefSeg) -> None:
    """A mask for each of two sentences, on a picture."""
    picture = torch.rand(1, 3, model.side, model.side, generator=torch.Generator().manual_seed(7)) * 255
    with torch.inference_mode():
        said = model.encode_texts(model.ids(["the red roof", "a lake"]))
        logits = model.predict(model.encode_images(picture), said, torch.tensor([0, 0])).logits
    assert logits.shape == (2, 1, model.mask_side, model.mask_side)
    assert torch.isfinite(logits).all() and (logits[0] - logits[1]).abs().max() > 1e-6


BASES: dict[str, Callable[[Path], Any]] = {
    "facebook/sam-vit-base": published.write_sam,
    "facebook/sam-vit-large": published.write_sam,
    "facebook/sam2.1-hiera-large": published.write_sam2,
    "google/siglip-so400m-patch14-384": published.write_siglip,
    "google/siglip2-so400m-patch16-512": lambda folder: published.write_siglip(folder, second=True),
}


FETCHED = {
    "google/siglip-so400m-patch14-384": {"spiece.model", "special_tokens_map.json", "tokenizer_config.json"},
    "google/siglip2-so400m-patch16-512": {"tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"},
    "facebook/sam2.1-hiera-large": {"video_preprocessor_config.json", "processor_config.json"},
}


@pytest.mark.parametrize("name", [name for name, preset in REFER_PRESETS.items() if preset.segmenter])
def test_bases_of_referring_presets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = REFER_PRESETS[name]
    models = {}
    for source in (preset.segmenter, preset.words):
        models[source] = BASES[source](tmp_path / source)
    with hub.served({source: tmp_path / source for source in models}, tmp_path / "hub", monkeypatch) as asked:
        points(assemble(preset))
        common = {"config.json", "model.safetensors", "preprocessor_config.json"}
        assert asked.files == common.union(*(FETCHED.get(source, set()) for source in models))
    with no_sockets(monkeypatch):
        model = assemble(preset, offline=True)
    points(model)
    own = model.state_dict()
    for source, prefix in ((preset.segmenter, "sam."), (preset.words, "words.model.")):
        for key, value in models[source].state_dict().items():
            wrapped = f"{prefix}{key.rpartition('.')[0]}.base_layer.{key.rpartition('.')[2]}"
            assert torch.equal(own[prefix + key if prefix + key in own else wrapped], value), key
    read_sentences(model)


def read_sentences(model: RefSeg) -> None:
    """Capitals count for nothing, punctuation for SigLIP 2 alone; words are neither the end nor padding."""
    words = model.words
    said = [words.ids([text], fixed=False)[0].tolist() for text in ("The red Roof!", "the red roof!", "the red roof")]
    assert said[0] == said[1] and (said[1] == said[2]) == (words.pad == words.end)
    assert all(row[-1] == words.end == 1 and row.count(1) == 1 for row in said)
    ids = words.ids(["the red roof", "of a lake of the left " * 30], fixed=True)
    assert ids.shape == (2, 64) and ids[1, -1] == words.end
    with torch.inference_mode():
        found = words.encode_texts(ids).words
    assert found.sum(dim=1).tolist() == [len(said[2]) - 1, 63] and not found[0, len(said[2]) - 1 :].any()


@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_without_a_cache_asks_nobody(how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    if how == "environment":
        monkeypatch.setenv("EARTHWORDS_OFFLINE", "1")
    with no_sockets(monkeypatch):
        sams = (*SAMS, *SAMS_OF_AUTHORS, *SAM2S)
        for name in (
            *FOLDERS,
            *FILES,
            *ZIPPED,
            *SIGLIPS,
            *METACLIPS,
            *UPSAMPLERS,
            *VISION,
            *sams,
            *filter(None, BASES),
        ):
            with pytest.raises(WeightsError, match="without --offline"):
                fetch(find(name), offline=how == "option")
        with pytest.raises(WeightsError, match="without --offline"):
            fetch_tokenizer(find("google/siglip-so400m-patch14-384"), offline=how == "option")


def test_long_clip_needs_both_tables(tmp_path: Path) -> None:
    model = published.clip(positions=248)
    published.write_openai(tmp_path / "x.pt", model, long=True)
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    del state["positional_embedding"]
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="Not a complete Long-CLIP"):
        load_clip(str(tmp_path / "x.pt"))
