"""The profile's JSON Schema says what ``profile.read`` does, and the page says what both know."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from jsonschema import Draft202012Validator

from rescorer import config, profile
from rescorer.config import RescoreSettings
from rescorer.errors import InvalidProfile
from rescorer.profile import Hybrid
from unit.settings.settings_strategies import (
    GOOD,
    GOOD_CALIBRATIONS,
    GOOD_CASCADE,
    GOOD_HYBRID,
    GOOD_MODELS,
    HYBRID,
    JSON,
    ONE_KEY,
    PROFILES,
)

DOCS = Path(__file__).resolve().parents[3] / "docs"
VALIDATOR = Draft202012Validator(profile.schema())


def is_read(meta: Any) -> bool:
    """Whether ``read`` accepts a profile; what JSON Schema has no word for is not asked about."""
    try:
        profile.read(meta)
    except InvalidProfile as error:
        assume(not error.mend.startswith("must add up to 1"))
        if error.mend == "names a field twice":
            shown = [json.dumps(entry, sort_keys=True) for entry in error.value]
            assume(len(set(shown)) < len(shown))
        if ".calibration.points" in error.path:
            assume("must rise" not in error.mend)
        if ".long_texts." in error.path:
            assume(" at most, " not in error.mend)
        if error.mend == "names a model twice":
            assume(error.path.endswith(".models"))
        return False
    return True


def test_the_schema_is_a_schema() -> None:
    """Editors can load it: it is valid under the draft that it names."""
    Draft202012Validator.check_schema(profile.schema())
    assert profile.schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_file_is_the_schema() -> None:
    """docs/profile.schema.json is what ``rescorer templates schema`` prints; run it again after a change."""
    assert (DOCS / "profile.schema.json").read_text() == json.dumps(profile.schema(), indent=2) + "\n"


@given(PROFILES | ONE_KEY | GOOD_MODELS | GOOD_CALIBRATIONS)
@example(GOOD)
@example(GOOD_CASCADE)
@example({"long_texts": "chunks"})
@example({"long_texts": {"chunk_tokens": 8.0, "overlap_tokens": 0}})
@example({"long_texts": {"chunk_tokens": 7}})
@example({"long_texts": {"chunk_tokens": False}})
@example({"long_texts": None})
@example({"document_fields": [{"field": "a", "max_tokens": 0}]})
@example({"model": "auto"})
@example({"models": ["a"]})
@example({"model": "auto", "models": ["a", "a"]})
@example({"model": "a", "cascade": [{"model": "a"}, {"model": "b"}]})
@example({"cascade": [{"model": "a"}, {"model": "b", "keep": 1}]})
@example({"cascade": [{"model": "a", "keep": 1.0}, {"model": "b"}]})
@example({"document_fields": [""]})
@example({"document_fields": ["a", "a"]})
@example({"document_fields": [{"field": "a", "label": ""}, {"field": "b", "label": ""}]})
@example({"window_size": 100.0})
@example({"window_size": True})
@example({"query_text": " "})
@example({"budget_ms": 0})
def test_schema_and_reader_agree(meta: Any) -> None:
    """What the schema accepts is read, and what it refuses is refused."""
    assert VALIDATOR.is_valid(meta) == is_read(meta)


@given((HYBRID | GOOD_HYBRID | JSON).map(lambda form: {"hybrid": form}))
@example({"hybrid": {"text_fields": [" ^2"], "vector_field": "v"}})
@example({"hybrid": {"text_fields": ["a^2"], "vector_field": " "}})
@example({"hybrid": {"text_fields": ["a", "a"], "vector_field": "v", "k": 10_000.0}})
@example({"hybrid": {"text_fields": ["a"], "vector_field": "v", "fusion": "rrf", "rank_constant": 60.0}})
@example({"hybrid": {"text_fields": ["a"], "vector_field": "v", "fusion": "min_max", "search_pipeline": "p"}})
@example({"hybrid": {"text_fields": ["a"], "vector_field": "v", "search_pipeline": "p", "weights": [0.5, 0.5]}})
@example({"hybrid": {"text_fields": ["a"], "vector_field": "v", "rank_constant": 60}})
def test_schema_and_reader_agree_about_hybrid_forms(meta: Any) -> None:
    """The same for the hybrid form: names, boosts, bounds, unknown and missing keys."""
    assert VALIDATOR.is_valid(meta) == is_read(meta)


@given(JSON)
def test_schema_and_reader_agree_about_anything(meta: Any) -> None:
    """The same for JSON that is no profile at all."""
    assert VALIDATOR.is_valid(meta) == is_read(meta)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"chunk_tokens": 64, "overlap_tokens": 33}, "overlap_tokens: 33 may be 32 at most, half of chunk_tokens"),
        ({"most_chunks": 3, "top": 4}, "top: 4 may be 3 at most, which is most_chunks"),
    ],
)
def test_chunks_that_do_not_fit_each_other_are_a_difference(how: dict[str, Any], said: str) -> None:
    """The schema can't compare two numbers, so the reader alone refuses them."""
    assert VALIDATOR.is_valid({"long_texts": how})
    with pytest.raises(InvalidProfile) as refused:
        profile.read({"long_texts": how})
    assert str(refused.value).endswith(f"long_texts.{said}")


