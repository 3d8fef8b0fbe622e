"""Upsamplers of the embedded model's features side by side: cost, agreement with finer features, use.

    python benchmarks/bench_upsamplers.py DATA [--json FILE] [--picture PNG [--rendered]] [--quick]
        [--model NAME] [--weights METHOD=FILE ...]

One row a method; the ratios are to bilinear's row of the same run.

cost       A window of 224 x 224 pixels on one core. `seconds`: all channels at full resolution; `words`: their cosines
           with 5 words, of as few channels as it takes where the method is linear in the features. Processor time,
           medians; ratios are medians of pairs timed in turn. `MiB`: what is held at once besides model and tokens
           (Linux). The row `encoder` is the backbone alone.
agreement  There is no truth for fine features. The stand-in is what the backbone says of the crop enlarged 4 times
           (`large`: bilinear, which adds no detail), or of the crop before it was shrunk 4 times (`shrunk`: real
           detail), in windows that overlap by half; compared on its grid, 4 x 4 for a token. `cosine`: distance, 1 -
           cosine; `error`: mean squared, over the variance of the stand-in. A backbone does not say the same at two
           scales, and no upsampler can know that: the row `token means`, the stand-in averaged over tokens, has the
           detail alone to lose. `detail` looks at nothing else: correlation of what differs from the means over tokens.
use        `kept`: cosine of the original tokens and the fine features averaged over them. `probe`: a linear classifier
           of the original tokens (majority class of their pixels, Dubai tiles 1 to 5), applied to fine features at
           every pixel of tiles 7 and 8: mIoU and accuracy. `words`: mIoU of open-vocabulary segmentation of a crop of
           336 x 336 of every image of tiles 7 and 8, class names as words, windows that overlap by half.

`featup-implicit` is fitted to a few of the crops (cost: the fit); `bilinear, few` is bilinear on the same ones. Methods
whose weights are missing are named and left out.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from earthwords.evaluation.metrics.segmentation import Confusion
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.lowrank import LinearUpsampler, reduced_cosines
from earthwords.inference.windows.sliding import Encoder
from earthwords.models.clip.model import DenseMethod
from earthwords.presets import TINY
from earthwords.synthetic import render_scene
from earthwords.text.vocabulary import parse_classes
from feature_picture import Row, draw
from upsampled import (
    IMPLICIT,
    SIDE,
    Bench,
    Crop,
    Fitted,
    add_options,
    dubai,
    enlarged,
    in_windows,
    load,
    pixels,
    read,
)

CLASSES = ("building", "land", "road", "vegetation", "water")
TIMES = 4
"""Finer than the image's own tokens."""
FITS = 2
"""Crops that `featup-implicit` is fitted to."""
Table = dict[str, dict[str, float]]


def peak(run: Callable[[], Any]) -> float:
    """MiB that are held at once while something runs, on Linux: what was freed before is given back first."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory("VmRSS")
    run()
    return memory("VmHWM") - before


def memory(name: str) -> float:
    """MiB of this process: `VmRSS` now, `VmHWM` at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def timed(run: Callable[[], Any]) -> float:
    """Seconds of the processor: other work on the machine does not count."""
    began = time.process_time()
    run()
    return time.process_time() - began


def cost(bench: Bench, runs: int) -> Table:
    """Time and memory of a window, in turn with bilinear's time."""
    scene = pixels(render_scene(height=SIDE, width=SIDE, gsd=0.5, theme="village", seed=3).image)
    tokens, seen, size = bench.teacher(scene[None]), bench.teacher.normalise(scene[None]), (SIDE, SIDE)
    queries = F.normalize(torch.randn(len(CLASSES), bench.backbone.dim), dim=1)

    def fine(module: Any) -> Tensor:
        return module(tokens, seen, size)

    def cosines(module: Any) -> Tensor:
        if isinstance(module, LinearUpsampler):
            return reduced_cosines(module, tokens, seen, size, queries)
        return torch.einsum("bdhw,qd->bqhw", F.normalize(fine(module), dim=1), queries)

    rows, base = {}, bench.modules["bilinear"]
    for name, own in bench.modules.items():
        if name == IMPLICIT:
            continue
        row = {"parameters": float(sum(p.numel() for p in own.parameters()))}
        for title, run in (("seconds", fine), ("words", cosines)):
            run(own)  # compiles
            row[f"{title} MiB"] = peak(partial(run, own))
            pairs = [(timed(partial(run, own)), timed(partial(run, base))) for _ in range(runs)]
            row[title], row[f"{title} ratio"] = median(a for a, _ in pairs), median(a / b for a, b in pairs)
        rows[name] = row
    rows["encoder"] = {"seconds": median(timed(lambda: bench.teacher(scene[None])) for _ in range(runs))}
    return rows


