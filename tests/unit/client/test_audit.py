"""The gate's audit sample: scored after the answer, told as a metric, and never in the way of a search."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rescorer import audit
from rescorer.afterwards import MOST_AT_ONCE
from rescorer.domain import Audit, Scored, ScoreRequest, Scores
from rescorer.errors import Reason, ScorerError, ScorerUnavailable
from rescorer.fuse import Ranked
from rescorer.prometheus import Prometheus
from rescorer.telemetry import Telemetry
from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_clients import plain, settled
from unit.client.fake_engine import PROFILE, FakeEngine, reversing
from unit.client.test_telemetry import Traces

Made = Callable[..., Any]
ALWAYS = {**PROFILE, "gate": {"query_types": ["one_word"], "audit": 1}}
ASKED = {"query": {"match": {"title": "refund"}}}
PATIENCE_S = 30.0


@dataclass
class Heard(Telemetry):
    """Collects audits, whichever thread or task they come from."""

    audits: list[Audit] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def audited(self, audit: Audit) -> None:
        """Keep it."""
        self.audits.append(audit)
        self.came.set()

    async def one(self) -> Audit:
        """The first audit, however it comes."""
        assert await asyncio.get_running_loop().run_in_executor(None, self.came.wait, PATIENCE_S)
        return self.audits[0]


class Held(FakeScorer):
    """A fake that scores only once it may."""

    def __init__(self) -> None:
        super().__init__(reversing)
        self.may = threading.Event()

    def score_many(self, requests: Sequence[ScoreRequest], timeout_s: float) -> list[Scores | ScorerError]:
        """The scores, after a while."""
        assert self.may.wait(PATIENCE_S)
        return super().score_many(requests, timeout_s)


def order(*places: int) -> list[Ranked]:
    """A rescored order by first places."""
    return [Ranked(place, 0.0, Scored(id="", index=place, logit=0.0, score=0.0)) for place in places]


@pytest.mark.parametrize(
    ("places", "depth", "overlap", "ndcg", "first_changed"),
    [
        ((0, 1, 2, 3), 2, 1.0, 1.0, False),
        ((1, 0, 2, 3), 2, 1.0, (1 + 2 / 1.584962500721156) / (2 + 1 / 1.584962500721156), True),
        ((3, 2, 1, 0), 2, 0.0, 0.0, True),
        ((0, 3, 2, 1), 2, 0.5, 2 / (2 + 1 / 1.584962500721156), False),
        ((0,), 10, 1.0, 1.0, False),
    ],
)
def test_two_orders_are_compared_down_to_the_page(
    places: tuple[int, ...], depth: int, overlap: float, ndcg: float, first_changed: bool
) -> None:
    """What both show, and how much of the rescored order the first stage has in place."""
    found = audit.compared(Reason.GATE_CODE, order(*places), depth)
    assert (found.overlap, found.first_changed) == (overlap, first_changed)
    assert found.ndcg == pytest.approx(ndcg)


async def test_an_audited_search_is_answered_first_and_scored_afterwards(made: Made, kind: str) -> None:
    """P12: the answer is the first stage and comes while the sidecar has not begun; then the metric is told."""
    held, heard = Held(), Heard()
    if kind.startswith("async"):
        held.may.set()  # a fake that blocks would hold up the loop itself
    client = made(FakeEngine(profile=ALWAYS), scorer=held, rescorer_telemetry=heard)
    answer = plain(await settled(client.search(index="articles", body={**ASKED, "size": 3, "_source": ["year"]})))
    assert answer["rescore"]["reason"] == "gate_one_word"
    assert answer["rescore"]["detail"] == "the query is of the type one_word; scored afterwards, for the audit"
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["d0", "d1", "d2"]
    assert answer["hits"]["hits"][0]["_source"] == {"year": 2000}
    assert heard.audits == []
    held.may.set()
    found = await heard.one()
    assert found == Audit(
        reason=Reason.GATE_ONE_WORD, depth=3, overlap=1 / 3, ndcg=pytest.approx(found.ndcg), first_changed=True
    )
    assert client.rescore_counts() == {"skipped:gate_one_word": 1}
    await settled(client.close())


async def test_without_a_share_nothing_is_audited(made: Made, scorer: FakeScorer) -> None:
    """The caller's own request is sent then, and nothing is scored."""
    heard = Heard()
    engine = FakeEngine(profile={**ALWAYS, "gate": {"query_types": ["one_word"]}})
    client = made(engine, rescorer_telemetry=heard)
    await settled(client.search(index="articles", body=ASKED))
    await settled(client.close())
    assert engine.searches()[0].body == ASKED
    assert (heard.audits, scorer.requests) == ([], [])


