"""Whether contexts hold the right answer: by words, by a language model, for each system, with what changes between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from rescorer_lab import answers
from rescorer_lab.cli import contexts
from rescorer_lab.endpoint import Reply
from rescorer_lab.errors import LabError
from rescorer_lab.evaluation import tables
from rescorer_lab.evaluation.asking import Answer, Index
from rescorer_lab.evaluation.supported import Support, Wish, support
from rescorer_lab.inputs import Topic
from unit.lab import chat_server
from unit.lab.chat_server import Server

DOCUMENTS = {
    "d1": {"title": "Kings", "body": "Alfred ruled in Wessex."},
    "d2": {"title": "Towns", "body": "The capital of France is Paris, not Lyon."},
    "d3": {"title": "Rivers", "body": "The Seine"},
}
TOPICS = {
    "q1": Topic(id="q1", text="what is the capital of France"),
    "q2": Topic(id="q2", text="who ruled in Wessex"),
    "q3": Topic(id="q3", text="did Alfred rule"),
    "q4": Topic(id="q4", text="nobody knows"),
}
GOLD = {"q1": ("Paris",), "q2": ("the Great Alfred", "alfred"), "q3": ("yes",)}


class Shelf:
    """Answers searches by ids, in an order of its own, as an engine does."""

    def search(self, *, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The documents that are named and there, with the fields that are asked for."""
        assert body["rescore"] == {"cross_encoder": False}
        found = sorted((key for key in body["query"]["ids"]["values"] if key in DOCUMENTS), reverse=True)
        hits = [{"_id": key, "_source": {name: DOCUMENTS[key][name] for name in body["_source"]}} for key in found]
        return {"hits": {"hits": hits[: body["size"]]}}


INDEX = Index(name="shelf", engine="opensearch", form=None, said={"document_fields": ["title", "body"]}, depth=10)
WISH = Wish(gold=GOLD, hits=1, count=lambda text: len(text.split()), unit="words", pairs=[("before", "after")])


def _answers() -> Iterator[Answer]:
    for topic in TOPICS:
        for system, hits in (("before", ("d3", "d1", "d2")), ("after", ("d2", "d9", "d1"))):
            yield Answer(system=system, topic=topic, hits=hits, scores=(1.0,) * 3)


def _support(wish: Wish = WISH) -> Support:
    return support(Shelf(), INDEX, _answers(), TOPICS, wish)


def test_the_first_hits_hold_the_answer_or_they_do_not() -> None:
    """Each system has a verdict on each question whose answer words can tell; more hits hold more."""
    found = _support()
    assert found.systems["before"].verdicts == {"q1": "absent", "q2": "absent"}
    assert found.systems["after"].verdicts == {"q1": "supported", "q2": "absent"}
    gain = found.gains["before", "after"]
    assert (gain.mean, gain.better, gain.worse, gain.same) == (0.5, 1, 0, 1)
    wider = _support(replace(WISH, hits=3)).systems["after"].verdicts
    assert wider == {"q1": "supported", "q2": "supported"}


def test_the_size_of_a_context_is_that_of_its_texts() -> None:
    """Title and body of the first hits, missing documents left out, in the unit of the wish."""
    assert _support(replace(WISH, hits=3)).systems["after"].sizes["q1"] == 14
    assert _support(replace(WISH, fields=["title"])).systems["after"].size == 1


def test_what_is_left_out_is_told() -> None:
    """Questions without an answer and answers that words can't tell are counted."""
    assert _support().notes == (
        "1 of 4 topics have no right answer and are left out of support",
        "1 answers are yes or no, which words can't tell, and are left out: name an --endpoint",
    )


def test_the_table_shows_verdicts_and_sizes() -> None:
    """A row for each system, and one for what changes."""
    found = _support()
    shown, gained = tables.supported(found), tables.support_gained(found)
    assert [str(cell) for cell in shown.columns[1].cells] == ["0 (0%)", "1 (50%)"]
    assert [str(cell) for cell in gained.columns[1].cells] == ["+0.500"]
    assert found.as_dict()["per_topic"]["after"] == {"q1": "supported", "q2": "absent"}


