"""The demo's index: made once, resumed where it stopped, made anew where its content would differ."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from rescorer import templates
from rescorer.domain import EmbedRequest
from rescorer.errors import ScorerUnavailable
from rescorer.opensearch import OpenSearch
from rescorer.testing import FakeScorer
from rescorer_lab.collections import Document
from rescorer_lab.demo import index
from rescorer_lab.demo.index import Content
from rescorer_lab.errors import EngineError
from unit.lab.memory_engine import MemoryEngine, client

DOCUMENTS = tuple(Document(id=f"d{n}", title=f"title {n}", body=f"body {n}") for n in range(70))
CONTENT = Content(index="rescorer-small", documents=DOCUMENTS, documents_digest="1", embedder="e")


@pytest.fixture
def engine() -> MemoryEngine:
    """An empty engine."""
    return MemoryEngine()


@pytest.fixture
def scorer() -> FakeScorer:
    """Embeds without a model."""
    return FakeScorer()


@pytest.fixture
def searcher(engine: MemoryEngine, scorer: FakeScorer) -> OpenSearch:
    """A client of both."""
    return client(engine, scorer)


def test_a_new_index_lacks_every_document_in_order(searcher: OpenSearch) -> None:
    """On an empty engine the index is made, and all is still to be done."""
    assert index.prepare(searcher, CONTENT) == list(DOCUMENTS)


def test_every_document_is_indexed_once_with_its_vector(
    searcher: OpenSearch, engine: MemoryEngine, scorer: FakeScorer
) -> None:
    """Title, body and embedding arrive for each document, whatever the size of the last batch, and each is counted."""
    counted: list[int] = []
    index.fill(searcher, CONTENT.index, index.prepare(searcher, CONTENT), counted.append)
    stored = engine.documents(CONTENT.index)
    assert stored.keys() == {document.id for document in DOCUMENTS}
    assert stored["d69"]["title"] == "title 69"
    assert len(stored["d69"]["embedding"]) == 8
    assert sum(counted) == len(DOCUMENTS)
    assert {request.kind for request in scorer.embed_requests} == {"document"}


def test_each_document_keeps_its_own_vector(searcher: OpenSearch, engine: MemoryEngine) -> None:
    """The vector stored is that of title and body of the same document."""
    index.fill(searcher, CONTENT.index, index.prepare(searcher, CONTENT), lambda count: None)
    (vector,) = searcher.embed([index.embedded_text(DOCUMENTS[33])])
    assert engine.documents(CONTENT.index)["d33"]["embedding"] == pytest.approx(vector)


def test_a_complete_index_lacks_nothing_and_is_left_alone(searcher: OpenSearch, engine: MemoryEngine) -> None:
    """The second run neither deletes nor creates, and finds nothing to do."""
    index.fill(searcher, CONTENT.index, index.prepare(searcher, CONTENT), lambda count: None)
    engine.calls.clear()
    assert index.prepare(searcher, CONTENT) == []
    assert not {("DELETE", "/rescorer-small"), ("PUT", "/rescorer-small")} & set(engine.calls)


def test_an_interrupted_index_is_resumed(searcher: OpenSearch) -> None:
    """Whatever is there stays; exactly the others are still to be done."""
    index.prepare(searcher, CONTENT)
    index.fill(searcher, CONTENT.index, DOCUMENTS[10:20], lambda count: None)
    assert index.prepare(searcher, CONTENT) == [*DOCUMENTS[:10], *DOCUMENTS[20:]]


@pytest.mark.parametrize(
    "other",
    [
        replace(CONTENT, embedder="another"),
        replace(CONTENT, documents_digest="2"),
        replace(CONTENT, documents=DOCUMENTS[:5]),
    ],
    ids=["embedder", "corpus", "documents"],
)
def test_other_content_makes_the_index_anew(searcher: OpenSearch, other: Content) -> None:
    """Vectors of another embedder, another corpus or another choice of it are never mixed with what is there."""
    index.fill(searcher, CONTENT.index, index.prepare(searcher, CONTENT), lambda count: None)
    assert index.prepare(searcher, other) == list(other.documents)


def test_an_index_of_somebody_else_is_not_taken_for_ours(searcher: OpenSearch, engine: MemoryEngine) -> None:
    """An index of that name without our fingerprint is made anew, because nobody knows what it holds."""
    engine.indices[CONTENT.index] = {"mappings": {}, "documents": {"d1": {}}}
    assert len(index.prepare(searcher, CONTENT)) == len(DOCUMENTS)
    assert engine.documents(CONTENT.index) == {}


def test_the_fingerprint_stands_beside_the_profile(searcher: OpenSearch, engine: MemoryEngine) -> None:
    """The templates' profile stays whole where the demo marks its index."""
    templates.apply(searcher, templates.shipped())
    index.prepare(searcher, CONTENT)
    meta = engine.indices[CONTENT.index]["mappings"]["_meta"]
    assert meta["rescorer"]["document_fields"] == ["title", "body"]
    assert meta[index.MARK] == {"fingerprint": CONTENT.fingerprint}


def test_a_document_that_the_engine_refuses_ends_the_work_with_its_id(
    searcher: OpenSearch, engine: MemoryEngine
) -> None:
    """The error names the document, the engine's reason, and where to look."""
    engine.refused = {"d40"}
    with pytest.raises(EngineError, match="document d40 was not indexed: it is refused; see: rescorer engine logs"):
        index.fill(searcher, CONTENT.index, index.prepare(searcher, CONTENT), lambda count: None)


def test_a_sidecar_that_goes_away_ends_the_work_and_the_next_run_goes_on(
    searcher: OpenSearch, scorer: FakeScorer
) -> None:
    """The scorer's own error comes through; once it is back, the rest is indexed."""
    missing = index.prepare(searcher, CONTENT)
    scorer.failure = ScorerUnavailable("nobody there")
    with pytest.raises(ScorerUnavailable):
        index.fill(searcher, CONTENT.index, missing, lambda count: None)
    scorer.failure = None
    index.fill(searcher, CONTENT.index, index.prepare(searcher, CONTENT), lambda count: None)
    assert index.prepare(searcher, CONTENT) == []


class _HeldScorer(FakeScorer):
    """Embeds the first batch at once and every later one when released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def embed(self, request: EmbedRequest, timeout_s: float) -> list[list[float]]:
        if request.texts[0] != "first":
            self.released.wait()
        return super().embed(request, timeout_s)


def test_an_interruption_ends_what_is_under_way_and_begins_nothing_more(engine: MemoryEngine) -> None:
    """After Ctrl-C at the first batch, the batches under way are indexed whole, and the rest is not begun."""
    scorer = _HeldScorer()
    searcher = client(engine, scorer)

    def interrupt(count: int) -> None:
        scorer.released.set()
        raise KeyboardInterrupt

    later = (Document(id=f"d{n}", title="later", body="") for n in range(1, 100 * index.BATCH))
    content = replace(CONTENT, documents=(Document(id="d0", title="first", body=""), *later))
    with pytest.raises(KeyboardInterrupt):
        index.fill(searcher, content.index, index.prepare(searcher, content), interrupt)
    stored = len(engine.documents(content.index))
    assert stored % index.BATCH == 0
    assert 0 < stored < len(content.documents)


def test_a_document_without_title_is_embedded_by_its_body() -> None:
    """No empty line stands before a body alone, and no space before a title alone."""
    assert index.embedded_text(Document(id="x", title="", body="body")) == "body"
    assert index.embedded_text(Document(id="x", title="title", body="")) == "title"
