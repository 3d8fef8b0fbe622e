"""`evaluate referring`: a referring model on lists of described images, with pictures of the best and the worst."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from earthwords.errors import UsageError
from earthwords.jobs.progress import Console, going_on

if TYPE_CHECKING:
    from earthwords.data.annotations.instances import Expression
    from earthwords.data.manifests.expressions import Described, ReferringManifest
    from earthwords.evaluation.benchmark.referring_protocol import Measured, Predict
    from earthwords.evaluation.results import ResultEntry

TASK = "referring"
SHOWN = 5
"""Samples of the best, the median and the worst in the picture."""
SIDE = 220
MEANT, FOUND, BOTH = (255, 200, 0), (220, 40, 40), (60, 200, 80)
"""Colours of pixels that are meant and not found, found and not meant, and both."""


def referring(
    lists: Sequence[str],
    out: Path,
    console: Console,
    *,
    preset: str,
    model: str | None,
    batch: int,
    device: str,
    offline: bool,
    resume: bool,
    strict: bool,
) -> tuple[tuple[ResultEntry, ...], int, tuple[str, ...]]:
    """Figures of every list, written down as they come, how many were found done, and what is known of their worth.

    Raises:
        UsageError: no list, no trained model, or `strict` and a sentence has words that it never learned.
    """
    from earthwords import __version__
    from earthwords.data.manifests.expressions import read_referring
    from earthwords.evaluation.benchmark.referring_protocol import measure, pointing
    from earthwords.evaluation.report.page import PAGE
    from earthwords.evaluation.report.write import write_results
    from earthwords.evaluation.results import ResultEntry, read_results
    from earthwords.inference.cautions import enforce
    from earthwords.inference.refer.referrer import lexicon_of
    from earthwords.models.device import choose_device
    from earthwords.models.refseg.load import load_refseg
    from earthwords.models.weights.fingerprint import weights_hash
    from earthwords.text.known_words import word_cautions

    if not lists:
        raise UsageError("Name the lists of described images: earthwords evaluate referring LIST.jsonl --out DIR.")
    manifests = {name: read_referring(name) for name in lists}
    with console.download(f"loading {model or preset}"):
        kind = None if model is None else preset
        loaded = load_refseg(model or preset, preset=kind, offline=offline, device=choose_device(device))
    sentences = dict.fromkeys(e.text for m in manifests.values() for line in m.lines for e in line.expressions)
    notes = word_cautions(sentences, lexicon_of(loaded.model), Path(model or preset).name)
    console.notes(notes)
    enforce(notes, strict=strict)
    weights = weights_hash(loaded.model.state_dict(), loaded.preset)
    kept = {entry.key: entry for entry in read_results(out)}
    done: list[ResultEntry] = []
    reused = 0

    def progress() -> str:
        how = f"{len(done)} of {len(manifests)} lists are done"
        return f"The same command goes on from here: {how}." if resume and done else ""

    with going_on(progress):
        for name, manifest in manifests.items():
            settings = {"list": manifest.digest, "weights": weights, "earthwords": __version__, "empty masks": "hit"}
            entry = ResultEntry(
                task=TASK, dataset=Path(name).stem, model=model or preset, settings=settings, classes=(), figures={},
                seconds=0.0,
            )  # fmt: skip
            before = kept.get(entry.key) if resume else None
            if before is not None and before.settings == settings:
                done.append(before)
                reused += 1
                continue
            began, predict = time.perf_counter(), pointing(loaded.model, batch=batch)
            with console.bar(f"pointing, {entry.dataset}", len(manifest.lines), unit="images") as tick:
                measured = measure(predict, manifest, tick=tick)
            figures = json.loads(json.dumps({"images": f"{len(manifest.lines):,}", **measured.as_json()}))
            entry = ResultEntry(**{**vars(entry), "figures": figures, "seconds": round(time.perf_counter() - began, 3)})
            write_examples(out / f"{entry.stem}.examples.png", measured, manifest, predict, heading=entry.dataset)
            kept[entry.key] = entry
            done.append(entry)
            write_results(out, list(kept.values()), version=__version__)
    if not (out / PAGE).exists():
        write_results(out, list(kept.values()), version=__version__)
    return tuple(done), reused, notes


def write_examples(
    target: Path, measured: Measured, manifest: ReferringManifest, predict: Predict, *, heading: str
) -> None:
    """A sheet of samples: what is meant and found in green, meant only in yellow, found only in red."""
    from earthwords.evaluation.benchmark.referring_protocol import examples
    from earthwords.files.atomic import atomic_path
    from earthwords.files.output_tags import save_png
    from earthwords.viz.contact_sheet import Thumbnail, contact_sheet

    prints = [
        Thumbnail(image=_drawn(described, expression, predict), title=f"{which}, IoU {iou:.2f}", name=expression.text)
        for which, described, expression, iou in examples(measured, manifest, SHOWN)
    ]
    legend = "green: meant and found, yellow: meant only, red: found only"
    with atomic_path(target, overwrite=True) as path:
        save_png(contact_sheet(prints, side=SIDE, heading=f"{heading}: {legend}"), path, kind="examples")


def _drawn(described: Described, expression: Expression, predict: Predict) -> Any:
    """`(row, col, 3)` uint8 of at most `SIDE` pixels a side."""
    from earthwords.evaluation.benchmark.referring_protocol import meant

    image, mask = described.load()
    truth, found = meant(mask, expression), predict(image, [expression])[0]
    tinted = image.astype(np.float32)
    for where, colour in ((truth & ~found, MEANT), (found & ~truth, FOUND), (truth & found, BOTH)):
        tinted[where] = 0.5 * tinted[where] + 0.5 * np.array(colour, np.float32)
    picture = Image.fromarray(tinted.astype(np.uint8))
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)
