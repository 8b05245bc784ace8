"""``rescorer watch`` on logs and metrics: drift, fallbacks and costly gates alarm, chance and small numbers don't."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from rescorer.domain import Audit, Outcome
from rescorer.errors import Reason
from rescorer.outcome_log import OutcomeLog
from rescorer.prometheus import Prometheus
from rescorer_lab import cli
from rescorer_lab.watching import findings
from shape.source import ROOT

COMMANDS = re.findall(r"^rescorer watch.*$", (ROOT / "docs" / "watch.md").read_text(), re.MULTILINE)


def _outcomes(count: int, *, shift: float = 0.0, fallbacks: int = 0, seed: int = 0) -> list[Outcome]:
    """Searches of ten hits each with normal scores, the first ``fallbacks`` of them without."""
    chance = np.random.default_rng(seed)
    lost = [Outcome(status="fallback", reason=Reason.SCORER_UNAVAILABLE)] * fallbacks
    scores = chance.normal(shift, 3, (count - fallbacks, 10)).tolist()
    about: dict[str, Any] = {"model": "m", "model_digest": "abc", "scale": "logit", "scored": 10, "took_ms": 20.0}
    return lost + [
        Outcome(status="reranked", hits=[{"cross_encoder_score": score} for score in page], **about) for page in scores
    ]


def _log(path: Path, outcomes: list[Outcome], audits: list[Audit] | None = None, *, hours_ago: float = 0.0) -> Path:
    """A log as the client writes it, its lines so old."""
    at = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat()
    new = path.with_suffix(".new")
    log = OutcomeLog(new, 1.0)
    for outcome in outcomes:
        log.note(outcome)
    for audit in audits or ():
        log.audited(audit)
    with path.open("a") as file:
        file.writelines(json.dumps({**json.loads(line), "at": at}) + "\n" for line in new.read_text().splitlines())
    new.unlink()
    return path


def _watched(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    code = cli.run(["watch", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def _value(told: dict[str, Any], name: str) -> Any:
    return next(finding["value"] for finding in told["findings"] if finding["name"].startswith(name))


def test_the_same_searches_as_before_alarm_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other draws of the same distribution have no drift, and everything that was seen is told."""
    log = _log(tmp_path / "log", _outcomes(300), hours_ago=30)
    code, told = _watched(capsys, _log(log, _outcomes(300, seed=1), hours_ago=1))
    assert (code, told["alarms"]) == (0, [])
    assert _value(told, "scores of m abc (logit)") < 0.02
    assert [(finding["now"], finding["before"]) for finding in told["findings"][:1]] == [("300", "300")]


def test_scores_that_have_drifted_alarm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shift by two thirds of the spread is found; so is one against a log of its own."""
    old = _log(tmp_path / "old", _outcomes(300), hours_ago=30)
    new = _log(tmp_path / "new", _outcomes(300, shift=2.0, seed=1))
    code, told = _watched(capsys, new, "--baseline", old)
    assert (code, told["alarms"]) == (1, ["scores of m abc (logit)"])
    assert _value(told, "scores of") > 0.2
    assert _watched(capsys, new, "--baseline", old, "--most-drift", "2")[0] == 0


@pytest.mark.parametrize(("searches", "fallbacks", "alarms"), [(400, 40, ["fallback"]), (400, 22, []), (20, 10, [])])
def test_a_share_alarms_where_chance_does_not_explain_it(
    searches: int, fallbacks: int, alarms: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """10 % of 400 is above a limit of 5 %, 5.5 % may be chance, and of 20 searches nothing is known."""
    log = _log(tmp_path / "log", _outcomes(searches, fallbacks=fallbacks))
    code, told = _watched(capsys, log)
    assert (code, told["alarms"]) == (int(bool(alarms)), alarms)
    assert _value(told, "fallback") == fallbacks / searches
    assert f"scorer_unavailable {fallbacks}" in told["findings"][1]["now"]


def test_a_gate_that_costs_too_much_alarms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mean loss of audited searches is told by gate; failed audits are counted."""
    audits = [Audit(reason=Reason.GATE_ONE_WORD, depth=10, ndcg=0.9)] * 150
    audits += [Audit(reason=Reason.GATE_CODE, depth=10, ndcg=0.99)] * 150
    audits += [Audit(reason=Reason.GATE_CODE, failed="scorer_unavailable")]
    code, told = _watched(capsys, _log(tmp_path / "log", _outcomes(10), audits))
    assert (code, told["alarms"]) == (1, ["cost of gate_one_word"])
    assert _value(told, "cost of gate_one_word") == pytest.approx(0.1)
    assert _value(told, "cost of gate_code") == pytest.approx(0.01)
    assert told["findings"][-1]["name"] == "audits that failed"


