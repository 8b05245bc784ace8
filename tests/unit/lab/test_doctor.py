"""``rescorer doctor``: what it says about a stack in order, and about each single thing that is not."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from contract.scorers.fake_sidecar import fails
from unit.lab.small_stack import CROSS_ENCODER, EMBEDDER, INDEX, SmallEngine, SmallSidecar, Stack, model
from unit.templates.template_files import copied, edit_profile

NOBODY = "127.0.0.1:1"
"""Port 1 of loopback, on which nothing listens."""

Change = Callable[[SmallEngine, SmallSidecar], Any]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESCORER_ENGINE_URL", "RESCORER_SIDECAR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["opensearch", "elasticsearch"])
def stack(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Stack:
    """A healthy stack, on either engine."""
    return Stack(request.param, capsys)


@pytest.fixture
def opensearch(capsys: pytest.CaptureFixture[str]) -> Stack:
    """A healthy stack on OpenSearch."""
    return Stack("opensearch", capsys)


@pytest.fixture
def elasticsearch(capsys: pytest.CaptureFixture[str]) -> Stack:
    """A healthy stack on Elasticsearch."""
    return Stack("elasticsearch", capsys)


def test_a_healthy_stack_is_all_ticks(stack: Stack) -> None:
    """Each part has a line that begins with ✓, a search was rescored, and the exit code is 0."""
    code, lines = stack.examined()
    licence = ["licence"] if stack.engine.engine == "elasticsearch" else []
    names = [
        *("engine", *licence, "client", "sidecar", "model", "model", "templates"),
        *("index", "profile", "fields", "fusion", "vectors", "search", "hybrid search"),
    ]
    assert [line[2:].startswith(f"{name} ") for line, name in zip(lines, names, strict=True)] == [True] * len(names)
    assert [line for line in lines if not line.startswith("✓")] == []
    assert code == 0
    assert "reranked: 2 hits" in lines[-2]


def test_the_same_is_said_as_json(stack: Stack) -> None:
    """A program reads the same findings, and the exit code is the same."""
    code, lines = stack.examined("--json", "--index", INDEX)
    told = json.loads("\n".join(lines))
    assert (code, told["ok"]) == (0, True)
    assert {entry["status"] for entry in told["findings"]} == {"ok"}
    assert told["findings"][0].keys() == {"name", "status", "says", "mend"}


def test_a_stopped_sidecar_is_one_cross_and_the_rest_is_looked_at(stack: Stack) -> None:
    """Engine, templates and index are still told, and the search is seen to answer in first-stage order."""
    with stack.engine.serving() as url:
        code, lines = stack.run("--engine-url", url, "--sidecar", NOBODY)
    assert code == 1
    crosses = [line for line in lines if line.startswith("✗")]
    assert len(crosses) == 1
    assert crosses[0].startswith(f"✗ sidecar nobody answers at {NOBODY}; start it: rescorer-sidecar --model")
    assert "answers in first-stage order, fallback (scorer_unavailable)" in lines[-1]
    assert lines[-1].startswith("–")


def test_a_dead_engine_leaves_the_sidecar_to_be_looked_at(opensearch: Stack) -> None:
    """What can't be told without the engine is said to be so."""
    with opensearch.sidecar.serving() as address:
        code, lines = opensearch.run("--engine-url", NOBODY, "--sidecar", address)
    assert code == 1
    assert lines[0].startswith("✗ engine no engine answers at http://127.0.0.1:1; name it with --engine-url")
    assert lines[1].startswith("✓ sidecar")
    assert lines[-1].startswith("– index")


