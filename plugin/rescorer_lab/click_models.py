"""Relevance out of clicks: what users would click if they looked at every rank alike.

Two models of how people read a list:

``pbm``, the position-based model (Craswell et al., "An experimental comparison of click position-bias models", WSDM
2008): each rank is looked at with a probability of its own, whatever stands there; fitted together with the chance
that each pair is clicked when looked at, by expectation maximisation. It needs pairs that were seen at several ranks.

``sdbn``, the simplified dynamic Bayesian network (Chapelle and Zhang, "A dynamic Bayesian network click model for web
search ranking", WWW 2009): users read down to their last click, or through all where they click nothing. A pair is
relevant as far as it is clicked when looked at *and* is the last click when clicked. Ranks need not vary.

## Decisions
2026-11: written here. clax-models brings jax, flax and torch, ultr-bias-toolkit torch, and pyclickmodels does not
build; both models are counts over columns that numpy holds.
2026-11: pbm is the default: on simulated users of both kinds it orders pairs nearer to the truth than sdbn, save
where documents lure and do not satisfy (tests/unit/lab/test_click_models.py).
2026-11: each pair is drawn to the log's average by PRIOR looks, after the fit: a prior inside it bends the ranks'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rescorer_lab.inputs.clicks import Clicks

Values = npt.NDArray[np.float64]

PRIOR = 2.0
STEPS = 200
STEADY = 1e-5
LEAST_MOVED = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a click model makes of a log, by the number of a pair, and by rank.

    relevance: 0 to 1. looks: how often users looked at the pair, as far as the model knows. examined: the part of
    users that look at a rank, from rank 1 on.
    """

    relevance: Values
    looks: Values
    examined: Values


def sdbn(clicks: Clicks) -> Estimate:
    """The simplified dynamic Bayesian network: attractive times satisfying, both counted."""
    answers = int(clicks.answer[-1]) + 1
    last = np.zeros(answers, dtype=np.int32)
    np.maximum.at(last, clicks.answer, np.where(clicks.clicked, clicks.rank, 0))
    ends = last[clicks.answer]
    looked = (ends == 0) | (clicks.rank <= ends)
    looks = _by_pair(clicks, looked)
    clicked = _by_pair(clicks, clicks.clicked)
    satisfied = _by_pair(clicks, clicks.clicked & (clicks.rank == ends))
    attractive = _shrunk(clicked, looks)
    shown = np.bincount(clicks.rank - 1)
    examined = np.bincount(clicks.rank - 1, weights=looked) / np.maximum(shown, 1)
    return Estimate(relevance=attractive * _shrunk(satisfied, clicked), looks=looks, examined=examined)


def pbm(clicks: Clicks) -> Estimate:
    """The position-based model, fitted by expectation maximisation; the rank that is read most is always looked at."""
    cells, at = np.unique(clicks.pair.astype(np.int64) * (1 << 32) + clicks.rank, return_inverse=True)
    pair, rank = cells >> 32, (cells & 0xFFFFFFFF) - 1
    shown, clicked = np.bincount(at).astype(np.float64), np.bincount(at, weights=clicks.clicked)
    in_pair, at_rank = np.bincount(pair, weights=shown), np.maximum(np.bincount(rank, weights=shown), 1)
    attractive, examined = np.full(len(in_pair), 0.5), np.full(len(at_rank), 0.5)
    for _ in range(STEPS):
        a, e = attractive[pair], examined[rank]
        unclicked = (shown - clicked) / np.maximum(1 - a * e, 1e-12)
        attractive = np.bincount(pair, weights=clicked + unclicked * a * (1 - e)) / in_pair
        before, examined = examined, np.bincount(rank, weights=clicked + unclicked * e * (1 - a)) / at_rank
        if np.abs(examined - before).max() < STEADY:
            break
    scale = max(examined.max(), 1e-12)  # a click tells only the product of both
    looks = np.bincount(pair, weights=shown * examined[rank]) / scale
    relevance = np.minimum(attractive * scale, 1.0)
    return Estimate(relevance=_shrunk(relevance * looks, looks), looks=looks, examined=examined / scale)


MODELS = {"pbm": pbm, "sdbn": sdbn}


def moved_share(clicks: Clicks) -> float:
    """The part of pairs that were shown at several ranks; where it is near 0, ``pbm`` knows nothing."""
    low = np.full(len(clicks.pairs), np.iinfo(np.int32).max, dtype=np.int32)
    high = np.zeros(len(clicks.pairs), dtype=np.int32)
    np.minimum.at(low, clicks.pair, clicks.rank)
    np.maximum.at(high, clicks.pair, clicks.rank)
    return float((high > low).mean())


def _by_pair(clicks: Clicks, rows: npt.NDArray[np.bool_]) -> Values:
    return np.bincount(clicks.pair, weights=rows.astype(np.float64), minlength=len(clicks.pairs)).astype(np.float64)


def _shrunk(part: Values, whole: Values) -> Values:
    mean = float(part.sum()) / max(float(whole.sum()), 1.0)
    return (part + PRIOR * mean) / (whole + PRIOR)
