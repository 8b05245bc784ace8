"""One contract for cascades and choices: scorers over gRPC at the real door, and fakes, sync and asyncio."""

from __future__ import annotations

import itertools
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.scorers.conftest import Driven
from rescorer.config import Stage
from rescorer.domain import Candidate, Scored, ScoreRequest, Scores
from rescorer.errors import ScorerRefused
from rescorer.fuse import aligned
from rescorer.scorers.channels import Target
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer
from rescorer.testing import AsyncFakeScorer, FakeScorer
from rescorer_sidecar import grpc_server
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Floats, Tokens
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model, write_tokeniser

TEXTS = ["flight", "cat", "hotel late", "refund", "train", "hotel", "cancel flight", "cat cat", "late"]
CANDIDATES = [Candidate(f"{place}:d", (("", text),)) for place, text in enumerate(TEXTS)]
TWO = (Stage(model="small", keep=4), Stage(model="large"))
THREE = (Stage(model="small", keep=6), Stage(model="middle", keep=2), Stage(model="large"))


class Weighed(FakeBackend):
    """Logits that no two of these models agree on: the sum of a row's ids modulo something, some turned round."""

    def __init__(self, modulus: int, sign: int) -> None:
        super().__init__()
        self._modulus, self._sign = modulus, sign

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows]."""
        return np.array([self._sign * (sum(row.ids) % self._modulus) for row in batch], dtype=np.float32)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """Where a sidecar of three models listens."""
    settings, clock = Settings(model="fake", port=0), MonotonicClock()
    service, folder = Service(settings, clock), write_tokeniser(tmp_path)
    weights = {"small": (7, 1), "middle": (5, -1), "large": (11, -1)}
    service.open(
        [fake_model(folder, name=name, digest=name, backend=Weighed(*weights[name])) for name in weights],
    )
    server, _, port = grpc_server.build(grpc_server.Door(service, clock), settings)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
    service.close()


@pytest.fixture(params=["grpc", "grpc-async", "fake", "fake-async"])
async def scorer(request: pytest.FixtureRequest, address: str) -> AsyncIterator[Driven]:
    """Every implementation in turn; blocking ones run in a thread, since the door is on this loop."""
    fake = FakeScorer(
        {
            "small": lambda _, text: float(len(text) % 7),
            "middle": lambda _, text: -float(len(text) % 5),
            "large": lambda _, text: -float(len(text) % 3),
        }
    )
    made = {
        "grpc": lambda: GrpcScorer(Target(address=address)),
        "grpc-async": lambda: AsyncGrpcScorer(Target(address=address)),
        "fake": lambda: fake,
        "fake-async": lambda: AsyncFakeScorer(fake),
    }
    driven = Driven(made[request.param](), in_thread=request.param == "grpc")
    yield driven
    await driven.close()


def asking(*stages: Stage, **more: object) -> ScoreRequest:
    """A request for all candidates."""
    return ScoreRequest(query="cat", candidates=CANDIDATES, cascade=stages, **more)  # type: ignore[arg-type]


def float32(value: float) -> float:
    """The value as the wire carries it."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def ranked(scores: Scores) -> list[Scored]:
    """All results, highest logit first, equal ones in the order of the request."""
    found = [entry for entry in aligned(scores, CANDIDATES, len(scores.stages)) if entry]
    return sorted(found, key=lambda entry: (-float32(entry.logit), entry.index))


@pytest.mark.parametrize("stages", [TWO, THREE])
async def test_stages_never_mix_and_each_keeps_its_models_order(scorer: Driven, stages: tuple[Stage, ...]) -> None:
    """By logit alone: a later stage above an earlier one, strictly; inside a stage what its model alone would say."""
    order = ranked(await scorer.score(asking(*stages)))
    assert len(order) == len(CANDIDATES)
    assert [entry.stage for entry in order] == sorted((entry.stage for entry in order), reverse=True)
    for above, below in itertools.pairwise(order):
        assert above.stage == below.stage or float32(above.logit) > float32(below.logit)
    for number, stage in enumerate(stages, 1):
        alone = {entry.index: entry for entry in (await scorer.score(asking(model=stage.model))).results}
        members = [entry.index for entry in order if entry.stage == number]
        assert members == sorted(members, key=lambda place: (-alone[place].logit, place))


