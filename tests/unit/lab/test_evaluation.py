"""From topics to figures: asked once, resumed, measured, told apart, and shown without losing anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rescorer import templates
from rescorer.errors import ScorerUnavailable
from rescorer.opensearch import OpenSearch
from rescorer.testing import FakeScorer
from rescorer_lab import journal
from rescorer_lab.demo import index
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import asking, compared, figures, page, slices, story, summary, systems, tables
from rescorer_lab.evaluation.asking import Answer, Index
from rescorer_lab.evaluation.story import Told, Wishes
from rescorer_lab.inputs import Judged, Topic
from rescorer_lab.journal import Journal
from unit.lab.demo_data import small_collection
from unit.lab.memory_engine import MemoryEngine, client

COLLECTION = small_collection(30)
INDEX = "rescorer-small"
SYSTEMS = systems.read_all(["bm25", "knn", "hybrid", "bm25+rescore:window_size=20", "hybrid+rescore:window_size=10"])


def _judged(count: int = 12) -> Judged:
    ids = list(COLLECTION.queries)[:count]
    return Judged(
        topics={id_: Topic(id=id_, text=COLLECTION.queries[id_], columns={"team": id_[-1]}) for id_ in ids},
        qrels={id_: dict(COLLECTION.qrels[id_]) for id_ in ids},
        name="small",
    )


@pytest.fixture
def scorer() -> FakeScorer:
    """Scores by shared words."""
    return FakeScorer()


@pytest.fixture
def searcher(scorer: FakeScorer) -> OpenSearch:
    """A client of an engine that holds the collection."""
    made = client(MemoryEngine(), scorer)
    templates.apply(made, templates.shipped())
    content = index.Content(index=INDEX, documents=COLLECTION.documents, documents_digest="1", embedder="e")
    index.fill(made, INDEX, index.prepare(made, content), lambda count: None)
    return made


def _index(searcher: OpenSearch, depth: int = 25) -> Index:
    return asking.read(searcher, INDEX, "opensearch", depth)


def _asked(searcher: OpenSearch, folder: Path, count: int = 12, wishes: Wishes | None = None) -> list[int]:
    advanced: list[int] = []
    wishes = wishes or Wishes(systems=SYSTEMS, lanes=3)
    story.ask_all(searcher, _index(searcher), wishes, _judged(count), folder, advanced.append)
    return advanced


def _told(folder: Path, wishes: Wishes | None = None) -> Told:
    return story.told(folder, wishes or Wishes(systems=SYSTEMS), _judged(), 25)


def test_every_topic_is_asked_of_every_system_once(searcher: OpenSearch, tmp_path: Path) -> None:
    """As many answers as topics times systems, each with as many hits as were asked for, however many lanes."""
    assert sum(_asked(searcher, tmp_path)) == 12
    found = list(_answers(tmp_path))
    assert len({(answer.system, answer.topic) for answer in found}) == len(found) == 12 * len(SYSTEMS)
    assert {len(answer.hits) for answer in found} == {25}
    assert {answer.outcome for answer in found} == {"", "reranked"}


def test_what_was_asked_is_never_asked_again(searcher: OpenSearch, scorer: FakeScorer, tmp_path: Path) -> None:
    """An interrupted evaluation, its last line cut short, goes on with what is missing and ends as an unbroken one."""
    _asked(searcher, tmp_path / "whole")
    _asked(searcher, tmp_path / "broken")
    path = tmp_path / "broken" / story.ANSWERS
    path.write_text(path.read_text()[:-40])
    scorer.requests.clear()
    assert _asked(searcher, tmp_path / "broken") == [11, 1]
    assert len(scorer.requests) <= 2
    assert _without_times(tmp_path / "broken") == _without_times(tmp_path / "whole")


def test_an_error_in_the_middle_keeps_what_was_answered(
    searcher: OpenSearch, scorer: FakeScorer, tmp_path: Path
) -> None:
    """A scorer that goes away under ``on_failure: error`` ends the evaluation; the answers before it are there."""
    wishes = Wishes(systems=systems.read_all(["bm25", "bm25+rescore:on_failure=error"]), lanes=1)
    _asked(searcher, tmp_path, 5, wishes)
    (tmp_path / story.ANSWERS).write_text("".join(_lines(tmp_path)[:-4]))
    scorer.failure = ScorerUnavailable("gone")
    with pytest.raises(ScorerUnavailable):
        _asked(searcher, tmp_path, 5, wishes)
    kept = len(list(_answers(tmp_path)))
    scorer.failure = None
    _asked(searcher, tmp_path, 5, wishes)
    assert (kept, len(list(_answers(tmp_path)))) == (6, 10)


@pytest.mark.parametrize("system", ["knn", "hybrid"])
def test_without_vectors_there_is_no_figure_of_them(
    searcher: OpenSearch, scorer: FakeScorer, tmp_path: Path, system: str
) -> None:
    """A hybrid search that finds no embedder answers by words alone, which is right for users and wrong here."""
    scorer.failure = ScorerUnavailable("no embedder")
    with pytest.raises(ScorerUnavailable):
        _asked(searcher, tmp_path, 5, Wishes(systems=systems.read_all([system])))


def test_answers_of_something_else_are_not_gone_on_with(searcher: OpenSearch, tmp_path: Path) -> None:
    """Other topics or systems in the same folder are an error that names the folder and the way out."""
    _asked(searcher, tmp_path, 5)
    with pytest.raises(LabError, match="--out"):
        _asked(searcher, tmp_path, 6)


def test_a_folder_in_which_nothing_was_answered_is_begun_anew(searcher: OpenSearch, tmp_path: Path) -> None:
    """What failed at the first search, such as for want of an embedder, does not stand in the way of other wishes."""
    with Journal(tmp_path / story.ANSWERS, "something else", str):
        pass
    assert _asked(searcher, tmp_path, 5) == [0, 1, 1, 1, 1, 1]
    assert sum(_asked(searcher, tmp_path, 5)) == 5


def test_answers_under_another_profile_are_not_gone_on_with(searcher: OpenSearch, tmp_path: Path) -> None:
    """What the index says about its rescoring decides the answers, and may have changed since."""
    _asked(searcher, tmp_path, 5)
    changed = replace(_index(searcher), written={"document_fields": ["title"]})
    with pytest.raises(LabError, match="profile"):
        story.ask_all(searcher, changed, Wishes(systems=SYSTEMS), _judged(5), tmp_path, lambda count: None)


def test_a_fallback_shows_in_the_warnings(searcher: OpenSearch, scorer: FakeScorer, tmp_path: Path) -> None:
    """A rescored figure that holds first-stage lists says so, with the count."""
    scorer.failure = ScorerUnavailable("gone")
    _asked(searcher, tmp_path, wishes=Wishes(systems=SYSTEMS[3:4]))
    (warning,) = _told(tmp_path, Wishes(systems=SYSTEMS[3:4])).warnings
    assert "12 fallback:" in warning


def test_no_judged_topic_is_dropped_from_the_means(searcher: OpenSearch, tmp_path: Path) -> None:
    """Each system's figures are over all judged topics, those that found nothing included."""
    _asked(searcher, tmp_path)
    found = _told(tmp_path)
    assert {tuple(measured.rows) for measured in found.measured.values()} == {tuple(_judged().topics)}


