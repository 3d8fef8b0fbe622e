"""RSRefSeg 2: base weights, the cascade, padded images, folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from earthwords.models.refseg.adapters import checkpoint_gradients
from earthwords.models.refseg.cascaded_prompter import QUERIES, Attend, CascadedPrompter, likeness
from earthwords.models.refseg.load import assemble, kept, load_refseg, store_refseg
from earthwords.models.refseg.rsrefseg2 import RefSeg2
from earthwords.refer_presets import ReferPreset
from earthwords.training.referring import shrink
from tests.referring import write_bases2


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> ReferPreset:
    return write_bases2(tmp_path_factory.mktemp("bases2"))


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 128, 128, generator=torch.Generator().manual_seed(7)) * 255


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    attend = Attend(16, 12)
    x, y, at, y_at = torch.randn(2, 3, 16), torch.randn(2, 5, 12), torch.randn(3, 16), torch.randn(5, 12)
    heads = []
    for h in range(8):
        part = slice(64 * h, 64 * h + 64)
        q, k, v = attend.q_proj(x + at)[..., part], attend.k_proj(y + y_at)[..., part], attend.v_proj(y)[..., part]
        heads.append((q @ k.transpose(1, 2) / 8).softmax(-1) @ v)
    expected = attend.norm(x + attend.out_proj(torch.cat(heads, -1)))
    torch.testing.assert_close(attend(x, y, x_at=at, y_at=y_at), expected, atol=1e-5, rtol=1e-4)


def test_the_two_sets_of_queries_and_what_each_reaches() -> None:
    torch.manual_seed(0)
    prompter = CascadedPrompter(16, 8, (2, 3)).eval()
    visual, tokens = torch.randn(2, 16, 2, 3), torch.randn(2, 5, 16)
    found = prompter(visual, tokens)
    assert found.sparse.shape == (2, 1, 9, 8) and found.image.shape == (2, 16, 2, 3)
    assert found.first.shape == (2, 16) and (found.first - found.second).abs().max() > 0.1
    gradients = torch.autograd.grad(found.first.sum(), [prompter.query_at], retain_graph=True)
    assert gradients[0].abs().min() > 0 and prompter.query_at.shape == (2, QUERIES, 16)
    reached = torch.autograd.grad(found.sparse.sum(), list(prompter.parameters()), allow_unused=True)
    unreached = {n for (n, _), g in zip(prompter.named_parameters(), reached, strict=True) if g is None}
    assert {n.split(".")[0] for n in unreached} == {"dense", "contrast_scale", "contrast_bias"}
    swapped = prompter(visual.flip(0), tokens.flip(0))
    torch.testing.assert_close(swapped.sparse.flip(0), found.sparse, atol=1e-5, rtol=1e-4)
    sentence = found.image[:, :, 1, 0]
    mask = likeness(found.image, sentence, (5, 7), scale=torch.tensor(10.0), bias=torch.tensor(-3.0))
    mask = mask.detach()
    assert mask.shape == (2, 1, 5, 7) and mask[0, 0].argmax() == 4 * 7 and float(mask[0, 0, 4, 0]) == pytest.approx(7)


def test_base_weights_and_one_image_for_many_sentences(bases: ReferPreset) -> None:
    model = assemble(bases)
    assert isinstance(model, RefSeg2) and (model.side, model.mask_side) == (128, 32)
    texts = ["the red roof", "both roofs", "a blue roof"]
    with torch.no_grad():
        together = model.predict(
            model.encode_images(images(2)), model.encode_texts(model.ids(texts)), torch.tensor([1, 0, 1])
        ).logits
        alone = model(images(2)[1:], model.ids(texts[2:])).logits
        torch.testing.assert_close(together[2], alone[0], atol=1e-4, rtol=1e-3)
        assert (together[0] - together[2]).abs().max() > 1e-4
    learning = {n.rpartition(".lora_")[0] for n, p in model.named_parameters() if p.requires_grad and ".lora_" in n}
    ends = {name.rpartition(".")[2] for name in learning}
    assert ends == {"qkv", "proj", *"0123", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "head"}
    assert not any(name.endswith("mlp.proj_in") or "blocks.1.proj" in name for name in learning)
    assert model.words.model.logit_scale.requires_grad


def test_images_keep_their_ratio(bases: ReferPreset) -> None:
    model = assemble(bases)
    image = torch.zeros(3, 40, 80)
    image[:, 20:30, 60:70] = 200.0
    fitted = model.fit(image)
    assert model.frame((40, 80)) == (64, 128) and not fitted[:, 64:].any()
    assert float(fitted[0, 40, 104]) == 200.0 and float(fitted[0, 40, 60]) == 0.0
    labels = shrink(image.numpy()[:1] > 0, model)
    assert labels.shape == (1, 128, 128) and set(labels[0, 64:].unique().tolist()) == {255}
    assert torch.equal(labels[0, :64] == 1, fitted[0, :64] >= 100)
    logits = torch.nn.functional.avg_pool2d(fitted[None, :1], 4)
    back = model.restore(logits, (40, 80))
    assert back.shape == (1, 1, 40, 80) and float(back[0, 0, 25, 65]) > 190 and float(back[0, 0, 5, 5]) == 0.0


def test_folders_and_recomputed_blocks(bases: ReferPreset, tmp_path: Path) -> None:
    model = assemble(bases)
    names = kept(model, bases)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name in names and value.is_floating_point():
                value.add_(0.05)
    store_refseg(model, bases, tmp_path)
    again = load_refseg(str(tmp_path))
    assert again.preset == bases
    ids = model.ids(["the red roof", "a roof"])
    with torch.no_grad():
        assert torch.equal(model(images(2), ids).logits, again.model(images(2), ids).logits)
    gradients = []
    checkpoint_gradients(again.model)
    for one in (model, again.model):
        one.train()
        one(images(2), ids).logits.square().mean().backward()
        gradients.append([p.grad for p in one.parameters() if p.grad is not None])
    assert len(gradients[0]) > 100
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
