"""Requests that name several models: a cascade, run stage by stage, and ``auto``, which takes one model by budget.

Each stage is a plain request to one model, so that its scores are cached and shared like all others. What a stage costs
is planned for :data:`PLANNED_SHARE` of the time that is left, since a machine is not always as fast as it was measured.

## Decisions
2026-11: fewer survivors than ``keep`` asks for, because time is short, are a partial answer: with more time the order
would be another. Where ``keep`` is not said, as many as there is time for is what was asked, and the answer is whole.
2026-11: a later stage that fails as a whole, or finds no room, costs no request its scores: the stage before it stands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rescorer_sidecar.cascade import joined, survivors
from rescorer_sidecar.choice import Cost, Option, chosen
from rescorer_sidecar.domain import (
    ModelCard,
    ScoreAnswer,
    ScoredCandidate,
    ScoreRequest,
    Stage,
    StageResult,
    Timings,
)
from rescorer_sidecar.errors import BackendFailed, DeadlineExceeded, InvalidRequest, ModelDied, Overloaded
from rescorer_sidecar.lengths import pair_tokens

AUTO = "auto"
MOST_STAGES = 4
PLANNED_SHARE = 0.8
"""Part of the time left that is planned with."""

_PASSING = (Overloaded, DeadlineExceeded, BackendFailed, ModelDied)


@dataclass(frozen=True, slots=True)
class Way:
    """How a request reaches its models.

    score: answers a plain request, of one model. known: a served model by its name and what it costs, as far as that is
    known; raises UnknownModel. left_ms: milliseconds until the answer must be on its way; None where nothing bounds it.
    """

    score: Callable[[ScoreRequest], Awaitable[ScoreAnswer]]
    known: Callable[[str], tuple[ModelCard, Cost | None]]
    left_ms: Callable[[], float | None]
    now_s: Callable[[], float]

    def planned_ms(self) -> float | None:
        """What may be planned with of the time left."""
        left_ms = self.left_ms()
        return None if left_ms is None else PLANNED_SHARE * max(0.0, left_ms)


async def by_choice(request: ScoreRequest, way: Way) -> ScoreAnswer:
    """The answer of the best of ``request.models`` that fits the time; partial where the window was narrowed."""
    if not request.models:
        raise InvalidRequest(("models", f'is empty; name what model "{AUTO}" may take, best first'))
    options = []
    for name in request.models:
        card, cost = way.known(name)
        options.append(Option(model=card.name, limit=_most_tokens(request, card), cost=cost))
    lengths = pair_tokens(request.query, [candidate.text for candidate in request.candidates])
    taken = chosen(options, lengths, way.planned_ms())
    narrowed = replace(request, model=taken.model, models=(), candidates=request.candidates[: taken.window])
    answer = await way.score(narrowed)
    is_whole = taken.window == len(request.candidates)
    return replace(answer, choice=taken, is_complete=answer.is_complete and is_whole)


def _most_tokens(request: ScoreRequest, card: ModelCard) -> int:
    """What a model reads of a candidate at most, over all chunks of a long text."""
    limit = min(request.max_tokens or card.max_tokens, card.max_tokens)
    return limit if request.long_texts is None else limit * request.long_texts.most_chunks


async def in_turn(request: ScoreRequest, way: Way) -> ScoreAnswer:
    """One order of all that the first stage scored, and what became of each stage."""
    violations = list(_violations(request))
    if violations:
        raise InvalidRequest(*violations)
    models = [way.known(stage.model) for stage in request.cascade]
    if len({card.name for card, _ in models}) < len(models):
        raise InvalidRequest(("cascade", "names a model twice; each stage takes another one"))
    run = _Run(request, way)
    places = list(range(len(request.candidates)))
    for number, (card, _) in enumerate(models):
        if number:
            places = run.survive(request.cascade[number - 1], *models[number])
        if number and not places:
            run.skip(card)
            continue
        await run.score(card, places)
    return run.answer(models[0][0])


def _violations(request: ScoreRequest) -> Iterator[tuple[str, str]]:
    count = len(request.cascade)
    if request.model:
        yield ("model", "stands beside cascade; leave one of the two out")
    if not 1 < count <= MOST_STAGES:
        yield ("cascade", f"holds {count} and must hold 2 to {MOST_STAGES} stages")
    elif request.cascade[-1].keep:
        yield (f"cascade[{count - 1}].keep", "is of the last stage, which nothing follows; leave it out")


@dataclass(slots=True)
class _Run:
    """One cascade on its way; ``scored`` holds each stage's scores by place, as far as stages have run."""

    request: ScoreRequest
    way: Way
    scored: list[dict[int, ScoredCandidate]] = field(default_factory=list)
    stages: list[StageResult] = field(default_factory=list)
    answers: list[ScoreAnswer] = field(default_factory=list)
    is_complete: bool = True

    def survive(self, stage: Stage, card: ModelCard, cost: Cost | None) -> list[int]:
        """Who goes on to the model of ``card``: the best of the stage before, as many as asked and as time allows."""
        before = self.scored[-1]
        kept = survivors({place: entry.pair.logit for place, entry in before.items()}, stage.keep)
        planned_ms = self.way.planned_ms()
        if planned_ms == 0.0:
            self.is_complete = self.is_complete and not kept
            return []
        if planned_ms is None or cost is None:
            return kept
        most = _most_tokens(self.request, card)
        count = cost.affordable([min(before[place].pair.token_count, most) for place in kept], planned_ms)
        if count < len(kept) and (stage.keep or not count):
            self.is_complete = False
        return kept[:count]

    async def score(self, card: ModelCard, places: Sequence[int]) -> None:
        """Run a stage; one after the first that fails, or comes too late, is told and leaves the order as it is."""
        begun_s = self.way.now_s()
        candidates = tuple(self.request.candidates[place] for place in places)
        asked = replace(self.request, model=card.name, cascade=(), models=(), candidates=candidates)
        found: dict[int, ScoredCandidate] = {}
        try:
            answer = await self.way.score(asked)
        except _PASSING:
            if not self.scored:
                raise
            self.is_complete = False
        else:
            found = {places[entry.index]: entry for entry in answer.results}
            self.is_complete = self.is_complete and answer.is_complete
            self.answers.append(answer)
            card = answer.model  # another version, where the model was replaced since the cascade began
        self.scored.append(found)
        ms = 1000 * (self.way.now_s() - begun_s)
        self.stages.append(StageResult(model=card, candidates=len(places), scored=len(found), ms=ms))

    def skip(self, card: ModelCard) -> None:
        """Nobody is left for this stage, or no time."""
        self.scored.append({})
        self.stages.append(StageResult(model=card, candidates=0, scored=0, ms=0.0))

    def answer(self, first: ModelCard) -> ScoreAnswer:
        """All stages' scores as one order."""
        logits: dict[int, float] = {}
        last: dict[int, ScoredCandidate] = {}
        for number in range(len(self.scored), 0, -1):
            entries = self.scored[number - 1]
            logits = joined(logits, {place: entry.pair.logit for place, entry in entries.items()})
            last = {place: replace(entry, stage=number) for place, entry in entries.items()} | last
        results = [
            replace(last[place], index=place, pair=replace(last[place].pair, logit=logits[place]))
            for place in sorted(last)
        ]
        reached = [stage.model for stage in self.stages if stage.scored]
        return ScoreAnswer(
            model=reached[-1] if reached else first,
            results=tuple(results),
            is_complete=self.is_complete,
            timings=_together([answer.timings for answer in self.answers]),
            stages=tuple(self.stages),
        )


def _together(parts: Sequence[Timings]) -> Timings:
    """Stages run one after the other, so that their times add up."""
    return Timings(
        tokenise_ms=sum(part.tokenise_ms for part in parts),
        queue_ms=sum(part.queue_ms for part in parts),
        forward_ms=sum(part.forward_ms for part in parts),
        total_ms=sum(part.total_ms for part in parts),
    )
