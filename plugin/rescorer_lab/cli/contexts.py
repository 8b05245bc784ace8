"""What ``rescorer evaluate --answers`` asks for: read before the first search, judged after the last one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rescorer_lab import answers
from rescorer_lab.answers import Verdict
from rescorer_lab.endpoint import Endpoint, Kept, ask
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.asking import Answer, Index
from rescorer_lab.evaluation.story import Told
from rescorer_lab.evaluation.supported import Context, Judge, Wish, support
from rescorer_lab.inputs import Topic

NAME = "verdicts.sqlite"
KEY = "OPENAI_API_KEY"
"""The variable that holds the endpoint's key."""

AnswersFile = Annotated[Path | None, typer.Option("--answers", help="Right answers by topic: JSONL, CSV or TSV.")]
ContextHits = Annotated[int, typer.Option(min=1, help="So many first hits have to hold the answer.")]
ContextFields = Annotated[list[str] | None, typer.Option("--context-field", help="Read it; default: the profile's.")]
Tokenizer = Annotated[Path | None, typer.Option(help="A tokenizer.json, to count a context in tokens, not words.")]
JudgeEndpoint = Annotated[
    str, typer.Option("--endpoint", help="OpenAI-compatible, up to /v1; without one words judge.")
]
JudgeModel = Annotated[str, typer.Option(help=f"The language model's name there; its key stands in {KEY}.")]


@dataclass(frozen=True, slots=True)
class Contexts:
    """What is to be judged, and by which model; ``wish`` is None where no answers are named."""

    wish: Wish | None
    door: Endpoint | None = None

    def added(
        self, told: Told, found: Iterable[Answer], topics: Mapping[str, Topic], client: Any, index: Index, folder: Path
    ) -> Told:
        """What an evaluation told, and whether the contexts of the answers that it found support what is right."""
        if self.wish is None:
            return told
        wish = replace(self.wish, pairs=[(entry.before, entry.after) for entry in told.comparisons])
        with _judging(wish, self.door, folder) as judging:
            supported = support(client, index, found, topics, judging)
        return replace(told, support=supported, warnings=[*told.warnings, *supported.notes])


def wanted(
    path: Path | None, hits: int, fields: list[str] | None, tokenizer: Path | None, endpoint: str, model: str
) -> Contexts:
    """What these options ask for. LabError where they don't fit together, or a file can't be read."""
    if path is None:
        if endpoint or fields or tokenizer:
            raise LabError("contexts are judged by right answers, and none are named", "name a file with --answers")
        return Contexts(None)
    if bool(endpoint) is not bool(model):
        raise LabError("a language model is an address and a name", "write both --endpoint and --judge-model")
    count, unit = answers.counter(tokenizer)
    wish = Wish(gold=answers.read(path), hits=hits, count=count, unit=unit, fields=fields or ())
    door = Endpoint(url=endpoint, model=model, key=os.environ.get(KEY, "")) if endpoint else None
    return Contexts(wish, door)


@contextmanager
def _judging(wish: Wish, door: Endpoint | None, folder: Path) -> Iterator[Wish]:
    """The wish with its judge: the endpoint's model, its verdicts kept in the folder, or words."""
    if door is None:
        yield wish
        return
    with Kept(folder / NAME) as kept:
        yield replace(wish, judge=_judge(door, kept))


def _judge(door: Endpoint, kept: Kept) -> Judge:
    def judged(contexts: Sequence[Context]) -> list[Verdict | None]:
        prompts = [answers.prompt(of.question, of.answers, of.text) for of in contexts]
        return [answers.verdict(reply) for reply in ask(door, prompts, kept, lambda _: None)]

    return judged
