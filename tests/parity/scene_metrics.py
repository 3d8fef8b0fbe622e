"""Figures of whole scenes: retrieval, ensembles of prompts, counting, referring, and RS-TransCLIP's solver."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from earthwords.evaluation.metrics.counting import DIGITS, WORDS, counting_scores
from earthwords.evaluation.metrics.knn import neighbours
from earthwords.evaluation.metrics.referring import ReferringCounts
from earthwords.evaluation.metrics.retrieval import recalls
from earthwords.evaluation.metrics.transductive import NEIGHBOURS, transduce, word_probabilities
from earthwords.evaluation.metrics.zeroshot import ensemble, measure, unit

from .cases import Case, agree


def check_retrieval_metrics(case: Case) -> None:
    expected = json.loads((case.folder / "expected.json").read_text())
    images, texts = (unit(case[f"in.{name}_embeddings"].numpy()) for name in ("image", "text"))
    agree(torch.from_numpy(texts @ images.T), case["out.scores_text_by_image"].float())
    found = recalls(images, texts, case["in.caption_image_index"].numpy())
    for name, value in expected["retrieval"].items():
        assert found[name.replace("R@", "r")] == pytest.approx(value, abs=1e-9)
    images, labels = unit(case["zs.in.image_embeddings"].numpy()), case["zs.in.labels"].numpy()
    predictions = []
    for how, key in (("raw", "raw_mean"), ("normalised", "normalised_mean")):
        words = ensemble(case["zs.in.text_embeddings"].numpy(), how)
        agree(torch.from_numpy(100 * images @ words.T), case[f"zs.out.logits_{key}"])
        figures = measure(images @ words.T, labels).as_json()
        for name, value in expected["zero_shot"][key].items():
            assert figures["mean_per_class" if name == "mean_per_class" else name] == pytest.approx(value)
        predictions.append((images @ words.T).argmax(axis=1))
    assert (predictions[0] != predictions[1]).sum() == expected["zero_shot"]["predictions_differing"]


def check_counting_metrics(case: Case) -> None:
    expected = json.loads((case.folder / "expected.json").read_text())
    assert (list(WORDS), list(DIGITS)) == (expected["candidates"], expected["digits"])
    found = counting_scores(case["in.similarities"].numpy(), case["in.true_count"].numpy())
    np.testing.assert_allclose([found[f"top{k}"] for k in range(1, 11)], expected["top_k_accuracy"])
    assert found["mean_absolute_error"] == pytest.approx(expected["mean_absolute_error"])
    assert found["confusion"] == case["out.confusion"].tolist() == expected["confusion"]
    assert found["present"] == case["out.rows_present"].tolist()
    np.testing.assert_allclose(found["shares"], case["out.confusion_row_normalised"].numpy())


def check_refseg_metrics(case: Case) -> None:
    """Both classes of the reference: for background, 0, masks are turned round; its sums are float32."""
    for variant, facts in json.loads((case.folder / "expected.json").read_text()).items():
        if "plain_python" not in facts:
            continue
        samples = len(facts["cases"])
        for value in (0, 1):
            seen = ReferringCounts(empty="nan")
            for i in range(samples):
                label, prediction = case[f"{variant}.label.{i}"].numpy(), case[f"{variant}.pred.{i}"].numpy()
                seen.add(np.where(label == 255, 255, label == value), prediction == value)
            scores = seen.scores()
            np.testing.assert_allclose(scores.iou, case[f"{variant}.per_image_iou"][:, value].numpy(), atol=1e-6)
            found = {f"gIoU_{value}": scores.gIoU, f"cIoU_{value}": scores.cIoU}
            found |= {f"seg_acc_{at:g}_{value}": share for at, share in scores.precision.items()}
            for source, tolerance in (("plain_python", 1e-9), ("reference", 5e-5)):
                for name, share in found.items():
                    expected = float(facts[source][name])
                    assert 100 * share == pytest.approx(expected, abs=tolerance, nan_ok=True), (variant, name)


def check_transclip_whu(case: Case) -> None:
    from safetensors.numpy import load_file

    root = Path(os.environ.get("EARTHWORDS_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / "whu_rs19_embeddings").is_dir():
        pytest.skip(f"its input, whu_rs19_embeddings, is not in {root}; set EARTHWORDS_DATA")
    for name in ("clip.vit-b-32", "remoteclip.vit-b-32"):
        part = {key: value.numpy() for key, value in case.part(f"{name}.").items()}
        stored = load_file(root / "whu_rs19_embeddings" / f"{name.replace('.', '_')}.safetensors")
        images, labels = unit(stored["images"]), stored["labels"]
        index, cosine = neighbours(images, images, NEIGHBOURS, themselves=True)
        assert np.array_equal(index, part["neighbour_index"])
        np.testing.assert_allclose(cosine, part["neighbour_cosine"], atol=1e-6)
        cosines = images @ unit(part["text_average"]).T
        assert np.array_equal(cosines.argmax(axis=1), part["pred_zero_shot"])
        found = transduce(images, word_probabilities(cosines))
        for mine, authors in (
            (found.initial, "z_initial"),
            (found.assignment, "z_final"),
            (found.first_means, "mu_initial"),
            (found.means, "mu_final"),
            (found.variance, "sigma_final"),
        ):
            agree(torch.from_numpy(mine).float(), torch.from_numpy(part[authors]))
        assert np.array_equal(found.assignment.argmax(axis=1), part["pred_transductive"])
        assert np.array_equal(labels, part["labels"])
