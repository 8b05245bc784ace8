"""From logits and judgments to a curve, by scikit-learn, and how far the curve is to be believed.

Topics are parted in two halves by the SHA-256 of their ids. The curve is fitted to one half and measured on the other,
whose topics it has never seen; what is measured is what is handed out. Which form it has is chosen inside the first.

## Decisions
2026-11: a curve is called a probability only where the held-out half bears it out: the upper end of the calibration
error's interval is 0.05 at most, no well-filled bin is off by more than 0.15, it tells more than the share of relevant
pairs alone, and there are 100 of these. The interval is taken over topics, since pairs of one topic go together.
2026-11: rejected: refitting to both halves before handing out. It would be a little better, and nobody's figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rescorer import calibration
from rescorer.calibration import Calibration
from rescorer_lab.errors import LabError
from rescorer_lab.inputs.qrels import Qrels
from rescorer_lab.inputs.runs import Run

Floats = npt.NDArray[np.float64]
Method = Literal["best", "platt", "isotonic"]
BINS = 10
RESAMPLES = 1000
SEED = 0
LEAST_TOPICS = 10
"""Of a half."""

LEAST_OF_KIND = 10
"""Relevant pairs, and others, of a half."""

LEAST_RELEVANT = 100
"""Relevant pairs of the held-out half, for scores to be called probabilities."""

LEAST_OF_BIN = 20
MOST_ERROR = 0.05
MOST_OFF = 0.15
CUTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Judged pairs: which topic each is of (as a number), its logit, and whether it is relevant (1.0 or 0.0)."""

    topics: npt.NDArray[np.int64]
    logits: Floats
    relevant: Floats
    unjudged: int = 0

    def of_half(self, half: int) -> Pairs:
        """The pairs of every other topic, from the ``half``-th on; topics come in the order of their hashes."""
        mask = self.topics % 2 == half
        return Pairs(self.topics[mask] // 2, self.logits[mask], self.relevant[mask])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Pairs whose score lies between two tenths: its mean, and the share that is relevant (95 %: low … high)."""

    pairs: int
    said: float
    found: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How well scores hold. error: the expected calibration error, with its interval; off: that of the worst bin.

    brier: mean squared error. skill: what part of the error of a constant score it saves, and its lower end.
    """

    pairs: int
    brier: float
    skill: float
    skill_low: float
    error: float
    error_low: float
    error_high: float
    off: float
    bins: tuple[Bin | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What ``min_score`` leaves: pairs a topic, the share of them that is relevant, the share of all relevant ones."""

    min_score: float
    kept_a_topic: float
    precision: float | None
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A curve and what the held-out half says: with it, with a plain sigmoid, and where ``min_score`` would cut."""

    curve: Calibration
    calibrated: Figures
    sigmoid: Figures
    cuts: tuple[Cut, ...]
    fitted_pairs: int
    unjudged: int
    doubts: tuple[str, ...]


def pairs(run: Run, qrels: Qrels, relevant: int, depth: int, *, unjudged_count: bool) -> Pairs:
    """What the run scored and somebody judged; unjudged pairs are left out, or counted as not relevant.

    relevant: the least grade that counts. depth: documents of a topic that are read. LabError where nothing is judged,
    or where the scores can't be logits.
    """
    known = [topic for topic in run if topic in qrels]
    known.sort(key=lambda topic: hashlib.sha256(topic.encode()).digest())
    found, unjudged = [], 0
    for place, topic in enumerate(known):
        for document, logit in list(run[topic].items())[:depth]:
            grade = qrels[topic].get(document)
            unjudged += grade is None
            if grade is not None or unjudged_count:
                found.append((place, logit, float((grade or 0) >= relevant)))
    if not found:
        raise LabError("the run returns no judged document", "give qrels of the same collection, or a deeper run")
    topics, logits, labels = zip(*found, strict=True)
    read = Pairs(np.array(topics), np.array(logits), np.array(labels), unjudged)
    if read.logits.min() >= 0 and read.logits.max() <= 1:
        raise LabError(
            "the run's scores all lie in 0 … 1, and a curve is fitted to logits",
            'make the run with "score_mode": "replace", "activation": "none" and without a calibration',
        )
    return read


def fitted(judged: Pairs, method: Method, model: str) -> Fitted:
    """The curve of one half, measured on the other. Raises LabError where there is too little of anything."""
    ours, others = judged.of_half(0), judged.of_half(1)
    for half in (ours, others):
        _check(half)
    chosen = _better(ours) if method == "best" else method
    curve = _fit(ours, chosen, model)
    share = float(ours.relevant.mean())
    scores = _scores(curve, others.logits)
    found = figures(scores, others, share)
    doubts = _doubts(found, int(others.relevant.sum()))
    return Fitted(
        curve=_read({**_said(curve), "is_probability": not doubts}),
        calibrated=found,
        sigmoid=figures(1 / (1 + np.exp(-others.logits.clip(-700, 700))), others, share),
        cuts=tuple(_cut(least, scores, others) for least in CUTS),
        fitted_pairs=len(ours.logits),
        unjudged=judged.unjudged,
        doubts=doubts,
    )


def profile(curve: Calibration) -> dict[str, Any]:
    """The curve as a profile or a request holds it."""
    return {"calibration": _said(curve)}


def figures(scores: Floats, judged: Pairs, share: float) -> Figures:
    """Calibration error in ten bins of equal width, Brier score, and what a constant score of ``share`` would have."""
    count = int(judged.topics.max()) + 1
    places = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    cells = judged.topics * BINS + places
    sums = [
        np.bincount(cells, weights, count * BINS).reshape(count, BINS)
        for weights in (np.ones_like(scores), scores, judged.relevant)
    ]
    squares = [
        np.bincount(judged.topics, (judged.relevant - said) ** 2, count)
        for said in (scores, np.full_like(scores, share))
    ]
    drawn = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    errors = _error(*(drawn @ part for part in sums))
    skills = 1 - (drawn @ squares[0]) / np.maximum(drawn @ squares[1], 1e-12)
    whole = np.ones((1, count))
    (numbers,), (said,), (found,) = (whole @ part for part in sums)
    filled = numbers >= LEAST_OF_BIN
    off = np.abs(found - said)[filled] / numbers[filled]
    return Figures(
        pairs=len(scores),
        brier=float(squares[0].sum() / len(scores)),
        skill=float(1 - squares[0].sum() / max(squares[1].sum(), 1e-12)),
        skill_low=float(np.percentile(skills, 2.5)),
        error=float(_error(*(whole @ part for part in sums))[0]),
        error_low=float(np.percentile(errors, 2.5)),
        error_high=float(np.percentile(errors, 97.5)),
        off=float(off.max()) if filled.any() else 0.0,
        bins=tuple(_bin(*cell) for cell in zip(numbers, said, found, strict=True)),
    )


def _error(numbers: Floats, said: Floats, found: Floats) -> Floats:
    """Of each row: the mean distance between what bins say and what is found there, by how full they are."""
    error: Floats = np.abs(said - found).sum(axis=1) / numbers.sum(axis=1)
    return error


def _bin(number: float, said: float, found: float) -> Bin | None:
    from scipy.stats import binomtest

    if not number:
        return None
    interval = binomtest(round(found), round(number)).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Bin(pairs=round(number), said=said / number, found=found / number, low=low, high=high)


def _fit(judged: Pairs, method: str, model: str) -> Calibration:
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    if method == "isotonic":
        curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(judged.logits, judged.relevant)
        points = [
            [round(float(left), 6), round(float(right), 6)]
            for left, right in zip(curve.X_thresholds_, curve.y_thresholds_, strict=True)
        ]
        return _read({"method": "isotonic", "points": _apart(points), "model": model})
    line = LogisticRegression(C=np.inf).fit(judged.logits[:, None], judged.relevant)
    slope, intercept = round(float(line.coef_[0, 0]), 6), round(float(line.intercept_[0]), 6)
    if slope <= 0:
        raise LabError("the scores do not rise with relevance", "look whether run and qrels fit each other")
    return _read({"method": "platt", "slope": slope, "intercept": intercept, "model": model})


def _apart(points: Sequence[list[float]]) -> list[list[float]]:
    """The points as far as their logits differ as written; two at least, and as many as a profile may hold."""
    found = [point for place, point in enumerate(points) if not place or point[0] > points[place - 1][0]]
    if len(found) < 2:
        raise LabError("all scores are the same", "look at the run: a model's logits differ from pair to pair")
    step = -(-len(found) // (calibration.MOST_POINTS - 1))
    return [*found[:-1:step], found[-1]]


def _better(judged: Pairs) -> str:
    """The form with the lower Brier score, each fitted to a half of these topics and measured on the other half."""
    parts = [(judged.of_half(0), judged.of_half(1)), (judged.of_half(1), judged.of_half(0))]
    for one, _ in parts:
        if not 0 < one.relevant.mean() < 1:
            return "platt"
    costs = {
        method: sum(
            float(((_scores(_fit(one, method, ""), other.logits) - other.relevant) ** 2).sum()) for one, other in parts
        )
        for method in ("platt", "isotonic")
    }
    return min(costs, key=lambda method: costs[method])


def _scores(curve: Calibration, logits: Floats) -> Floats:
    """By the client's own code, which will apply it."""
    return np.array([curve.value(logit) for logit in logits.tolist()])


def _check(half: Pairs) -> None:
    topics, relevant = len(np.unique(half.topics)), int(half.relevant.sum())
    if topics < LEAST_TOPICS:
        raise LabError(f"a half has {topics} topics, and {LEAST_TOPICS} are needed", "judge more topics")
    for count, what in ((relevant, "relevant pairs"), (len(half.relevant) - relevant, "pairs that are not relevant")):
        if count < LEAST_OF_KIND:
            mend = "judge more; where only relevant documents were judged, say --unjudged not-relevant"
            raise LabError(f"a half has {count} {what}, and {LEAST_OF_KIND} are needed", mend)


def _doubts(found: Figures, relevant: int) -> tuple[str, ...]:
    """Why the scores are no probabilities; nothing where they are. relevant: pairs of the held-out half that are."""
    doubts = []
    if relevant < LEAST_RELEVANT:
        doubts.append(f"the held-out half has {relevant} relevant pairs, and {LEAST_RELEVANT} are needed")
    if found.error_high > MOST_ERROR:
        doubts.append(f"its calibration error may be {found.error_high:.3f}, more than {MOST_ERROR}")
    if found.off > MOST_OFF:
        doubts.append(f"a bin is off by {found.off:.3f}, more than {MOST_OFF}")
    if found.skill_low <= 0:
        doubts.append("it may tell no more than the share of relevant pairs alone")
    return tuple(doubts)


def _cut(least: float, scores: Floats, judged: Pairs) -> Cut:
    kept = scores >= least
    right = float(judged.relevant[kept].sum())
    return Cut(
        min_score=least,
        kept_a_topic=float(kept.sum() / len(np.unique(judged.topics))),
        precision=right / float(kept.sum()) if kept.any() else None,
        recall=right / float(judged.relevant.sum()),
    )


def _said(curve: Calibration) -> dict[str, Any]:
    return {key: value for key, value in asdict(curve).items() if value != ""}


def _read(said: Mapping[str, Any]) -> Calibration:
    found: Calibration = calibration.SHAPE.read(said, "calibration")
    return found
