"""Click logs: User Behavior Insights and plain tables become the same rows, and what is wrong is named by its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rescorer_lab import cli, inputs
from rescorer_lab.errors import LabError
from rescorer_lab.inputs import clicks
from unit.lab import simulated_clicks as simulated

TABLE = """answer,query,doc_id,rank,clicked
a1,Late  Train,d1,1,0
a1,late train,d2,2,1
a2,refund,d1,1,1
"""


def _write(path: Path, entries: list[Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def _ubi(folder: Path, events: list[Any], **more: Any) -> clicks.Clicks:
    queries = [
        {"query_id": "a1", "user_query": "Late  Train", "query_response_hit_ids": ["d1", "d2"]},
        {"query_id": "a2", "user_query": "refund", "query_response_hit_ids": ["d1"]},
    ]
    return clicks.read_ubi(_write(folder / "q.ndjson", queries), _write(folder / "e.ndjson", events), **more)


def _rows(log: clicks.Clicks) -> list[tuple[int, str, str, int, bool]]:
    columns = zip(log.answer, log.pair, log.rank, log.clicked, strict=True)
    return [(int(answer), *log.pairs[pair], int(rank), bool(click)) for answer, pair, rank, click in columns]


EVENTS = [simulated.event("a1", "d2", 2), simulated.event("a2", "d1", 1, "click_through")]
ROWS = [(0, "late train", "d1", 1, False), (0, "late train", "d2", 2, True), (1, "refund", "d1", 1, True)]


def test_both_forms_give_the_same_rows(tmp_path: Path) -> None:
    """A row for each shown document; queries that differ in case and spaces are one."""
    table = tmp_path / "clicks.csv"
    table.write_text(TABLE)
    assert _rows(clicks.read_table(table)) == _rows(_ubi(tmp_path, EVENTS)) == ROWS


def test_exports_as_a_bulk_request_or_as_hits_read_alike(tmp_path: Path) -> None:
    """Lines that name an index are left out, and ``_source`` is looked into."""
    bulk = [entry for event in EVENTS for entry in ({"index": {"_index": "ubi_events"}}, event)]
    hits = [{"_index": "ubi_events", "_id": "1", "_source": event} for event in EVENTS]
    assert _rows(_ubi(tmp_path, bulk)) == _rows(_ubi(tmp_path, hits)) == ROWS


def test_impressions_win_over_the_hits_of_the_answer(tmp_path: Path) -> None:
    """Where it is logged what was on the screen, only that counts as shown, at the rank of the event."""
    seen = simulated.event("a1", "d2", 2, "impression")
    assert _rows(_ubi(tmp_path, [*EVENTS, seen])) == ROWS[1:]


def test_a_second_page_continues_the_list_of_its_query(tmp_path: Path) -> None:
    """A query that is logged twice under one id has ranks that go on."""
    pages = [
        {"query_id": "a1", "user_query": "late train", "query_response_hit_ids": hits} for hits in (["d1"], ["d2"])
    ]
    found = clicks.read_ubi(_write(tmp_path / "q", pages), _write(tmp_path / "e", EVENTS[:1]))
    assert _rows(found) == ROWS[:2]


def test_depth_cuts_what_is_shown(tmp_path: Path) -> None:
    """Ranks below the depth count neither as shown nor as clicked."""
    assert _rows(_ubi(tmp_path, EVENTS, depth=1)) == [ROWS[0], ROWS[2]]


def test_what_can_not_be_used_is_counted(tmp_path: Path) -> None:
    """Events of unknown queries and clicks on what was not shown are told, and other actions are nothing to tell."""
    events = [*EVENTS, simulated.event("a9", "d1", 1), simulated.event("a1", "d7", 1), {"action_name": "login"}]
    assert _ubi(tmp_path, events).notes == (
        "1 events belong to no query of the log",
        "1 clicks are on documents that were not shown",
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a1,late train,d1,1,0", ":5: shows d1 in answer a1 again"),
        ("a1,other,d3,1,0", ":5: asks 'other' in answer a1, and an earlier line 'late train'"),
        ("a3,other,d3,0,0", ":5: has the rank '0'"),
        ("a3,other,d3,3000000000,0", ":5: has the rank '3000000000'"),
        ("a3,other,d3,1,twice", ":5: has 'twice' for clicked"),
        ("a3,other,d3,1", ":5: holds 4 columns, the first line 5"),
    ],
)
def test_a_bad_line_of_a_table_is_named(tmp_path: Path, line: str, said: str) -> None:
    """The message tells line, what is wrong and what to write."""
    (tmp_path / "clicks.csv").write_text(TABLE + line + "\n")
    with pytest.raises(LabError) as refused:
        clicks.read_table(tmp_path / "clicks.csv")
    assert said in str(refused.value)
    assert refused.value.mend


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"action_name": "click", "query_id": "a1"}, ":1: is a click without event_attributes.object.object_id"),
        ([1], ":1: holds a list"),
        ({"_source": 3}, ":1: has a _source that is no object"),
    ],
)
def test_a_bad_event_is_named(tmp_path: Path, event: Any, said: str) -> None:
    """A click that does not say on what is refused by its line."""
    with pytest.raises(LabError) as refused:
        _ubi(tmp_path, [event])
    assert said in str(refused.value)


def test_a_log_that_shows_nothing_is_refused_with_the_counts(tmp_path: Path) -> None:
    """An error says why nothing is left."""
    queries = _write(tmp_path / "q", [{"query_id": "a1", "user_query": "x"}, {"query_id": "a2", "user_query": " "}])
    with pytest.raises(LabError, match="1 queries have no text; 1 answers showed nothing"):
        clicks.read_ubi(queries, _write(tmp_path / "e", []))


def test_a_log_without_a_click_is_refused_with_the_actions_that_it_holds(tmp_path: Path) -> None:
    """A wrong action, or nobody's click, would grade everything 0."""
    events = [event | {"action_name": "buy"} for event in EVENTS]
    with pytest.raises(LabError, match="holds no click on any of 3 documents") as refused:
        _ubi(tmp_path, [*events, simulated.event("a9", "d1", 1)])
    assert "1 events belong to no query of the log" in str(refused.value)
    assert "--action; there are 2 buy" in refused.value.mend
    table = tmp_path / "clicks.csv"
    table.write_text(TABLE.replace(",1\n", ",0\n"))
    with pytest.raises(LabError, match="holds no click on any of 3 documents"):
        clicks.read_table(table)