def test_a_rescored_system_is_compared_with_its_own_first_stage_too() -> None:
    """The gain over BM25 is one question, the gain over the fused list another."""
    names = [system.name for system in SYSTEMS]
    assert compared.pairs(names, SYSTEMS) == [
        ("bm25", "knn"),
        ("bm25", "hybrid"),
        ("bm25", "bm25+rescore:window_size=20"),
        ("bm25", "hybrid+rescore:window_size=10"),
        ("hybrid", "hybrid+rescore:window_size=10"),
    ]


@pytest.mark.parametrize(
    ("hits", "grades", "kind"),
    [
        (["a", "b"], {"a": 1}, figures.GOOD),
        (["x", "y"], {"a": 1}, figures.NEVER),
        ([*"xyzuvwrstq", "a"], {"a": 1}, figures.ORDER),
        (["a", "x"], {"a": 1, **{f"m{place}": 1 for place in range(9)}}, figures.PARTLY),
        (["a", "b"], {"a": 0}, figures.UNJUDGED),
    ],
)
def test_a_bad_topic_says_why(hits: Sequence[str], grades: Mapping[str, int], kind: str) -> None:
    """Never retrieved, partly retrieved, badly ordered and unjudged are told apart."""
    answer = Answer(system="s", topic="t", hits=tuple(hits), scores=tuple([1.0] * len(hits)))
    found = figures.measured([answer], {"t": grades}, ["nDCG@10"], 100)
    assert found["s"].rows["t"].kind == kind


def test_the_window_bounds_what_counts_as_retrieved() -> None:
    """A relevant document behind the window was never there to be rescored."""
    answer = Answer(system="s", topic="t", hits=("x", "y", "a"), scores=(3.0, 2.0, 1.0), window=2, outcome="reranked")
    row = figures.measured([answer], {"t": {"a": 1}}, ["nDCG@10"], 100)["s"].rows["t"]
    assert (row.kind, row.recall, row.ceiling) == (figures.NEVER, 0.0, 0.0)


