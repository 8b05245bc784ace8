"""What a request says about rescoring, and what of it is sent on."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from rescorer import request
from rescorer.domain import Call
from rescorer.errors import InvalidSetting

QUERY = {"match": {"body": "cancel a flight"}}
NATIVE = {"window_size": 50, "query": {"rescore_query": {"match_phrase": {"body": "a flight"}}}}


def _read(body: Any, **options: Any) -> request.Asked:
    return request.read(Call(body, options))


@pytest.mark.parametrize(
    "body", [None, {}, {"query": QUERY}, {"query": QUERY, "rescore": NATIVE}, {"rescore": [NATIVE]}, '{"query": {}}']
)
def test_a_request_that_says_nothing_is_the_very_same_object(body: Any) -> None:
    """Where no cross_encoder stands in the body, nothing is copied and nothing is changed."""
    asked = _read(body)
    assert asked.said is None
    assert asked.call.body is body


@pytest.mark.parametrize(
    ("rescore", "sent"),
    [
        ({"cross_encoder": {}}, None),
        ({"window_size": 20, "cross_encoder": {}}, None),
        ([{"cross_encoder": {}}], None),
        ([NATIVE, {"window_size": 20, "cross_encoder": {}}], [NATIVE]),
        ([{"cross_encoder": {}}, NATIVE], [NATIVE]),
        ({**NATIVE, "cross_encoder": {}}, NATIVE),
        ([{**NATIVE, "cross_encoder": {}}, NATIVE], [NATIVE, NATIVE]),
    ],
)
def test_only_the_engines_own_rescorers_are_sent_on(rescore: Any, sent: Any) -> None:
    """M26: the engine never sees cross_encoder, and always its own rescorers, in their order."""
    body = {"query": QUERY, "rescore": rescore, "size": 3}
    before = copy.deepcopy(body)
    asked = _read(body)
    assert asked.call.body == {"query": QUERY, "size": 3} | ({"rescore": sent} if sent else {})
    assert body == before


@pytest.mark.parametrize(
    ("rescore", "said"),
    [
        ({"window_size": 20, "cross_encoder": {}}, {"window_size": 20}),
        ({"window_size": 20, "cross_encoder": {"window_size": 30}}, {"window_size": 30}),
        ([NATIVE, {"cross_encoder": {"model": "m"}}], {"model": "m"}),
        ({"cross_encoder": False}, {"enabled": False}),
        ({"cross_encoder": True}, {"enabled": True}),
    ],
)
def test_what_was_said_is_read_in_each_form(rescore: Any, said: Any) -> None:
    """The object, the list, the switch, and window_size on either side of the key mean what they look like."""
    assert _read({"rescore": rescore}).said == said


@pytest.mark.parametrize(
    ("rescore", "path"),
    [
        ({"cross_encoder": {"window_size": 0}}, "rescore.cross_encoder.window_size"),
        ({"cross_encoder": {"window_size": 10_001}}, "rescore.cross_encoder.window_size"),
        ({"window_size": 10_001, "cross_encoder": {}}, "rescore.window_size"),
        ({"cross_encoder": {"query_text": ""}}, "rescore.cross_encoder.query_text"),
        ({"cross_encoder": {"query_text": 7}}, "rescore.cross_encoder.query_text"),
        ({"cross_encoder": {"modle": "m"}}, "rescore.cross_encoder.modle"),
        ({"cross_encoder": None}, "rescore.cross_encoder"),
        ({"cross_encoder": "yes"}, "rescore.cross_encoder"),
        ({"windowsize": 5, "cross_encoder": {}}, "rescore.windowsize"),
        ([NATIVE, {"cross_encoder": {"budget_ms": -1}}], "rescore[1].cross_encoder.budget_ms"),
        ([{"cross_encoder": {}}, {"cross_encoder": {}}], "rescore[1].cross_encoder"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(rescore: Any, path: str) -> None:
    """Unknown keys, wrong types and wrong ranges are one line that begins with the JSON path."""
    with pytest.raises(InvalidSetting) as caught:
        _read({"query": QUERY, "rescore": rescore})
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_body_as_text_is_read_too() -> None:
    """A JSON text may ask for rescoring, and what is sent on does not hold our key."""
    asked = _read(json.dumps({"query": QUERY, "rescore": {"cross_encoder": {"model": "m"}}}))
    assert asked.said == {"model": "m"}
    assert asked.call.body == {"query": QUERY}


def test_url_parameters_win_over_the_body() -> None:
    """Keywords win over ``params``, and both win over the body, as in the engine."""
    body = {"size": 1, "from": 1}
    assert _read(body).setting("size") == 1
    assert _read(body, params={"size": 2, "from": 2}).setting("size") == 2
    asked = _read(body, params={"size": 2, "from": 2}, size=3)
    assert (asked.setting("size"), asked.setting("from")) == (3, 2)
    assert _read(body, from_=4).setting("from") == 4


def test_pages_are_taken_out_of_the_options_and_nothing_else() -> None:
    """``size`` and ``from`` leave the keywords and ``params``; the caller's own objects stay as they are."""
    params = {"size": 2, "from": 2, "routing": "r"}
    options = {"index": "a", "size": 3, "from_": 4, "params": params}
    assert request.without_page(options) == {"index": "a", "params": {"routing": "r"}}
    assert params == {"size": 2, "from": 2, "routing": "r"}
    assert options["size"] == 3


