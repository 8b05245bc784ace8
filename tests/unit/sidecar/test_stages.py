"""Several models in one request: cascades over fake models, and the model that auto takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_sidecar.backends import Facts
from rescorer_sidecar.costs import Costs
from rescorer_sidecar.domain import Candidate, Field, Floats, ScoreAnswer, ScoreRequest, Stage, Tokens
from rescorer_sidecar.errors import InvalidRequest, UnknownModel
from rescorer_sidecar.lengths import pair_tokens
from rescorer_sidecar.models import Model
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import POISON_WORD, FakeClock, fake_model, vocabulary
from unit.sidecar.door import Serve, Served, refusal
from unit.sidecar.door import asking as wire_asking

OpenService = Callable[..., Service]
POISON = vocabulary()[POISON_WORD]
TEXTS = ["cat", "cat cat", "cat cat cat", "hotel", "hotel hotel", "late", "train", "late late late late"]


class Timed:
    """A model whose logit is ``slope`` times a pair's length, and whose forwards take time on a clock set by hand."""

    def __init__(self, clock: FakeClock, slope: float, ms_per_token: float = 0.0, *, fails_on: int = -1) -> None:
        self.facts = Facts(name="fake", device="cpu", precision="fp32", dimension=0, rows_per_forward=1)
        self.rows: list[Tokens] = []
        self._clock = clock
        self._slope, self._ms_per_token, self._fails_on = slope, ms_per_token, fails_on

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """float32[rows]."""
        self.rows.extend(batch)
        self._clock.advance(sum(map(len, batch)) * self._ms_per_token / 1000)
        if any(self._fails_on in row.ids for row in batch):
            raise RuntimeError("a row that this model can't take")
        return np.array([self._slope * len(row) + row.ids[-2] / 100 for row in batch], dtype=np.float32)

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture
def small(clock: FakeClock) -> Timed:
    """Longer is better, at 1 ms a token."""
    return Timed(clock, 10.0, 1.0)


@pytest.fixture
def large(clock: FakeClock) -> Timed:
    """Shorter is better, at 10 ms a token."""
    return Timed(clock, -1.0, 10.0)


@pytest.fixture
def service(open_service: OpenService, tokeniser_folder: Path, small: Timed, large: Timed) -> Service:
    """Both behind one service, the small one first."""
    return open_service(*(model(tokeniser_folder, name, runs) for name, runs in (("small", small), ("large", large))))


def model(folder: Path, name: str, runs: Timed) -> Model:
    """A served model over ``runs``."""
    return fake_model(folder, name=name, digest=name, backend=runs)


def asking(*stages: Stage, texts: Sequence[str] = TEXTS, **more: object) -> ScoreRequest:
    """A cascade over texts, small before large unless said otherwise."""
    candidates = tuple(Candidate(id=f"c{place}", text=text) for place, text in enumerate(texts))
    return ScoreRequest(query="cat", candidates=candidates, cascade=stages, **more)


def order(answer: ScoreAnswer) -> list[int]:
    """Places, highest logit first, equal ones by place: as a client ranks them."""
    return [entry.index for entry in sorted(answer.results, key=lambda entry: (-entry.pair.logit, entry.index))]


SMALL_ORDER = [7, 2, 1, 4, 0, 6, 5, 3]
"""What the small model alone thinks of TEXTS."""

BOTH = (Stage(model="small", keep=3), Stage(model="large"))


async def test_the_small_model_scores_all_and_the_large_one_its_best(
    service: Service, small: Timed, large: Timed
) -> None:
    """Survivors stand on top in the large model's order, the rest below in the small one's; each says its stage."""
    assert order(await service.score(ScoreRequest(query="cat", candidates=asking().candidates))) == SMALL_ORDER
    answer = await service.score(asking(*BOTH))
    assert (len(small.rows), len(large.rows)) == (8, 3)
    assert order(answer)[:3] == [1, 2, 7]
    assert order(answer)[3:] == SMALL_ORDER[3:]
    assert [entry.stage for entry in answer.results] == [1, 2, 2, 1, 1, 1, 1, 2]
    assert (answer.is_complete, answer.model.name) == (True, "large")
    assert [(stage.model.name, stage.candidates, stage.scored) for stage in answer.stages] == [
        ("small", 8, 8),
        ("large", 3, 3),
    ]
    assert [round(stage.ms) for stage in answer.stages] == [0, 210]  # the first stage was known


