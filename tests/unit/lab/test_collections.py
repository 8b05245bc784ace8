"""A judged collection: read as its publishers wrote it, sampled the same way everywhere, cut without losing answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_lab import collections
from rescorer_lab.collections import Collection, Document
from rescorer_lab.errors import LabError


def _written(folder: Path, corpus: list[dict[str, str]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(entry, ensure_ascii=False) for entry in corpus]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two", "metadata": {}}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t2\n2\tb\t1\n")
    return folder


def test_hotpotqa_is_read_as_it_is_published(tmp_path: Path) -> None:
    """A passage is named by its title and holds its sentences; relevant is each that holds a supporting fact, once."""
    question = {"_id": "q1", "question": "who?", "answer": "A", "supporting_facts": [["A", 0], ["B", 1], ["A", 2]]}
    (tmp_path / "hotpotqa.json").write_text(json.dumps([question]))
    (tmp_path / "hotpotqa_corpus.json").write_text(json.dumps({"A": ["One.", " Two."], "B": ["Three."]}))
    found = collections.read_hotpotqa(tmp_path)
    assert found.documents[0] == Document(id="A", title="A", body="One. Two.")
    assert (found.queries, found.qrels) == ({"q1": "who?"}, {"q1": {"A": 1, "B": 1}})
    assert found.answers == {"q1": "A"}


def _collection(documents: int = 10, queries: int = 4) -> Collection:
    """Query n is answered by document n alone."""
    return Collection(
        name="small",
        licence="CC0",
        digest="0",
        documents=tuple(Document(id=f"d{n}", title=f"title {n}", body=f"body {n}") for n in range(documents)),
        queries={f"q{n}": f"query {n}" for n in range(queries)},
        qrels={f"q{n}": {f"d{n}": 1} for n in range(queries)},
    )


def test_the_three_files_are_read_as_they_stand(tmp_path: Path) -> None:
    """Documents keep their order, a missing title is empty, grades are numbers, a heading is no judgment."""
    corpus = [{"_id": "b", "title": "B", "text": "second"}, {"_id": "a", "text": "first"}]
    found = collections.read(_written(tmp_path, corpus), "small", "CC0")
    assert [document.id for document in found.documents] == ["b", "a"]
    assert found.documents[1] == Document(id="a", title="", body="first")
    assert found.queries == {"1": "one", "2": "two"}
    assert found.qrels == {"1": {"a": 1, "b": 2}, "2": {"b": 1}}


@pytest.mark.parametrize("character", ["\u2028", "\u0085"])
def test_a_text_may_hold_line_separators_that_json_allows(tmp_path: Path, character: str) -> None:
    """Only a line feed ends a record: other separators inside a text stay in it."""
    line = f'{{"_id": "a", "text": "left{character}right"}}'
    _written(tmp_path, [])
    (tmp_path / "corpus.jsonl").write_text(line + "\n", encoding="utf-8")
    found = collections.read(tmp_path, "small", "CC0")
    assert found.documents[0].body == f"left{character}right"


def test_other_documents_have_another_digest(tmp_path: Path) -> None:
    """The digest changes with the corpus file, so that an index made of it can be told apart."""
    one = collections.read(_written(tmp_path / "one", [{"_id": "a", "text": "x"}]), "small", "CC0")
    two = collections.read(_written(tmp_path / "two", [{"_id": "a", "text": "y"}]), "small", "CC0")
    assert one.digest != two.digest


@given(fewer=st.integers(1, 50), more=st.integers(1, 50))
def test_a_smaller_sample_is_the_beginning_of_a_larger_one(fewer: int, more: int) -> None:
    """Samples never depend on their size, and hold each query once."""
    collection = _collection(documents=50, queries=50)
    small, large = sorted((collection.sample(fewer), collection.sample(more)), key=len)
    assert large[: len(small)] == small
    assert len(set(large)) == len(large)


def test_a_sample_is_not_in_the_order_of_the_ids() -> None:
    """The order is that of a hash: ids that were given out by alphabet don't decide who is asked."""
    sample = _collection(documents=50, queries=50).sample(50)
    assert sample != tuple(sorted(sample))


@pytest.mark.parametrize("count", [0, 5])
def test_a_sample_that_is_not_there_says_how_many_are(count: int) -> None:
    """None and more than all are refused with the bounds."""
    with pytest.raises(LabError, match="ask for 1 to 4"):
        _collection().sample(count)


def test_a_query_without_judgment_is_never_sampled() -> None:
    """Only queries with text and judgment count."""
    collection = _collection()
    unjudged = Collection(
        name="small",
        licence="CC0",
        digest="0",
        documents=collection.documents,
        queries={**collection.queries, "q9": "unjudged"},
        qrels={**collection.qrels, "q8": {"d1": 1}},
    )
    assert set(unjudged.sample(4)) == {"q0", "q1", "q2", "q3"}
    with pytest.raises(LabError):
        unjudged.sample(5)


@given(count=st.integers(2, 10))
def test_a_cut_collection_keeps_every_judged_document(count: int) -> None:
    """However small the cut, what is judged for the queries stays, filled up to the count in file order."""
    collection = _collection()
    kept = collection.documents_for(("q3", "q1"), count)
    ids = [document.id for document in kept]
    assert {"d3", "d1"} <= set(ids)
    assert len(ids) == count
    assert ids == sorted(ids, key=lambda name: int(name[1:]))


def test_no_count_is_the_whole_collection() -> None:
    """Where no number is given, nothing is left out."""
    collection = _collection()
    assert collection.documents_for(("q1",), None) is collection.documents


@pytest.mark.parametrize("count", [1, 11])
def test_a_cut_that_does_not_reach_or_is_too_much_says_its_bounds(count: int) -> None:
    """Fewer than the judged documents or more than there are is refused with both bounds."""
    with pytest.raises(LabError, match=r"ask for 2 \(the judged ones\) to 10, or all"):
        _collection().documents_for(("q0", "q1"), count)


def test_scifact_in_the_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unpacked folder is enough: nothing is said, nothing downloaded, and the licence is still named."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path))
    _written(tmp_path / "collections" / "scifact", [{"_id": "a", "text": "x"}])
    said: list[str] = []
    found = collections.scifact(said.append)
    assert said == []
    assert found.name == "scifact"
    assert "CC BY 4.0" in found.licence
    assert "ODC-By" in found.licence


@pytest.mark.slow
def test_fiqa_is_its_test_split_alone() -> None:
    """648 questions of the test split have judgments, from question 8 on; dev and train questions have none."""
    fiqa = collections.fiqa(lambda line: None)
    assert (len(fiqa.documents), len(fiqa.qrels)) == (57_638, 648)
    assert next(iter(fiqa.qrels)) == "8"
    assert all(query in fiqa.queries for query in fiqa.qrels)
