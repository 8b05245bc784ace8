"""Running a tree of retrievers over the ranked lists of its leaves: fusing them, scoring where a cross-encoder is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rescorer import config, fuse, hits, rank_fusion
from rescorer.budget import Watch
from rescorer.domain import Flow, Outcome, Score, Scores
from rescorer.errors import Reason, ScorerError
from rescorer.hits import Hit
from rescorer.plan import Plan
from rescorer.retriever import Leaf, Node, Rescored

_SEVERITY = ("reranked", "skipped", "partial", "fallback")


@dataclass(slots=True)
class TreeRun:
    """One run. profile: the index's own settings. lists: one per leaf, from left to right.

    planned: how the search is rescored; None for a tree without cross-encoders. outcomes: one per cross-encoder that
    ran inside the tree.
    """

    watch: Watch
    profile: Mapping[str, Any]
    fallback: Callable[[ScorerError], Outcome]
    planned: Plan | None
    lists: Iterator[list[Hit]]
    outcomes: list[Outcome] = field(default_factory=list)

    def ranked(self, node: Node) -> Flow[list[Hit]]:
        """The list that a node makes, its hits with the scores that it gives them."""
        if isinstance(node, Leaf):
            return next(self.lists)
        if isinstance(node, Rescored):
            inner = yield from self.ranked(node.inner)
            return (
                inner if self.planned is None or not inner else (yield from self._rescored(node, inner, self.planned))
            )
        parts = []
        for part in node.parts:
            listed = yield from self.ranked(part)
            parts.append(listed[: node.depth])
        fused, least = rank_fusion.fused(parts, node.how), node.min_score
        return fused if least is None else [hit for hit in fused if hit["_score"] >= least]

    def outcome(self) -> Outcome:
        """One outcome for all cross-encoders of the tree: the worst one's word, everybody's counts."""
        if not self.outcomes:
            return Outcome(status="skipped", reason=Reason.NO_HITS)
        worst = max(self.outcomes, key=lambda outcome: _SEVERITY.index(outcome.status))
        chunks = [outcome.chunks for outcome in self.outcomes if outcome.chunks is not None]
        return replace(
            worst,
            scored=sum(outcome.scored for outcome in self.outcomes),
            cached=sum(outcome.cached for outcome in self.outcomes),
            truncated=sum(outcome.truncated for outcome in self.outcomes),
            chunks=sum(chunks) if chunks else None,
        )

    def _rescored(self, node: Rescored, listed: list[Hit], planned: Plan) -> Flow[list[Hit]]:
        settings = config.merged(self.profile, node.said)
        wish = hits.score_request(listed, planned, settings, settings.query_text or planned.query)
        try:
            scores: Scores = yield Score(wish, self.watch.left_s(settings.budget_ms))
            self.watch.lap("scoring_ms", of_rescoring=True)
            window = hits.window_of(scores, wish, settings)
            order = fuse.ranked([hit.get("_score") for hit in listed], window, settings)
        except ScorerError as error:
            if settings.on_failure == "error":
                raise
            self.outcomes.append(self.fallback(error))
            return listed
        self.outcomes.append(hits.outcome(scores, window, settings))
        return [{**listed[ranked.place], "_score": ranked.final} for ranked in fuse.passing(order, window, settings)]
