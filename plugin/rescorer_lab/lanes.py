"""Work side by side: several at a time, results in order, no more held than needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Job], Result], jobs: Iterable[Job], lanes: int) -> Iterator[Result]:
    """The results in the order of the jobs, ``lanes`` at a time; twice as many are held at most.

    The first error is raised in its turn; what has not begun then never begins.
    """
    under_way: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(lanes)
    try:
        for job in jobs:
            under_way.append(pool.submit(work, job))
            if len(under_way) >= 2 * lanes:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