async def test_survivors_have_the_large_models_own_logits(service: Service) -> None:
    """What the last stage scored is what it alone would have said."""
    alone = await service.score(ScoreRequest(query="cat", candidates=asking().candidates, model="large"))
    answer = await service.score(asking(*BOTH))
    for place in (1, 2, 7):
        assert answer.results[place].pair == alone.results[place].pair


async def test_the_time_left_decides_how_many_survive(service: Service, clock: FakeClock, large: Timed) -> None:
    """The large model has learnt 10 ms a token; of 3 survivors of 6 to 8 tokens 1 fits, which is partial and told."""
    await service.score(ScoreRequest(query="late", candidates=asking().candidates, model="large"))
    large.rows.clear()
    answer = await service.score(asking(*BOTH, deadline_s=clock.now_s() + 0.22))
    assert [(stage.candidates, stage.scored) for stage in answer.stages] == [(8, 8), (1, 1)]
    assert len(large.rows) == 1
    assert order(answer) == SMALL_ORDER
    assert not answer.is_complete


async def test_time_that_runs_out_inside_a_stage_leaves_the_rest_as_it_was(service: Service, clock: FakeClock) -> None:
    """Nobody knows yet what the large model costs, so all three survive; the third is late and keeps its old place.

    By hand: the small model takes 47 ms, then survivors 7 and 2 take 80 and 70 ms; at 197 ms it is too late for 1.
    """
    answer = await service.score(asking(*BOTH, deadline_s=clock.now_s() + 0.19))
    assert [(stage.candidates, stage.scored) for stage in answer.stages] == [(8, 8), (3, 2)]
    assert order(answer) == [2, 7, 1, *SMALL_ORDER[3:]]
    assert [entry.stage for entry in answer.results] == [1, 1, 2, 1, 1, 1, 1, 2]
    assert (answer.is_complete, answer.model.name) == (False, "large")


async def test_a_first_stage_that_takes_all_the_time_leaves_none_for_the_next(
    service: Service, clock: FakeClock, large: Timed
) -> None:
    """The small model alone: what it has scored, in its order; the large one is told with nothing, and not run."""
    answer = await service.score(asking(*BOTH, deadline_s=clock.now_s() + 0.03))
    assert 0 < answer.stages[0].scored < 8
    assert len(answer.results) == answer.stages[0].scored
    assert (answer.stages[1].candidates, large.rows, answer.is_complete) == (0, [], False)


async def test_as_many_as_time_allows_is_a_whole_answer(service: Service, clock: FakeClock) -> None:
    """Without ``keep`` the time decides alone, and what it decides is what was asked for."""
    await service.score(ScoreRequest(query="late", candidates=asking().candidates, model="large"))
    wish = (Stage(model="small"), Stage(model="large"))
    answer = await service.score(asking(*wish, deadline_s=clock.now_s() + 0.35))
    assert 0 < answer.stages[1].candidates < 8
    assert answer.is_complete
    none = await service.score(asking(*wish, deadline_s=clock.now_s() + 0.06, texts=["hotel"]))
    assert (none.stages[1].candidates, none.is_complete, none.model.name) == (0, False, "small")


async def test_a_stage_that_fails_leaves_the_order_before_it(
    open_service: OpenService, tokeniser_folder: Path, clock: FakeClock, small: Timed
) -> None:
    """The small model's scores stand, and the answer is partial."""
    broken = Timed(clock, 1.0, fails_on=vocabulary()["cat"])
    both = [model(tokeniser_folder, "small", small), model(tokeniser_folder, "large", broken)]
    answer = await open_service(*both).score(asking(*BOTH))
    assert order(answer) == SMALL_ORDER
    assert [(stage.candidates, stage.scored) for stage in answer.stages] == [(8, 8), (3, 0)]
    assert (answer.is_complete, answer.model.name) == (False, "small")


