"""Template files: read, and checked as the engine composes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer import profile, templates
from rescorer.domain import Engine
from rescorer.errors import InvalidProfile, InvalidSetting
from rescorer.templates import Template
from unit.settings.settings_strategies import JSON
from unit.templates.template_files import (
    ANALYSIS,
    ENGINES,
    FOLDERS,
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

HELD = f"{PROFILE}: template.mappings._meta.rescorer"
KINDS = {
    "component_template": "template",
    "index_template": "index_patterns",
    "search_pipeline": "phase_results_processors",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped files, to edit."""
    return copied(tmp_path / "mine")


def wrong(folder: Path) -> list[str]:
    """What ``check`` says about a folder."""
    return [str(error) for error in templates.check(templates.read(folder))]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_shipped_files_are_those_of_the_tree(engine: Engine) -> None:
    """Every JSON file of the folder is read, as the kind that its sub-folder says, under its own name."""
    shipped, folder = templates.shipped(engine), FOLDERS / engine
    assert {entry.source for entry in shipped} == {str(path.relative_to(folder)) for path in folder.rglob("*.json")}
    for entry in shipped:
        assert KINDS[entry.kind] in entry.body
        assert entry.source.endswith(f"/{entry.name}.json")


@pytest.mark.parametrize(("engine", "pipelines"), [("opensearch", 2), ("elasticsearch", 0)])
def test_the_shipped_files_come_in_an_order_that_an_engine_takes(engine: Engine, pipelines: int) -> None:
    """An index template comes after what it is composed of."""
    kinds = [entry.kind for entry in templates.shipped(engine)]
    assert kinds == ["component_template"] * 4 + ["search_pipeline"] * pipelines + ["index_template"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_shipped_files_are_in_order(engine: Engine) -> None:
    """The shipped profile names fields and a pipeline that the shipped files hold, and nothing its engine lacks."""
    assert templates.check(templates.shipped(engine)) == templates.check(templates.shipped(engine), engine) == []


@pytest.mark.parametrize("path", sorted(FOLDERS.rglob("*")), ids=lambda path: str(path.relative_to(FOLDERS)))
def test_each_shipped_file_is_json_and_says_what_it_is_for(path: Path) -> None:
    """The folders hold JSON files and nothing else, each with a description."""
    if path.is_file():
        body = json.loads(path.read_bytes())
        assert path.suffix == ".json"
        assert (body.get("description") or body["_meta"]["description"]).endswith(".")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_index_template_is_composed_of_every_component(engine: Engine) -> None:
    """No component template is shipped that nothing uses."""
    (index,) = (entry for entry in templates.shipped(engine) if entry.kind == "index_template")
    components = {entry.name for entry in templates.shipped(engine) if entry.kind == "component_template"}
    assert set(index.body["composed_of"]) == components


@pytest.mark.parametrize("source", [TEXT, ANALYSIS, INDEX])
def test_what_both_engines_take_is_the_same_file(source: str) -> None:
    """Text, its analysis and the composition are byte for byte the same: whoever edits one edits both alike."""
    first, second = ((FOLDERS / engine / source).read_bytes() for engine in ENGINES)
    assert first == second


def test_both_profiles_differ_in_who_fuses_alone() -> None:
    """Fields, window and neighbours are the same on both engines."""
    forms = []
    for engine in ENGINES:
        meta = json.loads((FOLDERS / engine / PROFILE).read_text())["template"]["mappings"]["_meta"]["rescorer"]
        forms.append(meta["hybrid"])
        assert profile.read(meta).rescore["window_size"] == 100
    assert forms[0].pop("search_pipeline") == "rescorer-normalization"
    assert forms[1].pop("fusion") == "min_max"
    assert forms[0] == forms[1]


def test_both_vector_fields_are_the_same_graph() -> None:
    """As many numbers, the same similarity, the same links, each in its engine's words."""
    first, second = (
        json.loads((FOLDERS / engine / VECTOR).read_text())["template"]["mappings"]["properties"]["embedding"]
        for engine in ENGINES
    )
    assert first["dimension"] == second["dims"]
    assert (first["method"]["space_type"], second["similarity"]) == ("cosinesimil", "cosine")
    graph = {key: value for key, value in second["index_options"].items() if key != "type"}
    assert first["method"]["parameters"] == graph
    assert second["index_options"]["type"] == "int8_hnsw"


def test_the_weights_add_up_to_exactly_one() -> None:
    """The engine refuses weights whose sum is not 1.0."""
    combination = json.loads((SHIPPED / WEIGHTS).read_text())["phase_results_processors"][0]["normalization-processor"]
    assert sum(combination["combination"]["parameters"]["weights"]) == 1.0


def test_the_vector_field_never_needs_a_native_library() -> None:
    """The shipped vector field names the engine lucene, the only one in pure Java."""
    mappings = json.loads((SHIPPED / VECTOR).read_text())["template"]["mappings"]
    assert mappings["properties"]["embedding"]["method"]["engine"] == "lucene"


@pytest.mark.parametrize(
    ("kind", "name", "endpoint"),
    [
        ("component_template", "a", "/_component_template/a"),
        ("index_template", "a b", "/_index_template/a%20b"),
        ("search_pipeline", "ä/?#", "/_search/pipeline/%C3%A4%2F%3F%23"),
    ],
)
def test_a_name_is_escaped_in_its_address(kind: templates.Kind, name: str, endpoint: str) -> None:
    """Whatever a file is called, it is sent under that name and to no other address."""
    assert Template(kind=kind, name=name, source="", body={}).endpoint == endpoint


def test_only_json_files_are_read(folder: Path) -> None:
    """Notes, copies of an editor and folders beside the files do no harm."""
    (folder / "component_templates" / "README.md").write_text("notes")
    (folder / "component_templates" / "rescorer-text.json~").write_text("{")
    (folder / "component_templates" / "old.json").mkdir()
    assert [entry.source for entry in templates.read(folder)] == [entry.source for entry in templates.shipped()]


def test_a_folder_may_hold_one_kind_alone(tmp_path: Path) -> None:
    """Who edits pipelines only keeps pipelines only."""
    (tmp_path / "search_pipelines").mkdir()
    (tmp_path / "search_pipelines" / "p.json").write_text('{"description": "d"}')
    assert [(entry.kind, entry.name) for entry in templates.read(tmp_path)] == [("search_pipeline", "p")]


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_templates_is_refused(tmp_path: Path, name: str) -> None:
    """A mistyped folder is an error that names the sub-folders and the command that makes them."""
    with pytest.raises(InvalidSetting, match=r"component_templates.*rescorer templates export") as caught:
        templates.read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{\n  "a": 1,\n}', f"{PROFILE}, line 3: "),
        (b"", f"{PROFILE}, line 1: 'Expecting value' is what JSON says; mend the file"),
        (b'{"a": 1\n "b": 2}', f"{PROFILE}, line 2: \"Expecting ',' delimiter\" is what JSON says; mend the file"),
        (b"// note\n{}", f"{PROFILE}, line 1: 'Expecting value' is what JSON says; mend the file"),
        (b"[1]", f"{PROFILE}: [1] must be an object"),
        (b"null", f"{PROFILE}: None must be an object"),
        (b'{"a": "\xff"}', f"{PROFILE}: \"'utf-8' codec can't decode byte 0xff in position 7: "),
        (
            b'{"x": {"a": 1, "b": 2, "a": 3}}',
            f"{PROFILE}: \"key 'a' stands twice in one object\" is why it can't be read",
        ),
        (b'{"a": ' + b"9" * 5000 + b"}", f"{PROFILE}: 'Exceeds the limit"),
        (b"[" * 200_000, f"{PROFILE}: 'maximum recursion depth exceeded"),
    ],
    ids=["comma", "empty", "delimiter", "comment", "list", "null", "latin-1", "doubled", "huge", "deep"],
)
def test_a_broken_file_is_named_with_its_line(folder: Path, content: bytes, said: str) -> None:
    """What is no JSON object in UTF-8 is refused in one line that names file, line and reason."""
    (folder / PROFILE).write_bytes(content)
    with pytest.raises(InvalidSetting) as caught:
        templates.read(folder)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("windowsize", 5, ".windowsize: 5 stands under an unknown key; did you mean window_size?"),
        ("window_size", "100", ".window_size: '100' must be a whole number in 1..10000, or \"auto\""),
        ("document_fields", ["titel"], ".document_fields[0]: 'titel' is not a field of the mapping; "
         "did you mean title?"),
        ("hybrid vector_field", "body", ".hybrid.vector_field: 'body' is a text, and must be a knn_vector (OpenSearch) "
         "or dense_vector (Elasticsearch)"),
        ("hybrid text_fields", ["title^2", "titl^3"], ".hybrid.text_fields[1]: 'titl' is not a field of the mapping; "
         "did you mean title?"),
        ("hybrid search_pipeline", "rrf", ".hybrid.search_pipeline: 'rrf' is no search pipeline of this folder; "
         "it holds: rescorer-normalization, rescorer-rrf"),
        ("hybrid k", True, ".hybrid.k: True must be a whole number in 1..10000"),
    ],
)  # fmt: skip
def test_a_wrong_profile_is_told_by_file_and_json_path(folder: Path, path: str, value: Any, said: str) -> None:
    """Each error names the file that holds the profile, the path in it, and the mend."""
    edit_profile(folder, path, value)
    (error,) = wrong(folder)
    assert error == HELD + said


