"""RSRefSeg: what depends on what, the authors' choices and ours, weights by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from earthwords.errors import UsageError, WeightsError
from earthwords.models import architectures
from earthwords.models.refseg.adapters import checkpoint_gradients
from earthwords.models.refseg.author_names import from_authors, to_authors
from earthwords.models.refseg.encoders import ClipWords
from earthwords.models.refseg.load import assemble, kept, load_refseg, store_refseg
from earthwords.models.refseg.model import RefSeg, enlarge
from earthwords.models.refseg.presence import Presence
from earthwords.models.refseg.prompter import AttnPrompter, WordPrompts, activate, fourier_position
from earthwords.models.weights.table import load_clip
from earthwords.refer_presets import REFER_PRESETS, RSREFSEG_B, ReferPreset
from tests.referring import micro_preset, toy_row, write_bases


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> ReferPreset:
    return write_bases(tmp_path_factory.mktemp("bases"))


def images(count: int, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(7)) * 255


def shaken(model: RefSeg, names: frozenset[str]) -> RefSeg:
    """As after a training: all that learns is other than it began."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name in names and value.is_floating_point() and "running" not in name:
                value.add_(0.1 * torch.randn(value.shape, generator=rng))
    return model


def test_words_light_up_where_they_are() -> None:
    visual = torch.zeros(1, 3, 2, 3)
    visual[0, :, 1, 2] = torch.tensor([0.0, 2.0, 0.0])
    visual[0, :, 0, 0] = torch.tensor([5.0, 0.0, 0.0])
    tokens = torch.tensor([[[0.0, 3.0, 0.0], [1.0, 0.0, 0.0]]])
    scale, bias = torch.tensor(10.0), torch.tensor(-5.0)
    found = activate(visual, tokens, tokens[:, 0], scale=scale, bias=bias)
    assert found.global_logit[0].argmax() == 5 and float(found.global_logit[0, 1, 2]) == pytest.approx(5.0)
    assert float(found.local_logit[0, 1, 0, 0]) == pytest.approx(5.0)
    share = (torch.tensor(5.0).sigmoid() + torch.tensor(-5.0).sigmoid()) / 2
    torch.testing.assert_close(found.local_visual[0, :, 0, 0], visual[0, :, 0, 0] * (1 + share) / 2)
    first = activate(visual, tokens, tokens[:, 0], scale=scale, bias=bias, words=torch.tensor([[True, False]]))
    expected = visual[0, :, 0, 0] * torch.tensor(-5.0).sigmoid()
    torch.testing.assert_close(first.local_feature[0, :, 0, 0], expected)
    nothing = activate(visual, tokens, tokens[:, 0], scale=scale, bias=bias, words=torch.zeros(1, 2, dtype=torch.bool))
    assert not nothing.local_feature.any()


def test_prompts_are_tokens_in_rows_from_the_top_left() -> None:
    prompter = AttnPrompter(4, 8, levels=1).eval()
    position = fourier_position(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), (4, 6))
    assert position.shape == (8, 4, 6)
    visual = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(1))
    tokens = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    one = torch.tensor(1.0)
    found = activate(visual, tokens, tokens[:, 0], scale=one, bias=-one)
    out = prompter(found, position)
    assert out.shape == (2, 1, 6, 8)
    grid = prompter.down_spatial(prompter.down_channel(found.combined) + position)
    torch.testing.assert_close(out[1, 0, 4], grid[1, :, 1, 1])


def test_an_image_is_encoded_once_for_all_sentences(bases: ReferPreset) -> None:
    model = assemble(bases)
    texts = ["the red roof", "both roofs", "a blue roof left"]
    with torch.no_grad():
        seen = model.encode_images(images(2))
        together = model.predict(seen, model.encode_texts(model.ids(texts)), torch.tensor([1, 0, 1])).logits
        for i, (text, image) in enumerate(zip(texts, (1, 0, 1), strict=True)):
            alone = model(images(2)[image][None], model.ids([text])).logits
            torch.testing.assert_close(together[i], alone[0], atol=2e-5, rtol=1e-4)
    assert (together[0] - together[2]).abs().max() > 1e-3
    assert enlarge(together, (33, 50)).shape == (3, 1, 33, 50)


