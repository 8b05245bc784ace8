"""The demo from an empty machine to its report, step by step."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescorer import profile, templates
from rescorer_lab import collections, models, report
from rescorer_lab.collections import Collection, Document
from rescorer_lab.demo import index, searches, stack, tables
from rescorer_lab.demo.figures import TIMED, Figures, described, measured
from rescorer_lab.demo.searches import FIRST_STAGE_OF, Record, Setup
from rescorer_lab.demo.stack import Stack
from rescorer_lab.errors import EngineError
from rescorer_lab.show import Show

SHOWN_SYSTEM = "bm25_rescored"
"""What before and after show: the search that most people run today, and what rescoring makes of it."""

LOOKS = 10
"""Queries that the first tables are chosen from."""

CLIENT_TIMEOUT_S = 120.0
"""Far above what anything takes, so that a slow machine gives figures and not fallbacks."""

INDEX = "rescorer-scifact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user may choose. ``documents`` None is all of them; ``node`` is the engine node's name."""

    queries: int = 300
    documents: int | None = None
    window: int = 30
    max_tokens: int = 256
    report: Path = Path("report.json")
    keep: bool = False
    node: str = "demo"

    @property
    def index(self) -> str:
        """A cut-down collection gets an index of its own, so that the whole one stays."""
        return INDEX if self.documents is None else f"{INDEX}-{self.documents}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is indexed and what is asked."""

    collection: Collection
    documents: Sequence[Document]
    queries: Sequence[str]


def run(wishes: Wishes, show: Show) -> Path:
    """Tell the whole story and return the path of the report. What it starts it stops, also when interrupted.

    Raises LabError (of downloads, engine, sidecar) and the client's errors, each one line.
    """
    report.check_writable(wishes.report)
    with show.step("models and judged data"):
        material = chosen(wishes, collections.scifact(show.line))
        for name in (models.CROSS_ENCODER, models.EMBEDDER):
            show.line(f"  {models.fetch(name, show.line)}")
        counted = f"{len(material.documents)} documents, {len(material.queries)} judged queries"
        show.line(f"  {material.collection.name}: {counted}")
    with stack.running(wishes.node, show) as running:
        client = _client(running)
        try:
            told = tell(client, running, wishes, material, show)
        except _engine_errors() as error:
            raise EngineError(f"the engine refused or went away: {error}", f"see {running.node.log}") from error
        finally:
            client.close()
        running.keep_engine = wishes.keep
    return report.write(wishes.report, {**told, "took_s": show.elapsed_s})


def chosen(wishes: Wishes, collection: Collection) -> Material:
    """The part of a collection that is wished for; LabError where there is not that much."""
    queries = collection.sample(wishes.queries)
    documents = collection.documents_for(queries, wishes.documents)
    return Material(collection=collection, documents=documents, queries=queries)


def tell(client: Any, running: Stack, wishes: Wishes, material: Material, show: Show) -> dict[str, Any]:
    """All that happens between the start of engine and sidecar and their end; returns the report.

    The sidecar is stopped on the way. Raises the client's and the engine's errors.
    """
    setup = _indexed(client, wishes, material, show)
    records = _looked(client, setup, material, show)
    records += _asked(client, setup, material, show)
    figures = measured(material.collection, records, setup.window)
    if len(records) > LOOKS:
        worst = tables.worst(records, figures.gains(SHOWN_SYSTEM))
        show.thing(tables.before_after(worst, SHOWN_SYSTEM, material.collection.qrels[worst.record.query]))
    _show_figures(figures, records, setup, show)
    _without_sidecar(client, running, setup, records[0], show)
    _next(wishes, setup, running, show)
    return described(material.collection, len(material.documents), records, figures, setup)


def _client(running: Stack) -> Any:
    from rescorer.opensearch import OpenSearch

    return OpenSearch(hosts=[running.node.url], rescorer=running.sidecar.address, timeout=CLIENT_TIMEOUT_S)


def _engine_errors() -> type[Exception]:
    from opensearchpy.exceptions import OpenSearchException

    found: type[Exception] = OpenSearchException
    return found


