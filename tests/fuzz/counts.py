"""How many inputs each target saw in this run; conftest.py prints it at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

SEEN: Counter[str] = Counter()


def fed(target: Callable[[Any], None], value: Any) -> None:
    """Give the target one more input."""
    SEEN[target.__name__] += 1
    target(value)
