"""``rescorer watch`` on what a real client wrote: real engine, real sidecar, real model, and then no sidecar."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rescorer.opensearch import OpenSearch
from rescorer.outcome_log import OutcomeLog
from rescorer_lab import cli
from unit.lab.demo_data import small_collection

COLLECTION = small_collection(24)
INDEX = "rescorer-watched"
GATED = {"query_types": ["one_word"], "audit": 1.0}


@pytest.fixture(scope="module")
def engine(opensearch_url: str) -> Iterator[str]:
    """A node that holds the collection."""
    with OpenSearch(hosts=[opensearch_url]) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        lines = [
            line
            for document in COLLECTION.documents
            for line in ({"index": {"_id": document.id}}, {"title": document.title, "body": document.body})
        ]
        client.bulk(index=INDEX, body=lines, refresh=True)
        yield opensearch_url
        client.indices.delete(index=INDEX)


def _search(engine: str, sidecar: str, log: Path, texts: list[str]) -> None:
    """Ask all of these, each audited to its end, and write every outcome."""
    with OpenSearch(hosts=[engine], rescorer=sidecar, rescorer_telemetry=OutcomeLog(log, 1.0)) as client:
        for text in texts:
            entry = {"document_fields": ["title", "body"], "window_size": 5, "gate": GATED}
            query = {"multi_match": {"query": text, "fields": ["title", "body"]}}
            client.search(index=INDEX, body={"query": query, "size": 5, "rescore": {"cross_encoder": entry}})
            for thread in threading.enumerate():
                if thread.name == "rescorer-audit":
                    thread.join()


def _watched(capsys: pytest.CaptureFixture[str], log: Path) -> tuple[int, dict[str, Any]]:
    code = cli.run(["watch", str(log), "--json"])
    told = json.loads(capsys.readouterr().out)
    return code, {finding["name"]: finding for finding in told["findings"]}


def test_a_sidecar_that_goes_away_alarms(
    engine: str, sidecar: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While all is well nothing alarms, and scores, skips and audits are seen; the fallbacks that follow alarm."""
    log = tmp_path / "outcomes.jsonl"
    texts = list(COLLECTION.queries.values())
    _search(engine, sidecar, log, [*texts, *texts, *texts, *texts, *texts, "water", "cloud"])
    code, found = _watched(capsys, log)
    assert (code, found["searches"]["now"]) == (0, "122")
    assert found["fallback"]["value"] == 0
    assert found["skipped"]["value"] == pytest.approx(2 / 122)
    assert found["cost of gate_one_word"]["now"].endswith("2 audited")
    assert 0 <= found["cost of gate_one_word"]["value"] < 1
    (scores,) = (name for name in found if name.startswith("scores of "))
    assert scores.endswith("(logit)")
    _search(engine, "127.0.0.1:9", log, texts)
    code, found = _watched(capsys, log)
    assert code == 1
    assert found["fallback"]["is_alarm"]
    assert found["fallback"]["value"] == pytest.approx(24 / 146)
    assert not any(word in log.read_text() for word in ("water", "word1", '"d1"'))