def test_a_log_that_is_being_written_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is cut short, and others that are none of ours, are counted and told."""
    log = _log(tmp_path / "log", _outcomes(5))
    with log.open("a") as file:
        first = log.read_text().splitlines()[0]
        file.write(re.sub(r'"scores": \[', '"scores": [Infinity, ', first) + "\n")
        file.write('[]\n{"at": "yesterday"}\n{"at": "2026-11-30T12:00:00+00:00"}\n{"at": "2026-')
    _, told = _watched(capsys, log)
    assert told["findings"][0]["now"] == "5"
    assert told["findings"][-1] == {
        "name": "lines that are none of ours",
        "now": "5",
        "before": "",
        "value": None,
        "is_alarm": False,
    }


@pytest.fixture
def metrics() -> Iterator[tuple[Prometheus, CollectorRegistry, str]]:
    """An application's metrics, served on loopback."""
    registry = CollectorRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = generate_latest(registry) if self.path == "/metrics" else b""
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Prometheus(registry), registry, f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


def test_metrics_tell_shares_and_costs(
    metrics: tuple[Prometheus, CollectorRegistry, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an application serves for Prometheus is read as it is, or less what an earlier scrape held."""
    telemetry, registry, url = metrics
    for outcome in _outcomes(200, fallbacks=100):
        telemetry.note(outcome)
    (tmp_path / "earlier").write_bytes(generate_latest(registry))
    code, told = _watched(capsys, "--metrics", url)
    assert (code, told["alarms"], told["findings"][0]["now"]) == (1, ["fallback"], "200")
    for outcome in _outcomes(300):
        telemetry.note(outcome)
    for _ in range(120):
        telemetry.audited(Audit(reason=Reason.GATE_CODE, depth=10, ndcg=0.8))
    code, told = _watched(capsys, "--metrics", url, "--since", tmp_path / "earlier")
    assert (code, told["alarms"], told["findings"][0]["now"]) == (1, ["cost of gate_code"], "300")
    assert _value(told, "cost of gate_code") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is nothing to watch; name a log, or --metrics"),
        (("nowhere",), "nowhere can't be read"),
        (("old",), "no search was logged in the last 24 h"),
        (("other",), "other holds no outcome"),
        (("old", "--metrics", "other"), "metrics and logs are two sources"),
        (("--metrics", "other"), "the metrics hold no rescorer_client_searches_total"),
        (("--metrics", "foreign"), "the metrics hold a rescorer_client_searches_total that is none of ours"),
        (("--metrics", "http://127.0.0.1:9"), "http://127.0.0.1:9 does not answer"),
    ],
)
def test_what_can_not_be_watched_is_one_line(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A log that nobody writes any more is an error too, not silence."""
    monkeypatch.chdir(tmp_path)
    _log(tmp_path / "old", _outcomes(5), hours_ago=30)
    (tmp_path / "other").write_text("up 1.0\n")
    (tmp_path / "foreign").write_text("rescorer_client_searches_total 1.0\n")
    assert cli.run(["watch", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_stability_index_is_that_of_its_formula() -> None:
    """Two halves that swap from 3:1 to 1:3 have (0.5 ln 3) twice, up to the half value that fills empty tenths."""
    before, now = [0.0] * 7500 + [1.0] * 2500, [0.0] * 2500 + [1.0] * 7500
    assert findings.stability(before, now) == pytest.approx(2 * 0.5 * np.log(3), rel=0.01)
    assert findings.stability(before, before) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_page_run(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    metrics: tuple[Prometheus, CollectorRegistry, str],
) -> None:
    """Each prints its table and ends with ``no alarm``."""
    monkeypatch.chdir(tmp_path)
    _log(tmp_path / "outcomes.jsonl", _outcomes(150))
    _log(tmp_path / "last-month.jsonl", _outcomes(150, seed=1), hours_ago=700)
    metrics[0].note(_outcomes(1)[0])
    (tmp_path / "yesterday.prom").write_bytes(generate_latest(CollectorRegistry()))
    assert cli.run(shlex.split(command.replace("http://localhost:9100/metrics", metrics[2]))[1:]) == 0
    assert "no alarm" in capsys.readouterr().out
