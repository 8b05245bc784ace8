"""The shipped files on a real OpenSearch node: taken as they are, applied once, and what an index gets from them.

All names are made for one run and removed after it, so that the node stays as it was for other tests.
"""

from __future__ import annotations

import json
import re
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from opensearchpy import OpenSearch

from rescorer import hybrid, profile, templates
from rescorer.hybrid import Wanted
from rescorer.pages import Page
from rescorer.templates import Change, Template
from rescorer_lab import cli

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = build_opener(ProxyHandler({}))


def asked(url: str, method: str, path: str, body: bytes | None = None) -> Any:
    """The node's JSON answer to a plain HTTP request; raises HTTPError where it refuses."""
    headers = {"Content-Type": "application/json"}
    with LOOPBACK.open(Request(url + path, data=body, headers=headers, method=method), timeout=60) as answer:  # noqa: S310 - loopback
        return json.load(answer)


class Renamed:
    """A copy of the shipped files in which every name begins with a prefix of this test.

    The prefix keeps its index pattern apart from ``rescorer-*``, which other tests may have applied.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.index = f"{prefix}-articles"
        for entry in templates.shipped():
            path = folder / Path(entry.source).parent / f"{self.named(entry.name)}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._body(templates.shipped_folder().joinpath(entry.source).read_text()))

    def named(self, name: str) -> str:
        """The name under which a shipped file goes here."""
        return f"{self.prefix}-{name}"

    def _body(self, text: str) -> str:
        names = "|".join(re.escape(entry.name) for entry in templates.shipped() if "-" in entry.name)
        text = re.sub(rf'"({names})"', lambda found: f'"{self.named(found[1])}"', text)
        return text.replace('"rescorer-*"', f'"{self.prefix}-*"')

    def read(self) -> list[Template]:
        """The files as they are now."""
        return templates.read(self.folder)

    def path(self, name: str) -> Path:
        """The file of a shipped name."""
        (found,) = self.folder.rglob(f"{self.named(name)}.json")
        return found


@pytest.fixture
def client(opensearch_url: str) -> Iterator[OpenSearch]:
    """The official client of the node."""
    with OpenSearch(hosts=[opensearch_url], timeout=60) as client:
        yield client


@pytest.fixture
def renamed(tmp_path: Path, client: OpenSearch) -> Iterator[Renamed]:
    """The files under names of this test, which are gone from the node afterwards."""
    made = Renamed(tmp_path / "templates", f"t{uuid.uuid4().hex[:8]}")
    yield made
    client.indices.delete(index=f"{made.prefix}-*", ignore_unavailable=True)
    for entry in reversed(made.read()):
        client.transport.perform_request("DELETE", entry.endpoint, params={"ignore": 404})


def changed(client: OpenSearch, renamed: Renamed) -> list[Change]:
    """Every single change that an ``apply`` would make."""
    return [change for difference in templates.diff(client, renamed.read()) for change in difference.changes]


def set_profile(renamed: Renamed, **keys: Any) -> None:
    """Write keys into the profile's file; ``None`` removes one."""
    path = renamed.path("rescorer-profile")
    body = json.loads(path.read_text())
    meta = body["template"]["mappings"]["_meta"]["rescorer"]
    for key, value in keys.items():
        meta.pop(key, None) if value is None else meta.update({key: value})
    path.write_text(json.dumps(body))


def test_each_file_is_accepted_by_a_plain_put(opensearch_url: str, renamed: Renamed) -> None:
    """The bytes of each file are what the node takes, without any client of ours."""
    for entry in renamed.read():
        raw = (renamed.folder / entry.source).read_bytes()
        assert asked(opensearch_url, "PUT", entry.endpoint, raw) == {"acknowledged": True}


def test_the_curl_lines_of_the_page_send_every_file(opensearch_url: str, renamed: Renamed) -> None:
    """Each curl line of the page names a file of the tree and an address that takes it; no file is left out."""
    page = (ROOT / "docs" / "templates.md").read_text()
    sent = []
    for line in re.findall(r"^curl .* -d @.*$", page, re.MULTILINE):
        words = shlex.split(line)
        address, file = words[3], words[-1].removeprefix("@")
        assert words[:3] == ["curl", "-X", "PUT"]
        assert words[4:6] == ["-H", "Content-Type: application/json"]
        endpoint, _, name = address.removeprefix("http://localhost:9200").rpartition("/")
        raw = renamed.path(Path(file).stem).read_bytes()
        assert (ROOT / file).is_file()
        assert asked(opensearch_url, "PUT", f"{endpoint}/{renamed.named(name)}", raw) == {"acknowledged": True}
        sent.append(Path(file).relative_to("index_templates/opensearch").as_posix())
    assert sorted(sent) == sorted(entry.source for entry in templates.shipped())


def test_the_second_apply_changes_nothing(client: OpenSearch, renamed: Renamed) -> None:
    """All seven are new, then none differs: what the engine gives back is recognised."""
    assert [entry.is_new for entry in templates.apply(client, renamed.read())] == [True] * 7
    assert templates.apply(client, renamed.read()) == []


