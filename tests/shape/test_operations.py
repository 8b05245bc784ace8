"""Dashboard, alerts, runbook and page name metrics and labels that a scraped sidecar has, and each other's entries."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from contract.doors.house import House
from rescorer.domain import Outcome
from rescorer.prometheus import Prometheus
from rescorer_sidecar import security
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.domain import Candidate, ScoreRequest
from rescorer_sidecar.http_server import HttpDoor
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, write_tokeniser
from shape.source import ROOT
from unit.sidecar.scrape import Scrape

ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "rescorer.json").read_text())
EXPRESSIONS = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    },
}
OF_PROMETHEUS = {"up"}
"""What Prometheus itself makes for each scrape."""

OF_SCRAPE = {"instance", "job"}
"""Labels that Prometheus puts on everything that it scrapes."""

METRIC = re.compile(r"\b((?:rescorer|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")


@dataclass(frozen=True)
class Known:
    """Sample names, the labels of each, and the values that a label had."""

    labels: dict[str, set[str]]
    families: set[str]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """What a sidecar over HTTP says after some requests, and what an application's client counts."""
    page = asyncio.run(_scraped(tmp_path_factory.mktemp("tiny")))
    registry = CollectorRegistry()
    Prometheus(registry).note(Outcome(status="fallback"))
    labels: dict[str, set[str]] = {name: set() for name in OF_PROMETHEUS}
    families = set()
    for scrape in (Scrape(page), Scrape(generate_latest(registry).decode())):
        families |= set(scrape.types)
        for sample in scrape.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return Known(labels, families)


async def _scraped(folder: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    address = "unix:///nowhere/at/all"
    settings = House(folder).settings(http_port=port, shared_cache=address)
    service = Service(settings, MonotonicClock())
    service.open([fake_model(write_tokeniser(folder))])
    http = HttpDoor(service, settings, security.opened(settings, lambda _: None))
    await http.start()
    await service.score(ScoreRequest(query="cat", candidates=(Candidate(id="a", text="hotel"),)))
    service.metrics.replied(0.001)
    service.metrics.refused_at_door("grpc", "unauthenticated")
    page = await asyncio.to_thread(_read, f"https://127.0.0.1:{port}/metrics")
    await http.stop(5)
    await service.leave_shared_cache()
    service.close()
    return page


def _read(url: str) -> str:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(url, timeout=20, context=trusting) as answer:  # noqa: S310  # on this machine
        return str(answer.read().decode())


def _named(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of an expression, and the labels that it is asked for."""
    for name, matchers in METRIC.findall(re.sub(r"\bby \([^)]*\)", "", expression)):
        yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers))


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_expressions_name_metrics_and_labels_that_are_scraped(where: str, known: Known) -> None:
    """Every metric of every alert and panel is exposed, with the labels that it is filtered and grouped by."""
    expression = EXPRESSIONS[where]
    named = list(_named(expression))
    assert named
    has: set[str] = set(OF_SCRAPE)
    for name, asked in named:
        assert name in known.labels, name
        assert asked <= known.labels[name] | OF_SCRAPE, name
        has |= known.labels[name]
    grouped = {label.strip() for labels in GROUPED.findall(expression) for label in labels.split(",")}
    assert grouped <= has


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_expressions_are_whole(where: str) -> None:
    """Brackets of every kind are closed in their order, and quotes come in pairs."""
    closes, opened = {")": "(", "]": "[", "}": "{"}, []
    bare = re.sub(r'"[^"]*"', "", EXPRESSIONS[where])
    assert '"' not in bare
    for mark in bare:
        if mark in closes.values():
            opened.append(mark)
        elif mark in closes:
            assert opened
            assert opened.pop() == closes[mark]
    assert opened == []


def test_a_wrong_name_would_be_found(known: Known) -> None:
    """The reader of expressions sees through functions, filters and groups."""
    named = dict(_named('sum by (model) (rate(rescorer_nothing_total{outcome=~"a|b", job="c"}[5m])) / up'))
    assert named == {"rescorer_nothing_total": {"outcome", "job"}, "up": set()}
    assert "rescorer_nothing_total" not in known.labels


def test_each_alert_has_its_section_of_the_runbook_and_each_section_its_alert() -> None:
    """In the same order, and each section says what it means, what to look at, what to do."""
    page = (ROOT / "docs" / "runbook.md").read_text()
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == [rule["alert"] for rule in RULES]
    for section in sections:
        assert re.findall(r"^\*\*(.+?)\*\*:", section, re.MULTILINE) == ["Means", "Look at", "Do"], section[:40]


def test_the_runbook_names_panels_that_exist() -> None:
    """Everything in italics is the title of a panel."""
    page = (ROOT / "docs" / "runbook.md").read_text()
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", page))
    assert named
    assert named - titles == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_waits_and_says_how_bad_it_is_and_what_it_sees(rule: dict[str, Any]) -> None:
    """One bad scrape alerts nobody; severity is ``page`` or ``ticket``; the summary is one sentence."""
    assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]


def test_the_page_names_each_metric_and_no_other(known: Known) -> None:
    """docs/sidecar.md and docs/client.md tell every metric of ours that is exposed."""
    pages = [(ROOT / "docs" / name).read_text() for name in ("sidecar.md", "client.md")]
    told = {re.sub(r"_total$|_info$", "", name) for page in pages for name in re.findall(r"`(rescorer_[a-z_]+)`", page)}
    ours = {name for name in known.families if name.startswith("rescorer_") and not name.endswith("_created")}
    settings = {"rescorer_credentials", "rescorer_metadata", "rescorer_hedge", "rescorer_telemetry", "rescorer_caller"}
    assert told - settings == {re.sub(r"_info$", "", name) for name in ours}