def test_a_click_log_becomes_a_collection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``rescorer judgments clicks`` writes a folder that ``inputs.judged`` reads, graded as the users' taste is."""
    taste = simulated.taste()
    queries, events = simulated.write_ubi(simulated.clicks(taste, answers=60), tmp_path)
    into = tmp_path / "judged"
    assert cli.run(["judgments", "clicks", str(into), "--queries", str(queries), "--events", str(events)]) == 0
    said = capsys.readouterr().out
    assert "2,400 answers to 40 queries" in said
    found = inputs.judged(collection=into)
    texts = {topic.text: topic.id for topic in found.topics.values()}
    liked = [found.qrels[texts["query 0"]].get(f"d{place}", 0) for place in range(simulated.DOCUMENTS)]
    assert liked[int(taste[0].argmax())] == 3
    assert liked[int(taste[0].argmin())] == 0
    first = json.loads((into / "judgments.jsonl").read_text().splitlines()[0])
    assert set(first) == {"query_id", "doc_id", "grade", "relevance", "looks"}


def test_a_log_that_is_too_short_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no pair was looked at often enough, the error says what to lower."""
    (tmp_path / "clicks.csv").write_text(TABLE)
    assert cli.run(["judgments", "clicks", str(tmp_path / "judged"), "--table", str(tmp_path / "clicks.csv")]) == 2
    assert "no pair has a judgment, and nothing is written; lower --least-looks" in capsys.readouterr().err
    assert not (tmp_path / "judged").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--table", "x.csv", "--events", "y"], "name --queries and --events, or --table alone"),
        (["--table", "x.csv", "--model", "ubm"], "--model 'ubm' is no click model; write pbm or sdbn"),
        (["--table", "x.csv", "--cuts", "0.5,0.2"], "--cuts 0.5,0.2 don't rise from above 0 to 1"),
        (["--table", "x.csv", "--cuts", "low"], "--cuts 'low' are no numbers"),
        (["--table", "x.csv"], "x.csv can't be read"),
    ],
)
def test_wrong_options_are_one_line(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is named with what to write instead."""
    assert cli.run(["judgments", "clicks", "nowhere", *given]) == 2
    assert said in capsys.readouterr().err
