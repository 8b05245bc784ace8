"""``rescorer plan``: what it prints about a search, that it makes none, and how it refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rescorer_lab import cli
from unit.lab.small_stack import INDEX, SmallEngine

NOBODY = "127.0.0.1:1"
QUERY = {"match": {"title": "cancel a flight"}}
AMBIGUOUS = {"query": {"bool": {"must": [QUERY, {"match": {"body": "other"}}]}}}


@pytest.fixture(params=["opensearch", "elasticsearch"])
def engine(request: pytest.FixtureRequest) -> SmallEngine:
    """A node with one index that has the shipped profile."""
    return SmallEngine(engine=request.param).healthy()


@pytest.fixture
def url(engine: SmallEngine) -> Iterator[str]:
    """Where it answers."""
    with engine.serving() as address:
        yield address


class Plan:
    """Runs ``rescorer plan`` and keeps what it says."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capture = capture
        self._patch = patch

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """(exit code, standard output, standard error); the sidecar is nobody's address."""
        self._patch.setattr("sys.stdin", io.StringIO(stdin))
        code = cli.run(["plan", "--sidecar", NOBODY, *words])
        return code, *self._capture.readouterr()

    def told(self, url: str, body: Any, *words: str) -> Any:
        """The plan as JSON."""
        code, out, _ = self(INDEX, "--body", "-", "--engine-url", url, "--json", *words, stdin=json.dumps(body))
        assert code == 0
        return json.loads(out)


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The command, on a wide terminal, with nothing set in the environment."""
    for name in ("RESCORER_ENGINE_URL", "RESCORER_SIDECAR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    return Plan(capsys, monkeypatch)


def test_the_paths_of_a_profile_fit_a_narrow_terminal(plan: Plan, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns break none of the shipped profile's paths."""
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = plan(INDEX, "--query", "cancel a flight", "--engine-url", url)
    (line,) = [line for line in out.splitlines() if line.startswith("document_fields")]
    assert line.rstrip().endswith(" mappings._meta.rescorer.document_fields")


def test_the_table_tells_each_setting_and_its_source(plan: Plan, url: str, engine: SmallEngine) -> None:
    """Verdict, query text, page, each setting with its source, and what would be sent."""
    code, out, _ = plan(INDEX, "--query", "cancel a flight", "--engine-url", url)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert lines[0] == "would rescore"
    assert "query text 'cancel a flight', from the query" in lines
    assert 'document_fields ["title", "body"] mappings._meta.rescorer.document_fields' in lines
    assert "window_size 100 mappings._meta.rescorer.window_size" in lines
    assert "budget_ms 10000.0 default" in lines
    assert "sent to the engine, in 1 round trip, by search:" in lines
    assert '"size": 100' in lines


def test_no_search_is_made(plan: Plan, url: str, engine: SmallEngine) -> None:
    """The mapping is read, and a plan comes also while the sidecar is down."""
    engine.refusals = {"_search": (500, "a search arrived"), "_msearch": (500, "a search arrived")}
    assert plan.told(url, {"query": QUERY})["would"] == "rescore"


def test_the_request_wins_and_is_named(plan: Plan, url: str) -> None:
    """A setting of the request stands with its JSON path."""
    body = {"query": QUERY, "rescore": {"window_size": 20, "cross_encoder": {"budget_ms": 120}}}
    settings = plan.told(url, body)["settings"]
    assert settings["budget_ms"] == {"value": 120.0, "from": "rescore.cross_encoder.budget_ms"}
    assert settings["window_size"]["value"] == 20


def test_a_skip_says_why_and_how_to_mend_it(plan: Plan, url: str) -> None:
    """An ambiguous query shows the texts that were found, and what to say."""
    code, out, _ = plan(INDEX, "--body", "-", "--engine-url", url, stdin=json.dumps(AMBIGUOUS))
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert lines[0] == "would skip: ambiguous_query_text"
    assert "mend say which it is: query_text in rescore.cross_encoder" in lines
    assert "query texts 'cancel a flight', 'other'" in lines


def test_a_search_that_would_pass_through_says_why(plan: Plan, url: str, engine: SmallEngine) -> None:
    """An index that is not there is told as the reason."""
    code, out, _ = plan("nope", "--query", "x", "--engine-url", url)
    assert code == 0
    assert out.startswith("would pass through as it is\n")
    assert "the profile of nope can't be read" in out


def test_a_wrong_profile_would_fall_back(plan: Plan, url: str, engine: SmallEngine) -> None:
    """The path of the wrong key stands in the reason."""
    engine.profile["windowsize"] = 3
    _, out, _ = plan(INDEX, "--query", "x", "--engine-url", url)
    assert out.startswith("would fall back to the first stage: invalid_profile\n")
    assert "mappings._meta.rescorer.windowsize" in out


def test_a_body_comes_from_a_file_too(plan: Plan, url: str, tmp_path: Path) -> None:
    """A file and standard input mean the same."""
    path = tmp_path / "search.json"
    path.write_text(json.dumps(AMBIGUOUS))
    _, out, _ = plan(INDEX, "--body", str(path), "--engine-url", url, "--json")
    assert json.loads(out) == plan.told(url, AMBIGUOUS)


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        ((), "", "error a search is needed, once; say either --query TEXT or --body FILE"),
        (("--query", "x", "--body", "-"), "{}", "error a search is needed, once"),
        (("--body", "-"), "[", "error --body - is no JSON"),
        (("--body", "-"), "[]", "error --body - is no search; it must be an object"),
        (("--body", "-"), "[" * 100_000, "error --body - is nested too deep"),
        (("--query", "x", "--sidecar", ":1"), "", "error --sidecar ':1' is no address; write it as host:port"),
        (("--body", "/nowhere"), "", "error --body /nowhere can't be read: No such file or directory"),
        (
            ("--body", "-"),
            '{"rescore": {"cross_encoder": {"windowsize": 3}}}',
            "error rescore.cross_encoder.windowsize: 3 stands under an unknown key; did you mean window_size?",
        ),
    ],
)
def test_what_is_no_search_is_one_line(plan: Plan, url: str, words: tuple[str, ...], stdin: str, said: str) -> None:
    """A wrong option, file or request is named in one line, with exit code 2 and nothing on standard output."""
    code, out, err = plan(INDEX, *words, "--engine-url", url, stdin=stdin)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(said)


@pytest.mark.parametrize("query", ["", "  ", "[bold]x[/bold]"])
def test_any_query_text_is_planned(plan: Plan, url: str, query: str) -> None:
    """Blank text is no text, and brackets are text and no markup."""
    code, out, _ = plan(INDEX, "--query", query, "--engine-url", url)
    assert code == 0
    assert out.startswith("would rescore" if query.strip() else "would skip: no_query_text")
    assert query.strip() in out


def test_a_dead_engine_is_one_line(plan: Plan) -> None:
    """The address is named, without its password, and the option to name another."""
    code, out, err = plan(INDEX, "--query", "x", "--engine-url", "http://me:s3cret@127.0.0.1:1")
    assert (code, out) == (2, "")
    assert err.startswith("error no engine answers at http://127.0.0.1:1; name it with --engine-url")
    assert "s3cret" not in err
