"""The values that pass between the sidecar's rooms; no bytes of the wire, no tensors of a backend."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rescorer_sidecar.choice import Choice
from rescorer_sidecar.chunks import LongTexts

Kind = Literal["cross-encoder", "embedder"]
EmbedKind = Literal["query", "document"]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A part of a text under a label of its own; ``max_tokens`` bounds what is read of it, 0 for as much as fits."""

    text: str
    label: str = ""
    max_tokens: int = 0


Text: TypeAlias = str | tuple[Field, ...]
"""What the model reads of a candidate: a plain text, or fields one a line, each behind its label if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A text to score, under the caller's id."""

    id: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One model of a cascade; ``keep`` candidates at most go on to the next. 0: as many as there is time for."""

    model: str
    keep: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """One query and its candidates in first-stage order.

    model: a served name, or ``auto``: the best of ``models``, best first, that fits the deadline.
    cascade: several models in turn instead of ``model``.
    max_tokens: bound for query, text and special tokens; 0 means the model's own.
    long_texts: how long texts are cut into chunks; ``None`` cuts off their end.
    deadline_s: moment on the sidecar's clock; ``None`` waits as long as it takes.
    caller: who asks, as far as the door knows; requests of one caller share what is his.
    """

    query: str
    candidates: tuple[Candidate, ...]
    model: str = ""
    max_tokens: int = 0
    long_texts: LongTexts | None = None
    deadline_s: float | None = None
    cascade: tuple[Stage, ...] = ()
    models: tuple[str, ...] = ()
    caller: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """Texts to turn into vectors."""

    texts: tuple[str, ...]
    model: str = ""
    kind: EmbedKind = "document"
    deadline_s: float | None = None
    caller: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """One pair or text as the model reads it: ids and segment numbers of equal length, special tokens included."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """A candidate's pairs in the order of its text, one where it fits; ``truncated`` if some of it is in none."""

    pairs: tuple[Tokens, ...]
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScore:
    """What is known of one scored pair, whoever asked for it."""

    logit: float
    token_count: int
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCandidate:
    """A candidate's score; ``index`` is its place in the request, from 0.

    pair: of a text in chunks the logit that they make together, and the tokens of all of them.
    chunk_count: how many were scored. best_chunk: the number of the one with the highest logit, from 0.
    stage: the last stage of a cascade that scored it, from 1; 0 without a cascade.
    """

    id: str
    index: int
    pair: PairScore
    cached: bool
    chunk_count: int = 1
    best_chunk: int = 0
    stage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds inside the sidecar; the parts of one request may overlap."""

    admission_ms: float = 0.0
    tokenise_ms: float = 0.0
    queue_ms: float = 0.0
    forward_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a served model is; ``digest`` is the SHA-256 over the files that decide a score.

    source: the folder or hub name that it was loaded from, which callers may use as its name.
    """

    name: str
    digest: str
    kind: Kind
    max_tokens: int
    dimension: int
    backend: str
    device: str
    precision: str
    source: str = ""

    @property
    def scored_by(self) -> str:
        """What a score is known under: the files that decide it, and the arithmetic, which moves its last digits."""
        return "/".join((self.digest, self.backend, self.device.partition(":")[0], self.precision))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage of a cascade was given, how much of it has its score, and how long that took."""

    model: ModelCard
    candidates: int
    scored: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer:
    """Scores in request order; not complete where the deadline, or a pair that the model can't take, left some out.

    model: of a cascade the last that scored anything; logits are on its scale.
    """

    model: ModelCard
    results: tuple[ScoredCandidate, ...]
    is_complete: bool
    timings: Timings
    stages: tuple[StageResult, ...] = ()
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A unit vector, float32[dimension], of one text."""

    values: Floats
    token_count: int
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedAnswer:
    """One embedding per text, in request order."""

    model: ModelCard
    embeddings: tuple[Embedding, ...]
    timings: Timings


def text_digest(text: Text) -> bytes:
    """16 bytes over a text, whatever characters it holds; of fields over their labels, bounds and limits as well."""
    if isinstance(text, str):
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    whole = hashlib.blake2b(digest_size=16, person=b"fields")
    for field in text:
        label, said = (part.encode("utf-8", "surrogatepass") for part in (field.label, field.text))
        whole.update(b"%d %d %d " % (len(label), len(said), field.max_tokens))
        whole.update(label)
        whole.update(said)
    return whole.digest()
