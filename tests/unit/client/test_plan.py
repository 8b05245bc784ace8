"""Which searches are rescored, and what is sent for them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rescorer import config, plan, request
from rescorer.domain import Call
from rescorer.errors import Reason
from rescorer.pages import Page
from rescorer.plan import Plan, Skip

QUERY = {"match": {"body": "cancel a flight"}}
HYBRID = {"hybrid": {"queries": [QUERY, {"knn": {"embedding": {"vector": [1.0], "k": 5}}}]}}
FIELDS = {"document_fields": ["title", "body"]}


def _made(body: Any, settings: Any = None, **options: Any) -> Plan | Skip:
    said = config.parse({**FIELDS, **(settings or {})}, "rescore")
    return plan.made(request.read(Call(body, options)), config.merged(said))


def _plan(body: Any, settings: Any = None, **options: Any) -> Plan:
    made = _made(body, settings, **options)
    assert isinstance(made, Plan), made
    return made


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        ({"query": QUERY, "size": 0}, {}, Reason.SIZE_ZERO),
        ({"query": QUERY}, {"size": 0}, Reason.SIZE_ZERO),
        ({"query": QUERY}, {"params": {"size": "0"}}, Reason.SIZE_ZERO),
        ({"query": QUERY, "sort": "year"}, {}, Reason.EXPLICIT_SORT),
        ({"query": QUERY, "sort": [{"year": "asc"}]}, {}, Reason.EXPLICIT_SORT),
        ({"query": QUERY, "sort": ["_score", {"_id": "asc"}]}, {}, Reason.EXPLICIT_SORT),
        ({"query": QUERY, "sort": {"_score": "asc"}}, {}, Reason.EXPLICIT_SORT),
        ({"query": QUERY}, {"sort": "year:desc"}, Reason.EXPLICIT_SORT),
        ({"query": QUERY, "search_after": [1.5]}, {}, Reason.SEARCH_AFTER),
        ({"query": QUERY, "stored_fields": "_none_"}, {}, Reason.STORED_FIELDS_NONE),
        ({"query": QUERY, "stored_fields": ["_none_"]}, {}, Reason.STORED_FIELDS_NONE),
        ({"query": QUERY}, {"scroll": "5m"}, Reason.SCROLL),
        ({"query": QUERY}, {"params": {"scroll": "5m"}}, Reason.SCROLL),
        ({"suggest": {"s": {"text": "fligt", "term": {"field": "body"}}}}, {}, Reason.SUGGEST_ONLY),
        ({"query": {"match_all": {}}}, {}, Reason.NO_QUERY_TEXT),
        (None, {}, Reason.NO_QUERY_TEXT),
        ({"query": {"bool": {"must": [QUERY, {"match": {"title": "x"}}]}}}, {}, Reason.AMBIGUOUS_QUERY_TEXT),
        ({"query": QUERY, "from": 100}, {}, Reason.PAGE_BEYOND_WINDOW),
    ],
)
def test_a_search_that_is_left_alone_says_why(body: Any, options: Any, reason: Reason) -> None:
    """M7, M23, M27: each kind of search that rescoring would harm is sent as it is, with its reason."""
    made = _made(body, **options)
    assert isinstance(made, Skip)
    assert made.reason == reason
    assert made.call.body is body


def test_a_switched_off_search_is_left_alone() -> None:
    """``enabled: false`` wins over everything else that could be said."""
    assert _made({"query": QUERY, "size": 0}, {"enabled": False}) == Skip(
        Call({"query": QUERY, "size": 0}, {}), Reason.DISABLED
    )


def test_without_document_fields_there_is_nothing_to_read() -> None:
    """No field is guessed: the search says that none was named."""
    made = plan.made(request.read(Call({"query": QUERY}, {})), config.merged())
    assert isinstance(made, Skip)
    assert made.reason == Reason.NO_DOCUMENT_FIELDS


@pytest.mark.parametrize("sort", ["_score", ["_score"], {"_score": "desc"}, [{"_score": {"order": "desc"}}], []])
def test_a_sort_by_score_alone_is_rescored(sort: Any) -> None:
    """``_score`` descending is what the engine does anyway."""
    assert isinstance(_made({"query": QUERY, "sort": sort}), Plan)


@pytest.mark.parametrize("size", ["ten", -1, True, 1.5, b"x"])
def test_a_size_that_makes_no_sense_goes_to_the_engine(size: Any) -> None:
    """The engine refuses it in its own words; no outcome is made up."""
    body = {"query": QUERY, "size": size}
    made = _made(body)
    assert isinstance(made, Skip)
    assert made.reason is None
    assert made.call.body is body


@pytest.mark.parametrize(
    ("page", "window", "sent"),
    [((0, 10), 100, 100), ((90, 10), 100, 100), ((95, 10), 100, 105), ((0, 10), 5, 10), ((4, 3), 5, 7)],
)
def test_the_whole_window_and_the_page_are_fetched_from_the_first_hit_on(
    page: tuple[int, int], window: int, sent: int
) -> None:
    """M14, M19: what is asked for depends on the window, and only past it on the page."""
    made = _plan({"query": QUERY, "from": page[0], "size": page[1]}, {"window_size": window})
    assert (made.call.body["from"], made.call.body["size"]) == (0, sent)
    assert made.page == Page(*page)


def test_a_page_in_the_url_is_read_and_moved_into_the_body() -> None:
    """Left in the URL it would override the window."""
    made = _plan({"query": QUERY, "size": 3}, index="a", size=20, from_=5, params={"size": 1, "routing": "r"})
    assert made.page == Page(5, 20)
    assert made.call.options == {"index": "a", "params": {"routing": "r"}}


def test_a_url_query_is_the_query_text() -> None:
    """``q=`` is what the user asked."""
    assert _plan(None, q="cancel a flight").query == "cancel a flight"


def test_a_named_query_text_wins_over_the_query() -> None:
    """Who says the text is not asked what the query might mean."""
    two = {"bool": {"must": [QUERY, {"match": {"title": "x"}}]}}
    assert _plan({"query": two}, {"query_text": "my words"}).query == "my words"


@pytest.mark.parametrize(
    ("body", "options"), [({}, {}), ({"_source": True}, {}), ({}, {"_source": True}), ({}, {"_source": "true"})]
)
def test_a_whole_source_needs_no_further_fields(body: Any, options: Any) -> None:
    """Where ``_source`` shows the document, nothing is added to the request."""
    made = _plan({"query": QUERY, **body}, **options)
    assert (made.source_is_whole, made.added_fields) == (True, ())
    assert "fields" not in made.call.body


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"_source": "year"}, {}),
        ({"_source": "true"}, {}),  # a field of that name
        ({"_source": ["year", "ti*"]}, {}),
        ({"_source": {"excludes": ["body"]}}, {}),
        ({"_source": ["year"], "stored_fields": ["year"]}, {}),
        ({"_source": ["year"], "stored_fields": ["_source"]}, {}),
        ({}, {"_source_includes": "year"}),
        ({}, {"_source_excludes": ["body"]}),
        ({"_source": False}, {"_source_includes": "year"}),
    ],
)
def test_texts_beside_a_part_of_the_source_are_asked_for_through_fields(body: Any, options: Any) -> None:
    """T7: with all that is below them, since a name may be an object's; ``_source`` stays the caller's."""
    made = _plan({"query": QUERY, **body}, **options)
    assert made.call.body["fields"] == ["title", "title.*", "body", "body.*"]
    assert made.added_fields == ("title", "body")
    assert (made.added_source, made.source_is_whole) == (False, False)
    assert made.call.body.get("_source") == body.get("_source")


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"_source": False}, {}),
        ({"_source": False, "fields": ["title"]}, {}),
        ({"stored_fields": ["year"]}, {}),
        ({"stored_fields": ["title"]}, {}),
        ({"stored_fields": "*"}, {"_source": False}),
        ({"script_fields": {"year": {"script": "1"}}}, {}),
        ({}, {"_source": "false"}),
        ({}, {"_source": False, "params": {"_source": "false"}}),
        ({}, {"stored_fields": "title,year"}),
    ],
)
def test_where_no_source_is_shown_it_is_asked_for_and_taken_out_as_a_whole(body: Any, options: Any) -> None:
    """T7: the model reads what it reads of a shown document, and no field of the caller's is in doubt."""
    made = _plan({"query": QUERY, **body}, **options)
    assert made.call.body["_source"] == ["title", "body"]
    assert made.call.body.get("fields") == body.get("fields")
    assert (made.added_source, made.source_is_whole, made.added_fields) == (True, True, ())
    assert "_source" not in str(made.call.options)  # which would win over the body


