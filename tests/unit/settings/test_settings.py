"""Settings: every check says path, value and mend on one line; layers win key by key."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rescorer import checks, config
from rescorer.calibration import Platt
from rescorer.choices import Brevity, Duplicates, Novelty, Recency, Select, Sources
from rescorer.config import DocumentField, LongTexts, RescoreSettings, Stage
from rescorer.errors import InvalidSetting, RescorerError
from rescorer.gate import Gate
from unit.settings.settings_strategies import GOOD, GOOD_CASCADE, GOOD_MODELS, JSON, ONE_KEY, PROFILES

PATH = "rescore.cross_encoder"
ALL_KEYS = ", ".join(sorted(field.name for field in fields(RescoreSettings)))
LIST = 'must be a list of field names, such as ["title", "body"]'


MODELS = 'must be a list of models, best first, such as ["large", "small"]'
STAGES = 'must be a list of 2 to 4 stages, such as [{"model": "small", "keep": 20}, {"model": "large"}]'


def refused(mapping: Any) -> str:
    """The message with which ``parse`` refuses a mapping."""
    with pytest.raises(InvalidSetting) as caught:
        config.parse(mapping, PATH)
    return str(caught.value)


def read_or_refused(mapping: Any) -> dict[str, Any] | InvalidSetting:
    """What ``parse`` returns, or the one error that it may raise."""
    try:
        return config.parse(mapping, PATH)
    except InvalidSetting as error:
        return error


@pytest.mark.parametrize(
    ("key", "value", "mend"),
    [
        ("document_fields", "title", LIST),
        ("document_fields", [], LIST),
        ("document_fields", None, LIST),
        ("document_fields", {"title": 1}, LIST),
        ("document_fields", ["a", "b", "a"], "names a field twice"),
        ("document_fields", ["a", {"field": "a", "label": "A"}], "names a field twice"),
        ("query_text", "", "must be a string that is not empty"),
        ("query_text", " \n", "must be a string that is not empty"),
        ("query_text", 7, "must be a string that is not empty"),
        ("query_text", None, "must be a string that is not empty"),
        ("model", None, "must be a string"),
        ("model", 7, "must be a string"),
        ("model", "auto", 'needs models beside it, best first, such as "models": ["large", "small"]'),
        ("models", ["a"], 'is read beside "model": "auto" alone; write that too, or leave models out'),
        ("models", "a", MODELS),
        ("models", [], MODELS),
        ("models", ["a", "b", "a"], "names a model twice"),
        ("cascade", {"model": "a"}, STAGES),
        ("cascade", [{"model": "a"}], STAGES),
        ("cascade", [{"model": name} for name in "abcde"], STAGES),
        ("cascade", [{"model": "a", "keep": 3}, {"model": "a"}], "names a model twice"),
        ("window_size", 0, "must be a whole number in 1..10000"),
        ("window_size", 10_001, "must be a whole number in 1..10000"),
        ("window_size", -1, "must be a whole number in 1..10000"),
        ("window_size", "100", 'must be a whole number in 1..10000, or "auto"'),
        ("window_size", 1.5, "must be a whole number in 1..10000"),
        ("window_size", float("inf"), "must be a whole number in 1..10000"),
        ("window_size", float("nan"), "must be a whole number in 1..10000"),
        ("window_size", True, "must be a whole number in 1..10000"),
        ("window_size", None, "must be a whole number in 1..10000"),
        ("score_mode", "sum", "must be one of replace, total, multiply, avg, max, min"),
        ("score_mode", ["max"], "must be one of replace, total, multiply, avg, max, min"),
        ("query_weight", "1", "must be a finite number"),
        ("query_weight", True, "must be a finite number"),
        ("query_weight", float("nan"), "must be a finite number"),
        ("rescore_query_weight", float("-inf"), "must be a finite number"),
        ("rescore_query_weight", None, "must be a finite number"),
        ("activation", "softmax", "must be one of none, sigmoid"),
        ("activation", None, "must be one of none, sigmoid"),
        ("long_texts", "chunk", "must be one of truncate, chunks"),
        ("long_texts", 3, 'must be "truncate", "chunks", or an object such as {"most_chunks": 8}'),
        ("max_tokens", -1, "must be a whole number in 0..1000000"),
        ("max_tokens", 1_000_001, "must be a whole number in 0..1000000"),
        ("max_tokens", False, "must be a whole number in 0..1000000"),
        ("budget_ms", 0, "must be greater than 0"),
        ("budget_ms", -0.5, "must be greater than 0"),
        ("budget_ms", float("inf"), "must be a finite number"),
        ("budget_ms", False, "must be a finite number"),
        ("on_failure", "raise", "must be one of first_stage, error"),
        ("enabled", "false", "must be true or false"),
        ("enabled", 0, "must be true or false"),
        ("enabled", None, "must be true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path_itself_and_the_mend(key: str, value: Any, mend: str) -> None:
    """Each check names the key's path, shows the value and says what to write, on one line."""
    assert refused({key: value}) == f"{PATH}.{key}: {value!r} {mend}"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("", "document_fields[1]: '' must be a string that is not empty"),
        (7, "document_fields[1]: 7 must be an object"),
        (None, "document_fields[1]: None must be an object"),
        ({}, 'document_fields[1]: {} must hold "field"'),
        ({"label": "A"}, "document_fields[1]: {'label': 'A'} must hold \"field\""),
        ({"field": " "}, "document_fields[1].field: ' ' must be a string that is not empty"),
        ({"field": "a", "label": 1}, "document_fields[1].label: 1 must be a string"),
        (
            {"field": "a", "lable": "A"},
            "document_fields[1].lable: 'A' stands under an unknown key; did you mean label?",
        ),
    ],
)
def test_a_wrong_document_field_is_named_by_its_place(entry: Any, said: str) -> None:
    """An error in a list of fields says which entry, and which key of it."""
    assert refused({"document_fields": ["title", entry]}) == f"{PATH}.{said}"


