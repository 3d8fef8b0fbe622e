"""SAM's automatic masks: every function, and every stage of the generators."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels.masks.nms import nms
from earthwords.kernels.masks.run_lengths import mask_of_runs, runs_of_mask, runs_of_text, text_of_runs
from earthwords.models.sam import filters, generator
from earthwords.models.sam.author_names import from_authors
from earthwords.models.sam.generator import MaskGenerator, without_small_regions
from earthwords.models.sam.grids import CropBox, crops_of, layer_grid, point_grid
from earthwords.models.sam.load import sam_of_authors
from earthwords.models.sam.predictor import ImageEmbedding, Sam1Predictor, Sam2Predictor
from earthwords.models.sam.proposals import Proposals, packed
from earthwords.models.sam.settings import MaskSettings

from .active_learning import same
from .cases import Case, agree

STABLE = 5e-4
"""One pixel of two thousand, whose logit lies on a threshold but for rounding."""


def unpacked(values: Tensor, shape: list[int]) -> NDArray[np.bool_]:
    bits = np.unpackbits(values.numpy(), axis=1)[:, : shape[-2] * shape[-1]]
    return bits.reshape(-1, *shape[-2:]).astype(bool)


def expected_of(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((case.folder / "expected.json").read_text())
    return found


def suffixes(case: Case, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in case.tensors if name.startswith(prefix)]


class Fixed(Sam1Predictor):
    """Where points and boxes lie, of a network that has no weights."""

    side = 0  # type: ignore[assignment]

    def __init__(self, side: int) -> None:
        self.side = side  # type: ignore[misc]


def check_sam_amg_functions(case: Case) -> None:
    expected = expected_of(case)
    for side in suffixes(case, "out.grid."):
        same(case, f"out.grid.{side}", point_grid(int(side)), 0)
    for name in suffixes(case, "out.layer_grid."):
        (side, _, factor), layer = map(int, name.split(".")[0].split("_")), int(name.split(".")[1])
        same(case, f"out.layer_grid.{name}", layer_grid(side, layer, factor), 0)
    for i, row in enumerate(expected["crop_args"]):
        crops = crops_of((row["h"], row["w"]), row["n_layers"], row["overlap_ratio"])
        same(case, f"out.crop_boxes.{i}", [crop.box for crop in crops])
        same(case, f"out.crop_layers.{i}", [crop.layer for crop in crops])
    check_places(case, expected["resize"])
    check_masks(case, expected)
    for i, box in enumerate(expected["edge"]["crops_xyxy"]):
        crop, shape = (
            CropBox(**dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))),
            tuple(expected["edge"]["orig_hw"]),
        )
        boxes = case[f"in.edge_boxes.{i}"].numpy()
        near = filters.near_crop_edge(boxes, crop, shape, tolerance=expected["edge"]["atol"])
        assert near.tolist() == case[f"out.near_edge.{i}"].tolist()
        same(case, f"out.uncropped_boxes.{i}", proposals(boxes, crop.shape).moved(crop, shape).boxes)
    check_small_regions(case, expected["small_shape"])
    for i, threshold in enumerate(expected["nms_thr"]):
        boxes, scores = case[f"in.nms_boxes.{i}"].numpy(), case[f"in.nms_scores.{i}"].numpy()
        same(case, f"out.nms_keep.{i}", nms(boxes, scores, threshold))


def check_places(case: Case, resize: dict[str, dict[str, Any]]) -> None:
    for i, row in resize.items():
        predictor, shape = Fixed(row["target"]), (row["h"], row["w"])
        if 0 in row["new"]:
            with pytest.raises(Exception, match="too thin"):
                predictor.frame(shape)
        else:
            assert list(predictor.frame(shape)) == row["new"]
        embedding = ImageEmbedding(features=torch.zeros(0), shape=shape, frame=tuple(row["new"]))
        same(case, f"out.coords.{i}", predictor.to_network(case[f"in.coords.{i}"], embedding), 1e-15)
        corners = predictor.to_network(case[f"in.boxes_t.{i}"].reshape(-1, 2), embedding)
        same(case, f"out.boxes_t.{i}", corners.reshape(-1, 4), 1e-15)


def check_masks(case: Case, expected: dict[str, Any]) -> None:
    for name in suffixes(case, "out.stability."):
        threshold, offset = (0.5, 0.25) if name.startswith("thr") else (0.0, float(name))
        found = filters.stability(case["in.logits"], threshold=threshold, offset=offset)
        assert torch.equal(found.nan_to_num(-1), case[f"out.stability.{name}"].nan_to_num(-1))
    masks = unpacked(case["in.masks"], expected["mask_shape"])
    same(case, "out.boxes", filters.inclusive_boxes(torch.from_numpy(masks)))
    runs = [runs_of_mask(mask) for mask in masks]
    assert np.concatenate(runs).tolist() == case["out.rle_counts"].tolist()
    assert np.cumsum([0, *map(len, runs)]).tolist() == case["out.rle_offsets"].tolist()
    texts = [text_of_runs(run) for run in runs]
    assert "".join(texts).encode() == case["out.coco_rle_bytes"].numpy().tobytes()
    assert np.cumsum([0, *map(len, texts)]).tolist() == case["out.coco_rle_offsets"].tolist()
    assert [runs_of_text(text) for text in texts] == [run.tolist() for run in runs]
    found = proposals(case["out.boxes"].numpy(), masks.shape[1:], masks)
    same(case, "out.area", found.areas)
    same(case, "out.box_xywh", found.boxes_xywh)
    assert np.array_equal(found.masks, masks)


def proposals(boxes: NDArray[np.int64], shape: Any, masks: NDArray[np.bool_] | None = None) -> Proposals:
    """Masks with nothing else known of them; without masks, of one pixel."""
    count = len(boxes)
    parts = [packed(mask) for mask in (np.ones((count, 1, 1), bool) if masks is None else masks)]
    return Proposals(
        shape=tuple(shape),
        places=np.array([place for place, _ in parts], np.int64),
        bits=tuple(bits for _, bits in parts),
        boxes=boxes,
        predicted_iou=np.linspace(1, 0, count, dtype=np.float32),
        stability=np.ones(count, np.float32),
        points=np.arange(2.0 * count).reshape(count, 2),
        crops=np.zeros((count, 4), np.int64),
    )


def check_small_regions(case: Case, shape: list[int]) -> None:
    masks = unpacked(case["in.small_masks"], shape)
    functions: dict[str, Callable[..., Any]] = {"holes": filters.without_holes, "islands": filters.without_islands}
    for name in suffixes(case, "out.small_changed."):
        area, _, kind = name.rpartition(".")
        found = [functions[kind](mask, float(area)) for mask in masks]
        assert np.array_equal(np.stack([mask for mask, _ in found]), unpacked(case[f"out.small.{name}"], shape))
        assert [changed for _, changed in found] == case[f"out.small_changed.{name}"].tolist()
    boxes = filters.inclusive_boxes(torch.from_numpy(masks)).numpy()
    for name in suffixes(case, "out.post."):
        area, _, kind = name.rpartition(".")
        if kind == "index":
            found = without_small_regions(proposals(boxes, masks.shape[1:], masks), float(area), 0.7)
            same(case, f"out.post.{name}", found.points[:, 0] / 2)
            same(case, f"out.post.{area}.boxes", found.boxes)
            assert np.array_equal(found.masks, unpacked(case[f"out.post.{area}.masks"], shape))


@contextmanager
def watched(*names: str) -> Iterator[dict[str, list[tuple[tuple[Any, ...], Any]]]]:
    """Arguments and results of functions that the generator calls."""
    seen: dict[str, list[tuple[tuple[Any, ...], Any]]] = {name: [] for name in names}

    def spy(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*args: Any, **more: Any) -> Any:
            found = function(*args, **more)
            seen[name].append((args, found))
            return found

        return watch

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            place, attribute = (generator, name) if hasattr(generator, name) else (Sam1Predictor, name)
            patch.setattr(place, attribute, spy(name, getattr(place, attribute)))
        yield seen


def check_sam_amg_tiny(case: Case) -> None:
    expected = expected_of(case)
    state = case.part("w.")
    assert expected["hf"]["names"].keys() == state.keys()
    renamed = from_authors({name: torch.tensor(i) for i, name in enumerate(state)})
    assert all(renamed[new] == i for i, new in enumerate(expected["hf"]["names"][name] for name in state))
    predictor = Sam1Predictor(sam_of_authors(state, decoder_heads=4))
    repeat = expected["repeat"]
    image = case["in.image_small"].repeat_interleave(repeat, 0).repeat_interleave(repeat, 1).numpy()
    assert list(image.shape[:2]) == expected["image_hw"]
    masks = MaskGenerator(predictor, MaskSettings(name="case", **expected["settings"]))
    watch = ("stability", "near_crop_edge", "nms", "encode", "decode", "to_network", "resize")
    with watched(*watch) as seen:
        found = masks.generate(image)
    check_stages(case, expected, seen)
    check_records(case, found, on_edge=2)
    check_transformers(case, masks, image)


def check_stages(case: Case, expected: dict[str, Any], seen: dict[str, list[tuple[tuple[Any, ...], Any]]]) -> None:
    resized = seen["resize"][0][1]
    edges = [args[0] for args, _ in seen["near_crop_edge"]]
    near = np.concatenate([out for _, out in seen["near_crop_edge"]])
    between(case, "image_embedding.crop0", seen["encode"][0][1].features, 1e-5)
    between(case, "resized_image.crop0", resized if expected["repeat"] == 8 else np.zeros(0), 0)
    between(case, "input_points", np.concatenate([out for _, out in seen["to_network"]]), 1e-12)
    between(case, "low_res_masks.batch0", seen["decode"][0][1][0][:8], 1e-5)
    between(case, "iou_pred", torch.cat([iou for _, (_, iou) in seen["decode"]]), 1e-5)
    between(case, "stability_after_iou_filter", torch.cat([out for _, out in seen["stability"]]), STABLE)
    between(case, "boxes_after_stability_filter", np.concatenate(edges))
    between(case, "near_crop_edge", near)
    assert [args[2] for args, _ in seen["nms"]] == expected["nms_thresholds"]
    assert [[len(args[0]), len(out)] for args, out in seen["nms"]] == expected["counts"]["nms"]
    for i, (args, out) in enumerate(seen["nms"]):
        between(case, f"nms.{i}.boxes", args[0], 0)
        between(case, f"nms.{i}.scores", args[1], 1e-5)
        between(case, f"nms.{i}.keep", out)


def between(case: Case, name: str, found: Any, tolerance: float = 0) -> None:
    """An intermediate result, which a case may lack."""
    if f"mid.{name}" in case.tensors:
        expected = case[f"mid.{name}"]
        values = torch.as_tensor(found if isinstance(found, Tensor) else np.array(found))
        assert values.shape == expected.shape, name
        np.testing.assert_allclose(values.double(), expected.double(), rtol=0, atol=tolerance, err_msg=name)


def check_records(case: Case, found: Proposals, *, on_edge: int = 0) -> None:
    """`on_edge`: pixels whose logit is 0 but for rounding."""
    same(case, "out.boxes_xywh", found.boxes_xywh)
    same(case, "out.predicted_iou", found.predicted_iou, 1e-5)
    same(case, "out.stability", found.stability, STABLE if on_edge else 1e-6)
    same(case, "out.point", found.points, 1e-12)
    crops = found.crops - np.concatenate([np.zeros_like(found.crops[:, :2]), found.crops[:, :2]], axis=1)
    same(case, "out.crop_xywh", crops)
    counts, ends = case["out.rle_counts"].numpy(), case["out.rle_offsets"].numpy()
    expected = [mask_of_runs(counts[start:end], *found.shape) for start, end in pairwise(ends)]
    assert [int(mask.sum()) for mask in expected] == case["out.area"].tolist()
    assert len(found) == len(expected) and np.sum(found.masks != np.array(expected)) <= on_edge
    runs = [found.run_lengths(i) for i in range(len(found))]
    if not on_edge:
        assert np.concatenate(runs).tolist() == counts.tolist()
    assert all(np.array_equal(mask_of_runs(run, *found.shape), found.mask(i)) for i, run in enumerate(runs))
    assert found.areas.tolist() == [int(mask.sum()) for mask in found.masks]


class Theirs(Sam1Predictor):
    """As transformers' processor shrinks images."""

    def resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        size = self.frame((image.shape[0], image.shape[1]))
        small = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return small[0].permute(1, 2, 0).numpy()


