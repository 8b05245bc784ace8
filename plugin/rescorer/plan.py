"""What to do with one search: rescore it and how, or leave it alone and why.

## Decisions
2026-11: where the caller sees no ``_source``, it is asked for on our behalf and taken out as a whole, so that the model
reads what it reads otherwise. A dotted name may be a multi-field, which only ``fields`` has; where ``stored_fields``
may name it too, its parents come in ``_source`` instead, since only the engine knows whether it is stored.
2026-11: where he sees a part of ``_source``, texts are asked for through ``fields``, with all that is below them, and
taken out again, whole keys at a time. Rejected: widening ``_source`` and cutting it back, which needs the engine's
pattern rules a second time. If ``stored_fields`` may name such a text, nobody knows whose it is: left alone.
2026-11: ``sort`` leaves a search alone unless it is ``_score`` alone: ``_score`` with a tie-breaker is there for
``search_after``, whose cursor a new order would break.
2026-11: pages past the window of a hybrid query fix ``pagination_depth`` at the window, which is what page 1 gets
without saying so; otherwise its scores, and so the window, would change from page to page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from rescorer import choices, filter_path, first_stage, gate, pages, request, retriever, text
from rescorer.config import RescoreSettings
from rescorer.domain import Call, Engine
from rescorer.errors import Reason
from rescorer.first_stage import Branches
from rescorer.gate import Closed
from rescorer.pages import Page
from rescorer.request import Asked

DEFAULT_SIZE = 10
"""Both engines' own."""

