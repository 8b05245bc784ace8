"""What rescoring does on real judged collections: docs/results.md, made by the commands that a user has.

    python benchmarks/results.py [--collection scifact --collection hotpotqa --collection fiqa] [--topics 100]

For each collection: documents embedded and indexed, `rescorer tune` on half of the topics with its choice reported on
the other half, `rescorer evaluate` of BM25 and hybrid with windows of 20, 50 and 100 (with `--answers` where answers
are known), and each of these systems again, one search at a time, behind a sidecar that has seen none of the pairs,
for the times. Everything resumes where it was; figures are kept in docs/results.measured.json, and the page is made of
them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import results_page
from results_page import CHOICES_WINDOW, CONTEXT_HITS, FAR, FIRST_STAGES, KEPT, WINDOWS, rescored

from rescorer import templates
from rescorer.opensearch import OpenSearch
from rescorer_lab import cli, collections, downloads, engines, models, report, sidecar
from rescorer_lab.collections import Collection
from rescorer_lab.demo import index

MODEL = "ms-marco-MiniLM-L-12-v2-recovered"
MAX_TOKENS = 256
TIMED_TOPICS = 10
CHOICES: dict[str, Any] = {
    "novelty 0.1": {"novelty": {"weight": 0.1}},
    "novelty 0.3": {"novelty": {"weight": 0.3}},
    "duplicates": {"duplicates": {"threshold": 0.8}},
    "brevity 0.1": {"brevity": {"weight": 0.1, "words": 100}},
}
"""What ``select`` may wish, each over the same rescored list, to see its price."""

PROFILE: dict[str, Any] = {
    "document_fields": ["title", "body"],
    "window_size": 100,
    "max_tokens": MAX_TOKENS,
    "hybrid": {"text_fields": ["title", "body"], "vector_field": "embedding", "k": 100, "fusion": "min_max"},
}
OF: dict[str, Callable[..., Collection]] = {
    "scifact": collections.scifact,
    "hotpotqa": collections.hotpotqa,
    "fiqa": collections.fiqa,
}
DEFAULT = tuple(OF)
SYSTEMS = [*FIRST_STAGES, *(f"{one}+rescore:window_size={size}" for one in FIRST_STAGES for size in WINDOWS)]


@contextmanager
def stack() -> Iterator[tuple[str, Callable[[], str]]]:
    """A node's address, and what starts a fresh sidecar and returns its address; both end here."""
    node = engines.up(name="results", say=print)
    options = ["--model", str(models.fetch(MODEL, print)), "--embedder", str(models.fetch(models.EMBEDDER, print))]
    running: list[sidecar.Sidecar] = []

    def fresh() -> str:
        while running:
            running.pop().stop()
        running.append(sidecar.start(options, downloads.cache_folder() / "logs" / "sidecar-results.log"))
        return running[0].address

    try:
        yield node.url, fresh
    finally:
        for one in running:
            one.stop()
        engines.down("results", say=print)


def indexed(url: str, address: str, name: str) -> Collection:
    """The collection in an index of its own, with the profile of these runs."""
    collection = OF[name](print)
    with OpenSearch(hosts=[url], rescorer=address, timeout=120) as client:
        templates.apply(client, templates.shipped())
        content = index.Content(
            index=f"rescorer-results-{name}",
            documents=collection.documents,
            documents_digest=collection.digest,
            embedder=models.release(models.EMBEDDER).checks["model.onnx"],
        )
        missing = index.prepare(client, content)
        print(f"{name}: {len(missing)} of {len(collection.documents)} documents to index", flush=True)
        index.fill(client, content.index, missing, lambda count: None)
        meta = client.indices.get_mapping(index=content.index)[content.index]["mappings"]["_meta"]
        client.indices.put_mapping(index=content.index, body={"_meta": meta | {"rescorer": PROFILE}})
    return collection


def _of_folder(path: Path, name: str, _: Callable[[str], None]) -> Collection:
    return collections.read(path, name, "its publishers'")