def check_transformers(case: Case, masks: MaskGenerator, image: NDArray[np.uint8]) -> None:
    """Its own rules: one suppression over everything, and other norms in the decoder."""
    predictor, settings = Theirs(masks.predictor.model), masks.settings
    for norm in predictor.model.mask_decoder.transformer.layers.modules():
        if isinstance(norm, torch.nn.LayerNorm):
            norm.eps = 1e-6
    parts = []
    for crop in crops_of(image.shape[:2], settings.crop_n_layers, settings.crop_overlap_ratio):
        embedding = predictor.encode(image[crop.slices])
        points = point_grid(settings.points_per_side) * np.array(crop.shape[::-1])
        found = MaskGenerator(predictor, settings).of_points(embedding, points)
        found = found.take(~filters.near_crop_edge(found.boxes, crop, image.shape[:2]))
        parts.append(found.moved(crop, image.shape[:2]))
    every = Proposals.joined(image.shape[:2], parts)
    every = every.take(nms(every.boxes, every.predicted_iou, 0.7))
    same(case, "out.hf.scores", every.predicted_iou, 1e-5)
    same(case, "out.hf.boxes_xyxy", every.boxes)


class Given(Sam2Predictor):
    """SAM 2 with answers that are known."""

    side = 0  # type: ignore[assignment]

    def __init__(self, case: Case) -> None:
        self.side = int(expected_of(case)["resolution"])  # type: ignore[misc]
        self.pairs = [("in.low_res", "in.iou")]
        if "in.low_res_refined" in case.tensors:
            self.pairs.append(("in.low_res_refined", "in.iou_refined"))
        self.case, self.turn, self.asked = case, [0, 0], []  # type: ignore[var-annotated]

    def encode(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        agree(self.prepare(image)[0], self.case["out.transformed_image"], 1e-6)
        return ImageEmbedding(features=torch.zeros(0), shape=image.shape[:2], frame=(self.side, self.side))

    def decode(self, embedding: ImageEmbedding, **given: Any) -> tuple[Tensor, Tensor]:
        self.asked.append(self.to_network(given["points"], embedding))
        again = given.get("masks") is not None
        start, count = self.turn[again], len(given["points"])
        if again:
            own = self.case["in.low_res"].flatten(0, 1)[start : start + count].clamp(-32, 32)
            assert torch.equal(given["masks"][:, 0], own) and given["single"]
        self.turn[again] += count
        low, iou = (self.case[name][start : start + count] for name in self.pairs[again])
        return low, iou


def check_sam2_amg(case: Case) -> None:
    expected = expected_of(case)
    predictor, image = Given(case), case["in.image"].numpy()
    assert list(image.shape[:2]) == expected["image_hw"]
    found = MaskGenerator(predictor, MaskSettings(name="case", **expected["settings"])).generate(image)
    embedding = predictor.encode(image)
    same(case, "out.coords", predictor.to_network(case["in.coords"], embedding), 1e-7)
    corners = predictor.to_network(case["in.boxes"].reshape(-1, 2), embedding)
    same(case, "out.boxes", corners.reshape(-1, 2, 2), 1e-7)
    between(case, "input_points", np.concatenate(predictor.asked), 1e-5)
    assert len(found) == expected["kept"]
    check_records(case, found)


CHECKS: dict[str, Callable[[Case], None]] = {
    "sam_amg_functions": check_sam_amg_functions,
    "sam_amg_tiny": check_sam_amg_tiny,
    "sam2_amg": check_sam2_amg,
}
