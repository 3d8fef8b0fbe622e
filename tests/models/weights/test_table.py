"""Checkpoints in every layout give the same model; unsafe and unfitting ones are refused."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPModel

from earthwords.errors import UsageError, WeightsError
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.weights import table
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.table import WEIGHTS, WeightSpec, fetch, find, load_clip, load_upsampler_state
from earthwords.text.tokenizer import ClipTokenizer
from earthwords.training.initialise import store
from tests.models.layouts import Scripted, ours

PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
IDS = torch.tensor([[638, 5, 6, 639], [638, 9, 639, 0]])


def agrees(found: ClipBackbone, model: CLIPModel, tolerance: float = 1e-5) -> None:
    with torch.inference_mode():
        image = model.get_image_features(pixel_values=PIXELS).pooler_output
        text = model.get_text_features(input_ids=IDS).pooler_output
        torch.testing.assert_close(found.encode_image(PIXELS), image, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(found.encode_tokens(IDS), text, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("layout", ["bare", "training", "safetensors", "zip", "half"])
def test_openai_layouts(layout: str, clip: CLIPModel, openai_state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    if layout == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file(openai_state, path)
    elif layout == "training":
        state = {f"module.{k}": v for k, v in openai_state.items()}
        torch.save({"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"lr": 1e-3}}, path)
    elif layout == "half":
        torch.save({k: v.half() for k, v in openai_state.items()}, path)
    else:
        torch.save(openai_state, path)
    if layout == "zip":
        with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
            archive.write(path, "SkyCLIP/epoch_20.pt")
        path = tmp_path / "model.zip"
    agrees(load_clip(str(path)), clip, 2e-2 if layout == "half" else 1e-5)


def test_torchscript_archives_are_read_without_running_them(
    clip: CLIPModel, openai_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "ViT-B-16.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Scripted(openai_state)).save(path)
    assert read_state(path).keys() == openai_state.keys()
    agrees(load_clip(str(path)), clip)


@pytest.mark.parametrize("shards", ["one", "many", "bin"])
def test_hugging_face_folders(shards: str, clip: CLIPModel, tmp_path: Path) -> None:
    clip.save_pretrained(tmp_path, max_shard_size="100KB" if shards == "many" else "1GB")
    if shards == "bin":
        (tmp_path / "model.safetensors").unlink()
        torch.save(clip.state_dict(), tmp_path / "pytorch_model.bin")
    ClipTokenizer.train(["a road"], vocab_size=640, context=24).save(tmp_path)
    agrees(load_clip(str(tmp_path)), clip)


def test_what_we_store_transformers_reads(clip: CLIPModel, tmp_path: Path) -> None:
    tokenizer = ClipTokenizer.train(["a road"], vocab_size=640, context=24)
    store(ClipBackbone(ours(clip), tokenizer=tokenizer), tmp_path)
    agrees(ClipBackbone(ours(CLIPModel.from_pretrained(tmp_path))), clip)
    again = load_clip(str(tmp_path))
    assert again.tokenizer is not None
    assert again.tokenizer(["a road"]).tolist() == tokenizer(["a road"]).tolist()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1, "whoever may read the configuration may read the weights"


def test_image_statistics_come_from_the_folder(clip: CLIPModel, tmp_path: Path) -> None:
    tokenizer = ClipTokenizer.train(["a road"], vocab_size=640, context=24)
    store(ClipBackbone(ours(clip), tokenizer=tokenizer, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)), tmp_path)
    again = load_clip(str(tmp_path))
    assert (again.mean, again.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_activation_is_the_rows(
    openai_state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(openai_state, tmp_path / "x.pt")
    for activation, expected in (("gelu", "gelu"), ("quickgelu", "quick_gelu")):
        row = WeightSpec(name="mine", source=str(tmp_path / "x.pt"), licence="", paper="", activation=activation)
        monkeypatch.setitem(WEIGHTS, "mine", row)
        config = load_clip("mine").model.config
        assert config.vision_config.hidden_act == config.text_config.hidden_act == expected


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda s: s.pop("visual.transformer.resblocks.1.ln_1.bias"), r"1 names missing, first vision_model\.encoder"),
        (lambda s: [s.pop(k) for k in list(s) if "resblocks.0." in k and "visual" not in k], "missing"),
        (lambda s: s.update({"visual.proj": s["visual.proj"][:5]}), "of another shape, first visual_projection"),
        (lambda s: s.update({"surprise": torch.zeros(1)}), "1 names unknown, first surprise"),
        (lambda s: s.pop("visual.conv1.weight"), "not a CLIP with a ViT"),
    ],
)
def test_unfitting_state_dicts(damage: object, sentence: str, openai_state: dict[str, Tensor], tmp_path: Path) -> None:
    state = dict(openai_state)
    damage(state)  # type: ignore[operator]
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=sentence):
        load_clip(str(tmp_path / "x.pt"))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3)], ids=["list", "tensor"])
def test_files_without_names(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="expected tensors by name"):
        load_clip(str(tmp_path / "x.pt"))


def test_a_vision_tower_alone_loads(openai_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({k: v for k, v in openai_state.items() if k.startswith("visual.")}, tmp_path / "vision.pt")
    tower = load_clip(str(tmp_path / "vision.pt"))
    assert tower.encode_dense(PIXELS, DenseMethod()).values.shape == (2, 16, 4, 4)
    assert tower.tokenizer is None


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (1280, 16), (1408, 16), (1664, 16)])
def test_heads_of_the_published_vision_towers(width: int, heads: int, openai_state: dict[str, Tensor]) -> None:
    """B, L, H, g and bigG: the wider ones have heads of 80, 88 and 104."""
    from earthwords.models.clip.convert import openai_config

    conv = {"visual.conv1.weight": torch.empty(width, 3, 16, 16, device="meta")}
    config = openai_config({**openai_state, **conv}, activation="gelu")
    assert config.vision_config.num_attention_heads == heads
    assert config.text_config.num_attention_heads == 2


def test_an_archive_packed_on_a_mac(clip: CLIPModel, openai_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(openai_state, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "x.pt", "SkyCLIP/epoch_20.pt")
        archive.writestr("__MACOSX/SkyCLIP/._epoch_20.pt", b"resource fork")
    agrees(load_clip(str(tmp_path / "x.zip")), clip)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("vocab.json", "{", "tokenizer in .* is damaged"),
        ("vocab.json", '{"a": 0}', "tokenizer in .* is damaged"),
        ("merges.txt", "a b c\n", "tokenizer in .* is damaged"),
        ("preprocessor_config.json", "{", r"Cannot read .*preprocessor_config\.json"),
    ],
)
def test_a_folder_with_a_damaged_file(file: str, content: str, sentence: str, clip: CLIPModel, tmp_path: Path) -> None:
    store(ClipBackbone(ours(clip), tokenizer=ClipTokenizer.train(["a road"], vocab_size=640, context=24)), tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(WeightsError, match=sentence):
        load_clip(str(tmp_path))


def test_an_incomplete_folder(clip: CLIPModel, tmp_path: Path) -> None:
    state = clip.state_dict()
    del state["visual_projection.weight"]
    clip.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"1 names missing, first visual_projection\.weight"):
        load_clip(str(tmp_path))
    save_file({k: v.clone() for k, v in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 names missing, first visual_projection\.weight"):
        load_clip(str(tmp_path))


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, ("/tmp/earthwords-was-here", "w"))


def test_pickled_code_does_not_run(tmp_path: Path) -> None:
    torch.save({"visual.conv1.weight": _Bomb()}, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl.pt").write_bytes(pickle.dumps({"a": _Bomb()}))
    for name in ("evil.pt", "evil.pkl.pt"):
        with pytest.raises(WeightsError, match="files that carry code are not loaded"):
            load_clip(str(tmp_path / name))
    assert not Path("/tmp/earthwords-was-here").exists()


def test_pickled_code_in_a_torchscript_archive_does_not_run(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("x/constants.pkl", b"")
        archive.writestr("x/data.pkl", pickle.dumps({"a": _Bomb()}))
    with pytest.raises(WeightsError, match="the archive asks for"):
        load_clip(str(tmp_path / "evil.pt"))
    assert not Path("/tmp/earthwords-was-here").exists()


@pytest.mark.parametrize("tree", [pickle.dumps({"a": 1}), pickle.dumps([1])[:-3], b"\x80\x02Q"])
def test_a_torchscript_archive_of_something_else(tree: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/constants.pkl", b"")
        archive.writestr("x/data.pkl", tree)
    with pytest.raises(WeightsError, match="TorchScript archive"):
        load_clip(str(tmp_path / "x.pt"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_files_that_are_no_checkpoints(content: bytes, tmp_path: Path) -> None:
    for name in ("x.pt", "x.safetensors", "x.zip"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name}"):
            load_clip(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("remoteclip-vit-b-33", UsageError, "Did you mean 'remoteclip-vit-b-32'"),
        ("/nowhere/model.pt", WeightsError, "No checkpoint at /nowhere/model.pt"),
    ],
)
def test_unknown_weights(name: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        find(name)


@pytest.mark.parametrize("name", ["facebook/metaclip-b16-fullcc2.5b", "somebody/model-v1.5", "somebody/model"])
def test_hugging_face_ids_may_hold_dots(name: str) -> None:
    assert find(name).source == name


def test_offline_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))  # read from the environment once
    for name in ("remoteclip-vit-b-32", "openai-vit-b-16", "featup-clip"):
        with pytest.raises(WeightsError, match=f"{name}.*without --offline"):
            fetch(WEIGHTS[name], offline=True)


class TestDownloads:
    """Through a file URL: the same code as for the network."""

    @pytest.fixture
    def row(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightSpec:
        monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path / "cache"))
        source = tmp_path / "origin" / "up.safetensors"
        source.parent.mkdir()
        save_file({"a": torch.arange(3.0)}, source)
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        row = WeightSpec(name="up", source=source.as_uri(), licence="", paper="", sha256=sha256, kind="upsampler")
        monkeypatch.setitem(WEIGHTS, "up", row)
        return row

    def test_once_and_verified(self, row: WeightSpec, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        state = load_upsampler_state("up", report=lambda done, total: seen.append((done, total)))
        assert state["a"].tolist() == [0, 1, 2]
        assert seen[-1][0] == (tmp_path / "origin" / "up.safetensors").stat().st_size
        (tmp_path / "origin" / "up.safetensors").unlink()
        assert load_upsampler_state("up", offline=True)["a"].tolist() == [0, 1, 2]

    def test_another_hash_is_refused_and_not_kept(self, row: WeightSpec, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="sha256 of the file is"):
            fetch(replace(row, sha256="0" * 64))
        assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]

    def test_unreachable(self, row: WeightSpec, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="up cannot be fetched from"):
            fetch(replace(row, source=(tmp_path / "gone.pt").as_uri()))
        assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_rows_are_complete() -> None:
    for name, row in WEIGHTS.items():
        assert row.name == name and row.licence
        assert row.kind in ("clip", "upsampler", "referring", "vision", "masks", "prompted")
        if row.kind == "clip" and row.file and row.file.endswith((".pt", ".bin")):
            assert row.activation in ("quickgelu", "gelu"), f"{name}: a state dict does not say its activation"
    found = {name: row.activation for name, row in WEIGHTS.items() if row.activation}
    assert found == {
        "alignearth-sar-vit-b-16": "gelu",
        **{f"farslip-s{stage}-vit-b-{patch}": "quickgelu" for stage in (1, 2) for patch in (16, 32)},
        "laion-vit-b-16": "gelu",
        "remoteclip-vit-b-32": "quickgelu",
        "remoteclip-vit-l-14": "quickgelu",
        "georsclip-vit-b-32": "quickgelu",
        "georsclip-vit-l-14": "quickgelu",
        "georsclip-vit-h-14": "gelu",
        "skyclip-vit-b-32": "gelu",
        "skyclip-vit-l-14": "quickgelu",
        "skyclip-vit-l-14-top30pct": "quickgelu",
    }
    for row in WEIGHTS.values():
        assert row.sha256 is None or (len(row.sha256) == 64 and int(row.sha256, 16)), row.name
        assert not row.hashed or (row.sha256 and row.file is None), row.name


def test_a_vision_tower_has_no_words(openai_state: dict[str, Tensor]) -> None:
    from earthwords.models.clip.convert import from_openai

    tower = ClipBackbone(
        from_openai({k: v for k, v in openai_state.items() if k.startswith("visual.")}, activation="gelu")
    )
    assert tower.encode_dense(PIXELS, DenseMethod()).values.shape == (2, 16, 4, 4)
    with pytest.raises(WeightsError, match="no tokenizer"):
        tower.encode_text(["road"])
    with pytest.raises(WeightsError, match="no text tower"):
        tower.encode_tokens(IDS)
    assert table.cache_folder().name
