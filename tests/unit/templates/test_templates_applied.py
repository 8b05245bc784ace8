"""Template files compared with a node and applied: what is a difference, what is none, and what is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import TransportError

from rescorer import templates
from rescorer.domain import Engine
from rescorer.errors import InvalidProfile
from rescorer.templates import Change
from unit.templates.fake_node import FakeNode
from unit.templates.template_files import (
    ANALYSIS,
    ENGINES,
    INDEX,
    PROFILE,
    SHIPPED,
    TEXT,
    VECTOR,
    WEIGHTS,
    copied,
    edit,
    edit_profile,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped files, to edit."""
    return copied(tmp_path / "mine")


@pytest.fixture
def node() -> FakeNode:
    """An empty node."""
    return FakeNode()


def changes(node: FakeNode, folder: Path) -> dict[str, list[Change]]:
    """What would change, by file."""
    found = templates.diff(node, templates.read(folder))
    return {difference.template.source: list(difference.changes) for difference in found}


def test_on_an_empty_node_everything_is_new(node: FakeNode) -> None:
    """``diff`` calls all templates new and writes nothing."""
    found = templates.diff(node, templates.shipped())
    assert [difference.template.name for difference in found] == [entry.name for entry in templates.shipped()]
    assert all(difference.is_new for difference in found)
    assert node.puts() == []


def test_an_empty_template_is_new_as_well(node: FakeNode, tmp_path: Path) -> None:
    """A pipeline without any processor is sent once, although it holds no value that could differ."""
    (tmp_path / "search_pipelines").mkdir()
    (tmp_path / "search_pipelines" / "none.json").write_text("{}")
    assert [entry.is_new for entry in templates.apply(node, templates.read(tmp_path))] == [True]
    assert templates.apply(node, templates.read(tmp_path)) == []


def test_the_second_apply_changes_nothing(node: FakeNode) -> None:
    """What the engine gives back in its own form is no difference."""
    assert len(templates.apply(node, templates.shipped())) == 7
    assert templates.apply(node, templates.shipped()) == []
    assert len(node.puts()) == 7


def test_templates_are_sent_before_what_is_composed_of_them(node: FakeNode) -> None:
    """Components first, the index template last: an engine refuses unknown components."""
    templates.apply(node, templates.shipped())
    assert node.puts()[-1] == "/_index_template/rescorer"
    assert all(path.startswith("/_component_template/") for path in node.puts()[:4])


def test_an_edit_shows_as_exactly_its_change(node: FakeNode, folder: Path) -> None:
    """One changed, one added and one removed value are three changes, of one file; only that file is sent."""
    templates.apply(node, templates.shipped())
    edit_profile(folder, "window_size", 50)
    edit_profile(folder, "model", "mini")
    edit_profile(folder, "on_failure", ...)
    path = "template.mappings._meta.rescorer"
    assert changes(node, folder) == {
        PROFILE: [
            Change(path=f"{path}.model", have=None, want='"mini"'),
            Change(path=f"{path}.on_failure", have='"first_stage"', want=None),
            Change(path=f"{path}.window_size", have="100", want="50"),
        ]
    }
    node.sent.clear()
    (applied,) = templates.apply(node, templates.read(folder))
    assert (applied.is_new, applied.template.source) == (False, PROFILE)
    assert node.puts() == ["/_component_template/rescorer-profile"]
    assert changes(node, folder) == {}


@pytest.mark.parametrize(
    ("source", "path", "value", "change"),
    [
        (WEIGHTS, "phase_results_processors 0 normalization-processor combination parameters weights", [0.3, 0.7],
         ("phase_results_processors[0].normalization-processor.combination.parameters.weights",
          "[0.5, 0.5]", "[0.3, 0.7]")),
        (ANALYSIS, "template settings index similarity default k1", 0.9,
         ("template.settings.index.similarity.default.k1", "1.2", "0.9")),
        (ANALYSIS, "template settings number_of_shards", 2,
         ("template.settings.index.number_of_shards", None, "2")),
        (INDEX, "index_patterns", ["docs-*"], ("index_patterns", '["rescorer-*"]', '["docs-*"]')),
        (INDEX, "template aliases articles", {}, ("template.aliases.articles", None, "{}")),
        (INDEX, "_meta description", "Größe", ("_meta.description", ..., '"Größe"')),
        (TEXT, "template mappings properties body", ..., ("template.mappings.properties.body.type", '"text"', None)),
        (VECTOR, "template mappings properties embedding dimension", 768,
         ("template.mappings.properties.embedding.dimension", "384", "768")),
    ],
)  # fmt: skip
def test_each_kind_of_edit_is_seen(
    node: FakeNode, folder: Path, source: str, path: str, value: Any, change: tuple[str, Any, str | None]
) -> None:
    """Weights, settings, patterns, aliases, descriptions, fields: one edit, one change, with both values."""
    templates.apply(node, templates.shipped())
    edit(folder, source, path, value)
    (seen,) = changes(node, folder)[source]
    assert (seen.path, seen.want) == (change[0], change[2])
    assert change[1] is ... or seen.have == change[1]


