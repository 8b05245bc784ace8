"""The metrics answer an operator's questions: are we scoring, how long and where, how full, how often not, who asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.domain import Candidate, EmbedRequest, ScoreRequest
from rescorer_sidecar.errors import SidecarError
from rescorer_sidecar.metrics import OUTCOMES, Ended, Metrics
from rescorer_sidecar.names import MOST_NAMES, OTHER, Names
from rescorer_sidecar.observing import OUTCOMES as OF_ERRORS
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import POISON_WORD, FakeClock, fake_model, until
from unit.sidecar.scrape import scrape

OpenService = Callable[..., Service]


def asking(*texts: str, query: str = "cat", **more: object) -> ScoreRequest:
    """A request whose candidates are called c0, c1, …"""
    candidates = tuple(Candidate(id=f"c{index}", text=text) for index, text in enumerate(texts))
    return ScoreRequest(query=query, candidates=candidates, **more)


async def statuses(service: Service, *requests: ScoreRequest) -> list[str]:
    """What each request, one after the other, ended with: what its answer says of itself, or its error's name."""
    found = []
    for request in requests:
        try:
            answer = await service.score(request)
            found.append("complete" if answer.is_complete else "partial")
        except SidecarError as error:
            found.append(type(error).__name__)
    return found


async def test_every_answer_is_counted_by_the_status_that_it_had(open_service: OpenService) -> None:
    """F2: the counts by outcome equal the statuses that callers got, whole, in part or refused."""
    service = open_service()
    got = await statuses(
        service,
        asking("hotel"),
        asking("hotel", "late train"),
        asking("late", POISON_WORD),
        asking(POISON_WORD),
        asking("hotel", query=" "),
        asking("hotel", model="nobody"),
    )
    assert got == ["complete", "complete", "partial", "BackendFailed", "InvalidRequest", "UnknownModel"]
    seen = scrape(service.metrics)
    assert seen.by("rescorer_requests_total", "outcome") == {
        "complete": 2,
        "partial": 1,
        "failed": 1,
        "invalid": 1,
        "unknown_model": 1,
    }
    assert seen("rescorer_requests_total", model="unknown") == seen("rescorer_requests_total", outcome="unknown_model")


async def test_requests_of_one_call_are_counted_each(open_service: OpenService) -> None:
    """F2: requests that came together count one by one, each with its own outcome."""
    service = open_service()
    await service.score_many([asking("hotel"), asking("late"), asking("hotel", model="nobody")])
    assert scrape(service.metrics).by("rescorer_requests_total", "outcome") == {"complete": 2, "unknown_model": 1}


async def test_pairs_are_counted_by_where_their_score_came_from(open_service: OpenService) -> None:
    """Scores from the model, from the cache and from somebody else's flight are told apart."""
    service = open_service()
    await service.score(asking("hotel", "late", "late"))
    await service.score(asking("hotel", "train"))
    seen = scrape(service.metrics)
    assert seen.by("rescorer_pair_sources_total", "source") == {"model": 3, "cache": 1, "flight": 1}
    assert seen.by("rescorer_pairs_total", "ending") == {"scored": 3}
    assert seen("rescorer_cache_entries", cache="scores") == 3
    assert 0 < seen("rescorer_cache_bytes", cache="scores") <= seen("rescorer_cache_limit_bytes", cache="scores")


