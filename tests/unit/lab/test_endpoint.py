"""An endpoint on loopback that fails in every way it can: what was answered is kept, and only the rest is asked."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rescorer_lab import endpoint
from rescorer_lab.endpoint import Endpoint, EndpointError, Kept, Messages, Reply
from rescorer_lab.errors import LabError
from unit.lab import chat_server
from unit.lab.chat_server import Fault, Server


@pytest.fixture
def server() -> Iterator[Server]:
    """An endpoint that says what it is told in capitals."""
    with chat_server.running(str.upper) as made:
        yield made


def _prompts(count: int) -> list[Messages]:
    return [[{"role": "user", "content": f"word {number}"}] for number in range(count)]


def _ask(server: Server, folder: Path, count: int = 6, **more: Any) -> list[Reply]:
    given = {"url": server.url, "model": "m", "at_once": 2, "tries": 3, "pause_s": 0.0, "timeout_s": 20.0} | more
    with Kept(folder / "answers.sqlite") as kept:
        return endpoint.ask(Endpoint(**given), _prompts(count), kept, lambda count: None)


SAID = [f"WORD {number}" for number in range(6)]


def test_answers_come_in_the_order_of_the_prompts(server: Server, tmp_path: Path) -> None:
    """Each prompt has its own reply, with the tokens it took; model, settings and key go along."""
    found = _ask(server, tmp_path, key="secret", settings={"seed": 7})
    assert [reply.text for reply in found] == SAID
    assert found[0] == Reply(text="WORD 0", prompt_tokens=10, completion_tokens=1)
    assert {(body["model"], body["seed"]) for body in server.bodies} == {("m", 7)}
    assert server.keys == {"Bearer secret"}


def test_nothing_is_asked_twice(server: Server, tmp_path: Path) -> None:
    """A second run asks nothing; a third asks what is new, and another model is asked everything."""
    _ask(server, tmp_path, 4)
    assert [reply.text for reply in _ask(server, tmp_path, 4)] == SAID[:4]
    assert len(server.asked) == 4
    _ask(server, tmp_path, 6)
    assert len(server.asked) == 6
    _ask(server, tmp_path, 6, model="other")
    assert len(server.asked) == 12


def test_equal_prompts_are_asked_once(server: Server, tmp_path: Path) -> None:
    """Each has the reply all the same, and progress counts each."""
    told: list[int] = []
    given = Endpoint(url=server.url, model="m")
    with Kept(tmp_path / "answers.sqlite") as kept:
        found = endpoint.ask(given, _prompts(1) * 3, kept, told.append)
    assert [reply.text for reply in found] == ["WORD 0"] * 3
    assert (len(server.asked), sum(told)) == (1, 3)


@pytest.mark.parametrize(
    "fault",
    [(500, {}, "oops"), (503, {"Retry-After": "0"}, ""), (429, {"Retry-After": "Mon, 30 Nov 2026"}, "slow"), "drop"],
    ids=str,
)
def test_a_failure_that_passes_is_asked_again(server: Server, tmp_path: Path, fault: Fault) -> None:
    """Overload, errors of the server and lost connections cost another try, and no answer."""
    server.faults = {2: fault, 4: fault}
    assert [reply.text for reply in _ask(server, tmp_path)] == SAID
    assert (len(server.asked), server.requests) == (6, 8)


@pytest.mark.parametrize("fault", [(503, {}, "down"), "drop", (401, {}, '{"error": {"message": "bad key"}}')], ids=str)
def test_an_endpoint_that_fails_in_the_middle_is_resumed(server: Server, tmp_path: Path, fault: Fault) -> None:
    """The error says how many answers are kept; the next run asks exactly the others."""
    server.faults = dict.fromkeys(range(4, 30), fault)
    with pytest.raises(EndpointError, match="3 of 6 answers are kept: mend it and run the same again"):
        _ask(server, tmp_path)
    server.faults = {}
    assert [reply.text for reply in _ask(server, tmp_path)] == SAID
    assert sorted(server.asked) == sorted(text.lower() for text in SAID)


def test_one_refused_prompt_is_told_and_the_others_are_answered(server: Server, tmp_path: Path) -> None:
    """A prompt that is too long for the model has a reply with the reason, which is not kept."""
    server.faults = {3: (400, {}, json.dumps({"error": {"message": "too  long"}}))}
    found = _ask(server, tmp_path, at_once=1)
    assert [reply.refused for reply in found] == ["", "", "answers 400 (too long)", "", "", ""]
    assert [reply.text for reply in _ask(server, tmp_path)] == SAID


def test_an_endpoint_that_refuses_everything_is_not_asked_on(server: Server, tmp_path: Path) -> None:
    """A wrong setting costs five requests, not a thousand."""
    server.always = (400, {}, '{"error": {"message": "unknown field: temprature"}}')
    with pytest.raises(EndpointError, match=r"refuses all it is asked: answers 400 \(unknown field: temprature\)"):
        _ask(server, tmp_path, 1000)
    assert server.requests <= endpoint.MOST_REFUSED + 1


@pytest.mark.parametrize("text", ["", "hello", "[]", '{"choices": []}', '{"choices": [{"message": 3}]}'])
def test_what_is_no_such_endpoint_is_said(server: Server, tmp_path: Path, text: str) -> None:
    """Any other answer is an error that says what address is wanted."""
    server.always = (200, {}, text)
    with pytest.raises(EndpointError, match="does not answer like an OpenAI-compatible endpoint"):
        _ask(server, tmp_path)


@pytest.mark.parametrize(("url", "said"), [("nonsense", "is no address"), ("http://127.0.0.1:9", "can't be reached")])
def test_an_address_that_leads_nowhere_is_said(server: Server, tmp_path: Path, url: str, said: str) -> None:
    """The address stands in the error."""
    with pytest.raises(EndpointError, match=said) as refused:
        _ask(server, tmp_path, url=url)
    assert url in str(refused.value)


def test_the_key_stands_in_no_error(server: Server, tmp_path: Path) -> None:
    """An endpoint that repeats the key does not get it into a message, and its object hides it."""
    server.always = (403, {}, '{"error": {"message": "sk-12345 may not do this"}}')
    with pytest.raises(EndpointError) as refused:
        _ask(server, tmp_path, key="sk-12345")
    assert "answers 403 (*** may not do this)" in str(refused.value)
    assert "sk-12345" not in repr(Endpoint(url="u", model="m", key="sk-12345"))


def test_a_file_that_keeps_no_answers_is_refused(tmp_path: Path) -> None:
    """A file of another kind is named, and left as it is."""
    (tmp_path / "answers.sqlite").write_text("not a database, and long enough to be read as one" * 20)
    with pytest.raises(LabError, match=r"answers.sqlite can't keep answers: .*; name another file with --kept"):
        Kept(tmp_path / "answers.sqlite")


def test_kept_answers_can_be_read_by_anyone(server: Server, tmp_path: Path) -> None:
    """The file is a table of SQLite, a row for each answer."""
    _ask(server, tmp_path, 2)
    with contextlib.closing(sqlite3.connect(tmp_path / "answers.sqlite")) as file:
        rows = file.execute("SELECT reply FROM answers").fetchall()
    assert sorted(json.loads(row[0])["text"] for row in rows) == SAID[:2]
