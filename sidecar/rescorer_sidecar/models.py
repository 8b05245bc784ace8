"""From a name to a warm model: find its files, look at them, name their version, load them, run once.

The rooms behind it: :mod:`.sources` (a name's folder), :mod:`.folders` (what it says of itself), :mod:`.limits`,
:mod:`.running` (which backend, and whether there is memory), :mod:`.weights`.

## Decisions
2026-11: a sidecar that can't load one of its models does not start, and names every model that it can't load. One that
served the rest would answer NOT_FOUND to some of its callers, and a rolling update would not notice.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rescorer_sidecar import costs, folders, running, sources
from rescorer_sidecar.backends import Backend
from rescorer_sidecar.backends.arrays import Pooling
from rescorer_sidecar.config import Settings
from rescorer_sidecar.costs import Costs
from rescorer_sidecar.domain import Kind, ModelCard, Tokens
from rescorer_sidecar.errors import BadCheckpoint, ConfigError
from rescorer_sidecar.limits import DEFAULT_LIMIT, limit
from rescorer_sidecar.memory import Budget
from rescorer_sidecar.prompts import Prompt, check_orderings, classifier_prompt_of, prompt_of
from rescorer_sidecar.tokenise import Tokeniser

logger = logging.getLogger(__name__)

BGE_PREFIX = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model with all that it needs to answer.

    costs: as measured on this machine, None where never. memory_bytes: about what it takes, as told from its files.
    origin: what it was asked for by, revision included, and is loaded again by.
    """

    card: ModelCard
    tokeniser: Tokeniser
    backend: Backend
    query_prefix: str = ""
    document_prefix: str = ""
    costs: Costs | None = None
    memory_bytes: int = 0
    origin: str = ""

    def pulse(self) -> Tokens:
        """A short row that it answers as long as it lives."""
        if self.card.kind == "cross-encoder":
            return self.tokeniser.pairs("warm", ["warm"], self.card.max_tokens)[0]
        return self.tokeniser.texts(["warm"], self.card.max_tokens)[0]


def load_all(settings: Settings, tell: Callable[[Model], None]) -> list[Model]:
    """Load and warm every model that is named, the first of a kind first, and tell each.

    They share the memory of ``memory_mb``. ConfigError where some can't be loaded, each with its reason; nothing stays
    loaded then.
    """
    budget = Budget(settings.memory_mb * 1_000_000)
    named: tuple[tuple[Kind, str], ...] = (("cross-encoder", settings.model), ("embedder", settings.embedder))
    loaded: list[Model] = []
    refused: list[ConfigError] = []
    for kind, source in [(kind, source) for kind, names in named for source in sources.listed(names)]:
        try:
            loaded.append(load(source, kind, settings, budget))
        except ConfigError as error:
            refused.append(error)
        else:
            tell(loaded[-1])
    if not refused:
        return loaded
    for model in loaded:
        model.backend.close()
    if len(refused) == 1:
        raise refused[0]
    raise ConfigError(f"{len(refused)} models can't be loaded: " + " | ".join(map(str, refused))) from refused[0]


def load(source: str, kind: Kind, settings: Settings, budget: Budget | None = None) -> Model:
    """Load and warm one model; blocks for as long as that takes. ConfigError says in one line what is missing."""
    folder = sources.resolve(source)
    try:
        return _loaded(source, folder, kind, settings, budget or Budget(settings.memory_mb * 1_000_000))
    except OSError as error:
        mend = "see whether its disk is there and can be read"
        raise BadCheckpoint(error.filename or folder, f"can't be read: {error.strerror or error}", mend) from error
    except (MemoryError, RuntimeError) as error:  # torch's, of a device that is full among others
        what = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"model {source} can't be loaded: {what}; see rescorer models check {source}") from error


