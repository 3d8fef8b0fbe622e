"""InstructSAM: selection and holes of masks, similarities, assignment, and its measures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from earthwords.errors import UsageError
from earthwords.evaluation.metrics import count_scores as counting
from earthwords.evaluation.metrics import detections
from earthwords.inference.instances.instructsam import similarity
from earthwords.inference.instances.instructsam.answers import UnreadableAnswer, counts_of_answer, nearest_titles
from earthwords.inference.instances.instructsam.assign import assign
from earthwords.inference.instances.instructsam.proposals import filled, filled_as_authors, selected
from earthwords.kernels.masks.run_lengths import mask_of_runs, runs_of_mask, runs_of_text, text_of_runs

from .cases import Case, agree

TIES = ("ties", "all_equal", "duplicate_rows")
"""Several answers are best: the solver's is one of them."""


def expected_of(case: Case) -> Any:
    return json.loads((case.folder / "expected.json").read_text())


def check_assign(case: Case) -> None:
    for row in expected_of(case):
        number, sims = row["index"], case[f"in.sim.{row['index']}"].numpy()
        table, pairs = (case[f"out.{name}.{number}"].numpy() for name in ("x", "pairs"))
        try:
            found = assign(sims, row["counts"])
        except UsageError:
            assert row["optimum"] is None and row["returned"] == 0 == table.sum(), row["kind"]
            continue
        chosen = np.flatnonzero(found >= 0)
        cost = (1 - sims[chosen, found[chosen]].astype(np.float64)).sum()
        assert abs(cost - row["objective"]) < 1e-9 and len(chosen) == row["returned"], row["kind"]
        assert np.bincount(found[chosen], minlength=row["M"]).tolist() == row["per_label"], row["kind"]
        if row["kind"] not in TIES:
            assert np.stack([chosen, found[chosen]], axis=1).tolist() == pairs.tolist(), row["kind"]
            assert table[chosen, found[chosen]].all() and table.sum() == len(chosen)


def check_similarity(case: Case) -> None:
    told = expected_of(case)
    image, boxes = case["in.image"].numpy(), case["in.boxes_xywh"].numpy()
    kept = similarity.kept_counts(told["counts"])
    assert list(kept.items()) == list(told["kept_counts"].items())
    for siglip, prompts in ((False, told["prompts"]["clip"]), (True, told["prompts"]["siglip"])):
        names = [text.partition(" of ")[2].partition(" ")[2] for text in prompts]
        correct = {"a honest tree": "an honest tree"}
        assert [similarity.prompt(name, siglip=siglip) for name in names] == [correct.get(p, p) for p in prompts]
    assert [similarity.prompt("ships", article=False)] == told["prompts"]["no_article"]
    crops = similarity.crop_boxes(boxes, image.shape[:2], grown=told["crop_scale"])
    case.agree_between("crop_xyxy", torch.from_numpy(crops), 1e-12)
    cut = [similarity.cut_out(image, box) for box in crops]
    if "mid.crop_size_wh" in case.tensors:
        assert [list(crop.size) for crop in cut] == case["mid.crop_size_wh"].tolist()
    how = {"side": told["resolution"], "mean": told["mean"], "std": told["std"]}
    crops_seen = [similarity.prepared(crop, how["side"], how["mean"], how["std"]) for crop in cut]
    case.agree_between("crops", torch.stack(crops_seen), 1e-6)
    features = similarity.region_features(image, boxes, lambda x: x.flatten(1) @ case["w.proj"], batch=3, **how)
    siglip_form = (10.0, -1.0) if told["variant"].startswith("siglip") else None
    table = similarity.similarities(features, case["in.text_features"], siglip=siglip_form)
    case.agree_between("similarity", table, 1e-5)
    classes = assign(table.numpy(), list(kept.values()))
    chosen = np.flatnonzero(classes >= 0)
    assert np.stack([chosen, classes[chosen]], axis=1).tolist() == case["out.pairs"].tolist()
    assert chosen.tolist() == case["out.index"].tolist()
    assert [list(kept)[c] for c in classes[chosen]] == told["labels"]
    assert boxes[chosen].astype(np.int64).tolist() == case["out.boxes"].tolist()
    agree(table.amax(dim=1)[chosen], case["out.scores"], 1e-5)  # theirs: over all classes, not of its own