@pytest.mark.parametrize(
    ("body", "source", "added"),
    [
        ({}, ["title.english", "people.name"], ("title.english", "people.name")),
        ({"stored_fields": ["year"]}, ["title.english", "people.name"], ("title.english", "people.name")),
        ({"stored_fields": "*"}, ["title.english", "people.name", "title", "people"], ()),
        ({"stored_fields": ["title.*"]}, ["title.english", "people.name", "title"], ("people.name",)),
        ({"stored_fields": ["people.name.plain"]}, ["title.english", "people.name", "people"], ("title.english",)),
        ({"fields": ["people.*"]}, ["title.english", "people.name"], ("title.english",)),
    ],
)
def test_a_dotted_name_may_be_a_multi_field(body: Any, source: list[str], added: Any) -> None:
    """``_source`` knows none, so ``fields`` is asked as well; where that is in doubt, its parents are."""
    fields = {"document_fields": ["title.english", "people.name"]}
    made = _plan({"query": QUERY, "_source": False, **body}, fields)
    assert made.call.body["_source"] == source
    assert made.added_fields == added
    assert made.call.body.get("fields", []) == [*body.get("fields", []), *added]


@pytest.mark.parametrize(
    ("shown", "options", "added"),
    [
        ({"fields": ["title"]}, {}, ("body",)),
        ({"fields": [{"field": "bo*"}]}, {}, ("title",)),
        ({"fields": ["*"]}, {}, ()),
        ({"fields": ["title.plain"]}, {}, ("title", "body")),
        ({"docvalue_fields": [{"field": "title"}]}, {}, ("body",)),
        ({"script_fields": {"body": {"script": "1"}}}, {}, ("title",)),
        ({"collapse": {"field": "title"}}, {}, ("body",)),
        ({}, {"docvalue_fields": "title,year"}, ("body",)),
        ({}, {"docvalue_fields": ["body"]}, ("title",)),
    ],
)
def test_what_the_caller_asked_for_is_not_added_twice(shown: Any, options: Any, added: Any) -> None:
    """What the caller asked for himself is neither added nor taken out again."""
    made = _plan({"query": QUERY, "_source": ["year"], **shown}, **options)
    assert made.added_fields == added
    sent = [part for name in added for part in (name, f"{name}.*")]
    assert made.call.body.get("fields", []) == [*shown.get("fields", []), *sent]