async def test_pairs_that_nobody_waits_for_are_counted_as_abandoned(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """A caller who hangs up while his pairs wait counts as cancelled, and so do his pairs; what runs is scored."""
    service = open_service()
    backend.door.clear()
    first = asyncio.ensure_future(service.score(asking("hotel")))
    assert await asyncio.to_thread(backend.entered.wait, 20)
    second = asyncio.ensure_future(service.score(asking("late", "train", caller="b")))
    await until(lambda: service.waiting == 2)
    assert scrape(service.metrics)("rescorer_waiting_pairs") == 2
    assert scrape(service.metrics)("rescorer_running_forwards") == 1
    second.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await second
    backend.door.set()
    await first
    seen = scrape(service.metrics)
    assert seen.by("rescorer_pairs_total", "ending") == {"scored": 1, "abandoned": 2}
    assert seen("rescorer_requests_total", outcome="cancelled") == 1
    assert seen("rescorer_waiting_pairs") == 0


async def test_batches_tell_how_full_they_were(open_service: OpenService) -> None:
    """A forward's tokens are compared with what it might have held."""
    service = open_service(budget_tokens=100)
    answer = await service.score(asking("hotel", "late"))
    tokens = sum(entry.pair.token_count for entry in answer.results)
    seen = scrape(service.metrics)
    assert seen("rescorer_batch_tokens_sum", model="fake") == tokens
    assert seen("rescorer_batch_fill_ratio_sum") == pytest.approx(tokens / 100)
    assert seen("rescorer_forward_duration_seconds_count") == 1
    assert seen("rescorer_budget_tokens", model="fake") == 100


async def test_the_time_of_answers_is_told_by_stage(open_service: OpenService) -> None:
    """Each answered request leaves a time for each stage inside the service, and one for the whole."""
    service = open_service()
    await service.score(asking("hotel"))
    seen = scrape(service.metrics)
    stages = seen.by("rescorer_stage_duration_seconds_count", "stage")
    assert stages == dict.fromkeys(("admission", "tokenise", "queue", "forward"), 1)
    assert seen("rescorer_request_duration_seconds_count", method="score", outcome="complete") == 1


async def test_truncated_texts_are_counted(open_service: OpenService) -> None:
    """Texts that were not read to their end count, whether scored or embedded."""
    service = open_service()
    await service.score(asking("late " * 100, "hotel", max_tokens=16))
    assert scrape(service.metrics)("rescorer_truncated_candidates_total") == 1


async def test_embedding_is_counted_beside_scoring(open_service: OpenService, tokeniser_folder: Path) -> None:
    """Requests to embed are a method of their own, under their model's name."""
    service = open_service(fake_model(tokeniser_folder, kind="embedder", name="vectors"))
    await service.embed(EmbedRequest(texts=("cat", "hotel"), caller="indexer"))
    seen = scrape(service.metrics)
    assert seen("rescorer_requests_total", method="embed", model="vectors", outcome="complete") == 1
    assert seen("rescorer_caller_candidates_total", caller="indexer") == 2


async def test_a_sidecar_is_ready_from_its_models_to_its_drain(
    tokeniser_folder: Path, open_service: OpenService
) -> None:
    """``rescorer_ready`` is 1 while requests should be sent, and the models that are served are named."""
    service = open_service()
    assert scrape(service.metrics)("rescorer_ready") == 1
    assert scrape(service.metrics)("rescorer_model_info", model="fake", kind="cross-encoder", digest="d1") == 1
    service.drain()
    assert scrape(service.metrics)("rescorer_ready") == 0
    assert await statuses(service, asking("hotel")) == ["complete"]


async def test_labels_are_bounded_whoever_asks(open_service: OpenService) -> None:
    """A thousand callers with names of their own, asking for models of their own, leave few series."""
    service = open_service()
    for number in range(1_000):
        await statuses(service, asking("hotel", caller=f"caller-{number}", model=f"model-{number}"))
    seen = scrape(service.metrics)
    assert len(seen.by("rescorer_caller_requests_total", "caller")) == MOST_NAMES + 1
    assert seen("rescorer_caller_requests_total", caller=OTHER) == 1_000 - MOST_NAMES
    assert set(seen.by("rescorer_requests_total", "model")) == {"unknown"}


def test_a_name_that_fell_silent_gives_up_its_place() -> None:
    """The one that is silent for longest, for an hour at least, makes room; others wait among the rest."""
    gone: list[str] = []
    names = Names(gone.append, most=2, silent_s=3_600)
    assert [names.label("a", 0), names.label("b", 10), names.label("c", 3_599)] == ["a", "b", OTHER]
    assert names.label("b", 3_600) == "b"
    assert (names.label("c", 3_600), gone) == ("c", ["a"])
    assert names.label("a", 3_601) == OTHER


def test_a_caller_that_gave_up_its_place_has_no_series() -> None:
    """Its counts leave with it, so that there are never more series than places."""
    clock = FakeClock()
    metrics = Metrics(clock)
    for number in range(3 * MOST_NAMES):
        told = {"method": "score", "model": "m", "outcome": OUTCOMES[number % len(OUTCOMES)]}
        metrics.ended(Ended(**told, caller=f"caller-{number}", candidates=1, seconds=0.1))
        clock.advance(3_600)
    assert len(scrape(metrics).by("rescorer_caller_requests_total", "caller")) == MOST_NAMES


def test_each_error_is_called_by_a_known_word() -> None:
    """What errors are called are the outcomes of the metrics, all but the two of answers."""
    assert {word for _, word in OF_ERRORS} == set(OUTCOMES) - {"complete", "partial"}


def test_metrics_are_written_in_the_format_that_is_asked_for() -> None:
    """Prometheus' text by default, OpenMetrics where the scraper accepts it."""
    metrics = Metrics(FakeClock())
    assert metrics.exposed()[1].startswith("text/plain; version=0.0.4")
    body, kind = metrics.exposed("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
