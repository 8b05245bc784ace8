"""Several searches in one ``msearch``: each rescored on its own terms, all of them scored in one call to the sidecar.

One round trip to the engine and one to the sidecar, however many searches there are. An item that fails in the engine
stays the engine's error; one whose scores can't be had falls back alone, or under ``on_failure: "error"`` becomes an
error item as the engines write them. Where an index allows fewer hits than a search's window, or keeps no ``_source``
for the texts that it hides, that search is asked again as the caller wrote it: one more round trip for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rescorer import filter_path, flow, hits, profiles, request
from rescorer.budget import Watch
from rescorer.context import Context, profile_of
from rescorer.domain import (
    Call,
    Flow,
    Outcome,
    Render,
    ScoreMany,
    ScoreRequest,
    Scores,
    SearchMany,
    SearchManyTemplates,
)
from rescorer.errors import BadScores, HybridWithoutPipeline, InvalidSetting, ScorerError
from rescorer.plan import Plan
from rescorer.rescoring import Left, Rescoring

STATUS_OF_FAILURE = 503
"""What an item's ``status`` says where its scores could not be had and it asked for an error."""

STATUS_OF_REFUSAL = 400
"""What it says where the engine's answer can't be rescored as the search is written."""


_OF_LINE = ("index", *profiles.EXPANSION)
"""What the line before a search says that the client reads; all of it goes to the engine."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One search among others: its line, its steps and its plan; ``rescoring`` None where nobody asks for any."""

    header: Mapping[str, Any]
    body: Any
    rescoring: Rescoring | None = None
    planned: Plan | Left | None = None

    @property
    def sent(self) -> Any:
        """The body that the engine gets."""
        return self.body if self.planned is None else self.planned.call.body


def msearch(call: Call, context: Context) -> Flow[Any]:
    """One ``msearch``; passed through as it is where none of its searches asks for rescoring.

    Raises InvalidSetting with the path ``body[…]`` before anything is sent.
    """
    call = _readable_twice(call)
    lines = _lines(call.body)
    if lines is None:
        return (yield SearchMany(call))
    watch = context.watch(call.options.get("request_timeout"))
    items = []
    for place, (header, body) in enumerate(lines):
        items.append((yield from _item(call, header, body, f"body[{2 * place + 1}].", context, watch)))
    if all(item.rescoring is None for item in items):
        return (yield SearchMany(call))
    sent = [line for item in items for line in (dict(item.header), item.sent)]
    shown = request.Asked(call=call, body={}, said=None).option("filter_path")
    wider = Call(sent, filter_path.widened(call.options, shown, "responses", context.engine))
    raw = yield SearchMany(wider)
    watch.lap("first_stage_ms", of_rescoring=False)
    found = _responses(raw, len(items))
    if found is None:
        return raw
    items, found = yield from _asked_again(items, found, wider.options)
    responses = yield from _rescored(items, found, watch)
    answer = {**raw, "responses": responses}
    return answer if shown is None else filter_path.filtered(answer, shown, context.engine)


def _responses(raw: Any, count: int) -> Sequence[Any] | None:
    """The answers as they are, each its own or an error; None where there are not as many as searches."""
    found = raw.get("responses") if isinstance(raw, Mapping) else None
    return found if isinstance(found, list | tuple) and len(found) == count else None


def msearch_template(call: Call, context: Context) -> Flow[Any]:
    """One ``msearch_template``: filled in search by search where one of them is to be rescored, else passed through."""
    call = _readable_twice(call)
    lines = _lines(call.body)
    if lines is None:
        return (yield SearchManyTemplates(call))
    wanted = False
    for header, body in lines:
        asked = request.Asked(call=Call(body, _options(call, header)), body=request.as_mapping(body), said=None)
        found = yield from profile_of(asked, context)
        wanted = wanted or not found.says_nothing or request.names_ours(asked.body.get("source"))
    if not wanted:
        return (yield SearchManyTemplates(call))
    filled: list[Any] = []
    for header, body in lines:
        try:
            answer = yield Render(request.template_call(Call(body, call.options)))
        except context.engine_error:
            answer = None
        output = answer.get("template_output") if isinstance(answer, Mapping) else None
        if not isinstance(output, Mapping):
            return (yield SearchManyTemplates(call))  # the engine knows how to say which of them is wrong
        filled += [header, request.filled_in(Call(body, {}), output).body]
    return (yield from msearch(Call(filled, call.options), context))


def _item(call: Call, header: Mapping[str, Any], body: Any, place: str, context: Context, watch: Watch) -> Flow[_Item]:
    asked = request.read(Call(body, _options(call, header)), place)
    if asked.tree is not None:
        raise InvalidSetting(f"{place}retriever", "rrf or linear", "is run by the client; send this one with search")
    found = yield from profile_of(asked, context)
    asked = flow.understood(asked, found, context, place)
    if asked.said is None and found.says_nothing:
        return _Item(header, body)
    rescoring = Rescoring(context, watch, found, asked)
    return _Item(header, body, rescoring, rescoring.planned())


def _asked_again(
    items: Sequence[_Item], responses: Sequence[Any], options: Mapping[str, Any]
) -> Flow[tuple[list[_Item], list[Any]]]:
    """Searches and answers; those of which the engine refuses what was added are asked as the caller wrote them."""
    newer, found = list(map(_as_written_if_refused, items, responses)), list(responses)
    places = [place for place, item in enumerate(newer) if item is not items[place]]
    if places:
        sent = [line for place in places for line in (dict(newer[place].header), newer[place].sent)]
        again = hits.lists((yield SearchMany(Call(sent, options))), len(places))
        for place, response in zip(places, again or (), strict=again is not None):
            found[place] = response
    return newer, found