def check_masks(case: Case) -> None:
    told = expected_of(case)
    shape = told["shape"]
    packed = case["in.masks"].numpy(), case["out.filled"].numpy()
    masks, wanted = (
        np.unpackbits(bits, axis=1, count=shape[1] * shape[2]).reshape(shape).astype(bool) for bits in packed
    )
    everything = case["out.became_everything"].tolist()
    for i, mask in enumerate(masks):
        found = filled_as_authors(mask)
        assert np.array_equal(found, wanted[i]), i
        assert bool(found.all() and not mask.all()) == everything[i]
        assert text_of_runs(runs_of_mask(found)) == told["rle_filled"][i]["counts"]
        assert text_of_runs(runs_of_mask(mask)) == told["rle_plain"][i]["counts"]
        right = filled(mask)
        assert (right >= mask).all() and (right <= found).all() and not (right & ~mask)[[0, -1]].any()
    sizes = {"boxes": case["in.sel_bbox"].numpy(), "areas": case["in.sel_area"].numpy()}
    quality = (case["in.sel_iou"].numpy() + case["in.sel_stability"].numpy()) / 2
    size = tuple(told["selection_image"]) if "selection_image" in told else (shape[1], shape[2])
    for name in [name.partition("sel_id.")[2] for name in case.tensors if name.startswith("out.sel_id.")]:
        most, least = (int(part.lstrip("maxre")) for part in name.split("_"))
        index = selected(**sizes, quality=quality, shape=size, least_area=least, most=most)
        assert index.tolist() == case[f"out.sel_id.{name}"].tolist(), name
        assert np.allclose(quality[index], case[f"out.sel_score.{name}"].numpy())
        assert np.array_equal(sizes["boxes"][index], case[f"out.sel_bbox.{name}"].numpy())


def decoded(segmentation: dict[str, Any]) -> np.ndarray:
    return mask_of_runs(runs_of_text(segmentation["counts"]), *segmentation["size"])


def gathered(told: dict[str, Any], kind: str, *, reverse: bool = False) -> dict[str, list[detections.ImageThings]]:
    """Predictions and truth of a case, by class."""
    inputs = told["inputs"]
    titles = {row["id"]: row["name"] for row in inputs["ground_truth"]["categories"]}
    boxes = kind == "bbox"
    sorted_things = detections.SortedThings(
        titles=list(titles.values()), iou=detections.box_iou if boxes else detections.mask_iou
    )
    for row in inputs["ground_truth"]["annotations"]:
        shape = row["bbox"] if boxes else decoded(row["segmentation"])
        sorted_things.true(row["image_id"], titles[row["category_id"]], shape)
    for row in inputs["predictions"][:: -1 if reverse else 1]:
        shape = row["bbox"] if boxes else decoded(row["segmentation"])
        sorted_things.found(row["image_id"], titles[row["category_id"]], shape, row["score"])
    return sorted_things.things()


def same_f1(things: dict[str, list[detections.ImageThings]], wanted: dict[str, Any], extra: Any, **how: float) -> None:
    table = detections.f1_table(things, **how)
    for name, row in wanted["per_class"].items():
        mine = table[name]
        assert (mine.tp, mine.fp, mine.fn) == (row["tp"], row["fp"], row["fn"]), name
        np.testing.assert_allclose(
            [mine.precision, mine.recall, mine.f1], [row[k] for k in ("precision", "recall", "f1")]
        )
    np.testing.assert_allclose(detections.mean_f1(table), wanted["mF1"])
    if wanted["mF1_extra"] is not None:
        np.testing.assert_allclose(detections.mean_f1(table, extra), wanted["mF1_extra"])


def same_ap(things: dict[str, list[detections.ImageThings]], wanted: dict[str, Any], *, scored: bool) -> list[float]:
    found = {name: detections.average_precision(images, scored=scored) for name, images in things.items()}
    for place, key in enumerate(("per_class", "recall")):
        for name, value in wanted[key].items():
            np.testing.assert_allclose(found[name][place], value, atol=1e-9, err_msg=name)
    there = {name: value for name, (value, _) in found.items() if value >= 0}
    np.testing.assert_allclose(np.mean(list(there.values())), wanted["mAP50"])
    return list(there)


def check_eval(case: Case) -> None:
    told = expected_of(case)
    extra = (
        json.loads(case.meta["extra_classes"])
        if isinstance(case.meta["extra_classes"], str)
        else case.meta["extra_classes"]
    )
    for kind in ("bbox", "segm"):
        things = gathered(told, kind)
        same_f1(things, told[f"f1_{kind}"], extra)
        same_ap(things, told[f"ap_nc_{kind}"], scored=False)
        both = told[f"evaluate_ap_f1_{kind}"]
        values = {t: detections.average_precision(i, scored=False)[0] for t, i in things.items()}
        known = {t: v for t, v in values.items() if v >= 0}
        np.testing.assert_allclose(100 * np.mean(list(known.values())), both["mAP50"])
        np.testing.assert_allclose(100 * np.mean([v for t, v in known.items() if t in extra]), both["mAP50_extra"])
    boxes, turned = gathered(told, "bbox"), gathered(told, "bbox", reverse=True)
    same_f1(boxes, told["f1_bbox_iou0.3"], extra, least=0.3)
    same_f1(turned, told["f1_bbox_reversed_predictions"], extra)
    same_ap(turned, told["ap_nc_bbox_reversed_predictions"], scored=False)
    same_ap(boxes, told["ap_scored_bbox"], scored=True)
    values, best = detections.score_sweep(boxes)
    np.testing.assert_allclose(values, told["score_sweep"]["mF1"])
    assert best == told["score_sweep"]["best"]
    check_counts(told, extra)
    check_recall_and_overlap(told)
    for text, answer in told["extract"]:
        try:
            assert counts_of_answer(text, check=False) == answer
        except UnreadableAnswer:
            assert answer == -1, text
    mapped = told["cat_map"]
    names, asked = mapped["names"], mapped["predicted"]
    vectors = dict(zip(dict.fromkeys([*names, *asked]), case["in.text_embeddings"].numpy(), strict=True))
    assert mapped["texts"] == [[f"an image of a {name}" for name in some] for some in (names, asked)]
    known, own = (np.stack([vectors[name] for name in some]) for some in (names, asked))
    assert nearest_titles(asked, own, names, known) == mapped["map"]