@dataclass(kw_only=True)
class Tally:
    """What fine features of some crops came to."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    confusion: Confusion = field(default_factory=lambda: Confusion(len(CLASSES)))

    def agree(self, kind: str, found: Tensor, finer: Tensor) -> None:
        """Compare `(dim, H, W)` with `(dim, h, w)` on the coarser grid of the two."""
        seen = F.adaptive_avg_pool2d(found[None], finer.shape[-2:])[0]
        spread = (finer - finer.mean(dim=(1, 2), keepdim=True)).square().mean()
        self.values[f"{kind} cosine"].append(float(1 - F.cosine_similarity(seen, finer, dim=0).mean()))
        self.values[f"{kind} error"].append(float((seen - finer).square().mean() / spread))
        own, wanted = seen - token_means(seen), finer - token_means(finer)
        length = (own.norm() * wanted.norm()).clamp(min=1e-9)
        self.values[f"{kind} detail"].append(float((own * wanted).sum() / length))

    def keep(self, found: Tensor, tokens: Tensor) -> None:
        """Compare the means over tokens with the tokens `(dim, h, w)`."""
        means = F.adaptive_avg_pool2d(found[None], tokens.shape[-2:])[0]
        self.values["kept"].append(float(F.cosine_similarity(means, tokens, dim=0).mean()))

    def row(self) -> dict[str, float]:
        """Means, and the probe's figures in percent if there was one."""
        out = {name: float(np.mean(values)) for name, values in self.values.items()}
        if self.confusion.counts.any():
            scores = self.confusion.scores()
            out |= {"probe mIoU": 100 * scores.miou, "probe accuracy": 100 * scores.accuracy}
        return out


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear classifier."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> np.ndarray:
        """`(dim, H, W)` to labels `(H, W)`."""
        return (torch.einsum("dhw,cd->chw", features, self.weight) + self.bias[:, None, None]).argmax(dim=0).numpy()


