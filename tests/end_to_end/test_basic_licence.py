"""Elasticsearch's free licence, under which its own fusions and rerankers are refused."""

from __future__ import annotations

import pytest

from end_to_end.judged_index import index_of
from rescorer.elasticsearch import Elasticsearch
from rescorer.testing import FakeScorer
from unit.lab.demo_data import small_collection

INDEX = "on-basic"
pytestmark = pytest.mark.engine


def test_a_hybrid_search_needs_no_paid_licence(own_elasticsearch_url: str) -> None:
    """E5: it is fused and rescored where ``text_similarity_reranker`` answers 403."""
    with (
        index_of(own_elasticsearch_url, INDEX, small_collection(24)) as plain,
        Elasticsearch(own_elasticsearch_url, rescorer=FakeScorer()) as client,
    ):
        went = plain.transport.perform_request("POST", "/_license/start_basic", params={"acknowledge": "true"})
        assert went["basic_was_started"]
        retriever = {"standard": {"query": {"match_all": {}}}}
        reranker = {"retriever": retriever, "inference_id": "x", "inference_text": "y", "field": "body"}
        refused = {"retriever": {"text_similarity_reranker": reranker}}
        with pytest.raises(Exception, match="non-compliant for \\[text_similarity_reranker\\]"):
            plain.search(index=INDEX, body=refused)
        answer = client.hybrid_search(INDEX, "about word1", size=10)
    assert (answer["rescore"]["status"], len(answer["hits"]["hits"])) == ("reranked", 10)
