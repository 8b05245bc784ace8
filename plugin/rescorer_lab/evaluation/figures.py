"""From answers to figures: per system and topic, what was measured, and why a bad topic is bad.

Answers are read one chunk at a time and forgotten; what stays are numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import fmean

from rescorer_lab.evaluation import measures
from rescorer_lab.evaluation.asking import Answer
from rescorer_lab.evaluation.measures import JUDGED, Qrels

CHUNK = 200
"""Answers that are held at a time."""

HALF = 0.5
GOOD, UNJUDGED, NEVER, PARTLY, ORDER = "good", "unjudged", "never retrieved", "partly retrieved", "badly ordered"
FAILURES = (NEVER, PARTLY, ORDER, UNJUDGED)
MEANINGS: Mapping[str, str] = {
    NEVER: "no relevant document is among the candidates: no reranker can help; look at the first stage",
    PARTLY: "the best order of these candidates reaches less than half: look at the first stage, or widen the window",
    ORDER: "the candidates would allow more than twice as much: look at the order",
    UNJUDGED: "no document is judged relevant: nothing can be said",
    GOOD: "at least half of what its candidates allow",
}
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Row:
    """One topic under one system: measure → value, recall and ceiling of the window, and what failed."""

    values: Mapping[str, float]
    recall: float
    ceiling: float
    kind: str


@dataclass(slots=True)
class Measured:
    """All that was measured of one system. ``ms``: part → one entry per search."""

    rows: dict[str, Row] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    ms: dict[str, list[float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, measure: str) -> dict[str, float]:
        """One measure's value per topic."""
        return {topic: row.values[measure] for topic, row in self.rows.items()}

    @property
    def means(self) -> dict[str, float]:
        """Measure → mean over all judged topics."""
        first = next(iter(self.rows.values()))
        return {name: fmean(row.values[name] for row in self.rows.values()) for name in first.values}

    @property
    def recall(self) -> float:
        """Mean recall of the window."""
        return fmean(row.recall for row in self.rows.values())

    @property
    def ceiling(self) -> float:
        """Mean of what the first measure would be under the best order of the window."""
        return fmean(row.ceiling for row in self.rows.values())

    @property
    def kinds(self) -> dict[str, int]:
        """How many topics are of which kind."""
        found = Counter(row.kind for row in self.rows.values())
        return {kind: found[kind] for kind in (GOOD, *FAILURES) if found[kind]}

    @property
    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Part → p50, p95, p99."""
        return {part: measures.percentiles(values, PERCENTILES) for part, values in self.ms.items()}


def measured(answers: Iterable[Answer], qrels: Qrels, names: Sequence[str], depth: int) -> dict[str, Measured]:
    """System → what was measured over the judged topics, by these measures, of which the first tells good from bad.

    depth: the window of a first stage. Answers for topics that nobody judged are left out.
    """
    found: dict[str, Measured] = {}
    judged = (answer for answer in answers if answer.topic in qrels)
    while chunk := tuple(islice(judged, CHUNK)):
        for answer, row in _rows(chunk, qrels, names, depth):
            _add(found.setdefault(answer.system, Measured()), answer, row)
    return found


def _rows(chunk: Sequence[Answer], qrels: Qrels, names: Sequence[str], depth: int) -> Iterator[tuple[Answer, Row]]:
    """All measures of a chunk at once; a topic stands in it once per system, so each answer gets a key of its own."""
    judged = {str(place): qrels[answer.topic] for place, answer in enumerate(chunk)}
    run = {str(place): answer.hits for place, answer in enumerate(chunk)}
    windows = {str(place): answer.hits[: answer.window or depth] for place, answer in enumerate(chunk)}
    values = measures.evaluate(judged, run, [*names, JUDGED]).per_query
    ceilings = measures.ceiling(judged, windows, names[0])
    for place, answer in enumerate(chunk):
        key = str(place)
        relevant = {document for document, grade in judged[key].items() if grade > 0}
        recall = len(relevant.intersection(windows[key])) / len(relevant) if relevant else 0.0
        of_topic = {name: of_measure[key] for name, of_measure in values.items()}
        kind = _kind(of_topic[names[0]], ceilings[key], is_judged=bool(relevant))
        yield answer, Row(of_topic, recall, ceilings[key], kind)


def _kind(value: float, ceiling: float, *, is_judged: bool) -> str:
    if not is_judged:
        return UNJUDGED
    if ceiling == 0:
        return NEVER
    if value < HALF * ceiling:
        return ORDER
    return PARTLY if ceiling < HALF else GOOD


def _add(found: Measured, answer: Answer, row: Row) -> None:
    found.rows[answer.topic] = row
    found.outcomes.update([answer.outcome] if answer.outcome else [])
    found.models.update([answer.model] if answer.model else [])
    found.counts.update(scored=answer.scored, cached=answer.cached, truncated=answer.truncated)
    for part, value in answer.ms.items():
        found.ms.setdefault(part, []).append(value)
