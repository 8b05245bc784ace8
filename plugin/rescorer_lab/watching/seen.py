"""What live searches became: read from logs of :class:`rescorer.outcome_log.OutcomeLog`, or from Prometheus metrics."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rescorer.errors import MissingExtra
from rescorer_lab.errors import LabError
from rescorer_lab.inputs.lines import lines

SEARCHES = "rescorer_client_searches_total"
AUDITS = "rescorer_client_audits_total"
NDCG = ("rescorer_client_audit_ndcg_sum", "rescorer_client_audit_ndcg_count")


@dataclass(slots=True)
class Losses:
    """What a gate cost the searches that were audited: 1 - nDCG of the page that was shown, summed up."""

    count: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """Of a search; 0 where none was audited."""
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class Seen:
    """Searches of a time. Metrics know statuses and losses alone.

    statuses: (status, reason) → searches. scores: model → cross-encoder scores of pages; best: of their best hits.
    losses: gate's reason → what it cost. failed: audits that could not be made. unread: lines that are none of ours.
    """

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    best: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    took_ms: list[float] = field(default_factory=list)
    scored: int = 0
    truncated: int = 0
    losses: dict[str, Losses] = field(default_factory=lambda: defaultdict(Losses))
    failed: int = 0
    unread: int = 0

    @property
    def searches(self) -> int:
        """All of them."""
        return self.statuses.total()

    def of(self, status: str) -> int:
        """Searches of this status."""
        return sum(count for (found, _), count in self.statuses.items() if found == status)

    def add(self, entry: dict[str, Any]) -> None:
        """Count one line of a log; KeyError, TypeError or ValueError where it is none."""
        if "audit" in entry:
            self._audit(entry["audit"])
            return
        scores = list(map(_finite, entry["scores"]))
        took_ms, scored, truncated = (_finite(entry[name]) for name in ("took_ms", "scored", "truncated"))
        self.statuses[str(entry["status"]), str(entry["reason"] or "")] += 1
        self.took_ms.append(took_ms)
        self.scored += int(scored)
        self.truncated += int(truncated)
        if scores:
            model = f"{entry['model']} {entry['digest']} ({entry['scale']})"
            self.scores[model].extend(scores)
            self.best[model].append(max(scores))

    def count(self, name: str, said: Mapping[str, str], grown: float) -> None:
        """Count what a metric has grown by; KeyError, ValueError or OverflowError where it is none of ours."""
        if name == SEARCHES:
            self.statuses[said["status"], said["reason"]] += round(grown)
        elif name == AUDITS and said["failed"]:
            self.failed += round(grown)
        elif name == NDCG[0]:
            self.losses[said["reason"]].total -= grown
        elif name == NDCG[1]:
            self.losses[said["reason"]].count += round(grown)
            self.losses[said["reason"]].total += grown

    def _audit(self, audit: dict[str, Any]) -> None:
        if audit["failed"] is not None:
            self.failed += 1
            return
        loss = 1 - _finite(audit["ndcg"])
        losses = self.losses[str(audit["reason"])]
        losses.count += 1
        losses.total += loss


def _finite(said: Any) -> float:
    found = float(said)
    if not math.isfinite(found):
        raise ValueError("is no number")
    return found


def read(paths: Iterable[Path], since: datetime, until: datetime) -> tuple[Seen, Seen]:
    """What logs hold from ``since`` to ``until``, and what they hold before. Lines that are none of ours are counted.

    LabError where a file can't be read, or holds no line of ours.
    """
    now, before = Seen(), Seen()
    for path in paths:
        found = 0
        for at, entry in _entries(path):
            try:
                if at is None:
                    raise ValueError("is no line of ours")
                if at <= until:
                    (now if at >= since else before).add(entry)
                found += 1
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                now.unread += 1
        if not found:
            raise LabError(f"{path} holds no outcome", "name a file that rescorer.outcome_log.OutcomeLog writes")
    return now, before


def of_metrics(text: str, earlier: str = "") -> Seen:
    """What a client's metrics tell, less what they told ``earlier``; a process that began anew since then counts whole.

    MissingExtra without prometheus-client, LabError where the text is no metrics of a client of ours.
    """
    now, past = _samples(text), _samples(earlier)
    seen = Seen()
    for (name, labels), value in now.items():
        known = past.get((name, labels), 0.0)
        try:
            seen.count(name, dict(labels), value - known if value >= known else value)
        except (KeyError, ValueError, OverflowError) as error:
            raise LabError(f"the metrics hold a {name} that is none of ours", "name a client of ours") from error
    if not any(name == SEARCHES for name, _ in now):
        raise LabError(f"the metrics hold no {SEARCHES}", "give an application rescorer_telemetry=Prometheus()")
    return seen


def _entries(path: Path) -> Iterator[tuple[datetime | None, dict[str, Any]]]:
    """Time and value of each line; None for a time that can't be read. A log is written while it is read."""
    for _, line in lines(path):
        try:
            entry = json.loads(line)
            at = datetime.fromisoformat(entry["at"])
            yield (at if at.tzinfo else None), entry
        except (ValueError, KeyError, TypeError, RecursionError):
            yield None, {}


def _samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError as error:
        raise MissingExtra("prometheus-client", "prometheus") from error
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise LabError(f"these are no metrics: {error}", "name what an application serves for Prometheus") from error
    wanted = {SEARCHES, AUDITS, *NDCG}
    samples = (sample for family in families for sample in family.samples if sample.name in wanted)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
