"""``inputs.judged``: topics and qrels out of files, folders and ``ir_datasets`` belong together, or are refused."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescorer_lab import inputs
from rescorer_lab.errors import LabError

QUERIES = '{"_id": "q1", "text": "cancel a flight", "lang": "en"}\n{"_id": "q2", "text": "late train"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n"


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A folder as BEIR lays it out."""
    folder = tmp_path / "flights"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(QUERIES)
    (folder / "qrels" / "test.tsv").write_text(QRELS)
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t1\n")
    return folder


def test_a_folder_has_topics_and_judgments(beir: Path) -> None:
    """A BEIR folder alone is enough: its test judgments, its name, every column of a topic."""
    found = inputs.judged(collection=beir)
    assert found.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}
    assert found.topics["q1"] == inputs.Topic(id="q1", text="cancel a flight", columns={"lang": "en"})
    assert (found.name, found.notes) == ("flights", ())


def test_a_part_that_is_named_wins_over_the_collections(beir: Path) -> None:
    """Another split's judgments stand in for the folder's; the topics that they leave unjudged are told by count."""
    found = inputs.judged(collection=beir, qrels=beir / "qrels" / "dev.tsv")
    assert list(found.topics) == list(found.qrels) == ["q2"]
    assert found.notes == ("1 of 2 topics are judged by nobody and left out: q1",)


def test_two_files_are_enough_and_compressed_ones_too(beir: Path, tmp_path: Path) -> None:
    """Without a collection the judgments give the name."""
    packed = tmp_path / "mine.qrels.gz"
    packed.write_bytes(gzip.compress(b"q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n"))
    found = inputs.judged(topics=str(beir / "queries.jsonl"), qrels=str(packed))
    assert (found.name, found.qrels) == ("mine", inputs.judged(collection=beir).qrels)


def test_what_is_odd_is_told_with_counts(beir: Path) -> None:
    """Judgments of unknown topics and topics without anything relevant are named, never dropped in silence."""
    (beir / "qrels" / "test.tsv").write_text(QRELS.replace("q2\td1\t1", "q2\td1\t0") + "q9\td1\t1\n")
    assert inputs.judged(collection=beir).notes == (
        "1 of 3 judged topics are not among the topics: q9",
        "1 topics have no relevant document, and every list measures 0: q2",
    )


def test_judgments_of_another_collection_are_refused(beir: Path) -> None:
    """Where no id is shared the error has the counts."""
    (beir / "qrels" / "test.tsv").write_text(QRELS.replace("\nq", "\nx"))
    with pytest.raises(LabError, match="0 of 2 topics are among the 2 judged ones"):
        inputs.judged(collection=beir)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "there are no topics"),
        ({"topics": "queries.jsonl"}, "there are no qrels; name a file with --qrels"),
        ({"collection": "."}, "holds no topics, neither queries.jsonl nor"),
        ({"collection": "nowhere"}, "nowhere can't be read: No such file or directory"),
    ],
)
def test_what_is_missing_is_named(
    given: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part that is not there is an error that says which, and how to name it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match=said.replace("(", r"\(")):
        inputs.judged(**given)


@pytest.fixture
def registered(beir: Path, tmp_path: Path) -> Iterator[str]:
    """The name of a dataset that ir_datasets knows, made of local files."""
    ir_datasets = pytest.importorskip("ir_datasets")
    (tmp_path / "q.tsv").write_text("q1\tcancel a flight\nq2\tlate train\n")
    (tmp_path / "a.qrels").write_text("q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n")
    made = ir_datasets.create_dataset(queries_tsv=str(tmp_path / "q.tsv"), qrels_trec=str(tmp_path / "a.qrels"))
    name = f"rescorer-tests/{tmp_path.name}"
    ir_datasets.registry.register(name, made)
    return f"ir_datasets:{name}"


def test_a_name_of_ir_datasets_reads_like_a_folder(registered: str, beir: Path) -> None:
    """The library's topics and grades are the same values; its parts can be mixed with files."""
    found = inputs.judged(collection=registered)
    assert found.qrels == inputs.judged(collection=beir).qrels
    assert found.topics["q2"] == inputs.Topic(id="q2", text="late train")
    assert found.name == registered.removeprefix("ir_datasets:")
    assert list(inputs.judged(topics=registered, qrels=beir / "qrels" / "dev.tsv").topics) == ["q2"]


def test_a_dataset_that_can_not_be_had_is_one_line(registered: str, tmp_path: Path) -> None:
    """What the library raises while it downloads or reads is an error of ours with the name."""
    (tmp_path / "q.tsv").unlink()
    with pytest.raises(LabError, match=f"{registered} can't be had: .*q.tsv"):
        inputs.judged(collection=registered)


def test_an_unknown_name_of_ir_datasets_is_refused() -> None:
    """The error says whose name it should be."""
    pytest.importorskip("ir_datasets")
    with pytest.raises(LabError, match="ir_datasets:no/such is no dataset that ir_datasets knows"):
        inputs.judged(collection="ir_datasets:no/such")