def test_every_wrong_thing_is_told_at_once(folder: Path) -> None:
    """Two wrong fields and a wrong pipeline are three errors."""
    edit_profile(folder, "document_fields", ["x", "y"])
    edit_profile(folder, "hybrid search_pipeline", "z")
    assert [error.split(": ")[1].rpartition(".")[2] for error in wrong(folder)] == [
        "document_fields[0]",
        "document_fields[1]",
        "search_pipeline",
    ]


def test_a_folder_without_pipelines_says_so(folder: Path) -> None:
    """Where no pipeline stands in the folder, the hint does not name an empty list, and thinks of Elasticsearch."""
    for path in (folder / "search_pipelines").iterdir():
        path.unlink()
    (error,) = wrong(folder)
    assert error.endswith('; it holds: none; for Elasticsearch name a fusion instead, such as "min_max"')


def test_elasticsearch_takes_no_search_pipeline(folder: Path) -> None:
    """Each pipeline file and the profile that names one are told, with what to write instead."""
    found = [str(error) for error in templates.check(templates.read(folder), "elasticsearch")]
    assert found == [
        f"search_pipelines/{name}.json: {name!r} {templates.NO_PIPELINES}, and take the file away"
        for name in ("rescorer-normalization", "rescorer-rrf")
    ]
    for path in (folder / "search_pipelines").iterdir():
        path.unlink()
    (error,) = templates.check(templates.read(folder), "elasticsearch")
    assert str(error) == f"{HELD}.hybrid.search_pipeline: 'rescorer-normalization' {templates.NO_PIPELINES}"


