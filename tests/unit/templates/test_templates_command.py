"""``rescorer templates``: what each command prints and how it ends, against a node on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rescorer import profile, templates
from rescorer.domain import Engine
from rescorer_lab import cli
from unit.templates.fake_node import FakeNode, listening, reply, served
from unit.templates.template_files import ENGINES, FOLDERS, PROFILE, SHIPPED, copied, edit_profile

NOBODY = "http://127.0.0.1:1"
"""Port 1 of loopback, on which nothing listens."""


class Ran:
    """Runs one command line and keeps its exit code and output."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)."""
        code = cli.run(["templates", *map(str, words)])
        return code, *self._capture.readouterr()


@pytest.fixture
def rescorer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ran:
    """The command, with nothing set in the environment."""
    monkeypatch.delenv("RESCORER_ENGINE_URL", raising=False)
    return Ran(capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped files, to edit."""
    return copied(tmp_path / "mine")


@pytest.fixture
def node() -> FakeNode:
    """An empty node."""
    return FakeNode()


@pytest.fixture
def url(node: FakeNode) -> Iterator[str]:
    """Where the node answers."""
    with served(node) as address:
        yield address


def index_with(node: FakeNode, name: str, meta: Any) -> None:
    """Give the node an index with the fields of the shipped templates and this profile."""
    fields = {"title": {"type": "text"}, "body": {"type": "text"}, "embedding": {"type": "knn_vector"}}
    node.mappings[name] = {"mappings": {"properties": fields} | ({} if meta is None else {"_meta": {"rescorer": meta}})}


def test_list_names_each_file_and_what_it_is_for(rescorer: Ran) -> None:
    """Two lines per file: kind and name, then the description out of the file."""
    code, out, _ = rescorer("list")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 14)
    assert "index_template rescorer" in lines
    assert "search_pipeline rescorer-rrf" in lines
    assert all(line.startswith("  ") and len(line) > 20 for line in lines[1::2])


def test_list_of_the_other_engine(rescorer: Ran) -> None:
    """Five files, and no search pipeline among them."""
    code, out, _ = rescorer("list", "--engine", "elasticsearch")
    assert (code, len(out.splitlines())) == (0, 10)
    assert "search_pipeline" not in out
    assert "dims must be" in rescorer("show", "rescorer-vector", "--engine", "elasticsearch")[1]


def test_show_prints_json_that_can_be_piped_and_the_curl_line_beside_it(rescorer: Ran) -> None:
    """Standard output is the file and nothing else; the curl line goes to standard error."""
    code, out, err = rescorer("show", "rescorer-profile")
    assert code == 0
    assert json.loads(out) == json.loads((SHIPPED / PROFILE).read_text())
    assert err.startswith("# curl -X PUT http://localhost:9200/_component_template/rescorer-profile ")
    assert err.endswith(f"-d @{PROFILE}\n")


def test_show_of_an_unknown_name_lists_the_known_ones(rescorer: Ran) -> None:
    """A mistyped name is one line, exit code 2."""
    code, out, err = rescorer("show", "rescorer-profil")
    assert (code, out) == (2, "")
    assert err.startswith("error no template is called rescorer-profil; known: rescorer-analysis, ")
    assert len(err.splitlines()) == 1


def test_show_keeps_letters_of_every_language(rescorer: Ran, folder: Path) -> None:
    """A German stop word is shown as it was written."""
    edit_profile(folder, "model", "größe")
    assert "größe" in rescorer("show", "rescorer-profile", "--folder", folder)[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_export_writes_the_files_byte_for_byte(rescorer: Ran, tmp_path: Path, engine: Engine) -> None:
    """The copy is laid out as the engine's shipped files are, and reads as they do."""
    code, out, _ = rescorer("export", tmp_path / "a" / "b", "--engine", engine)
    assert code == 0
    assert out == f"written; edit, then run: rescorer templates apply --folder {tmp_path / 'a' / 'b'}\n"
    shipped, written = FOLDERS / engine, tmp_path / "a" / "b"
    files = {str(path.relative_to(shipped)): path.read_bytes() for path in shipped.rglob("*.json")}
    assert {str(path.relative_to(written)): path.read_bytes() for path in written.rglob("*.json")} == files


def test_export_never_writes_over_anything(rescorer: Ran, folder: Path) -> None:
    """A folder that exists is left alone."""
    edit_profile(folder, "window_size", 7)
    code, _, err = rescorer("export", folder)
    assert (code, err) == (2, f"error {folder} exists already; name a folder that does not\n")
    assert '"window_size": 7' in (folder / PROFILE).read_text()


def test_export_to_a_place_that_is_no_folder_is_one_line(rescorer: Ran, tmp_path: Path) -> None:
    """What the file system refuses is told with its reason."""
    (tmp_path / "file").write_text("")
    code, _, err = rescorer("export", tmp_path / "file" / "below")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "Not a directory" in err


def test_diff_says_what_would_change_and_changes_nothing(rescorer: Ran, node: FakeNode, url: str) -> None:
    """On an empty node each file is new; afterwards the node is still empty."""
    code, out, _ = rescorer("diff", "--url", url)
    assert code == 0
    assert out.splitlines()[0] == "new component_template rescorer-analysis"
    assert out.splitlines()[-1] == "7 of 7 would change"
    assert node.puts() == []


def test_apply_twice_changes_nothing_the_second_time(rescorer: Ran, url: str) -> None:
    """The second run says so, in one line."""
    assert rescorer("apply", "--url", url)[1].splitlines()[-1] == "7 of 7 changed"
    assert rescorer("apply", "--url", url) == (0, "nothing to change\n", "")
    assert rescorer("diff", "--url", url) == (0, "nothing to change\n", "")


def test_the_node_says_which_engine_it_is(rescorer: Ran) -> None:
    """A header tells Elasticsearch, also where the node refuses ``GET /``; its own files are then meant."""
    with served(FakeNode(engine="elasticsearch")) as url:
        assert rescorer("diff", "--url", url)[1].endswith("5 of 5 would change\n")
        assert rescorer("apply", "--url", url)[1].endswith("5 of 5 changed\n")
        assert rescorer("apply", "--url", url) == (0, "nothing to change\n", "")


def test_the_engine_that_is_named_wins(rescorer: Ran, node: FakeNode, url: str) -> None:
    """Behind a gateway that takes headers away, ``--engine`` says what is there, and the node is not asked."""
    assert rescorer("diff", "--url", url, "--engine", "elasticsearch")[1].endswith("5 of 5 would change\n")
    assert ("GET", "/") not in node.sent
    assert rescorer("check", "--engine", "elasticsearch") == (0, "the files are in order\n", "")


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_the_other_engines_folder_is_refused_line_by_line(rescorer: Ran, folder: Path, command: str) -> None:
    """On Elasticsearch each search pipeline is an error with its mend, and nothing is written."""
    node = FakeNode(engine="elasticsearch")
    with served(node) as url:
        code, out, err = rescorer(command, "--url", url, "--folder", folder)
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert "error search_pipelines/rescorer-rrf.json: 'rescorer-rrf' is a search pipeline, which Elasticsearch" in err
    assert node.puts() == []


def test_a_live_profile_with_a_pipeline_on_elasticsearch(rescorer: Ran) -> None:
    """It is told with what to write instead, and the node is not asked for a pipeline that it can't have."""
    node = FakeNode(engine="elasticsearch")
    form = {"text_fields": ["title"], "vector_field": "embedding", "search_pipeline": "p"}
    index_with(node, "a", {"hybrid": form})
    with served(node) as url:
        code, _, err = rescorer("check", "a", "--url", url)
    said = f"error a: mappings._meta.rescorer.hybrid.search_pipeline: 'p' {templates.NO_PIPELINES}\n"
    assert (code, err) == (1, said)
    assert not any(path.startswith("/_search") for _, path in node.sent)


def test_an_engine_that_is_none_is_a_wrong_usage(rescorer: Ran) -> None:
    """The two that there are, are named."""
    code, _, err = rescorer("list", "--engine", "solr")
    assert code == 2
    assert "'opensearch', 'elasticsearch'" in err


def test_an_edit_is_shown_line_by_line(rescorer: Ran, url: str, folder: Path) -> None:
    """Old value with a minus, new value with a plus, under the file that holds them."""
    rescorer("apply", "--url", url)
    edit_profile(folder, "window_size", 50)
    edit_profile(folder, "model", "[mini]")
    path = "template.mappings._meta.rescorer"
    shown = (
        "changed component_template rescorer-profile\n"
        f'  + {path}.model: "[mini]"\n'
        f"  - {path}.window_size: 100\n"
        f"  + {path}.window_size: 50\n"
    )
    assert rescorer("diff", "--url", url, "--folder", folder) == (0, f"{shown}1 of 7 would change\n", "")
    assert rescorer("apply", "--url", url, "--folder", folder) == (0, f"{shown}1 of 7 changed\n", "")


def test_the_address_can_stand_in_the_environment(rescorer: Ran, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RESCORER_ENGINE_URL is used where ``--url`` is not given, also without its http://."""
    monkeypatch.setenv("RESCORER_ENGINE_URL", url.removeprefix("http://"))
    assert rescorer("diff")[1].endswith("7 of 7 would change\n")
    assert rescorer("diff", "--url", NOBODY)[0] == 2


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_a_wrong_profile_stops_before_anything_is_sent(
    rescorer: Ran, node: FakeNode, url: str, folder: Path, command: str
) -> None:
    """Each wrong thing is one line with file, path and mend; the node hears nothing."""
    edit_profile(folder, "document_fields", ["titel", "bodi"])
    code, out, err = rescorer(command, "--url", url, "--folder", folder)
    assert (code, out) == (2, "")
    assert sorted(err.splitlines()) == [
        f"error {PROFILE}: template.mappings._meta.rescorer.document_fields[{place}]: {name!r} "
        f"is not a field of the mapping; did you mean {near}?"
        for place, name, near in ((0, "titel", "title"), (1, "bodi", "body"))
    ]
    assert node.sent == []


@pytest.mark.parametrize("command", ["diff", "apply", "check", "list"])
def test_a_broken_file_is_one_line_with_its_place(rescorer: Ran, folder: Path, command: str) -> None:
    """A missing comma is told by file and line before any engine is asked."""
    (folder / PROFILE).write_text('{\n "a": 1\n "b": 2\n}')
    code, _, err = rescorer(command, "--folder", folder)
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith(f"error {PROFILE}, line 3: ")


def test_check_reads_files_without_an_engine(rescorer: Ran, folder: Path) -> None:
    """Without an index the files are checked, and no node is needed."""
    assert rescorer("check", "--url", NOBODY) == (0, "the files are in order\n", "")
    edit_profile(folder, "window_size", 0)
    code, _, err = rescorer("check", "--folder", folder)
    assert (code, err) == (
        1,
        f"error {PROFILE}: template.mappings._meta.rescorer.window_size: 0 must be a whole number in 1..10000\n",
    )


def test_check_of_a_live_index_in_order(rescorer: Ran, node: FakeNode, url: str) -> None:
    """An index with a right profile and an index without one both end well."""
    rescorer("apply", "--url", url)
    shipped = json.loads((SHIPPED / PROFILE).read_text())["template"]["mappings"]["_meta"]["rescorer"]
    index_with(node, "rescorer-a", shipped)
    index_with(node, "rescorer-b", None)
    assert rescorer("check", "rescorer-*", "--url", url) == (
        0,
        "rescorer-a: the profile is in order\n"
        "rescorer-b: no profile (mappings._meta.rescorer is not set)\n",
        "",
    )  # fmt: skip


def test_check_names_everything_wrong_of_every_index(rescorer: Ran, node: FakeNode, url: str) -> None:
    """Keys, fields and pipelines of several indices: one line each, with the index's name first."""
    hybrid = {"text_fields": ["title"], "vector_field": "embedding", "search_pipeline": "gone"}
    index_with(node, "a1", {"window_size": 0})
    index_with(node, "a2", {"document_fields": ["titel"], "hybrid": hybrid})
    index_with(node, "a3", {"document_fields": ["title"]})
    code, out, err = rescorer("check", "a*", "--url", url)
    path = "mappings._meta.rescorer"
    assert (code, out) == (1, "a3: the profile is in order\n")
    assert sorted(err.splitlines()) == [
        f"error a1: {path}.window_size: 0 must be a whole number in 1..10000",
        f"error a2: {path}.document_fields[0]: 'titel' is not a field of the mapping; did you mean title?",
        f"error a2: {path}.hybrid.search_pipeline: 'gone' is no search pipeline of this engine; "
        "send it: rescorer templates apply",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [("nosuch", "refuses: 404 no such index [nosuch]"), ("a/b", "refuses: 404 no such index [a/b]")],
)
def test_check_of_an_unknown_index_is_one_line(rescorer: Ran, url: str, name: str, said: str) -> None:
    """The engine's own words, with the address; a slash in a name leads to no other address."""
    assert rescorer("check", name, "--url", url) == (2, "", f"error {url} {said}\n")


def test_check_of_a_pattern_without_an_index_is_an_error(rescorer: Ran, url: str) -> None:
    """Nothing found is not the same as nothing wrong."""
    assert rescorer("check", "nosuch*", "--url", url) == (
        2,
        "",
        "error no index is called nosuch*; look: GET /_cat/indices\n",
    )


def test_schema_is_a_schema_and_nothing_else(rescorer: Ran) -> None:
    """The output can be written to a file as it is."""
    code, out, err = rescorer("schema")
    assert (code, err, json.loads(out)) == (0, "", profile.schema())
    Draft202012Validator.check_schema(json.loads(out))


@pytest.mark.parametrize("command", ["diff", "apply", "check any"])
def test_no_engine_is_one_line_that_names_the_mend(rescorer: Ran, command: str) -> None:
    """A wrong port or a node that is not up: the address, ``--url``, and the command that starts one."""
    said = f"error no engine answers at {NOBODY}; name it with --url, or start one: rescorer engine up opensearch\n"
    assert rescorer(*command.split(), "--url", NOBODY) == (2, "", said)


def test_a_password_in_the_address_is_not_shown(rescorer: Ran) -> None:
    """Errors end up in logs: the address is shown without user and password."""
    _, _, err = rescorer("diff", "--url", "http://admin:secret@127.0.0.1:1")
    assert "no engine answers at http://127.0.0.1:1;" in err
    assert "secret" not in err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://a:secret@localhost:99999", "--url is no address: Port out of range 0-65535"),
        ("http://localhost:port", "--url is no address: Port could not be cast to integer value as 'port'"),
        ("http://[::1", "--url is no address: Invalid IPv6 URL"),
        ("", "--url is no http address"),
        ("ftp://localhost", "--url is no http address"),
        ("http://", "--url is no http address"),
    ],
)
def test_an_address_that_is_none_is_one_line(rescorer: Ran, address: str, said: str) -> None:
    """A mistyped address is told with the form of a right one."""
    assert rescorer("diff", "--url", address) == (2, "", f"error {said}; write it as http://localhost:9200\n")


