"""Whether the sidecar scores as ``transformers`` does: a model's logits for the same pairs, side by side.

## Decisions
2026-11: the pairs are ours and few. They are to find a wrong weight, layout, template or number format, which show in
any text of any length; how well a model ranks is what ``evaluate`` measures.
2026-11: in fp32 a logit may be off by 0.0001, or by so much of the largest where that is above 1. In other formats
logits move, and order is what counts: correlation is bounded instead.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rescorer_lab import models
from rescorer_sidecar import config, folders
from rescorer_sidecar.domain import Tokens
from rescorer_sidecar.prompts import GOLDEN, prompt_of

Logits = npt.NDArray[np.float32]
Tell = Callable[[], None]

WORST_IN_FP32 = 1e-4
PEARSON = {"fp32": 0.999999, "fp16": 0.9999, "bf16": 0.999, "int8": 0.99}
"""Least correlation of the logits with those of float32, by precision."""

WORDS = (1, 3, 8, 20, 45, 90, 160, 260, 400, 1500)
"""Lengths of the texts; the longest is beyond the limit of most models, so that cutting is compared too."""

FILLER = (
    "The committee met twice in spring and agreed on nothing but the date of the next meeting. ",
    "Prices of copper fell by 3.5 % in Q2, while demand for cable kept growing. ",
    "Zürich, São Paulo and 東京 share a sister-city programme; its budget is €12,000 a year. ",
    "Restart the router, wait 30 seconds, then open http://192.168.1.1/setup?mode=wan in a browser. ",
    "She wrote the letter by candle-light, folded it, and never sent it: «too late», she said. ",
    "def area(r): return 3.14159 * r ** 2  # no units, as usual ",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Logits of a backend beside those of ``transformers``.

    worst: the largest difference. swapped: how many of the pairs of texts of one query stand in another order.
    """

    backend: str
    precision: str
    pairs: int
    shortest_tokens: int
    longest_tokens: int
    largest_logit: float
    worst: float
    pearson: float
    swapped: int
    compared: int

    @property
    def worst_allowed(self) -> float | None:
        """How far off a logit may be; None where only the correlation counts."""
        return WORST_IN_FP32 * max(1.0, self.largest_logit) if self.precision == "fp32" else None

    @property
    def holds(self) -> bool:
        """Whether the difference lies within what is stated for this precision."""
        near = self.worst_allowed is None or self.worst <= self.worst_allowed
        return near and self.pearson >= PEARSON[self.precision]


def pairs() -> list[tuple[str, str]]:
    """Four queries, each with texts of growing length, of which some hold its answer and some another's."""
    return [
        (query, text(words, GOLDEN[(number + place) % len(GOLDEN)][1], place))
        for number, (query, _) in enumerate(GOLDEN)
        for place, words in enumerate(WORDS)
    ]


def check(folder: Path, backend: str, precision: str, tell: Tell, against: Path | None = None) -> Parity:
    """Load a cross-encoder and compare it. LabError where it, or what to compare it with, can't be loaded.

    tell: called for each pair that is compared. against: a folder that ``transformers`` can load, if it is not this.
    """
    with models.one_border():
        from rescorer_sidecar import models as served
        from rescorer_sidecar.backends import reference

        wanted = config.Settings(backend=backend, precision=precision)
        model = served.load(str(folder), "cross-encoder", wanted)
        asked = pairs()
        rows = [model.tokeniser.pairs(query, [answer], model.card.max_tokens)[0] for query, answer in asked]
        parts = _parts(rows, model.backend.facts.rows_per_forward)
        found = np.concatenate([model.backend.forward(part) for part in parts])
        model.backend.close()
        source, answers = against or folder, model.tokeniser.answers
        if not answers:
            expected = reference.classified(source, asked, model.card.max_tokens, tell)
        elif prompt_of(folders.described(folder), str(folder)) is None:
            expected = reference.judged(source, rows, tell)
        else:
            expected = reference.answered(source, rows, answers, tell)
    lengths = [len(row) for row in rows]
    made = compared(found, expected, model.card.precision, len(WORDS))
    return dataclasses.replace(
        made, backend=model.card.backend, shortest_tokens=min(lengths), longest_tokens=max(lengths)
    )


def compared(found: Logits, expected: Logits, precision: str, texts: int) -> Parity:
    """Both float32[pairs], ``texts`` of each query behind one another. NaN holds nothing."""
    both = [(found[first : first + texts], expected[first : first + texts]) for first in range(0, len(found), texts)]
    orders = [
        ((mine[one] - mine[other]) * (theirs[one] - theirs[other]) < 0)
        for mine, theirs in both
        for one, other in itertools.combinations(range(len(mine)), 2)
    ]
    constant = np.ptp(found) == 0 or np.ptp(expected) == 0
    return Parity(
        backend="",
        precision=precision,
        pairs=len(found),
        shortest_tokens=0,
        longest_tokens=0,
        largest_logit=float(np.abs(expected).max()),
        worst=float(np.abs(found - expected).max()),
        pearson=float(np.allclose(found, expected)) if constant else float(np.corrcoef(found, expected)[0, 1]),
        swapped=int(sum(orders)),
        compared=len(orders),
    )


def text(words: int, answer: str, seed: int) -> str:
    """An answer somewhere in that many words of filler."""
    filler = itertools.cycle(FILLER[seed % len(FILLER) :] + FILLER[: seed % len(FILLER)])
    held = answer.split()
    while len(held) < words:
        added = next(filler).split()
        held = added + held if len(held) % 2 else held + added
    return " ".join(held[:words])


def _parts(rows: Sequence[Tokens], most: int | None) -> Iterator[Sequence[Tokens]]:
    size = most or 16
    return (rows[first : first + size] for first in range(0, len(rows), size))
