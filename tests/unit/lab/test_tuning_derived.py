"""What is derived is what the client returns: the same orders, and nDCG as ir-measures has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer import config, fuse, rank_fusion
from rescorer.domain import Scored
from rescorer.rank_fusion import Fusion
from rescorer_lab.evaluation import measures
from rescorer_lab.tuning import derived, settings
from rescorer_lab.tuning.pools import BM25, KNN, Pool
from rescorer_lab.tuning.settings import FirstStage, Settings

DOCUMENTS = [f"d{place}" for place in range(25)]
float32s = st.floats(-20, 20, width=32)
few = st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0])
"""Few values, so that scores are often equal."""


@st.composite
def ranked_lists(draw: st.DrawFn) -> dict[str, float]:
    """A first-stage list: documents with falling scores above 0, ties included."""
    documents = draw(st.lists(st.sampled_from(DOCUMENTS), unique=True, max_size=20))
    scores = draw(st.lists(st.sampled_from([0.5, 1.0, 2.5, 7.0]), min_size=len(documents), max_size=len(documents)))
    return dict(zip(documents, sorted(scores, reverse=True), strict=True))


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Both lists of a topic, and a logit of two models for each document in them."""
    lists = {BM25: draw(ranked_lists()), KNN: draw(ranked_lists())}
    logits = {model: {document: draw(few | float32s) for document in DOCUMENTS} for model in ("small", "large")}
    return Pool(topic="t", lists=lists, logits=logits)


first_stages = st.sampled_from(settings.first_stages(has_vectors=True))
windows = st.sampled_from([0, 1, 3, 5, 10, 12, 20, 50])
grades = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-1, 3), min_size=1)


def _first_stage(pool: Pool, wished: FirstStage) -> list[tuple[str, float]]:
    """The client's own list."""
    if wished.name != "hybrid":
        return list(pool.lists[wished.name].items())
    weights = (wished.weight, round(1 - wished.weight, 3))
    how = Fusion(kind=wished.fusion or "rrf", weights=weights, rank_constant=wished.rank_constant)
    lists = [[{"_id": key, "_score": score} for key, score in pool.lists[name].items()] for name in (BM25, KNN)]
    return [(hit["_id"], hit["_score"]) for hit in rank_fusion.fused(lists, how)]


def _client(pool: Pool, wished: Settings) -> list[str]:
    """What the client would list."""
    listed = _first_stage(pool, wished.first_stage)
    if not wished.window or not listed:
        return [document for document, _ in listed]
    window = [
        Scored(id=document, index=place, logit=pool.logits[wished.model][document], score=logit, truncated=False)
        for place, (document, _) in enumerate(listed[: wished.window])
        for logit in [pool.logits[wished.model][document]]
    ]
    merged = config.merged(config.parse({**wished.rescore, "model": "m"}, "test"))
    order = fuse.ranked([score for _, score in listed], window, merged)
    return [listed[hit.place][0] for hit in order]


def _derived(pool: Pool, wished: Settings, judged: dict[str, int]) -> float:
    table = derived.table([pool], {"t": judged})
    return float(derived.ndcg(table, derived.ordered(table, wished.first_stage), wished)[0])


@given(pool=pools(), first_stage=first_stages, window=windows, weight=st.sampled_from([0.0, 0.05, 1.0]), judged=grades)
def test_what_is_derived_is_what_the_client_lists(
    pool: Pool, first_stage: FirstStage, window: int, weight: float, judged: dict[str, int]
) -> None:
    """nDCG@10 of any settings is ir-measures' of the client's own fusion and rescoring, with ties and short lists."""
    wished = Settings(first_stage=first_stage, window=window, weight=weight, model="small")
    expected = measures.evaluate({"t": judged}, {"t": _client(pool, wished)}, ["nDCG@10"]).per_query["nDCG@10"]["t"]
    assert _derived(pool, wished, judged) == pytest.approx(expected, abs=1e-9)


@given(pool=pools(), keep=st.sampled_from([5, 10]), judged=grades)
def test_a_cascade_puts_what_the_large_model_read_above_the_rest(pool: Pool, keep: int, judged: dict[str, int]) -> None:
    """The small model's best ``keep`` by the large one's scores, then the others by the small one's."""
    bm25 = FirstStage(name="bm25")
    wished = Settings(first_stage=bm25, window=20, model="small", cascade=("large", keep))
    by_small = _client(pool, Settings(first_stage=bm25, window=20, model="small"))
    places = {document: place for place, document in enumerate(pool.lists[BM25])}
    best = sorted(by_small[:keep], key=lambda document: (-np.float32(pool.logits["large"][document]), places[document]))
    expected = measures.evaluate({"t": judged}, {"t": best + by_small[keep:]}, ["nDCG@10"]).per_query["nDCG@10"]["t"]
    assert _derived(pool, wished, judged) == pytest.approx(expected, abs=1e-9)


def test_topics_of_different_length_do_not_disturb_each_other() -> None:
    """A topic measures the same beside a longer one, an empty one, and alone."""
    long = Pool(
        topic="a", lists={BM25: {f"d{n}": 20.0 - n for n in range(20)}}, logits={"": {f"d{n}": n for n in range(20)}}
    )
    short = Pool(topic="b", lists={BM25: {"d1": 2.0, "d2": 1.0}}, logits={"": {"d1": 0.0, "d2": 9.0}})
    none = Pool(topic="c", lists={BM25: {}}, logits={"": {}})
    qrels = {"a": {"d3": 1}, "b": {"d2": 1}, "c": {"d1": 1}}
    wished = Settings(first_stage=FirstStage(name="bm25"), window=10)
    together = derived.table([long, short, none], qrels)
    found = derived.ndcg(together, derived.ordered(together, wished.first_stage), wished)
    assert found[1:].tolist() == [1.0, 0.0]
    assert found[0] == _derived(Pool(topic="t", lists=long.lists, logits=long.logits), wished, qrels["a"])


def test_leads_are_shares_of_the_first_score() -> None:
    """As the gate's margin: 4 over 3 is a quarter; a single hit has no lead."""
    pools_ = [
        Pool(topic="a", lists={BM25: {"x": 4.0, "y": 3.0}}, logits={"": {"x": 0.0, "y": 0.0}}),
        Pool(topic="b", lists={BM25: {"x": 4.0}}, logits={"": {"x": 0.0}}),
    ]
    table = derived.table(pools_, {"a": {}, "b": {}})
    leads = derived.leads(derived.ordered(table, FirstStage(name="bm25")))
    assert leads[0] == pytest.approx(0.25)
    assert leads[1] == -np.inf
