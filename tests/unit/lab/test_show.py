"""The demo's voice: steps with times, progress for eyes and for files, log lines in their place."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from rich.console import Console

from rescorer.testing import FakeClock
from rescorer_lab.show import Show


@pytest.fixture
def out() -> StringIO:
    """What was printed."""
    return StringIO()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until told."""
    return FakeClock()


@pytest.fixture
def show(out: StringIO, clock: FakeClock) -> Show:
    """A voice that writes to a file."""
    return Show(Console(file=out, width=60), clock)


def test_a_step_says_what_it_does_and_then_how_long_it_took(show: Show, out: StringIO, clock: FakeClock) -> None:
    """The title comes before the work, the time after it."""
    with show.step("engine"):
        assert "• engine" in out.getvalue()
        clock.advance(2.5)
    assert out.getvalue().rstrip().endswith("2.5 s")


def test_a_step_that_fails_claims_no_time(show: Show, out: StringIO) -> None:
    """An error goes on, and no time is printed as if the step were done."""
    with pytest.raises(KeyboardInterrupt), show.step("engine"):
        raise KeyboardInterrupt
    assert " s\n" not in out.getvalue()


def test_lines_are_printed_as_they_are(show: Show, out: StringIO) -> None:
    """Brackets are no markup, and a line longer than the terminal is not broken: it may be a path to copy."""
    line = "[bold]/a/very/long/path/" + "x" * 80
    show.line(line)
    assert out.getvalue() == line + "\n"


def test_progress_in_a_file_is_a_line_per_tenth(show: Show, out: StringIO, clock: FakeClock) -> None:
    """A thousand parts give ten lines, each with count, rate and time left."""
    with show.progress("documents", 1000) as advance:
        for _ in range(1000):
            clock.advance(0.5)
            advance(1)
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[2] == "  300 of 1000 documents, 2.0/s, 350 s left"


def test_progress_in_large_parts_says_each_part_once(show: Show, out: StringIO, clock: FakeClock) -> None:
    """Parts larger than a tenth are not told twice, and the last line is the whole."""
    with show.progress("documents", 70) as advance:
        for count in (32, 32, 6):
            clock.advance(1.0)
            advance(count)
    assert [line.split(" of ")[0].strip() for line in out.getvalue().splitlines()] == ["32", "64", "70"]


def test_progress_on_a_terminal_is_a_bar_with_rate_and_time_left(out: StringIO, clock: FakeClock) -> None:
    """Eyes get a bar, and what it leaves behind is nothing but the lines of the story."""
    show = Show(Console(file=out, width=100, force_terminal=True), clock)
    with show.progress("documents", 10) as advance:
        clock.advance(1.0)
        advance(5)
    assert "documents" in out.getvalue()
    assert "5/10" in out.getvalue()
    assert "5.0/s" in out.getvalue()
    assert "left" in out.getvalue()


def test_elapsed_time_counts_from_the_beginning(show: Show, clock: FakeClock) -> None:
    """The whole time is that since the voice was made."""
    clock.advance(84.0)
    assert show.elapsed_s == 84.0


def test_what_is_logged_becomes_a_line_of_the_story(show: Show, out: StringIO) -> None:
    """A warning inside is one line with its level; afterwards the logger is as it was."""
    logger = logging.getLogger("story.test")
    with show.log("story"):
        logger.warning("answered in %s order", "first-stage")
        logger.info("of no interest")
    assert out.getvalue() == "  log: WARNING answered in first-stage order\n"
    assert logging.getLogger("story").handlers == []
    assert logging.getLogger("story").propagate


def test_the_logger_is_as_it_was_after_an_error(show: Show) -> None:
    """An exception inside leaves no handler behind."""
    with pytest.raises(ValueError, match="x"), show.log("story"):
        raise ValueError("x")
    assert logging.getLogger("story").handlers == []