def _indexed(client: Any, wishes: Wishes, material: Material, show: Show) -> Setup:
    with show.step("index templates and search pipelines"):
        changed = templates.apply(client, templates.shipped())
        for difference in changed:
            show.line(f"  {difference.template.kind} {difference.template.name}")
        show.line(f"  {len(changed)} changed" if changed else "  nothing to change")
    content = index.Content(
        index=wishes.index,
        documents=material.documents,
        documents_digest=material.collection.digest,
        embedder=models.release(models.EMBEDDER).checks["model.onnx"],
    )
    missing = index.prepare(client, content)
    with show.step(f"{len(material.documents)} documents in {wishes.index}, {len(missing)} to embed and index"):
        if missing:
            with show.progress("documents", len(missing)) as advance:
                index.fill(client, wishes.index, missing, advance)
    meta = client.indices.get_mapping(index=wishes.index)[wishes.index]["mappings"]["_meta"]["rescorer"]
    form = profile.read(meta).hybrid
    if form is None:
        raise EngineError(f"{wishes.index} has no hybrid profile", "see: rescorer templates diff")
    return Setup(index=wishes.index, form=form, window=wishes.window, max_tokens=wishes.max_tokens)


def _looked(client: Any, setup: Setup, material: Material, show: Show) -> list[Record]:
    texts, qrels = material.collection.queries, material.collection.qrels
    queries = material.queries[:LOOKS]
    with show.step(f"the first {len(queries)} judged queries, up to three of them shown"):
        records = [searches.ask(client, setup, query, texts[query]) for query in queries]
    gains = measured(material.collection, records, setup.window).gains(SHOWN_SYSTEM)
    for pick in tables.picked(records, gains):
        show.thing(tables.before_after(pick, SHOWN_SYSTEM, qrels[pick.record.query]))
    return records


def _asked(client: Any, setup: Setup, material: Material, show: Show) -> list[Record]:
    records: list[Record] = []
    queries = material.queries[LOOKS:]
    if not queries:
        return records
    title = f"{len(queries)} judged queries more, asked in seven ways"
    with show.step(title), show.progress("queries", len(queries)) as advance:
        for query in queries:
            records.append(searches.ask(client, setup, query, material.collection.queries[query]))
            advance(1)
    return records


def _show_figures(figures: Figures, records: Sequence[Record], setup: Setup, show: Show) -> None:
    show.heading(f"{len(records)} judged queries; window {setup.window}, {setup.max_tokens} tokens a pair")
    show.thing(tables.figures(figures.means, figures.recall, setup.window))
    for system in FIRST_STAGE_OF:
        show.line(tables.said(system, figures.gain(system)))
    show.line("rescored: score_mode total, first-stage score + weight × logit; model alone: replace, the logit decides")
    show.line("(queries: the first by SHA-256 of their ids; how the weights were chosen: docs/demo.md)")
    show.thing(tables.times(figures.latency_ms))
    show.line("(hybrid + rescored, one search at a time, every pair new to the sidecar)")
    odd = {name: count for name, count in figures.outcomes.items() if name != "reranked"}
    if odd:
        show.line(f"NOT all searches were rescored: {odd}; the rescored figures hold first-stage lists")


def _without_sidecar(client: Any, running: Stack, setup: Setup, record: Record, show: Show) -> None:
    with show.step("the same search with the sidecar stopped"), show.log("rescorer"):
        running.sidecar.stop()
        answer = client.search(index=setup.index, body=searches.rescored_words(setup, record.text))
        listed = [hit["_id"] for hit in answer["hits"]["hits"]]
        is_first_stage = listed == list(record.lists["bm25"][: len(listed)])
        show.line(f"  “{record.text}”: {len(listed)} hits, {'in' if is_first_stage else 'NOT in'} first-stage order")
        told = {key: answer["rescore"][key] for key in ("status", "reason", "window", "scored", "took")}
        show.line(f'  response["rescore"] = {json.dumps(told)}')
        hybrid = client.hybrid_search(
            setup.index, record.text, rescore=setup.rescore(TIMED), body={"_source": ["title"]}
        )
        told = {key: hybrid["rescore"][key] for key in ("status", "reason")}
        show.line(f"  hybrid_search answers with its BM25 half: {len(hybrid['hits']['hits'])} hits, {json.dumps(told)}")


def _next(wishes: Wishes, setup: Setup, running: Stack, show: Show) -> None:
    show.heading("What to try next")
    fetched = [shlex.quote(str(models.folder(name))) for name in (models.CROSS_ENCODER, models.EMBEDDER)]
    serve = f"rescorer-sidecar --model {fetched[0]} --embedder {fetched[1]}"
    if wishes.keep:
        show.line(f"  the node stays on {running.node.url}; stop it: rescorer engine down --name {running.node.name}")
        show.line(f"  {serve}")
        show.line(f"  rescorer templates check {setup.index} --url {running.node.url}")
    else:
        show.line("  rescorer demo --keep                leaves the node running, to search it yourself")
    show.line("  rescorer demo --window 100          more candidates: better or only slower?")
    show.line("  rescorer templates export mine      the JSON that a search engineer edits")
    show.line("  rescorer models list                other models for rescorer-sidecar --model")
    show.line("  docs/demo.md                        what each figure means")