def measured(url: str, fresh: Callable[[], str], name: str, topics: int, folder: Path) -> dict[str, Any]:
    """All runs of one collection, as figures."""
    address = fresh()
    collection = indexed(url, address, name)
    files = folder / "judged"
    _write(collection, files)
    asked = [f"rescorer-results-{name}", "--collection", str(files), "--engine-url", url, "--sidecar", address]
    tuned = _run("tune", [*asked, "--sample", str(topics), "--out", str(folder / "tune")])
    named = [word for system in SYSTEMS for word in ("--system", system)]
    named += _answers(collection, folder)
    quality = _run("evaluate", [*asked, *named, "--sample", str(topics), "--out", str(folder / "quality")])
    asked[-1] = fresh()
    chosen = _choices(asked, topics, folder)
    times = {}
    for number, system in enumerate(SYSTEMS):  # one at a time, each with a sidecar that has seen none of these pairs
        out = folder / f"times-{number}"
        alone = ["--system", system, "--sample", str(TIMED_TOPICS), "--lanes", "1", "--out", str(out)]
        asked[-1] = fresh()
        times[system] = _run("evaluate", [*asked, *alone])["systems"][system]["latency_ms"]["total_ms"]
    kept = ("chosen", "reports", "curve", "gates", "pairs_scored", "settings_derived", "derived_s", "topics")
    return {
        "documents": len(collection.documents),
        "topics": quality["topics"],
        "systems": {
            system: {key: of[key] for key in ("measures", "interval", "window_recall", "ceiling", "topics_by_kind")}
            for system, of in quality["systems"].items()
        },
        "differences": quality["differences"],
        "slices": quality["slices"],
        "moved": [_moved(quality["per_topic"], base) for base in FIRST_STAGES],
        "support": quality["support"] and {key: quality["support"][key] for key in ("systems", "differences")},
        "choices": chosen,
        "total_ms": times,
        "tune": {key: tuned[key] for key in kept},
        "machine": report.machine(),
        "model": MODEL,
        "max_tokens": MAX_TOKENS,
    }


def _moved(per_topic: dict[str, dict[str, Any]], base: str) -> dict[str, Any]:
    """The topics whose nDCG@10 the largest window changes by more than 0.1, and how much of their pages is judged."""
    before, after = per_topic[base], per_topic[rescored(base)]
    change = {topic: after[topic]["nDCG@10"] - before[topic]["nDCG@10"] for topic in before}
    lost = [topic for topic, by in change.items() if by < -FAR]
    judged = [fmean(of[topic]["Judged@10"] for topic in lost) if lost else None for of in (before, after)]
    return {"base": base, "lost": len(lost), "won": sum(by > FAR for by in change.values()), "judged": judged}


def _answers(collection: Collection, folder: Path) -> list[str]:
    """What has the evaluation judge contexts, where right answers are known."""
    if not collection.answers:
        return []
    path = folder / "answers.jsonl"
    lines = (json.dumps({"id": query, "answer": said}) for query, said in collection.answers.items())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = models.fetch(MODEL, print) / "tokenizer.json"
    return ["--answers", str(path), "--context-hits", str(CONTEXT_HITS), "--tokenizer", str(tokenizer)]


def _choices(asked: list[str], topics: int, folder: Path) -> list[dict[str, Any]]:
    """What each wish of ``select`` does to the rescored list."""
    plain = f"{FIRST_STAGES[-1]}+rescore:window_size={CHOICES_WINDOW}"
    wished = [f"{name}={plain},select={json.dumps(wish)}" for name, wish in CHOICES.items()]
    named = [word for system in (f"none={plain}", *wished) for word in ("--system", system)]
    found = _run("evaluate", [*asked, *named, "--sample", str(topics), "--out", str(folder / "choices")])
    return [one for one in found["differences"] if one["before"] == "none"]


def _run(command: str, words: list[str]) -> dict[str, Any]:
    print(f"$ rescorer {command} {shlex.join(words)}", flush=True)
    assert cli.run([command, *words]) == 0
    found: dict[str, Any] = json.loads((Path(words[words.index("--out") + 1]) / "report.json").read_text())
    return found


def _write(collection: Collection, folder: Path) -> None:
    """The judged topics as a folder that the commands read."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as queries:
        for topic in collection.qrels:
            queries.write(json.dumps({"_id": topic, "text": collection.queries[topic]}) + "\n")
    with (folder / "qrels.jsonl").open("w", encoding="utf-8") as qrels:
        for topic, of in collection.qrels.items():
            for document, grade in of.items():
                qrels.write(json.dumps({"query_id": topic, "doc_id": document, "grade": grade}) + "\n")


def main() -> None:
    """Measure what is asked for, keep it, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", action="append", choices=DEFAULT)
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=PATH", help="a BEIR folder of your own")
    parser.add_argument("--topics", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "rescorer-results")
    options = parser.parse_args()
    for name, _, path in (said.partition("=") for said in options.folder):
        OF[name] = partial(_of_folder, Path(path), name)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    with stack() as (url, fresh):
        for name in [*(options.collection or DEFAULT), *(said.partition("=")[0] for said in options.folder)]:
            kept[name] = measured(url, fresh, name, options.topics, options.work / name)
            report.write(KEPT, kept)
    results_page.main()


if __name__ == "__main__":
    main()