def test_a_number_too_large_for_a_float_is_no_finite_number() -> None:
    """A whole number beyond float64 is refused like infinity, not with an OverflowError."""
    said = refused({"budget_ms": 10**400})
    assert said.startswith(f"{PATH}.budget_ms: 1000")
    assert said.endswith("… must be a finite number")
    assert len(said) < 200


@pytest.mark.parametrize("key", ["windowsize", "window-size", "WINDOW_SIZE_", "window_sizes"])
def test_an_unknown_key_is_told_the_nearest_one(key: str) -> None:
    """A key that is nearly right is answered with the right one."""
    near = "window_size" if key != "WINDOW_SIZE_" else None
    hint = f"did you mean {near}?" if near else f"known keys: {ALL_KEYS}"
    assert refused({key: 5}) == f"{PATH}.{key}: 5 stands under an unknown key; {hint}"


def test_an_unknown_key_far_from_all_is_told_every_key() -> None:
    """A key that resembles none is answered with the list of all."""
    assert refused({"qqq": 5}) == f"{PATH}.qqq: 5 stands under an unknown key; known keys: {ALL_KEYS}"


@pytest.mark.parametrize(("key", "shown"), [("", "['']"), ("a\nb", "['a\\nb']"), (7, "[7]"), ("\u2028", "['\\u2028']")])
def test_a_key_that_would_break_the_line_is_shown_escaped(key: Any, shown: str) -> None:
    """An empty key, a line break in a key and a key that is no string leave the message readable."""
    assert refused({key: 1}) == f"{PATH}{shown}: 1 stands under an unknown key; known keys: {ALL_KEYS}"


@pytest.mark.parametrize("whole", [None, [], "window_size", 7, True])
def test_settings_must_be_an_object(whole: Any) -> None:
    """Anything but an object is refused under the path itself."""
    assert refused(whole) == f"{PATH}: {whole!r} must be an object"


def test_a_long_value_is_cut_in_the_message() -> None:
    """A value of a megabyte does not fill the terminal."""
    assert len(refused({"window_size": "x" * 1_000_000})) < 200


def test_the_error_carries_path_value_and_mend() -> None:
    """A program reads the three parts without taking the message apart, and can catch it as ValueError."""
    with pytest.raises(ValueError, match="window_size") as caught:
        config.parse({"window_size": 0}, "p")
    assert isinstance(caught.value, InvalidSetting)
    assert isinstance(caught.value, RescorerError)
    assert (caught.value.path, caught.value.value) == ("p.window_size", 0)
    assert caught.value.mend == "must be a whole number in 1..10000"


