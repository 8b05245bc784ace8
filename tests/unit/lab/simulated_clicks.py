"""Users whose taste is known: they click as a click model says, and the log is written as an application would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rescorer_lab.inputs.clicks import Clicks

QUERIES, DOCUMENTS = 40, 10
LOOKS = 1 / np.arange(1, DOCUMENTS + 1)
"""By rank, for users who look at ranks and not at what stands there."""

Taste = npt.NDArray[np.float64]


def taste(seed: int = 0) -> Taste:
    """How likely each query's document is clicked by one who looks at it."""
    return np.random.default_rng(seed).beta(0.6, 1.4, size=(QUERIES, DOCUMENTS))


def clicks(attracts: Taste, satisfies: Taste | None = None, *, answers: int = 300, seed: int = 1) -> Clicks:
    """A log of ``answers`` per query; the first stage has an order of its own for each query, and wavers.

    Users look at each rank as LOOKS says; with ``satisfies``, the chance that a click ends the search, they read down
    the list until one does.
    """
    chance = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, bool]] = []
    favours = chance.normal(0, 1, (QUERIES, DOCUMENTS))
    for query, number in np.ndindex(QUERIES, answers):
        order = np.argsort(favours[query] + chance.normal(0, 0.5, DOCUMENTS))
        if satisfies is None:
            clicked = (chance.random(DOCUMENTS) < attracts[query][order] * LOOKS).tolist()
        else:
            clicked = _read_down(attracts[query][order], satisfies[query][order], chance)
        for rank, click in enumerate(clicked):
            rows.append((query * answers + number, query * DOCUMENTS + int(order[rank]), rank + 1, click))
    answer, pair, rank, clicked = (np.array(column) for column in zip(*rows, strict=True))
    return Clicks(
        pairs=tuple((f"query {query}", f"d{document}") for query, document in np.ndindex(QUERIES, DOCUMENTS)),
        answer=answer.astype(np.int32),
        pair=pair.astype(np.int32),
        rank=rank.astype(np.int32),
        clicked=clicked.astype(np.bool_),
    )


def _read_down(attracts: Taste, satisfies: Taste, chance: np.random.Generator) -> list[bool]:
    clicked, goes_on = [], True
    for attractive, satisfying in zip(attracts, satisfies, strict=True):
        clicked.append(goes_on and bool(chance.random() < attractive))
        goes_on = goes_on and not (clicked[-1] and chance.random() < satisfying)
    return clicked


def write_ubi(log: Clicks, folder: Path) -> tuple[Path, Path]:
    """The log as ``ubi_queries.ndjson`` and ``ubi_events.ndjson``."""
    queries, events = folder / "ubi_queries.ndjson", folder / "ubi_events.ndjson"
    with queries.open("w") as asked, events.open("w") as done:
        for number in range(int(log.answer[-1]) + 1):
            at = np.flatnonzero(log.answer == number)
            hits = [log.pairs[log.pair[row]][1] for row in at]
            text = log.pairs[log.pair[at[0]]][0]
            asked.write(json.dumps({"query_id": f"a{number}", "user_query": text, "query_response_hit_ids": hits}))
            asked.write("\n")
            for row in at[log.clicked[at]]:
                done.write(json.dumps(event(f"a{number}", log.pairs[log.pair[row]][1], int(log.rank[row]))) + "\n")
    return queries, events


def event(query: str, document: str, rank: int, action: str = "click") -> dict[str, object]:
    """One event as the schema has it."""
    attributes = {"object": {"object_id": document}, "position": {"ordinal": rank}}
    return {
        "action_name": action,
        "query_id": query,
        "timestamp": "2026-11-30T12:00:00Z",
        "event_attributes": attributes,
    }
