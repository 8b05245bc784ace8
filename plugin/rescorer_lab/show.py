"""What long work prints: steps with their time, progress with rate and time left, plain where nobody watches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Clock = Callable[[], float]
Advance = Callable[[int], None]
PLAIN_PARTS = 10
"""Lines of a progress that is written to a file."""


class Show:
    """The voice of a command. ``clock`` gives seconds."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begun_s = clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._begun_s

    def line(self, text: str = "") -> None:
        """One line, as it is: no mark-up is read, no word is broken off."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """A line that parts what comes from what came."""
        self._console.print()
        self._console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)

    def thing(self, renderable: RenderableType) -> None:
        """A table, as wide as the terminal, an empty line before it."""
        self._console.print()
        self._console.print(renderable)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what is done, then how long it took; an error leaves the second part out."""
        begun_s = self._clock()
        self.heading(f"• {text}")
        yield
        self.line(f"  {self._clock() - begun_s:.1f} s")

    @contextmanager
    def log(self, name: str) -> Iterator[None]:
        """Show what is logged under ``name``, at WARNING and above, as lines of its own instead of raw ones."""
        logger, handler = logging.getLogger(name), _Lines(self.line)
        propagated, logger.propagate = logger.propagate, False
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagated

    @contextmanager
    def progress(self, unit: str, total: int) -> Iterator[Advance]:
        """Yield what is told of each part done: a bar on a terminal, a line per tenth elsewhere."""
        if not self._console.is_terminal:
            yield _PlainProgress(self.line, self._clock, unit, total)
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(show_speed=False),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(unit, total=total, rate="")
            begun_s, done = self._clock(), 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                rate = done / max(self._clock() - begun_s, 1e-9)
                bar.update(task, advance=count, rate=f"{rate:.1f}/s")

            yield advance


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(f"  log: {record.levelname} {record.getMessage()}")


class _PlainProgress:
    """Counts, and says so at each tenth."""

    def __init__(self, say: Callable[[str], None], clock: Clock, unit: str, total: int) -> None:
        self._say, self._clock, self._unit, self._total = say, clock, unit, total
        self._begun_s = clock()
        self._done = 0

    def __call__(self, count: int) -> None:
        before, self._done = self._done, self._done + count
        if before * PLAIN_PARTS // self._total == self._done * PLAIN_PARTS // self._total:
            return
        rate = self._done / max(self._clock() - self._begun_s, 1e-9)
        left_s = (self._total - self._done) / rate
        self._say(f"  {self._done} of {self._total} {self._unit}, {rate:.1f}/s, {left_s:.0f} s left")