def test_an_edited_copy_shows_exactly_its_change(client: OpenSearch, renamed: Renamed) -> None:
    """A changed, an added and a removed key of the profile, and nothing else; applied, they are gone."""
    templates.apply(client, renamed.read())
    set_profile(renamed, window_size=50, model="m", on_failure=None)
    path = "template.mappings._meta.rescorer"
    assert changed(client, renamed) == [
        Change(path=f"{path}.model", have=None, want='"m"'),
        Change(path=f"{path}.on_failure", have='"first_stage"', want=None),
        Change(path=f"{path}.window_size", have="100", want="50"),
    ]
    templates.apply(client, renamed.read())
    assert changed(client, renamed) == []


@pytest.mark.parametrize(
    "own",
    [
        {"template": {"settings": {"index.number_of_shards": 1, "number_of_replicas": 0, "index": {"knn": True}}}},
        {"template": {"settings": {"similarity.default": {"type": "BM25", "b": 0.3}, "max_ngram_diff": 3}}},
        {"template": {"settings": {}, "aliases": {"{prefix}-a": {}, "{prefix}-b": {"routing": "1", "filter": {"exists":
         {"field": "title"}}}}}},
        {"template": {"mappings": {"dynamic": False, "properties": {"n": {"type": "keyword", "index": "false"}}}}},
        {"template": {"settings": {"analysis.filter": {"n": {"type": "ngram", "min_gram": 1, "token_chars": []}}}}},
        {"index_patterns": "{prefix}-*", "version": 7, "_meta": {"a": [1.5, None, {"b": []}], "c": {}}},
        {"data_stream": {}},
        {"composed_of": []},
    ],
    ids=["settings", "similarity", "aliases", "mappings", "analysis", "scalars", "stream", "inline"],
)  # fmt: skip
def test_what_the_engine_adds_is_no_difference(client: OpenSearch, renamed: Renamed, own: dict[str, Any]) -> None:
    """Short forms, numbers, aliases, defaults: whatever a search engineer writes, the second apply finds no change."""
    path = renamed.path("rescorer")
    body = json.loads(path.read_text()) | json.loads(json.dumps(own).replace("{prefix}", renamed.prefix))
    path.write_text(json.dumps(body))
    templates.apply(client, renamed.read())
    assert changed(client, renamed) == []


@pytest.fixture
def index(client: OpenSearch, renamed: Renamed) -> str:
    """A new index that the templates are for, with three documents."""
    templates.apply(client, renamed.read())
    client.indices.create(index=renamed.index)
    for place, title in enumerate(["Cancelling flights", "The airport's cafés", "Booking a hotel"]):
        vector = [0.0] * 384
        vector[place] = 1.0
        client.index(index=renamed.index, id=str(place), body={"title": title, "body": "text", "embedding": vector})
    client.indices.refresh(index=renamed.index)
    return renamed.index


def test_a_new_index_gets_fields_vector_and_profile(client: OpenSearch, renamed: Renamed, index: str) -> None:
    """The mapping of an index that fits the pattern is that of the files, its profile readable and right."""
    mappings = client.indices.get_mapping(index=index)[index]["mappings"]
    assert {name: body["type"] for name, body in mappings["properties"].items()} == {
        "title": "text",
        "body": "text",
        "embedding": "knn_vector",
    }
    assert mappings["properties"]["embedding"]["method"]["engine"] == "lucene"
    found = profile.read(mappings["_meta"]["rescorer"])
    assert profile.check_fields(found, mappings) == []
    assert found.hybrid is not None
    assert found.hybrid.search_pipeline == renamed.named("rescorer-normalization")


def test_a_new_index_gets_the_analyzer_and_bm25(client: OpenSearch, index: str) -> None:
    """Text fields are cut by the English analyzer of the file, and scored by BM25 with its numbers."""
    tokens = client.indices.analyze(index=index, body={"field": "title", "text": "The pilot's cancelled flights"})[
        "tokens"
    ]
    assert [token["token"] for token in tokens] == ["pilot", "cancel", "flight"]
    settings = client.indices.get_settings(index=index)[index]["settings"]["index"]
    assert settings["similarity"] == {"default": {"type": "BM25", "k1": "1.2", "b": "0.75"}}
    assert settings["knn"] == "true"


@pytest.mark.parametrize("pipeline", ["rescorer-normalization", "rescorer-rrf"])
def test_both_pipelines_fuse_a_hybrid_query(client: OpenSearch, renamed: Renamed, index: str, pipeline: str) -> None:
    """BM25 and kNN agree about one document, which comes first with a fused score; no delimiter score is left."""
    mappings = client.indices.get_mapping(index=index)[index]["mappings"]
    form = profile.read(mappings["_meta"]["rescorer"]).hybrid
    assert form is not None
    wanted = Wanted(text="cancel flight", page=Page(0, 3), options={"search_pipeline": renamed.named(pipeline)})
    body = hybrid.body(wanted, form, [1.0] + [0.0] * 383, window_size=100)
    hits = client.search(index=index, body=body, **hybrid.options(wanted, form, has_vector=True))["hits"]["hits"]
    assert hits[0]["_id"] == "0"
    assert len({hit["_id"] for hit in hits}) == len(hits) == 3
    assert all(0.0 <= hit["_score"] <= 1.0 for hit in hits)