@pytest.mark.parametrize(
    ("stored", "options", "is_in_doubt"),
    [
        (["title"], {}, True),
        ("b*", {}, True),
        ("*", {}, True),
        (["title.english"], {}, True),
        (["title.*"], {}, True),
        (["*.english"], {}, True),
        (["year", "titles", "bodies*"], {}, False),
        (None, {"stored_fields": "title,year"}, True),
        (["title"], {"_source_includes": "year"}, True),
        (["title", "_source"], {}, True),
        ([], {}, False),
    ],
)
def test_a_stored_text_beside_a_part_of_the_source_is_left_alone(stored: Any, options: Any, is_in_doubt: bool) -> None:
    """In ``fields`` it could not be told from the caller's own: the search goes as it came, and says why."""
    said = {} if stored is None else {"stored_fields": stored}
    made = _made({"query": QUERY, "_source": ["year"], **said}, **options)
    assert isinstance(made, Skip) is is_in_doubt
    assert not isinstance(made, Skip) or made.reason == Reason.AMBIGUOUS_STORED_FIELDS


def test_what_the_caller_shows_is_never_in_doubt() -> None:
    """A text that he asks for in ``fields`` is his, be it stored or not."""
    body = {"query": QUERY, "_source": ["year"], "stored_fields": ["title"], "fields": ["title"]}
    assert _plan(body).added_fields == ("body",)


def test_planning_changes_nothing_of_the_callers() -> None:
    """Body, keywords and ``params`` are the same afterwards."""
    body = {"query": HYBRID, "_source": False, "fields": ["year"], "size": 30, "from": 90}
    options = {"index": "a", "size": 40, "params": {"from": 80}}
    before = copy.deepcopy((body, options))
    _plan(body, **options)
    assert (body, options) == before


def test_pages_past_a_hybrid_window_fix_the_depth() -> None:
    """M14: a hybrid list is the same on every page, because its depth is the window's on each."""
    inside = _plan({"query": HYBRID, "from": 90}).call.body["query"]
    assert inside is HYBRID
    for offset in (95, 300):
        made = _plan({"query": HYBRID, "from": offset})
        assert made.call.body["query"]["hybrid"]["pagination_depth"] == 100
        assert made.call.body["size"] == offset + 10
    own = {"hybrid": {**HYBRID["hybrid"], "pagination_depth": 500}}
    assert _plan({"query": own, "from": 95}).call.body["query"] == own


@pytest.mark.parametrize(("said", "explained"), [(True, True), ("true", True), (False, False), (None, False)])
def test_explain_is_read_from_body_and_url(said: Any, explained: bool) -> None:
    """``explain`` means the same in both places."""
    assert _plan({"query": QUERY, "explain": said}).explain is explained
    assert _plan({"query": QUERY}, explain=said).explain is explained


@pytest.mark.parametrize(
    "odd", [{"fields": "title"}, {"fields": 5}, {"docvalue_fields": {"field": "a"}}, {"script_fields": ["a"]}]
)
@pytest.mark.parametrize("shown", [False, True])
def test_fields_in_a_form_that_no_engine_takes_go_to_the_engine(odd: Any, shown: bool) -> None:
    """A text is no list of its letters: the engine refuses it in its own words, whether we need fields or not."""
    body = {"query": QUERY, "_source": shown, **odd}
    made = _made(body)
    assert isinstance(made, Skip)
    assert (made.reason, made.call.body) == (None, body)


@pytest.mark.parametrize("entry", [{"format": "x"}, 5, None, ["a"]])
def test_an_entry_that_names_no_field_hides_none(entry: Any) -> None:
    """What the engine will refuse is sent beside what we need."""
    assert _plan({"query": QUERY, "_source": ["year"], "fields": [entry]}).added_fields == ("title", "body")
