"""Pages are cut from one list: the window, rescored, then the tail in first-stage order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """``from`` and ``size`` of a search, counted in hits."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The place after the page's last hit."""
        return self.offset + self.size

    def cut(self, hits: Sequence[T]) -> list[T]:
        """The page's own hits out of a list that begins with the first hit of all."""
        return list(hits[self.offset : self.end])


def touches(page: Page, window_size: int) -> bool:
    """Whether any hit of the page lies in the window, so that rescoring can change the page."""
    return page.offset < window_size


def to_fetch(page: Page, window_size: int) -> Page:
    """What to ask the engine for: the whole window and the page, from the first hit on."""
    return Page(0, max(window_size, page.end))
