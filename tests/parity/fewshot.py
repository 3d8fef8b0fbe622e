"""Few-shot heads by their authors' code: on drawn features, and on the real vectors of WHU-RS19 where they lie."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.clip.convert import from_openai
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.fewshot import coop, linear_probe, lp_plus, taskres, tip_adapter
from earthwords.models.fewshot.linear_head import accuracy, shot_set
from earthwords.models.fewshot.tip_adapter import KeyTraining, TipAdapterHead

from .cases import Case, agree

LOGITS = 1e-4
"""Of numbers that reach 60 or 100."""
DATA = Path(os.environ.get("EARTHWORDS_DATA", Path(__file__).parents[3] / "shared" / "data"))


def check_tip_adapter(case: Case) -> None:
    config = json.loads(case.meta["cfg"])
    raw, labels, words = case["in.cache_raw"], case["in.cache_labels"], case["in.text_weights"].T
    keys = tip_adapter.cache_keys(raw)
    case.agree_between("cache_keys", keys.T)
    values = F.one_hot(labels, len(words)).float()
    case.agree_between("cache_values", values)
    start = TipAdapterHead(words=words, keys=keys, values=values, alpha=config["init_alpha"], beta=config["init_beta"])
    validation, test = (case["in.val"], case["in.val_labels"]), (case["in.test"], case["in.test_labels"])
    ends: dict[str, Any] = {"scale": tuple(config["search_scale"]), "steps": tuple(config["search_step"])}
    best = tip_adapter.search(start, validation, **ends)
    agree(torch.tensor([best.beta, best.alpha]), case["out.search_beta_alpha"])
    by_words = replace(start, alpha=0.0)
    agree(by_words.logits(validation[0]), case["out.val_clip_logits"], LOGITS)
    agree(start.logits(validation[0]), case["out.val_tip_logits_init"], LOGITS)
    agree(by_words.logits(test[0]), case["out.test_clip_logits"], LOGITS)
    agree(best.logits(test[0]), case["out.test_tip_logits_best"], LOGITS)
    found = [accuracy(h.logits(x), y) for h, (x, y) in ((by_words, validation), (start, validation), (by_words, test),
                                                        (best, test))]  # fmt: skip
    agree(torch.tensor(found), case["out.acc_training_free"])
    check_tip_adapter_f(case, start, ends)


def check_tip_adapter_f(case: Case, start: TipAdapterHead, ends: dict[str, Any]) -> None:
    shots, labels = F.normalize(case["in.cache_raw"][0], dim=1), case["in.cache_labels"]
    test = (case["in.test"], case["in.test_labels"])
    chunks = list(case["in.train_order"].split(6))
    epochs = len(case["out.F_losses"]) // len(chunks)
    training = KeyTraining(start, steps=epochs * len(chunks))
    losses, rates, found = [], [], []
    for epoch in range(epochs):
        for i, rows in enumerate(chunks):
            logits = training.head.logits(shots[rows])
            found.append(accuracy(logits, labels[rows]))
            losses.append(training.step(shots[rows], labels[rows]))
            rates.append(training.optimizer.param_groups[0]["lr"])
            if epoch == i == 0:
                agree(logits.detach(), case["out.F_train_logits_step1"], LOGITS)
                assert training.head.keys.grad is not None
                agree(training.head.keys.grad, case["grad.F_weight_step1"])
                agree(training.now().keys, case["out.F_weight_step1"])
        found.append(accuracy(training.now().logits(test[0]), test[1]))
    agree(torch.tensor(losses), case["out.F_losses"])
    agree(torch.tensor(rates), case["out.F_lrs"])
    agree(training.now().keys, case["out.F_weight_final"])
    searched = tip_adapter.search(training.now(), (case["in.val"], case["in.val_labels"]), **ends)
    agree(torch.tensor([searched.beta, searched.alpha]), case["out.F_search_beta_alpha"])
    found.append(accuracy(searched.logits(test[0]), test[1]))
    agree(torch.tensor(found), case["out.F_accs"])


def check_taskres(case: Case) -> None:
    shots = shot_set(case["in.train"], case["in.train_labels"], case["in.base_text_features"])
    test, epochs = case["in.test"], int(case.meta["epochs"])
    scale = float(torch.tensor(float(case.meta["logit_scale_log"])).exp())
    fit = taskres.TaskResidual(shots.words, epochs=epochs, alpha=float(case.meta["alpha"]), scale=scale)
    agree(fit.logits(test).detach(), case["out.logits_before"], LOGITS)
    losses, rates = [], []
    for epoch in range(epochs):
        for rows in torch.arange(len(shots.labels)).split(json.loads(case.meta["chunks"])):
            losses.append(fit.step(shots, rows, epoch=epoch))
            rates.append(fit.optimizer.param_groups[0]["lr"])
            if len(losses) == 1:
                assert fit.residual.grad is not None
                agree(fit.residual.grad, case["grad.residuals_step1"])
                agree(fit.residual.detach(), case["out.residuals_step1"])
    agree(torch.tensor(losses), case["out.losses"])
    agree(torch.tensor(rates), case["out.lrs"])
    agree(fit.residual.detach(), case["out.residuals_final"])
    agree(fit.vectors().detach(), case["out.text_features_final"])
    agree(fit.logits(test).detach(), case["out.logits_after"], LOGITS)
    agree(fit.head().logits(test), case["out.logits_after"], LOGITS)


def check_lp_plus(case: Case) -> None:
    words, epochs = case["in.text_weights"].T, int(case.meta["epochs"])
    # without the drawn bias nothing can be compared
    bias = case.tensors.get("mid.bias_init")
    if bias is None:
        pytest.skip("its bias at the start is among the intermediate results")
    case.compared.add("mid.bias_init")
    train, labels = case["in.train"], case["in.train_labels"]
    fit = lp_plus.LpPlus(shot_set(train, labels, words), bias=bias)
    agree(fit.alpha[None], case["mid.alpha_init"])
    agree(fit.weight, case["mid.weight_init"])
    agree(torch.tensor(fit.lr_weight), case["mid.lr_w"])
    agree(torch.tensor(fit.lr_alpha), case["mid.lr_alpha"])
    agree(fit.logits(), case["out.logits_step0"], LOGITS)
    agree(torch.tensor([fit.step() for _ in range(epochs)]), case["out.losses"], LOGITS)
    agree(fit.weight, case["out.weight_final"])
    agree(fit.bias, case["out.bias_final"])
    agree(fit.alpha[None], case["out.alpha_final"])
    test = (case["in.test"], case["in.test_labels"])
    agree(fit.head().logits(test[0]), case["out.test_logits_final"], LOGITS)
    validation = (case["in.val"], case["in.val_labels"])
    head = lp_plus.fit_lp_plus(shot_set(train, labels, words), bias=bias, epochs=epochs, validation=validation)
    agree(torch.tensor(accuracy(head.logits(test[0]), test[1])), case["out.test_acc_at_best_val"])


def check_coop(case: Case) -> None:
    heads = int(case.meta["heads"])
    backbone = ClipBackbone(from_openai(case.part("w."), activation="quickgelu", heads=(heads, heads)))
    backbone.requires_grad_(False)
    labels, lengths = case["in.labels"], case["in.name_lens"].tolist()
    features = F.normalize(backbone.encode_image(case["in.images"]), dim=1)
    for place in coop.PLACES:
        fit = coop.CoOp(backbone, case["in.tokens"], lengths, case["in.ctx"], place=place, epochs=2)
        case.agree_between(f"prompts_{place}", fit.prompts().detach())
        agree(fit.logits(features).detach(), case[f"out.logits_{place}"], LOGITS)
    fit = coop.CoOp(backbone, case["in.tokens"], lengths, case["in.ctx"], epochs=2)
    losses = [fit.step(features, labels, epoch=0)]
    assert fit.context.grad is not None
    agree(fit.context.grad, case["grad.ctx"], LOGITS)
    losses += [fit.step(features, labels, epoch=epoch) for epoch in (1, 2)]
    agree(torch.tensor(losses), case["out.losses"])
    agree(fit.context.detach(), case["out.ctx_after3"])


@cache
def whu(model: str) -> dict[str, Tensor]:
    """Unit vectors in float32, classes, and three banks of words."""
    if not (DATA / "whu_rs19_embeddings").is_dir():
        pytest.skip(f"its input, whu_rs19_embeddings, is not in {DATA}; set EARTHWORDS_DATA")
    found = load_file(DATA / "whu_rs19_embeddings" / f"{model}.safetensors")
    texts = found["texts"].float()
    return {
        "images": F.normalize(found["images"].float(), dim=1),
        "labels": found["labels"].long(),
        "words": F.normalize(F.normalize(texts, dim=2).mean(dim=0), dim=1),
        "one": texts[90],
    }


def thirds(labels: Tensor, shots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of the shots, of validation and of the test, in stored order."""
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for label in range(int(labels.max()) + 1):
        rows = (labels == label).nonzero()[:, 0]
        train, validation = -(-len(rows) // 2), -(-len(rows) // 4)
        middle = rows[train : train + validation][: min(shots, 4)]
        for part, some in zip(parts, (rows[:train][:shots], middle, rows[train + validation :]), strict=True):
            part.append(some)
    first, second, third = (torch.cat(part) for part in parts)
    return first, second, third


def whu_parts(case: Case, shots: int | None = None) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
    known = whu(case.meta["model"])
    rows = thirds(known["labels"], shots or int(case.meta["shots"]))
    if shots is None:
        for index, name in zip(rows, ("shot", "val", "test"), strict=True):
            assert torch.equal(index, case[f"in.{name}_index"])
    return known, [(known["images"][index], known["labels"][index]) for index in rows]


def check_whu(case: Case) -> None:
    known, (train, validation, test) = whu_parts(case)
    check_whu_tip(case, known["words"], train, validation, test)
    shots = shot_set(*train, known["one"])
    fit = taskres.TaskResidual(shots.words, epochs=20, scale=float(torch.tensor(4.6052).exp()))
    agree(fit.logits(test[0]).detach(), case["taskres.logits_before"], 1e-3)
    everything = torch.arange(len(shots.labels))
    agree(torch.tensor([fit.step(shots, everything, epoch=e) for e in range(20)]), case["taskres.losses"], 1e-3)
    agree(fit.logits(test[0]).detach(), case["taskres.logits_after"], 1e-3)
    plus = lp_plus.LpPlus(shot_set(*train, known["words"]), bias=case["lp.bias_init"])
    agree(torch.tensor(plus.lr_weight), case["lp.lr_w"], LOGITS)
    agree(torch.tensor(plus.lr_alpha), case["lp.lr_alpha"], LOGITS)
    agree(plus.alpha[None], case["lp.alpha_init"])
    agree(torch.tensor([plus.step() for _ in range(300)]), case["lp.losses"], 1e-3)
    agree(plus.alpha[None], case["lp.alpha_final"], 1e-3)
    agree(plus.head().logits(test[0]), case["lp.test_logits_final"], 1e-3)
    head = lp_plus.fit_lp_plus(shot_set(*train, known["words"]), validation=validation, bias=case["lp.bias_init"])
    one_image = 100 / len(test[1]) + 1e-4
    assert abs(accuracy(head.logits(test[0]), test[1]) - float(case["lp.test_acc_at_best_val"])) < one_image


def check_whu_tip(
    case: Case, words: Tensor, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
) -> None:  # fmt: skip
    best = tip_adapter.fit_tip_adapter(shot_set(*train, words), validation=validation)
    agree(torch.tensor([best.beta, best.alpha]), case["tip.search_beta_alpha"])
    agree(best.logits(test[0]), case["tip.test_logits"], 1e-3)
    training = KeyTraining(tip_adapter.fit_tip_adapter(shot_set(*train, words)), steps=20)
    found = []
    for i in range(20):
        found.append(accuracy(training.head.logits(train[0]), train[1]))
        assert training.step(*train) == pytest.approx(float(case["tip.F_losses"][i]), rel=1e-3)
        found.append(accuracy(training.now().logits(test[0]), test[1]))
    agree(training.now().keys[:8], case["tip.F_weight_final_first8"], 1e-3)
    searched = tip_adapter.search(training.now(), validation)
    agree(torch.tensor([searched.beta, searched.alpha]), case["tip.F_search_beta_alpha"])
    found.append(accuracy(searched.logits(test[0]), test[1]))
    expected = case["tip.F_accs"]
    assert len(found) == len(expected)
    assert float((torch.tensor(found) - expected).abs().max()) <= 100 / len(train[1]) + 1e-4, "one image"


def check_linear_probe(case: Case) -> None:
    known, (train, validation, test) = whu_parts(case)
    strength = float(case.meta["C_last_left"])
    weight, bias = linear_probe.logistic_regression(
        train[0].numpy(), train[1].numpy(), classes=len(known["words"]), weight_decay=1 / (strength * len(train[1])),
        options=linear_probe.AS_PUBLISHED,
    )  # fmt: skip
    decided = test[0].double() @ torch.from_numpy(weight.T) + torch.from_numpy(bias)
    agree(decided.float(), case["out.test_decision_last_left"], 1e-2)
    agree(torch.from_numpy(weight).float(), case["out.coef_last_left"], 1e-2)
    agree(torch.from_numpy(bias).float(), case["out.intercept_last_left"], 1e-2)
    expected = json.loads((case.folder / "expected.json").read_text())[f"{case.meta['model']}.{case.meta['shots']}"]
    head = linear_probe.fit_linear_probe(shot_set(*train, known["words"]), validation=validation)
    assert abs(accuracy(head.logits(test[0]), test[1]) - expected["test_top1"]) <= 100 / len(test[1]) + 1e-4
