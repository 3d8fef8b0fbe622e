"""AnyChange and DynamicEarth by their authors' code: torchange @45434c7 and DynamicEarth @c9ffd90."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from earthwords.inference.change import anychange, dynamicearth, existence, identify, matching, sam_masks
from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.inference.change.histogram_matching import match_histogram
from earthwords.inference.change.mask_means import mask_means, pixel_change
from earthwords.inference.change.otsu import otsu
from earthwords.inference.segment.postprocess import class_probabilities
from earthwords.kernels.masks.run_lengths import mask_of_runs
from earthwords.mask_set import MaskSet
from earthwords.models.dino import DinoBackbone
from earthwords.models.sam.generator import MaskGenerator
from earthwords.models.sam.load import sam_of_authors
from earthwords.models.sam.predictor import Sam1Predictor
from earthwords.models.sam.settings import MaskSettings
from earthwords.types import Grid

from .cases import Case, agree

THETA = 5e-3
"""Degrees: of an angle found by Otsu's threshold, whose cosine must agree to 2e-5."""


def expected_of(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((case.folder / "expected.json").read_text())
    return found


def grid_of(size: list[int]) -> Grid:
    return Grid(height=size[0], width=size[1], transform=Affine.identity(), crs=None)


def unpacked(rows: Tensor, size: list[int]) -> NDArray[np.bool_]:
    """Masks `(mask, row, col)` of `numpy.packbits` rows."""
    return np.unpackbits(rows.numpy(), axis=1)[:, : size[0] * size[1]].reshape(-1, *size).astype(bool)


def mask_set(masks: NDArray[np.bool_], scores: Tensor | None = None) -> MaskSet:
    return MaskSet.pack(grid_of(list(masks.shape[1:])), [(0, 0)] * len(masks), list(masks), scores=scores)


def boxed(boxes: Tensor, size: list[int], scores: Tensor) -> MaskSet:
    """Masks that fill inclusive boxes: left, top, right, bottom."""
    full = [np.ones((bottom - top + 1, right - left + 1), bool) for left, top, right, bottom in boxes.tolist()]
    return MaskSet.pack(grid_of(size), [(b[1], b[0]) for b in boxes.tolist()], full, scores=scores)


def check_anychange_match(case: Case) -> None:
    expected = expected_of(case)
    raw = case["in.embedding1"][0], case["in.embedding2"][0]
    norm = case["w.neck.3.weight"], case["w.neck.3.bias"]
    plain = matching.undo_norm(raw[0], *norm), matching.undo_norm(raw[1], *norm)
    for kind in ("blocks", "boxes"):
        size = expected["image_hw"]
        sets = [boxed(case[f"in.{kind}.boxes{date}"], size, case[f"in.{kind}.iou{date}"]) for date in (1, 2)]
        ident = np.concatenate([np.arange(len(s)) + 10_000 * i for i, s in enumerate(sets)])
        masks = DatedMasks.join(*sets)
        own = masks.masks.areas / (size[0] * size[1]) < anychange.AREA
        masks, ident = masks.smaller_than(anychange.AREA), ident[own]
        assert [len(masks.before), len(masks.after)] == expected[f"{kind}.default"]["proposals"]
        for mode in ("default", "raw", "one_direction", "auto"):
            features = raw if mode == "raw" else plain
            settings = expected[f"{kind}.{mode}"]
            theta = settings["theta_used"]
            if mode == "auto":
                found_theta = matching.found_theta(*plain, (size[0], size[1]), bins=None)
                assert abs(found_theta - theta) < THETA
                theta = found_theta
            both = mode != "one_direction"
            shown = masks if both else masks.take(masks.second)
            scores = matching.change_scores(shown, *features)
            case.agree_between(f"{kind}.{mode}.all_confidence", torch.from_numpy(scores))
            case.agree_between(f"{kind}.{mode}.all_ident", torch.from_numpy(ident if both else ident[masks.second]))
            found = anychange.any_change(masks, *features, theta=theta, both=both)
            assert len(found.scores) == settings["kept"]
            assert np.array_equal(ident[found.index], case[f"out.{kind}.{mode}.ident"].numpy())
            agree_or_empty(found.scores, case[f"out.{kind}.{mode}.change_confidence"])


class Tiny:
    """The tiny SAM of a case and what it sees at both dates."""

    def __init__(self, case: Case) -> None:
        self.expected = expected_of(case)
        predictor = Sam1Predictor(sam_of_authors(case.part("w."), decoder_heads=4))
        settings = MaskSettings(name="case", **self.expected["generator"])
        self.generator = MaskGenerator(predictor, settings)
        self.grid = grid_of(self.expected["image_hw"])
        repeat = self.expected["repeat"]
        self.images = [
            case[f"in.image{date}_small"].repeat_interleave(repeat, 0).repeat_interleave(repeat, 1).numpy()
            for date in (1, 2)
        ]
        self.seen = [sam_masks.seen_by(self.generator, image, self.grid) for image in self.images]
        self.raw = [sam_masks.raw_features(one.embedding, padded=True) for one in self.seen]
        self.features = [sam_masks.matching_features(predictor, one.embedding, padded=True) for one in self.seen]
        self.masks = DatedMasks.join(*(one.masks for one in self.seen))
        count = len(self.seen[0].masks)
        self.ident = np.concatenate([np.arange(count), 1000 + np.arange(len(self.masks) - count)])


def check_anychange_tiny(case: Case) -> None:
    tiny = Tiny(case)
    for date in (1, 2):
        case.agree_between(f"embedding{date}", tiny.raw[date - 1][None])
        case.agree_between(f"inverse_norm{date}", tiny.features[date - 1][None])
        check_generated(case, tiny, date)
    small = tiny.masks.masks.areas / (tiny.grid.height * tiny.grid.width) < 0.5
    masks, ident = tiny.masks.take(small), tiny.ident[small]
    for date in (1, 2):
        own = torch.from_numpy(ident[masks.second == (date == 2)])
        case.agree_between(f"proposals{date}.ident", own)
    for name, features in (("normalised", tiny.features), ("raw", tiny.raw)):
        scores = torch.from_numpy(matching.change_scores(masks, *features))
        case.agree_between(f"change_confidence_all.{name}", scores)
    size = (tiny.grid.height, tiny.grid.width)
    for mode in ("default", "raw_features", "one_direction", "auto", "theta_small"):
        facts = tiny.expected["modes"][mode]
        assert facts["proposals"] == [len(masks.before), len(masks.after)]
        features = tiny.raw if mode == "raw_features" else tiny.features
        theta = facts["theta_used"]
        if mode == "auto" and "mid.inverse_norm1" in case.tensors:
            given = [case[f"mid.inverse_norm{date}"][0] for date in (1, 2)]
            theta = matching.found_theta(*given, size, bins=None)
            assert abs(theta - facts["theta_used"]) < THETA
        found = anychange.any_change(masks, *features, theta=theta, both=mode != "one_direction")
        same_choice(case, mode, ident[found.index], found)
        if mode == "default":
            union = np.packbits(found.masks.masks.union())
            assert np.array_equal(union, case["out.default.union"][0].numpy())
    check_matched(case, tiny)
    check_clicks(case, tiny, masks, ident)


def same_choice(case: Case, mode: str, ident: NDArray[np.int64], found: anychange.ChangedMasks) -> None:
    assert np.array_equal(ident, case[f"out.{mode}.ident"].numpy()), mode
    assert len(ident) == expected_of(case)["modes"][mode]["kept"]
    agree_or_empty(found.scores, case[f"out.{mode}.change_confidence"])


def check_generated(case: Case, tiny: Tiny, date: int) -> None:
    """The generator's records; masks as run lengths, column by column."""
    found = tiny.generator.generate(tiny.images[date - 1], embedding=tiny.seen[date - 1].embedding)
    if f"mid.generated{date}.ident" not in case.tensors:
        return
    first = 1000 * (date - 1)
    mid = {k: case[f"mid.generated{date}.{k}"].numpy() for k in ("ident", "area", "boxes_xyxy", "iou", "stability")}
    assert np.array_equal(mid["ident"], first + np.arange(len(found)))
    assert np.array_equal(found.boxes, mid["boxes_xyxy"])
    np.testing.assert_allclose(found.predicted_iou, mid["iou"], atol=2e-5)
    np.testing.assert_allclose(found.stability, mid["stability"], atol=5e-4)
    runs = case[f"mid.generated{date}.rle_counts"].numpy(), case[f"mid.generated{date}.rle_offsets"].numpy()
    differ = [int((found.mask(i) ^ mask_of_row(runs, i, found.shape)).sum()) for i in range(len(found))]
    assert max(differ) <= 2  # pixels whose logit is nothing but rounding
    assert np.abs(found.areas - mid["area"]).max() <= 2


def mask_of_row(runs: tuple[NDArray[Any], NDArray[Any]], i: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    counts, offsets = runs
    return mask_of_runs(counts[offsets[i] : offsets[i + 1]].tolist(), *shape)


def check_matched(case: Case, tiny: Tiny) -> None:
    """The second date with the histogram of the first, before everything."""
    matched = match_histogram(tiny.images[1], tiny.images[0])
    if "mid.image2_matched_small" in case.tensors:
        assert np.array_equal(matched[:: tiny.expected["repeat"], :: tiny.expected["repeat"]],
                              case["mid.image2_matched_small"].numpy())  # fmt: skip
    second = sam_masks.seen_by(tiny.generator, matched, tiny.grid)
    predictor = sam_masks.first_sam(tiny.generator)
    every = DatedMasks.join(tiny.seen[0].masks, second.masks)
    small = every.masks.areas / (tiny.grid.height * tiny.grid.width) < 0.5
    count = len(tiny.seen[0].masks)
    ident = np.concatenate([np.arange(count), 1000 + np.arange(len(every) - count)])[small]
    masks = every.take(small)
    facts = tiny.expected["modes"]["match_hist"]
    assert facts["proposals"] == [len(masks.before), len(masks.after)]
    features = sam_masks.matching_features(predictor, second.embedding, padded=True)
    found = anychange.any_change(masks, tiny.features[0], features, theta=facts["theta_used"])
    same_choice(case, "match_hist", ident[found.index], found)
    assert np.array_equal(found.masks.corners, case["out.match_hist.boxes_xyxy"].numpy())


def check_clicks(case: Case, tiny: Tiny, masks: DatedMasks, ident: NDArray[np.int64]) -> None:
    modes, queries = tiny.expected["modes"], []
    theta = modes["default"]["theta_used"]
    names = sorted(name for name in modes if name.startswith("point") and name != "points")
    for name in names:
        x, y, date = modes[name]["xyt"]
        own = tiny.seen[date - 1]
        first = tiny.generator.of_points(own.embedding, [[x, y]]).take([0])
        assert int(first.areas[0]) == modes[name]["query_area"]
        if f"mid.{name}.query_rle_counts" in case.tensors:
            runs = tuple(case[f"mid.{name}.query_rle_{part}"].numpy() for part in ("counts", "offsets"))
            assert np.array_equal(first.mask(0), mask_of_row((runs[0], runs[1]), 0, first.shape))
        query = anychange.query_of(first.on(tiny.grid), tiny.raw[date - 1])
        queries.append((modes[name]["xyt"], query))
        wanted = anychange.resembling(masks, query, *tiny.raw)
        found = anychange.any_change(masks.take(wanted), *tiny.features, theta=theta)
        same_choice(case, name, ident[wanted][found.index], found)
    several = [query for xyt, query in queries if xyt in modes["points"]["xyt"]]
    assert len(several) == len(modes["points"]["xyt"])
    mean = anychange.mean_query(several)
    wanted = anychange.resembling(masks, mean, *tiny.raw, degrees=modes["points"]["object_sim_thresh"])
    found = anychange.any_change(masks.take(wanted), *tiny.features, theta=theta)
    same_choice(case, "points", ident[wanted][found.index], found)


def agree_or_empty(found: NDArray[Any], expected: Tensor) -> None:
    assert found.shape == expected.shape
    if len(found):
        agree(torch.from_numpy(found), expected)


def check_proposal(case: Case) -> None:
    expected = expected_of(case)
    size = expected["mask_shape"][1:]
    sets = [mask_set(unpacked(case[f"in.masks{date}"], size), case[f"in.iou{date}"]) for date in (1, 2)]
    for date in (1, 2):
        corners = DatedMasks.join(sets[date - 1], sets[date - 1].take(np.zeros(0, int))).corners
        assert np.array_equal(corners, case[f"in.boxes{date}"].numpy())
    for area in (0.8, 0.5):
        numbered = [replaced(s, 16 * i) for i, s in enumerate(sets)]
        found = dynamicearth.proposals(*numbered, area=area)
        assert np.array_equal(found.masks.classes, case[f"out.ident.{area}"].numpy())
        assert int((~found.second).sum()) == expected[f"n1.{area}"]
    matched = match_histogram(case["in.image2"].numpy(), case["in.image1"].numpy())
    assert np.array_equal(matched, case["out.image2_matched"].numpy())


def replaced(masks: MaskSet, first: int) -> MaskSet:
    """With a number each, as class."""
    every = list(masks)
    return MaskSet.pack(
        masks.grid,
        [(row, col) for row, col, _ in every],
        [mask for _, _, mask in every],
        scores=masks.scores,
        classes=first + np.arange(len(masks)),
    )


def stand_in(case: Case) -> DinoBackbone:
    """The linear patches that stand for DINO in the cases, as a ViT without blocks."""
    weight, bias = case["w.patch"], case["w.bias"]
    config = ViTConfig(hidden_size=len(bias), num_hidden_layers=0, num_attention_heads=1, image_size=16, patch_size=16)
    model = ViTModel(config, add_pooling_layer=False)
    model.layernorm = torch.nn.Identity()
    with torch.no_grad():
        model.embeddings.position_embeddings.zero_()
        model.embeddings.cls_token.copy_(case["w.cls"])
        model.embeddings.patch_embeddings.projection.weight.copy_(weight.T.reshape(-1, 3, 16, 16))
        model.embeddings.patch_embeddings.projection.bias.copy_(bias)
    return DinoBackbone(model)


def dinov2(case: Case) -> DinoBackbone:
    sizes = {k: v for k, v in expected_of(case)["dinov2_config"].items() if k != "transformers"}
    model = Dinov2Model(Dinov2Config(**sizes))
    model.load_state_dict(case.part("w."))
    return DinoBackbone(model)


def features_of(image: Tensor, backbone: DinoBackbone) -> Tensor:
    pixels = (image.float() / 255 - torch.tensor(backbone.mean)) / torch.tensor(backbone.std)
    return backbone.encode_dense(pixels.permute(2, 0, 1)[None])[0]


def check_compare(case: Case) -> None:
    expected = expected_of(case)
    size = expected["mask_shape"][1:]
    backbone = stand_in(case) if expected["kind"] == "DINO" else dinov2(case)
    features = [features_of(case[f"in.image{date}"], backbone) for date in (1, 2)]
    placed = [(0, 0, mask) for mask in unpacked(case["in.masks"], size)]
    means = [mask_means(f, placed, (size[0], size[1])) for f in features]
    for date, (own, mean) in enumerate(zip(features, means, strict=True), start=1):
        case.agree_between(f"features{date}", own[None])
        if f"mid.z{date}" in case.tensors:
            agree_where_known(mean, case[f"mid.z{date}"])
    change = pixel_change(*features, (size[0], size[1]))
    case.agree_between("pixel_score", torch.from_numpy(change))
    assert abs(otsu(change) - expected["auto"]["otsu_256_bins"]) < 2e-5
    if "mid.pixel_score" in case.tensors:  # with a bin for every pixel, the last bits of the change decide
        given = case["mid.pixel_score"].numpy()
        assert abs(otsu(given, bins=given.size) - expected["auto"]["otsu_nbins_equal_pixels_as_AnyChange"]) < 1e-7
    assert abs(matching.found_theta(*features, (size[0], size[1])) - expected["auto"]["theta_degrees"]) < THETA
    scores = matching.negated_cosine(*means)
    agree_where_known(torch.from_numpy(scores), case["out.score"])
    first = np.arange(len(scores)) < expected["img1_mask_num"]
    thetas = [int(name) for name in case.part("out.keep.")]
    for theta, kept_count in [*((t, case[f"out.kept_count.{t}"].tolist()) for t in thetas),
                              (expected["auto"]["theta_degrees"], expected["auto"]["kept"])]:  # fmt: skip
        kept = matching.turned(scores, theta)
        if theta in thetas:
            assert np.array_equal(kept, case[f"out.keep.{theta}"].numpy())
        assert [int(kept.sum()), int((kept & first).sum())] == kept_count


def agree_where_known(found: Tensor, expected: Tensor) -> None:
    """NaN at the same places."""
    assert torch.equal(found.isnan(), expected.isnan())
    agree(found.nan_to_num(), expected.nan_to_num())


def check_identify(case: Case) -> None:
    expected = expected_of(case)
    every = unpacked(case["in.masks"], expected["mask_shape"][1:])
    there = torch.from_numpy(every.any(axis=(1, 2)))  # a set of ours holds no mask without a pixel
    assert int((~there).sum()) == 1
    masks = mask_set(every[there])
    dated = DatedMasks(masks=masks, second=np.arange(len(every))[there] >= 6)
    for kind in ("synonyms", "plain", "three"):
        words = torch.tensor(expected[f"query_idx.{kind}"])
        maps = [class_probabilities(case[f"in.logits{date}.{kind}"][0], words).numpy() for date in (1, 2)]
        for date in (1, 2):
            means = torch.from_numpy(identify.mean_probabilities(maps[date - 1], masks))
            if f"mid.mean_prob{date}.{kind}" in case.tensors:
                agree_where_known(means, case[f"mid.mean_prob{date}.{kind}"][there])
                assert case[f"mid.mean_prob{date}.{kind}"][~there].isnan().all()
        for threshold in (0.0, 0.55):
            for instances in (True, False):
                name = f"{kind}.thd{threshold}.instance{int(instances)}"
                found = dynamicearth.identify(dated, *maps, threshold=threshold, instances=instances)
                for date, classes in ((1, found.before), (2, found.after)):
                    assert np.array_equal(classes, case[f"out.class{date}.{kind}.thd{threshold}"][there].numpy())
                assert np.array_equal(found.kept, case[f"out.keep.{name}"][there].numpy())
                assert not case[f"out.keep.{name}"][~there].any()
                kept = dated.take(found.kept)
                assert [len(kept), len(kept.before)] == case[f"out.count.{name}"].tolist()


def check_instance_merge(case: Case) -> None:
    expected = expected_of(case)
    for number, facts in enumerate(expected["sets"]):
        size = facts["shape"][1:]
        every = unpacked(case[f"in.masks.{number}"], size)
        dated = DatedMasks(
            masks=mask_set(every) if len(every) else empty(size), second=np.arange(len(every)) >= facts["n1"]
        )
        iou = np.zeros((len(dated.after), len(dated.before)))
        for i, j, overlap in existence.overlaps(dated.before, dated.after):
            iou[j, i] = overlap
        if f"mid.iou.{number}" in case.tensors:
            assert np.allclose(iou, case[f"mid.iou.{number}"].numpy(), atol=1e-12)
        for threshold in (0.01, 0.3):
            kept = existence.only_once(dated, most=threshold)
            assert [len(kept), len(kept.before)] == [facts[f"thr{threshold}"][k] for k in ("kept", "n1")]
            whole = [placed_in(size, *item) for item in kept.masks]
            assert np.array_equal(whole, unpacked(case[f"out.kept.{number}.{threshold}"], size)) or not whole
    check_union(case, expected["merge"])
    for number in range(len(case.part("in.det_boxes."))):
        boxes, scores = case[f"in.det_boxes.{number}"].numpy(), case[f"in.det_scores.{number}"].numpy()
        kept_boxes = dynamicearth.sure_boxes(boxes, scores)
        assert np.array_equal(boxes[kept_boxes], case[f"out.det_boxes.{number}"].numpy())
        assert np.array_equal(scores[kept_boxes], case[f"out.det_scores.{number}"].numpy())


def empty(size: list[int]) -> MaskSet:
    return MaskSet.pack(grid_of(size), [], [])


def placed_in(size: list[int], row: int, col: int, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    whole = np.zeros(size, bool)
    whole[row : row + mask.shape[0], col : col + mask.shape[1]] = mask
    return whole


def check_union(case: Case, facts: list[dict[str, Any]]) -> None:
    """Ours is a union; the authors' value is that of sums in 8 bits, where 256 masks are none."""
    size = [8, 10]
    for number, fact in enumerate(facts):
        n = fact["n"]
        masks = np.zeros((n, *size), bool)
        assert re.match(r"all n cover \[2:5,3:7\]; first n//2 cover \[6,1\]; first covers \[0,0\]", fact["layout"])
        masks[:, 2:5, 3:7] = True
        masks[: n // 2, 6, 1] = True
        masks[0, 0, 0] = True
        if n >= 256:
            masks[:256, 7, 9] = True
        found = mask_set(masks).union()
        assert np.array_equal(255 * found, case[f"out.merge_right.{number}"].numpy())
        assert int(found.sum()) == fact["changed_pixels_right"]
        authors = masks.sum(axis=0) % 256 > 0
        assert np.array_equal(255 * authors, case[f"out.merge_authors.{number}"].numpy())
    assert np.array_equal(255 * empty(size).union(), case["out.merge_empty"].numpy())


def check_chain(case: Case) -> None:
    expected = expected_of(case)
    size = expected["image_hw"]
    sets = [mask_set(unpacked(case[f"in.masks{date}"], size), case[f"in.iou{date}"]) for date in (1, 2)]
    backbone = stand_in(case)
    features = features_of(case["in.image1"], backbone), features_of(case["in.image2"], backbone)
    proposed = dynamicearth.proposals(*(replaced(s, 24 * i) for i, s in enumerate(sets)))
    case.agree_between("proposal_ident", torch.from_numpy(proposed.masks.classes).long())
    case.agree_between("score", torch.from_numpy(matching.change_scores(proposed, *features)))
    compared, _ = dynamicearth.compare(proposed, *features, theta=expected["theta"])
    assert [len(proposed.before), len(compared.before), len(compared)] == [
        expected[k] for k in ("n1_proposal", "n1_compare", "n_compare")
    ]
    words = torch.tensor(expected["query_idx"])
    maps = tuple(class_probabilities(case[f"in.logits{date}"][0], words).numpy() for date in (1, 2))
    named = dynamicearth.identify(compared, *maps)
    for date, classes in ((1, named.before), (2, named.after)):
        case.agree_between(f"class{date}", torch.from_numpy(classes))
    for instances in (True, False):
        kept, _, _ = dynamicearth.mask_compare_identify(
            proposed, features, (maps[0], maps[1]), theta=expected["theta"], instances=instances
        )
        name = f"mci.instance{int(instances)}"
        assert [len(kept), len(kept.before)] == [expected[name.replace(".", "_")][k] for k in ("kept", "n1")]
        assert np.array_equal(255 * kept.masks.union(), case[f"out.{name}.change"].numpy())
        assert int(kept.masks.areas.sum()) == int(case[f"out.{name}.kept_sum_area"])
    found = DatedMasks.join(*(mask_set(unpacked(case[f"in.imc_masks{date}"], size)) for date in (1, 2)))
    once = existence.only_once(found)
    assert [len(once), len(once.before)] == [expected["imc_exist"][k] for k in ("kept", "n1")]
    case.agree_between("imc_score", torch.from_numpy(matching.change_scores(once, *features)))
    changed, _ = dynamicearth.identify_mask_compare(found, features, theta=expected["theta"])
    assert [len(changed), len(changed.before)] == [expected["imc_compare"][k] for k in ("kept", "n1")]
    assert np.array_equal(255 * changed.masks.union(), case["out.imc.change"].numpy())
