"""Kinds of queries, told from their text, and slices by a column of the topics."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from rescorer_lab.inputs.topics import Topic

QUESTION = re.compile(
    r"(?i)^\s*(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|should|would|will|"
    r"has|have|may|might)\b|\?\s*$"
)
CODE = re.compile(r"(?=\S*\d)\S*[^\W\d_]\S*|\S*\d[\S]*[-_./:]\S*\d\S*")
"""A token of letters and digits, or of digits with something between them: a part number, a version, a date."""

LENGTHS = ((2, 3), (4, 7), (8, 15))
MOST_KEYWORDS = 5
LEAST_TOPICS = 5
"""Slices of fewer topics are not shown: their intervals say nothing."""


def of(topic: Topic, columns: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """(kind, value) of every slice that a topic is in."""
    words = topic.text.split()
    yield "length", _length(len(words))
    yield "form", _form(topic.text, len(words))
    yield "codes", _codes(topic.text)
    yield "script", _script(topic.text)
    for column in columns:
        yield column, topic.columns.get(column) or "–"


def sliced(topics: Mapping[str, Topic], columns: Sequence[str] = ()) -> dict[str, dict[str, list[str]]]:
    """Kind → value → topic ids. Values of fewer than LEAST_TOPICS are left out, and kinds that part nothing."""
    found: dict[str, dict[str, list[str]]] = {}
    for topic in topics.values():
        for kind, value in of(topic, columns):
            found.setdefault(kind, {}).setdefault(value, []).append(topic.id)
    parting = {kind: values for kind, values in found.items() if len(values) > 1}
    large = {
        kind: {value: ids for value, ids in sorted(values.items()) if len(ids) >= LEAST_TOPICS}
        for kind, values in parting.items()
    }
    return {kind: values for kind, values in large.items() if values}


def _length(words: int) -> str:
    if words <= 1:
        return "1 word"
    return next((f"{least}–{most} words" for least, most in LENGTHS if words <= most), f"{LENGTHS[-1][1] + 1}+ words")


def _form(text: str, words: int) -> str:
    if QUESTION.search(text):
        return "question"
    return "keywords" if words <= MOST_KEYWORDS else "statement"


def _codes(text: str) -> str:
    if CODE.search(text):
        return "with a code"
    return "with a number" if re.search(r"\d", text) else "words only"


def _script(text: str) -> str:
    """The script of most of its letters, by their Unicode names: LATIN, CYRILLIC, HIRAGANA, …"""
    names = [unicodedata.name(letter, "?").split()[0].lower() for letter in text if letter.isalpha()]
    return max(set(names), key=lambda name: (names.count(name), name)) if names else "none"
