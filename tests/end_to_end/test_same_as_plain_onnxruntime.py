"""Client, wire and sidecar change nothing about the model: the same candidates get the same scores and the same order
as from plain onnxruntime, and that order is better than the first stage's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import opensearchpy
import pytest
from tokenizers import Tokenizer

from rescorer import templates
from rescorer.opensearch import OpenSearch
from rescorer_lab import collections
from rescorer_lab.collections import Collection
from rescorer_lab.evaluation import measures

pytestmark = pytest.mark.slow

INDEX, WINDOW, MAX_TOKENS, QUERIES = "rescorer-same", 20, 256, 50
Logits = Mapping[str, float]


@dataclass
class Compared:
    """Query → ranked ids of each way, and the logits of both."""

    first_stage: dict[str, list[str]] = field(default_factory=dict)
    rescored: dict[str, list[str]] = field(default_factory=dict)
    plain: dict[str, list[str]] = field(default_factory=dict)
    rescored_logits: dict[str, Logits] = field(default_factory=dict)
    plain_logits: dict[str, Logits] = field(default_factory=dict)


class PlainModel:
    """The model without any of our code: the tokenizer's own truncation, one pair at a time."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS, strategy="only_second")
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the sidecar needs the cores too
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

    def logit(self, query: str, text: str) -> float:
        """The raw output for one pair."""
        encoded = self._tokenizer.encode(query, text)
        columns = {
            "input_ids": encoded.ids,
            "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids,
        }
        inputs = {name: np.array([values], dtype=np.int64) for name, values in columns.items()}
        (logits,) = self._session.run(["logits"], inputs)
        return float(logits[0, 0])


@pytest.fixture(scope="module")
def scifact() -> Collection:
    """The collection with its judgments."""
    return collections.scifact(lambda line: None)


@pytest.fixture(scope="module")
def compared(opensearch_url: str, sidecar: str, cross_encoder: Path, scifact: Collection) -> Compared:
    """Fifty judged queries, asked through client and sidecar, and scored again by the plain model."""
    _index(opensearch_url, scifact)
    official = opensearchpy.OpenSearch([opensearch_url], timeout=60)
    ours = OpenSearch([opensearch_url], rescorer=sidecar, timeout=60)
    plain = PlainModel(cross_encoder)
    texts = {document.id: f"{document.title}\n{document.body}" for document in scifact.documents}
    found = Compared()
    for query in scifact.sample(QUERIES):
        text = scifact.queries[query]
        body = {"query": {"multi_match": {"query": text, "fields": ["title", "body"]}}, "size": WINDOW}
        settings = {"cross_encoder": {"window_size": WINDOW, "max_tokens": MAX_TOKENS, "budget_ms": 60_000}}
        candidates = [hit["_id"] for hit in official.search(index=INDEX, body=body)["hits"]["hits"]]
        answer = ours.search(index=INDEX, body={**body, "rescore": settings})
        assert answer["rescore"]["status"] == "reranked", answer["rescore"]
        logits = {name: plain.logit(text, texts[name]) for name in candidates}
        found.first_stage[query] = candidates
        found.rescored[query] = [hit["_id"] for hit in answer["hits"]["hits"]]
        found.rescored_logits[query] = {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}
        found.plain[query] = sorted(logits, key=lambda name: -logits[name])
        found.plain_logits[query] = logits
    official.indices.delete(index=INDEX)
    return found


def _index(url: str, collection: Collection) -> None:
    """The whole collection under the shipped templates, without vectors, which BM25 does not need."""
    client = opensearchpy.OpenSearch([url], timeout=60)
    templates.apply(client, templates.shipped())
    client.indices.delete(index=INDEX, ignore_unavailable=True)
    actions = (
        {"_index": INDEX, "_id": document.id, "title": document.title, "body": document.body}
        for document in collection.documents
    )
    opensearchpy.helpers.bulk(client, actions, refresh=True)


def _ndcg(collection: Collection, run: Mapping[str, list[str]]) -> float:
    qrels = {query: collection.qrels[query] for query in run}
    return measures.evaluate(qrels, run).means["nDCG@10"]


def test_the_same_hits_come_back(compared: Compared) -> None:
    """Rescoring permutes the first stage's hits: none is lost, doubled or invented, in any of the fifty answers."""
    for query, candidates in compared.first_stage.items():
        assert sorted(compared.rescored[query]) == sorted(candidates)


def test_each_pair_has_the_score_of_the_plain_model(compared: Compared) -> None:
    """A thousand scores agree within 0.001 logits, truncated pairs among them."""
    differences = [
        abs(compared.rescored_logits[query][name] - logit)
        for query, logits in compared.plain_logits.items()
        for name, logit in logits.items()
    ]
    assert len(differences) > 900
    assert max(differences) < 1e-3


def test_ndcg_is_that_of_the_plain_model(compared: Compared, scifact: Collection) -> None:
    """Over fifty judged queries, nDCG@10 is within 0.01 of the same model's on the same candidates."""
    assert _ndcg(scifact, compared.rescored) == pytest.approx(_ndcg(scifact, compared.plain), abs=0.01)


def test_rescoring_is_better_than_the_first_stage(compared: Compared, scifact: Collection) -> None:
    """Over fifty judged queries, nDCG@10 after rescoring is above BM25's."""
    assert _ndcg(scifact, compared.rescored) > _ndcg(scifact, compared.first_stage)
