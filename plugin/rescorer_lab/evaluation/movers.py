"""Which topics move most between two systems, what was shown for them, and how many may lose how much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.asking import NOT_RESCORED, Answer, Index
from rescorer_lab.evaluation.significance import LEAST_GAIN
from rescorer_lab.inputs import Judged, Topic
from rescorer_lab.side_by_side import SHOWN, Lists

PAGE = 500
MOST_LETTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many topics may lose: no more than ``percent`` of them over ``loss``; None for any number."""

    loss: float = 0.1
    percent: float | None = None

    def __post_init__(self) -> None:
        if not self.loss >= 0:
            raise LabError(f"--lose-over {self.loss:g} is no loss", "name how much a topic may lose, such as 0.1")
        if self.percent is not None and not 0 <= self.percent <= 100:
            raise LabError(f"--at-most {self.percent:g} is no part of the topics", "name a percentage, such as 3")

    def lost(self, gains: Mapping[str, float]) -> list[str]:
        """The topics that lose over ``loss``, the worst first."""
        over = self.loss + LEAST_GAIN
        return sorted((topic for topic, gain in gains.items() if gain < -over), key=lambda topic: gains[topic])

    def is_kept(self, gains: Mapping[str, float]) -> bool:
        """Whether few enough lose that much."""
        return self.percent is None or 100 * len(self.lost(gains)) <= self.percent * len(gains)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """A topic that gains or loses, with both lists beside each other."""

    topic: Topic
    gain: float
    lists: Lists


def biggest(gains: Mapping[str, float], count: int) -> list[str]:
    """The topics with the largest gains, then those with the largest losses, ``count`` of each; none that stays."""
    ordered = sorted(gains, key=lambda topic: (-gains[topic], topic))
    up = [topic for topic in ordered if gains[topic] > LEAST_GAIN][:count]
    down = [topic for topic in reversed(ordered) if gains[topic] < -LEAST_GAIN][:count]
    return up + down


def movers(
    gains: Mapping[str, float], topics: Sequence[str], judged: Judged, answers: Iterable[Answer], names: tuple[str, str]
) -> list[Mover]:
    """These topics with the hits that both systems gave; titles are the ids until :func:`titled`."""
    wanted = set(topics)
    hits = {(answer.system, answer.topic): answer.hits for answer in answers if answer.topic in wanted}
    return [
        Mover(
            topic=judged.topics[topic],
            gain=gains[topic],
            lists=Lists(
                before=hits[names[0], topic],
                after=hits[names[1], topic],
                headings=(f"before: {names[0]}", f"after: {names[1]}"),
                titles={},
                judged=judged.qrels[topic],
            ),
        )
        for topic in topics
    ]


def shown(found: Sequence[Mover]) -> set[str]:
    """The documents whose titles are needed."""
    return {document for mover in found for ids in (mover.lists.before, mover.lists.after) for document in ids[:SHOWN]}


def titles(client: Any, index: Index, ids: Iterable[str]) -> dict[str, str]:
    """Document id → the beginning of the first field that the model reads; nothing where the profile names none."""
    fields = index.said.get("document_fields") or ()
    if not fields:
        return {}
    name, wanted = fields[0].field, sorted(ids)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), PAGE):
        page = wanted[start : start + PAGE]
        body = {"query": {"ids": {"values": page}}, "_source": [name], "size": len(page), "rescore": NOT_RESCORED}
        for hit in client.search(index=index.name, body=body)["hits"]["hits"]:
            text = hit.get("_source", {}).get(name)
            if isinstance(text, str):
                found[hit["_id"]] = " ".join(text.split())[:MOST_LETTERS]
    return found