def test_check_of_the_live_index(
    opensearch_url: str, client: OpenSearch, index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command reads the live profile: right at first, then with a wrong field and an unknown pipeline."""
    words = ["templates", "check", index, "--url", opensearch_url]
    assert cli.run(words) == 0
    assert capsys.readouterr().out == f"{index}: the profile is in order\n"
    form = {"text_fields": ["titel"], "vector_field": "embedding", "search_pipeline": "nowhere"}
    client.indices.put_mapping(index=index, body={"_meta": {"rescorer": {"hybrid": form}}})
    assert cli.run(words) == 1
    path = f"error {index}: mappings._meta.rescorer.hybrid"
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"{path}.search_pipeline: 'nowhere' is no search pipeline of this engine; send it: rescorer templates apply",
        f"{path}.text_fields[0]: 'titel' is not a field of the mapping; did you mean title?",
    ]


def test_the_profile_of_an_index_that_exists_is_set_in_its_mapping(
    opensearch_url: str, renamed: Renamed, index: str
) -> None:
    """The page's line for that replaces the whole profile, and leaves the fields."""
    page = (ROOT / "docs" / "templates.md").read_text()
    words = shlex.split(re.search(r"^curl .*/_mapping .*$", page, re.MULTILINE)[0])
    said = json.loads(words[-1])["_meta"]["rescorer"]
    asked(opensearch_url, "PUT", f"/{index}/_mapping", words[-1].encode())
    mappings = asked(opensearch_url, "GET", f"/{index}/_mapping")[index]["mappings"]
    assert mappings["_meta"]["rescorer"] == said
    assert profile.check_fields(profile.read(said), mappings) == []
    assert mappings["properties"].keys() == {"title", "body", "embedding"}


def test_the_engine_composes_profiles_as_check_does(client: OpenSearch, renamed: Renamed) -> None:
    """Keys of the index template win over those of its components, objects are merged, lists are joined."""
    path = renamed.path("rescorer")
    body = json.loads(path.read_text())
    own = {"window_size": 20, "document_fields": ["embedding", "title"], "hybrid": {"k": 7}}
    body["template"] = {"mappings": {"_meta": {"rescorer": own}}}
    path.write_text(json.dumps(body))
    (seen,) = templates.check(renamed.read())
    assert seen.path.endswith("document_fields[2]")
    for entry in renamed.read():
        client.transport.perform_request("PUT", entry.endpoint, body=dict(entry.body))
    client.indices.create(index=renamed.index)
    meta = client.indices.get_mapping(index=renamed.index)[renamed.index]["mappings"]["_meta"]["rescorer"]
    shipped = json.loads(renamed.path("rescorer-profile").read_text())["template"]["mappings"]["_meta"]["rescorer"]
    assert meta == shipped | {
        "window_size": 20,
        "document_fields": ["title", "body", "embedding"],
        "hybrid": shipped["hybrid"] | {"k": 7},
    }


def test_weights_that_do_not_add_up_are_refused_by_name(
    opensearch_url: str, renamed: Renamed, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine's refusal of a pipeline is one line with the file and its reason."""
    path = renamed.path("rescorer-normalization")
    path.write_text(path.read_text().replace("[0.5, 0.5]", "[0.5, 0.4]"))
    assert cli.run(["templates", "apply", "--url", opensearch_url, "--folder", str(renamed.folder)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert f"refuses search_pipelines/{path.name}: 400 sum of weights" in said


@pytest.mark.parametrize("language", ["german"])
def test_another_language_as_the_page_describes_it(client: OpenSearch, renamed: Renamed, language: str) -> None:
    """The page's recipe for German makes an index that cuts German words to their stems."""
    path = renamed.path("rescorer-analysis")
    body = json.loads(path.read_text())
    analysis = body["template"]["settings"]["index"]["analysis"]
    del analysis["filter"]["rescorer_possessive"]
    analysis["filter"]["rescorer_stop"]["stopwords"] = "_german_"
    analysis["filter"]["rescorer_stemmer"]["language"] = "light_german"
    analysis["analyzer"]["default"]["filter"].remove("rescorer_possessive")
    path.write_text(json.dumps(body))
    templates.apply(client, renamed.read())
    client.indices.create(index=renamed.index)
    text = {"field": "title", "text": "Die Flüge und der Flug"}
    tokens = client.indices.analyze(index=renamed.index, body=text)["tokens"]
    assert {token["token"] for token in tokens} == {"flug"}


def test_the_node_refuses_a_wrong_file(opensearch_url: str, renamed: Renamed) -> None:
    """A file that is edited into nonsense is refused by the node, so that acceptance above means something."""
    with pytest.raises(HTTPError):
        asked(
            opensearch_url, "PUT", f"/_component_template/{renamed.named('rescorer-text')}", b'{"template": {"x": 1}}'
        )
