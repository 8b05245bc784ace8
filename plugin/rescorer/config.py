"""What can be set about one rescoring, by whom, and how it is checked.

The same keys are valid in an index's profile (``mappings._meta.rescorer``), in a request
(``rescore.cross_encoder``) and in a call. Each layer says what it wants; the stronger layer wins key by key:
defaults < profile < request < call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from rescorer import checks
from rescorer.calibration import SHAPE as CALIBRATION
from rescorer.calibration import Calibration
from rescorer.choices import SHAPE as SELECT
from rescorer.choices import Select
from rescorer.errors import InvalidSetting
from rescorer.gate import SHAPE as GATE
from rescorer.gate import Gate

ScoreMode = Literal["replace", "total", "multiply", "avg", "max", "min"]
OnFailure = Literal["first_stage", "error"]
Activation = Literal["none", "sigmoid"]

Models: TypeAlias = tuple[str, ...]
"""Names of models, best first."""

AUTO = "auto"
"""The model's name that leaves the choice to the sidecar."""

MOST_STAGES = 4
MOST_CHUNKS = 64
LEAST_CHUNK_TOKENS = 8
MODEL_KEYS = frozenset(["model", "models", "cascade"])
"""One wish in three keys: a layer that says one of them sets aside what weaker layers say in all three."""

WindowSize: TypeAlias = int


class AutoWindow(int):
    """A window as large as the budget allows, by what the model costs in the sidecar: this many hits at most."""


AUTO_WINDOW = AutoWindow(200)

MAX_TOKENS = 1_000_000
MAX_WINDOW_SIZE = 10_000
"""The engines' own bound (``index.max_rescore_window``, ``index.max_result_window``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentField:
    """A field of the document that the model reads, and the label that stands before it (none if empty).

    max_tokens: most tokens that are read of it, its label not counted; 0 for as many as there is room for.
    """

    field: str
    label: str = ""
    max_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LongTexts:
    """How a text that the model can't read in one piece is cut into chunks; its score is that of the best ones.

    chunk_tokens: most tokens of a chunk, the short fields before it not counted; 0 for as many as there is room for.
    overlap_tokens: tokens that a chunk shares with the next; None for an eighth of a chunk.
    most_chunks: what lies beyond so many is not read. top: the mean of so many best logits is the text's.
    """

    chunk_tokens: int = 0
    overlap_tokens: int | None = None
    most_chunks: int = 16
    top: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One model of a cascade; ``keep`` candidates at most go on to the next. 0: as many as there is time for."""

    model: str
    keep: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RescoreSettings:
    """All settings of one rescoring, checked. Build it with :func:`merged`, from what :func:`parse` returned.

    document_fields: what the model reads, in this order; ``"title"`` or ``{"field": "title", "label": "Title"}``.
    query_text: what the user asked; where nobody says it, it is taken from the query itself.
    model: a name that the sidecar lists; empty means its default; ``auto`` takes the best of ``models`` for the budget.
    models: what ``auto`` may take, best first; beside ``"model": "auto"`` alone.
    cascade: 2 to 4 models in turn instead of ``model``: ``[{"model": "small", "keep": 20}, {"model": "large"}]``.
    window_size: how many first-stage hits are scored, over all shards; 1 … 10,000, or ``auto`` by ``budget_ms``.
    score_mode: ``replace`` (the cross-encoder's score alone) or, as in the engines, ``total multiply avg max min``.
    query_weight, rescore_query_weight: weights of first-stage score and cross-encoder score; not used by ``replace``.
    activation: ``none`` (scores are logits) or ``sigmoid`` (scores in 0 … 1); the order is the same.
    max_tokens: bound for query and text together; 0 means the model's own.
    long_texts: ``truncate`` reads the beginning of what is longer, ``chunks`` all of it; an object says how.
    budget_ms: time for the rescoring part alone, in milliseconds.
    on_failure: ``first_stage`` answers in first-stage order and says so; ``error`` raises.
    enabled: ``false`` switches rescoring off and says so.
    gate: which searches are left alone because rescoring does not pay there; ``false`` is none.
    select: what else orders the window: novelty, near-duplicates, brevity, recency, source; ``false`` is nothing.
    calibration: a curve from logits to scores in 0 … 1 that takes the place of ``activation``; ``false`` is none.
    min_score: hits with a lower cross-encoder score are left out, and so is the tail, which has none; unset keeps all.
    """

    document_fields: tuple[DocumentField, ...] = ()
    query_text: str | None = None
    model: str = ""
    models: Models = ()
    cascade: tuple[Stage, ...] = ()
    window_size: WindowSize = 100
    score_mode: ScoreMode = "replace"
    query_weight: float = 1.0
    rescore_query_weight: float = 1.0
    activation: Activation = "none"
    max_tokens: int = 0
    long_texts: LongTexts | None = None
    budget_ms: float = 10_000.0
    on_failure: OnFailure = "first_stage"
    enabled: bool = True
    gate: Gate | None = None
    select: Select | None = None
    calibration: Calibration | None = None
    min_score: float | None = None