def check_counts(told: dict[str, Any], extra: list[str]) -> None:
    truth, inputs = told["inputs"]["ground_truth"], told["inputs"]
    titles = {row["id"]: row["name"] for row in truth["categories"]}
    true: dict[int, dict[str, int]] = {row["id"]: {} for row in truth["images"]}
    for row in truth["annotations"]:
        mine = true[row["image_id"]]
        mine[titles[row["category_id"]]] = mine.get(titles[row["category_id"]], 0) + 1
    whole = {t: sum(counts.get(t, 0) for counts in true.values()) for t in titles.values()}
    for name, wanted in told["count_from_detections"].items():
        found: dict[Any, dict[str, int]] = {}
        for row in inputs["predictions"]:
            if row["score"] >= float(name.removeprefix("thr")):
                mine = found.setdefault(row["image_id"], {})
                mine[titles[row["category_id"]]] = mine.get(titles[row["category_id"]], 0) + 1
        same_counts(counting.detections_table(found, true), wanted, whole, extra, percent=True)
    numbers = {row["file_name"].replace(".jpg", ".json"): row["id"] for row in truth["images"]}
    answers = {numbers.get(file, file): answer for file, answer in inputs["count_files"].items()}
    same = {name: name for name in titles.values()}
    for key, names in (("count_from_files", same), ("count_from_files_mapped", told["pred2cat_used"])):
        same_counts(counting.answers_table(answers, true, names), told[key], whole, extra, percent=False)


def same_counts(
    table: dict[str, detections.Tally3],
    wanted: dict[str, Any],
    whole: dict[str, int],
    extra: list[str],
    *,
    percent: bool,
) -> None:
    assert list(table) == list(wanted["per_category"])
    keys = {"Precision": "precision", "Recall": "recall", "F1": "f1"}
    for name, row in wanted["per_category"].items():
        mine = table[name]
        assert (mine.tp, mine.fp, mine.fn, whole[name]) == tuple(row[k] for k in ("TP", "FP", "FN", "GT Count")), name
        for key, own in keys.items():
            value = round(100 * getattr(mine, own), 1)
            assert value == row[key] if percent else f"{value:.1f}" == row[key], (name, key)
    for key, some in (("macro_avg", None), ("unseen_avg", extra)):
        for name, value in wanted.get(key, {}).items():
            mean = counting.averages(table, some)[keys[name]]
            np.testing.assert_allclose(round(100 * mean, 1) if percent else mean, value)


def check_recall_and_overlap(told: dict[str, Any]) -> None:
    inputs = told["inputs"]
    titles = {row["id"]: row["name"] for row in inputs["ground_truth"]["categories"]}
    for name in [key for key in told if key.startswith("proposal_recall_thr")]:
        images = []
        for image in inputs["ground_truth"]["images"]:
            true = [row for row in inputs["ground_truth"]["annotations"] if row["image_id"] == image["id"]]
            given = inputs["proposals"].get(image["file_name"], {"bboxes": [], "scores": []})
            least = float(name.removeprefix("proposal_recall_thr"))
            kept = [b for b, s in zip(given["bboxes"], given["scores"], strict=True) if s >= least]
            iou = detections.box_iou(np.array(kept).reshape(-1, 4), np.array([r["bbox"] for r in true]).reshape(-1, 4))
            images.append((iou, [titles[row["category_id"]] for row in true]))
        recall = detections.proposal_recall(images, list(titles.values()))
        assert {title: round(100 * value, 1) for title, value in recall.items()} == told[name]
    for label, title in titles.items():
        overlap = detections.Overlap()
        for image in inputs["ground_truth"]["images"]:
            sides = []
            for rows in (inputs["predictions"], inputs["ground_truth"]["annotations"]):
                union = np.zeros((image["height"], image["width"]), bool)
                for row in rows:
                    if row["image_id"] == image["id"] and row["category_id"] == label:
                        union |= decoded(row["segmentation"])
                sides.append(union)
            overlap.add(*sides)
        found = "N/A" if overlap.iou is None else f"{overlap.iou:.3f}"
        assert found == told["semantic_iou"][title], title


CHECKS = {
    "instructsam_assign": check_assign,
    "instructsam_similarity": check_similarity,
    "instructsam_masks": check_masks,
    "instructsam_eval": check_eval,
}