WRONG: list[tuple[str, Change, str]] = [
    ("an old engine", lambda e, s: setattr(e, "version", "1.3.0"), "– engine: rescorer is tested with"),
    ("a sidecar that loads", lambda e, s: setattr(s, "is_ready", False), "✗ sidecar: not ready; wait"),
    ("no cross-encoder", lambda e, s: setattr(s, "models", [EMBEDDER]), "✗ model: no cross-encoder is served; --model"),
    ("no embedder", lambda e, s: setattr(s, "models", [CROSS_ENCODER]), "– vectors: no embedder is served; --embedder"),
    (
        "another embedder",
        lambda e, s: setattr(s, "models", [CROSS_ENCODER, model("e5", EMBEDDER.kind, dimension=768)]),
        "✗ vectors: embedding has 8 values, e5 makes 768; serve the embedder",
    ),
    ("an empty index", lambda e, s: e.documents.clear(), f"✗ index: {INDEX} holds no documents; index some"),
    ("no text", lambda e, s: setattr(e, "documents", [{"title": ""}]), "– search: no text in; index documents"),
    ("no index", lambda e, s: e.indices.clear(), "– index: none has a profile; name one with --index"),
    (
        "two indices",
        lambda e, s: e.indices.update(other=e.indices[INDEX]),
        f"– index: 2 have a profile (other, {INDEX}; name one with --index",
    ),
    (
        "a wrong profile",
        lambda e, s: e.profile.update(windowsize=3),
        f"✗ profile: {INDEX}: mappings._meta.rescorer.windowsize; mend it in the index template",
    ),
    (
        "a window too large",
        lambda e, s: e.indices[INDEX]["settings"].update({"index.max_result_window": "50"}),
        "✗ profile: window_size 100 is more than the index's max_result_window 50; set window_size to 50",
    ),
    ("switched off", lambda e, s: e.profile.update(enabled=False), "– profile: enabled: false; set enabled"),
    ("no fields", lambda e, s: e.profile.pop("document_fields"), "– profile: names no document_fields; name them"),
    (
        "an unmapped field",
        lambda e, s: e.profile.update(document_fields=["titel"]),
        "✗ fields: 'titel' is not a field of the mapping; correct the profile",
    ),
    (
        "an unserved model",
        lambda e, s: e.profile.update(model="other"),
        "✗ profile: its model 'other' is not served; name one of: minilm, bge",
    ),
    (
        "an unserved model of several",
        lambda e, s: e.profile.update(model="auto", models=["minilm", "other"]),
        "✗ profile: its model 'other' is not served; name one of: minilm, bge",
    ),
    (
        "an unserved stage",
        lambda e, s: e.profile.update(cascade=[{"model": "minilm"}, {"model": "other"}]),
        "✗ profile: its model 'other' is not served; name one of: minilm, bge",
    ),
    (
        "a model that fails",
        lambda e, s: s.next_answers.append(fails(grpc.StatusCode.INTERNAL, "broken")),
        "✗ search: fallback (scorer_failed); the sidecar's log",
    ),
    (
        "a search that is refused",
        lambda e, s: e.refusals.update({f"{INDEX}/_search": (403, "no permission")}),
        "✗ search: refuses: 403 no permission",
    ),
    (
        "a mapping that is refused",
        lambda e, s: e.refusals.update({f"{INDEX}/_mapping": (403, "no permission")}),
        "✗ index: refuses: 403 no permission; view_index_metadata on Elasticsearch",
    ),
    (
        "templates that are refused",
        lambda e, s: e.refusals.update({"_template/": (403, "no permission")}),
        "– templates: refuses: 403 no permission; ask with a user that may read them",
    ),
    (
        "a missing template",
        lambda e, s: e.stored.pop("/_index_template/rescorer"),
        "✗ templates: missing: index template rescorer; rescorer templates apply --url http://127.0.0.1",
    ),
    (
        "missing templates",
        lambda e, s: e.stored.clear(),
        "✗ templates: missing: component template rescorer-analysis and ; rescorer templates apply",
    ),
    (
        "a changed template",
        lambda e, s: e.stored["/_index_template/rescorer"].update(priority=7),
        "– templates: not as in the file: index template rescorer; --folder",
    ),
]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_each_thing_out_of_order_has_its_line_and_its_mend(stack: Stack, change: Change, said: str) -> None:
    """One thing is wrong: its line says what, and what to do; the exit code is 1 where it is a cross."""
    change(stack.engine, stack.sidecar)
    code, lines = stack.examined()
    mark, name = said[0], said[2:].split(":", 1)[0]
    says, _, mend = said.split(": ", 1)[1].partition("; ")
    (line, *_) = [line for line in lines if line.startswith(f"{mark} {name} ")]
    assert says.split("(")[0] in line
    assert mend in line
    assert (code == 1) or mark != "✗"