def parse(mapping: Any, path: str) -> dict[str, Any]:
    """Check a partial mapping of settings and return what it says, in the types of :class:`RescoreSettings`.

    Raises InvalidSetting with the path of the first wrong key or value; the mapping is left as it was.
    """
    checks.checked_keys(mapping, (field.name for field in fields(RescoreSettings)), path)
    found = {key: CHECKS[key](value, f"{path}.{key}") for key, value in mapping.items()}
    _check_models(found, mapping, path)
    return found


def merged(*layers: Mapping[str, Any]) -> RescoreSettings:
    """One complete set of settings from parsed layers; see :func:`layered`."""
    return RescoreSettings(**layered(*layers))


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """What parsed layers say together; a later layer wins key by key, and :data:`MODEL_KEYS` as one."""
    together: dict[str, Any] = {}
    for layer in layers:
        if not MODEL_KEYS.isdisjoint(layer):
            together = {key: value for key, value in together.items() if key not in MODEL_KEYS}
        together |= layer
    return together


def _check_models(found: Mapping[str, Any], mapping: Mapping[str, Any], path: str) -> None:
    """Raise InvalidSetting where the keys that name models do not fit each other."""
    if "cascade" in found and "model" in found:
        raise InvalidSetting(f"{path}.cascade", mapping["cascade"], "stands beside model; leave one of the two out")
    if "models" in found and found.get("model") != AUTO:
        mend = f'is read beside "model": "{AUTO}" alone; write that too, or leave models out'
        raise InvalidSetting(f"{path}.models", mapping["models"], mend)
    if "cascade" in found and found.get("calibration") is not None:
        mend = "stands beside cascade, whose scores are those of several models; leave one of the two out"
        raise InvalidSetting(f"{path}.calibration", mapping["calibration"], mend)
    if found.get("model") == AUTO and "models" not in found:
        mend = 'needs models beside it, best first, such as "models": ["large", "small"]'
        raise InvalidSetting(f"{path}.model", AUTO, mend)


def document_fields(value: Any, path: str) -> tuple[DocumentField, ...]:
    """A list of field names or ``{"field", "label"}`` objects, each field once."""
    if not isinstance(value, list | tuple) or not value:
        raise InvalidSetting(path, value, 'must be a list of field names, such as ["title", "body"]')
    found = tuple(_document_field(entry, f"{path}[{place}]") for place, entry in enumerate(value))
    if len({entry.field for entry in found}) < len(found):
        raise InvalidSetting(path, value, "names a field twice")
    return found


def _document_field(entry: Any, path: str) -> DocumentField:
    if isinstance(entry, DocumentField):
        return entry
    if isinstance(entry, str):
        return DocumentField(field=checks.text(entry, path))
    checks.checked_keys(entry, ("field", "label", "max_tokens"), path)
    if "field" not in entry:
        raise InvalidSetting(path, dict(entry), 'must hold "field"')
    return DocumentField(
        field=checks.text(entry["field"], f"{path}.field"),
        label=checks.any_text(entry.get("label", ""), f"{path}.label"),
        max_tokens=checks.json_whole(0, MAX_TOKENS)(entry.get("max_tokens", 0), f"{path}.max_tokens"),
    )


def long_texts(value: Any, path: str) -> LongTexts | None:
    """``truncate`` (None), ``chunks``, or an object that says how the chunks are cut."""
    if isinstance(value, LongTexts):
        return value
    if isinstance(value, str):
        return LongTexts() if checks.one_of(Literal["truncate", "chunks"])(value, path) == "chunks" else None
    if not isinstance(value, Mapping):
        raise InvalidSetting(path, value, 'must be "truncate", "chunks", or an object such as {"most_chunks": 8}')
    checks.checked_keys(value, LONG_TEXT_CHECKS, path)
    found = LongTexts(**{key: LONG_TEXT_CHECKS[key](entry, f"{path}.{key}") for key, entry in value.items()})
    _check_chunks(found, path)
    return found


