"""What to label next: FAST, strategic sampling and HSLabeling."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch

from earthwords.inference.suggest import fast, hslabeling, strategic

from .cases import Case, agree


def same(case: Case, name: str, found: Any, tolerance: float = 2e-5) -> None:
    expected = case[name]
    if expected.dtype == torch.int64:
        assert np.array_equal(np.asarray(found), expected.numpy()), name
    else:
        agree(torch.as_tensor(np.asarray(found)).to(expected.dtype), expected, tolerance)


def check_al_fast(case: Case) -> None:
    expected = json.loads((case.folder / "expected.json").read_text())
    ids = sorted(int(name.rpartition(".")[2]) for name in case.tensors if name.startswith("in.pred_scores."))
    boxes, images = case["in.sam_boxes_xywh"].numpy(), case["in.sam_image"].numpy()
    matches = {
        i: fast.match(
            case[f"in.pred_boxes_xyxy.{i}"].numpy(), case[f"in.pred_scores.{i}"].numpy(), boxes[images == i],
            corners_as_centres=True,
        )
        for i in ids
    }  # fmt: skip
    assert expected.keys() == fast.UNCERTAINTIES.keys()
    for formula, selected in expected.items():
        found = np.array([fast.image_uncertainty(matches[i], formula) for i in ids])
        same(case, f"out.uncertainty.{formula}", found)
        assert [ids[k] for k in fast.last(found, len(selected))] == selected
    for i in expected["original"]:
        same(case, f"out.match_sam_index.{i}", matches[i].index)
    prototypes = {int(name): value.numpy() for name, value in case.part("in.prototype.").items()}
    features, masks, rows = (case[f"in.{name}"].numpy() for name in ("features", "masks", "match_indices"))
    for how in ("mean", "max"):
        own = [fast.mask_features(*pair, how)[rows] for pair in zip(features, masks, strict=True)]
        case.agree_between(f"mask_features.{how}", torch.from_numpy(own[0]))
        for metric in ("cosine", "euclidean"):
            classes, margins = fast.nearest_class(own[0], prototypes, metric)
            if f"mid.class.{how}.{metric}" in case.tensors:
                same(case, f"mid.class.{how}.{metric}", classes)
                same(case, f"mid.margin.{how}.{metric}", margins)
            same(case, f"out.diversity.{how}.{metric}", [fast.diversity(x, prototypes, metric) for x in own])
    points = case["in.kmeans_x"].numpy()
    same(case, "out.kmeans_centers", fast.k_means(points, points[case["in.kmeans_init"].numpy()]))


def check_al_strategic_sampling(case: Case) -> None:
    image, target, tile = case["in.image"].numpy(), case["in.land_cover"].numpy() == 255, int(case.meta["tile"])
    rows, cols = json.loads(case.meta["rows_cols"])
    scale = json.loads(case.meta["geo"])[1] / json.loads(case.meta["lc_geo"])[1]
    entropies, densities = [], []
    for row, col in ((r * tile, c * tile) for r in range(rows) for c in range(cols)):
        edges = {"top": row, "left": col, "bottom": row + tile, "right": col + tile}
        share = strategic.target_share(target, **{name: value * scale for name, value in edges.items()})
        entropies.append(strategic.entropy([share, 1 - share]))
        bands = image[json.loads(case.meta["rgb"]), row : row + tile, col : col + tile]
        densities.append(strategic.edge_density(bands))
    same(case, "out.target_entropy", entropies)
    same(case, "out.edge_intensity", densities)
    levels = np.stack([strategic.levels(np.array(values)) for values in (entropies, densities)], axis=1)
    same(case, "out.levels", levels)
    same(case, "out.counts", strategic.counts(levels))
    n = math.ceil(float(case.meta["sample_percent"]) * rows * cols)
    same(case, "out.selected", strategic.select(levels, n, case["in.shuffle_order"].numpy()))


def check_al_hslabeling(case: Case) -> None:
    expected = json.loads((case.folder / "expected.json").read_text())
    grid, segments = int(case.meta["feat_shape"]), case["in.segments"].numpy()
    ignored = case["in.ignored_cells"].numpy()
    probabilities = case["in.logits_bhwk"][0].softmax(dim=-1).permute(2, 0, 1).numpy()
    uncertainty = hslabeling.margin_uncertainty(probabilities, grid)
    case.agree_between("margin_uncertainty", torch.from_numpy(uncertainty))
    tells = hslabeling.correlation(case["in.features"][0].flatten(1).T.numpy(), uncertainty, ignored)
    case.agree_between("corr", torch.from_numpy(tells))
    cells, information = hslabeling.points(tells, uncertainty, expected["max_budget"])
    best = hslabeling.knee(information)
    assert best == expected["knee_points"]
    same(case, "out.point_only_cells", cells[:best])
    same(case, "out.point_only_information", information[:best])
    instances = {}
    for number in range(len(case.part("in.line_mask."))):
        line, surface = (np.flatnonzero(case[f"in.segmentation_{name}_mask.{number}"]) for name in ("line", "surface"))
        measure = hslabeling.complexity(segments == number)
        case.agree_between(f"complexity.{number}", torch.tensor(measure))
        inside = np.isin(np.arange(grid * grid), surface).reshape(grid, grid)
        size, length = (int(case[f"in.{name}_mask.{number}"].sum()) for name in ("surface", "line"))
        lines = hslabeling.line_weights(line, grid=grid, length=length, complexity=measure)
        blocks = hslabeling.block_weights(surface, inside, size=size, complexity=measure)
        case.agree_between(f"line_weight.{number}", torch.from_numpy(lines).float())
        case.agree_between(f"surface_weight.{number}", torch.from_numpy(blocks).float())
        instances[number] = hslabeling.Instance(
            number=number, line=line, line_weights=lines, surface=surface, surface_weights=blocks
        )
    side = len(segments) // grid
    middles = np.arange(grid) * side + side // 2
    budgeting = hslabeling.Budgeting(
        tells=tells, uncertainty=uncertainty, instances=instances,
        instance_of=segments[np.ix_(middles, middles)].ravel(), forbidden=frozenset(ignored.tolist()),
    )  # fmt: skip
    plans = budgeting.table(expected["max_budget"])
    gains = np.array([plan.information for plan in plans[1:]])
    same(case, "out.information_by_budget", gains)
    assert hslabeling.knee(gains, sensitivity=0.5) == expected["knee_hybrid"]
    for budget, labels in expected["by_budget"].items():
        found = [
            [label.shape, label.instance, [int(middles[label.cell // grid]), int(middles[label.cell % grid])]]
            for label in plans[int(budget)].labels
        ]
        assert found == labels, budget