def test_every_key_is_read_in_the_type_of_the_settings() -> None:
    """All keys together are accepted; numbers become floats, field names become DocumentFields."""
    parsed = config.parse(GOOD, PATH)
    assert parsed == GOOD | {
        "document_fields": (DocumentField(field="title"), DocumentField(field="body", label="Text", max_tokens=300)),
        "long_texts": LongTexts(chunk_tokens=128, overlap_tokens=0, most_chunks=8, top=2),
        "models": ("large", "small"),
        "gate": Gate(query_types=("code", "one_word"), patterns={"part": "ab-[0-9]*"}, margin=0.5, audit=0.01),
        "select": Select(
            novelty=Novelty(weight=0.3, vector_field="v"),
            duplicates=Duplicates(threshold=0.9),
            brevity=Brevity(weight=0.1, words=300),
            recency=Recency(
                field="day",
                weight=0.2,
                scale="30d",
                offset="12h",
                decay=0.4,
                function="gauss",
                origin="2026-01-31T12:00:00Z",
            ),
            sources=Sources(field="tag", weights={"t1": 1.2, "t2": 0.0}, default=0.9),
            depth=10,
        ),
        "calibration": Platt(method="platt", slope=1.5, intercept=-2.0, model="large", is_probability=True),
    }
    stages = (Stage(model="small", keep=20), Stage(model="middle"), Stage(model="large"))
    assert config.parse(GOOD_CASCADE, PATH)["cascade"] == stages
    assert {type(parsed[key]) for key in ("query_weight", "rescore_query_weight", "budget_ms")} == {float}
    assert GOOD.keys() | GOOD_CASCADE.keys() == {field.name for field in fields(RescoreSettings)}


def test_what_nobody_said_is_not_in_the_result() -> None:
    """A partial mapping stays partial, so that a weaker layer can fill the rest."""
    assert config.parse({"enabled": False}, PATH) == {"enabled": False}
    assert config.parse({}, PATH) == {}


@pytest.mark.parametrize(("key", "value"), [("window_size", 100.0), ("max_tokens", 512.0)])
def test_a_whole_number_may_be_written_as_json_allows(key: str, value: float) -> None:
    """JSON knows no difference between 100.0 and 100, so both are the whole number 100."""
    parsed = config.parse({key: value}, PATH)[key]
    assert (parsed, type(parsed)) == (int(value), int)


def test_a_whole_number_of_python_must_be_an_int() -> None:
    """An argument that is sliced with is an int and nothing that equals one."""
    check = checks.whole(0, 10)
    assert check(10, "size") == 10
    for value in (1.0, True, "1", 11, -1):
        with pytest.raises(InvalidSetting, match=r"^size: .* must be a whole number in 0\.\.10$"):
            check(value, "size")


def test_fields_that_are_checked_already_pass_again() -> None:
    """A caller may hand over DocumentField objects and tuples."""
    entry = DocumentField(field="a", label="A")
    assert config.parse({"document_fields": (entry, "b")}, PATH) == {
        "document_fields": (entry, DocumentField(field="b"))
    }


@given(PROFILES | JSON)
@example(GOOD)
def test_parse_leaves_its_input_as_it_was(mapping: Any) -> None:
    """Neither a good nor a bad mapping is changed."""
    before = copy.deepcopy(mapping)
    read_or_refused(mapping)
    assert mapping == before


@given(PROFILES | ONE_KEY | GOOD_MODELS | JSON | st.dictionaries(st.integers() | st.text(), JSON))
@example({"budget_ms": 10**400})
@example({"a\nb": 1})
def test_nothing_but_invalid_setting_comes_out_and_it_is_one_line(mapping: Any) -> None:
    """Whatever JSON comes in, it is either read or refused in one line that begins with the path."""
    answer = read_or_refused(mapping)
    if isinstance(answer, InvalidSetting):
        assert len(str(answer).splitlines()) == 1
        assert str(answer).startswith(PATH)
    else:
        assert answer.keys() == mapping.keys()