def test_a_refused_file_is_named(rescorer: Ran, node: FakeNode, url: str) -> None:
    """What the engine refuses is told with the file and the engine's own reason, on one line."""
    node.refusal["/rescorer-text"] = "unknown\nsetting [x]"
    code, _, err = rescorer("apply", "--url", url)
    assert (code, err) == (
        2,
        f"error {url} refuses component_templates/rescorer-text.json: 400 unknown setting [x]\n",
    )


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (200, "text/html", b"<p>hello</p>", "does not answer like an engine; name the engine with --url"),
        (404, "text/html", b"<p>nothing here</p>", "does not answer like an engine; name the engine with --url"),
        (200, "application/json", b"{broken", "does not answer like an engine; name the engine with --url"),
        (401, "text/plain", b"Unauthorized",
         "refuses: 401 Unauthorized; write user and password into the address: https://user:password@host:9200"),
        (405, "application/json", b'{"error": "no handler found", "status": 405}', "refuses: 405 no handler found"),
        (403, "application/json", b'{"error": {"type": "security_exception", "reason": "no permissions"}}',
         "refuses: 403 no permissions"),
        (500, "application/json", b"{}", "refuses: 500 {}"),
        (503, "text/plain", b"busy\ntry later", "refuses: 503 busy try later"),
    ],
    ids=["html", "html-404", "broken", "401", "405", "403", "500", "503"],
)  # fmt: skip
def test_whatever_answers_the_end_is_one_line(rescorer: Ran, status: int, kind: str, body: bytes, said: str) -> None:
    """A foreign server, a login, a missing right: the address and what it said, never a traceback."""

    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply(self, status, kind, body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives
            """Say nothing."""

    with listening(Foreign) as url:
        code, out, err = rescorer("diff", "--url", url)
    assert (code, out, err) == (2, "", f"error {url} {said}\n")


def test_a_wrong_option_is_a_wrong_usage(rescorer: Ran) -> None:
    """Exit code 2 tells a script that the command line was wrong, not the engine."""
    code, _, err = rescorer("diff", "--uri", NOBODY)
    assert code == 2
    assert "--url" in err
