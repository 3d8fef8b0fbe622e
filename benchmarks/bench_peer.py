"""`earthwords segment` beside 60 lines of transformers and rasterio (`peer.py`): same weights, windows and words.

    python benchmarks/bench_peer.py [--sides 1024 2048] [--models tiny small b16] [--runs 2] [--json FILE]

Models: `tiny`, embedded; `small`, a CLIP with random weights, 256 wide, 4 blocks, patches of 16; `b16`, ViT-B/16 with
random weights and a text tower of one block. Commands in turns, each a process of its own of one thread, start-up and
files included: CPU-seconds (the least of the runs), wall seconds beside them, `ratio` earthwords over peer. With two or
more sides also CPU-seconds a Mpx without the start-up, from the largest and the smallest side. The peer writes labels;
`earthwords` labels too (DST `.tif`), in `SegEarth-OV`'s attention, on blocks, with overviews and class names.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

WORDS = ("tree", "road", "roof", "water", "bare land")
SIZES = {
    "small": ({"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}, 256),
    "b16": ({}, 512),
}


def write_model(name: str, folder: Path) -> str:
    """A folder in transformers' layout with seeded random weights; `tiny` stays a name."""
    if name == "tiny":
        return name
    import torch
    from transformers import CLIPConfig, CLIPModel

    from earthwords.text.tokenizer import ClipTokenizer

    vision, dim = SIZES[name]
    torch.manual_seed(0)
    text = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1, "num_attention_heads": 4}
    text |= {"vocab_size": 640, "bos_token_id": 638, "eos_token_id": 639}
    config = CLIPConfig(
        vision_config={**vision, "patch_size": 16, "image_size": 224}, text_config=text, projection_dim=dim
    )
    CLIPModel(config).save_pretrained(folder / name)
    ClipTokenizer.train(list(WORDS), vocab_size=640, context=77).save(folder / name)
    return str(folder / name)


def write_scene(path: Path, side: int) -> None:
    """Blocks of random colours."""
    blocks = np.random.default_rng(1).integers(1, 255, (3, side // 16, side // 16), np.uint8)
    how = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32640", "width": side, "height": side}
    with rasterio.open(path, "w", transform=from_origin(3e5, 2.8e6, 0.5, 0.5), tiled=True, **how) as file:
        file.write(np.kron(blocks, np.ones((1, 16, 16), np.uint8)))


def commands(model: str, scene: Path, folder: Path) -> dict[str, list[str]]:
    """The peer's and ours."""
    peer = [str(Path(__file__).parent / "peer.py"), model, str(scene), str(folder / "peer.tif"), *WORDS]
    own = ["-m", "earthwords", "segment", str(scene), str(folder / "own.tif"), "--offline", "--quiet", "--overwrite"]
    own += ["--batch-size", "1", *(part for word in WORDS for part in ("-t", word))]
    if model != "tiny":
        own += ["--preset", "segearth-ov", "--model", model, "--upsampler", "none"]
    return {"peer": peer, "own": own}


def once(argv: list[str]) -> tuple[float, float]:
    """Processor and wall seconds of one process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, env=env)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def measured(name: str, sides: list[int], runs: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each side, and one of what a Mpx takes."""
    model, rows = write_model(name, folder), []
    for side in sides:
        write_scene(folder / f"{side}.tif", side)
        both = commands(model, folder / f"{side}.tif", folder)
        if not rows:
            once(both["own"])  # compiled, words remembered
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in both}
        for turn in range(runs):
            for way in list(both)[:: 1 if turn % 2 else -1]:
                times[way].append(once(both[way]))
        row: dict[str, Any] = {"model": name, "mpx": side**2 / 1e6}
        for way, found in times.items():
            row |= {f"{way}_cpu": min(cpu for cpu, _ in found), f"{way}_wall": min(wall for _, wall in found)}
        rows.append(row | {"ratio": row["own_cpu"] / row["peer_cpu"]})
    if len(rows) > 1:
        more = rows[-1]["mpx"] - rows[0]["mpx"]
        slope = {f"{way}_cpu": (rows[-1][f"{way}_cpu"] - rows[0][f"{way}_cpu"]) / more for way in ("peer", "own")}
        rows.append({"model": name, "mpx": "each", **slope, "ratio": slope["own_cpu"] / slope["peer_cpu"]})
    return rows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--models", nargs="+", choices=["tiny", *SIZES], default=["tiny", *SIZES])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            for row in measured(name, sorted(given.sides), given.runs, Path(folder)):
                rows.append(row)
                parts = (f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
                print("  ".join(parts), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