def _as_written_if_refused(item: _Item, response: Any) -> _Item:
    if item.rescoring is None or not isinstance(item.planned, Plan):
        return item
    refusal = item.rescoring.refusal(item.planned, response)
    return item if refusal is None else replace(item, planned=item.rescoring.as_written(refusal))


def _rescored(items: Sequence[_Item], responses: Sequence[Any], watch: Watch) -> Flow[list[Any]]:
    wishes = [_wish(item, response) for item, response in zip(items, responses, strict=True)]
    results = yield from _scored(items, wishes, watch)
    watch.lap("scoring_ms", of_rescoring=True)
    for item, response, wish in zip(items, responses, wishes, strict=True):
        if isinstance(wish, Outcome) and isinstance(item.planned, Plan) and item.rescoring is not None:
            yield from item.rescoring.audited(item.planned, response, wish)
    return [_finished(items[place], responses[place], wishes[place], results.get(place)) for place in range(len(items))]


def _scored(items: Sequence[_Item], wishes: Sequence[Any], watch: Watch) -> Flow[dict[int, Scores | ScorerError]]:
    """What the scorer says, by the place of the search; those of one budget are asked together."""
    results: dict[int, Scores | ScorerError] = {}
    for budget_ms in dict.fromkeys(_budget_ms(items[place]) for place in _asking(wishes)):
        places = [place for place in _asking(wishes) if _budget_ms(items[place]) == budget_ms]
        try:
            asked = [wish for place in places if isinstance(wish := wishes[place], ScoreRequest)]
            results |= _by_place(places, (yield ScoreMany(asked, watch.left_s(budget_ms))))
        except ScorerError as error:
            results |= dict.fromkeys(places, error)
    return results


def _by_place(places: Sequence[int], answers: Any) -> dict[int, Scores | ScorerError]:
    """Each search's answer; raises BadScores where there are not as many as were asked for."""
    if not isinstance(answers, list | tuple) or len(answers) != len(places):
        raise BadScores(f"the scorer was asked {len(places)} requests together and answered another number")
    return {
        place: answer if isinstance(answer, Scores | ScorerError) else BadScores("the scorer's answer is no Scores")
        for place, answer in zip(places, answers, strict=True)
    }


def _asking(wishes: Sequence[Any]) -> list[int]:
    return [place for place, wish in enumerate(wishes) if isinstance(wish, ScoreRequest)]


def _budget_ms(item: _Item) -> float:
    assert isinstance(item.planned, Plan)  # noqa: S101 - only planned searches wish for scores
    return item.planned.settings.budget_ms


def _wish(item: _Item, response: Any) -> ScoreRequest | Outcome | HybridWithoutPipeline | None:
    if item.rescoring is None or not isinstance(response, Mapping) or "error" in response:
        return None
    if isinstance(item.planned, Left):
        return item.planned.outcome
    try:
        return item.rescoring.wish(item.planned, response) if item.planned is not None else None
    except HybridWithoutPipeline as error:
        return error


def _finished(item: _Item, response: Any, wish: Any, result: Scores | ScorerError | None) -> Any:
    if item.rescoring is None or wish is None:
        return response
    if isinstance(wish, HybridWithoutPipeline):
        return _error_item(str(wish), STATUS_OF_REFUSAL)
    if isinstance(item.planned, Left) or item.planned is None:
        return item.rescoring.told(response, wish)
    try:
        if isinstance(wish, Outcome):
            return item.rescoring.first_stage(item.planned, response, wish)
        if isinstance(result, Scores):
            return item.rescoring.scored(item.planned, response, wish, result)
        return item.rescoring.failed(item.planned, response, result or ScorerError("the scorer answered nothing"))
    except ScorerError as error:
        return _error_item(f"{error.reason}: {error}", STATUS_OF_FAILURE)


def _error_item(why: str, status: int) -> dict[str, Any]:
    """An item that failed, as the engines write it."""
    reason = {"type": "rescorer_exception", "reason": why}
    return {"error": {"root_cause": [reason], **reason}, "status": status}


def _options(call: Call, header: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for one search: the keywords of the whole, and which indices its own line names."""
    return request.without(call.options, "filter_path") | {key: header[key] for key in _OF_LINE if key in header}


def _readable_twice(call: Call) -> Call:
    """The call with its lines in a list where they come from an iterator, which hands them out once."""
    return Call(list(call.body), call.options) if isinstance(call.body, Iterator) else call


def _lines(body: Any) -> list[tuple[Mapping[str, Any], Any]] | None:
    """Header and search of each item; None where the body is not a list of such pairs, which the engine will say."""
    try:
        lines = list(_parsed(body))
    except (ValueError, TypeError, RecursionError):
        return None
    if not lines or len(lines) % 2 or not all(isinstance(line, Mapping) for line in lines[::2]):
        return None
    return list(zip(lines[::2], lines[1::2], strict=True))


def _parsed(body: Any) -> Iterator[Any]:
    if isinstance(body, bytes):
        body = body.decode()
    lines = body.removesuffix("\n").split("\n") if isinstance(body, str) else body
    for line in lines:
        yield json.loads(line or "{}") if isinstance(line, str | bytes) else line
