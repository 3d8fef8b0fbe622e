"""Speed of the exact search against a full sort, and what words find among labelled images.

    python benchmarks/bench_search.py [--rows 1000000] [--dims 256 512] [--json FILE]
    python benchmarks/bench_search.py --labels DATA [--records FILE] [--index FOLDER] [--model NAME] [--json FILE]

Speed: random unit vectors in memory, one thread, the ten best of a query; `random` points everywhere, `cone` about 45
degrees around one direction, as CLIP's embeddings do. `ms` is the fastest of the repetitions (wall time; `cpu_ms` the
same by processor time), `reference_ms` a product of all float32 vectors and a full sort in the same run, `ratio` the
one by the other. `read_ms` is what numpy takes to read the same bytes, `looked_at` how many vectors the second pass
took. Both ways must name the same ten rows.

Labels: DATA is a folder of folders, one a class, or @FILE with images of such folders, one a line; each class's name is
searched for, and the share of its images among the first ten is printed (P@10). With `--records`, a JSON such as
`{"images": [{"filename": "Airport/airport_1.jpg", "split": "test"}, ...]}`, only the images of the test split are
indexed. The index is made in FOLDER, or a temporary one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

import earthwords
from earthwords.archive.nearest import Vectors
from earthwords.kernels.codes import encode
from heldout import AID, UCM

TOP = 10
NAMES = {**AID, **UCM}
CHUNK = 50_000


def made(kind: str, rows: int, dim: int) -> Vectors:
    """Random unit vectors as they lie in an index."""
    rng = np.random.default_rng(3)
    values = np.empty((rows, dim), np.float16)
    codes, bounds = np.empty((rows, dim), np.int8), np.empty((2, rows), np.float32)
    for start in range(0, rows, CHUNK):
        part = slice(start, min(start + CHUNK, rows))
        drawn = rng.standard_normal((part.stop - start, dim), np.float32)
        if kind == "cone":
            drawn[:, 0] += np.sqrt(dim)
        values[part] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        codes[part], bounds[0, part], bounds[1, part] = encode(values[part])
    return Vectors(values=values, codes=codes, bounds=bounds)


def fastest(call: Callable[[], Any], times: int) -> tuple[float, float]:
    """Wall and processor milliseconds, each the least of some repetitions."""
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return round(1e3 * min(walls), 1), round(1e3 * min(cpus), 1)


def speed(kind: str, rows: int, dim: int, times: int) -> dict[str, Any]:
    """A row of the table."""
    vectors = made(kind, rows, dim)
    query = vectors.values[rows // 3].astype(np.float32)
    query += 0.5 * np.random.default_rng(4).standard_normal(dim).astype(np.float32) / np.float32(np.sqrt(dim))
    query /= np.linalg.norm(query)
    full = vectors.values.astype(np.float32)

    def reference() -> NDArray[np.int64]:
        return np.argsort(-(full @ query), kind="stable")[:TOP]

    found, _ = vectors.nearest(query, TOP)  # the loop is compiled
    assert set(found.tolist()) == set(reference().tolist())
    ms, cpu_ms = fastest(lambda: vectors.nearest(query, TOP), times)
    reference_ms, reference_cpu_ms = fastest(reference, max(2, times // 4))
    read_ms, _ = fastest(lambda: vectors.codes.reshape(-1).view(np.int64).sum(), times)
    return {
        "vectors": kind,
        "rows": rows,
        "dim": dim,
        "ms": ms,
        "cpu_ms": cpu_ms,
        "read_ms": read_ms,
        "reference_ms": reference_ms,
        "reference_cpu_ms": reference_cpu_ms,
        "ratio": round(ms / reference_ms, 3),
        "looked_at": len(vectors._candidates(query, TOP, None)),
    }


def labels(data: str, folder: Path, model: str | None) -> list[dict[str, Any]]:
    """P@10 of every class."""
    report = earthwords.index(data, folder, model=model, on_error="skip")
    sources = pq.read_table(folder / "sources.parquet", columns=["source"]).column("source").to_pylist()
    classes = sorted({Path(source).parent.name for source in sources})
    rows = []
    with earthwords.Index.open(folder) as index:
        for name in classes:
            words = NAMES.get(name, name.lower())
            began = time.perf_counter()
            found = index.search(words, top=TOP)
            hits = [Path(source).parent.name == name for source in found.sources]
            ms = round(1e3 * (time.perf_counter() - began), 1)
            rows.append({"class": name, "words": words, "p_at_10": float(np.mean(hits)), "ms": ms})
    mean = float(np.mean([row["p_at_10"] for row in rows]))
    chance = 1 / len(classes)
    rows.append({"class": "mean", "words": f"{report.tiles} tiles", "p_at_10": mean, "ratio": round(mean / chance, 1)})
    return rows


def test_split(data: Path, records: Path, scratch: Path) -> str:
    """The images of DATA that are in the test split, as a list for `index`."""
    found = [r["filename"] for r in json.loads(records.read_text())["images"] if r["split"] == "test"]
    (scratch / "test.txt").write_text("".join(f"{(data / name).resolve()}\n" for name in found))
    return f"@{scratch / 'test.txt'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--labels", metavar="DATA")
    parser.add_argument("--records", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    if args.labels:
        with tempfile.TemporaryDirectory() as scratch:
            data = test_split(Path(args.labels), args.records, Path(scratch)) if args.records else args.labels
            rows = labels(data, args.index or Path(scratch) / "index", args.model)
        for row in rows:
            print(json.dumps(row))
    else:
        for dim in args.dims:
            for kind in ("random", "cone"):
                rows.append(speed(kind, args.rows, dim, args.times))
                print(json.dumps(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
