"""For tests of an application that uses the client: scores without a sidecar, time without waiting, the hits contract.

:func:`assert_contract` and :func:`assert_page_contract` compare what the official client answers (``before``) with what
ours answers to the same search (``after``). Which of the two depends on how much of the window the page shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from rescorer.domain import Outcome, Status
from rescorer.errors import Reason
from rescorer.scorers.fake import AsyncFakeScorer, FakeScorer, shared_words

__all__ = ["AsyncFakeScorer", "FakeClock", "FakeScorer", "assert_contract", "assert_page_contract", "shared_words"]

_JUDGED_APART = frozenset(["hits", "rescore", "took", "profile"])
_RENEWED = frozenset(["pit_id", "_scroll_id"])
"""Handles, which an engine may renew with each call."""

_MAY_CHANGE = frozenset(["_score", "_rescore", "_explanation"])
_MOST_SHOWN = 20
_Key: TypeAlias = tuple[Any, Any, Any]
_Json: TypeAlias = Mapping[str, Any]


class FakeClock:
    """Seconds that pass only when told to; give it as ``clock``, and ``advance`` as ``sleep``."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self.waits_s: list[float] = []

    def __call__(self) -> float:
        """The time it is."""
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        self.waits_s.append(seconds)


def assert_contract(before: Any, after: Any) -> None:
    """Assert that ``after`` is ``before`` rescored: the same hits, permuted, each with nothing but a new score.

    before: the official client's answer to the same search, from the first hit on, with a ``size`` of at least
    ``window_size`` (or of all that matches). after: our client's answer. Both as a dict or an ``ObjectApiResponse``.
    Raises AssertionError, one line per breach: a hit that is lost, doubled, invented or changed beyond ``_score``,
    ``_rescore`` and ``_explanation``; scores that rise along the list; a ``max_score`` that is not the first score; a
    tail out of first-stage order; any other part that differs, save ``took``, ``profile``, ``pit_id`` and
    ``_scroll_id``; an outcome that is missing or does not fit the hits. An answer that says ``skipped`` or
    ``fallback`` must be ``before`` itself. Hits that ``min_score`` left out must be as many as the outcome says::

        search = {"index": "articles", "body": {"query": {"match": {"body": "cancel a flight"}}, "size": 100}}
        before = opensearchpy.OpenSearch(hosts=HOSTS).search(**search)
        after = rescorer.opensearch.OpenSearch(hosts=HOSTS, rescorer=FakeScorer()).search(**search)
        assert_contract(before, after)
    """
    pair = _Pair(_read(before, "before"), _read(after, "after"))
    _refuse([*_of_parts(pair), *_of_outcome(pair), *_of_list(pair), *_of_hits(pair), *_of_order(pair, 0)])


def assert_page_contract(before: Any, after: Any) -> None:
    """Assert that ``after`` is the page of a rescored list that ``before`` is of the first stage.

    before: the official client's answer to the same search, with the same ``from`` and ``size``, whatever they are. A
    page smaller than the window may hold other hits than before, which came up from deeper in the window; so this
    asserts all that :func:`assert_contract` does, except that a hit which the page had before may have left it. A hit
    is taken for invented where its first-stage rank, as the outcome tells it, is that of another hit of ``before``::

        page = {"query": {"match": {"body": "cancel a flight"}}, "from": 20, "size": 10}
        assert_page_contract(official.search(index="articles", body=page), ours.search(index="articles", body=page))
    """
    pair = _Pair(_read(before, "before"), _read(after, "after"))
    offset = _offset(pair)
    _refuse([*_of_parts(pair), *_of_outcome(pair), *_of_page(pair, offset), *_of_hits(pair), *_of_order(pair, offset)])


