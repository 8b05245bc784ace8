"""Whether a search is worth rescoring: by what is asked, and by how clearly the first stage has answered it.

Opt-in: without a :class:`Gate` every search is rescored. What is left alone here keeps its first-stage order, and its
outcome is ``skipped`` with one of the reasons ``gate_…``.

## Decisions
2026-11: patterns are those of the engines' ``wildcard`` query and of file names (``*``, ``?``, ``[0-9]``), not regular
expressions: a profile is written by whoever may write a mapping, and must not be able to stop the application that
reads it. Python's own translation of these patterns never tries one place twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from rescorer import shapes
from rescorer.errors import Reason

QueryType = Literal["code", "one_word", "quoted"]

REASONS = frozenset(reason for reason in Reason if reason.startswith("gate_"))
"""Those of this room."""

LEAST_DIGITS = 3
"""Of a word that is a code."""

MOST_CAPITALS = 5
"""Of an abbreviation beside a code, as in ``RFC 7231``."""

_QUOTES = ('""', "''", "“”", "„“", "«»", "‹›", "‘’")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Scripts that put no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Which searches are left alone.

    query_types: kinds of query by their form: ``code``, ``one_word``, ``quoted``.
    patterns: kinds of the user's own by name, ``{"part number": "[a-z][a-z]-*"}``; of the whole query, in any case.
    margin: the first hit leads the second by this share of its own first-stage score; in 0 … 1, unset is never.
    audit: this share of what is left alone is scored all the same, after it was answered, to tell what that costs.
    """

    query_types: tuple[QueryType, ...] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    margin: float | None = None
    audit: float = 0.0


SHAPE = shapes.or_off(
    shapes.record(
        Gate,
        {
            "query_types": shapes.listed(shapes.word(QueryType), '["code", "one_word"]'),
            "patterns": shapes.table(shapes.text(200), '{"part number": "[a-z][a-z]-*"}'),
            "margin": shapes.number(0, 1, above=True),
            "audit": shapes.number(0, 1),
        },
        '{"query_types": ["code"], "margin": 0.5}, or false',
    )
)


@dataclass(frozen=True, slots=True)
class Closed:
    """Why a search is left alone; ``detail`` says it in numbers and names, without a text of the user's."""

    reason: Reason
    detail: str


def of_query(gate: Gate | None, query: str) -> Closed | None:
    """Why a search for this text is left alone, as far as the text alone decides; None where it does not."""
    if gate is None:
        return None
    said = " ".join(query.split()).casefold()
    for name, pattern in gate.patterns.items():
        if fnmatchcase(said, pattern.casefold()):
            return Closed(Reason.GATE_PATTERN, f"the query has the form that the gate calls {name!r}")
    for kind in gate.query_types:
        if _IS[kind](query.strip()):
            return Closed(Reason(f"gate_{kind}"), f"the query is of the type {kind}")
    return None


def is_audited(gate: Gate | None, lot: float) -> bool:
    """Whether a search is of the audit sample, if it is left alone; ``lot`` is drawn evenly from 0 to below 1."""
    return gate is not None and lot < gate.audit


def of_scores(gate: Gate | None, first: float | None, second: float | None) -> Closed | None:
    """Why a search whose first hits have these first-stage scores is left alone; None where it is not."""
    if gate is None or gate.margin is None or first is None or second is None or first <= 0:
        return None
    lead = (first - second) / first
    if lead < gate.margin:
        return None
    return Closed(
        Reason.GATE_MARGIN, f"the first hit leads by {lead:.3f} of its score, and the margin is {gate.margin:g}"
    )


def _is_code(query: str) -> bool:
    words = query.split()
    codes = [sum(map(str.isdigit, word)) >= LEAST_DIGITS for word in words]
    beside = [word.isalpha() and word.isupper() and len(word) <= MOST_CAPITALS for word in words]
    return any(codes) and all(code or short for code, short in zip(codes, beside, strict=True))


def _is_one_word(query: str) -> bool:
    return len(query.split()) == 1 and not _UNSPACED.search(query)


def _is_quoted(query: str) -> bool:
    inner = query[1:-1]
    return any(query[:1] == pair[0] and query[-1:] == pair[1] and pair[1] not in inner for pair in _QUOTES) and bool(
        inner
    )


_IS: Mapping[QueryType, Callable[[str], bool]] = {"code": _is_code, "one_word": _is_one_word, "quoted": _is_quoted}