@given(
    st.sampled_from([GOOD, GOOD_CASCADE]).flatmap(lambda good: st.sets(st.sampled_from(sorted(good))).map(chosen(good)))
)
def test_what_was_parsed_makes_settings(mapping: dict[str, Any]) -> None:
    """Every parsed mapping fits the settings, and says there what it said."""
    parsed = config.parse(mapping, PATH)
    settings = config.merged(parsed)
    assert {key: getattr(settings, key) for key in parsed} == parsed


def chosen(good: dict[str, Any]) -> Callable[[set[str]], dict[str, Any]]:
    """These keys of ``good``; ``model`` and ``models`` come together."""
    pair = {"model", "models"} & good.keys()
    return lambda keys: {key: good[key] for key in sorted(keys | pair if keys & pair else keys)}


def test_defaults_stand_in_one_place() -> None:
    """With nobody saying anything, the settings are the dataclass's own defaults."""
    assert config.merged() == config.merged({}, {}) == RescoreSettings()


def test_a_stronger_layer_wins_key_by_key() -> None:
    """Profile, request and call each keep the keys that no stronger layer names."""
    settings = config.merged(
        {"window_size": 50, "model": "of-profile", "enabled": False},
        {"model": "of-request", "budget_ms": 20.0},
        {"budget_ms": 30.0, "enabled": True},
    )
    assert settings == RescoreSettings(window_size=50, model="of-request", budget_ms=30.0, enabled=True)


def test_a_layer_can_set_a_key_back_to_its_default() -> None:
    """A layer that names the default value wins over a weaker layer that names another."""
    assert config.merged({"window_size": 50, "model": "m"}, {"window_size": 100, "model": ""}) == RescoreSettings()


def test_merging_leaves_the_layers_as_they_were() -> None:
    """A profile is shared by all searches of an index, so merging never writes into it."""
    profile, request = {"window_size": 50}, {"window_size": 60}
    config.merged(profile, request)
    assert (profile, request) == ({"window_size": 50}, {"window_size": 60})


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen: two searches may share them."""
    with pytest.raises(FrozenInstanceError):
        RescoreSettings().window_size = 5


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"model": "a", "keep": 0}, {"model": "b"}], "[0].keep: 0 must be a whole number in 1..10000"),
        (
            [{"model": "a"}, {"model": "b", "keep": 3}],
            "[1].keep: 3 stands in the last stage, which nothing follows; leave it out",
        ),
        ([{"keep": 3}, {"model": "b"}], "[0]: {'keep': 3} must hold \"model\""),
        ([{"model": "a"}, {"model": " "}], "[1].model: ' ' must be a string that is not empty"),
        ([{"model": "a", "kep": 3}, {"model": "b"}], "[0].kep: 3 stands under an unknown key; did you mean keep?"),
        (["a", "b"], "[0]: 'a' must be an object"),
    ],
)
def test_a_wrong_stage_is_named_by_its_place(stages: list[Any], said: str) -> None:
    """Each error leads to the stage and the key."""
    assert refused({"cascade": stages}) == f"{PATH}.cascade{said}"


def test_a_model_beside_a_cascade_is_refused() -> None:
    """Whoever wrote both expects both to count."""
    said = refused({"model": "x", "cascade": [{"model": "a"}, {"model": "b"}]})
    assert said.endswith("stands beside model; leave one of the two out")


CASCADE = {"cascade": (Stage(model="a", keep=5), Stage(model="b"))}
CHOICE = {"model": "auto", "models": ("a", "b")}


@pytest.mark.parametrize("stronger", [{"model": "x"}, CASCADE, CHOICE])
@pytest.mark.parametrize("weaker", [{"model": "y"}, CASCADE, CHOICE])
def test_a_stronger_wish_for_models_sets_the_weaker_one_aside(weaker: dict[str, Any], stronger: dict[str, Any]) -> None:
    """Model, models and cascade are one wish: nothing of the weaker one is left, and all else is."""
    settings = config.merged({**weaker, "window_size": 7}, stronger)
    assert settings == RescoreSettings(window_size=7, **stronger)
    assert config.merged(weaker, {"window_size": 8}) == RescoreSettings(window_size=8, **weaker)
