"""The log of outcomes that an application can write: a line each, a share of them, no text and no id of anybody's."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from rescorer.domain import Audit, Outcome
from rescorer.errors import InvalidSetting, Reason, ScorerUnavailable
from rescorer.outcome_log import OutcomeLog
from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, settled
from unit.client.fake_engine import FakeEngine, reversing

SECRET = "cancel a flight"
BODY = {
    "query": {"match": {"body": SECRET}},
    "rescore": {"cross_encoder": {"document_fields": ["title", "body"], "window_size": 5}},
}


def _entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_answer_is_a_line_and_no_line_holds_a_text(kind: str, tmp_path: Path) -> None:
    """Status, reason and the page's scores are those that the answers told; texts and ids stay out."""
    path = tmp_path / "outcomes.jsonl"
    answers = []
    for scorer in (FakeScorer(reversing), FakeScorer(failure=ScorerUnavailable("gone"))):
        client = fake_clients.made(kind, FakeEngine(), scorer, rescorer_telemetry=OutcomeLog(path, 1.0))
        answers.append((await settled(client.search(index="articles", body=BODY)))["rescore"])
        await settled(client.close())
    told = _entries(path)
    assert [(entry["status"], entry["reason"]) for entry in told] == [
        ("reranked", None),
        ("fallback", "scorer_unavailable"),
    ]
    hits = answers[0]["hits"]
    assert told[0]["scores"] == [round(hit["cross_encoder_score"], 4) for hit in hits if hit["cross_encoder_score"]]
    assert told[0]["scores"]
    assert datetime.fromisoformat(told[0]["at"]).tzinfo is not None
    assert not any(word in path.read_text() for word in (SECRET, "title 0", "body 0", hits[0]["_id"] + '"'))


def test_a_share_is_written_and_every_audit(tmp_path: Path) -> None:
    """The lot decides about outcomes; audits are few, and are all there."""
    drawn: Iterator[float] = iter([0.0, 0.09, 0.1, 0.9])
    log = OutcomeLog(tmp_path / "a", 0.1, lot=lambda: next(drawn))
    for status in ("reranked", "partial", "skipped", "fallback"):
        log.note(Outcome(status=status))  # type: ignore[arg-type]
    log.audited(Audit(reason=Reason.GATE_ONE_WORD, depth=10, overlap=0.9, ndcg=0.8))
    first, second, third = _entries(tmp_path / "a")
    assert (first["status"], second["status"], first["share"]) == ("reranked", "partial", 0.1)
    assert third["audit"]["ndcg"] == 0.8
    assert third["audit"]["reason"] == "gate_one_word"


def test_threads_write_whole_lines_and_a_moved_file_is_begun_anew(tmp_path: Path) -> None:
    """Lines of eight threads never mix; after a rotation the next line is in a new file."""
    log = OutcomeLog(tmp_path / "a", 1.0)
    hits = [{"cross_encoder_score": float(place)} for place in range(100)]
    outcome = Outcome(status="reranked", hits=hits)
    threads = [Thread(target=lambda: [log.note(outcome) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(entry["scores"]) for entry in _entries(tmp_path / "a")] == [100] * 160
    (tmp_path / "a").rename(tmp_path / "a.1")
    log.note(outcome)
    assert len(_entries(tmp_path / "a")) == 1


def test_a_log_goes_along_with_a_client_that_is_copied_or_pickled(tmp_path: Path) -> None:
    """A copy writes into the same file."""
    log = OutcomeLog(tmp_path / "a", 1.0)
    for again in (copy.deepcopy(log), pickle.loads(pickle.dumps(log))):  # noqa: S301 - our own
        again.note(Outcome(status="skipped"))
    assert len(_entries(tmp_path / "a")) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("a", 0.0), "share: 0.0 must be above 0 and at most 1"),
        (("a", 2.0), "share: 2.0 must be above 0 and at most 1"),
        (("missing/a", 1.0), "can't be written (No such file or directory)"),
    ],
)
def test_what_can_not_be_written_is_refused_at_once(given: tuple[str, float], said: str, tmp_path: Path) -> None:
    """The setting is named, before the first search."""
    with pytest.raises(InvalidSetting) as refused:
        OutcomeLog(tmp_path / given[0], given[1])
    assert said in str(refused.value)