def test_the_words_themselves_make_prompts_whatever_the_padding() -> None:
    torch.manual_seed(3)
    speaker = WordPrompts(6, 8, count=3).eval()
    tokens = torch.randn(2, 5, 6)
    words = torch.tensor([[False, True, True, False, False], [False, True, True, True, True]])
    out = speaker(tokens, words)
    assert out.shape == (2, 1, 3, 8)
    alone = speaker(tokens[:1, :3], words[:1, :3])
    torch.testing.assert_close(out[:1], alone)
    for place, counts in ((2, True), (0, False), (4, False)):
        other = tokens.clone()
        other[0, place] += torch.arange(6.0)  # another direction: of the length nothing is read
        changed = (speaker(other, words) - out).abs().amax(dim=(1, 2, 3))
        assert (changed[0] > 1e-3) == counts and changed[1] == 0
        assert counts or changed[0] == 0
    wordless = speaker(tokens, torch.zeros_like(words))
    torch.testing.assert_close(wordless, speaker(tokens[:, :1], torch.ones(2, 1, dtype=torch.bool)))


@pytest.mark.parametrize("change", [{"word_prompts": 0}, {"fuse": False}])
def test_the_small_ones_own_prompts_and_features_reach_its_masks(micro: Path, change: dict[str, int]) -> None:
    row = micro_preset(micro)
    whole, less = assemble(row), assemble(replace(row, **change))
    less.load_state_dict({n: v for n, v in whole.state_dict().items() if n in less.state_dict()})
    gone = {n.split(".")[0] for n in kept(whole, row) - kept(less, row)}
    assert gone == ({"speaker"} if "word_prompts" in change else {"fusion"})
    ids = whole.ids(["the red roof", "water"])
    with torch.no_grad():
        found, without = whole(images(2), ids), less(images(2), ids)
    assert found.sparse.shape[2] - without.sparse.shape[2] == (8 if "word_prompts" in change else 0)
    assert (found.logits - without.logits).abs().max() > 1e-3 * without.logits.abs().max() > 0


def test_the_authors_masks_depend_on_the_neighbours_and_ours_do_not(bases: ReferPreset) -> None:
    texts = ["the red roof", "the blue roof left the red roof"]
    change = {}
    for name, row in (("ours", bases), ("authors", bases.faithful())):
        model = assemble(row)
        with torch.no_grad():
            both = model(images(2), model.ids(texts)).logits[0]
            change[name] = float((both - model(images(1), model.ids(texts[:1])).logits[0]).abs().max())
    assert change["ours"] < 1e-4 < 1e-3 < change["authors"]


def test_a_sentence_longer_than_the_model_is_cut(bases: ReferPreset) -> None:
    model = assemble(bases.faithful())
    ids = model.ids(["roof " * 300, "roof"])
    assert ids.shape == (2, 8) and ids[0, -1] == 1 and ids[1].tolist() == [6, 1, 1, 1, 1, 1, 1, 1]


