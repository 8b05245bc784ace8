"""What rescoring does on real judged collections: docs/results.md, made by the commands that a user has.

    python benchmarks/results.py [--collection scifact --collection hotpotqa --collection fiqa] [--topics 100]

For each collection: documents indexed (embedded, but for FiQA's 57,638), `rescorer tune` on half of the topics with
its choice reported on the other half, `rescorer evaluate` of BM25 and hybrid with windows of 20, 50 and 100, and each
of these systems again, one search at a time, behind a sidecar that has seen none of the pairs, for the times.
Everything resumes where it was; figures are kept in docs/results.measured.json, and the page is made of them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rescorer import templates
from rescorer.opensearch import OpenSearch
from rescorer_lab import cli, collections, downloads, engines, models, report, sidecar
from rescorer_lab.collections import Collection
from rescorer_lab.demo import index

DOCS = Path(__file__).resolve().parent.parent / "docs"
KEPT = DOCS / "results.measured.json"
MODEL = "ms-marco-MiniLM-L-12-v2-recovered"
WINDOWS = (20, 50, 100)
MAX_TOKENS = 256
TIMED_TOPICS = 10
SURE = 0.05
CHOICES: dict[str, Any] = {
    "novelty 0.1": {"novelty": {"weight": 0.1}},
    "novelty 0.3": {"novelty": {"weight": 0.3}},
    "duplicates": {"duplicates": {"threshold": 0.8}},
    "brevity 0.1": {"brevity": {"weight": 0.1, "words": 100}},
}
"""What ``select`` may wish, each over the same rescored list, to see its price."""

CHOICES_WINDOW = 50
BATCH = 500
PROFILE: dict[str, Any] = {"document_fields": ["title", "body"], "window_size": 100, "max_tokens": MAX_TOKENS}
HYBRID = {"text_fields": ["title", "body"], "vector_field": "embedding", "k": 100, "fusion": "min_max"}
OF: dict[str, Callable[..., Collection]] = {
    "scifact": collections.scifact,
    "hotpotqa": collections.hotpotqa,
    "fiqa": collections.fiqa,
}
DEFAULT = tuple(OF)
WITHOUT_VECTORS = {"fiqa"}


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
        embedder = "none" if name in WITHOUT_VECTORS else models.release(models.EMBEDDER).checks["model.onnx"]
        content = index.Content(
            index=f"rescorer-results-{name}",
            documents=collection.documents,
            documents_digest=collection.digest,
            embedder=embedder,
        )
        missing = index.prepare(client, content)
        print(f"{name}: {len(missing)} of {len(collection.documents)} documents to index", flush=True)
        if name in WITHOUT_VECTORS:
            _fill_plain(client, content.index, missing)
        else:
            index.fill(client, content.index, missing, lambda count: None)
        meta = client.indices.get_mapping(index=content.index)[content.index]["mappings"]["_meta"]
        profile = PROFILE if name in WITHOUT_VECTORS else PROFILE | {"hybrid": HYBRID}
        client.indices.put_mapping(index=content.index, body={"_meta": meta | {"rescorer": profile}})
    return collection


def _of_folder(path: Path, name: str, _: Callable[[str], None]) -> Collection:
    return collections.read(path, name, "its publishers'")


def _fill_plain(client: Any, name: str, documents: Sequence[collections.Document]) -> None:
    for start in range(0, len(documents), BATCH):
        lines: list[dict[str, Any]] = []
        for document in documents[start : start + BATCH]:
            lines += [{"index": {"_index": name, "_id": document.id}}, {"title": document.title, "body": document.body}]
        assert not client.bulk(body=lines)["errors"]
    client.indices.refresh(index=name)


def measured(url: str, fresh: Callable[[], str], name: str, topics: int, folder: Path) -> dict[str, Any]:
    """All runs of one collection, as figures."""
    address = fresh()
    collection = indexed(url, address, name)
    files = folder / "judged"
    _write(collection, files)
    asked = [f"rescorer-results-{name}", "--collection", str(files), "--engine-url", url, "--sidecar", address]
    tuned = _run("tune", [*asked, "--sample", str(topics), "--out", str(folder / "tune")])
    first_stages = ["bm25"] if name in WITHOUT_VECTORS else ["bm25", "hybrid"]
    systems = [*first_stages, *(f"{one}+rescore:window_size={size}" for one in first_stages for size in WINDOWS)]
    named = [word for system in systems for word in ("--system", system)]
    quality = _run("evaluate", [*asked, *named, "--sample", str(topics), "--out", str(folder / "quality")])
    asked[-1] = fresh()
    chosen = _choices(asked, first_stages[-1], topics, folder)
    times = {}
    for system in systems:  # one at a time, each with a sidecar that has seen none of these pairs
        out = folder / f"times-{systems.index(system)}"
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
        "choices": chosen,
        "total_ms": times,
        "tune": {key: tuned[key] for key in kept},
        "machine": report.machine(),
        "model": MODEL,
        "max_tokens": MAX_TOKENS,
    }


def _choices(asked: list[str], first_stage: str, topics: int, folder: Path) -> list[dict[str, Any]]:
    """What each wish of ``select`` does to the rescored list."""
    plain = f"{first_stage}+rescore:window_size={CHOICES_WINDOW}"
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


def page(kept: dict[str, Any]) -> str:
    """docs/results.md, of the figures alone."""
    parts = [HEAD.rstrip() + "\n", *(_section(name, found) for name, found in kept.items())]
    return "\n".join(parts)


def _section(name: str, found: dict[str, Any]) -> str:
    rows = [
        f"| {system} | {of['measures']['nDCG@10']:.3f} | {of['interval']['low']:.3f} … {of['interval']['high']:.3f} | "
        f"{of['window_recall']:.3f} | {of['ceiling']:.3f} | {found['total_ms'][system]['p50']:.0f} | "
        f"{found['total_ms'][system]['p95']:.0f} |"
        for system, of in found["systems"].items()
    ]
    differences = [
        f"| {one['before']} → {one['after']} | {one['difference']['mean']:+.3f} | {one['difference']['low']:+.3f} … "
        f"{one['difference']['high']:+.3f} | {one['difference']['better']} / {one['difference']['worse']} / "
        f"{one['difference']['same']} | {one['corrected']:.3f} |"
        for one in found["differences"]
    ]
    kinds = ("never retrieved", "partly retrieved", "badly ordered")
    failures = [
        f"| {system} | " + " | ".join(str(of["topics_by_kind"].get(kind, 0)) for kind in kinds) + " |"
        for system, of in found["systems"].items()
    ]
    return "\n".join(
        [
            f"## {TITLES.get(name, name)}: {found['documents']:,} documents, {found['topics']} topics",
            "",
            " ".join(_verdict(found, base) for base in ("bm25", "hybrid") if base in found["systems"]),
            "",
            "| System | nDCG@10 | 95 % interval | window recall | at best | p50 ms | p95 ms |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "| Difference in nDCG@10 | mean | 95 % interval | better / worse / same | p corrected |",
            "|---|---|---|---|---|",
            *differences,
            "",
            "| Topics that are | " + " | ".join(kinds) + " |",
            "|---|---|---|---|",
            *failures,
            "",
            *_tuned(found["tune"]),
            "",
            f"| `select` over the window of {CHOICES_WINDOW} | nDCG@10 | 95 % interval | better / worse / same |",
            "|---|---|---|---|",
            *(
                f"| {one['after']} | {one['difference']['mean']:+.3f} | {one['difference']['low']:+.3f} … "
                f"{one['difference']['high']:+.3f} | {one['difference']['better']} / {one['difference']['worse']} / "
                f"{one['difference']['same']} |"
                for one in found["choices"]
            ),
            "",
        ]
    )


def _verdict(found: dict[str, Any], base: str) -> str:
    """In a sentence whether rescoring this first stage pays, by what holds after the correction."""
    of = [one for one in found["differences"] if one["before"] == base and one["after"].startswith(f"{base}+rescore")]
    sure = [one for one in of if one["corrected"] < SURE]
    best = max(sure or of, key=lambda one: one["difference"]["mean"])
    window, mean = best["after"].rpartition("=")[2], best["difference"]["mean"]
    if not sure:
        return f"**Over {base} rescoring shows no difference** (at best {mean:+.3f}, with a window of {window})."
    return f"**Over {base} rescoring {'gains' if mean > 0 else 'loses'}**: {mean:+.3f} with a window of {window}."


def _tuned(found: dict[str, Any]) -> list[str]:
    curve, chosen, topics = found["curve"], found["chosen"], found["topics"]
    return [
        f"Tuned on {topics['tuning']} topics ({found['pairs_scored']:,} pairs scored, {found['settings_derived']:,} "
        f"settings derived in {found['derived_s']:.1f} s): **{chosen['settings']}**, nDCG@10 "
        f"{chosen['nDCG@10 of the others']:.3f} on the other {topics['reported_on']}.",
        "",
        "| On the topics that nothing was chosen on | nDCG@10 | the choice gains | 95 % interval | p |",
        "|---|---|---|---|---|",
        *(
            f"| {one['name']}: {one['settings']} | {one['other']:.3f} | {one['difference']['mean']:+.3f} | "
            f"{one['difference']['low']:+.3f} … {one['difference']['high']:+.3f} | {one['p']:.3f} |"
            for one in found["reports"]
        ),
        "",
        "| Window, all else as chosen | " + " | ".join("none" if size == "0" else size for size in curve) + " |",
        "|---|" + "---|" * len(curve),
        "| tuning half | " + " | ".join(f"{of['tuning']:.3f}" for of in curve.values()) + " |",
        "| other half | " + " | ".join(f"{of['other']:.3f}" for of in curve.values()) + " |",
        *(
            ["", "| Gate | searches left alone | nDCG@10 lost |", "|---|---|---|"]
            + [f"| {one['gate']} | {one['skipped']:.0%} | {one['loss']:+.4f} |" for one in found["gates"]]
            if found["gates"]
            else []
        ),
    ]


TITLES = {
    "fiqa": "FiQA-2018, test split",
    "hotpotqa": "HotpotQA",
    "movies": "Movies (MSRD by Metarank Labs, CC BY 4.0), test split",
    "scifact": "SciFact",
}
HEAD = """# Results: what rescoring does on collections that it was not made for

Made by `make results`, of real judgments, with a real OpenSearch node, kNN by bge-small-en-v1.5 and
ms-marco-MiniLM-L-12-v2 (recovered from its INT8 release) as the cross-encoder, 256 tokens for query and text. Topics
are a sample by the SHA-256 of their ids. The cross-encoder was trained on MS MARCO and on none of these. What `tune`
chose, it chose on one half of the topics; what it is worth was measured on the other. Times are of whole searches,
one at a time, no pair cached, on two cores that others used as well: compare them with each other, not with your own.
FiQA is asked by BM25 alone: its 57,638 documents take such cores an hour to embed. Movies are read from a folder in
the form of BEIR (`RESULTS="--folder movies=FOLDER"`), text: overview, genres, people, tags and year. What `select`
changes is measured over the rescored list that nothing else moved.
"""


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
    (DOCS / "results.md").write_text(page(kept), encoding="utf-8")
    print(DOCS / "results.md")


if __name__ == "__main__":
    main()
