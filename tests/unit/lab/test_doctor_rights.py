"""``rescorer doctor`` for a user who may search and little else, for odd addresses, and for odd answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from rescorer_lab.connect import Address
from unit.lab.small_stack import INDEX, Stack

NOBODY = "127.0.0.1:1"


@pytest.fixture(params=["opensearch", "elasticsearch"])
def stack(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A healthy stack, on either engine."""
    for name in ("RESCORER_ENGINE_URL", "RESCORER_SIDECAR"):
        monkeypatch.delenv(name, raising=False)
    return Stack(request.param, capsys)


@pytest.fixture
def hangs_up() -> Iterator[str]:
    """The address of one who ends each connection without a word, as a TLS port does when spoken to in plain."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                connection.recv(4096)
                connection.close()
        except OSError:  # closed below
            return

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_user_who_may_only_search_is_served_as_far_as_it_goes(stack: Stack) -> None:
    """Version, licence, templates, settings, pipelines are refused, and the search is tried all the same."""
    refused = (403, "unauthorized for user [app]")
    stack.engine.refusals = dict.fromkeys(("/", "/_license", "_template/", "/_settings", "/pipeline/"), refused)
    code, lines = stack.examined("--index", INDEX)
    assert code == 0
    marked = {line.split()[1]: line[0] for line in lines}
    assert [name for name, mark in marked.items() if mark == "✗"] == []
    assert {"engine", "templates"} <= {name for name, mark in marked.items() if mark == "–"}
    assert "which does not tell this user its version" in lines[0]
    assert any(line.startswith("✓ search reranked: ") for line in lines)


def test_a_default_pipeline_that_may_not_be_asked_for_is_not_called_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the profile leaves the pipeline to the index, and its settings are refused, nothing is claimed."""
    stack = Stack("opensearch", capsys)
    stack.engine.profile["hybrid"]["search_pipeline"] = ""
    stack.engine.refusals = {"/_settings": (403, "unauthorized")}
    assert stack.line("fusion").startswith("– fusion by the index's default search pipeline, if it has one")


def test_a_pipeline_that_may_not_be_asked_for_is_not_called_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that the profile names is named."""
    stack = Stack("opensearch", capsys)
    stack.engine.refusals = {"/_search/pipeline/": (403, "unauthorized")}
    assert stack.line("fusion").startswith("– fusion by search pipeline rescorer-normalization, if it is there")


def test_what_answers_and_is_no_engine_is_one_line(stack: Stack) -> None:
    """JSON without a version is no engine's, and the rest is not looked at."""
    stack.engine.refusals = {"/": (200, "hello")}
    code, lines = stack.examined()
    assert code == 1
    assert lines[0].startswith("✗ engine http://127.0.0.1:")
    assert lines[0].endswith(" does not answer like an engine; name the engine with --engine-url")
    assert lines[-1].startswith("– index")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/_search", "✗ search http://127.0.0.1"),
        (f"/{INDEX}/_mapping", f"✗ index no index is called {INDEX}"),
        ("/_count", f"✗ index {INDEX} holds no documents"),
    ],
)
def test_an_answer_in_a_form_of_its_own_is_one_line(stack: Stack, path: str, said: str) -> None:
    """What a proxy makes of an answer is told where it is met, without a traceback."""
    stack.engine.refusals = {path: (200, "hello")}
    code, lines = stack.examined("--index", INDEX)
    assert code == 1
    assert len([line for line in lines if line.startswith(said)]) == 1


def test_https_where_nobody_speaks_tls_is_said_to_be_that(stack: Stack) -> None:
    """The certificate is not blamed, and the scheme to write is named."""
    with stack.engine.serving() as url:
        code, (line, *_) = stack.run("--engine-url", url.replace("http:", "https:"), "--sidecar", NOBODY)
    assert code == 1
    assert line.startswith("✗ engine what answers at https://127.0.0.1:")
    assert line.endswith(" does not speak TLS; write http:// in place of https://")


def test_who_hangs_up_may_want_tls(stack: Stack, hangs_up: str) -> None:
    """A port that ends the connection is no missing engine, and the other scheme is named."""
    code, (line, *_) = stack.run("--engine-url", f"http://{hangs_up}", "--sidecar", NOBODY)
    assert code == 1
    assert (
        line
        == f"✗ engine what answers at http://{hangs_up} hangs up; where it speaks TLS, write https:// in place of http://"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("localhost:9200", "http://localhost:9200"),
        ("http://[::1]:9200", "http://[::1]:9200"),
        ("https://user:secret@host:9200/search/", "https://host:9200/search"),
        ("https://user:p%40ss@host?token=secret", "https://host"),
    ],
)
def test_an_address_is_shown_as_a_command_takes_it(url: str, shown: str) -> None:
    """Brackets, port and path stay; user, password and query string do not."""
    assert Address(url).shown == shown
    assert Address(shown).shown == shown


@pytest.mark.parametrize(
    ("password", "text", "masked"),
    [
        ("p", "http://u:p@host says p", "http://u:***@host says ***"),
        ("s3cr%40et", "as s3cr@et,\nands3cr%40et", "as ***, and***"),
        ("a.c", "abc and a.c", "abc and ***"),
    ],
)
def test_a_password_is_masked_whatever_it_looks_like(password: str, text: str, masked: str) -> None:
    """A long one everywhere, encoded or not; a short one as a word, so that the rest stays readable."""
    assert Address(f"http://u:{password}@host").masked(text) == masked


def test_a_json_report_of_refusals_can_be_read(stack: Stack) -> None:
    """``--json`` tells the same findings."""
    stack.engine.refusals = {"_template/": (403, "unauthorized")}
    with stack.engine.serving() as url, stack.sidecar.serving() as sidecar:
        code, lines = stack.run("--engine-url", url, "--sidecar", sidecar, "--json")
    told = json.loads("\n".join(lines))
    (templates,) = [finding for finding in told["findings"] if finding["name"] == "templates"]
    assert (code, told["ok"], templates["status"]) == (0, True, "unknown")
