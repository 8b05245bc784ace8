"""One query in seven ways: the right lists, fetched fairly, from the index's own profile."""

from __future__ import annotations

import pytest

from rescorer import hybrid, profile, templates
from rescorer.errors import ScorerUnavailable
from rescorer.opensearch import OpenSearch
from rescorer.testing import FakeScorer
from rescorer_lab.demo import index, searches
from rescorer_lab.demo.searches import SYSTEMS, Setup
from unit.lab.demo_data import small_collection
from unit.lab.memory_engine import MemoryEngine, client

COLLECTION = small_collection(40)


@pytest.fixture
def scorer() -> FakeScorer:
    """Scores by shared words."""
    return FakeScorer()


@pytest.fixture
def searcher(scorer: FakeScorer) -> OpenSearch:
    """A client of an engine that holds the collection."""
    made = client(MemoryEngine(), scorer)
    templates.apply(made, templates.shipped())
    content = index.Content(index="rescorer-small", documents=COLLECTION.documents, documents_digest="1", embedder="e")
    index.fill(made, content.index, index.prepare(made, content), lambda count: None)
    return made


def _setup(searcher: OpenSearch, window: int = 20) -> Setup:
    mappings = searcher.indices.get_mapping(index="rescorer-small")["rescorer-small"]["mappings"]
    form = profile.read(mappings["_meta"]["rescorer"]).hybrid
    assert form is not None
    return Setup(index="rescorer-small", form=form, window=window)


def test_each_system_has_its_list(searcher: OpenSearch) -> None:
    """First stages give their window, rescored ones their page, and every document listed has its title."""
    found = searches.ask(searcher, _setup(searcher), "q7", "water word7")
    assert set(found.lists) == set(SYSTEMS)
    assert [len(found.lists[system]) for system in SYSTEMS] == [20, 20, 20, 10, 10, 10, 10]
    assert found.titles["d7"] == "about word7"
    assert {document for listed in found.lists.values() for document in listed} <= found.titles.keys()


def test_rescored_pages_come_from_the_window_of_their_first_stage(searcher: OpenSearch) -> None:
    """Every document of a rescored page stands in the window before it, so that each move can be told."""
    found = searches.ask(searcher, _setup(searcher), "q7", "water word7")
    for rescored, first_stage in searches.FIRST_STAGE_OF.items():
        assert set(found.lists[rescored]) <= set(found.lists[first_stage])


def test_the_first_stages_are_not_rescored(searcher: OpenSearch, scorer: FakeScorer) -> None:
    """Four of the seven ways are scored, the index's profile notwithstanding, each with the whole window."""
    found = searches.ask(searcher, _setup(searcher), "q7", "water word7")
    assert [len(request.candidates) for request in scorer.requests] == [20] * 4
    assert {told["status"] for told in found.rescore.values()} == {"reranked"}
    assert {told["window"] for told in found.rescore.values()} == {20}


def test_rescored_adds_scores_and_the_model_alone_replaces_them(searcher: OpenSearch, scorer: FakeScorer) -> None:
    """Against the model, a hit stays first where the first stage's score counts too, and falls where it does not."""
    scorer.logit = lambda query, text: 5.0 if "word7" in text else 0.0
    found = searches.ask(searcher, _setup(searcher), "q7", "water word7")
    assert found.lists["bm25_model_alone"][0] == found.lists["hybrid_model_alone"][0] == "d7"
    rest = [document for document in found.lists["bm25"] if document != "d7"]
    assert list(found.lists["bm25_model_alone"][1:]) == rest[:9]
    scorer.logit = lambda query, text: 0.5 if "word7" not in text else 0.0
    against = searches.ask(searcher, _setup(searcher), "q7", "water word7")
    assert "d7" not in against.lists["bm25_model_alone"]
    assert against.lists["bm25_rescored"][0] == "d7"


def test_hybrid_is_scored_before_bm25(searcher: OpenSearch, scorer: FakeScorer) -> None:
    """The timed search is the first one, so that none of its pairs is known to the sidecar's cache."""
    found = searches.ask(searcher, _setup(searcher), "q7", "water word7")
    titles = [[candidate.fields[0][1] for candidate in request.candidates] for request in scorer.requests]
    assert titles[0] == [found.titles[document] for document in found.lists["hybrid"]]
    assert titles[2] == [found.titles[document] for document in found.lists["bm25"]]


def test_the_model_reads_what_the_caller_does_not_fetch(searcher: OpenSearch, scorer: FakeScorer) -> None:
    """Only titles are fetched for the table, and the model still reads title and body under the limit asked for."""
    searches.ask(searcher, _setup(searcher), "q7", "water word7")
    candidate = scorer.requests[0].candidates[0]
    assert len(candidate.fields) == 2
    assert "stone" in candidate.fields[1][1]
    assert {request.max_tokens for request in scorer.requests} == {256}


def test_query_and_vector_are_those_of_the_profile(searcher: OpenSearch) -> None:
    """BM25 asks the fields that the index's profile names."""
    form = _setup(searcher).form
    assert hybrid.words(form, "x") == {"multi_match": {"query": "x", "fields": list(form.text_fields)}}


def test_a_window_smaller_than_a_page_still_shows_a_page(searcher: OpenSearch, scorer: FakeScorer) -> None:
    """With a window of 3, three candidates are scored and ten hits shown, and the first stage gives those ten."""
    found = searches.ask(searcher, _setup(searcher, window=3), "q7", "water word7")
    assert [len(request.candidates) for request in scorer.requests] == [3] * 4
    assert [len(found.lists[system]) for system in SYSTEMS] == [10] * 7


def test_a_sidecar_that_goes_away_is_not_hidden_in_the_figures(searcher: OpenSearch, scorer: FakeScorer) -> None:
    """Without a sidecar the kNN way can't be asked at all, and its error comes through."""
    scorer.failure = ScorerUnavailable("nobody there")
    with pytest.raises(ScorerUnavailable):
        searches.ask(searcher, _setup(searcher), "q7", "water word7")
