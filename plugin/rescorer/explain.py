"""What a search would do, without doing it: for ``client.rescorer.explain`` and the command ``rescorer plan``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from rescorer import config, flow, plan, profile, request
from rescorer.config import DocumentField, RescoreSettings
from rescorer.context import Context, profile_of
from rescorer.domain import Call, Flow
from rescorer.errors import Reason
from rescorer.plan import Plan
from rescorer.profiles import Found
from rescorer.request import Asked
from rescorer.rescoring import Left, Rescoring


def explained(call: Call, context: Context) -> Flow[dict[str, Any]]:
    """The story of ``search`` up to the point where something is sent, told; raises InvalidSetting as it does."""
    asked = request.read(call)
    found = yield from profile_of(asked, context)
    asked = flow.understood(asked, found, context)
    told: dict[str, Any] = {"would": "pass_through", "reason": None, "detail": None, "query_text": None}
    told |= {"settings": {}, "indices_with_profile": sorted(found.indices), "round_trips": 1}
    planned: Plan | Left = Left(asked.call, None)
    if asked.said is not None or not found.says_nothing:
        rescoring = Rescoring(context, context.watch(None), found, asked)
        planned = rescoring.planned()
        told |= {"would": "skip", "settings": _settings(asked, found)}
    if isinstance(planned, Plan):
        told |= {"would": "rescore", "query_text": _query_text(asked, planned)}
        if not context.has_scorer:
            told |= {"would": "fall_back", "reason": str(Reason.NO_SCORER)}
    elif planned.outcome is not None:
        told |= {"reason": str(planned.outcome.reason), "detail": planned.outcome.detail}
        told["query_texts_found"] = plan.query_texts(asked)
    branches = planned.branches if isinstance(planned, Plan) else None
    sent = planned.call if branches is None else branches.call
    return {**told, "sent": {"method": "search" if branches is None else "msearch", "body": sent.body, **sent.options}}


def _settings(asked: Asked, found: Found) -> dict[str, dict[str, Any]]:
    """Each setting with its value and where it comes from: ``default``, or the JSON path that says it."""
    said = asked.said or {}
    merged = config.merged(found.profile.rescore, said)
    told = {}
    for entry in fields(RescoreSettings):
        place = "default"
        if entry.name in said:
            place = asked.said_at.get(entry.name, "request")
        elif entry.name in found.profile.rescore:
            place = f"{profile.PATH}.{entry.name}"
        told[entry.name] = {"value": _shown(getattr(merged, entry.name)), "from": place}
    return told


def _query_text(asked: Asked, planned: Plan) -> dict[str, Any]:
    place = "the query"
    if planned.settings.query_text is not None:
        place = asked.said_at.get("query_text", f"{profile.PATH}.query_text")
    elif asked.option("q"):
        place = "q="
    return {"value": planned.query, "from": place}


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_shown(entry) for entry in value]
    if isinstance(value, DocumentField):
        return {"field": value.field, "label": value.label} if value.label else value.field
    return dict(value) if isinstance(value, Mapping) else value
