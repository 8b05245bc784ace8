"""An answer far behind in a long document: found with chunks, not with truncate, and what that costs.

    .venv/bin/python benchmarks/long_texts.py                    # 12 queries of SciFact, 8 documents each
    .venv/bin/python benchmarks/long_texts.py --queries 40 --window 20 --at 4000

For each query BM25 finds abstracts, the judged ones among them. Each becomes a long document: unrelated abstracts up to
token 2,000, then itself, then one more. So the first 512 tokens of these documents say nothing about the query. The
recovered L12 model scores all of them in a sidecar process, in the ways below; *abstracts alone* is what it makes of
them without anything around. Pairs and tokens are what a way reads; rows that read chunks of earlier rows again take
them from the cache, so that their ms say what is left.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import ir_measures
from ir_measures import Success, nDCG
from peers.texts import Bm25
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tokenizers import Tokenizer

from rescorer.config import LongTexts
from rescorer.domain import Candidate, ScoreRequest
from rescorer.scorers import wire
from rescorer_lab import collections, models, sidecar
from rescorer_lab.collections import Collection
from rescorer_proto.v1 import rescorer_pb2_grpc

TITLE_TOKENS = 32
WAYS: dict[str, LongTexts | None] = {
    "abstracts alone": None,
    "truncate": None,
    "chunks": LongTexts(),
    "chunks, mean of the best 3": LongTexts(top=3),
    "chunks, at most 3": LongTexts(most_chunks=3),
}
say = Console(width=110).print


@dataclass(frozen=True)
class Long:
    """One candidate: its id, what stands before its abstract, the abstract, what stands behind it."""

    id: str
    before: str
    own: str
    behind: str

    def candidate(self, is_alone: bool) -> Candidate:
        """Under a title that says nothing, with all of its text or with its abstract alone."""
        body = self.own if is_alone else " ".join((self.before, self.own, self.behind))
        return Candidate(self.id, (("title", "Collected abstracts"), ("body", body)), (TITLE_TOKENS, 0))


@dataclass
class Row:
    """What one way to read made of all queries."""

    run: dict[str, dict[str, float]] = field(default_factory=dict)
    pairs: int = 0
    tokens: int = 0
    truncated: int = 0
    most: int = 0
    ms: float = 0.0


class Maker:
    """Makes long documents out of a collection's abstracts."""

    def __init__(self, collection: Collection, tokenizer: Tokenizer, at_tokens: int) -> None:
        self._documents = {document.id: document for document in collection.documents}
        self._collection = collection
        self._tokenizer = tokenizer
        self._at_tokens = at_tokens
        self._bm25 = Bm25([f"{document.title} {document.body}" for document in collection.documents])

    def candidates(self, query: str, count: int) -> list[Long]:
        """``count`` documents for a query, in an order that says nothing."""
        listed = [
            self._collection.documents[place].id for place in self._bm25.top(self._collection.queries[query], 100)
        ]
        judged = [name for name in self._collection.qrels[query] if name in self._documents]
        others = [name for name in listed if name not in judged]
        chance = random.Random(query)
        chosen = [*judged[:count], *others[: count - len(judged)]]
        chance.shuffle(chosen)
        unrelated = sorted(self._documents.keys() - {*listed, *judged})
        return [self._long(name, unrelated, chance) for name in chosen]

    def _long(self, name: str, unrelated: Sequence[str], chance: random.Random) -> Long:
        before = list(self._filling(unrelated, chance))
        own, behind = self._documents[name], self._documents[chance.choice(unrelated)]
        return Long(name, " ".join(before), f"{own.title} {own.body}", behind.body)

    def _filling(self, unrelated: Sequence[str], chance: random.Random) -> Iterator[str]:
        tokens = 0
        while tokens < self._at_tokens:
            text = self._documents[chance.choice(unrelated)].body
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
            if tokens + len(encoding) > self._at_tokens:
                text = text[: encoding.offsets[self._at_tokens - tokens - 1][1]]
            tokens += len(encoding)
            yield text


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=12)
    parser.add_argument("--window", type=int, default=8, help="documents of each query")
    parser.add_argument("--at", type=int, default=2000, help="token at which the abstract begins")
    parser.add_argument("--out", default="long_texts.json")
    options = parser.parse_args()
    folder = models.fetch(models.RECOVERED, say)
    collection = collections.scifact(say)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    maker = Maker(collection, tokenizer, options.at)
    server = sidecar.start(["--model", str(folder)], Path(options.out).with_suffix(".log"))
    channel = grpc.insecure_channel(server.address)
    stub = rescorer_pb2_grpc.RescorerStub(channel)
    rows = {name: Row() for name in WAYS}
    try:
        for query in track(collection.sample(options.queries), description="queries"):
            candidates = maker.candidates(query, options.window)
            for name, row in rows.items():
                _measure(stub, query, collection.queries[query], candidates, (name, row))
    finally:
        channel.close()
        server.stop()
    report = _told(rows, collection, options)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _measure(
    stub: rescorer_pb2_grpc.RescorerStub, query: str, text: str, candidates: Sequence[Long], way: tuple[str, Row]
) -> None:
    name, row = way
    is_alone = name == "abstracts alone"
    asked = ScoreRequest(
        query=text,
        candidates=[candidate.candidate(is_alone) for candidate in candidates],
        long_texts=WAYS[name],
    )
    begun_s = time.perf_counter()
    results = [scored for part in wire.score_parts(asked) for scored in stub.Score(part.message).results]
    row.ms += 1000 * (time.perf_counter() - begun_s)
    row.run[query] = {scored.id: scored.logit for scored in results}
    row.pairs += sum(scored.chunk_count for scored in results)
    row.tokens += sum(scored.token_count for scored in results)
    row.truncated += sum(scored.truncated for scored in results)
    row.most = max(row.most, *(scored.chunk_count for scored in results))


def _told(rows: dict[str, Row], collection: Collection, options: argparse.Namespace) -> dict[str, Any]:
    queries = next(iter(rows.values())).run
    qrels = {query: dict(collection.qrels[query]) for query in queries}
    title = f"{len(queries)} queries, {options.window} documents each, the abstract at token {options.at:,}"
    table = Table("", "success@1", "nDCG@10", "truncated", "most chunks", "pairs", "tokens", "ms a query", title=title)
    report: dict[str, Any] = {"queries": len(queries), "window": options.window, "at": options.at, "rows": {}}
    for name, row in rows.items():
        found = ir_measures.calc_aggregate([Success @ 1, nDCG @ 10], qrels, row.run)
        ms = row.ms / len(queries)
        report["rows"][name] = {
            "success@1": float(found[Success @ 1]),
            "ndcg@10": float(found[nDCG @ 10]),
            "truncated": row.truncated,
            "most_chunks": row.most,
            "pairs": row.pairs,
            "tokens": row.tokens,
            "ms_a_query": ms,
        }
        quality = (f"{found[Success @ 1]:.3f}", f"{found[nDCG @ 10]:.3f}")
        counts = (row.truncated, row.most, row.pairs, row.tokens)
        table.add_row(name, *quality, *(f"{count:,}" for count in counts), f"{ms:,.0f}")
    say(table)
    return report


if __name__ == "__main__":
    main()
