"""Profiles: read with the JSON path of what is wrong, and checked against the fields of a mapping."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given

from rescorer import config, profile
from rescorer.config import DocumentField
from rescorer.errors import InvalidProfile, InvalidSetting
from rescorer.profile import Hybrid, Profile
from unit.settings.settings_strategies import GOOD, HYBRID, JSON, PROFILES

HYBRID_KEYS = {"text_fields": ["title^2", "body"], "vector_field": "embedding"}
NAMES = 'must be a list of field names, such as ["title^2", "body"]'
PAIR = "must be a list of two numbers, BM25 first, such as [0.3, 0.7]"
BOOST = 'must be a field name, with a boost or without, such as "title^2"'
MAPPINGS = {
    "properties": {
        "title": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
        "body": {"type": "text"},
        "author": {"properties": {"name": {"type": "text"}}},
        "comments": {"type": "nested", "properties": {"text": {"type": "text"}}},
        "seo.title": {"type": "text"},
        "embedding": {"type": "knn_vector", "dimension": 3},
        "elastic": {"type": "dense_vector", "dims": 3},
        "year": {"type": "integer"},
    }
}


def refused(meta: Any) -> str:
    """The message with which ``read`` refuses a profile."""
    with pytest.raises(InvalidProfile) as caught:
        profile.read(meta)
    return str(caught.value)


def wrong_fields(meta: dict[str, Any], mappings: dict[str, Any] = MAPPINGS) -> list[str]:
    """What ``check_fields`` says about a profile."""
    return [str(error) for error in profile.check_fields(profile.read(meta), mappings)]


def test_a_whole_profile_is_read() -> None:
    """Settings and hybrid form stand side by side; the settings are those of ``config.parse``."""
    meta = GOOD | {"hybrid": HYBRID_KEYS | {"model": "bge", "k": 7, "search_pipeline": "p"}}
    read = profile.read(meta)
    assert read.rescore == config.parse(GOOD, "any")
    assert read.hybrid == Hybrid(
        text_fields=("title^2", "body"), vector_field="embedding", model="bge", k=7, search_pipeline="p"
    )


def test_a_hybrid_form_needs_two_keys_only() -> None:
    """Model, k and pipeline have defaults; an index without hybrid form has none."""
    form = profile.read({"hybrid": HYBRID_KEYS}).hybrid
    assert form is not None
    assert (form.model, form.k, form.search_pipeline) == ("", 100, "")
    assert (form.fusion, form.weights, form.rank_constant) == ("engine", (), 60)
    assert profile.read({}) == Profile()
    assert Profile().hybrid is None


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (None, ": None must be an object"),
        (["title"], ": ['title'] must be an object"),
        ({"window_size": 0}, ".window_size: 0 must be a whole number in 1..10000"),
        ({"windows_size": 5}, ".windows_size: 5 stands under an unknown key; did you mean window_size?"),
        ({"hybrit": {}}, ".hybrit: {} stands under an unknown key; did you mean hybrid?"),
        ({"document_fields": ["a", 7]}, ".document_fields[1]: 7 must be an object"),
        ({"hybrid": None}, ".hybrid: None must be an object"),
        ({"hybrid": {"vector_field": "v"}}, ".hybrid: {'vector_field': 'v'} must hold \"text_fields\""),
        ({"hybrid": {"text_fields": ["t"]}}, ".hybrid: {'text_fields': ['t']} must hold \"vector_field\""),
        ({"hybrid": HYBRID_KEYS | {"kk": 1}}, ".hybrid.kk: 1 stands under an unknown key; did you mean k?"),
        ({"hybrid": HYBRID_KEYS | {"text_fields": "title"}}, f".hybrid.text_fields: 'title' {NAMES}"),
        ({"hybrid": HYBRID_KEYS | {"text_fields": []}}, f".hybrid.text_fields: [] {NAMES}"),
        ({"hybrid": HYBRID_KEYS | {"text_fields": ["t", ""]}}, f".hybrid.text_fields[1]: '' {BOOST}"),
        (
            {"hybrid": HYBRID_KEYS | {"text_fields": [{"field": "t"}]}},
            f".hybrid.text_fields[0]: {{'field': 't'}} {BOOST}",
        ),
        (
            {"hybrid": HYBRID_KEYS | {"vector_field": ""}},
            ".hybrid.vector_field: '' must be a string that is not empty",
        ),
        (
            {"hybrid": HYBRID_KEYS | {"vector_field": ["v"]}},
            ".hybrid.vector_field: ['v'] must be a string that is not empty",
        ),
        ({"hybrid": HYBRID_KEYS | {"model": None}}, ".hybrid.model: None must be a string"),
        ({"hybrid": HYBRID_KEYS | {"k": 0}}, ".hybrid.k: 0 must be a whole number in 1..10000"),
        ({"hybrid": HYBRID_KEYS | {"k": 10_001}}, ".hybrid.k: 10001 must be a whole number in 1..10000"),
        ({"hybrid": HYBRID_KEYS | {"k": True}}, ".hybrid.k: True must be a whole number in 1..10000"),
        ({"hybrid": HYBRID_KEYS | {"search_pipeline": 1}}, ".hybrid.search_pipeline: 1 must be a string"),
    ],
)
def test_what_is_wrong_is_named_by_its_json_path(meta: Any, said: str) -> None:
    """Each error begins with the path from the mapping's root, and is one line."""
    assert refused(meta) == f"mappings._meta.rescorer{said}"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"fusion": "linear"}, ".fusion: 'linear' must be one of engine, min_max, rrf"),
        ({"fusion": None}, ".fusion: None must be one of engine, min_max, rrf"),
        ({"fusion": "rrf", "weights": [0.5]}, f".weights: [0.5] {PAIR}"),
        ({"fusion": "rrf", "weights": {}}, f".weights: {{}} {PAIR}"),
        ({"fusion": "rrf", "weights": [0.3, "0.7"]}, ".weights[1]: '0.7' must be a number in 0..1"),
        ({"fusion": "rrf", "weights": [True, 0]}, ".weights[0]: True must be a number in 0..1"),
        ({"fusion": "rrf", "weights": [-0.5, 1.5]}, ".weights[0]: -0.5 must be a number in 0..1"),
        ({"fusion": "rrf", "weights": [0, 10**400]}, f".weights[1]: 1{'0' * 400}"),
        ({"fusion": "rrf", "weights": [float("nan"), 1]}, ".weights[0]: nan must be a number in 0..1"),
        (
            {"fusion": "min_max", "weights": [0.5, 0.4]},
            ".weights: [0.5, 0.4] must add up to 1, not 0.9; for example [0.3, 0.7]",
        ),
        ({"fusion": "rrf", "rank_constant": 0}, ".rank_constant: 0 must be a whole number in 1..10000"),
        ({"fusion": "rrf", "rank_constant": 10_001}, ".rank_constant: 10001 must be a whole number in 1..10000"),
    ],
)
def test_a_wrong_fusion_is_named_by_its_json_path(more: dict[str, Any], said: str) -> None:
    """Fusion, weights and rank constant are each told apart; a weight of the wrong kind is told by its place."""
    assert refused({"hybrid": HYBRID_KEYS | more}).startswith(f"mappings._meta.rescorer.hybrid{said[:60]}")


