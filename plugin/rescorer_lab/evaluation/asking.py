"""One topic asked of one system, through the client that an application uses, and what came back of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rescorer import hybrid, profile
from rescorer.domain import Engine
from rescorer.profile import Hybrid
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.systems import System, filled
from rescorer_lab.inputs.topics import Topic

WINDOW = 100
"""The client's own default."""

PATIENT_MS = 600_000.0
"""The budget where a system says none, so that a slow machine gives figures and not fallbacks."""

DIGITS = 12
NOT_RESCORED: Mapping[str, Any] = {"cross_encoder": False}
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one system returned for one topic.

    hits, scores: best first. window: how many of the first hits were there to be rescored; 0 in a first stage.
    outcome: ``status`` or ``status:reason``, empty in a first stage. model: its name and the beginning of its digest.
    ms: part → milliseconds, ``total_ms`` always.
    """

    system: str
    topic: str
    hits: tuple[str, ...]
    scores: tuple[float | None, ...]
    window: int = 0
    outcome: str = ""
    model: str = ""
    scored: int = 0
    cached: int = 0
    truncated: int = 0
    ms: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """In JSON types; :meth:`of` reads it back."""
        return asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Answer:
        """An answer that was written as JSON."""
        return cls(**{**told, "hits": tuple(told["hits"]), "scores": tuple(told["scores"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Which index is asked and how: ``form`` is its profile's, ``said`` what its profile sets about rescoring.

    depth: hits that are asked of each search, no fewer than its window. written: the profile as the mapping holds it.
    """

    name: str
    engine: Engine
    form: Hybrid | None
    said: Mapping[str, Any]
    depth: int
    written: Mapping[str, Any] = field(default_factory=dict)

    def window(self, system: System) -> int:
        """How many hits a system has rescored; 0 where none. An ``auto`` window may be as large as the depth."""
        if system.rescore is None:
            return 0
        wished = system.rescore.get("window_size", self.said.get("window_size", WINDOW))
        return wished if isinstance(wished, int) else self.depth


def read(client: Any, name: str, engine: Engine, depth: int) -> Index:
    """The index's own profile; LabError where several indices have profiles that differ."""
    written = _written(client, name)
    found = profile.read(written) if written else profile.Profile()
    return Index(name=name, engine=engine, form=found.hybrid, said=found.rescore, depth=depth, written=written)


def _written(client: Any, name: str) -> dict[str, Any]:
    """The profile as the mapping holds it, empty where there is none."""
    mappings = client.indices.get_mapping(index=name)
    found = [entry["mappings"].get("_meta", {}).get("rescorer") for entry in dict(mappings).values()]
    said = [meta for meta in found if meta is not None]
    if any(meta != said[0] for meta in said):
        raise LabError(f"{name!r} is of several indices whose profiles differ", "name one of them")
    return dict(said[0]) if said else {}


def check(index: Index, systems: Sequence[System]) -> None:
    """LabError where a system can't be asked of this index."""
    for system in systems:
        if system.first_stage in ("knn", "hybrid") and index.form is None:
            raise LabError(
                f"system {system.name!r} needs a vector field, and the profile of {index.name!r} names none",
                "add a hybrid form to its profile: rescorer templates list",
            )
        reads = index.said.get("document_fields") or (system.rescore or {}).get("document_fields")
        if system.is_rescored and not reads:
            raise LabError(
                f"system {system.name!r} says nowhere which fields the model reads",
                'say it: +rescore:document_fields=["title","body"], or in the profile of the index',
            )


def ask(client: Any, index: Index, system: System, topic: Topic, clock: Clock = time.perf_counter) -> Answer:
    """Ask it; raises the engine's errors, and ScorerError where kNN or a hybrid search alone has no vector."""
    begun_s = clock()
    response = _response(client, index, system, topic.text)
    total_ms = 1000 * (clock() - begun_s)
    listed = response["hits"]["hits"]
    told = response.get("rescore") if system.is_rescored else None
    answer = Answer(
        system=system.name,
        topic=topic.id,
        hits=tuple(hit["_id"] for hit in listed),
        scores=tuple(hit["_score"] for hit in listed),
        ms={"total_ms": total_ms},
    )
    if told is None:
        return answer
    reason = f":{told['reason']}" if told["reason"] else ""
    return replace(
        answer,
        window=told["window"] or 0,
        outcome=f"{told['status']}{reason}",
        model=f"{told['model'] or ''} {(told['model_digest'] or '')[:DIGITS]}".strip(),
        scored=told["scored"],
        cached=told["cached"],
        truncated=told["truncated"],
        ms={**told["timings"], "total_ms": total_ms},
    )


def _response(client: Any, index: Index, system: System, text: str) -> Any:
    size = max(index.depth, index.window(system))
    rescore = None if system.rescore is None else {"budget_ms": PATIENT_MS, "query_text": text, **system.rescore}
    if system.first_stage == "hybrid":
        said = rescore or {"on_failure": "error"}  # words alone, because there is no vector, are no hybrid search
        return client.hybrid_search(
            index.name, text, size=size, rescore=said, rescored=rescore is not None, body={"_source": False}
        )
    body: dict[str, Any] = {"_source": False, **_query(client, index, system, text), "size": size}
    asked = NOT_RESCORED if rescore is None else {"cross_encoder": rescore}
    return client.search(index=index.name, body={**body, "rescore": asked})


def _query(client: Any, index: Index, system: System, text: str) -> dict[str, Any]:
    if system.first_stage == "own":
        found: dict[str, Any] = filled(system.body, text)
        return found
    if index.form is None:
        return {"query": {"multi_match": {"query": text}}}
    if system.first_stage == "bm25":
        return {"query": hybrid.words(index.form, text)}
    (vector,) = client.embed([text], kind="query")
    return hybrid.near(index.form, vector, index.engine)