async def test_what_the_gate_lets_through_is_not_audited(made: Made, scorer: FakeScorer) -> None:
    """It is scored once, for its own sake."""
    client = made(FakeEngine(profile=ALWAYS))
    await settled(client.search(index="articles", body={"query": {"match": {"title": "how do i"}}}))
    await settled(client.close())
    assert len(scorer.requests) == 1


@pytest.mark.parametrize(("lot", "is_one"), [(0.0, True), (0.0099, True), (0.01, False), (0.9, False)])
async def test_the_sample_is_drawn_by_lot(
    made: Made, monkeypatch: pytest.MonkeyPatch, lot: float, is_one: bool
) -> None:
    """A share of 0.01 takes one search of a hundred, whatever is asked."""
    monkeypatch.setattr("random.random", lambda: lot)
    heard = Heard()
    client = made(
        FakeEngine(profile={**ALWAYS, "gate": {"query_types": ["one_word"], "audit": 0.01}}), rescorer_telemetry=heard
    )
    answer = plain(await settled(client.search(index="articles", body=ASKED)))
    if is_one:
        await heard.one()
    await settled(client.close())
    assert ("audit" in answer["rescore"]["detail"]) == bool(heard.audits) == is_one


async def test_a_search_of_many_is_audited_too(made: Made) -> None:
    """Each that a gate leaves alone, by itself."""
    heard = Heard()
    client = made(FakeEngine(profile=ALWAYS), rescorer_telemetry=heard)
    answer = plain(await settled(client.msearch(body=[{"index": "articles"}, ASKED])))
    assert answer["responses"][0]["rescore"]["reason"] == "gate_one_word"
    assert (await heard.one()).reason is Reason.GATE_ONE_WORD
    await settled(client.close())


@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        (FakeScorer(failure=ScorerUnavailable("gone")), "scorer_unavailable"),
        (FakeScorer(lambda query, text: 1 / 0), "scorer_failed"),
    ],
)
async def test_an_audit_that_fails_is_told_and_costs_no_search(made: Made, scorer: FakeScorer, why: str) -> None:
    """Its reason is counted; the answer has long been given."""
    heard, registry = Heard(), CollectorRegistry()
    client = made(FakeEngine(profile=ALWAYS), scorer=scorer, rescorer_telemetry=[Prometheus(registry), heard])
    answer = plain(await settled(client.search(index="articles", body=ASKED)))
    assert answer["rescore"]["status"] == "skipped"
    assert await heard.one() == Audit(reason=Reason.GATE_ONE_WORD, failed=why)
    labels = {"reason": "gate_one_word", "failed": why}
    assert registry.get_sample_value("rescorer_client_audits_total", labels) == 1
    await settled(client.close())


def test_a_slow_sidecar_gathers_no_threads_in_the_application() -> None:
    """Some at once; further ones are given up, and told."""
    held, heard = Held(), Heard()
    client = fake_clients.made("opensearch", FakeEngine(profile=ALWAYS), held, rescorer_telemetry=heard)
    for _ in range(MOST_AT_ONCE + 2):
        assert plain(client.search(index="articles", body=ASKED))["rescore"]["status"] == "skipped"
    assert [entry.failed for entry in heard.audits] == ["too_many"] * 2
    held.may.set()
    client.close()