def test_lists_are_joined_in_each_engines_order(folder: Path) -> None:
    """OpenSearch puts the weaker profile's fields first, Elasticsearch the stronger one's."""
    edit(folder, INDEX, "template mappings _meta rescorer document_fields", ["nothing", "title"])
    edit_profile(folder, "hybrid search_pipeline", "")
    for path in (folder / "search_pipelines").iterdir():
        path.unlink()
    places = {}
    for engine in ENGINES:
        (error,) = templates.check(templates.read(folder), engine)
        places[engine] = error.path.rpartition(".")[2]
    assert places == {"opensearch": "document_fields[2]", "elasticsearch": "document_fields[0]"}


def test_an_index_template_overrides_its_components(folder: Path) -> None:
    """The index template's own profile is merged over its components', and errors name it."""
    edit(folder, INDEX, "template mappings _meta rescorer window_size", 0)
    assert wrong(folder) == [
        f"{INDEX}: template.mappings._meta.rescorer.window_size: 0 must be a whole number in 1..10000"
    ]
    edit(folder, INDEX, "template mappings _meta rescorer window_size", 50)
    assert wrong(folder) == []
    edit(folder, INDEX, "template mappings _meta rescorer document_fields", ["summary"])
    assert "'summary' is not a field of the mapping" in wrong(folder)[0]
    assert "document_fields[2]" in wrong(folder)[0]
    edit(folder, INDEX, "template mappings properties summary", {"type": "text"})
    assert wrong(folder) == []


def test_fields_of_every_component_count(folder: Path) -> None:
    """Without the vector component the profile's vector field is missing; it is the composition that is checked."""
    edit(folder, INDEX, "composed_of", ["rescorer-text", "rescorer-profile"])
    assert [error.split(" ")[0:2] for error in wrong(folder)] == [
        [PROFILE + ":", "template.mappings._meta.rescorer.hybrid.vector_field:"]
    ]