def test_a_sidecar_without_health_is_asked_for_its_models(opensearch: Stack) -> None:
    """A server that does not know the health check is judged by what it lists."""
    opensearch.sidecar.has_health = False
    assert opensearch.line("sidecar").startswith("✓")


def test_what_is_no_sidecar_is_said_to_be_none(opensearch: Stack) -> None:
    """The engine's own address given for the sidecar's is one line."""
    with opensearch.engine.serving() as url:
        code, lines = opensearch.run("--engine-url", url, "--sidecar", url.removeprefix("http://"))
    (line,) = [line for line in lines if line.startswith("✗")]
    assert code == 1
    assert line.startswith("✗ sidecar")


def test_a_missing_index_is_named(stack: Stack) -> None:
    """An index that is not there is a cross."""
    assert stack.line("index", "--index", "nope").startswith("✗ index no index is called nope; look")


def test_an_index_without_profile_can_be_meant_so(stack: Stack) -> None:
    """Requests may ask for themselves: no profile is no cross."""
    del stack.engine.indices[INDEX]["mappings"]["_meta"]
    code, lines = stack.examined("--index", INDEX)
    assert code == 0
    assert lines[-1].startswith(f"– profile {INDEX} has none, so its searches pass through; put one into")


def test_indices_with_different_profiles_are_named(stack: Stack) -> None:
    """A pattern over both is a cross, since none of its searches is rescored."""
    stack.engine.indices["other"] = {"mappings": {"properties": {}}, "settings": {}}
    line = stack.line("profile", "--index", f"{INDEX},other")
    assert line.startswith(f"✗ profile {INDEX} and other have different profiles; ")


def test_templates_of_ones_own_are_compared_with_ones_own_files(stack: Stack, tmp_path: Path) -> None:
    """With ``--folder`` a change is a cross, and the command that mends names the folder."""
    folder = copied(tmp_path / "mine", stack.engine.engine)
    assert stack.line("templates", "--folder", str(folder)).endswith(f"are as in the files in {folder}")
    edit_profile(folder, "window_size", 50)
    line = stack.line("templates", "--folder", str(folder))
    assert line.startswith("✗ templates not as in the file: component template rescorer-profile; ")
    assert f"rescorer templates apply --folder {folder} --url" in line
    edit_profile(folder, "window_size", 0)
    assert "window_size: 0 must be" in stack.line("templates", "--folder", str(folder))
    assert "✗" in stack.line("templates", "--folder", str(tmp_path / "nowhere"))


def test_templates_under_other_names_do_the_same_work(stack: Stack) -> None:
    """Where the engine gives a new index of this name a profile, shipped templates need not be there."""
    stack.engine.stored.clear()
    stack.engine.gives_profile = True
    assert stack.line("templates", "--index", INDEX).startswith("✓ templates a new index named")
    assert stack.line("templates").startswith("✗")


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ({"type": "basic", "status": "active"}, "✓ licence basic: no RRF, linear or reranking retrievers"),
        ({"type": "enterprise", "status": "active"}, "✓ licence enterprise: every retriever"),
        (
            {"type": "trial", "status": "active", "expiry_date": "2026-12-25T10:36:42Z"},
            "✓ licence trial: every retriever until 2026-12-25, then no RRF",
        ),
        ({"type": "gold", "status": "expired"}, "✗ licence gold, and it is expired; renew it"),
        ("hidden", "– licence this node does not tell this user its licence"),
    ],
)
def test_elasticsearchs_licence_is_told_with_what_it_lacks(elasticsearch: Stack, licence: Any, said: str) -> None:
    """Which retrievers are not had, and that the client does their work."""
    elasticsearch.engine.licence = licence
    assert elasticsearch.line("licence").startswith(said)


@pytest.mark.parametrize(
    ("server", "said"),
    [("9.1.0", "✓ client elasticsearch 9."), ("10.0.0", "✓"), ("8.19.13", "✗"), ("11.0.0", "✗")],
)
def test_elasticsearchs_client_must_fit_its_server(elasticsearch: Stack, server: str, said: str) -> None:
    """The same major version, or the one before the server's; else the version to install is named."""
    elasticsearch.engine.version = server
    line = elasticsearch.line("client")
    major = int(server.split(".", maxsplit=1)[0])
    assert line.startswith(said)
    assert ("in compatibility mode" in line) == (server == "10.0.0")
    assert (f"pip install 'elasticsearch[async]>={major},<{major + 1}'" in line) == (said == "✗")


