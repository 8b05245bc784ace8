"""The choice: the front, what the budget allows, the grid, and the profile that comes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer import profile
from rescorer_lab.errors import LabError
from rescorer_lab.inputs import Topic
from rescorer_lab.tuning import derived, front, settings
from rescorer_lab.tuning.front import Candidate, Costs
from rescorer_lab.tuning.pools import BM25, KNN, Pool
from rescorer_lab.tuning.settings import FirstStage, Settings

PLAIN = Settings(first_stage=FirstStage(name="bm25"))
HYBRID = settings.first_stages(has_vectors=True)[2]
PROFILE = {
    "document_fields": ["title"],
    "window_size": 100,
    "model": "old",
    "hybrid": {"text_fields": ["title"], "vector_field": "v", "search_pipeline": "p", "k": 50},
}


def _candidates(values: list[tuple[float, float]]) -> list[Candidate]:
    return [Candidate(settings=PLAIN, quality=quality, ms=ms) for quality, ms in values]


def test_the_front_holds_what_nothing_beats_without_taking_longer() -> None:
    """Fastest first, each better than all that are faster."""
    found = front.front(_candidates([(0.5, 10), (0.4, 20), (0.7, 30), (0.7, 40), (0.6, 5)]))
    assert [(one.quality, one.ms) for one in found] == [(0.6, 5), (0.7, 30)]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1000)), min_size=1))
def test_nothing_beats_the_front(values: list[tuple[float, float]]) -> None:
    """Each of the rest is matched by one of the front that takes no longer."""
    found = front.front(_candidates(values))
    for quality, ms in values:
        assert any(one.quality >= quality - 1e-9 and one.ms <= ms for one in found)


def test_the_fastest_of_the_good_ones_is_chosen() -> None:
    """What is better by less than the noise is not worth its time."""
    found = _candidates([(0.70, 100), (0.698, 20), (0.6, 5)])
    assert front.chosen(found, None).ms == 20
    assert front.chosen(found, 10).ms == 5


def test_a_budget_that_nothing_keeps_is_told() -> None:
    """With what the fastest takes."""
    with pytest.raises(LabError, match="the fastest take 5 ms"):
        front.chosen(_candidates([(0.6, 5)]), 1)


def test_costs_are_those_of_lists_and_of_the_pairs_that_were_new() -> None:
    """Pairs out of the cache cost nothing and tell nothing; a hybrid search asks both lists."""
    ms = {BM25: 4.0, KNN: 6.0, "forward ": 30.0}
    pools = [Pool(topic=str(n), lists={BM25: {}, KNN: {}}, logits={}, ms=ms, scored={"": 10}) for n in range(3)]
    spent = front.costs(pools)
    assert spent == Costs(first_stage_ms={BM25: 4.0, KNN: 6.0}, pair_ms={"": 3.0})
    assert spent.of(PLAIN) == 4.0
    assert spent.of(Settings(first_stage=HYBRID, window=20)) == 70.0
    with pytest.raises(LabError, match="cache"):
        front.costs([Pool(topic="1", lists={BM25: {}}, logits={}, ms={BM25: 1.0, "forward ": 0.0}, scored={"": 0})])


def test_a_cascade_costs_both_of_its_models() -> None:
    """The small one over the window, the large one over what it keeps."""
    spent = Costs(first_stage_ms={BM25: 1.0}, pair_ms={"small": 1.0, "large": 10.0})
    wished = Settings(first_stage=FirstStage(name="bm25"), window=50, model="small", cascade=("large", 5))
    assert spent.of(wished) == 101.0


@pytest.mark.parametrize("wished", list(settings.grid(HYBRID, ["a", "b"], 50)))
def test_every_setting_of_the_grid_is_a_profile_that_the_client_reads(wished: Settings) -> None:
    """With the depth that it was derived from, without the old settings, and no deeper a window than was looked at."""
    written = settings.in_profile(PROFILE, wished, 50)
    read = profile.read(written)
    assert read.hybrid is not None
    assert (read.hybrid.fusion, read.hybrid.k, read.hybrid.search_pipeline) == (HYBRID.fusion, 50, "")
    assert wished.window <= 50
    assert written.get("model") != "old"
    assert PROFILE["window_size"] == 100


def test_a_gate_is_the_clients_own() -> None:
    """One topic of two is a code: half is left alone, and what rescoring gained there is lost."""
    pools = [
        Pool(topic=name, lists={BM25: {"x": 2.0, "y": 1.0}}, logits={"": {"x": 0.0, "y": 5.0}}) for name in ("a", "b")
    ]
    table = derived.table(pools, {"a": {"y": 1}, "b": {"y": 1}})
    topics = {"a": Topic(id="a", text="AB-1234"), "b": Topic(id="b", text="how to brake")}
    found = {one.gate: one for one in front.savings(table, topics, Settings(first_stage=PLAIN.first_stage, window=5))}
    assert found["query_types: code"].skipped == 0.5
    assert found["query_types: code"].loss == pytest.approx((1 - 0.6309) / 2, abs=1e-3)
    assert "query_types: one_word" in found
    assert found["margin: 0.5"].skipped == 1.0
