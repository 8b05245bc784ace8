"""For answers, not only lists: whether the first hits of each system support what is known to be right.

Contexts are read from the index and judged a batch at a time, so that memory does not grow with the topics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from rescorer import config
from rescorer.config import DocumentField
from rescorer_lab import answers, documents
from rescorer_lab.answers import Gold, Verdict
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import significance
from rescorer_lab.evaluation.asking import NOT_RESCORED, Answer, Index
from rescorer_lab.evaluation.significance import Difference
from rescorer_lab.inputs.topics import Topic

BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a reader is given for one question."""

    question: str
    answers: Sequence[str]
    text: str


Judge = Callable[[Sequence[Context]], Sequence[Verdict | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """gold: right answers. hits: how many make a context. count: a text's size in ``unit``.

    judge: gives the verdicts; None compares words. fields: what is read of a document; empty means the profile's.
    pairs: systems to compare, before and after.
    """

    gold: Gold
    hits: int
    count: Callable[[str], int]
    unit: str
    judge: Judge | None = None
    fields: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Supported:
    """One system's contexts: by topic, a verdict and a size. unread: what the judge said nothing about."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    unread: int = 0

    @property
    def counts(self) -> Counter[Verdict]:
        """Contexts by verdict."""
        return Counter(self.verdicts.values())

    @property
    def size(self) -> float:
        """The mean size of a context, in the wish's unit."""
        return sum(self.sizes.values()) / len(self.sizes) if self.sizes else 0.0

    @property
    def share(self) -> dict[str, float]:
        """Topic → 1 where its context supports the answer."""
        return {topic: float(verdict == "supported") for topic, verdict in self.verdicts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What became of all systems' contexts. gains: (before, after) → what changes in the share that is supported."""

    systems: Mapping[str, Supported]
    gains: Mapping[tuple[str, str], Difference]
    wish: Wish
    notes: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """In JSON types, per topic as well."""
        return {
            "hits": self.wish.hits,
            "judged_by": "words" if self.wish.judge is None else "language model",
            "systems": {
                name: {"verdicts": dict(of.counts), "unread": of.unread, f"context_{self.wish.unit}": of.size}
                for name, of in self.systems.items()
            },
            "differences": [
                {"before": before, "after": after, **asdict(gain)} for (before, after), gain in self.gains.items()
            ],
            "per_topic": {name: of.verdicts for name, of in self.systems.items()},
        }


def support(client: Any, index: Index, found: Iterable[Answer], topics: Mapping[str, Topic], wish: Wish) -> Support:
    """Judge the context of each answer.

    LabError where no topic has a right answer, or nothing says which fields to read.
    """
    systems = _measured(client, index, found, topics, wish)
    return Support(
        systems=systems,
        gains=_gained(systems, wish.pairs),
        wish=wish,
        notes=tuple(_notes(topics, wish, systems)),
    )


def _measured(
    client: Any, index: Index, found: Iterable[Answer], topics: Mapping[str, Topic], wish: Wish
) -> dict[str, Supported]:
    fields = _fields(index, wish)
    known = _known(topics, wish)
    systems: dict[str, Supported] = {}

    def search(body: dict[str, Any]) -> Any:
        return client.search(index=index.name, body={**body, "rescore": NOT_RESCORED})

    todo = (answer for answer in found if answer.topic in known)
    while batch := list(islice(todo, BATCH)):
        wanted = {hit for answer in batch for hit in answer.hits[: wish.hits]}
        texts = documents.of_index(search, wanted, fields)
        contexts = [
            Context(
                question=topics[answer.topic].text,
                answers=wish.gold[answer.topic],
                text="\n\n".join(texts[hit] for hit in answer.hits[: wish.hits] if hit in texts),
            )
            for answer in batch
        ]
        verdicts = _by_words(contexts) if wish.judge is None else wish.judge(contexts)
        for answer, context, verdict in zip(batch, contexts, verdicts, strict=True):
            of = systems.setdefault(answer.system, Supported())
            of.sizes[answer.topic] = wish.count(context.text)
            if verdict is None:
                of.unread += 1
            else:
                of.verdicts[answer.topic] = verdict
    return systems


def _gained(found: Mapping[str, Supported], pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Difference]:
    """What changes in the share that is supported, over the topics that both have a verdict on."""
    gains = {}
    for before, after in pairs:
        shares = [found[name].share if name in found else {} for name in (before, after)]
        both = sorted(shares[0].keys() & shares[1].keys())
        if both:
            gains[before, after] = significance.difference(*({topic: of[topic] for topic in both} for of in shares))
    return gains


def _notes(topics: Mapping[str, Topic], wish: Wish, found: Mapping[str, Supported]) -> Iterator[str]:
    """What was left out, a sentence each."""
    without = sum(topic not in wish.gold for topic in topics)
    if without:
        yield f"{without:,} of {len(topics):,} topics have no right answer and are left out of support"
    if wish.judge is None:
        unfit = sum(topic in wish.gold and not answers.is_matched(wish.gold[topic]) for topic in topics)
        if unfit:
            yield f"{unfit:,} answers are yes or no, which words can't tell, and are left out: name an --endpoint"
    for name, of in found.items():
        if of.unread:
            yield f"{name}: the language model gave no verdict on {of.unread:,} contexts, which are left out"


def _known(topics: Mapping[str, Topic], wish: Wish) -> set[str]:
    """The topics whose answer can be judged."""
    known = {topic for topic in topics if topic in wish.gold}
    if not known:
        raise LabError(
            f"none of the {len(topics):,} topics is among the {len(wish.gold):,} with an answer",
            "give answers for these topics; ids are compared as they are written",
        )
    if wish.judge is None:
        known = {topic for topic in known if answers.is_matched(wish.gold[topic])}
    if not known:
        raise LabError("each answer is yes or no, which words can't tell", "name a language model with --endpoint")
    return known


def _fields(index: Index, wish: Wish) -> tuple[DocumentField, ...]:
    said = list(wish.fields) or index.said.get("document_fields")
    if not said:
        raise LabError(f"the profile of {index.name!r} says no fields to read", "name them: --context-field body")
    return config.document_fields(said, "--context-field")


def _by_words(contexts: Sequence[Context]) -> list[Verdict]:
    return [answers.by_words(context.text, context.answers) for context in contexts]