def test_only_adapters_prompter_prompts_and_masks_learn(bases: ReferPreset) -> None:
    model = assemble(bases)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    kinds = {name.split(".lora_")[0] if ".lora_" in name else ".".join(name.split(".")[:2]) for name in learning}
    first = {name for name in kinds if ".layers.0." in name or "layers" not in name}
    block = "encoder.layers.0.self_attn"
    assert first == {
        *(f"sam.vision_encoder.layers.0.{part}" for part in ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")),
        *(f"sam.vision_encoder.neck.conv{i}" for i in (1, 2)),
        *(f"words.model.{t}_model.{block}.{p}_proj" for t in ("vision", "text") for p in ("q", "k", "v", "out")),
        "words.model.vision_model.head.attention.out_proj",
        "words.model.text_model.head",
        "prompter.down_channel",
        "prompter.down_spatial",
        "sam.prompt_encoder",
        "sam.mask_decoder",
    }
    assert not any("positional_embedding" in name or "logit_" in name for name in learning)


def test_presence_is_a_logistic_regression() -> None:
    lit = torch.tensor([0.25, -3.0, 2.0, -1.25])
    value = Presence(peak=0.5, mean=2.0, bias=-1.5)(lit)
    assert value == pytest.approx(1 / (1 + np.exp(-(0.5 * 2.0 + 2.0 * -0.5 - 1.5))))


def test_a_folder_holds_what_was_learned_alone(bases: ReferPreset, tmp_path: Path) -> None:
    row = replace(bases, norm="batch")
    model = shaken(assemble(row), kept(assemble(row), row))
    model.prompter.down_channel.bn.running_mean += 0.5
    store_refseg(model, row, tmp_path)
    stored = load_file(tmp_path / "refseg.safetensors")
    assert set(stored) == kept(model, row) and not any(".base_layer." in name for name in stored)
    assert "prompter.down_channel.bn.running_mean" in stored
    again = load_refseg(str(tmp_path)).model
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    card = json.loads((tmp_path / "refseg.json").read_text())
    for name, value in (("lora_rank", "many"), ("lora_rank", 10**9), ("words", None), ("dense", 1), ("rank", 2)):
        (tmp_path / "refseg.json").write_text(json.dumps({"preset": {**card["preset"], name: value}}))
        with pytest.raises(WeightsError, match=rf"is not a folder of `train refer`: .*{name}"):
            load_refseg(str(tmp_path))
    for learned in (
        {"peak": 1},
        {"peak": 1, "mean": "much", "bias": 0},
        {"peak": 1, "mean": float("nan"), "bias": 0},
        [],
    ):
        (tmp_path / "refseg.json").write_text(json.dumps({**card, "presence": learned}))
        with pytest.raises(WeightsError, match="is not a folder of `train refer`"):
            load_refseg(str(tmp_path))
    (tmp_path / "refseg.json").write_text(json.dumps({**card, "presence": {"peak": 1, "mean": 0.5, "bias": -2}}))
    assert load_refseg(str(tmp_path)).presence == Presence(peak=1, mean=0.5, bias=-2)
    (tmp_path / "refseg.json").write_text(json.dumps(card))
    assert load_refseg(str(tmp_path)).presence is None
    (tmp_path / "refseg.safetensors").unlink()
    with pytest.raises(WeightsError, match="the training did not finish"):
        load_refseg(str(tmp_path))


def test_the_small_one_comes_from_a_clip_and_a_fresh_sam(micro: Path, tmp_path: Path) -> None:
    row = micro_preset(micro)
    model = assemble(row)
    stem = model.sam.vision_encoder.patch_embed.projection.state_dict()
    theirs = model.words.clip.model.vision_model.embeddings.patch_embedding.state_dict()
    assert torch.equal(stem["1.0.weight"], theirs["1.0.weight"])
    assert 0.5 < float(model.frequencies.std()) < 2
    store_refseg(shaken(model, kept(model, row)), row, tmp_path, dtype=torch.float16)
    again = load_refseg(str(tmp_path)).model
    ids = model.ids(["the red roof", "water"])
    with torch.no_grad():
        ours, theirs = model(images(2), ids).logits, again(images(2), ids).logits
        assert ours.shape == (2, 1, 32, 32)
        torch.testing.assert_close(ours, theirs, atol=0.02 * float(ours.abs().max()), rtol=0.02)
        assert torch.equal(model.ids(["water"]), again.ids(["water"]))
        short = again(images(2)[1:], again.ids(["water"])).logits[0]
        torch.testing.assert_close(short, theirs[1], atol=1e-4, rtol=1e-4)


def test_a_clip_that_has_changed_is_noticed(micro: Path, tmp_path: Path) -> None:
    clip = Path(shutil.copytree(micro, tmp_path / "clip"))
    row = micro_preset(clip)
    store_refseg(assemble(row), row, tmp_path / "model")
    assert load_refseg(str(tmp_path / "model"))
    state = load_file(clip / "model.safetensors")
    state["text_projection.weight"] += 0.5
    save_file(state, clip / "model.safetensors")
    with pytest.raises(WeightsError, match="was trained on other weights"):
        load_refseg(str(tmp_path / "model"))


def test_frozen_batch_norms_keep_their_statistics(micro: Path) -> None:
    model = assemble(micro_preset(micro)).train()
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert {n for n, m in norms.items() if m.training} == {n for n in norms if n.startswith("sam.")} != set()


def test_recomputed_blocks_have_the_same_gradients(bases: ReferPreset) -> None:
    gradients = []
    for again in (False, True):
        model = assemble(bases)
        if again:
            checkpoint_gradients(model)
        model.train()
        torch.manual_seed(1)
        model(images(2), model.ids(["the red roof", "a roof"])).logits.square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(value, gradients[1][name]) for name, value in gradients[0].items())


class Inert:
    """Stands for mmengine's log of a training in the checkpoint below."""

    def __init__(self) -> None:
        self.log = np.array([1.0, 2.0])


def write_authors(path: Path, model: RefSeg, monkeypatch: pytest.MonkeyPatch, **more: object) -> None:
    """A DeepSpeed checkpoint as the authors' training leaves it, with mmengine's objects in it."""
    module = types.ModuleType("mmengine.logging.history_buffer")
    kind = type("HistoryBuffer", (Inert,), {"__module__": module.__name__, "__qualname__": "HistoryBuffer"})
    module.HistoryBuffer = kind  # type: ignore[attr-defined]
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    state = {to_authors(name): value.half() for name, value in model.state_dict().items()}
    torch.save(
        {"module": state, "message_hub": {"loss": kind()}, "dtype": torch.float16, "ds_version": "0.15", **more}, path
    )
    for name in ("mmengine", "mmengine.logging", module.__name__):
        monkeypatch.delitem(sys.modules, name)


