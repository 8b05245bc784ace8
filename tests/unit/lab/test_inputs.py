"""Topics, qrels and runs from files: every form reads alike, and what is wrong is named by its line."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_lab.errors import LabError
from rescorer_lab.inputs import qrels, runs, topics
from rescorer_lab.inputs.lines import BadLine
from rescorer_lab.inputs.topics import Topic

ROBUST = """<top>
<num> Number: 301
<title> International Organized Crime
<desc> Description:
Identify organizations that take part.
</top>

<top>
<num> Number: 302
<title> Poliomyelitis &amp; Post-Polio
</top>
"""
DEEP = '<topics><topic number="1"><query>masks</query><question>do masks help?</question></topic></topics>'


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("topics.txt", "q1\tcancel a flight\nq2\tlate train\n"),
        ("topics.txt", "\ufeffq1 cancel a flight\r\n\r\nq2 late train"),
        ("topics.tsv", "q1\tcancel a flight\nq2\tlate train\n"),
        ("topics.tsv", "query_id\tquery\nq1\tcancel a flight\nq2\tlate train\n"),
        ("topics.csv", "text,id\ncancel a flight,q1\nlate train,q2\n"),
        ("topics.jsonl", '{"_id": "q1", "text": "cancel a flight"}\n{"id": "q2", "query": "late train"}\n'),
        ("topics.jsonl.gz", '{"_id": "q1", "text": "cancel a flight"}\n{"id": "q2", "query": "late train"}\n'),
    ],
)
def test_topics_of_every_form_are_the_same(tmp_path: Path, name: str, text: str) -> None:
    """Lines, tables with and without a heading, JSON and compressed files give the same topics in the same order."""
    found = topics.read(_file(tmp_path, name, text))
    assert list(found.values()) == [Topic(id="q1", text="cancel a flight"), Topic(id="q2", text="late train")]


def test_trecs_tags_are_read(tmp_path: Path) -> None:
    """Old and new tags: the title or query is the text, entities are characters."""
    old, new = topics.read(_file(tmp_path, "a", ROBUST)), topics.read(_file(tmp_path, "b.xml", DEEP))
    assert {key: topic.text for key, topic in old.items()} == {
        "301": "International Organized Crime",
        "302": "Poliomyelitis & Post-Polio",
    }
    assert [topic.text for topic in new.values()] == ["masks"]


def test_further_columns_stay_with_their_topic(tmp_path: Path) -> None:
    """What is neither id nor text can be sliced by; numbers are text."""
    found = topics.read(_file(tmp_path, "t.jsonl", '{"id": "q1", "text": "a", "lang": "en", "clicks": 3}\n'))
    assert found["q1"].columns == {"lang": "en", "clicks": "3"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.txt", "q1\ta\nq2\n", ":2: has a topic with an empty text"),
        ("t.txt", "q1\ta\nq1\tb\n", ":2: repeats topic q1 of line 1"),
        ("t.csv", 'id,text\nq1,"two\nlines"\nq2,b,c\n', ":4: holds 3 columns, the first line 2"),
        ("t.csv", "id,words\nq1,a\n", ":2: has none of the fields text"),
        ("t.jsonl", '{"id": "q1", "text": "a"}\n\n{"id": \n', ":3: is no JSON"),
        ("t.jsonl", "[1]\n", ":1: holds a list"),
        ("t.txt", "<top>\n<num> 1\n</top>", ":1: begins a topic without <title>"),
        ("t.txt", "\n\n", "holds no topic"),
    ],
)
def test_bad_topics_are_named_by_their_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    """The message tells file, line, what is wrong and what to write."""
    with pytest.raises(LabError) as refused:
        topics.read(_file(tmp_path, name, text))
    assert said in str(refused.value)
    assert refused.value.mend


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.qrels", "q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 -1\n"),
        ("a.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n"),
        ("a.tsv", "q1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n"),
        ("a.tsv", "\n\nq1\td1\t2\n\nq1\td2\t0\nq2\td1\t-1\n"),
        ("a.tsv", "q1\t0\td1\t2\nq1\t0\td2\t0\nq2\t0\td1\t-1\n"),
        ("a.csv", "grade,qid,docid\n2.0,q1,d1\n0,q1,d2\n-1,q2,d1\n"),
        ("a.jsonl", '{"qid": "q1", "doc_id": "d1", "grade": 2}\n{"qid": "q1", "doc_id": "d2", "grade": 0}\n'
                    '{"qid": "q2", "doc_id": "d1", "grade": -1}\n'),
        ("a.txt.gz", "q1 0 d1 2\nq1 0 d1 2\nq1 0 d2 0\nq2 0 d1 -1\n"),
    ],
)  # fmt: skip
def test_qrels_of_every_form_are_the_same(tmp_path: Path, name: str, text: str) -> None:
    """TREC's columns, BEIR's and other tables, JSON; a judgment that is repeated counts once."""
    assert qrels.read(_file(tmp_path, name, text)) == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("q1 0 d1 2\nq1 0 d1 1\n", ":2: grades d1 with 1 for topic q1, and an earlier line with 2"),
        ("q1 0 d1 1.5\n", ":1: has the grade '1.5'"),
        ("q1 0 d1 2000\n", ":1: has the grade '2000'"),
        ("q1 0 d1 nan\n", ":1: has the grade 'nan'"),
        ("q1 0 d1 inf\n", ":1: has the grade 'inf'"),
        ("q1 d1 1\n", ":1: holds 3 columns instead of 4"),
        ("", "holds no judgment"),
    ],
)
def test_bad_qrels_are_named_by_their_line(tmp_path: Path, text: str, said: str) -> None:
    """Contradictions, grades out of range and lines of other columns are refused."""
    with pytest.raises(LabError) as refused:
        qrels.read(_file(tmp_path, "a.qrels", text))
    assert said in str(refused.value)


def test_qrels_of_another_collection_are_refused_with_the_counts(tmp_path: Path) -> None:
    """Where hardly an id is shared nothing is measured, and the message says how many are."""
    asked = {f"q{number}": Topic(id=f"q{number}", text="a") for number in range(300)}
    with pytest.raises(LabError, match="0 of 300 topics are among the 200 judged ones"):
        qrels.check_overlap(asked, {f"x{number}": {"d": 1} for number in range(200)})
    assert qrels.check_overlap(asked, {"q7": {"d": 1}}) == ["q7"]


def test_a_run_is_ranked_by_score_and_equal_scores_keep_their_order(tmp_path: Path) -> None:
    """The rank that a file writes does not count, its scores do."""
    text = "q1 Q0 d1 1 0.5 me\nq1 Q0 d2 2 0.9 me\nq1 Q0 d3 3 0.5 me\n"
    assert list(runs.read(_file(tmp_path, "a.run", text))["q1"]) == ["d2", "d1", "d3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("q1 Q0 d1 1 nan me\n", ":1: has the score 'nan'"),
        ("q1 Q0 d1 1 high me\n", ":1: has the score 'high'"),
        ("q1 Q0 d1 1 2 me\nq1 Q0 d1 2 1 me\n", ":2: returns d1 for topic q1 again"),
        ("q1 Q0 d1 1 2\n", ":1: holds 5 columns instead of 6"),
        ("\n", "holds no hit"),
    ],
)
def test_bad_runs_are_named_by_their_line(tmp_path: Path, text: str, said: str) -> None:
    """NaN, words for scores, doubled documents and lines of other columns are refused."""
    with pytest.raises(LabError) as refused:
        runs.read(_file(tmp_path, "a.run", text))
    assert said in str(refused.value)


def test_e3_judged_coverage_is_told_and_none_is_an_error() -> None:
    """E3: the part of shown documents that is judged; a run of another collection is refused with the count."""
    found = {"q1": {"d1": 3.0, "d2": 2.0, "d3": 1.0}, "unjudged": {"d1": 1.0}}
    assert runs.coverage(found, {"q1": {"d1": 0, "d3": 1}}, 2) == 0.5
    with pytest.raises(LabError, match="none of the 3 documents"):
        runs.coverage(found, {"q1": {"other": 1}}, 10)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)
SCORES = st.floats(allow_nan=False, allow_infinity=False)


@given(found=st.dictionaries(NAMES, st.dictionaries(NAMES, SCORES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_is_written_reads_back(
    found: dict[str, dict[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A run that was written has the same documents, scores and order when it is read."""
    path = tmp_path_factory.mktemp("runs") / "a.run"
    ranked = {topic: dict(sorted(listed.items(), key=lambda entry: -entry[1])) for topic, listed in found.items()}
    runs.write(path, ranked, "me")
    read = runs.read(path)
    assert [(topic, list(listed.items())) for topic, listed in read.items()] == [
        (topic, list(listed.items())) for topic, listed in ranked.items()
    ]


@given(raw=st.binary(max_size=60), name=st.sampled_from(["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.gz"]))
def test_arbitrary_bytes_are_read_or_refused(raw: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a file holds, a reader answers with its error or a result."""
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(raw)
    for read in (topics.read, qrels.read, runs.read):
        with contextlib.suppress(LabError):
            assert read(path)


def test_a_line_number_stands_in_the_error() -> None:
    """Whoever catches it can point at the line."""
    error = BadLine(Path("a"), 7, "is wrong", "mend it")
    assert (error.number, str(error)) == (7, "a:7: is wrong; mend it")