_SOURCE_CUTS = ("_source_includes", "_source_excludes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to rescore one search.

    call: what is sent to the engine: the whole window and the page, from the first hit on.
    branches: what is sent instead where the first stage is several lists that the client fuses.
    added_fields: names that ``fields`` asks for on our behalf, to be taken out of the hits again with all below them.
    own_fields: names and patterns of what the caller asked for himself, which stays.
    added_source: whether ``_source`` is shown on our behalf alone, to be taken out as well.
    source_is_whole: whether ``_source`` holds the texts uncut, be it his or ours.
    filter_path: the caller's own, for the final answer; None where there is none.
    closed: why a gate leaves the search alone; it is planned all the same where it is audited.
    is_audited: whether it is scored afterwards if a gate leaves it alone.
    """

    settings: RescoreSettings
    query: str
    page: Page
    call: Call
    branches: Branches | None
    added_fields: tuple[str, ...]
    own_fields: tuple[str, ...]
    added_source: bool
    source_is_whole: bool
    explain: bool
    filter_path: Any
    closed: Closed | None = None
    is_audited: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a search is left alone; ``reason`` None where the engine will refuse it anyway."""

    call: Call
    reason: Reason | None
    detail: str | None = None


def made(asked: Asked, settings: RescoreSettings, engine: Engine = "opensearch", lot: float = 1.0) -> Plan | Skip:
    """The plan for a search under these settings. Nothing of the caller's is changed.

    lot: a number drawn from 0 to below 1, which says whether the search is of an audit sample; 1 is of none.
    """
    # One rule after the other, since the first that holds names the reason: taken apart, their order would be hidden.
    reason = _reason_to_leave_alone(asked, settings)
    page = page_of(asked)
    if reason or page is None or not _lists_fields(asked.body):
        return Skip(asked.call, reason)
    if page.size == 0:
        return Skip(asked.call, Reason.SIZE_ZERO)
    texts = [settings.query_text] if settings.query_text else query_texts(asked)
    if len(texts) != 1:
        return Skip(asked.call, Reason.AMBIGUOUS_QUERY_TEXT if texts else Reason.NO_QUERY_TEXT)
    if not settings.document_fields:
        return Skip(asked.call, Reason.NO_DOCUMENT_FIELDS)
    closed, is_audited = gate.of_query(settings.gate, texts[0]), _is_audited(asked, settings, lot)
    if closed is not None and not is_audited:
        return Skip(asked.call, closed.reason, closed.detail)
    if _shows_a_part(asked) and _may_be_stored(asked, _hidden_fields(asked, _wanted_fields(asked, settings))):
        return Skip(asked.call, Reason.AMBIGUOUS_STORED_FIELDS)
    is_tail = not pages.touches(page, settings.window_size)
    if is_tail and settings.min_score is None and not _is_hybrid(asked) and asked.tree is None:
        return Skip(asked.call, Reason.PAGE_BEYOND_WINDOW)
    vector = _vector_field(settings, engine)
    planned = replace(_plan(asked, settings, page, texts[0], vector), closed=closed, is_audited=is_audited)
    if planned.filter_path is None:
        return planned
    options = filter_path.widened(planned.call.options, planned.filter_path, "", engine)
    return replace(planned, call=Call(planned.call.body, options))


def _is_audited(asked: Asked, settings: RescoreSettings, lot: float) -> bool:
    """A tree with cross-encoders further down is not: what they would do can't be compared with one list."""
    is_one_list = asked.tree is None or retriever.is_rescored_once(asked.tree)
    return is_one_list and gate.is_audited(settings.gate, lot)


def query_texts(asked: Asked) -> list[str]:
    """Every different full-text string of the search, which has to be one for the query text to be known."""
    of_url = asked.option("q")
    if of_url:
        return text.query_texts({"query_string": {"query": of_url}})
    return text.query_texts([asked.body.get(key) for key in ("query", "retriever", "knn")])


def _plan(asked: Asked, settings: RescoreSettings, page: Page, query: str, vector: tuple[str, ...]) -> Plan:
    hides, shows_a_part = _hides_source(asked), _shows_a_part(asked)
    asked, added, sent = _with_fields(asked, _wanted_fields(asked, settings), vector)
    branches = None
    if asked.tree is not None:
        branches = first_stage.branches(asked, asked.tree, sent, settings.window_size)
    return Plan(
        settings=settings,
        query=query,
        page=page,
        call=_call(asked, settings, page, sent),
        branches=branches,
        added_fields=added,
        own_fields=(*_shown_in_fields(asked), *(_stored_names(asked) or ())) if added else (),
        added_source=hides,
        source_is_whole=not shows_a_part,
        explain=_is_true(asked.setting("explain")),
        filter_path=asked.option("filter_path"),
    )


def _with_fields(
    asked: Asked, names: list[str], vector: tuple[str, ...]
) -> tuple[Asked, tuple[str, ...], tuple[str, ...]]:
    """The search that brings the texts and vectors, which fields it brings for that, and how it asks for them."""
    hides = _hides_source(asked)
    added = _hidden_fields(asked, names) if hides or _shows_a_part(asked) else ()
    if hides:
        stored = _may_be_stored(asked, added)
        added = tuple(name for name in added if "." in name and name not in stored)
        body = {**asked.body, "_source": list(dict.fromkeys([*names, *_parents(stored)]))}
        asked = replace(asked, body=body, call=Call(body, request.without(asked.call.options, "_source")))
    sent = added if hides else tuple(part for name in added for part in (name, f"{name}.*"))
    unseen = tuple(name for name in _hidden_fields(asked, list(vector)) if name not in added)
    added, sent = (*added, *unseen), (*sent, *unseen)
    return asked, added, sent


def _call(asked: Asked, settings: RescoreSettings, page: Page, added: tuple[str, ...]) -> Call:
    fetched = pages.to_fetch(page, settings.window_size)
    body = {**asked.body, "from": fetched.offset, "size": fetched.size}
    if added:
        body["fields"] = [*(asked.body.get("fields") or ()), *added]
    if _is_hybrid(asked) and page.end > settings.window_size:
        depth = {"pagination_depth": settings.window_size, **asked.body["query"]["hybrid"]}
        body["query"] = {**asked.body["query"], "hybrid": depth}
    options = request.without_page(asked.call.options)
    if asked.option("sort"):  # by score, or there would be no plan; elasticsearch-py can't send it beside a body
        body["sort"] = ["_score"]
        options = request.without(options, "sort")
    return Call(body, options)


def _reason_to_leave_alone(asked: Asked, settings: RescoreSettings) -> Reason | None:
    body = asked.body
    if not settings.enabled:
        return Reason.DISABLED
    if asked.option("scroll"):
        return Reason.SCROLL
    if body.get("search_after"):
        return Reason.SEARCH_AFTER
    if request.sorts_by_other_than_score(asked.setting("sort")):
        return Reason.EXPLICIT_SORT
    if asked.setting("stored_fields") in ("_none_", ["_none_"]):
        return Reason.STORED_FIELDS_NONE  # the engines refuse to read a field beside it
    has_query = asked.tree or asked.option("q") or not body.keys().isdisjoint(("query", "knn", "retriever"))
    return Reason.SUGGEST_ONLY if "suggest" in body and not has_query else None


def page_of(asked: Asked) -> Page | None:
    """The page that the caller wants; None where ``from`` or ``size`` is nothing that an engine takes."""
    size, offset = _whole(asked.setting("size"), DEFAULT_SIZE), _whole(asked.setting("from"), 0)
    return None if size is None or offset is None else Page(offset, size)


def _whole(value: Any, default: int) -> int | None:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | str | bytes):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if number >= 0 else None


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _lists_fields(body: Mapping[str, Any]) -> bool:
    """Whether what names fields does so in the way that the engines take; they refuse another, and say so best."""
    names = [body[key] for key in ("fields", "docvalue_fields") if body.get(key) is not None]
    scripts = body.get("script_fields")
    return all(map(_is_list, names)) and (scripts is None or isinstance(scripts, Mapping))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_hybrid(asked: Asked) -> bool:
    query = asked.body.get("query")
    return isinstance(query, Mapping) and isinstance(query.get("hybrid"), Mapping)


