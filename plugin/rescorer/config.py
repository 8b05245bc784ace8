"""What can be set about one rescoring, by whom, and how it is checked.

The same keys are valid in an index's profile (``mappings._meta.rescorer``), in a request
(``rescore.cross_encoder``) and in a call. Each layer says what it wants; the stronger layer wins key by key:
defaults < profile < request < call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScoreMode = Literal["replace", "total", "multiply", "avg", "max", "min"]
OnFailure = Literal["first_stage", "error"]
Activation = Literal["none", "sigmoid"]

MAX_WINDOW_SIZE = 10_000
"""The engines' own bound (``index.max_rescore_window``, ``index.max_result_window``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentField:
    """A field of the document that the model reads, and the label that stands before it (none if empty)."""

    field: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RescoreSettings:
    """All settings of one rescoring, checked. Build it with :func:`merged`, which names the wrong key.

    window_size: how many first-stage hits are scored, over all shards; 1 … 10,000.
    budget_ms: time for the rescoring part alone; ``None`` leaves it to the search's own deadline.
    query_weight, rescore_query_weight: as in the engines; not used by ``score_mode: replace``.
    """

    document_fields: tuple[DocumentField, ...] = ()
    query_text: str | None = None
    model: str = ""
    window_size: int = 100
    score_mode: ScoreMode = "replace"
    query_weight: float = 1.0
    rescore_query_weight: float = 1.0
    activation: Activation = "none"
    max_tokens: int = 0
    budget_ms: float | None = 10_000.0
    on_failure: OnFailure = "first_stage"
    enabled: bool = True
