"""Taking out of a hit what was asked for on the model's behalf, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from rescorer import config, hits, plan, request
from rescorer.domain import Call
from rescorer.plan import Plan

QUERY = {"match": {"body": "cancel a flight"}}


def _restored(hit: Any, names: list[str], **view: Any) -> Any:
    settings = config.merged(config.parse({"document_fields": names}, "rescore"))
    made = plan.made(request.read(Call({"query": QUERY, "_source": ["n"], **view}, {})), settings)
    assert isinstance(made, Plan), made
    return hits.restored(hit, made)


@pytest.mark.parametrize(
    ("view", "left"),
    [
        ({}, {"year": [1]}),
        ({"fields": ["people.name"]}, {"year": [1], "people.name": ["Ada"]}),
        ({"fields": [{"field": "people.r*"}]}, {"year": [1], "people.role": ["r5"]}),
        ({"fields": ["people*"]}, {"year": [1], "people.name": ["Ada"], "people.role": ["r5"], "people": [{"x": 1}]}),
        ({"docvalue_fields": ["people.role"]}, {"year": [1], "people.role": ["r5"]}),
    ],
)
def test_of_an_object_only_what_the_caller_asked_for_stays(view: Any, left: Any) -> None:
    """With all that is below it, by name and by pattern."""
    fields = {"year": [1], "people.name": ["Ada"], "people.role": ["r5"], "people": [{"x": 1}]}
    hit = {"_id": "a", "_source": {"n": 1}, "fields": fields}
    assert _restored(hit, ["people"], **view) == {"_id": "a", "_source": {"n": 1}, "fields": left}


@pytest.mark.parametrize("name", ["chunks", "chunks.text", "chunks.in"])
@pytest.mark.parametrize(
    ("view", "left"),
    [
        ({}, None),
        ({"fields": ["chunks.n"]}, [{"n": [1]}, {"n": [2]}]),
        ({"fields": ["chunks.in.deep"]}, [{"in": [{"deep": ["d"]}]}]),
    ],
)
def test_of_nested_objects_too(name: str, view: Any, left: Any) -> None:
    """Elasticsearch shows them in a list; one of which nothing is left is not shown."""
    ours = {"text": ["a"]} if name != "chunks.in" else {}
    deep = {"in": [{"deep": ["d"]}]} if "in.deep" in str(view) or name != "chunks.text" else {}
    his = {"n": [1]} if "chunks.n" in str(view) or name == "chunks" else {}
    second = [{"n": [2]}] if his else []
    hit = {"_id": "a", "fields": {"chunks": [{**ours, **deep, **his}, *second]}}
    assert _restored(hit, [name], **view) == {"_id": "a"} | ({} if left is None else {"fields": {"chunks": left}})


def test_ignored_values_of_ours_go_and_those_of_the_caller_stay() -> None:
    """Elasticsearch tells them beside ``fields``, for the fields that were asked for there."""
    ignored = {"title.plain": ["long"], "tag.plain": ["long"]}
    hit = {"_id": "a", "fields": {"title": ["long"]}, "ignored_field_values": ignored}
    assert _restored(hit, ["title"]) == {"_id": "a", "ignored_field_values": {"tag.plain": ["long"]}}
    kept = _restored(hit, ["title"], fields=["title.*", "tag.*"])
    assert kept == {"_id": "a", "ignored_field_values": ignored}
