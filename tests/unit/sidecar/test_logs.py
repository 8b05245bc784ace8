"""Log lines as people and as machines read them, and what a call is known by in them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from rescorer_sidecar import logs
from rescorer_sidecar.logs import Json, Ration, Text
from rescorer_sidecar.marks import MARK, Mark, mark_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "what the user typed"


def record(message: str, *given: object, error: BaseException | None = None, **fields: object) -> logging.LogRecord:
    """A line at INFO with these fields."""
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("rescorer_sidecar.service", logging.INFO, __file__, 1, message, given, info)
    made.fields = fields
    return made


@pytest.fixture
def marked() -> Iterator[None]:
    """A call with an id and a trace."""
    token = MARK.set(Mark("abc-1", TRACE))
    yield
    MARK.reset(token)


def raised() -> ValueError:
    """An error whose message repeats a text."""
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        return error


@pytest.mark.usefixtures("marked")
def test_a_json_line_is_one_object_with_the_call_and_its_fields() -> None:
    """Time, level, logger, message, request and trace, then what the line itself says."""
    line = Json().format(record("took %d\nlines", 2, outcome="failed", ms=1.5))
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "info",
        "logger": "rescorer_sidecar.service",
        "message": "took 2\nlines",
        "request_id": "abc-1",
        "trace_id": TRACE,
        "outcome": "failed",
        "ms": 1.5,
    }


@pytest.mark.usefixtures("marked")
def test_a_text_line_has_the_same_fields_at_its_end() -> None:
    """People read the message first."""
    line = Text().format(record("a request was not answered", outcome="overloaded"))
    assert line.endswith(f"a request was not answered request_id=abc-1 trace_id={TRACE} outcome=overloaded")


def test_outside_of_a_call_a_line_names_none() -> None:
    """No empty fields."""
    assert set(json.loads(Json().format(record("ready")))) == {"time", "level", "logger", "message"}


@pytest.mark.parametrize("formatter", [Json(), Text()])
def test_an_error_is_told_by_its_type_and_place_and_not_in_its_words(formatter: logging.Formatter) -> None:
    """Whatever an error says may be somebody's text; where it was raised is ours."""
    line = formatter.format(record("failed", error=raised()))
    assert SECRET not in line
    assert "ValueError" in line
    assert "in raised" in line


def test_json_lines_tell_of_start_and_stop_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside JSON every line is JSON, on standard error; beside text they are said as ever."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        logs.set_up("json")
        root.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]  # what pytest captures
        logs.speaker("json", print)("serving")
        logs.speaker("text", print)("serving")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    out, err = capsys.readouterr()
    assert out == "serving\n"
    assert json.loads(err)["message"] == "serving"


def test_lines_are_rationed_and_those_left_out_are_counted() -> None:
    """Under a flood some pass each second, and the next one tells how many did not."""
    ration = Ration(2.0)
    assert [ration.take(0.0) for _ in range(5)] == [0, 0, None, None, None]
    assert [ration.take(0.5), ration.take(0.5)] == [3, None]
    assert [ration.take(100.0) for _ in range(3)] == [1, 0, None]


def test_a_call_is_known_by_what_its_caller_says() -> None:
    """``x-request-id`` and the trace of ``traceparent``."""
    said = {"x-request-id": "shop/42:7", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    assert mark_of(said) == Mark("shop/42:7", TRACE)


@pytest.mark.parametrize("said", ["", "x" * 65, "two words", "line\nbreak", "{json}", "日本"])
def test_an_id_that_could_spoil_a_line_is_replaced(said: str) -> None:
    """Too long, empty, or of other characters: the call gets an id of ours, and each another one."""
    first, second = (mark_of({"x-request-id": said, "traceparent": "00-xyz"}) for _ in range(2))
    assert len(first.request_id) == 16
    assert first.request_id != second.request_id
    assert first.trace_id == ""