@dataclass(frozen=True, slots=True)
class _Pair:
    before: _Json
    after: _Json

    @property
    def first_stage(self) -> list[_Json]:
        return list(self.before["hits"]["hits"])

    @property
    def shown(self) -> list[_Json]:
        return list(self.after["hits"]["hits"])

    @property
    def outcome(self) -> _Json:
        """What ``after`` says about itself; empty where it says nothing that can be read."""
        found = self.after.get("rescore")
        return found if isinstance(found, Mapping) else {}

    @property
    def is_rescored(self) -> bool:
        return self.outcome.get("status") in ("reranked", "partial")

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the outcome says about each hit; empty where that is not one entry for each hit."""
        entries: Any = self.outcome.get("hits")
        is_whole = isinstance(entries, list) and all(isinstance(entry, Mapping) for entry in entries)
        return entries if is_whole and len(entries) == len(self.shown) else []

    @property
    def totals(self) -> _Json:
        found = self.outcome.get("totals")
        return found if isinstance(found, Mapping) else {}

    @property
    def in_window(self) -> Any:
        """How many hits the window held, as the outcome tells it."""
        return self.totals.get("window")

    @property
    def left_out(self) -> int:
        """How many hits ``min_score`` left out."""
        count = self.totals.get("left_out")
        return count if isinstance(count, int) else 0


def _read(answer: Any, name: str) -> _Json:
    try:
        found = dict(answer)  # an ObjectApiResponse hands out its body
        listed = found["hits"]["hits"]
    except (KeyError, TypeError, ValueError) as error:
        raise AssertionError(f"{name} is no search answer: it must hold hits.hits, and is {_short(answer)}") from error
    if not isinstance(listed, list) or not all(isinstance(hit, Mapping) for hit in listed):
        raise AssertionError(f"{name} is no search answer: hits.hits must be a list of objects")
    return found


def _refuse(breaches: Sequence[str]) -> None:
    if breaches:
        more = len(breaches) - _MOST_SHOWN
        shown = [*breaches[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise AssertionError("\n  - ".join(["the hits contract is broken:", *shown]))


def _of_parts(pair: _Pair) -> Iterator[str]:
    """Every part of the answer that rescoring has no business with."""
    apart = _JUDGED_APART | _RENEWED
    yield from _differences(_without(pair.before, apart), _without(pair.after, apart), "")
    inner = frozenset(["hits", "max_score"] if pair.is_rescored else ["hits"])
    yield from _differences(_without(pair.before["hits"], inner), _without(pair.after["hits"], inner), "hits")


def _of_outcome(pair: _Pair) -> Iterator[str]:
    if "rescore" not in pair.after:
        yield "rescore is missing: nobody asked for rescoring; client.rescorer.explain(…) says why"
        return
    outcome, keys = pair.outcome, Outcome(status="reranked").as_dict().keys()
    if outcome.keys() != keys:
        yield f"rescore must hold the keys {', '.join(keys)}, and is {_short(pair.after['rescore'])}"
        return
    status, reason = outcome["status"], outcome["reason"]
    if status not in get_args(Status):
        yield f"rescore.status must be one of {', '.join(get_args(Status))}, and is {status!r}"
    elif (reason is None) != (status == "reranked") or (reason is not None and reason not in list(Reason)):
        yield f"rescore.reason {reason!r} does not fit the status {status!r}"
    yield from _of_counts(pair) if pair.is_rescored else _of_nothing(pair)


def _of_nothing(pair: _Pair) -> Iterator[str]:
    """A search that was not rescored tells no scores."""
    for key, value in (("scored", 0), ("hits", None)):
        if pair.outcome[key] != value:
            yield f"rescore.{key} must be {value!r} where the status is {pair.outcome['status']!r}"


def _of_counts(pair: _Pair) -> Iterator[str]:
    outcome = pair.outcome
    scored, in_window, window = outcome["scored"], pair.in_window, outcome["window"]
    if not all(type(count) is int for count in (scored, in_window, window)):
        yield f"rescore must count scored, totals.window and window, and says {scored}, {in_window} and {window}"
        return
    is_whole = scored == in_window
    fits = is_whole if outcome["status"] == "reranked" else not is_whole or outcome["stages"] is not None
    if not (fits and 0 < scored <= window and in_window <= window):
        yield f"rescore says {outcome['status']}, and {scored} of {in_window} hits in a window of {window} are scored"
    if len(pair.told) != len(pair.shown):
        yield f"rescore.hits must hold one entry for each of the {len(pair.shown)} hits"
    here = sum(entry.get("cross_encoder_score") is not None for entry in pair.told)
    if here > scored:
        yield f"rescore.hits holds {here} cross-encoder scores, and rescore.scored is {scored}"


def _of_list(pair: _Pair) -> Iterator[str]:
    """Every hit of before once in after, and no other."""
    first, shown = _counted(pair.first_stage), _counted(pair.shown)
    if isinstance(pair.in_window, int) and pair.in_window > len(pair.first_stage):
        held = f"before holds {len(pair.first_stage)} of the window's {pair.in_window} hits"
        yield f"{held}: ask both clients with a size of at least window_size, or use assert_page_contract"
    lost = list((first - shown).elements())
    if len(lost) != pair.left_out:
        yield from (f"hit {_name(key)} is lost" for key in lost)
        if pair.left_out:
            yield f"rescore.totals.left_out is {pair.left_out}, and {len(lost)} hits are missing"
    for key in (shown - first).elements():
        yield f"hit {_name(key)} is {'doubled' if key in first else 'invented'}"


def _of_page(pair: _Pair, offset: int | None) -> Iterator[str]:
    """As many hits as before, none of them twice, and none in another one's place."""
    first, shown = pair.first_stage, pair.shown
    if len(shown) != len(first) and not (pair.left_out and len(shown) < len(first)):
        yield f"before holds {len(first)} hits and after {len(shown)}"
    had, has = _counted(first), _counted(shown)
    for key in (has - (had | Counter(dict.fromkeys(has, 1)))).elements():
        yield f"hit {_name(key)} is doubled"
    for hit, entry in zip(shown, pair.told, strict=False):
        rank: Any = entry.get("first_stage_rank")
        if _key(hit) not in had and offset is not None and _is_rank(rank) and 0 < rank - offset <= len(first):
            held = _name(_key(first[rank - offset - 1]))
            yield f"hit {_name(_key(hit))} is invented: its first-stage rank {rank} is that of {held}"


