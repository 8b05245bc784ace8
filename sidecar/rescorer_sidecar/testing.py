"""For tests of the sidecar and of what talks to it: a clock set by hand, a tiny tokenizer, a model without weights."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Callable
from pathlib import Path

from rescorer_sidecar.backends import Backend
from rescorer_sidecar.backends.fake import POISON, FakeBackend
from rescorer_sidecar.costs import Costs
from rescorer_sidecar.domain import Kind, ModelCard
from rescorer_sidecar.models import Model
from rescorer_sidecar.tokenise import Tokeniser

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = ("cancel", "flight", "refund", "hotel", "late", "train", "cat", "catalog", "alog")
POISON_WORD = "poison"
"""A text with this word makes :class:`~rescorer_sidecar.backends.fake.FakeBackend` fail."""


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, begin_s: float = 1_000.0) -> None:
        self._now_s = begin_s

    def now_s(self) -> float:
        """Seconds, as set."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass; it never goes back."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock can't go back by {-seconds} s")
        self._now_s += seconds


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Let the event loop turn until ``holds()``, for conditions that no event tells; TimeoutError if it never does."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # no time passes here, the loop just gets its turn
            await asyncio.sleep(0)


def vocabulary() -> dict[str, int]:
    """Special tokens, some whole words, then each ASCII letter, digit and mark, alone and as the rest of a word."""
    marks = string.ascii_lowercase + string.digits + string.punctuation
    entries = (*SPECIALS, *WORDS, *marks, *(f"##{mark}" for mark in marks))
    return {**{entry: number for number, entry in enumerate(entries)}, POISON_WORD: POISON}


def write_tokeniser(folder: Path) -> Path:
    """A BERT-like WordPiece ``tokenizer.json`` of a few dozen entries in ``folder``, which is made if need be."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    known = vocabulary()
    made = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))  # noqa: S106  # a token of text, no secret
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, known[name]) for name in ("[CLS]", "[SEP]")],
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return folder


def fake_model(
    folder: Path,
    *,
    kind: Kind = "cross-encoder",
    name: str = "fake",
    digest: str = "d1",
    max_tokens: int = 64,
    backend: Backend | None = None,
    costs: Costs | None = None,
) -> Model:
    """A model to open a :class:`~rescorer_sidecar.service.Service` with; its tokenizer comes from ``folder``."""
    runs = backend or FakeBackend(dimension=8 if kind == "embedder" else 0)
    card = ModelCard(
        name=name,
        digest=digest,
        kind=kind,
        max_tokens=max_tokens,
        dimension=runs.facts.dimension,
        backend=runs.facts.name,
        device=runs.facts.device,
        precision=runs.facts.precision,
    )
    prefix = "cat " if kind == "embedder" else ""
    return Model(card=card, tokeniser=Tokeniser(folder), backend=runs, query_prefix=prefix, costs=costs)
