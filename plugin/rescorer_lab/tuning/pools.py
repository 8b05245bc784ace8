"""What is asked of engine and sidecar: for each topic its first-stage lists, and one score for each document in them.

Everything that is tuned is derived from these. A line of ``pools.jsonl`` is one topic; as in an evaluation, what was
asked is never asked again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rescorer import hybrid
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.asking import NOT_RESCORED, PATIENT_MS, Index
from rescorer_lab.inputs import Topic

BM25, KNN = "bm25", "knn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One topic's documents: those of the BM25 list, then those that only the kNN list holds.

    lists: first stage → document → its score, best first. logits: model → document → the cross-encoder's score.
    ms: what each list took, and ``forward`` of each model over all pairs that it had not scored before.
    """

    topic: str
    lists: Mapping[str, Mapping[str, float]]
    logits: Mapping[str, Mapping[str, float]]
    ms: Mapping[str, float] = field(default_factory=dict)
    scored: Mapping[str, int] = field(default_factory=dict)

    @property
    def documents(self) -> list[str]:
        """All of them, in the order in which a fusion keeps equal scores."""
        return list(dict.fromkeys(document for listed in self.lists.values() for document in listed))

    def as_dict(self) -> dict[str, Any]:
        """In JSON types; ``Pool(**…)`` reads it back."""
        return asdict(self)


def ask(client: Any, index: Index, topic: Topic, models: Sequence[str], *, has_vectors: bool) -> Pool:
    """The lists at the index's depth, and every document in them scored once by each model.

    models: names that the sidecar lists; empty is its default. has_vectors: whether kNN is asked beside BM25.
    Raises the engine's errors, ScorerError, and LabError where not every document was scored.
    """
    lists: dict[str, dict[str, float]] = {}
    ms: dict[str, float] = {}
    for name, query in _queries(client, index, topic.text, has_vectors=has_vectors).items():
        begun_s = time.perf_counter()
        body = {**query, "size": index.depth, "_source": False, "rescore": NOT_RESCORED}
        hits = client.search(index=index.name, body=body)["hits"]["hits"]
        ms[name] = 1000 * (time.perf_counter() - begun_s)
        lists[name] = {hit["_id"]: hit["_score"] for hit in hits}
    pool = Pool(topic=topic.id, lists=lists, logits={})
    documents = pool.documents
    logits: dict[str, dict[str, float]] = {}
    scored: dict[str, int] = {}
    for model in models:
        logits[model], told = _scored(client, index, topic, documents, model)
        ms[f"forward {model}"] = told["timings"].get("sidecar_forward_ms", told["timings"]["scoring_ms"])
        scored[model] = told["scored"] - told["cached"]
    return Pool(topic=topic.id, lists=lists, logits=logits, ms=ms, scored=scored)


def _queries(client: Any, index: Index, text: str, *, has_vectors: bool) -> dict[str, dict[str, Any]]:
    if index.form is None:
        return {BM25: {"query": {"multi_match": {"query": text}}}}
    if not has_vectors:
        return {BM25: {"query": hybrid.words(index.form, text)}}
    (vector,) = client.embed([text], kind="query")
    return {BM25: {"query": hybrid.words(index.form, text)}, KNN: hybrid.near(index.form, vector, index.engine)}


def _scored(
    client: Any, index: Index, topic: Topic, documents: Sequence[str], model: str
) -> tuple[dict[str, float], Mapping[str, Any]]:
    """Document → logit, by a rescored search for exactly these documents, so that the client builds the texts."""
    if not documents:
        return {}, {"timings": {"scoring_ms": 0.0}, "scored": 0, "cached": 0}
    rescore: dict[str, Any] = {"window_size": len(documents), "score_mode": "replace", "budget_ms": PATIENT_MS}
    rescore |= {"query_text": topic.text, "on_failure": "error", "gate": False, "select": False}
    rescore |= {"model": model} if model else {}
    response = client.search(
        index=index.name,
        body={
            "query": {"ids": {"values": list(documents)}},
            "size": len(documents),
            "_source": False,
            "rescore": {"cross_encoder": rescore},
        },
    )
    found = {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}
    told = response["rescore"]
    if told["scored"] != len(documents) or len(found) != len(documents):
        reason = f"{told['status']}:{told['reason']}" if told["reason"] else told["status"]
        raise LabError(
            f"topic {topic.id}: {told['scored']} of {len(documents)} documents were scored ({reason})",
            "look at the sidecar; a profile's min_score must be taken away while tuning",
        )
    return found, told
