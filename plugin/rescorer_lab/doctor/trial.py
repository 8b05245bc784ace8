"""A search through everything: the query is made of a document's first words, so that at least that one matches."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rescorer import explain, text
from rescorer.domain import Engine
from rescorer.errors import Reason, RescorerError
from rescorer_lab import connect
from rescorer_lab.connect import Address
from rescorer_lab.doctor.findings import Finding, ok, unknown, wrong
from rescorer_lab.doctor.index import Index
from rescorer_lab.doctor.sidecar import Served

WORDS = 8
LOOKED_AT = 10
"""Documents in which a text is looked for."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a search of ours gets to the engine and the sidecar."""

    engine: Engine
    address: Address
    sidecar: str
    served: Served | None


def examined(plain: Any, index: Index, way: Way) -> Generator[Finding, None, None]:
    """One finding for a search, and one for a hybrid search where the index has a form for it and vectors are had."""
    rescore, hybrid = index.rescore, index.profile.hybrid
    words = _words(index, plain)
    if not rescore.document_fields or not words:
        says = "no text in the profile's document_fields" if rescore.document_fields else "the profile names no fields"
        yield unknown("search", f"can't be tried: {says}", "index documents, or name other fields")
        return
    names = [entry.field for entry in rescore.document_fields]
    body = {"query": {"multi_match": {"query": words, "fields": names}}, "size": 3}
    yield _tried("search", way, lambda client: client.search(index=index.name, body=body))
    if hybrid is not None and way.served is not None and way.served.embedder(hybrid.model) is not None:
        yield _tried("hybrid search", way, lambda client: client.hybrid_search(index.name, words, size=3))


def _words(index: Index, client: Any) -> str:
    """The first words of the first document that has some."""
    fields = index.rescore.document_fields
    body = {"query": {"match_all": {}}, "size": LOOKED_AT, "_source": [entry.field for entry in fields]}
    answer = client.transport.perform_request("POST", f"/{quote(index.name, safe=',*')}/_search", body=body)
    for hit in answer["hits"]["hits"]:
        said = " ".join(found for _, found in text.document_texts(hit, fields, source_is_whole=True))
        if said.strip():
            return " ".join(said.split()[:WORDS])
    return ""


def _tried(name: str, way: Way, search: Callable[[Any], Any]) -> Finding:
    try:
        with connect.searching(way.address, way.engine, way.sidecar) as client:
            begun_s = time.perf_counter()
            answer = search(client)
            took_ms = (time.perf_counter() - begun_s) * 1000
    except RescorerError as error:
        return wrong(name, way.address.masked(str(error)))
    outcome = dict(answer).get("rescore")
    if not isinstance(outcome, Mapping):
        return wrong(name, "it passed through without an outcome", explain.ASK)
    return _judged(name, way, outcome, took_ms)


def _judged(name: str, way: Way, outcome: Mapping[str, Any], took_ms: float) -> Finding:
    status, reason = outcome["status"], outcome["reason"]
    if status == "reranked":
        timings = outcome["timings"]
        parts = f"engine {timings['first_stage_ms']:.0f} ms, scoring {timings['scoring_ms']:.0f} ms"
        return ok(name, f"reranked: {outcome['scored']} hits in {took_ms:.0f} ms ({parts}) by {outcome['model']}")
    says = f"{status} ({reason}) in {took_ms:.0f} ms"
    if way.served is None and reason in (Reason.SCORER_UNAVAILABLE, Reason.BREAKER_OPEN):
        return unknown(name, f"answers in first-stage order, {says}", "it is rescored once the sidecar serves")
    if reason in (Reason.DISABLED, Reason.NO_HITS):
        return unknown(name, says, explain.MENDS[Reason(reason)])
    detail = f": {outcome['detail']}" if outcome["detail"] else ""
    if status == "partial":
        detail = f": {outcome['scored']} of the window's {outcome['totals']['window']} hits have a score"
    return wrong(name, says + detail, explain.MENDS[Reason(reason)])
