"""A collection small enough to tell by heart, and records made of plain lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rescorer_lab.collections import Collection, Document
from rescorer_lab.demo.searches import FIRST_STAGE_OF, SYSTEMS, Record

FILLER = "water stone cloud river field"


def small_collection(count: int = 12) -> Collection:
    """Document n holds ``word<n>`` once and so answers query n; fillers make every document match a little."""
    documents = tuple(
        Document(id=f"d{n}", title=f"about word{n}", body=f"{FILLER} word{n} {'water ' * (n % 3)}")
        for n in range(count)
    )
    return Collection(
        name="small",
        licence="CC0",
        digest="digest-1",
        documents=documents,
        queries={f"q{n}": f"water word{n}" for n in range(count)},
        qrels={f"q{n}": {f"d{n}": 1} for n in range(count)},
    )


def record(
    query: str = "q0",
    before: Sequence[str] = ("a", "b", "c"),
    after: Sequence[str] = ("b", "a", "c"),
    timings: Mapping[str, float] | None = None,
    status: str = "reranked",
) -> Record:
    """A record whose first stages are ``before`` and whose rescored lists are ``after``."""
    told = {
        "status": status,
        "reason": None if status == "reranked" else "scorer_unavailable",
        "model": "small-model",
        "model_digest": "abc",
        "timings": timings or {"first_stage_ms": 10.0, "scoring_ms": 90.0, "total_ms": 100.0},
    }
    return Record(
        query=query,
        text=f"text of {query}",
        lists={system: tuple(after if system in FIRST_STAGE_OF else before) for system in SYSTEMS},
        titles={document: f"title of {document}" for document in (*before, *after)},
        rescore=dict.fromkeys(FIRST_STAGE_OF, told),
    )