def _source_is_whole(asked: Asked) -> bool:
    shown = asked.setting("_source")
    if asked.option(*_SOURCE_CUTS) is not None:
        return False
    stored = _stored_names(asked)
    is_left_out = "script_fields" in asked.body if stored is None else "_source" not in stored
    if _is_switched_off(asked):
        return stored is not None and not is_left_out  # to name it there switches it on again
    if asked.option("_source") is not None:
        return shown is True or shown == "true"  # as a body's text it would name a field
    return shown is True or (shown is None and not is_left_out)


def _hides_source(asked: Asked) -> bool:
    """Whether the caller sees no ``_source`` at all."""
    if asked.option(*_SOURCE_CUTS) is not None or _source_is_whole(asked):
        return False
    return _is_switched_off(asked) or asked.setting("_source") is None


def _is_switched_off(asked: Asked) -> bool:
    """``"false"`` is a field's name in a body."""
    of_url = asked.option("_source")
    return asked.body.get("_source") is False if of_url is None else of_url in (False, "false")


def _shows_a_part(asked: Asked) -> bool:
    return not _source_is_whole(asked) and not _hides_source(asked)


def _wanted_fields(asked: Asked, settings: RescoreSettings) -> list[str]:
    """Every field that is read for this search, by a cross-encoder also deep in a tree of retrievers."""
    inner = [] if asked.tree is None else retriever.document_fields(asked.tree)
    read = [field.field for field in (*settings.document_fields, *inner)]
    return list(dict.fromkeys([*read, *choices.fields(settings.select)]))


def _vector_field(settings: RescoreSettings, engine: Engine) -> tuple[str, ...]:
    """The field that hits are compared by, where the engine shows vectors in ``fields`` alone."""
    named = settings.select and settings.select.novelty and settings.select.novelty.vector_field
    return (named,) if named and engine == "elasticsearch" else ()


def _hidden_fields(asked: Asked, names: list[str]) -> tuple[str, ...]:
    shown = [name for name in _shown_in_fields(asked) if isinstance(name, str)]
    return tuple(name for name in names if not any(fnmatchcase(name, pattern) for pattern in shown))


def _may_be_stored(asked: Asked, names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of these ``stored_fields`` may show as well, or something below them."""
    patterns = _stored_names(asked) or []
    return tuple(name for name in names if any(_may_name(pattern, name) for pattern in patterns))


def _may_name(pattern: str, name: str) -> bool:
    if fnmatchcase(name, pattern):
        return True
    before, star, _ = pattern.partition("*")
    return before.startswith(f"{name}.") or (bool(star) and f"{name}.".startswith(before))


def _stored_names(asked: Asked) -> list[str] | None:
    """The names and patterns in ``stored_fields``; None where it is not said."""
    said = asked.setting("stored_fields")
    if said is None:
        return None
    names = said.split(",") if isinstance(said, str) else said if _is_list(said) else ()
    return [name for name in names if isinstance(name, str)]


def _parents(names: tuple[str, ...]) -> Iterator[str]:
    """What stands above each name: a multi-field such as ``title.english`` has its text in its parent."""
    for name in names:
        steps = name.split(".")
        yield from (".".join(steps[:length]) for length in range(len(steps) - 1, 0, -1))


def _shown_in_fields(asked: Asked) -> Iterator[Any]:
    """Names and patterns that the caller himself asked for, so that they stay in the hits."""
    for key in ("fields", "docvalue_fields"):
        for entry in asked.body.get(key) or ():
            yield entry.get("field") if isinstance(entry, Mapping) else entry
    yield from asked.body.get("script_fields") or ()
    collapse = asked.body.get("collapse")
    if isinstance(collapse, Mapping):
        yield collapse.get("field")  # the engine shows it in each hit's fields
    of_url = asked.option("docvalue_fields") or ()
    yield from of_url.split(",") if isinstance(of_url, str) else of_url if _is_list(of_url) else ()