def test_weights_that_do_not_add_up_are_a_difference() -> None:
    """The schema has no word for a sum, so the reader alone refuses it."""
    form = {"text_fields": ["t"], "vector_field": "v", "fusion": "rrf", "weights": [0.5, 0.4]}
    assert VALIDATOR.is_valid({"hybrid": form})
    with pytest.raises(InvalidProfile, match=r"must add up to 1, not 0\.9"):
        profile.read({"hybrid": form})


def test_a_field_named_twice_in_two_forms_is_another_difference() -> None:
    """The schema has no word for it, so the reader alone refuses it."""
    meta = {"document_fields": ["title", {"field": "title", "label": "Title"}]}
    assert VALIDATOR.is_valid(meta)
    with pytest.raises(InvalidProfile, match="names a field twice"):
        profile.read(meta)


def test_a_model_that_two_stages_name_is_a_difference_too() -> None:
    """The stages differ as a whole, so the reader alone refuses it."""
    meta = {"cascade": [{"model": "a", "keep": 3}, {"model": "a"}]}
    assert VALIDATOR.is_valid(meta)
    with pytest.raises(InvalidProfile, match="names a model twice"):
        profile.read(meta)


@pytest.mark.parametrize("described", [RescoreSettings, Hybrid])
def test_every_key_is_explained(described: type[RescoreSettings] | type[Hybrid]) -> None:
    """Each field has a line in the class's docstring, and each such line belongs to a field."""
    explained = profile.explanations(described)
    assert explained.keys() == {field.name for field in dataclasses.fields(described)}
    assert all(meaning.endswith((".", "…")) for meaning in explained.values())


def test_the_schema_names_every_key_with_its_default() -> None:
    """Keys, defaults and required keys are those of the dataclasses."""
    for shape, described in ((profile.schema(), RescoreSettings), (profile.schema()["properties"]["hybrid"], Hybrid)):
        named = {name: entry.get("default") for name, entry in shape["properties"].items() if name != "hybrid"}
        assert named == {name: default or None if default == () else default for name, default in defaults(described)}
        assert set(shape.get("required", ())) == {
            field.name for field in dataclasses.fields(described) if field.default is dataclasses.MISSING
        }


def defaults(described: type[RescoreSettings] | type[Hybrid]) -> list[tuple[str, Any]]:
    """(key, default) of each field; None where it has none."""
    return [
        (field.name, None if field.default is dataclasses.MISSING else field.default)
        for field in dataclasses.fields(described)
    ]


@pytest.mark.parametrize("change", [{"window_size": 10_000}, {"max_tokens": 1_000_000}, {"budget_ms": 0.001}])
def test_bounds_are_inclusive_where_the_message_says_so(change: dict[str, Any]) -> None:
    """The largest allowed value is allowed by reader and schema alike."""
    assert config.parse(change, "p") == change
    assert VALIDATOR.is_valid(change)


ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "described"), [("Keys of the profile", RescoreSettings), ("Keys of `hybrid`", Hybrid)]
)
def test_the_page_lists_every_key_with_its_default(
    heading: str, described: type[RescoreSettings] | type[Hybrid]
) -> None:
    """The tables of docs/templates.md hold exactly the fields of the dataclasses, in order, with their defaults."""
    section = (DOCS / "templates.md").read_text().split(f"# {heading}\n")[1].split("\n#")[0]
    listed = [(name, default.strip()) for name, _, default, _ in ROW.findall(section)]
    beside = [("hybrid", "–")] if described is RescoreSettings else []
    assert listed == [(name, shown(default)) for name, default in defaults(described)] + beside


def shown(default: Any) -> str:
    """A default as the page writes it: JSON in code, a dash where there is none."""
    return "–" if default in (None, ()) else f"`{json.dumps(default)}`"
