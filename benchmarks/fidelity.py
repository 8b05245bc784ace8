"""What less precision costs: nDCG@10 and correlation of bf16, int8 or fp16 against fp32, on judged test queries.

    .venv/bin/python benchmarks/fidelity.py                      # 300 queries of SciFact, 200 of FiQA's test split
    .venv/bin/python benchmarks/fidelity.py --queries 40 --window 20
    python benchmarks/fidelity.py --ours native:fp32,torch:fp16,torch:bf16     # on a GPU, where torch takes it

BM25 (k1 0.9, b 0.4) finds the window; the model alone ranks it. No setting was chosen on these judgments. The weights
are recovered from an INT8 release, so they lie on an 8-bit grid already: another checkpoint's int8 may lose more.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ir_measures
from ir_measures import nDCG
from peers.callers import correlation
from peers.texts import Bm25
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rescorer_lab import collections, models
from rescorer_lab.collections import Collection
from rescorer_sidecar.backends import Backend
from rescorer_sidecar.backends.native import NativeBackend
from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.tokenise import Tokeniser

say = Console(width=110).print


def main() -> None:
    """Measure both collections, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=0, help="of each collection; 0 for 300 and 200")
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--limit", type=int, default=128, help="tokens of a pair")
    parser.add_argument("--out", default="fidelity.json")
    parser.add_argument(
        "--ours", default="native:fp32,native:bf16,native:int8", help="the first is what others are held to"
    )
    options = parser.parse_args()
    folder = models.fetch(models.RECOVERED, say)
    backends = {name: _backend(folder, *name.split(":")) for name in options.ours.split(",")}
    tokeniser = Tokeniser(folder)
    report: dict[str, Any] = {}
    for collection, count in ((collections.scifact(say), 300), (collections.fiqa(say), 200)):
        queries = collection.sample(options.queries or count)
        report[collection.name] = _measured(collection, queries, backends, tokeniser, options)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _backend(folder: Path, runtime: str, precision: str) -> Backend:
    if runtime == "native":
        return NativeBackend(folder, None, precision=precision)
    from rescorer_sidecar.backends.packed_torch import PackedTorchBackend

    return PackedTorchBackend(folder, None, device="auto", precision=precision)


def _measured(
    collection: Collection,
    queries: Sequence[str],
    backends: dict[str, Backend],
    tokeniser: Tokeniser,
    options: argparse.Namespace,
) -> dict[str, Any]:
    documents, exact = collection.documents, next(iter(backends))
    bm25 = Bm25([f"{document.title} {document.body}" for document in documents])
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("BM25", *backends)}
    logits: dict[str, list[float]] = {name: [] for name in backends}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for query in track(queries, description=collection.name):
            found = [documents[place] for place in bm25.top(collection.queries[query], options.window)]
            runs["BM25"][query] = {document.id: float(-rank) for rank, document in enumerate(found)}
            texts = [f"{document.title} {document.body}".strip() for document in found]
            rows = tokeniser.pairs(collection.queries[query], texts, options.limit)
            for name, backend in backends.items():
                scores = _scored(backend, rows, threads)
                logits[name] += scores
                pairs = zip(found, scores, strict=True)
                runs[name][query] = {document.id: score for document, score in pairs}
    qrels = {query: dict(collection.qrels[query]) for query in queries}
    table = Table(
        "", "nDCG@10", f"Pearson to {exact}", title=f"{collection.name}: {len(queries)} queries, {options.window}"
    )
    rows_of: dict[str, Any] = {}
    for name, run in runs.items():
        gain = float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])
        pearson = correlation(logits[name], logits[exact]) if name in logits else None
        rows_of[name] = {"ndcg@10": gain, "pearson": pearson}
        table.add_row(name, f"{gain:.4f}", "" if pearson is None else f"{pearson:.6f}")
    say(table)
    return {"queries": len(queries), "window": options.window, "limit": options.limit, "rows": rows_of}


def _scored(backend: Backend, rows: Sequence[Tokens], threads: ThreadPoolExecutor) -> list[float]:
    workers = len(os.sched_getaffinity(0))
    parts = [list(rows[start::workers]) for start in range(workers)]
    scores = [0.0] * len(rows)
    for start, found in enumerate(threads.map(lambda part: backend.forward(part) if part else [], parts)):
        for place, score in enumerate(found):
            scores[start + place * workers] = float(score)
    return scores


if __name__ == "__main__":
    main()