def test_the_authors_checkpoints_load_by_name(
    bases: ReferPreset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(architectures.REFERRERS, "rsrefseg-b", toy_row())
    monkeypatch.setitem(REFER_PRESETS, "rsrefseg-b", bases)
    row = replace(bases.faithful(), lora_rank=3, lora_alpha=3)
    model = shaken(assemble(row), frozenset(n for n, p in assemble(row).named_parameters() if p.requires_grad))
    path = tmp_path / "mp_rank_00_model_states.pt"
    write_authors(path, model, monkeypatch)
    loaded = load_refseg(str(path), preset="rsrefseg-b")
    assert (loaded.preset.norm, loaded.preset.local, loaded.preset.lora_rank) == ("batch", "all", 3)
    ids = loaded.model.ids(["red roof", "the roof"])
    assert ids.tolist() == [[4, 6, 1], [3, 6, 1]]
    with torch.no_grad():
        ours, theirs = loaded.model(images(2), ids).logits, model(images(2), ids).logits
    torch.testing.assert_close(ours, theirs, atol=0.02 * float(theirs.abs().max()), rtol=0.02)
    with pytest.raises(UsageError, match="name one with --preset"):
        load_refseg(str(path))
    bare = {
        n: v for n, v in model.state_dict().items() if ".lora_" not in n or (".neck." not in n and ".head." not in n)
    }
    bare = {n if ".neck." not in n and ".head." not in n else n.replace(".base_layer", ""): v for n, v in bare.items()}
    torch.save({"module": {to_authors(n): v for n, v in bare.items()}}, path)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "lora_B" in name and (".neck." in name or ".head." in name):
                value.zero_()
        found = load_refseg(str(path), preset="rsrefseg-b").model(images(2), ids).logits
        torch.testing.assert_close(found, model(images(2), ids).logits, atol=1e-5, rtol=1e-5)
    lost = {to_authors(n): v for n, v in model.state_dict().items() if "mask_tokens" not in n}
    torch.save({"module": lost}, path)
    with pytest.raises(WeightsError, match=r"1 names missing, first sam\.mask_decoder\.mask_tokens\.weight"):
        load_refseg(str(path), preset="rsrefseg-b")


def test_code_in_a_checkpoint_is_refused(bases: ReferPreset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_authors(tmp_path / "evil.pt", assemble(bases), monkeypatch, meta=Run(tmp_path / "was-run"))
    with pytest.raises(WeightsError, match="which is code"):
        load_refseg(str(tmp_path / "evil.pt"), preset="rsrefseg-b")
    assert not (tmp_path / "was-run").exists()


class Run:
    """What a pickle would call."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return subprocess.getoutput, (f"touch {self.mark}",)


def test_names_there_and_back(bases: ReferPreset) -> None:
    names = list(assemble(bases).state_dict())
    there = {to_authors(name): torch.zeros(0) for name in names}
    assert len(there) == len(names) and sorted(from_authors(there)) == sorted(names)
    older = {"clip_vision_encoder.base_model.model.model.vision_model.post_layernorm.weight": torch.zeros(0)}
    assert list(from_authors(older)) == ["words.model.vision_model.post_layernorm.weight"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("rsrefseg-b", "has no trained weights"), ("nowhere", "No referring model at nowhere")],
)
def test_nothing_to_load(name: str, sentence: str) -> None:
    with pytest.raises((UsageError, WeightsError), match=sentence):
        load_refseg(name)


def test_bases_that_are_none(bases: ReferPreset, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not a folder of transformers' SamConfig"):
        assemble(replace(bases, segmenter=str(tmp_path)))
    with pytest.raises(UsageError, match="Unknown norm 'layer'"):
        assemble(replace(bases, norm="layer"))
    with pytest.raises(UsageError, match="Unknown architecture"):
        assemble(replace(RSREFSEG_B, architecture="rsrefseg-x"))


def test_the_published_number_of_parameters() -> None:
    """984.28 million, of an RSRefSeg on SAM-B, in a table of others."""
    with torch.device("meta"):
        model = assemble(RSREFSEG_B, base=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == 984_280_930


@torch.inference_mode()
def test_smaller_tokens_are_averaged_to_the_cells_of_the_prompter(tiny: Path) -> None:
    """`tiny` has tokens of 8 pixels, the prompter sees 16: each feature is the mean of four tokens."""
    clip = load_clip(str(tiny))
    words = ClipWords(clip, side=96).eval()
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    tokens, found = clip.encode_dense(pixels, words.method).values, words.encode_images(pixels)
    assert words.grid == (6, 6) and tokens.shape[2:] == (12, 12) and found.shape[2:] == (6, 6)
    torch.testing.assert_close(found[:, :, 2, 5], tokens[:, :, 4:6, 10:12].mean(dim=(2, 3)))
    assert ClipWords(clip, side=96, cell=8).grid == (12, 12)