@pytest.mark.parametrize("fusion", ["min_max", "rrf"])
def test_a_search_pipeline_beside_a_fusion_in_the_client_is_refused(fusion: str) -> None:
    """Two would fuse, or one be ignored: the error says to take one away."""
    said = f'is not used with "fusion": "{fusion}", where the client fuses; take one of the two away'
    meta = {"hybrid": HYBRID_KEYS | {"fusion": fusion, "search_pipeline": "p"}}
    assert refused(meta) == f"mappings._meta.rescorer.hybrid.search_pipeline: 'p' {said}"


@pytest.mark.parametrize("named", [{}, {"fusion": "engine"}])
def test_weights_beside_the_engines_own_fusion_are_refused(named: dict[str, Any]) -> None:
    """The client weighs nothing there, and the error says where the weights belong."""
    said = 'is read by "fusion": "min_max" and "rrf" alone; name one, or set the weights in the search pipeline'
    meta = {"hybrid": HYBRID_KEYS | named | {"weights": [0.3, 0.7]}}
    assert refused(meta) == f"mappings._meta.rescorer.hybrid.weights: [0.3, 0.7] {said}"


@pytest.mark.parametrize("fusion", ["engine", "min_max"])
def test_a_rank_constant_without_ranks_is_refused(fusion: str) -> None:
    """Only reciprocal rank fusion reads it, so that elsewhere it would be silently without effect."""
    said = f'is read by "fusion": "rrf" alone, and it is "{fusion}"; take one of the two away'
    meta = {"hybrid": HYBRID_KEYS | {"fusion": fusion, "rank_constant": 60}}
    assert refused(meta) == f"mappings._meta.rescorer.hybrid.rank_constant: 60 {said}"


