"""What a search would do, without doing it: for ``client.rescorer.explain`` and the command ``rescorer plan``.

The same steps as the search itself take the decision, so what is told here is what happens, up to what only the engine
and the sidecar know: whether there are hits, and whether scores come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rescorer import config, first_stage, flow, plan, profile, request, retriever
from rescorer.calibration import Isotonic, Platt
from rescorer.choices import Select
from rescorer.config import AUTO, AutoWindow, DocumentField, LongTexts, RescoreSettings, Stage
from rescorer.context import Context, profile_read
from rescorer.domain import Call, Flow
from rescorer.errors import Reason, one_line
from rescorer.gate import Gate
from rescorer.plan import Plan
from rescorer.profiles import Found
from rescorer.request import Asked
from rescorer.rescoring import Left, Rescoring

MENDS: Mapping[Reason, str] = {
    Reason.NO_HITS: "nothing matches; nothing is to be done",
    Reason.SIZE_ZERO: "ask for hits: a size above 0",
    Reason.PAGE_BEYOND_RESULTS: "fewer hits match than the page begins at; nothing is to be done",
    Reason.PAGE_BEYOND_WINDOW: "the page shows the tail; a larger window_size would reach it",
    Reason.EXPLICIT_SORT: "leave sort out, or sort by _score alone",
    Reason.SCROLL: "ask without scroll: page with from and size, in a point in time",
    Reason.SEARCH_AFTER: "page with from and size instead of search_after",
    Reason.SUGGEST_ONLY: "a search needs a query to be rescored",
    Reason.STORED_FIELDS_NONE: "leave stored_fields out, or name the fields that are wanted",
    Reason.AMBIGUOUS_STORED_FIELDS: "name no document field in stored_fields beside a part of _source",
    Reason.NO_QUERY_TEXT: "the query holds no full text: say query_text in rescore.cross_encoder",
    Reason.AMBIGUOUS_QUERY_TEXT: "say which it is: query_text in rescore.cross_encoder",
    Reason.NO_DOCUMENT_FIELDS: f"say document_fields, in the index's profile ({profile.PATH}) or in the request",
    Reason.PROFILES_DIFFER: "search indices that have the same profile, or say document_fields in the request",
    Reason.DISABLED: "it was switched off: enabled is false",
    Reason.GATE_PATTERN: "the gate leaves queries of this form alone; see gate.patterns",
    Reason.GATE_CODE: "the gate leaves codes alone; see gate.query_types",
    Reason.GATE_ONE_WORD: "the gate leaves queries of one word alone; see gate.query_types",
    Reason.GATE_QUOTED: "the gate leaves quoted queries alone; see gate.query_types",
    Reason.GATE_MARGIN: "the gate leaves clear winners of the first stage alone; see gate.margin",
    Reason.INVALID_PROFILE: "mend the profile where the detail says; look with: rescorer templates check INDEX",
    Reason.TEMPLATE_UNREADABLE: "mend the search template, or let this user fill it in (render_search_template)",
    Reason.WINDOW_TOO_LARGE: "set window_size to index.max_result_window or less",
    Reason.SOURCE_DISABLED: "leave the index out of profiles: its mapping disables _source, so it keeps no texts",
    Reason.NO_SCORER: "make the client with a sidecar, such as rescorer='localhost:50051'",
    Reason.BREAKER_OPEN: "start the sidecars, or wait a second; client.rescorer.state() tells which of them failed",
    Reason.SCORER_UNAVAILABLE: "start the sidecar, or correct its address; look with: rescorer doctor",
    Reason.DEADLINE_EXCEEDED: "give it more time (budget_ms, the request's timeout) or a smaller window_size",
    Reason.SCORER_OVERLOADED: "add sidecars, or set a smaller window_size",
    Reason.SCORER_REFUSED: "mend what the detail says; the models that are served: rescorer doctor",
    Reason.SCORER_FAILED: "the sidecar's log says why",
    Reason.BAD_SCORES: "the scorer answers nonsense: update it, and the client with it",
    Reason.CALIBRATION_MISMATCH: "fit one for this model: rescorer calibrate; or leave calibration out",
    Reason.NO_TIME_LEFT: "the engine took all of it: give the search a longer timeout",
}
"""What to do about each reason."""

ASK = f"put a profile into the index ({profile.PATH}), or rescore.cross_encoder into the request"
_SECRET = frozenset(["api_key", "headers", "http_auth"])
_WOULD = {"skipped": "skip", "fallback": "fall_back"}


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the search would do: ``rescore``, ``skip``, ``fall_back`` or ``pass_through``; why, and what mends it."""

    would: str
    reason: Reason | None = None
    detail: str | None = None
    mend: str | None = None


def explained(call: Call, context: Context) -> Flow[dict[str, Any]]:
    """The story of ``search`` up to the point where something is sent, told; raises InvalidSetting as it does."""
    asked = request.read(call)
    found, unread = yield from _profile(asked, context)
    asked = flow.understood(asked, found, context)
    says = asked.said is not None or not found.says_nothing
    planned = Rescoring(context, context.watch(None), found, asked).planned() if says else Left(asked.call, None)
    verdict = _judged(planned, context) if says else _unasked(asked, unread, context)
    page = plan.page_of(asked)
    return {
        "would": verdict.would,
        "reason": None if verdict.reason is None else str(verdict.reason),
        "detail": verdict.detail,
        "mend": verdict.mend,
        "query_text": _query_text(asked, planned) if isinstance(planned, Plan) else None,
        "query_texts_found": plan.query_texts(asked) if says else [],
        "page": None if page is None else {"from": page.offset, "size": page.size},
        "settings": _settings(asked, found) if says else {},
        "indices_with_profile": sorted(found.indices),
        "round_trips": 1,
        "sent": _sent(asked, planned),
    }


