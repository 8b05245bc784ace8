"""Systems as a command line says them: read right, or refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import systems


def test_a_first_stage_stands_for_itself() -> None:
    """``bm25`` is asked as it is, and nothing of it is rescored."""
    found = systems.read("bm25")
    assert (found.name, found.first_stage, found.is_rescored) == ("bm25", "bm25", False)


def test_settings_are_read_as_json_where_they_are_json() -> None:
    """Numbers, lists and words each come out as what they are, commas within a list included."""
    found = systems.read('w=hybrid+rescore:window_size=50,document_fields=["title","body"],score_mode=total')
    assert (found.name, found.first_stage) == ("w", "hybrid")
    assert found.rescore == {"window_size": 50, "document_fields": ["title", "body"], "score_mode": "total"}


def test_a_search_of_ones_own_takes_the_query_in_its_places(tmp_path: Path) -> None:
    """Each ``{{query}}`` of the file becomes the topic's text, whatever characters that holds."""
    file = tmp_path / "mine.json"
    file.write_text('{"query": {"bool": {"should": [{"match": {"a": "{{query}}"}}], "boost": 2}}}')
    found = systems.read(f"mine=@{file}+rescore")
    assert (found.name, found.first_stage, found.is_rescored) == ("mine", "own", True)
    filled = systems.filled(found.body, 'say "x"\\n')
    assert filled == {"query": {"bool": {"should": [{"match": {"a": 'say "x"\\n'}}], "boost": 2}}}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("bm26", "no system"),
        ("", "no system"),
        ("bm25:window_size=3", "+rescore before the colon"),
        ("bm25+rescore:window_size=0", "window_size"),
        ("bm25+rescore:windowsize=10", "window_size"),
        ("bm25+rescore:window_size", "key=value"),
        ("mine=@nowhere.json", "can't be read"),
    ],
)
def test_what_is_no_system_is_refused_with_the_mend(spec: str, says: str) -> None:
    """The error names the part that is wrong and how to write it."""
    with pytest.raises(LabError, match=says.replace("+", r"\+")):
        systems.read(spec)


def test_a_search_without_a_place_for_the_query_is_refused(tmp_path: Path) -> None:
    """It would ask the same thing for every topic."""
    file = tmp_path / "mine.json"
    file.write_text('{"query": {"match_all": {}}}')
    with pytest.raises(LabError, match="place for the query"):
        systems.read(f"@{file}")


def test_two_systems_of_one_name_are_refused() -> None:
    """Their answers could not be told apart."""
    with pytest.raises(LabError, match="a name of its own"):
        systems.read_all(["bm25", "bm25"])
