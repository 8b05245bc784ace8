"""The values that one rescored search hands from room to room, and the effects that a flow asks its driver for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from rescorer.config import Activation, LongTexts, Stage
from rescorer.errors import Reason, ScorerError

Status = Literal["reranked", "partial", "skipped", "fallback"]
EmbedKind = Literal["query", "document"]
Engine = Literal["opensearch", "elasticsearch"]
LabelledText: TypeAlias = tuple[str, str]
"""(label, text) of one field of a document; the label may be empty."""


@dataclass(frozen=True, slots=True)
class Call:
    """One search as a client method receives it: the body, and every other keyword (``index``, ``params``, …)."""

    body: Any
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hit of the window as the scorer sees it. ``id`` is unique in its request and returns with the score.

    max_tokens: most tokens to read of each field, in their order, 0 for no bound; empty where no field has one.
    """

    id: str
    fields: tuple[LabelledText, ...]
    max_tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """One query and its candidates in first-stage order. ``model`` empty and ``max_tokens`` 0 mean: not said.

    long_texts: how long texts are cut into chunks; None reads the beginning.
    models: what the model ``auto`` may take, best first. cascade: several models in turn instead of ``model``; the last
    stage keeps none. Both want all candidates at once.
    """

    query: str
    candidates: Sequence[Candidate]
    model: str = ""
    max_tokens: int = 0
    activation: Activation = "none"
    long_texts: LongTexts | None = None
    models: tuple[str, ...] = ()
    cascade: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One candidate's score. ``index`` is its place in the request; ``logit`` decides the order.

    truncated: not all of its text was read. chunk_count: in how many chunks it was read. best_chunk: the number of the
    one with the highest logit, from 0.
    stage: the last stage of a cascade that scored it, from 1; 0 without a cascade. Later stages stand above.
    """

    id: str
    index: int
    logit: float
    score: float
    truncated: bool = False
    cached: bool = False
    chunk_count: int = 1
    best_chunk: int = 0
    stage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What one stage of a cascade was given, how many of these it scored, and how many milliseconds that took."""

    model: str
    candidates: int
    scored: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What ``auto`` took: the model, how many candidates from the first on, and why, on one line."""

    model: str
    window: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A scorer's answer, in any order.

    reason: why candidates are missing, or miss a stage of a cascade; None where every candidate has its score.
    timings: milliseconds inside the scorer by name, such as ``forward_ms``.
    stages: one entry per stage of a cascade. choice: what ``auto`` took.
    """

    results: Sequence[Scored]
    model: str = ""
    digest: str = ""
    reason: Reason | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    stages: Sequence[StageResult] = ()
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """Texts to turn into unit vectors. ``model`` empty means the scorer's default embedder."""

    texts: Sequence[str]
    kind: EmbedKind
    model: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """Effect: run this search in the engine. Result: the engine's answer. The engine's errors pass through."""

    call: Call


@dataclass(frozen=True, slots=True)
class SearchMany:
    """Effect: run this ``msearch``; ``body`` is a list of header, search, header, search, …

    Result: the engine's answer, with one entry in ``responses`` per search, an error where one failed.
    """

    call: Call


@dataclass(frozen=True, slots=True)
class SearchTemplate:
    """Effect: run this ``search_template`` in the engine. Result: the engine's answer."""

    call: Call


@dataclass(frozen=True, slots=True)
class SearchManyTemplates:
    """Effect: run this ``msearch_template`` in the engine. Result: the engine's answer."""

    call: Call


@dataclass(frozen=True, slots=True)
class Render:
    """Effect: fill in a search template. Result: the body that it makes. The engine's errors pass through."""

    call: Call


@dataclass(frozen=True, slots=True)
class OpenPointInTime:
    """Effect: open a point in time. Result: the engine's answer, with its id."""

    call: Call


@dataclass(frozen=True, slots=True)
class ReadMapping:
    """Effect: read the mappings of what ``options`` names. Result: index name → its answer."""

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Score:
    """Effect: score within ``timeout_s`` seconds. Result: Scores; or a ScorerError."""

    request: ScoreRequest
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ScoreMany:
    """Effect: score these requests together within ``timeout_s`` seconds.

    Result: for each request its Scores, or the ScorerError that it alone failed with; or a ScorerError for all.
    """

    requests: Sequence[ScoreRequest]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ScoreLater:
    """Effect: score within ``timeout_s`` seconds, beside the application, after the search was answered.

    finish: is told the Scores, or the ScorerError, in another thread or task. Result: False where that is too much now.
    """

    request: ScoreRequest
    timeout_s: float
    finish: Callable[[Scores | ScorerError], None]


@dataclass(frozen=True, slots=True)
class Embed:
    """Effect: embed within ``timeout_s`` seconds. Result: one vector per text; or a ScorerError."""

    request: EmbedRequest
    timeout_s: float


Effect: TypeAlias = (
    Search
    | SearchMany
    | SearchTemplate
    | SearchManyTemplates
    | Render
    | OpenPointInTime
    | ReadMapping
    | Score
    | ScoreMany
    | ScoreLater
    | Embed
)
T = TypeVar("T")
Flow: TypeAlias = Generator[Effect, Any, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one rescoring; ``response["rescore"]`` shows it.

    detail: the message of the error behind a fallback: what failed, where, and what mends it; or what closed a gate. No
    text of anybody's.
    window: how many first-stage hits were to be scored; scored: how many have a score.
    truncated: how many were not read to their end. chunks: how many chunks were scored, None where none were cut.
    took_ms: what rescoring added to the search. totals: hits that match (the engine's) and hits in the window.
    hits: first stage and score of each hit of the page, in the order of the page.
    stages: what each stage of a cascade did. choice: the model that ``auto`` took, and why.
    selected: what ``select`` found among the scored hits; None where it was not asked for.
    selected: counts of what ``select`` did to the scored hits; None where it was not asked for.
    """

    status: Status
    reason: Reason | None = None
    detail: str | None = None
    model: str | None = None
    model_digest: str | None = None
    window: int | None = None
    scored: int = 0
    cached: int = 0
    truncated: int = 0
    chunks: int | None = None
    took_ms: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    scale: Literal["logit", "sigmoid", "calibrated", "probability"] | None = None
    totals: Mapping[str, Any] | None = None
    hits: Sequence[Mapping[str, Any]] | None = None
    stages: Sequence[StageResult] = ()
    choice: Choice | None = None
    selected: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The outcome in JSON types; each key is always there, and null where there is nothing to say."""
        return {
            "status": self.status,
            "reason": None if self.reason is None else str(self.reason),
            "detail": self.detail,
            "model": self.model,
            "model_digest": self.model_digest,
            "window": self.window,
            "scored": self.scored,
            "cached": self.cached,
            "truncated": self.truncated,
            "chunks": self.chunks,
            "took": round(self.took_ms),
            "timings": {name: round(value, 3) for name, value in self.timings.items()},
            "scale": self.scale,
            "stages": [{**asdict(stage), "ms": round(stage.ms, 3)} for stage in self.stages] or None,
            "choice": None if self.choice is None else asdict(self.choice),
            "selected": None if self.selected is None else dict(self.selected),
            "totals": None if self.totals is None else dict(self.totals),
            "hits": None if self.hits is None else list(self.hits),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a search that a gate left alone would have gained; see :func:`rescorer.audit.compared`.

    reason: the gate's. depth: how many hits were compared. failed: why there is nothing to compare; None elsewhere.
    """

    reason: Reason
    depth: int = 0
    overlap: float = 1.0
    ndcg: float = 1.0
    first_changed: bool = False
    failed: str | None = None