@pytest.mark.parametrize("fusion", ["min_max", "rrf"])
@pytest.mark.parametrize(
    ("given_weights", "read"),
    [([], ()), ([0.3, 0.7], (0.3, 0.7)), ([1, 0], (1.0, 0.0)), ([0.3333333, 0.6666666], (0.3333333, 0.6666666))],
)
def test_a_fusion_in_the_client_is_read(fusion: str, given_weights: list[float], read: tuple[float, ...]) -> None:
    """Weights that add up to 1 within a millionth are kept as they are; none means equal ones."""
    form = profile.read({"hybrid": HYBRID_KEYS | {"fusion": fusion, "weights": given_weights}}).hybrid
    assert form is not None
    assert (form.fusion, form.weights, form.search_pipeline) == (fusion, read, "")


def test_a_rank_constant_is_read_beside_rrf() -> None:
    """It is a whole number, in JSON also where it is written with a point."""
    form = profile.read({"hybrid": HYBRID_KEYS | {"fusion": "rrf", "rank_constant": 10.0}}).hybrid
    assert form is not None
    assert form.rank_constant == 10


def test_the_unknown_key_message_of_a_profile_offers_hybrid_too() -> None:
    """The list of known keys is that of a profile, not that of a request."""
    assert "hybrid" in refused({"qqq": 1}).split("known keys: ")[1].split(", ")


@pytest.mark.parametrize("name", ["title^", "title^two", "title^-1", "^2", " ^2", "a^2^3", "title^2x"])
def test_a_boost_that_no_engine_reads_is_refused(name: str) -> None:
    """What stands after ``^`` is a number of 0 or more, and before it is a name."""
    assert refused({"hybrid": HYBRID_KEYS | {"text_fields": [name]}}).endswith(f"text_fields[0]: {name!r} {BOOST}")


@pytest.mark.parametrize(
    "name", ["title", "title^2", "title^0.5", "title^.5", "a.b^10", "*_text", "mein titel^2", "a*"]
)
def test_names_boosts_and_wildcards_of_multi_match_are_read(name: str) -> None:
    """Every form that ``multi_match`` takes is accepted as it stands."""
    form = profile.read({"hybrid": HYBRID_KEYS | {"text_fields": [name]}}).hybrid
    assert form is not None
    assert form.text_fields == (name,)


def test_another_path_can_be_named() -> None:
    """Errors of a file or of a live index begin with its name."""
    with pytest.raises(InvalidProfile, match=r"^articles: _meta\.hybrid\.k: 0 must"):
        profile.read({"hybrid": HYBRID_KEYS | {"k": 0}}, "articles: _meta")


def test_the_error_of_a_profile_keeps_its_cause() -> None:
    """InvalidProfile is an InvalidSetting, raised from the check that failed."""
    with pytest.raises(InvalidProfile) as caught:
        profile.read({"window_size": 0})
    assert isinstance(caught.value, InvalidSetting)
    assert type(caught.value.__cause__) is InvalidSetting