def _loaded(source: str, folder: Path, kind: Kind, settings: Settings, budget: Budget) -> Model:
    folders.check_whole(folder)
    facts = folders.described(folder)
    name = sources.name_of(source)
    prompt = prompt_of(facts, source) if kind == "cross-encoder" else None
    if kind == "cross-encoder" and prompt is None:
        folders.check_reranker(folder, facts)
    tokeniser = Tokeniser(folder, prompt)
    folders.check_tokeniser(folder / "tokenizer.json", facts, tokeniser.vocabulary, tokeniser.specials)
    taken_bytes = budget.taken_bytes
    wanted = running.Wanted(source=source, folder=folder, facts=facts, settings=settings, budget=budget)
    pooling = _pooling(folder, name, settings.pooling) if kind == "embedder" else None
    backend = running.backend(wanted, pooling) if prompt is None else running.decoder(wanted, tokeniser.answers)
    card = ModelCard(
        name=name,
        digest=folders.digest(folder),
        kind=kind,
        max_tokens=limit(facts, settings.max_tokens, prompt),
        dimension=backend.facts.dimension,
        backend=backend.facts.name,
        device=backend.facts.device,
        precision=backend.facts.precision,
        source=sources.unpinned(source),
    )
    model = Model(
        card=card,
        tokeniser=tokeniser,
        backend=backend,
        query_prefix=_query_prefix(name, facts, settings.query_prefix),
        document_prefix=_document_prefix(facts, settings.query_prefix),
        costs=costs.read(folder, card),
        memory_bytes=budget.taken_bytes - taken_bytes,
        origin=source,
    )
    try:
        warm(model)
    except Exception as error:  # whatever a model that doesn't fit its files may raise
        what = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"model {source} loads, but fails on its first text: {type(error).__name__}: {what}"
        ) from error
    if prompt is not None:
        _check_orderings(model, prompt, source)
    return _prompted(model, folder, facts, source) if kind == "cross-encoder" else model


def _check_orderings(model: Model, prompt: Prompt, source: str) -> None:
    def scorer(query: str, texts: Sequence[str]) -> Iterable[float]:
        rows = model.tokeniser.pairs(query, texts, DEFAULT_LIMIT)
        size = model.backend.facts.rows_per_forward or len(rows)
        return (logit for at in range(0, len(rows), size) for logit in model.backend.forward(rows[at : at + size]))

    check_orderings(prompt, scorer, source)


def _prompted(model: Model, folder: Path, facts: Mapping[str, Any], source: str) -> Model:
    """A classifier of a generative family with that family's prompt, where its golden orderings speak for it."""
    prompt = classifier_prompt_of(facts)
    if prompt is None:
        return model
    try:
        prompted = replace(model, tokeniser=Tokeniser(folder, prompt))
        _check_orderings(prompted, prompt, source)
    except ConfigError as error:
        logger.warning("model %s is given bare pairs: %s", source, error)
        return model
    logger.info("model %s is asked with the template of %s", source, prompt.family)
    return prompted


def warm(model: Model) -> None:
    """Run one short and one full-length row, whatever the limit of other rows: bounded work, paid before readiness.

    ValueError where a result is NaN or infinite, as where a format is too narrow for a model.
    """
    for words in (8, min(model.card.max_tokens, DEFAULT_LIMIT)):
        text = " ".join(["warm"] * words)
        if model.card.kind == "cross-encoder":
            rows = model.tokeniser.pairs("warm", [text], model.card.max_tokens)
        else:
            rows = model.tokeniser.texts([text], model.card.max_tokens)
        if not np.isfinite(model.backend.forward(rows)).all():
            raise ValueError("its result is no number; use another --precision")


def _query_prefix(name: str, facts: Mapping[str, Any], wanted: str) -> str:
    """As asked for; else the query prompt of sentence-transformers' files; else what English bge models have."""
    if wanted != "auto":
        return wanted
    prompt = (facts.get("prompts") or {}).get("query")
    if prompt is not None:
        return str(prompt)
    return BGE_PREFIX if re.match(r"bge[-_]\w+[-_]en", name, re.IGNORECASE) else ""


def _document_prefix(facts: Mapping[str, Any], wanted: str) -> str:
    """The document prompt of sentence-transformers' files; none where the query's prefix was set by hand."""
    prompts = facts.get("prompts") or {}
    return str(prompts.get("document") or prompts.get("passage") or "") if wanted == "auto" else ""


def _pooling(folder: Path, name: str, wanted: str) -> Pooling:
    """As asked for; else as the sentence-transformers folder says; else CLS for bge and the mean for others."""
    if wanted != "auto":
        return "cls" if wanted == "cls" else "mean"
    described = folder / "1_Pooling" / "config.json"
    if described.is_file():
        return "cls" if folders.read_json(described).get("pooling_mode_cls_token") else "mean"
    return "cls" if "bge" in name.lower() else "mean"
