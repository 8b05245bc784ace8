"""From records to figures: each system its measures, nothing that was not rescored counted in silence."""

from __future__ import annotations

import json

import pytest

from rescorer.profile import Hybrid
from rescorer_lab.demo import figures
from rescorer_lab.demo.searches import SYSTEMS, Setup
from unit.lab.demo_data import record, small_collection

COLLECTION = small_collection(4)
SETUP = Setup(index="i", form=Hybrid(text_fields=("title",), vector_field="v"), window=3, max_tokens=128)
FAST = {"first_stage_ms": 10.0, "scoring_ms": 80.0, "total_ms": 95.0}
SLOW = {"first_stage_ms": 20.0, "scoring_ms": 100.0, "total_ms": 125.0}
RECORDS = [
    record("q0", before=("d1", "d0", "d2"), after=("d0", "d1", "d2"), timings=FAST),
    record("q1", before=("d1", "d2", "d3"), after=("d2", "d1", "d3"), timings=SLOW),
]


def test_each_system_has_its_own_means() -> None:
    """First stages are measured by their lists and rescored systems by theirs."""
    found = figures.measured(COLLECTION, RECORDS, 3).means
    assert set(found) == set(SYSTEMS)
    assert found["bm25"]["MRR@10"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["hybrid_rescored"]["MRR@10"] == pytest.approx((1 + 1 / 2) / 2)


def test_window_recall_is_that_of_the_first_stages_alone() -> None:
    """Recall is given for what retrieves, cut at the window."""
    assert figures.measured(COLLECTION, RECORDS, 3).recall == {"bm25": 1.0, "knn": 1.0, "hybrid": 1.0}
    assert figures.measured(COLLECTION, RECORDS, 1).recall == {"bm25": 0.5, "knn": 0.5, "hybrid": 0.5}


def test_gains_are_paired_per_query() -> None:
    """One query gains what the other loses: the mean is nil, and both are counted."""
    found = figures.measured(COLLECTION, RECORDS, 3)
    gains = found.gains("bm25_rescored")
    assert gains["q0"] == pytest.approx(-gains["q1"])
    assert gains["q0"] > 0
    told = found.gain("bm25_rescored")
    assert (told.better, told.worse, told.same) == (1, 1, 0)
    assert told.mean == pytest.approx(0.0)


def test_latencies_are_percentiles_of_the_timed_system() -> None:
    """Each part is the percentiles of its own times over all queries."""
    found = figures.measured(COLLECTION, RECORDS, 3).latency_ms
    assert {part: values["p50"] for part, values in found.items()} == {
        "first_stage": 15.0,
        "scoring": 90.0,
        "total": 110.0,
    }


def test_searches_that_were_not_rescored_are_counted_with_their_reason() -> None:
    """A fallback among the rescored searches shows in the outcomes."""
    records = [*RECORDS, record("q2", status="fallback")]
    found = figures.measured(COLLECTION, records, 3).outcomes
    assert found == {"fallback:scorer_unavailable": 4, "reranked": 8}


def test_the_report_holds_the_agreed_keys() -> None:
    """Collection, queries, metrics, window recall and latencies stand where readers of the file look for them."""
    found = figures.described(COLLECTION, 4, RECORDS, figures.measured(COLLECTION, RECORDS, 3), SETUP)
    assert found["collection"] == "small"
    assert found["queries"] == 2
    assert {"bm25", "knn", "hybrid", "bm25_rescored", "hybrid_rescored"} <= set(found["metrics"])
    assert set(found["metrics"]["bm25"]) == {"nDCG@10", "MRR@10", "P@10"}
    assert {"bm25", "hybrid"} <= set(found["window_recall"])
    assert set(found["latency_ms"]) == {"first_stage", "scoring", "total"}
    assert set(found["latency_ms"]["total"]) == {"p50", "p95"}
    json.dumps(found)


def test_the_report_holds_what_it_takes_to_make_it_again() -> None:
    """Settings, model and its digest, versions and machine stand beside the figures."""
    found = figures.described(COLLECTION, 4, RECORDS, figures.measured(COLLECTION, RECORDS, 3), SETUP)
    assert found["settings"]["bm25_rescored"]["window_size"] == 3
    assert found["settings"]["hybrid_model_alone"]["max_tokens"] == 128
    assert found["settings"]["hybrid_rescored"]["score_mode"] == "total"
    assert found["model"] == {"name": "small-model", "digest": "abc"}
    assert found["versions"]["rescorer"]
    assert found["machine"]["cores"]