def _profile(asked: Asked, context: Context) -> Flow[tuple[Found, str | None]]:
    """The profile as a search finds it, and why it could not be read; a search goes on without saying so."""
    try:
        return (yield from profile_read(asked, context)), None
    except context.engine_error as error:
        kept = context.profiles.after_failure(context.profiles.key(asked), context.clock())
        return kept, one_line(error)


def _judged(planned: Plan | Left, context: Context) -> _Verdict:
    if isinstance(planned, Plan):
        if planned.closed is not None:  # drawn for the audit
            return _Verdict("skip", planned.closed.reason, planned.closed.detail, MENDS[planned.closed.reason])
        if context.has_scorer:
            return _Verdict("rescore")
        return _Verdict("fall_back", Reason.NO_SCORER, None, MENDS[Reason.NO_SCORER])
    outcome = planned.outcome
    if outcome is None or outcome.reason is None:
        return _Verdict("pass_through", None, "from or size is nothing that an engine takes, which it will say")
    return _Verdict(_WOULD[outcome.status], outcome.reason, outcome.detail, MENDS[outcome.reason])


def _unasked(asked: Asked, unread: str | None, context: Context) -> _Verdict:
    """Why nobody asks for rescoring."""
    index = context.profiles.expression(asked)
    if not context.has_scorer:
        said = "the request does not ask for rescoring, and a client without a sidecar reads no profile"
        return _Verdict("pass_through", None, said, MENDS[Reason.NO_SCORER])
    if unread is not None:
        mend = f"correct the index's name, or let this user read mappings; or: {ASK}"
        return _Verdict("pass_through", None, f"the profile of {index} can't be read: {unread}", mend)
    if not index:
        said = "the request does not ask for rescoring, and a search that names no index has no profile"
        return _Verdict("pass_through", None, said, f"name the index; or: {ASK}")
    return _Verdict("pass_through", None, f"neither the request nor a profile of {index} asks for rescoring", ASK)


def _sent(asked: Asked, planned: Plan | Left) -> dict[str, Any]:
    """The one call that goes to the engine, without what proves who is asking."""
    many, call = None, planned.call
    if isinstance(planned, Plan):
        many = None if planned.branches is None else planned.branches.call
    elif asked.tree is not None and planned.outcome is not None:
        many = first_stage.branches(asked, retriever.first_stage_of(asked.tree), (), 0).call
    sent = call if many is None else many
    options = {name: value for name, value in sent.options.items() if name not in _SECRET}
    return {"method": "search" if many is None else "msearch", "body": sent.body, **options}


def _settings(asked: Asked, found: Found) -> dict[str, dict[str, Any]]:
    """Each setting with its value and where it comes from: ``default``, or the JSON path that says it."""
    said = asked.said or {}
    layered = config.layered(found.profile.rescore, said)
    merged = config.merged(layered)
    told = {}
    for entry in fields(RescoreSettings):
        place = "default"
        if entry.name in said:
            place = asked.said_at.get(entry.name, "request")
        elif entry.name in layered:
            place = f"{profile.PATH}.{entry.name}"
        told[entry.name] = {"value": _shown(getattr(merged, entry.name)), "from": place}
    return told


def _query_text(asked: Asked, planned: Plan) -> dict[str, Any]:
    place = "the query"
    if planned.settings.query_text is not None:
        at_profile = f"{profile.PATH}.query_text"
        place = asked.said_at.get("query_text", at_profile)
    elif asked.option("q"):
        place = "q="
    return {"value": planned.query, "from": place}


def _said(value: Any) -> Any:
    """An object of settings without the keys that nobody set."""
    if isinstance(value, Mapping):
        return {key: _said(entry) for key, entry in value.items() if entry not in (None, "", (), {})}
    return _shown(value)


def _shown(value: Any) -> Any:
    if isinstance(value, AutoWindow):
        return AUTO
    if isinstance(value, tuple):
        return [_shown(entry) for entry in value]
    if isinstance(value, DocumentField):
        return _field(value)
    if isinstance(value, Gate | Select | Platt | Isotonic):
        return _said(asdict(value))
    if isinstance(value, LongTexts):
        return {key: entry for key, entry in asdict(value).items() if entry is not None}
    if isinstance(value, Stage):
        return _stage(value)
    return dict(value) if isinstance(value, Mapping) else value


def _field(field: DocumentField) -> Any:
    beside = {"label": field.label, "max_tokens": field.max_tokens}
    said = {key: entry for key, entry in beside.items() if entry}
    return {"field": field.field, **said} if said else field.field


def _stage(stage: Stage) -> dict[str, Any]:
    return {"model": stage.model, "keep": stage.keep} if stage.keep else {"model": stage.model}
