"""``rescorer evaluate`` on a real engine, from files to report, as a search team runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescorer import templates
from rescorer.opensearch import OpenSearch
from rescorer.testing import FakeScorer
from rescorer_lab import cli
from rescorer_lab.demo import index
from unit.lab.demo_data import small_collection

COLLECTION = small_collection(24)
INDEX = "rescorer-evaluated"
SCORER = "rescorer.testing:FakeScorer"
METHOD = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
VECTOR = {"type": "knn_vector", "dimension": 8, "method": METHOD}
"""The fake scorer's vectors are short."""


@pytest.fixture(scope="module")
def engine(opensearch_url: str) -> Iterator[str]:
    """A node that holds the collection."""
    with OpenSearch(hosts=[opensearch_url], rescorer=FakeScorer()) as client:
        templates.apply(client, templates.shipped())
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(index=INDEX, body={"mappings": {"properties": {"embedding": VECTOR}}})
        index.fill(client, INDEX, COLLECTION.documents, lambda count: None)
        yield opensearch_url
        client.indices.delete(index=INDEX)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Topics as JSONL with a column of their own, qrels as TREC."""
    topics = [
        json.dumps({"_id": id_, "text": text, "team": ("even", "odd")[int(id_[1:]) % 2]})
        for id_, text in COLLECTION.queries.items()
    ]
    qrels = [f"{id_} 0 {document} {grade}" for id_, of in COLLECTION.qrels.items() for document, grade in of.items()]
    (tmp_path / "topics.jsonl").write_text("\n".join(topics))
    (tmp_path / "qrels.txt").write_text("\n".join(qrels))
    return ["--topics", str(tmp_path / "topics.jsonl"), "--qrels", str(tmp_path / "qrels.txt")]


def _evaluated(engine: str, files: list[str], out: Path, *more: str) -> int:
    words = ["evaluate", INDEX, *files, "--engine-url", engine, "--scorer", SCORER, "--out", str(out)]
    return cli.run([*words, "--system", "bm25", "--system", "knn", *more])


def test_systems_are_measured_side_by_side(
    engine: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run from files to tables, report, page and runs; asked again it asks the engine nothing and says the same."""
    more = ["--system", "bm25+rescore:window_size=10", "--slice", "team", "--measure", "MRR@10"]
    assert _evaluated(engine, files, tmp_path / "out", *more) == 0
    said = capsys.readouterr().out
    first = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "recall: of the window" in said
    assert "where it fails" in said
    assert first["topics"] == 24
    assert set(first["slices"]) == {"team"}
    assert first["systems"]["bm25+rescore:window_size=10"]["outcomes"] == {"reranked": 24}
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 3
    assert _evaluated(engine, files, tmp_path / "out", *more) == 0
    assert _figures(json.loads((tmp_path / "out" / "report.json").read_text())) == _figures(first)


def _figures(report: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in report.items() if name != "made"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--system", "bm26"], "no system"),
        (["--measure", "nDGC@10"], "no measure"),
        (["--slice", "colour"], "they have team"),
        (["--run", "theirs"], "NAME=FILE"),
        (["--sample", "0"], "--sample"),
    ],
)
def test_what_is_wrong_is_told_before_the_first_search(
    engine: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    """One line with the option and the mend, and nothing written."""
    assert _evaluated(engine, files, tmp_path / "out", *more) != 0
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_qrels_of_another_collection_are_refused_with_the_counts(
    engine: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Near-zero overlap is no evaluation with bad figures, but an error."""
    (tmp_path / "other.txt").write_text("x1 0 d1 1\nx2 0 d2 1\n")
    assert _evaluated(engine, [*files, "--qrels", str(tmp_path / "other.txt")], tmp_path / "out") == 1
    assert "0 of 24 topics" in capsys.readouterr().err
