"""The shipped files on a real node of each engine: taken as they are, applied once, and what an index gets of them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from engines.shipped_templates import Renamed, asked, on_node
from rescorer import profile, templates
from rescorer.templates import Change
from rescorer_lab import cli

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["opensearch", "elasticsearch"])
def renamed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Renamed]:
    """Each engine's files under names of this test, which are gone from its node afterwards."""
    with on_node(request.getfixturevalue(f"{request.param}_url"), request.param, tmp_path) as made:
        yield made


@pytest.fixture
def url(renamed: Renamed, request: pytest.FixtureRequest) -> str:
    """Where the node answers."""
    found: str = request.getfixturevalue(f"{renamed.engine}_url")
    return found


@pytest.fixture
def index(renamed: Renamed) -> str:
    """A new index that the templates are for, with three documents."""
    renamed.make_index()
    return renamed.index


def set_profile(renamed: Renamed, **keys: Any) -> None:
    """Write keys into the profile's file; ``None`` removes one."""
    path = renamed.path("rescorer-profile")
    body = json.loads(path.read_text())
    meta = body["template"]["mappings"]["_meta"]["rescorer"]
    for key, value in keys.items():
        meta.pop(key, None) if value is None else meta.update({key: value})
    path.write_text(json.dumps(body))


def test_each_file_is_accepted_by_a_plain_put(url: str, renamed: Renamed) -> None:
    """The bytes of each file are what the node takes, without any client of ours."""
    for entry in renamed.read():
        raw = (renamed.folder / entry.source).read_bytes()
        assert asked(url, "PUT", entry.endpoint, raw) == {"acknowledged": True}


def test_the_curl_lines_of_the_page_send_every_file(url: str, renamed: Renamed) -> None:
    """Each curl line of the page names a file of the tree and an address that takes it; no file is left out."""
    page = (ROOT / "docs" / "templates.md").read_text()
    sent = []
    for line in re.findall(rf"^curl .* -d @index_templates/{renamed.engine}/.*$", page, re.MULTILINE):
        words = shlex.split(line)
        address, file = words[3], words[-1].removeprefix("@")
        assert words[:3] == ["curl", "-X", "PUT"]
        assert words[4:6] == ["-H", "Content-Type: application/json"]
        endpoint, _, name = address.removeprefix("http://localhost:9200").rpartition("/")
        raw = renamed.path(Path(file).stem).read_bytes()
        assert (ROOT / file).is_file()
        assert asked(url, "PUT", f"{endpoint}/{renamed.named(name)}", raw) == {"acknowledged": True}
        sent.append(Path(file).relative_to(f"index_templates/{renamed.engine}").as_posix())
    assert sorted(sent) == sorted(entry.source for entry in templates.shipped(renamed.engine))


def test_the_second_apply_changes_nothing(renamed: Renamed) -> None:
    """All are new, then none differs: what the engine gives back is recognised."""
    assert [entry.is_new for entry in renamed.apply()] == [True] * len(templates.shipped(renamed.engine))
    assert renamed.apply() == []