def _of_hits(pair: _Pair) -> Iterator[str]:
    """What each hit holds beyond its score."""
    had: dict[_Key, list[_Json]] = {}
    for hit in pair.first_stage:
        had.setdefault(_key(hit), []).append(hit)
    for hit in pair.shown:
        twins = had.get(_key(hit), [])
        breaches = [list(_differences(_kept(twin), _kept(hit), f"hit {_name(_key(hit))}:")) for twin in twins]
        if breaches and all(breaches):
            yield from breaches[0]
        if not pair.is_rescored and twins and all(_scores(twin) != _scores(hit) for twin in twins):
            yield f"hit {_name(_key(hit))}: its score changed, and the status is {pair.outcome.get('status')!r}"


def _of_order(pair: _Pair, offset: int | None) -> Iterator[str]:
    if not pair.is_rescored:
        if [_key(hit) for hit in pair.first_stage] != [_key(hit) for hit in pair.shown]:
            yield f"the order changed, and the status is {pair.outcome.get('status')!r}"
        return
    yield from _of_scores(pair, offset)
    yield from _of_ranks(pair, offset)


def _of_scores(pair: _Pair, offset: int | None) -> Iterator[str]:
    scores: list[Any] = [hit.get("_score") for hit in pair.shown]
    for place, score in enumerate(scores):
        name = _name(_key(pair.shown[place]))
        if not isinstance(score, int | float) or score != score:  # noqa: PLR0124 - not a number is no score
            yield f"hit {name}: _score is {score!r}"
            return
        if place and score > scores[place - 1]:
            yield f"scores rise: hit {name} at place {place + 1} has {score}, after {scores[place - 1]}"
    top = pair.after["hits"].get("max_score")
    if scores and not (top == scores[0] or (offset != 0 and isinstance(top, int | float) and top >= scores[0])):
        yield f"max_score is {top!r}, and the first score {scores[0]!r}"


