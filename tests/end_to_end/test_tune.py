"""``rescorer tune`` on a real engine: what it derives and writes is what the client then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rescorer import templates
from rescorer.opensearch import OpenSearch
from rescorer.testing import FakeScorer
from rescorer_lab import cli
from rescorer_lab.demo import index
from unit.lab.demo_data import small_collection

COLLECTION = small_collection(60)
INDEX = "rescorer-tuned"
SCORER = "rescorer.testing:FakeScorer"
METHOD = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
PROFILE = {
    "document_fields": ["title"],
    "hybrid": {"text_fields": ["title", "body"], "vector_field": "embedding", "k": 20},
}


def _mappings(profile: dict[str, Any]) -> dict[str, Any]:
    vector = {"type": "knn_vector", "dimension": 8, "method": METHOD}
    return {"_meta": {"rescorer": profile}, "properties": {"embedding": vector}}


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(list(words)) == 0
    return " ".join(capsys.readouterr().out.split())


def test_what_is_tuned_is_what_the_client_then_does(
    opensearch_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tuned profile, in the index, measures under ``evaluate`` as it was derived; again, it says the same."""
    (tmp_path / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": id_, "text": text}) for id_, text in COLLECTION.queries.items())
    )
    qrels = "\n".join(f"{id_} 0 {document} 1" for id_, of in COLLECTION.qrels.items() for document in of)
    (tmp_path / "qrels.txt").write_text(qrels)
    asked = ["--collection", str(tmp_path), "--engine-url", opensearch_url, "--scorer", SCORER, "--depth", "20"]
    with OpenSearch(hosts=[opensearch_url], rescorer=FakeScorer(), profile_ttl_s=0) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, body={"mappings": _mappings(PROFILE)})
        index.fill(client, INDEX, COLLECTION.documents, lambda count: None)
        said = _run(capsys, "tune", INDEX, *asked, "--out", str(tmp_path / "t"))
        assert said == _without_rates(said, _run(capsys, "tune", INDEX, *asked, "--out", str(tmp_path / "t")))
        report = json.loads((tmp_path / "t" / "report.json").read_text())
        (template,) = templates.read(tmp_path / "t" / "templates")
        tuned = template.body["template"]["mappings"]["_meta"]["rescorer"]
        client.indices.put_mapping(index=INDEX, body={"_meta": {"rescorer": tuned}})
        system = "hybrid+rescore" if tuned.get("enabled", True) else "hybrid"
        _run(capsys, "evaluate", INDEX, *asked, "--system", system, "--out", str(tmp_path / "e"))
        client.indices.delete(index=INDEX)
    per_topic = json.loads((tmp_path / "e" / "report.json").read_text())["per_topic"][system]
    chosen, halves = report["chosen"], report["topics"]
    expected = chosen["nDCG@10"] * halves["tuning"] + chosen["nDCG@10 of the others"] * halves["reported_on"]
    assert sum(row["nDCG@10"] for row in per_topic.values()) == pytest.approx(expected, abs=1e-3)


def _without_rates(first: str, again: str) -> str:
    """The first text where both say the same from the tables on, save how long deriving took."""
    cut = [text[text.index("front of quality") :].split(" scored pairs in ") for text in (first, again)]
    same = [(before, rest.partition(" s. ")[2]) for before, rest in cut]
    return first if same[0] == same[1] else again
