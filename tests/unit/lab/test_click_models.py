"""Click models on simulated users whose taste is known: what they find is that taste, and counting clicks is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from rescorer_lab import click_models
from rescorer_lab.inputs.clicks import Clicks
from unit.lab import simulated_clicks as simulated


def _rate(log: Clicks) -> np.ndarray:
    return np.bincount(log.pair, weights=log.clicked) / np.bincount(log.pair)


def _order(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(spearmanr(found, wanted.ravel()).statistic)


def test_pbm_finds_what_users_like() -> None:
    """Relevance is the chance of a click where one looks: the value is near, and the order far nearer than clicks'."""
    taste = simulated.taste()
    log = simulated.clicks(taste)
    found = click_models.pbm(log).relevance
    assert np.abs(found - taste.ravel()).mean() < 0.05
    assert _order(found, taste) > 0.96 > _order(_rate(log), taste) + 0.05


def test_pbm_finds_how_often_each_rank_is_looked_at() -> None:
    """The first rank is always looked at, and the others as often as the users do."""
    found = click_models.pbm(simulated.clicks(simulated.taste())).examined
    assert found[0] == 1
    assert np.abs(found - simulated.LOOKS).max() < 0.04


def test_sdbn_tells_what_satisfies_from_what_lures() -> None:
    """Of users who read down until satisfied it finds what is clicked and enough; clicks and pbm find the lures."""
    attracts, satisfies = simulated.taste(0), simulated.taste(1)
    log = simulated.clicks(attracts, satisfies)
    by_clicks = max(
        _order(_rate(log), attracts * satisfies), _order(click_models.pbm(log).relevance, attracts * satisfies)
    )
    assert _order(click_models.sdbn(log).relevance, attracts * satisfies) > by_clicks + 0.05


def test_sdbn_counts_looks_down_to_the_last_click() -> None:
    """What stands below the last click of an answer was not looked at; without a click, everything was."""
    log = simulated.clicks(simulated.taste(), answers=20)
    last = [int(log.rank[(log.answer == number) & log.clicked].max(initial=0)) for number in range(log.answer[-1] + 1)]
    looked = [log.rank[row] <= (last[log.answer[row]] or simulated.DOCUMENTS) for row in range(len(log.rank))]
    assert click_models.sdbn(log).looks.tolist() == np.bincount(log.pair, weights=looked).tolist()


@pytest.mark.parametrize("model", click_models.MODELS)
def test_a_log_without_a_click_has_nothing_relevant(model: str) -> None:
    """Relevance is 0 everywhere, and nothing is divided by nothing."""
    found = click_models.MODELS[model](simulated.clicks(np.zeros_like(simulated.taste()), answers=2))
    assert found.relevance.max() < 1e-3
    assert np.isfinite(found.looks).all()


@pytest.mark.parametrize("model", click_models.MODELS)
def test_one_lucky_click_is_no_proof(model: str) -> None:
    """A pair that was looked at and clicked once is less relevant than one that was clicked every time of a hundred."""
    log = simulated.clicks(simulated.taste(), answers=1)
    assert click_models.MODELS[model](log).relevance.max() < 0.6


def test_pairs_that_never_move_are_told() -> None:
    """The share of pairs at several ranks says whether ``pbm`` can be trusted."""
    assert click_models.moved_share(simulated.clicks(simulated.taste(), answers=1)) == 0
    assert click_models.moved_share(simulated.clicks(simulated.taste(), answers=50)) > 0.9