@pytest.mark.parametrize(
    ("context", "gold", "said"),
    [
        ("It was the  U.S.A.", ["USA"], "supported"),
        ("ruled by Alfred the Great", ["Alfred Great"], "supported"),
        ("parishioners", ["Paris"], "absent"),
        ("", ["Paris"], "absent"),
        ("in 1889", ["1888", "1889"], "supported"),
        ("Cafe", ["café"], "absent"),
    ],
)
def test_words_are_compared_without_case_punctuation_and_articles(context: str, gold: Sequence[str], said: str) -> None:
    """Whole words of one right answer, one after the other, are enough."""
    assert answers.by_words(context, gold) == said


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("supported", "supported"),
        ("**Contradicted.**", "contradicted"),
        ("<think>supported?</think> absent", "absent"),
        ("unsupported", None),
        ("It is supported", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_or_it_is_none(said: str, verdict: str | None) -> None:
    """The reply begins with one of the three words; anything else is no verdict, and never guessed."""
    assert answers.verdict(Reply(text=said)) == verdict


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"id": "q1", "answers": []}\n', ":1: has no answer, or an empty one"),
        ("a.jsonl", '{"id": "q1", "answer": "x"}\n{"answer": "x"}\n', ":2: has no id"),
        ("a.csv", "id,answer\nq1,the\n", ":2: has no answer, or an empty one"),
        ("a.csv", "\n", "holds no answer"),
    ],
)
def test_bad_answers_are_named_by_their_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    """An answer without a word in it can't be found, and is refused."""
    (tmp_path / name).write_text(text)
    with pytest.raises(LabError) as refused:
        answers.read(tmp_path / name)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"_id": "q1", "answers": ["Paris", 7]}\n{"query_id": "q2", "answer": "Alfred"}\n'),
        ("a.csv", "query_id,answer\nq1,Paris\nq2,Alfred\nq1,7\n"),
    ],
)
def test_answers_of_every_form_are_the_same(tmp_path: Path, name: str, text: str) -> None:
    """A list, or a line for each."""
    (tmp_path / name).write_text(text)
    assert answers.read(tmp_path / name) == {"q1": ("Paris", "7"), "q2": ("Alfred",)}


def test_a_context_is_counted_in_tokens_of_the_tokenizer_that_is_named(tmp_path: Path) -> None:
    """A file or its folder; without one, in words, which the unit says."""
    made = Tokenizer(WordLevel({"a": 0, "?": 1}, unk_token="?"))
    made.pre_tokenizer = WhitespaceSplit()
    made.enable_truncation(2)
    made.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        count, unit = answers.counter(path)
        assert (count("a b a c"), unit) == (4, "tokens")
    count, unit = answers.counter(None)
    assert (count("a  b"), unit) == (2, "words")
    with pytest.raises(LabError, match="is no tokenizer"):
        answers.counter(tmp_path / "other")


@pytest.fixture
def server() -> Iterator[Server]:
    """An endpoint whose model reads: another town contradicts, the right name supports."""

    def says(asked: str) -> str:
        context = asked.split("<context>")[1]
        if "who ruled" in asked:
            return "hard to say"
        return "supported" if "Paris" in context else "contradicted" if "Seine" in context else "absent"

    with chat_server.running(says) as made:
        yield made


def test_a_language_model_tells_contradictions_too(server: Server, tmp_path: Path) -> None:
    """Its verdicts are counted, yes and no included; what it does not say is told; a second run asks nothing."""
    beside = contexts.Contexts(WISH, contexts.Endpoint(url=server.url, model="m"))
    for _ in range(2):
        with contexts._judging(WISH, beside.door, tmp_path) as judging:
            found = _support(judging)
    assert found.systems["before"].verdicts == {"q1": "contradicted", "q3": "contradicted"}
    assert found.systems["after"].verdicts == {"q1": "supported", "q3": "supported"}
    assert "after: the language model gave no verdict on 1 contexts, which are left out" in found.notes
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None, 5, None, None, "http://x/v1", "m"), "name a file with --answers"),
        ((Path("a.csv"), 5, None, None, "http://x/v1", ""), "write both --endpoint and --judge-model"),
        ((Path("a.csv"), 5, None, None, "", ""), "a.csv can't be read"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(given: tuple[Any, ...], said: str) -> None:
    """Each says what to write."""
    with pytest.raises(LabError, match=said):
        contexts.wanted(*given)


def test_answers_for_other_topics_are_refused_with_the_counts() -> None:
    """And so are answers that words can't tell at all, and an index that says no fields."""
    with pytest.raises(LabError, match="none of the 4 topics is among the 1 with an answer"):
        _support(replace(WISH, gold={"x": ("y",)}))
    with pytest.raises(LabError, match="each answer is yes or no"):
        _support(replace(WISH, gold={"q3": ("Yes.",)}))
    with pytest.raises(LabError, match="says no fields to read; name them: --context-field body"):
        support(Shelf(), replace(INDEX, said={}), _answers(), TOPICS, WISH)
