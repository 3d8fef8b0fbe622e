"""Speed of the exact search against a full sort, and what words find among labelled images.

    python benchmarks/bench_search.py [--rows 1000000] [--dims 256 512] [--json FILE]
    python benchmarks/bench_search.py --queries 1 8 64 [--rows 1000000] [--json FILE]
    python benchmarks/bench_search.py --labels DATA [--records FILE] [--index FOLDER] [--model NAME] [--json FILE]
    python benchmarks/bench_search.py --labels DATA --examples 3 [...]

Speed: random unit vectors in memory, one thread, the ten best of a query; `random` points everywhere, `cone` about 45
degrees around one direction, as CLIP's embeddings do. `ms` is the fastest of the repetitions (wall time; `cpu_ms` the
same by processor time), `reference_ms` a product of all float32 vectors and a full sort in the same run, `ratio` the
one by the other. `read_ms` is what numpy takes to read the same bytes, `looked_at` how many vectors the second pass
took. Both ways must name the same ten rows.

With `--queries`, so many random queries are asked one by one and at once (`Vectors.nearest_each`): milliseconds of one
query either way, and of NumPy's product of all float32 vectors and all queries alone, without any sorting
(`ms_product`; `ratio` of the searches at once to it, in processor time). Both must find the same.

Labels: DATA is a folder of folders, one a class, or @FILE with images of such folders, one a line; each class's name is
searched for, and the share of its images among the first ten is printed (P@10). With `--records`, a JSON such as
`{"images": [{"filename": "Airport/airport_1.jpg", "split": "test"}, ...]}`, only the images of the test split are
indexed. The index is made in FOLDER, or a temporary one.

With `--examples N`, N images drawn of a class (ten draws) are searched for instead: one of them, their mean, the
nearest of them, with and without the words; then the N best wrong results of each search are given as examples to be
unlike, at several weights. Examples are no results; compare such a row with `without_them`, the same search with only
those wrong results left out. Means over classes and draws.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

import earthwords
from earthwords.archive.nearest import Rows, Vectors
from earthwords.archive.query import Query
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
        "looked_at": len(vectors._candidates([query], TOP, None)[0]),
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


def together(rows: int, dim: int, counts: list[int], times: int) -> list[dict[str, Any]]:
    """Milliseconds a query, one by one and at once."""
    vectors = made("cone", rows, dim)
    queries = np.random.default_rng(5).standard_normal((max(counts), dim)).astype(np.float32)
    queries += 3 * vectors.values[:: max(1, rows // max(counts))][: len(queries)].astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    full = vectors.values.astype(np.float32)
    vectors.nearest(queries[0], TOP)  # the loop is compiled
    found = []
    for count in counts:
        some = queries[:count]
        singly, at_once = [vectors.nearest(query, TOP) for query in some], vectors.nearest_each(some, TOP)
        assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(singly, at_once, strict=True))
        alone, _ = fastest(lambda some=some: [vectors.nearest(query, TOP) for query in some], times)
        shared, shared_cpu = fastest(lambda some=some: vectors.nearest_each(some, TOP), times)
        product, product_cpu = fastest(lambda some=some: full @ some.T, max(2, times // 4))
        found.append({"rows": rows, "dim": dim, "queries": count, "ms_alone": round(alone / count, 2),
                      "ms_together": round(shared / count, 2), "ms_product": round(product / count, 2),
                      "ratio": round(shared_cpu / product_cpu, 2)})  # fmt: skip
    return found


def by_examples(data: str, folder: Path, model: str | None, count: int, *, draws: int = 10) -> list[dict[str, Any]]:
    """P@10 of searches by examples, with and without examples to be unlike."""
    earthwords.index(data, folder, model=model, on_error="skip")
    sources = pq.read_table(folder / "tiles.parquet", columns=["source"]).column("source").to_pylist()
    names = np.array([Path(source).parent.name for source in sources])
    hits: dict[str, list[float]] = {}
    with earthwords.Index.open(folder) as index:
        stored = np.asarray(np.load(folder / "vectors.npy"), np.float32)
        words = {name: index.embedder.words(NAMES.get(name, name.lower())) for name in np.unique(names)}
    none = stored[:0]

    def ranked(query: Query, text: NDArray[np.float32] | None, like: Rows, unlike: Rows) -> Rows:
        vectors = query.vectors(text, stored[like], stored[unlike] if len(unlike) else none)
        return np.argsort(-(vectors @ stored.T).max(axis=0), kind="stable")

    for name, text in words.items():
        members = np.flatnonzero(names == name)
        for draw in range(draws):
            like = np.random.default_rng([draw, len(members)]).choice(members, count, replace=False)
            for way, query, given, chosen in (
                ("words", Query(words="-"), text, like[:0]),
                ("one example", Query(like=("-",)), None, like[:1]),
                ("mean", Query(like=("-",)), None, like),
                ("nearest", Query(like=("-",), combine="nearest"), None, like),
                ("words and mean", Query(words="-", like=("-",)), text, like),
            ):
                order = ranked(query, given, chosen, like[:0])
                order = order[~np.isin(order, like)]
                hits.setdefault(way, []).append(np.mean(names[order[:TOP]] == name))
                wrong = order[names[order] != name][:count]
                kept = order[~np.isin(order, wrong)]
                hits.setdefault(f"{way}, without_them", []).append(np.mean(names[kept[:TOP]] == name))
                for weight in (0.1, 0.2, 0.35, 0.5, 0.75, 1.0):
                    order = ranked(replace(query, unlike_weight=weight), given, chosen, wrong)
                    order = order[~np.isin(order, [*like, *wrong])]
                    right = np.mean(names[order[:TOP]] == name)
                    hits.setdefault(f"{way}, unlike {weight:g}", []).append(right)
    return [{"search": way, "p_at_10": round(float(np.mean(found)), 4)} for way, found in hits.items()]


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
    parser.add_argument("--queries", type=int, nargs="+")
    parser.add_argument("--labels", metavar="DATA")
    parser.add_argument("--examples", type=int, metavar="N")
    parser.add_argument("--records", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    if args.labels:
        with tempfile.TemporaryDirectory() as scratch:
            data = test_split(Path(args.labels), args.records, Path(scratch)) if args.records else args.labels
            where = (data, args.index or Path(scratch) / "index", args.model)
            rows = by_examples(*where, args.examples) if args.examples else labels(*where)
        for row in rows:
            print(json.dumps(row))
    elif args.queries:
        for dim in args.dims:
            for row in together(args.rows, dim, args.queries, args.times):
                rows.append(row)
                print(json.dumps(row), flush=True)
    else:
        for dim in args.dims:
            for kind in ("random", "cone"):
                rows.append(speed(kind, args.rows, dim, args.times))
                print(json.dumps(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
