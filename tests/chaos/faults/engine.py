"""An engine that refuses, is slow, or answers nonsense: our searches end as those of the official client do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import opensearchpy

from chaos.door import Door, Harm, Visit, before
from chaos.scene import Scene, fault
from chaos.stack import Stack
from chaos.verdict import Seen

REFUSED_429, REFUSED_503 = ([f"{kind} {status}" for kind in ("TransportError", "ApiError")] for status in (429, 503))
PAUSES_S = (4.0, 10.0, 30.0, 70.0)
"""A node looks once a minute for what has expired; the suite's own every second."""


def _refusing(status: int, kind: str) -> Harm:
    said = f'{{"error": {{"type": "{kind}", "reason": "too much"}}, "status": {status}}}'.encode()
    return lambda visit, answer: visit.reply(status, said)


def _late(seconds: float) -> Harm:
    def harm(visit: Visit, answer: bytes) -> None:
        visit.server.closing.wait(seconds)
        visit.reply(200, answer)

    return harm


def _cut_off(visit: Visit, answer: bytes) -> None:
    visit.reply(200, answer, cut=len(answer) // 2)
    visit.reset()


def _as_official(scene: Scene, harm: Harm, **more: Any) -> list[Seen]:
    """Searches through a door that harms half of them, and the official client's through the same door."""
    door: Door = scene.hold(before(scene.stack.engine, harm))
    first = next(scene.stack.numbers)
    wanted = {"engine": door.url, "first": first, "searches": 20, **more}
    ours = scene.searches(scene.stack.steady_addresses, budget_ms=5000.0, **wanted)
    harmed = door.counts["searches harmed"]
    scene.proves(harmed > 0, f"{harmed} searches met it at the engine's door")
    theirs = scene.begin([], is_official=True, **wanted)
    theirs.join()
    same = _ends(ours) == _ends(theirs.seen)
    scene.demand(same, f"each search ends as the official client's does: {_counted(ours)}, {_counted(theirs.seen)}")
    return ours


def _ends(seen: Sequence[Seen]) -> dict[int, str | None]:
    return {one.number: one.error for one in seen}


def _counted(seen: Sequence[Seen]) -> dict[str | None, int]:
    return dict(Counter(one.error for one in seen))


@fault("engine-429", "The engine refuses half of the searches with 429.", errors=REFUSED_429, is_short=True)
def too_many_requests(scene: Scene) -> None:
    """The others are reranked."""
    _as_official(scene, _refusing(429, "rejected_execution_exception"))


@fault("engine-503", "The engine refuses half of the searches with 503.", errors=REFUSED_503)
def unavailable(scene: Scene) -> None:
    """The official client tries again three times, and so does ours, since it is the official one."""
    _as_official(scene, _refusing(503, "cluster_block_exception"))


@fault("engine-slow", "The engine takes 700 ms longer for half of the searches.", must=("reranked",))
def slow(scene: Scene) -> None:
    """Its time is its own: the budget of rescoring begins after it."""
    _as_official(scene, _late(0.7))


@fault("engine-uses-most-of-the-time", "The engine takes 900 ms of the second that a search has.", must=("reranked",))
def leaves_little(scene: Scene) -> None:
    """What it leaves is all that the sidecar gets."""
    ours = _as_official(scene, _late(0.9), timeout_s=1.0)
    late = [one for one in ours if one.engine_ms > 900.0]
    scene.demand(bool(late), "searches whose engine took 900 ms are answered")


@fault("engine-too-slow", "The engine takes longer than the client waits.", errors=["ConnectionTimeout"])
def too_slow(scene: Scene) -> None:
    """The error is the official one, after the same time."""
    _as_official(scene, _late(1.0), timeout_s=0.5)


@fault(
    "engine-garbage",
    "The engine answers bytes that are no text, said to be JSON.",
    errors=["ConnectionError", "SerializationError"],
)
def garbage(scene: Scene) -> None:
    """Nobody can read that."""
    _as_official(scene, lambda visit, answer: visit.reply(200, bytes(range(1, 256)) * 8))


@fault("engine-truncated-json", "The engine's JSON ends in the middle.", errors=["SerializationError"])
def truncated(scene: Scene) -> None:
    """A whole HTTP answer, whose content is half an answer."""
    _as_official(scene, lambda visit, answer: visit.reply(200, answer[: len(answer) // 2]))


@fault(
    "engine-strange-json",
    "The engine answers JSON that is no search's answer.",
    errors=["an answer without hits"],
)
def strange(scene: Scene) -> None:
    """A list, where an object with hits is due."""
    _as_official(scene, lambda visit, answer: visit.reply(200, b"[1, 2]"))


@fault("engine-resets", "The engine resets the connection instead of answering.", errors=["ConnectionError"])
def resets(scene: Scene) -> None:
    """After it has read the search."""
    _as_official(scene, lambda visit, answer: visit.reset())


@fault(
    "engine-resets-in-mid-answer",
    "The engine resets the connection in the middle of its answer.",
    errors=["ConnectionError"],
)
def resets_in_mid_answer(scene: Scene) -> None:
    """Half an answer is none."""
    _as_official(scene, _cut_off)


@fault("point-in-time-expired", "A point in time expires between two searches of it.", errors=["NotFoundError 404"])
def expired(scene: Scene) -> None:
    """Before, searches of it are reranked; after, they end with the engine's own error, as the official client's do."""
    official = scene.hold(_open(scene.stack.engine))
    pit = _point_in_time(official, scene.stack)
    of_pit: dict[str, Any] = {"index": None, "body": {"pit": {"id": pit}}, "searches": 8, "budget_ms": 5000.0}
    alive = scene.searches(scene.stack.steady_addresses, **of_pit)
    scene.demand(all(one.status == "reranked" for one in alive), "searches of the living point in time are reranked")
    scene.proves(_is_gone(official, pit), "the engine answers 404 for it")
    expired = scene.searches(scene.stack.steady_addresses, **of_pit)
    scene.demand(all(one.error == "NotFoundError 404" for one in expired), "all later searches end with 404")


def _point_in_time(official: opensearchpy.OpenSearch, stack: Stack) -> str:
    """One that is to live for two seconds; each engine has a call and a word of its own."""
    call, word = ("_pit", "id") if stack.kind == "elasticsearch" else ("_search/point_in_time", "pit_id")
    path = f"/{stack.index}/{call}?keep_alive=2s"
    return str(official.transport.perform_request("POST", path)[word])


@contextmanager
def _open(engine: str) -> Iterator[opensearchpy.OpenSearch]:
    client = opensearchpy.OpenSearch(engine, timeout=60)
    yield client
    client.close()


def _is_gone(official: opensearchpy.OpenSearch, pit: str) -> bool:
    """Ask after ever longer pauses whether it has expired; nobody is told when, and asking keeps it alive."""
    for pause_s in PAUSES_S:
        time.sleep(pause_s)
        try:
            official.search(body={"pit": {"id": pit}, "size": 0})
        except opensearchpy.NotFoundError:
            return True
    return False