def test_a_search_is_not_tried_with_a_client_that_does_not_fit(elasticsearch: Stack) -> None:
    """The line says so instead of an error of the client's."""
    elasticsearch.engine.version = "8.19.13"
    assert elasticsearch.line("search") == "– search can't be tried without the official client"


@pytest.mark.parametrize(
    ("pipeline", "default", "said"),
    [
        ("", "", "✗ fusion no search pipeline fuses the hybrid query; name one in hybrid.search_pipeline"),
        ("", "rescorer-rrf", "✓ fusion by search pipeline rescorer-rrf"),
        ("", "_none", "✗ fusion no search pipeline"),
        ("gone", "", "✗ fusion search pipeline gone is missing; rescorer templates apply --url"),
    ],
)
def test_opensearchs_hybrid_needs_a_search_pipeline(opensearch: Stack, pipeline: str, default: str, said: str) -> None:
    """The profile's, or the index's default; the one that is named must be there."""
    opensearch.engine.profile["hybrid"]["search_pipeline"] = pipeline
    opensearch.engine.indices[INDEX]["settings"] = {"index.search.default_pipeline": default}
    assert opensearch.line("fusion").startswith(said)


@pytest.mark.parametrize(
    ("hybrid", "said"),
    [
        ({"search_pipeline": "x", "fusion": "engine"}, "✗ fusion 'x' is a search pipeline"),
        ({"fusion": "engine"}, "✓ fusion by the engine: the scores of query and knn are added"),
        ({"fusion": "rrf"}, "✓ fusion by the client (rrf)"),
    ],
)
def test_elasticsearchs_hybrid_is_fused_without_pipeline(elasticsearch: Stack, hybrid: Any, said: str) -> None:
    """A search pipeline is wrong there; engine or client fuse."""
    form = {"text_fields": ["title"], "vector_field": "embedding"}
    elasticsearch.engine.profile["hybrid"] = {**form, **hybrid}
    assert elasticsearch.line("fusion").startswith(said)


def test_passwords_are_never_shown(opensearch: Stack) -> None:
    """Whatever fails, what the address holds of user and password is not in the output."""
    with opensearch.engine.serving() as url:
        wrong = url.replace("//", "//admin:s3cr%40et@")
        opensearch.engine.refusals = {"_template/": (403, "admin:s3cr@et"), f"{INDEX}/_search": (403, "s3cr%40et")}
        for words in (
            ("--engine-url", wrong, "--sidecar", NOBODY),
            ("--engine-url", "http://admin:s3cr%40et@127.0.0.1:1", "--sidecar", NOBODY),
        ):
            _, lines = opensearch.run(*words)
            assert "s3cr" not in "\n".join(lines)


def test_a_missing_password_is_said_to_be_missing(opensearch: Stack) -> None:
    """A node that refuses everybody is one line with the form of an address that has a password."""
    opensearch.engine.refusals = {"": (401, "missing authentication credentials")}
    line = opensearch.line("engine")
    assert line.startswith("✗ engine")
    assert "https://user:password@host:9200" in line


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port"])
def test_an_address_that_is_none_is_one_line(opensearch: Stack, url: str) -> None:
    """The option is named, and nothing is asked."""
    code, (line,) = opensearch.run("--engine-url", url)
    assert code == 2
    assert line.startswith("error --engine-url is no")


def test_a_sidecar_address_that_is_none_is_one_line(opensearch: Stack) -> None:
    """The rest is looked at all the same."""
    with opensearch.engine.serving() as url:
        _, lines = opensearch.run("--engine-url", url, "--sidecar", "http://host")
    assert "✗ sidecar --sidecar 'http://host' is no address; write it as host:port" in "\n".join(lines)


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
def test_a_silent_host_costs_no_more_than_its_patience(opensearch: Stack, silent: str) -> None:
    """Both given up within their four seconds each, and both told."""
    code, lines = opensearch.run("--engine-url", silent, "--sidecar", silent)
    assert code == 1
    assert [line[0] for line in lines] == ["✗", "✗", "–", "–"]
    assert "within 4 s" in lines[1]