def test_runs_that_are_judged_to_a_different_extent_are_told() -> None:
    """E3: a new system finds what nobody judged; that it measures lower is then no news, and the report warns."""
    old = Answer(system="old", topic="t", hits=("a", "b"), scores=(2.0, 1.0))
    new = Answer(system="new", topic="t", hits=("x", "y", "a"), scores=(3.0, 2.0, 1.0))
    found = figures.measured([old, new], {"t": {"a": 1, "b": 0}}, ["nDCG@10"], 100)
    (warning,) = compared.unlike(found, [("old", "new")])
    assert "20%" in warning or "100%" in warning


def test_topics_fall_into_slices() -> None:
    """Length, form, codes, script and a column of the user's own; what parts nothing is left out."""
    texts = [
        "why is it so",
        "brake pads",
        "AB-1234 manual",
        "почему так",
        "how to cancel a flight that is delayed twice",
    ]
    topics = {
        f"{place}{copy}": Topic(id=f"{place}{copy}", text=text, columns={"all": "same"})
        for place, text in enumerate(texts)
        for copy in range(slices.LEAST_TOPICS)
    }
    found = slices.sliced(topics, ["all"])
    assert set(found) == {"length", "form", "codes", "script"}
    assert {value: len(ids) for value, ids in found["form"].items()} == {"keywords": 15, "question": 10}
    assert {value: len(ids) for value, ids in found["script"].items()} == {"cyrillic": 5, "latin": 20}
    assert len(found["codes"]["with a code"]) == 5


def test_the_page_needs_nothing_beside_it_and_escapes_what_it_shows(searcher: OpenSearch, tmp_path: Path) -> None:
    """One file: no script, no link, no image from elsewhere; names that look like HTML stay text."""
    named = systems.read_all(["bm25", "<b>x</b>=bm25+rescore:window_size=20"])
    _asked(searcher, tmp_path, wishes=Wishes(systems=named))
    told = _told(tmp_path, Wishes(systems=named))
    text = page.write(tmp_path / "r.html", told, title="small", made={"a": 1}, price=2.0).read_text()
    assert not any(word in text for word in ("<script", "http:", "https:", "<link", "<img", "<b>x"))
    assert "&lt;b&gt;x" in text
    assert text.count("<svg") == 3


def test_report_tables_and_runs_hold_every_system(searcher: OpenSearch, tmp_path: Path) -> None:
    """What machines read and what people read name the same systems, and each run reads back."""
    _asked(searcher, tmp_path)
    wishes = Wishes(systems=SYSTEMS)
    told = _told(tmp_path)
    written = summary.described(told, _judged(), wishes, {})
    assert list(written["systems"]) == list(written["per_topic"]) == wishes.names
    json.dumps(written)
    summary.write_runs(tmp_path, wishes, _judged())
    assert len(list((tmp_path / "runs").glob("*.trec"))) == len(SYSTEMS)
    assert len(list(tables.tables(told, None))) >= 4


def test_a_run_from_elsewhere_stands_beside_the_systems(searcher: OpenSearch, tmp_path: Path) -> None:
    """It is measured on the same topics; one that it lacks counts as nothing found, and that is said."""
    wishes = Wishes(systems=SYSTEMS[:1], runs={"theirs": {"q0": {"d0": 1.0}, "of another": {"d0": 1.0}}})
    _asked(searcher, tmp_path, wishes=wishes)
    found = _told(tmp_path, wishes)
    assert found.measured["theirs"].means["success@10"] == pytest.approx(1 / 12)
    assert "run 'theirs' holds nothing for 11 of 12 topics; each counts as 0" in found.warnings
    assert "run 'theirs' also holds topics that are not measured: 1" in found.warnings
    with pytest.raises(LabError, match="none of the 12 topics"):
        _told(tmp_path, Wishes(systems=(), runs={"theirs": {"other": {"d0": 1.0}}}))


def test_a_system_that_the_index_can_not_be_asked_is_refused_before_the_first_search(tmp_path: Path) -> None:
    """kNN without a vector field, and rescoring without fields to read."""
    bare = Index(name="bare", engine="opensearch", form=None, said={}, depth=10)
    for spec, says in (("knn", "vector field"), ("bm25+rescore", "which fields")):
        with pytest.raises(LabError, match=says):
            asking.check(bare, systems.read_all([spec]))


def test_a_journal_that_can_not_be_written_is_an_error_before_the_work(tmp_path: Path) -> None:
    """The folder's name is a file's."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(LabError, match="--out"):
        Journal(tmp_path / "taken" / "a.jsonl", [], str)


def _answers(folder: Path) -> list[Answer]:
    return [Answer.of(told) for told in journal.lines(folder / story.ANSWERS)]


def _lines(folder: Path) -> list[str]:
    return (folder / story.ANSWERS).read_text().splitlines(keepends=True)


def _without_times(folder: Path) -> list[Any]:
    found = [answer.as_dict() | {"ms": None, "cached": None} for answer in _answers(folder)]
    return sorted(found, key=lambda told: (told["topic"], told["system"]))