def test_the_command_finds_out_what_answers(url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither diff nor apply is told the engine: new at first, then nothing to change."""
    words = ["--url", url, "--folder", str(renamed.folder)]
    count = len(renamed.read())
    for command, said in (("diff", f"{count} of {count} would change"), ("apply", f"{count} of {count} changed")):
        assert cli.run(["templates", command, *words]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == said
    assert cli.run(["templates", "diff", *words]) == 0
    assert capsys.readouterr().out == "nothing to change\n"


def test_the_command_takes_the_files_of_the_engine_that_answers(
    url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a folder, the shipped files for the node's own engine are compared, and no others."""
    assert cli.run(["templates", "diff", "--url", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    count = len(templates.shipped(renamed.engine))
    assert lines[-1] == "nothing to change" or lines[-1].endswith(f" of {count} would change")


def test_an_edited_copy_shows_exactly_its_change(renamed: Renamed) -> None:
    """A changed, an added and a removed key of the profile, and nothing else; applied, they are gone."""
    renamed.apply()
    set_profile(renamed, window_size=50, model="m", on_failure=None)
    path = "template.mappings._meta.rescorer"
    assert renamed.changed() == [
        Change(path=f"{path}.model", have=None, want='"m"'),
        Change(path=f"{path}.on_failure", have='"first_stage"', want=None),
        Change(path=f"{path}.window_size", have="100", want="50"),
    ]
    renamed.apply()
    assert renamed.changed() == []


def test_an_edited_vector_field_shows_exactly_its_change(renamed: Renamed) -> None:
    """The dimension and the graph's parameters are compared as they were written; more links, one change."""
    renamed.apply()
    path = renamed.path("rescorer-vector")
    path.write_text(path.read_text().replace('"m": 16', '"m": 32'))
    (change,) = renamed.changed()
    assert (change.path.rpartition(".")[2], change.have, change.want) == ("m", "16", "32")
    renamed.apply()
    assert renamed.changed() == []


@pytest.mark.parametrize(
    "own",
    [
        {"template": {"settings": {"index.number_of_shards": 1, "number_of_replicas": 0, "index": {"hidden": True}}}},
        {"template": {"settings": {"similarity.default": {"type": "BM25", "b": 0.3}, "max_ngram_diff": 3}}},
        {"template": {"settings": {}, "aliases": {"{prefix}-a": {}, "{prefix}-b": {"routing": "1", "filter": {"exists":
         {"field": "title"}}}}}},
        {"template": {"mappings": {"dynamic": False, "properties": {"n": {"type": "keyword", "index": "false"}}}}},
        {"template": {"mappings": {"dynamic": "strict", "properties": {"n": {"properties": {}}}}}},
        {"template": {"settings": {"analysis.filter": {"n": {"type": "ngram", "min_gram": 1, "token_chars": []}}}}},
        {"index_patterns": "{prefix}-*", "version": 7, "_meta": {"a": [1.5, None, {"b": []}], "c": {}}},
        {"data_stream": {}},
        {"composed_of": []},
        {"template": {}},
    ],
    ids=["settings", "similarity", "aliases", "mappings", "dynamic", "analysis", "scalars", "stream", "inline", "none"],
)  # fmt: skip
def test_what_the_engine_adds_is_no_difference(renamed: Renamed, own: dict[str, Any]) -> None:
    """Short forms, numbers, aliases, defaults: whatever a search engineer writes, the second apply finds no change."""
    path = renamed.path("rescorer")
    body = json.loads(path.read_text()) | json.loads(json.dumps(own).replace("{prefix}", renamed.prefix))
    path.write_text(json.dumps(body))
    renamed.apply()
    assert renamed.changed() == []


def test_a_new_index_gets_fields_vector_and_profile(renamed: Renamed, index: str) -> None:
    """The mapping of an index that fits the pattern is that of the files, its profile readable and right."""
    mappings = renamed.mappings()
    assert {name: body["type"] for name, body in mappings["properties"].items()} == {
        "title": "text",
        "body": "text",
        "embedding": {"opensearch": "knn_vector", "elasticsearch": "dense_vector"}[renamed.engine],
    }
    found = profile.read(mappings["_meta"]["rescorer"])
    assert profile.check_fields(found, mappings) == []
    assert found.hybrid is not None


def test_a_new_index_gets_the_analyzer_and_bm25(renamed: Renamed, index: str) -> None:
    """Text fields are cut by the English analyzer of the file, and scored by BM25 with its numbers."""
    text = {"field": "title", "text": "The pilot's cancelled flights"}
    tokens = renamed.client.indices.analyze(index=index, body=text)["tokens"]
    assert [token["token"] for token in tokens] == ["pilot", "cancel", "flight"]
    settings = renamed.client.indices.get_settings(index=index)[index]["settings"]["index"]
    assert settings["similarity"] == {"default": {"type": "BM25", "k1": "1.2", "b": "0.75"}}


def test_check_of_the_live_index(url: str, renamed: Renamed, index: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command reads the live profile: right at first, then with a wrong field and a pipeline that is not there."""
    words = ["templates", "check", index, "--url", url]
    assert cli.run(words) == 0
    assert capsys.readouterr().out == f"{index}: the profile is in order\n"
    form = {"text_fields": ["titel"], "vector_field": "embedding", "search_pipeline": "nowhere"}
    renamed.client.indices.put_mapping(index=index, body={"_meta": {"rescorer": {"hybrid": form}}})
    assert cli.run(words) == 1
    path = f"error {index}: mappings._meta.rescorer.hybrid"
    mend = {
        "opensearch": "is no search pipeline of this engine; send it: rescorer templates apply",
        "elasticsearch": templates.NO_PIPELINES,
    }
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"{path}.search_pipeline: 'nowhere' {mend[renamed.engine]}",
        f"{path}.text_fields[0]: 'titel' is not a field of the mapping; did you mean title?",
    ]


def test_check_of_an_index_that_is_not_there(url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]) -> None:
    """The engine's own words, on one line."""
    assert cli.run(["templates", "check", renamed.index, "--url", url]) == 2
    assert capsys.readouterr().err == f"error {url} refuses: 404 no such index [{renamed.index}]\n"


def test_the_profile_of_an_index_that_exists_is_set_in_its_mapping(url: str, renamed: Renamed, index: str) -> None:
    """The page's line for that replaces the whole profile, and leaves the fields."""
    page = (ROOT / "docs" / "templates.md").read_text()
    words = shlex.split(re.search(r"^curl .*/_mapping .*$", page, re.MULTILINE)[0])
    said = json.loads(words[-1])["_meta"]["rescorer"]
    asked(url, "PUT", f"/{index}/_mapping", words[-1].encode())
    mappings = renamed.mappings()
    assert mappings["_meta"]["rescorer"] == said
    assert profile.check_fields(profile.read(said), mappings) == []
    assert mappings["properties"].keys() == {"title", "body", "embedding"}


def test_the_engine_composes_profiles_as_check_does(renamed: Renamed) -> None:
    """Keys of the index template win over those of its components, objects are merged, lists are joined."""
    path = renamed.path("rescorer")
    body = json.loads(path.read_text())
    own = {"window_size": 20, "document_fields": ["embedding", "title"], "hybrid": {"k": 7}}
    body["template"] = {"mappings": {"_meta": {"rescorer": own}}}
    path.write_text(json.dumps(body))
    (seen,) = templates.check(renamed.read(), renamed.engine)
    assert seen.path.endswith(
        {"opensearch": "document_fields[2]", "elasticsearch": "document_fields[0]"}[renamed.engine]
    )
    for entry in renamed.read():
        renamed.client.transport.perform_request("PUT", entry.endpoint, body=dict(entry.body))
    renamed.client.indices.create(index=renamed.index)
    meta = renamed.mappings()["_meta"]["rescorer"]
    shipped = json.loads(renamed.path("rescorer-profile").read_text())["template"]["mappings"]["_meta"]["rescorer"]
    joined = {"opensearch": ["title", "body", "embedding"], "elasticsearch": ["embedding", "title", "body"]}
    assert meta == shipped | {
        "window_size": 20,
        "document_fields": joined[renamed.engine],
        "hybrid": shipped["hybrid"] | {"k": 7},
    }


@pytest.mark.parametrize("language", ["german"])
def test_another_language_as_the_page_describes_it(renamed: Renamed, language: str) -> None:
    """The page's recipe for German makes an index that cuts German words to their stems."""
    path = renamed.path("rescorer-analysis")
    body = json.loads(path.read_text())
    analysis = body["template"]["settings"]["index"]["analysis"]
    del analysis["filter"]["rescorer_possessive"]
    analysis["filter"]["rescorer_stop"]["stopwords"] = "_german_"
    analysis["filter"]["rescorer_stemmer"]["language"] = "light_german"
    analysis["analyzer"]["default"]["filter"].remove("rescorer_possessive")
    path.write_text(json.dumps(body))
    renamed.apply()
    renamed.client.indices.create(index=renamed.index)
    text = {"field": "title", "text": "Die Flüge und der Flug"}
    tokens = renamed.client.indices.analyze(index=renamed.index, body=text)["tokens"]
    assert {token["token"] for token in tokens} == {"flug"}


def test_the_node_refuses_a_wrong_file(url: str, renamed: Renamed) -> None:
    """A file that is edited into nonsense is refused by the node, so that acceptance above means something."""
    with pytest.raises(HTTPError) as caught:
        asked(url, "PUT", f"/_component_template/{renamed.named('rescorer-text')}", b'{"template": {"x": 1}}')
    caught.value.close()


def test_a_refused_file_is_told_by_name(url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]) -> None:
    """The engine's refusal is one line with the file and its reason."""
    path = renamed.path("rescorer-text")
    path.write_text(path.read_text().replace('"type": "text"', '"type": "tekst"'))
    assert cli.run(["templates", "apply", "--url", url, "--folder", str(renamed.folder)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"error {url} refuses component_templates/{path.name}: 400 " in said