def test_a_component_that_only_the_engine_has_leaves_fields_open(folder: Path) -> None:
    """Its fields are not known here, so no field is called missing; keys are checked all the same."""
    edit(folder, INDEX, "composed_of", ["of-the-engine", "rescorer-profile"])
    assert wrong(folder) == []
    edit_profile(folder, "window_size", 0)
    assert len(wrong(folder)) == 1


def test_a_profile_that_no_index_template_uses_is_checked_too(folder: Path) -> None:
    """A component template alone in its folder is sent, so its keys are checked before."""
    (folder / INDEX).unlink()
    assert wrong(folder) == []
    edit_profile(folder, "hybrid kk", 7)
    assert wrong(folder) == [f"{HELD}.hybrid.kk: 7 stands under an unknown key; did you mean k?"]


def test_one_profile_in_two_index_templates_is_told_once(folder: Path) -> None:
    """The same error about the same file is one line."""
    (folder / "index_templates" / "other.json").write_text((folder / INDEX).read_text())
    edit_profile(folder, "window_size", 0)
    assert len(wrong(folder)) == 1


def test_templates_without_profile_are_in_order(folder: Path) -> None:
    """Nobody must have a profile."""
    edit(folder, PROFILE, "template mappings _meta rescorer", ...)
    assert wrong(folder) == []


@pytest.mark.parametrize(
    ("source", "path", "value", "said"),
    [
        (TEXT, "template", [], "template: [] must be an object"),
        (TEXT, "template", None, "template: None must be an object"),
        (TEXT, "template mappings", "text", "template.mappings: 'text' must be an object"),
        (PROFILE, "template mappings _meta", 7, "template.mappings._meta: 7 must be an object"),
        (
            INDEX,
            "composed_of",
            "rescorer-text",
            "composed_of: 'rescorer-text' must be a list of component template names",
        ),
        (INDEX, "composed_of", [{}], "composed_of: [{}] must be a list of component template names"),
    ],
)
def test_a_template_of_the_wrong_shape_is_refused(folder: Path, source: str, path: str, value: Any, said: str) -> None:
    """Where a profile can't even be looked for, the error says which part of which file is why."""
    edit(folder, source, path, value)
    assert wrong(folder) == [f"{source}: {said}"]


BODIES = st.fixed_dictionaries(
    {},
    optional={
        "template": JSON
        | st.fixed_dictionaries(
            {},
            optional={"mappings": JSON | st.fixed_dictionaries({"_meta": JSON, "properties": JSON}), "settings": JSON},
        ),
        "composed_of": JSON | st.lists(st.sampled_from(["a", "b"])),
    },
)


@given(BODIES, BODIES)
def test_check_survives_any_json(component: dict[str, Any], index: dict[str, Any]) -> None:
    """Whatever the files hold, the answer is a list of errors of one line."""
    found = templates.check(
        [
            Template(kind="component_template", name="a", source="c/a.json", body=component),
            Template(kind="index_template", name="i", source="i/i.json", body=index),
        ]
    )
    assert all(isinstance(error, InvalidProfile) and len(str(error).splitlines()) == 1 for error in found)


def test_checking_leaves_the_files_bodies_as_they_were() -> None:
    """Composing merges copies: what is sent afterwards is what was read."""
    shipped = templates.shipped()
    before = json.dumps([dict(entry.body) for entry in shipped])
    templates.check(shipped)
    assert json.dumps([dict(entry.body) for entry in shipped]) == before


@pytest.mark.parametrize(("engine", "place"), [("opensearch", 1), ("elasticsearch", 2)])
def test_the_profile_file_holds_nothing_that_is_no_setting(engine: Engine, place: int) -> None:
    """The shipped profile reads as it is, and is the engine's example on the page."""
    meta = json.loads((FOLDERS / engine / PROFILE).read_text())["template"]["mappings"]["_meta"]["rescorer"]
    assert profile.read(meta).hybrid is not None
    page = (FOLDERS.parent / "docs" / "templates.md").read_text()
    assert json.loads(page.split("```json\n")[place].split("```")[0]) == meta