def test_a_profile_that_was_read_can_not_be_changed() -> None:
    """All searches of an index share one profile, so that nobody may write into it."""
    read = profile.read({"window_size": 5})
    with pytest.raises(TypeError):
        read.rescore["window_size"] = 6


def read_or_refused(meta: Any) -> Profile | InvalidProfile:
    """What ``read`` returns, or the one error that it may raise."""
    try:
        return profile.read(meta)
    except InvalidProfile as error:
        return error


@given(PROFILES | JSON | HYBRID.map(lambda form: {"hybrid": form}))
@example({"hybrid": {"text_fields": ["a"], "vector_field": "v", "a\rb": 1}})
def test_nothing_but_invalid_profile_comes_out_of_a_profile(meta: Any) -> None:
    """Whatever JSON an index holds, it is read or refused in one line, and left as it was."""
    before = copy.deepcopy(meta)
    answer = read_or_refused(meta)
    assert meta == before
    if isinstance(answer, InvalidProfile):
        assert len(str(answer).splitlines()) == 1
        assert str(answer).startswith(profile.PATH)


@given(PROFILES, JSON | JSON.map(lambda inner: {"properties": {"a": inner, "b": {"properties": inner}}}))
def test_any_mapping_can_be_checked(meta: dict[str, Any], mappings: Any) -> None:
    """A mapping that is itself nonsense makes errors about fields, never an exception."""
    read = read_or_refused(meta)
    if isinstance(read, Profile) and isinstance(mappings, dict):
        assert all(isinstance(error, InvalidProfile) for error in profile.check_fields(read, mappings))


@pytest.mark.parametrize(
    "name", ["title", "title.raw", "author", "author.name", "comments", "comments.text", "seo.title", "year"]
)
def test_fields_of_every_shape_are_found(name: str) -> None:
    """Plain fields, multi-fields, objects, nested objects and dotted names are all fields that can be read."""
    assert wrong_fields({"document_fields": [name]}) == []
    assert wrong_fields({"hybrid": HYBRID_KEYS | {"text_fields": [f"{name}^3"]}}) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("titel", "did you mean title?"),
        ("author.nam", "did you mean author.name?"),
        ("raw", "its fields: author, author.name, body, comments, comments.text, elastic, embedding, seo.title, title, "
         "title.raw, year"),
        ("titl*", "did you mean title?"),
    ],
)  # fmt: skip
def test_a_field_that_the_mapping_lacks_is_named_with_the_nearest_one(name: str, hint: str) -> None:
    """A missing document field is told by path, name and what the mapping holds; a star is no wildcard there."""
    said = f"mappings._meta.rescorer.document_fields[1]: {name!r} is not a field of the mapping; {hint}"
    assert wrong_fields({"document_fields": ["title", {"field": name}]}) == [said]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"recency": {"field": "yeer", "weight": 1, "scale": "1d"}},
            "recency.field: 'yeer' is not a field of the mapping",
        ),
        (
            {"recency": {"field": "year", "weight": 1, "scale": "1d"}},
            "recency.field: 'year' is a integer, and must be a date",
        ),
        ({"sources": {"field": "autor", "weights": {"a": 1}}}, "sources.field: 'autor' is not a field of the mapping"),
        (
            {"novelty": {"weight": 0.3, "vector_field": "body"}},
            "novelty.vector_field: 'body' is a text, and must be a knn",
        ),
    ],
)
def test_a_field_that_a_choice_goes_by_must_be_of_its_kind(said: dict[str, Any], message: str) -> None:
    """Missing ones are named with the nearest, and a date must be a date."""
    (line,) = wrong_fields({"select": said})
    assert line.startswith(f"mappings._meta.rescorer.select.{message}")


def test_fields_of_choices_that_the_mapping_holds_are_right() -> None:
    """A date, any field with names, a vector of either engine."""
    said = {
        "recency": {"field": "day", "weight": 1, "scale": "1d"},
        "sources": {"field": "title.raw", "weights": {"a": 1}},
    }
    mappings = {"properties": {**MAPPINGS["properties"], "day": {"type": "date_nanos"}}}
    for vector in ("embedding", "elastic"):
        novelty = {"weight": 0.3, "vector_field": vector}
        assert wrong_fields({"select": {**said, "novelty": novelty}}, mappings) == []