def _check_chunks(found: LongTexts, path: str) -> None:
    """That the settings of chunks fit together."""
    if 0 < found.chunk_tokens < LEAST_CHUNK_TOKENS:
        mend = f"must be {LEAST_CHUNK_TOKENS} or more, or 0 for as many as there is room for"
        raise InvalidSetting(f"{path}.chunk_tokens", found.chunk_tokens, mend)
    if found.chunk_tokens and (found.overlap_tokens or 0) > found.chunk_tokens // 2:
        mend = f"may be {found.chunk_tokens // 2} at most, half of chunk_tokens"
        raise InvalidSetting(f"{path}.overlap_tokens", found.overlap_tokens, mend)
    if found.top > found.most_chunks:
        raise InvalidSetting(f"{path}.top", found.top, f"may be {found.most_chunks} at most, which is most_chunks")


def models(value: Any, path: str) -> Models:
    """A list of names of models, each once."""
    if not isinstance(value, list | tuple) or not value:
        raise InvalidSetting(path, value, 'must be a list of models, best first, such as ["large", "small"]')
    found = tuple(checks.text(entry, f"{path}[{place}]") for place, entry in enumerate(value))
    if len(set(found)) < len(found):
        raise InvalidSetting(path, value, "names a model twice")
    return found


def cascade(value: Any, path: str) -> tuple[Stage, ...]:
    """A list of stages, each of another model; all but the last may say how many they keep."""
    if not isinstance(value, list | tuple) or not 1 < len(value) <= MOST_STAGES:
        such = '[{"model": "small", "keep": 20}, {"model": "large"}]'
        raise InvalidSetting(path, value, f"must be a list of 2 to {MOST_STAGES} stages, such as {such}")
    found = tuple(_stage(entry, f"{path}[{place}]") for place, entry in enumerate(value))
    if found[-1].keep:
        where = f"{path}[{len(found) - 1}].keep"
        raise InvalidSetting(where, found[-1].keep, "stands in the last stage, which nothing follows; leave it out")
    if len({stage.model for stage in found}) < len(found):
        raise InvalidSetting(path, value, "names a model twice")
    return found


def _stage(entry: Any, path: str) -> Stage:
    if isinstance(entry, Stage):
        return entry
    checks.checked_keys(entry, ("model", "keep"), path)
    if "model" not in entry:
        raise InvalidSetting(path, dict(entry), 'must hold "model"')
    keep = checks.json_whole(1, MAX_WINDOW_SIZE)(entry["keep"], f"{path}.keep") if "keep" in entry else 0
    return Stage(model=checks.text(entry["model"], f"{path}.model"), keep=keep)


def window_size(value: Any, path: str) -> WindowSize:
    """A whole number, or ``auto``."""
    if value == AUTO:
        return AUTO_WINDOW
    if isinstance(value, str):
        raise InvalidSetting(path, value, f'must be a whole number in 1..{MAX_WINDOW_SIZE}, or "{AUTO}"')
    return checks.json_whole(1, MAX_WINDOW_SIZE)(value, path)


LONG_TEXT_CHECKS: Mapping[str, Callable[[Any, str], int]] = {
    "chunk_tokens": checks.json_whole(0, MAX_TOKENS),
    "overlap_tokens": checks.json_whole(0, MAX_TOKENS),
    "most_chunks": checks.json_whole(1, MOST_CHUNKS),
    "top": checks.json_whole(1, MOST_CHUNKS),
}
CHECKS: Mapping[str, Callable[[Any, str], Any]] = {
    "document_fields": document_fields,
    "query_text": checks.text,
    "model": checks.any_text,
    "models": models,
    "cascade": cascade,
    "window_size": window_size,
    "score_mode": checks.one_of(ScoreMode),
    "query_weight": checks.number,
    "rescore_query_weight": checks.number,
    "activation": checks.one_of(Activation),
    "max_tokens": checks.json_whole(0, MAX_TOKENS),
    "long_texts": long_texts,
    "budget_ms": checks.positive,
    "on_failure": checks.one_of(OnFailure),
    "enabled": checks.boolean,
    "gate": GATE.read,
    "select": SELECT.read,
    "calibration": CALIBRATION.read,
    "min_score": checks.number,
}
"""What each setting must be: ``check(value, path)`` returns it in its own type or raises InvalidSetting."""
