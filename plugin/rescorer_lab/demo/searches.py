"""One judged query, asked in the ways that the demo compares.

## Decisions
2026-11: rescored lists are shown twice. ``rescored`` is ``score_mode: total``, first-stage score plus weighted logit.
The weights bring both onto one scale: logits span about 20, BM25 scores as much (1.0), fused scores 1 (0.05). They
were the best of 0.03 … 2 on 200 judged queries that come after the 300 of the demo. ``model alone`` is ``replace``,
the default. On this collection the embedder beats the cross-encoder, and a demo that hid that would be no
measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescorer import hybrid
from rescorer.profile import Hybrid

FIRST_STAGES = ("bm25", "knn", "hybrid")
FIRST_STAGE_OF = {
    "bm25_rescored": "bm25",
    "hybrid_rescored": "hybrid",
    "bm25_model_alone": "bm25",
    "hybrid_model_alone": "hybrid",
}
SYSTEMS = (*FIRST_STAGES, *FIRST_STAGE_OF)
MODES: Mapping[str, Mapping[str, Any]] = {
    "bm25_rescored": {"score_mode": "total", "rescore_query_weight": 1.0},
    "hybrid_rescored": {"score_mode": "total", "rescore_query_weight": 0.05},
    "bm25_model_alone": {"score_mode": "replace"},
    "hybrid_model_alone": {"score_mode": "replace"},
}
"""What the rescored systems say beside window and limits."""

SHOWN = 10
"""Hits of a rescored page."""

NOT_RESCORED: Mapping[str, Any] = {"cross_encoder": False}
TITLE_ONLY = ["title"]
"""The caller's ``_source``: the client fetches what the model reads all the same, and takes it out again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How all queries are asked: set beforehand, nothing tuned.

    form: the index's own, from its profile. window: candidates that are scored. max_tokens: of one pair; 0 is the
    model's own limit.
    """

    index: str
    form: Hybrid
    window: int = 30
    max_tokens: int = 256
    budget_ms: float = 60_000.0

    @property
    def depth(self) -> int:
        """Hits asked of a first stage: the window, and no less than a page."""
        return max(self.window, SHOWN)

    def rescore(self, system: str) -> dict[str, Any]:
        """The settings of a rescored system. The budget lets slow machines finish; a product would set it lower."""
        return {
            "window_size": self.window,
            "max_tokens": self.max_tokens,
            "budget_ms": self.budget_ms,
            **MODES[system],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one query gave.

    lists: system → document ids, best first: the window of a first stage (at least a page), the page of a rescored one.
    titles: of every document listed. rescore: system → ``response["rescore"]`` of the rescored ones.
    """

    query: str
    text: str
    lists: Mapping[str, Sequence[str]]
    titles: Mapping[str, str]
    rescore: Mapping[str, Mapping[str, Any]]


def ask(client: Any, setup: Setup, query: str, text: str) -> Record:
    """Ask one query in all ways, one after the other.

    Hybrid rescored comes first, so that its times are those of pairs that nobody asked for before; the others find
    the pairs that they share with it in the sidecar's cache. Raises the engine's errors and ScorerError.
    """
    answers = {
        "hybrid_rescored": _hybrid(client, setup, text, "hybrid_rescored"),
        "hybrid_model_alone": _hybrid(client, setup, text, "hybrid_model_alone"),
        "hybrid": _hybrid(client, setup, text, None),
        "bm25_rescored": client.search(index=setup.index, body=rescored_words(setup, text)),
        "bm25_model_alone": client.search(index=setup.index, body=rescored_words(setup, text, "bm25_model_alone")),
        "bm25": client.search(index=setup.index, body=_first_stage(setup, hybrid.words(setup.form, text))),
        "knn": client.search(index=setup.index, body=_first_stage(setup, _near(client, setup.form, text))),
    }
    listed = {name: answers[name]["hits"]["hits"] for name in SYSTEMS}
    return Record(
        query=query,
        text=text,
        lists={name: tuple(hit["_id"] for hit in hits) for name, hits in listed.items()},
        titles={hit["_id"]: hit["_source"]["title"] for hits in listed.values() for hit in hits},
        rescore={name: answers[name]["rescore"] for name in FIRST_STAGE_OF},
    )


def rescored_words(setup: Setup, text: str, system: str = "bm25_rescored") -> dict[str, Any]:
    """A plain BM25 search; what is read and how many are scored stands in profile and request."""
    return {
        "query": hybrid.words(setup.form, text),
        "size": SHOWN,
        "_source": TITLE_ONLY,
        "rescore": {"cross_encoder": setup.rescore(system)},
    }


def _near(client: Any, form: Hybrid, text: str) -> dict[str, Any]:
    (vector,) = client.embed([text], kind="query")
    return dict(hybrid.near(form, vector, "opensearch")["query"])


def _first_stage(setup: Setup, query: Mapping[str, Any]) -> dict[str, Any]:
    return {"query": query, "size": setup.depth, "_source": TITLE_ONLY, "rescore": NOT_RESCORED}


def _hybrid(client: Any, setup: Setup, text: str, system: str | None) -> Any:
    return client.hybrid_search(
        setup.index,
        text,
        size=setup.depth if system is None else SHOWN,
        rescore=None if system is None else setup.rescore(system),
        rescored=system is not None,
        body={"_source": TITLE_ONLY},
    )