async def test_a_survivor_that_the_large_model_fails_on_leads_the_rest(
    open_service: OpenService, tokeniser_folder: Path, clock: FakeClock, small: Timed
) -> None:
    """It has the small model's score alone, so it stands behind the survivors and before all others."""
    picky = Timed(clock, -1.0, fails_on=POISON)
    both = [model(tokeniser_folder, "small", small), model(tokeniser_folder, "large", picky)]
    answer = await open_service(*both).score(asking(*BOTH, texts=["cat", f"cat cat {POISON_WORD}", "cat cat", "hotel"]))
    assert order(answer) == [0, 2, 1, 3]
    assert [entry.stage for entry in answer.results] == [2, 1, 2, 1]
    assert not answer.is_complete


async def test_nothing_to_score_is_a_whole_answer(service: Service) -> None:
    """No candidates: no survivors, no work, no error."""
    answer = await service.score(asking(*BOTH, texts=[]))
    assert (answer.results, answer.is_complete) == ((), True)
    assert [stage.candidates for stage in answer.stages] == [0, 0]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (asking(Stage(model="small")), "cascade"),
        (asking(*[Stage(model=f"m{number}") for number in range(5)]), "cascade"),
        (asking(Stage(model="small"), Stage(model="large", keep=3)), "cascade[1].keep"),
        (asking(*BOTH, model="small"), "model"),
        (asking(Stage(model="small"), Stage(model="")), "cascade"),
        (asking(model="auto"), "models"),
    ],
)
async def test_a_wrong_wish_names_its_field(service: Service, request_: ScoreRequest, field: str) -> None:
    """Too few stages, too many, a last one that keeps, a model twice (also by default), auto without models."""
    with pytest.raises(InvalidRequest) as refused:
        await service.score(request_)
    assert [place for place, _ in refused.value.violations] == [field]


async def test_an_unknown_model_is_refused_before_anything_is_scored(service: Service, small: Timed) -> None:
    """The second stage's name is looked at first."""
    with pytest.raises(UnknownModel, match="'huge' is not served here; served: small, large"):
        await service.score(asking(Stage(model="small"), Stage(model="huge")))
    assert small.rows == []


async def test_auto_takes_the_best_that_fits(service: Service, clock: FakeClock) -> None:
    """From what both have learnt: with much time the large model, with less the small one, with little a part of it."""
    plain = asking()
    for name in ("small", "large"):
        await service.score(ScoreRequest(query="late", candidates=plain.candidates, model=name))

    async def chosen(left_s: float, query: str) -> ScoreAnswer:
        wish = ScoreRequest(
            query=query,
            candidates=plain.candidates,
            model="auto",
            models=("large", "small"),
            deadline_s=clock.now_s() + left_s,
        )
        return await service.score(wish)

    answers = [await chosen(left_s, query) for left_s, query in ((5.0, "train"), (0.4, "hotel"), (0.05, "refund"))]
    told = [answer.choice for answer in answers]
    assert [choice.model for choice in told if choice] == ["large", "small", "small"]
    assert [answer.model.name for answer in answers] == ["large", "small", "small"]
    assert [answer.is_complete for answer in answers] == [True, True, False]
    assert told[2] is not None
    assert 0 < told[2].window == len(answers[2].results) < len(TEXTS)
    assert told[2].reason.startswith("large needs ")
    assert "(learnt from its forwards); so small scores " in told[2].reason


async def test_measured_costs_are_believed_before_learnt_ones(
    open_service: OpenService, tokeniser_folder: Path, clock: FakeClock, small: Timed, large: Timed
) -> None:
    """What is stored beside the model decides, although forwards have told another pace meanwhile; deterministic."""
    stored = [measured("large", 1000.0), measured("small", 100.0)]
    both = [
        fake_model(tokeniser_folder, name=name, digest=name, backend=runs, costs=costs)
        for name, runs, costs in (("large", large, stored[0]), ("small", small, stored[1]))
    ]
    service = open_service(*both)
    await service.score(ScoreRequest(query="late", candidates=asking().candidates, model="large"))
    wish = asking(model="auto", models=("large", "small"))
    answer = await service.score(replace(wish, deadline_s=clock.now_s() + 0.1))
    assert answer.choice is not None
    assert (answer.choice.model, answer.choice.window) == ("large", 8)
    assert answer.choice.reason == "the best: it needs 69 of 72 ms (measured)"