def test_every_wrong_field_is_named_at_once() -> None:
    """Nobody has to mend, try and mend again: each wrong field is an error of its own, in the profile's order."""
    meta = {"document_fields": ["x1"], "hybrid": {"text_fields": ["x2^2", "body"], "vector_field": "x3"}}
    assert [line.split(" ")[:2] for line in wrong_fields(meta)] == [
        ["mappings._meta.rescorer.document_fields[0]:", "'x1'"],
        ["mappings._meta.rescorer.hybrid.text_fields[0]:", "'x2'"],
        ["mappings._meta.rescorer.hybrid.vector_field:", "'x3'"],
    ]


def test_a_mapping_without_fields_says_so() -> None:
    """Where there is no field at all, the hint is short."""
    said = "mappings._meta.rescorer.document_fields[0]: 'a' is not a field of the mapping; its fields: none"
    assert wrong_fields({"document_fields": ["a"]}, {}) == [said]


def test_a_mapping_with_many_fields_does_not_fill_the_terminal() -> None:
    """Of a large mapping twenty fields are shown, and how many more there are."""
    mappings = {"properties": {f"number_{place:03}": {"type": "text"} for place in range(1000)}}
    (said,) = wrong_fields({"document_fields": ["qqq"]}, mappings)
    assert said.endswith("number_018, number_019 and 980 more")


@pytest.mark.parametrize(
    ("pattern", "is_found"),
    [
        ("t*", True),
        ("*.name^2", True),
        ("x*", False),
        ("titl?", False),
        ("*", True),
        ("e*", False),
        ("[t]itle", False),
    ],
)
def test_a_wildcard_of_the_text_half_must_match_a_text_field(pattern: str, is_found: bool) -> None:
    """``multi_match`` knows the star; a pattern that matches nothing, or vectors alone, is an error."""
    assert (wrong_fields({"hybrid": HYBRID_KEYS | {"text_fields": [pattern]}}) == []) is is_found


@pytest.mark.parametrize("name", ["embedding", "elastic"])
def test_both_engines_vectors_are_vectors(name: str) -> None:
    """A knn_vector and a dense_vector can both be the vector field."""
    assert wrong_fields({"hybrid": HYBRID_KEYS | {"vector_field": name}}) == []


@pytest.mark.parametrize(("name", "kind"), [("title", "text"), ("author", "object"), ("comments", "nested")])
def test_a_vector_field_that_holds_no_vector_is_refused(name: str, kind: str) -> None:
    """The error says what the field is, and what it must be."""
    said = f"{name!r} is a {kind}, and must be a knn_vector (OpenSearch) or dense_vector (Elasticsearch)"
    assert wrong_fields({"hybrid": HYBRID_KEYS | {"vector_field": name}}) == [
        f"{profile.PATH}.hybrid.vector_field: {said}"
    ]


@pytest.mark.parametrize("where", ["document_fields", "text_fields"])
def test_a_vector_is_no_text(where: str) -> None:
    """A model can't read a vector, and BM25 can't search one."""
    meta: dict[str, Any] = {"document_fields": ["embedding"]}
    if where == "text_fields":
        meta = {"hybrid": HYBRID_KEYS | {"text_fields": ["embedding^2"]}}
    (said,) = wrong_fields(meta)
    assert said.endswith(f"{where}[0]: 'embedding' is a knn_vector, and must be a field that holds text")


def test_labels_do_not_matter_to_the_check() -> None:
    """A labelled field is found by its name."""
    assert profile.read({"document_fields": [{"field": "title", "label": "T"}]}).rescore["document_fields"] == (
        DocumentField(field="title", label="T"),
    )
    assert wrong_fields({"document_fields": [{"field": "title", "label": "T"}]}) == []
