"""The story from index to report, told without engine, sidecar or model: what is shown, counted and left behind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rescorer.errors import ScorerUnavailable
from rescorer.testing import FakeClock, FakeScorer
from rescorer_lab.demo import story
from rescorer_lab.demo.story import Wishes
from rescorer_lab.errors import LabError
from rescorer_lab.show import Show
from unit.lab.demo_data import small_collection
from unit.lab.memory_engine import MemoryEngine, client


@dataclass
class _Sidecar:
    """Stops as a real one does: from then on nobody scores."""

    scorer: FakeScorer
    address: str = "127.0.0.1:1"

    def stop(self) -> None:
        self.scorer.failure = ScorerUnavailable("nobody serves scores there")


@dataclass
class _Node:
    name: str = "demo"
    url: str = "http://127.0.0.1:9200"
    log: Path = Path("node.log")


@dataclass
class _Stack:
    sidecar: _Sidecar
    node: _Node = field(default_factory=_Node)
    keep_engine: bool = False


@dataclass
class Told:
    """One telling: what was printed, the report, and what it ran on."""

    text: str
    report: dict[str, Any]
    engine: MemoryEngine
    scorer: FakeScorer


def tell(wishes: Wishes, engine: MemoryEngine | None = None, count: int = 40) -> Told:
    """Tell the story over a small collection."""
    engine, scorer, out = engine or MemoryEngine(), FakeScorer(), StringIO()
    show = Show(Console(file=out, width=140), FakeClock())
    material = story.chosen(wishes, small_collection(count))
    searcher = client(engine, scorer)
    stack: Any = _Stack(_Sidecar(scorer))
    report = story.tell(searcher, stack, wishes, material, show)
    return Told(out.getvalue(), report, engine, scorer)


@pytest.fixture(scope="module")
def told() -> Told:
    """The story with 15 queries."""
    return tell(Wishes(queries=15, window=20))


def test_the_steps_come_in_the_order_of_a_user(told: Told) -> None:
    """Templates, index, three queries, all queries, figures, life without the sidecar, what next."""
    steps = [
        "index templates and search pipelines",
        "40 documents in rescorer-scifact",
        "the first 10 judged queries",
        "5 judged queries more",
        "15 judged queries; window 20",
        "with the sidecar stopped",
        "What to try next",
    ]
    places = [told.text.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_everything_is_applied_and_indexed(told: Told) -> None:
    """Every shipped template is sent and every document stored with a vector."""
    assert len(told.engine.templates) == 7
    assert len(told.engine.documents("rescorer-scifact")) == 40
    assert all("embedding" in document for document in told.engine.documents("rescorer-scifact").values())


def test_three_queries_are_shown_before_and_after(told: Told) -> None:
    """Three tables, each with its reason, and at the end the worst of all."""
    assert told.text.count("before: BM25 ") == 3 + 1
    assert told.text.count("among the first 10 queries") == 3
    assert told.text.count("among all 15 queries") == 1
    assert told.text.count("judged relevant:") == 3 + 1


def test_the_report_counts_every_query_once(told: Told) -> None:
    """The queries of the first tables are part of the figures and are not asked twice."""
    assert told.report["queries"] == 15
    assert told.report["outcomes"] == {"reranked": 60}
    assert len(told.report["per_query"]["bm25"]) == 15
    assert len(told.scorer.requests) == 4 * 15 + 1  # four rescored ways, and the attempt after the stop


def test_rescoring_by_shared_words_finds_the_answer(told: Told) -> None:
    """The only document that shares both words is first by the model alone, for every query."""
    assert told.report["metrics"]["bm25_model_alone"]["MRR@10"] == pytest.approx(1.0)
    assert told.report["window_recall"]["bm25"] <= 1.0


def test_without_the_sidecar_the_search_answers_and_says_so(told: Told) -> None:
    """The last search has first-stage hits, the outcome in JSON, and the log's warning as a line."""
    after = told.text[told.text.find("with the sidecar stopped") :]
    assert "10 hits, in first-stage order" in after
    assert '"status": "fallback", "reason": "scorer_unavailable"' in after
    assert "log: WARNING" in after
    assert "hybrid_search answers with its BM25 half: 10 hits" in after


def test_no_warning_stands_where_all_was_rescored(told: Told) -> None:
    """The sentence about searches that were not rescored is for those alone."""
    assert "NOT" not in told.text


def test_a_second_telling_embeds_nothing(told: Told) -> None:
    """Templates and index are found as they were left, and only queries are embedded."""
    again = tell(Wishes(queries=15, window=20), told.engine)
    assert "nothing to change" in again.text
    assert "0 to embed and index" in again.text
    assert {request.kind for request in again.scorer.embed_requests} == {"query"}
    assert again.report["metrics"] == told.report["metrics"]


def test_few_queries_make_a_short_story() -> None:
    """With fewer queries than the first look needs, nothing more is asked and the report is whole."""
    short = tell(Wishes(queries=2, window=20))
    assert "judged queries more" not in short.text
    assert short.report["queries"] == 2


def test_a_cut_down_collection_has_an_index_of_its_own() -> None:
    """Trying 20 documents leaves the index of the whole collection alone."""
    engine = MemoryEngine()
    tell(Wishes(queries=3, window=20), engine)
    tell(Wishes(queries=3, window=20, documents=20), engine)
    assert len(engine.documents("rescorer-scifact")) == 40
    assert len(engine.documents("rescorer-scifact-20")) == 20


def test_the_commands_to_try_next_name_what_stays() -> None:
    """With --keep the node's address and how to stop it are told; without, how to keep it."""
    kept = tell(Wishes(queries=2, window=20, keep=True)).text
    assert "http://127.0.0.1:9200" in kept
    assert "rescorer engine down --name demo" in kept
    assert "rescorer demo --keep" in tell(Wishes(queries=2, window=20)).text


@pytest.mark.parametrize("wrong", [Wishes(queries=41), Wishes(queries=10, documents=5)], ids=["queries", "documents"])
def test_what_is_not_there_is_refused_before_anything_starts(wrong: Wishes) -> None:
    """More queries than are judged, or too few documents for them, is one line with the bounds."""
    with pytest.raises(LabError, match="ask for"):
        story.chosen(wrong, small_collection(40))


def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Nobody waits ten minutes to read that a folder is not writable."""
    out = StringIO()
    with pytest.raises(LabError, match="can't be written"):
        story.run(replace(Wishes(), report=tmp_path), Show(Console(file=out), FakeClock()))
    assert out.getvalue() == ""