def measured(name: str, us_per_token: float) -> Costs:
    """A measurement of 10 ms a request and so much a token."""
    return Costs(
        digest=name,
        machine="m",
        backend="fake",
        device="cpu",
        precision="fp32",
        fixed_ms=10.0,
        us_per_token=us_per_token,
        load_ms=0.0,
    )


async def test_auto_without_any_known_cost_says_what_to_run(service: Service, clock: FakeClock) -> None:
    """Nothing is measured and nothing learnt: the last of the list, the whole window."""
    wish = asking(model="auto", models=("large", "small"), deadline_s=clock.now_s() + 5)
    answer = await service.score(wish)
    assert answer.choice is not None
    assert (answer.choice.model, answer.choice.window, answer.is_complete) == ("small", 8, True)
    assert "run rescorer models bench" in answer.choice.reason


async def test_cascades_share_scores_with_plain_requests(service: Service, small: Timed, large: Timed) -> None:
    """What each stage has scored is known to the next request, whatever its kind."""
    await asyncio.gather(service.score(asking(*BOTH)), service.score(asking(*BOTH)))
    again = await service.score(asking(*BOTH))
    assert (len(small.rows), len(large.rows)) == (8, 3)
    assert all(entry.cached for entry in again.results)


@given(st.text(), st.lists(st.text()))
def test_lengths_are_told_for_every_text(query: str, texts: list[str]) -> None:
    """One length a text, whatever it holds, special tokens included."""
    found = pair_tokens(query, texts)
    assert len(found) == len(texts)
    assert all(length >= 4 for length in found)


def test_a_lone_surrogate_has_a_length() -> None:
    """What is no character is no error either."""
    assert pair_tokens("\ud800", ["\udfff"]) == [6]


def test_a_field_counts_with_its_label_and_up_to_its_own_bound() -> None:
    """By hand: 4 special tokens, 1 of the query, labels of 2 and 0, texts of 3 and of 100 cut at 7."""
    fields = (Field(label="Title: ", text="x" * 12), Field(text="y" * 400, max_tokens=7))
    assert pair_tokens("q", [fields]) == [4 + 1 + 2 + 3 + 7]


async def test_the_door_tells_stages_and_choice(serve: Serve, tokeniser_folder: Path, clock: FakeClock) -> None:
    """Over the wire: what each stage was given, each candidate's stage, what auto took and why."""
    small, large = Timed(clock, 10.0), Timed(clock, -1.0)
    served = await serve(model(tokeniser_folder, "small", small), model(tokeniser_folder, "large", large))
    cascade = [wire.Stage(model="small", keep=3), wire.Stage(model="large")]
    answer = await served.calls.Score(wire_asking(*TEXTS, cascade=cascade), timeout=20)
    assert [(stage.model.name, stage.candidates, stage.scored) for stage in answer.stages] == [
        ("small", 8, 8),
        ("large", 3, 3),
    ]
    assert [entry.stage for entry in answer.results] == [1, 2, 2, 1, 1, 1, 1, 2]
    assert (answer.status, answer.model.name) == (wire.SCORE_STATUS_COMPLETE, "large")
    assert not answer.HasField("choice")
    wish = wire_asking(*TEXTS, model="auto", models=["large", "small"])
    answer = await served.calls.Score(wish)
    assert (answer.choice.model, answer.choice.window) == ("large", 8)
    assert answer.choice.reason == "the best: no deadline bounds the time"
    many = await served.calls.ScoreMany(wire.ScoreManyRequest(requests=[wish, wire_asking("cat", cascade=cascade)]))
    assert [outcome.scores.model.name for outcome in many.answers] == ["large", "large"]


async def test_a_wrong_cascade_is_refused_with_its_field(served: Served) -> None:
    """INVALID_ARGUMENT names the field as every other."""
    code, said, _ = await refusal(served.calls.Score(wire_asking("cat", cascade=[wire.Stage(model="fake")])))
    assert (code, said) == (grpc.StatusCode.INVALID_ARGUMENT, "cascade: holds 1 and must hold 2 to 4 stages")