@pytest.mark.parametrize("value", [10**5000, [[]], {"a": 1}, "x" * 1000], ids=["number", "list", "object", "text"])
def test_a_value_of_any_size_is_named_on_one_short_line(value: Any) -> None:
    """Also one that Python can't write: a number of too many digits, or lists in lists without end."""
    for _ in range(3000 if value == [[]] else 0):
        value = [value]
    with pytest.raises(InvalidSetting) as caught:
        _read({"rescore": {"cross_encoder": {"window_size": value}}})
    assert str(caught.value).startswith("rescore.cross_encoder.window_size: ")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("step", ["²", "٣", "9" * 5000, "-1", "1.0", "99"], ids=ascii)
def test_a_step_that_is_no_place_leads_nowhere(step: str) -> None:
    """A path to the query text takes plain digits as a place in a list, and nothing else that looks like a number."""
    body = {
        "query": [{"match": {"body": "x"}}],
        "ext": {"rerank": {"query_context": {"query_text_path": f"query.{step}"}}},
    }
    with pytest.raises(InvalidSetting, match="must lead to a string of this search"):
        request.with_rerank(_read(body))


@pytest.mark.parametrize("params", ["x", 5, [1], None])
def test_params_that_are_none_are_the_official_clients_to_judge(params: Any) -> None:
    """They say nothing, and go on as they are."""
    asked = _read({"size": 1}, params=params)
    assert asked.setting("size") == 1
    assert request.without(asked.call.options, "size") == {"params": params}


@pytest.mark.parametrize(
    ("template", "is_ours"),
    [
        ('{"rescore": {"cross_encoder": {}}}', True),
        ({"rescore": [{"cross_encoder": {}}]}, True),
        ({"retriever": {"x": {"inference_id": "rescorer"}}}, True),
        ({"query": {"match": {"body": "cross_encoder of a rescorer"}}}, False),
        ("cross_encoder", False),
        (None, False),
        (17, False),
    ],
)
def test_a_template_that_holds_ours_is_known(template: Any, is_ours: bool) -> None:
    """By a key or an inference_id of ours, in text or in an object, however deep; words in a query are none."""
    assert request.names_ours(template) is is_ours
    if not isinstance(template, str):
        for _ in range(5000):
            template = {"bool": [template]}
        assert request.names_ours(template) is is_ours