async def test_audits_one_after_the_other_are_all_scored(made: Made) -> None:
    """Whoever is done makes room for the next."""
    heard = Heard()
    client = made(FakeEngine(profile=ALWAYS), rescorer_telemetry=heard)
    for _ in range(2 * MOST_AT_ONCE):
        heard.came.clear()
        await settled(client.search(index="articles", body=ASKED))
        await heard.one()
    await settled(client.close())
    assert [entry.failed for entry in heard.audits] == [None] * (2 * MOST_AT_ONCE)


def test_a_tree_with_cross_encoders_inside_is_not_audited() -> None:
    """It is left alone as a whole: nothing in it is scored, then or later."""
    heard, scorer = Heard(), FakeScorer(reversing)

    def reranked(inner: Any) -> dict[str, Any]:
        said = {"inference_id": "rescorer", "inference_text": "refund", "field": "title"}
        return {"text_similarity_reranker": {**said, "retriever": inner}}

    words = {"standard": {"query": ASKED["query"]}}
    tree = reranked({"rrf": {"retrievers": [words, reranked(words)]}})
    engine = FakeEngine(profile=ALWAYS, engine="elasticsearch")
    client = fake_clients.made("elasticsearch", engine, scorer, rescorer_telemetry=heard)
    answer = plain(client.search(index="articles", body={"retriever": tree}))
    assert answer["rescore"]["reason"] == "gate_one_word"
    assert (scorer.requests, heard.audits) == ([], [])
    client.close()


async def test_a_client_that_is_closed_leaves_no_task() -> None:
    """What is still being scored is given up with it."""

    class Never:
        async def score(self, request: ScoreRequest, timeout_s: float) -> Scores:
            await asyncio.Event().wait()
            raise AssertionError

        score_many = embed = score

    client = fake_clients.made("async_opensearch", FakeEngine(profile=ALWAYS), Never())
    await client.search(index="articles", body=ASKED)
    assert [task.get_name() for task in asyncio.all_tasks()].count("rescorer-audit") == 1
    await client.close()
    assert [task.get_name() for task in asyncio.all_tasks()].count("rescorer-audit") == 0


async def test_without_a_sidecar_nothing_is_audited(made: Made) -> None:
    """The request asks for it, and there is nobody to ask."""
    heard = Heard()
    client = made(FakeEngine(), scorer=None, rescorer_telemetry=heard)
    said = {"document_fields": ["title"], "gate": ALWAYS["gate"]}
    answer = plain(await settled(client.search(index="a", body={**ASKED, "rescore": {"cross_encoder": said}})))
    assert answer["rescore"]["reason"] == "gate_one_word"
    assert heard.audits == []
    await settled(client.close())


async def test_the_plan_of_an_audited_search_is_to_skip(made: Made) -> None:
    """``explain`` tells the same whatever lot was drawn."""
    told = plain(await settled(made(FakeEngine(profile=ALWAYS)).rescorer.explain("articles", ASKED)))
    assert (told["would"], told["reason"]) == ("skip", "gate_one_word")


async def test_audits_are_metrics_and_a_line_of_the_log(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    """Prometheus and OpenTelemetry have the share that both pages show, and no text of anybody's."""
    caplog.set_level(logging.INFO, "rescorer.telemetry")
    heard, registry, traces = Heard(), CollectorRegistry(), Traces()
    told = [Prometheus(registry), traces.telemetry, heard]
    client = made(FakeEngine(profile=ALWAYS), rescorer_telemetry=told)
    await settled(client.search(index="articles", body={**ASKED, "size": 3}))
    found = await heard.one()
    await settled(client.close())
    labels = {"reason": "gate_one_word"}
    assert registry.get_sample_value("rescorer_client_audit_overlap_sum", labels) == found.overlap
    assert registry.get_sample_value("rescorer_client_audit_ndcg_count", labels) == 1
    assert traces.values("rescorer.audit.overlap") == [found.overlap]
    assert traces.values("rescorer.audits") == [1]
    assert [line for line in caplog.messages if "audit of gate_one_word: overlap 0.333" in line]
    assert "refund" not in caplog.text