def test_a_wrong_type_on_the_engine_is_a_difference(node: FakeNode, folder: Path) -> None:
    """``"true"`` on the engine is not ``true`` in the file: only one of them is a right profile."""
    edit_profile(folder, "enabled", "true")
    for entry in templates.read(folder):
        node.answer("PUT", entry.endpoint, dict(entry.body))
    edit_profile(folder, "enabled", True)
    path = "template.mappings._meta.rescorer.enabled"
    assert changes(node, folder) == {PROFILE: [Change(path=path, have='"true"', want="true")]}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("template settings", {}),
        ("template settings", {"index": {}}),
        ("template settings", {"index.knn": True, "number_of_replicas": 0, "index": {"refresh_interval": "5s"}}),
        (
            "template settings",
            {"analysis": {"filter": {"f": {"type": "stop", "stopwords": ["a", 7], "ignore_case": True}}}},
        ),
        ("template settings", {"similarity.default": {"type": "BM25", "b": 0.3}}),
        ("template aliases", {"a": {}, "b": {"routing": "1", "filter": {"term": {"x": {"value": 1}}}}}),
        ("template mappings dynamic", False),
        ("index_patterns", "one-*"),
        ("composed_of", []),
        ("data_stream", {}),
        ("version", 7),
        ("_meta anything", [{"a": [1, {}]}, None, 1.5, []]),
    ],
)
def test_the_form_in_which_a_thing_is_written_is_no_difference(
    folder: Path, path: str, value: Any, engine: Engine
) -> None:
    """Short and long forms of settings, numbers as text, what the engine fills in: applied once, then done."""
    node = FakeNode(engine=engine)
    for pipeline in (folder / "search_pipelines").iterdir():
        pipeline.unlink()
    edit(folder, INDEX, path, value)
    for entry in templates.read(folder):
        node.answer("PUT", entry.endpoint, dict(entry.body))
    assert changes(node, folder) == {}


def test_the_shipped_files_for_elasticsearch_are_applied_once() -> None:
    """The second apply changes nothing there as well: dates that the node adds are no difference."""
    node = FakeNode(engine="elasticsearch")
    shipped = templates.shipped("elasticsearch")
    assert len(templates.apply(node, shipped, "elasticsearch")) == len(shipped) == 5
    assert templates.apply(node, shipped, "elasticsearch") == []
    assert not any(path.startswith("/_search") for _, path in node.sent)


def test_dates_are_no_difference_and_anything_else_is(folder: Path) -> None:
    """A key of our own that looks like a date is compared; what the engine names so is not, also out of a file."""
    node = FakeNode(engine="elasticsearch")
    edit(folder, TEXT, "created_date_millis", 1)
    edit(folder, TEXT, "_meta created_date_millis", 1)
    (text,) = (entry for entry in templates.read(folder) if entry.source == TEXT)
    node.answer("PUT", text.endpoint, dict(text.body))
    assert templates.diff(node, [text]) == []
    edit(folder, TEXT, "_meta created_date_millis", 2)
    (text,) = (entry for entry in templates.read(folder) if entry.source == TEXT)
    (difference,) = templates.diff(node, [text])
    assert difference.changes == (Change(path="_meta.created_date_millis", have="1", want="2"),)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("there", "here", "change"),
    [
        ({}, ..., Change(path="data_stream", have="{}", want=None)),
        (..., {}, Change(path="data_stream", have=None, want="{}")),
        ({"hidden": True}, {}, Change(path="data_stream.hidden", have="true", want=None)),
        ({"hidden": True}, {"hidden": False}, Change(path="data_stream.hidden", have="true", want=None)),
    ],
)
def test_a_data_stream_is_a_difference_where_it_is_one(
    folder: Path, engine: Engine, there: Any, here: Any, change: Change
) -> None:
    """Its defaults are none, but whether it is there, and what is not a default."""
    node = FakeNode(engine=engine)
    bodies = []
    for value in (there, here):
        edit(folder, INDEX, "data_stream", {})
        edit(folder, INDEX, "data_stream", value)
        (index,) = (entry for entry in templates.read(folder) if entry.source == INDEX)
        bodies.append(index)
    node.answer("PUT", bodies[0].endpoint, dict(bodies[0].body))
    (difference,) = templates.diff(node, bodies[1:])
    assert difference.changes == (change,)


def test_search_pipelines_are_refused_before_elasticsearch_is_asked(folder: Path) -> None:
    """The folder of the other engine sends nothing where the engine is known."""
    node = FakeNode(engine="elasticsearch")
    with pytest.raises(InvalidProfile, match="which Elasticsearch has not"):
        templates.apply(node, templates.read(folder), "elasticsearch")
    assert node.sent == []


def test_apply_with_a_wrong_profile_sends_nothing(node: FakeNode, folder: Path) -> None:
    """The first error is raised before the node hears anything."""
    edit_profile(folder, "document_fields", ["titel"])
    with pytest.raises(InvalidProfile, match="did you mean title"):
        templates.apply(node, templates.read(folder))
    assert node.sent == []


def test_a_refused_template_is_named_in_the_error(node: FakeNode) -> None:
    """The engine's own error passes through, with the file as a note; what came before it stays applied."""
    node.refusal["/rescorer-vector"] = "unknown setting"
    with pytest.raises(TransportError, match="settings_exception") as caught:
        templates.apply(node, templates.shipped())
    assert caught.value.__notes__ == [VECTOR]
    assert [path.rpartition("/")[2] for path in node.puts()][-1] == "rescorer-vector"


def test_the_bodies_that_were_sent_are_the_files(node: FakeNode) -> None:
    """Nothing is added to a file on its way."""
    templates.apply(node, templates.shipped())
    stored = node.stored["/_search/pipeline/rescorer-rrf"]
    assert stored == json.loads((SHIPPED / "search_pipelines" / "rescorer-rrf.json").read_text())


def test_a_pipeline_can_be_asked_for(node: FakeNode) -> None:
    """Before and after the pipelines are applied."""
    assert not templates.has_pipeline(node, "rescorer-rrf")
    templates.apply(node, templates.shipped())
    assert templates.has_pipeline(node, "rescorer-rrf")
    assert not templates.has_pipeline(node, "rescorer")
