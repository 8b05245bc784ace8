"""One search on its way: what is done with it, step by step, whether it comes alone or among others.

## Decisions
2026-11: a page wholly past the window is fetched as it is, with first-stage scores: scoring a window of which nothing
is shown would cost a full rescoring for numbers alone.
2026-11: an index may allow fewer hits than the window (``index.max_result_window``), or keep no ``_source`` for the
texts that the caller hides. The engine refuses then what it would have answered without us, so the caller's own search
is sent after all, and the outcome says why. Lists that the client fuses are read as deep as the index allows, on every
page, so that pages are cut from one list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rescorer import (
    audit,
    config,
    facts,
    filter_path,
    first_stage,
    fuse,
    gate,
    hits,
    pages,
    plan,
    refusals,
    retriever,
    select,
    trees,
)
from rescorer.budget import Watch
from rescorer.context import Context
from rescorer.domain import Audit, Call, Flow, Outcome, Score, ScoreLater, ScoreRequest, Scores, Search, SearchMany
from rescorer.errors import Reason, ScorerError
from rescorer.fuse import Ranked
from rescorer.plan import Plan, Skip
from rescorer.profiles import Found
from rescorer.refusals import Refusal
from rescorer.request import Asked
from rescorer.retriever import Node, Rescored


@dataclass(frozen=True, slots=True)
class Left:
    """A search that is left alone: sent as it is, and answered with what the engine says and why; None says nothing."""

    call: Call
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Rescoring:
    """The steps of one search, from the plan on; holds what each of them needs."""

    context: Context
    watch: Watch
    found: Found
    asked: Asked

    def run(self) -> Flow[Any]:
        """The whole search."""
        planned = self.planned()
        if isinstance(planned, Left):
            if self.asked.tree is not None and planned.outcome is not None:
                return (yield from self._lists_alone(self.asked.tree, planned.outcome))
            return (yield from self.left_alone(planned))
        try:
            response = yield Search(planned.call) if planned.branches is None else SearchMany(planned.branches.call)
            refusal = self.refusal(planned, response)
        except Exception as error:
            refusal = self.of_ours(planned, refusals.of_error(error))
            if refusal is None:
                raise
        if refusal is not None:
            return (yield from self.left_alone(self.as_written(refusal)))
        self.watch.lap("first_stage_ms", of_rescoring=False)
        if planned.branches is not None:
            return (yield from self._of_branches(planned, planned.branches.tree, response))
        return (yield from self._finished(planned, response))

    def planned(self) -> Plan | Left:
        """What to do, before anything is sent; raises InvalidProfile under ``on_failure: "error"``."""
        asked, said = self.asked, self.asked.said or {}
        if self.found.error is not None and said.get("enabled") is not False:
            if said.get("on_failure") == "error":
                raise self.found.error
            outcome = Outcome(status="fallback", reason=Reason.INVALID_PROFILE, detail=str(self.found.error))
            return Left(asked.call, outcome)
        if self.found.differ and "document_fields" not in said:
            return Left(asked.call, Outcome(status="skipped", reason=Reason.PROFILES_DIFFER))
        settings = config.merged(self.found.profile.rescore, said)
        made = plan.made(asked, settings, self.context.engine, self.context.lot())
        if isinstance(made, Skip):
            outcome = Outcome(status="skipped", reason=made.reason, detail=made.detail, window=settings.window_size)
            return Left(made.call, None if made.reason is None else outcome)
        return made

    def left_alone(self, left: Left) -> Flow[Any]:
        """Send the search as it is; answer with what the engine says, and why nothing was rescored."""
        response = yield Search(left.call)
        self.watch.lap("first_stage_ms", of_rescoring=False)
        return response if left.outcome is None else self.told(response, left.outcome)

    def refusal(self, planned: Plan, response: Any) -> Refusal | None:
        """What the engine refuses in this answer, or on some of its shards, for the sake of what was added."""
        return self.of_ours(planned, refusals.of_answer(response))

    def of_ours(self, planned: Plan, refusal: Refusal | None) -> Refusal | None:
        """The refusal, unless the caller's own search must meet with it as well."""
        is_his = not planned.added_fields and not planned.added_source
        return None if refusal is not None and refusal.reason is Reason.SOURCE_DISABLED and is_his else refusal

    def as_written(self, refusal: Refusal) -> Left:
        """The search as the caller wrote it, where the engine refuses what was made of it, and why."""
        return Left(self.asked.call, _fallen_back(refusal))

    def wish(self, planned: Plan, response: Any) -> ScoreRequest | Outcome | None:
        """What to score in this answer, or why there is nothing; None where it is no answer with hits."""
        if not hits.has_hits(response):
            return None
        listed = hits.listed(response)
        reason = self._nothing_to_do(planned, listed)
        if reason is not None:
            return Outcome(status="skipped", reason=reason)
        best = [hit.get("_score") for hit in listed[:2]]
        closed = planned.closed
        if closed is None and len(best) > 1:
            closed = gate.of_scores(planned.settings.gate, *best)
        if closed is not None:
            told = "; scored afterwards, for the audit" if planned.is_audited else ""
            return Outcome(status="skipped", reason=closed.reason, detail=f"{closed.detail}{told}")
        return hits.score_request(listed, planned, planned.settings, planned.query)

    def audited(self, planned: Plan, response: Any, outcome: Outcome) -> Flow[None]:
        """Begin to score a search that a gate left alone, where it is of the audit sample; nobody waits for it."""
        if not planned.is_audited or outcome.reason not in gate.REASONS or not self.context.has_scorer:
            return
        listed, settings, reason = hits.within(response), planned.settings, outcome.reason
        wish = hits.score_request(listed, planned, settings, planned.query)
        note = self.context.audited

        def finish(found: Scores | ScorerError) -> None:
            try:
                if isinstance(found, ScorerError):
                    raise found
                window = hits.window_of(found, wish, settings)
                order = fuse.ranked([hit.get("_score") for hit in listed], window, settings)
                note(audit.compared(reason, order, min(planned.page.end, settings.window_size)))
            except ScorerError as error:
                note(Audit(reason=reason, failed=str(error.reason)))

        if not (yield ScoreLater(wish, settings.budget_ms / 1000, finish)):
            note(Audit(reason=reason, failed="too_many"))

    def scored(self, planned: Plan, response: Mapping[str, Any], wish: ScoreRequest, scores: Scores) -> Any:
        """The answer with the scores that were wished for; a visible fallback where they are none."""
        try:
            return self._with_scores(planned, response, wish, scores)
        except ScorerError as error:
            return self.failed(planned, response, error)

    def failed(self, planned: Plan, response: Any, error: ScorerError) -> Any:
        """The answer without scores, which says why; raises the error under ``on_failure: "error"``."""
        if planned.settings.on_failure == "error":
            raise error
        return self.first_stage(planned, response, self.fallback(error))

    def fallback(self, error: ScorerError) -> Outcome:
        """The outcome of a search whose scores can't be had."""
        reason = error.reason if self.context.has_scorer else Reason.NO_SCORER
        return Outcome(status="fallback", reason=reason, detail=str(error))

    def first_stage(self, planned: Plan, response: Any, outcome: Outcome) -> Any:
        """The caller's page in first-stage order, with the outcome."""
        listed = hits.within(response)
        page = [hits.restored(hit, planned) for hit in planned.page.cut(listed)]
        in_window = min(len(listed), planned.settings.window_size)
        outcome = replace(outcome, window=planned.settings.window_size, totals=_totals(response, in_window))
        return self.told(hits.answer(response, page), outcome, planned)

    def told(self, response: Any, outcome: Outcome, planned: Plan | None = None) -> Any:
        """The answer with its outcome and times, and what the caller's ``filter_path`` leaves of it."""
        total_ms = self.watch.total_ms()
        timings = {"first_stage_ms": 0.0, "scoring_ms": 0.0, **self.watch.timings, **outcome.timings}
        took_ms = total_ms - timings["first_stage_ms"]
        outcome = replace(outcome, took_ms=took_ms, timings={**timings, "total_ms": total_ms})
        self.context.note(outcome)
        found = hits.told(response, outcome)
        wanted = self.asked.option("filter_path") if planned is None else planned.filter_path
        if wanted is None or not isinstance(found, Mapping):
            return found
        if planned is not None:
            return filter_path.filtered(found, wanted, self.context.engine)
        own = filter_path.filtered({filter_path.OUTCOME: found[filter_path.OUTCOME]}, wanted, self.context.engine)
        return {**response, **own}  # the rest of which the engine has filtered

    def _finished(self, planned: Plan, response: Any) -> Flow[Any]:
        wish = self.wish(planned, response)
        if wish is None:
            return response
        if isinstance(wish, Outcome):
            yield from self.audited(planned, response, wish)
            return self.first_stage(planned, response, wish)
        try:
            scores: Scores = yield Score(wish, self.watch.left_s(planned.settings.budget_ms))
        except ScorerError as error:
            return self.failed(planned, response, error)
        self.watch.lap("scoring_ms", of_rescoring=True)
        return self.scored(planned, response, wish, scores)

    def _of_branches(self, planned: Plan, tree: Node, raw: Any) -> Flow[Any]:
        """The lists of an ``msearch``, fused, then finished like any first stage."""
        refusal = self.of_ours(planned, refusals.of_many(raw))
        if refusal is not None:
            return (yield from self._lists_alone(tree, _fallen_back(refusal), refusal.most))
        lists = self._lists(raw, tree)
        if lists is None:
            return raw
        run = trees.TreeRun(self.watch, self.found.profile.rescore, self.fallback, planned, iter(lists))
        listed = yield from run.ranked(tree.inner if isinstance(tree, Rescored) else tree)
        response = hits.fused_answer(raw, self.asked.body, listed)
        if isinstance(tree, Rescored):
            return (yield from self._finished(planned, response))
        return self.first_stage(planned, response, run.outcome())

    def _lists_alone(self, tree: Node, outcome: Outcome, most: int | None = None) -> Flow[Any]:
        """The fused lists of a search that is not rescored, whatever the reason; ``most`` hits of each at most."""
        bare, page = retriever.first_stage_of(tree, most), plan.page_of(self.asked)
        raw = yield SearchMany(first_stage.branches(self.asked, bare, (), 0).call)
        self.watch.lap("first_stage_ms", of_rescoring=False)
        refusal = refusals.of_many(raw)
        if refusal is not None and refusal.most is not None and (most is None or refusal.most < most):
            return (yield from self._lists_alone(tree, _fallen_back(refusal), refusal.most))
        lists = self._lists(raw, bare)
        if lists is None:
            return raw
        run = trees.TreeRun(self.watch, {}, self.fallback, None, iter(lists))
        response = hits.fused_answer(raw, self.asked.body, (yield from run.ranked(bare)))
        cut = hits.within(response) if page is None else page.cut(hits.within(response))
        return self.told(hits.answer(response, cut), outcome)

    def _lists(self, raw: Any, tree: Node) -> list[list[hits.Hit]] | None:
        """The list of each leaf; None where the engine's answer holds none, and goes to the caller as it is."""
        responses = hits.lists(raw, 1 + len(list(retriever.leaves(tree))))
        for entry in responses or ():
            if "error" in entry:
                raise self.context.refused(entry)
        if responses is None or not all(map(hits.has_hits, responses)):
            return None
        return [hits.listed(entry) for entry in responses[:-1]]

    def _nothing_to_do(self, planned: Plan, listed: list[hits.Hit]) -> Reason | None:
        if not listed:
            return Reason.NO_HITS
        if not planned.page.cut(listed):
            return Reason.PAGE_BEYOND_RESULTS
        settings = planned.settings
        if settings.min_score is None and not pages.touches(planned.page, settings.window_size):
            return Reason.PAGE_BEYOND_WINDOW
        is_own = "document_fields" in (self.asked.said or {})
        return None if is_own or self.found.covers(listed[: settings.window_size]) else Reason.PROFILES_DIFFER

    def _with_scores(self, planned: Plan, response: Mapping[str, Any], wish: ScoreRequest, scores: Scores) -> Any:
        settings, listed = planned.settings, hits.within(response)
        window = hits.window_of(scores, wish, settings)
        selecting = self._selecting(planned, listed, wish)
        everything = fuse.ranked([hit.get("_score") for hit in listed], window, settings, selecting)
        order = fuse.passing(everything, window, settings)
        page = planned.page.cut(order)
        shown = [hits.rescored(listed, ranked, planned, hits.model_of(ranked, scores)) for ranked in page]
        totals = _totals(response, len(window))
        if settings.min_score is not None:
            totals["left_out"] = len(everything) - len(order)
        outcome = replace(
            hits.outcome(scores, window, settings),
            selected=None if settings.select is None else select.counted(everything),
            totals=totals,
            hits=[hits.summary(listed[ranked.place], ranked) for ranked in page],
        )
        top = order[0].final if order else None
        return self.told(hits.ranked_answer(response, shown, top), outcome, planned)

    def _selecting(
        self, planned: Plan, listed: list[hits.Hit], wish: ScoreRequest
    ) -> Callable[[list[Ranked]], list[Ranked]]:
        """What orders the scored hits by more than relevance; the order itself where nobody asks for that."""
        wished = planned.settings.select
        if wished is None:
            return list

        def selecting(block: list[Ranked]) -> list[Ranked]:
            now_s, whole = self.context.now(), planned.source_is_whole
            places = [ranked.place for ranked in block]
            known = [facts.of_hit(listed[place], wish.candidates[place], wished, whole, now_s) for place in places]
            found = select.ordered(block, known, wished)
            self.watch.lap("select_ms", of_rescoring=True)
            return found

        return selecting


def _fallen_back(refusal: Refusal) -> Outcome:
    return Outcome(status="fallback", reason=refusal.reason, detail=refusal.detail)


def _totals(response: Mapping[str, Any], in_window: int) -> dict[str, Any]:
    return {"first_stage": response["hits"].get("total"), "window": in_window}