def train_probe(bench: Bench, data: Path, most: int) -> Probe:
    """On the tokens of crops of Dubai tiles 1 to 5; tokens without a majority of one class are left out."""
    inputs, labels = [], []
    patch = bench.teacher.patch
    for crop in dubai(data, "12345", side=SIDE, most=most):
        cells = crop.truth.reshape(SIDE // patch, patch, SIDE // patch, patch).swapaxes(1, 2).reshape(-1, patch**2)
        counts = (cells[:, :, None] == np.arange(len(CLASSES))).sum(axis=1)
        sure = counts.max(axis=1) > patch**2 / 2
        inputs.append(bench.teacher(pixels(crop.image)[None])[0].flatten(1).T.numpy()[sure])
        labels.append(counts.argmax(axis=1)[sure])
    scale, linear = StandardScaler(), LogisticRegression(max_iter=1000, C=0.1, tol=1e-3)
    make_pipeline(scale, linear).fit(np.concatenate(inputs), np.concatenate(labels))
    weight = linear.coef_ / scale.scale_
    bias = linear.intercept_ - weight @ scale.mean_
    return Probe(weight=torch.from_numpy(weight).float(), bias=torch.from_numpy(bias).float())


def quality(bench: Bench, crops: Sequence[Crop], probe: Probe, names: Sequence[str]) -> Table:
    """Agreement with the enlarged crop, and use."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for crop in crops:
        image = pixels(crop.image)
        tokens, finer = bench.teacher(image[None])[0], in_windows(bench.teacher, enlarged(image, TIMES))
        for name, found in bench.features(image, names):
            tallies[name].agree("large", found, finer)
            tallies[name].keep(found, tokens)
            tallies[name].confusion.add(crop.truth, probe(found))
        tallies["token means"].agree("large", token_means(finer), finer)
    return {name: tally.row() for name, tally in tallies.items()}


def shrunk(bench: Bench, crops: Sequence[Crop], names: Sequence[str]) -> Table:
    """Agreement of shrunk crops with what they were."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for crop in crops:
        large = pixels(crop.image)
        finer = in_windows(bench.teacher, large)
        for name, found in bench.features(F.avg_pool2d(large, TIMES), names):
            tallies[name].agree("shrunk", found, finer)
        tallies["token means"].agree("shrunk", token_means(finer), finer)
    return {name: tally.row() for name, tally in tallies.items()}


def token_means(finer: Tensor) -> Tensor:
    """Averaged over tokens, on the same grid."""
    return F.interpolate(F.avg_pool2d(finer[None], TIMES), scale_factor=TIMES, mode="nearest-exact")[0]


def words(bench: Bench, data: Path, side: int, most: int) -> Table:
    """Open-vocabulary segmentation; `logits` upsamples no features, as the preset does."""
    vocabulary, rows = parse_classes(list(CLASSES)), {}
    crops = list(dubai(data, "78", side=side, most=1))[:: max(1, 18 // most)]
    for name, module in {"logits": None, **bench.modules}.items():
        if name != IMPLICIT:
            encoder = Encoder(backbone=bench.backbone, method=DenseMethod(attention=TINY.attention), upsampler=module)
            segmenter, confusion = Segmenter(TINY, encoder, batch=1), Confusion(len(CLASSES))
            for crop in crops:
                confusion.add(crop.truth, segmenter.predict(crop.image, vocabulary).labels.astype(np.int64))
            rows[name] = {"words mIoU": 100 * confusion.scores().miou}
    return rows


def implicit(bench: Bench, crops: Sequence[Crop], coarse: Sequence[Crop], probe: Probe) -> Table:
    """`featup-implicit` and bilinear on the same few crops."""
    fitted = bench.modules[IMPLICIT]
    assert isinstance(fitted, Fitted)
    rows = quality(bench, crops, probe, ("bilinear", IMPLICIT))
    more = shrunk(bench, coarse, ("bilinear", IMPLICIT))
    merged = with_ratios({name: rows[name] | more[name] for name in ("bilinear", IMPLICIT)})
    merged[IMPLICIT]["seconds"] = median(fitted.seconds)
    return {"bilinear, few": merged["bilinear"], IMPLICIT: merged[IMPLICIT]}


def with_ratios(rows: Table) -> Table:
    """Errors over bilinear's."""
    base = rows["bilinear"]
    for row in rows.values():
        row |= {
            f"{name} ratio": row[name] / base[name]
            for name in list(row)
            if name.endswith((" cosine", " error")) and base.get(name)
        }
    return rows


GROUPS = {
    "cost": ("parameters", *(f"{kind}{part}" for kind in ("seconds", "words") for part in ("", " ratio", " MiB"))),
    **{
        f"agreement, {kind}": tuple(f"{kind} {n}" for n in ("cosine", "cosine ratio", "error", "error ratio", "detail"))
        for kind in ("large", "shrunk")
    },
    "use": ("kept", "probe mIoU", "probe accuracy", "words mIoU"),
}
FORMATS = {"parameters": ",.0f", "seconds MiB": ".0f", "words MiB": ".0f", "kept": ".4f"}


def show(rows: Table) -> None:
    """The table, in three parts."""
    for title, names in GROUPS.items():
        print(f"\n{title:<20}" + "".join(f"{name.removeprefix(title[11:] + ' '):>16}" for name in names))
        for method, row in rows.items():
            if any(name in row for name in names):
                cells = [_cell(row.get(name), FORMATS.get(name, _digits(name))) for name in names]
                print(f"{method:<20}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def _digits(name: str) -> str:
    return ".2f" if name.endswith("ratio") else ".1f" if name.endswith(("mIoU", "accuracy")) else ".3f"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def picture(bench: Bench, args: argparse.Namespace) -> None:
    """The grid of PCA colours."""
    scene = render_scene(height=SIDE, width=SIDE, gsd=0.5, theme="village", seed=3).image
    naip = read(args.data / "geotiff_demo/naip_m_4709963_se_14_1_20180716.tif")
    images = {"rendered": scene, "NAIP, 5 m": naip[300 : 300 + SIDE, 300 : 300 + SIDE]}
    if not args.rendered:
        images["Dubai"] = next(iter(dubai(args.data, "8", side=SIDE, most=1))).image
    rows = []
    for title, image in images.items():
        seen = pixels(image)
        finer = in_windows(bench.teacher, enlarged(seen, TIMES))
        features, notes = {}, {}
        for name, found in bench.features(seen):
            tally = Tally()
            tally.agree("large", found, finer)
            features[name], notes[name] = found, tally.row()["large cosine"]
        rows.append(Row(title=title, image=image, features=features, notes=notes, finer=finer))
    draw(rows, args.picture)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--picture", type=Path, help="a grid of the features in false colours")
    parser.add_argument("--rendered", action="store_true", help="only images that may be published in the picture")
    args = parser.parse_args()
    bench = load(args, implicit=not args.quick)
    began = time.perf_counter()
    few = [name for name in bench.modules if name != IMPLICIT]
    crops = list(dubai(args.data, "78", side=SIDE, most=1 if args.quick else 2))[:: 6 if args.quick else 1]
    coarse = list(dubai(args.data, "78", side=TIMES * SIDE, most=1))[:: 9 if args.quick else 1]
    probe = train_probe(bench, args.data, 2 if args.quick else 6)
    rows: Table = defaultdict(dict)
    for part in (
        cost(bench, 2 if args.quick else 5),
        with_ratios(quality(bench, crops, probe, few)),
        with_ratios(shrunk(bench, coarse, few)),
        words(bench, args.data, *((SIDE, 6) if args.quick else (3 * SIDE // 2, 18))),
        {} if args.quick else implicit(bench, crops[:: len(crops) // FITS], coarse[:1], probe),
    ):
        for name, row in part.items():
            rows[name] |= row
    print(f"{len(crops)} crops enlarged, {len(coarse)} shrunk", flush=True)
    show(rows)
    if args.picture:
        picture(bench, args)
    print(f"{time.perf_counter() - began:.0f} s in all")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