@pytest.mark.parametrize("stages", [TWO, THREE])
async def test_who_survives_is_the_best_of_the_stage_before(scorer: Driven, stages: tuple[Stage, ...]) -> None:
    """As many as asked, and the last stage's logits are its model's own."""
    scores = await scorer.score(asking(*stages))
    places = list(range(len(CANDIDATES)))
    for number, stage in enumerate(stages, 1):
        alone = {entry.index: entry for entry in (await scorer.score(asking(model=stage.model))).results}
        assert {entry.index for entry in scores.results if entry.stage >= number} == set(places)
        best = sorted(places, key=lambda place: (-alone[place].logit, place))
        places = best[: stage.keep or len(best)]
    last = [entry for entry in scores.results if entry.stage == len(stages)]
    assert [entry.logit for entry in last] == [alone[entry.index].logit for entry in last]


async def test_the_answer_tells_each_stage(scorer: Driven) -> None:
    """Models in their order, what each was given and has scored; the answer's model is the last one's."""
    scores = await scorer.score(asking(*THREE))
    assert [(stage.model, stage.candidates, stage.scored) for stage in scores.stages] == [
        ("small", 9, 9),
        ("middle", 6, 6),
        ("large", 2, 2),
    ]
    assert (scores.model, scores.reason, scores.choice) == ("large", None, None)


async def test_a_plain_request_has_no_stages(scorer: Driven) -> None:
    """Neither the answer nor a result says anything about a cascade."""
    scores = await scorer.score(asking(model="small"))
    assert (list(scores.stages), scores.choice, {entry.stage for entry in scores.results}) == ([], None, {0})


async def test_auto_takes_one_of_its_models_and_says_why(scorer: Driven) -> None:
    """With all the time in the world the whole window is scored, and the choice names model, window and reason."""
    scores = await scorer.score(asking(model="auto", models=("large", "small")))
    assert scores.choice is not None
    assert scores.choice.model == scores.model
    assert scores.choice.model in ("large", "small")
    assert scores.choice.window == len(scores.results) == len(CANDIDATES)
    assert scores.choice.reason


async def test_auto_takes_the_default_model_where_none_is_named(scorer: Driven) -> None:
    """An ``auto`` window of no named model is one of the default's, and scored as a plain request."""
    plain, scores = await scorer.score(asking()), await scorer.score(asking(model="auto", models=("",)))
    assert scores.choice is not None
    assert (scores.model, scores.choice.window) == (plain.model, len(CANDIDATES))
    assert [entry.logit for entry in scores.results] == [entry.logit for entry in plain.results]


async def test_cascades_among_many_are_answered_as_alone(scorer: Driven) -> None:
    """In one call beside a plain request: each has its own stages and order."""
    wishes = [asking(*TWO), asking(model="large"), asking(*THREE)]
    for wish, entry in zip(wishes, await scorer.score_many(wishes), strict=True):
        assert isinstance(entry, Scores)
        alone = await scorer.score(wish)
        assert [(one.logit, one.stage) for one in entry.results] == [(one.logit, one.stage) for one in alone.results]


async def test_no_candidates_need_no_stages(scorer: Driven) -> None:
    """An empty cascade has an empty answer."""
    assert (await scorer.score(replace(asking(*TWO), candidates=[]))).results == []


@pytest.mark.parametrize("wish", [asking(*TWO), asking(model="auto", models=("large", "small"))])
async def test_a_window_that_takes_two_messages_is_refused_alone(address: str, wish: ScoreRequest) -> None:
    """A part of a window has no survivors of its own: the error says what fits, and others of the call are answered."""
    scorer = AsyncGrpcScorer(Target(address=address))
    large = [Candidate(f"{place}:d", (("", "cat"),)) for place in range(2049)]
    good, bad = await scorer.score_many([asking(model="small"), replace(wish, candidates=large)], 20.0)
    assert isinstance(good, Scores)
    assert isinstance(bad, ScorerRefused)
    assert "sees its whole window at once, and these 2049 hits take 2 messages" in str(bad)
    assert "set a smaller window_size" in str(bad)
    await scorer.close()