def _of_ranks(pair: _Pair, offset: int | None) -> Iterator[str]:
    """What the outcome says about each hit: whose it is, where it stood, with which score; and the tail's order."""
    places = {_key(hit): place for place, hit in enumerate(pair.first_stage)}
    tail: list[int] = []
    for hit, entry in zip(pair.shown, pair.told, strict=False):
        name = _name(_key(hit))
        rank: Any = entry.get("first_stage_rank")
        if (entry.get("_index"), entry.get("_id")) != _key(hit)[:2] or not _is_rank(rank):
            yield f"rescore.hits tells of {entry.get('_index')}/{entry.get('_id')}, rank {rank!r}, where {name} stands"
            return
        place = places.get(_key(hit))
        if place is not None and rank != place + 1 + (offset or 0):
            yield f"hit {name}: its first-stage rank is told as {rank}, and before it stands at {place + 1}"
        if place is not None and entry.get("first_stage_score") != pair.first_stage[place].get("_score"):
            yield f"hit {name}: its first-stage score is told as {entry.get('first_stage_score')!r}"
        if tail and rank <= tail[-1]:
            yield f"hit {name}, first-stage rank {rank}, stands below the tail, which is in first-stage order"
        tail += [rank] if rank > _window(pair) else []
    ranks = Counter(entry.get("first_stage_rank") for entry in pair.told)
    yield from (f"rescore.hits tells the first-stage rank {rank} twice" for rank, count in ranks.items() if count > 1)


def _window(pair: _Pair) -> int:
    window = pair.outcome.get("window")
    return window if isinstance(window, int) else 0


def _offset(pair: _Pair) -> int | None:
    """How many hits stand before the page, as the hits that both answers show tell it; None where there are none."""
    places = {_key(hit): place for place, hit in enumerate(pair.first_stage)}
    told = [
        entry["first_stage_rank"] - 1 - places[_key(hit)]
        for hit, entry in zip(pair.shown, pair.told, strict=False)
        if _key(hit) in places and _is_rank(entry.get("first_stage_rank"))
    ]
    common = Counter(told).most_common(1)
    return max(0, common[0][0]) if common else None


def _is_rank(rank: Any) -> bool:
    return type(rank) is int and rank > 0


def _key(hit: _Json) -> _Key:
    return hit.get("_index"), hit.get("_id"), hit.get("_routing")


def _name(key: _Key) -> str:
    return f"{key[0]}/{key[1]}"


def _counted(hits: Sequence[_Json]) -> Counter[_Key]:
    return Counter(map(_key, hits))


def _kept(hit: _Json) -> _Json:
    return _without(hit, _MAY_CHANGE)


def _without(answer: _Json, names: frozenset[str]) -> _Json:
    return {name: value for name, value in answer.items() if name not in names}


def _scores(hit: _Json) -> _Json:
    return {name: value for name, value in hit.items() if name in _MAY_CHANGE}


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """Each value that differs, by its path; ``1``, ``1.0`` and ``true`` are three different ones."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = f"{path}{'' if not path or path.endswith(':') else '.'}{' ' if path.endswith(':') else ''}{name}"
            if name not in after:
                yield f"{inner} is missing"
            elif name not in before:
                yield f"{inner} was not there before"
            else:
                yield from _differences(before[name], after[name], inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(old, new, f"{path}[{place}]")
    elif type(before) is not type(after) or before != after:
        yield f"{path} was {_short(before)} and is {_short(after)}"


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
