"""Long texts from request to score: fields under their bounds, chunks with their title, work that is bounded."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.chunks import LongTexts
from rescorer_sidecar.domain import Candidate, Chunks, Field, Floats, ScoreAnswer, ScoreRequest, Text, Tokens
from rescorer_sidecar.errors import BackendFailed, InvalidRequest, Overloaded, TooMany
from rescorer_sidecar.fields import lines
from rescorer_sidecar.pairing import MOST_CHUNKS
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import POISON_WORD, FakeClock, fake_model, until, vocabulary
from rescorer_sidecar.token_cache import TokenCache
from rescorer_sidecar.tokenise import CHARACTERS_PER_TOKEN, Tokeniser
from unit.sidecar.door import Served
from unit.sidecar.tokenisers import KINDS, whole

OpenService = Callable[..., Service]
KNOWN = vocabulary()
CHUNKS = LongTexts()


@pytest.fixture(scope="session")
def tokeniser(tokeniser_folder: Path) -> Tokeniser:
    """The BERT-like one."""
    return Tokeniser(tokeniser_folder)


def said(ids: tuple[int, ...]) -> str:
    """The words of a pair's text, as the tiny vocabulary writes them."""
    names = {number: name for name, number in KNOWN.items()}
    text = [names[number] for number in ids]
    return " ".join(text[text.index("[SEP]") + 1 : -1]).replace(" ##", "")


LABELS = st.sampled_from(["", "title", "late train"])
WORDS = st.lists(st.sampled_from(["cat", "hotel", "catalog", "i'll", "é", "\n", "ab9"]), max_size=40).map(" ".join)
TEXTS = st.lists(st.tuples(LABELS, WORDS, st.sampled_from([0, 0, 2, 30])), min_size=1, max_size=4).map(
    lambda entries: tuple(Field(label=label, text=text, max_tokens=most) for label, text, most in entries)
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(fields=TEXTS)
@example(fields=(Field(text="cat", label=""), Field(text="", label="title"), Field(text="hotel")))
def test_fields_that_fit_have_the_tokens_of_their_lines(
    tokenisers: dict[str, tuple[Tokeniser, Tokenizer]], kind: str, fields: tuple[Field, ...]
) -> None:
    """T4: as long as nothing is cut the pair is what the library makes of the same lines as one text."""
    ours, plain = tokenisers[kind]
    unbounded = tuple(Field(label=field.label, text=field.text) for field in fields)
    (found,) = ours.pairs("cat", [unbounded], 4_000)
    assert (list(found.ids), found.truncated) == whole(plain, "cat", lines(unbounded), 4_000)


@settings(max_examples=200, deadline=None)
@given(fields=TEXTS, limit=st.integers(40, 120), begun=st.lists(st.integers(40, 120), max_size=2))
def test_known_fields_give_what_unknown_ones_give(
    tokeniser: Tokeniser, fields: tuple[Field, ...], limit: int, begun: list[int]
) -> None:
    """Whatever limits and ways to cut came before, what is remembered of a text changes no token."""
    known = TokenCache(1_000_000)
    for earlier in begun:
        tokeniser.pairs("hotel", [fields], earlier, known)
        tokeniser.chunks("hotel", [fields], earlier, CHUNKS, known)
    assert tokeniser.pairs("cat", [fields], limit, known) == tokeniser.pairs("cat", [fields], limit)
    assert tokeniser.chunks("cat", [fields], limit, CHUNKS, known) == tokeniser.chunks("cat", [fields], limit, CHUNKS)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WORDS.map(lambda text: text * 9), min_size=1, max_size=3), limit=st.integers(20, 300))
def test_fields_without_label_and_bound_are_cut_as_their_lines(
    tokenisers: dict[str, tuple[Tokeniser, Tokenizer]], kind: str, texts: list[str], limit: int
) -> None:
    """T4: the pair is what the library makes of the lines as one text, cut at its end; labels are what changes that."""
    ours, plain = tokenisers[kind]
    fields = tuple(Field(text=text) for text in texts)
    (found,) = ours.pairs("cat", [fields], limit)
    assert (list(found.ids), found.truncated) == whole(plain, "cat", lines(fields), limit)


def test_labels_stay_and_each_field_keeps_its_share(tokeniser: Tokeniser) -> None:
    """A title under its bound, a body cut for it, and the label behind the body still there with its text."""
    fields = (
        Field(label="cat", text="flight " * 50, max_tokens=3),
        Field(label="train", text="late " * 500),
        Field(label="hotel", text="refund"),
        Field(label="alog", text="cancel " * 9, max_tokens=2),
    )
    (found,) = tokeniser.pairs("cat", [fields], 40)
    assert said(found.ids) == "cat : flight flight flight train : " + "late " * 23 + "hotel : alog : cancel cancel"
    assert (len(found), found.truncated) == (40, True)


def test_a_bound_is_told_as_truncation_only_where_it_cut(tokeniser: Tokeniser) -> None:
    """T1: three tokens are whole under a bound of three and cut under one of two, however much room is left."""
    for bound, is_cut in ((2, True), (3, False), (4, False), (0, False)):
        (pair,) = tokeniser.pairs("cat", [(Field(text="hotel late train", max_tokens=bound),)], 64)
        assert (pair.truncated, len(pair)) == (is_cut, 4 + min(3, bound or 3))


def test_a_field_is_cut_between_words(tokeniser: Tokeniser) -> None:
    """A word of four tokens that does not fit is left out; a plain text keeps its beginning, as in every library."""
    text = "cat " + "wxyz " * 10
    (fields,), (plain,) = (tokeniser.pairs("cat", [one], 18) for one in ((Field(text=text, label="cat"),), text))
    assert said(fields.ids) == "cat : cat wxyz wxyz"
    assert said(plain.ids) == "cat wxyz wxyz wxyz w"
    assert (fields.truncated, plain.truncated) == (True, True)


def test_a_word_that_a_fields_head_cuts_is_not_mistaken_for_a_short_one(tokeniser: Tokeniser) -> None:
    """F7: of a word of 150 letters, unknown as a whole, no beginning is read where the head of its field ends."""
    text = " " * (41 * CHARACTERS_PER_TOKEN - 86) + "z" * 150 + " cat" * 900
    (found,) = tokeniser.pairs("cat", [(Field(text="train"), Field(text=text))], 40)
    assert said(found.ids).split()[:3] == ["train", "[UNK]", "cat"]


@settings(max_examples=100, deadline=None)
@given(words=st.integers(0, 400), limit=st.integers(20, 64), overlap=st.integers(0, 20), most=st.integers(1, 20))
def test_chunks_laid_together_are_the_text(
    tokeniser: Tokeniser, words: int, limit: int, overlap: int, most: int
) -> None:
    """Every word stands in a chunk, in its order, up to the most chunks; the query stands whole before each."""
    text = " ".join(str(number) for number in range(words))
    all_ids = tokeniser.pairs("cat hotel", [text], 10_000)[0].ids[4:-1]
    how = LongTexts(overlap_tokens=overlap, most_chunks=most)
    (found,) = tokeniser.chunks("cat hotel", [text], limit, how)
    window = limit - 5
    step = window - min(overlap, window // 2)
    joined: list[int] = []
    for place, pair in enumerate(found.pairs):
        assert len(pair) <= limit
        assert pair.ids[:4] == (KNOWN["[CLS]"], KNOWN["cat"], KNOWN["hotel"], KNOWN["[SEP]"])
        assert list(pair.ids[4:-1]) == list(all_ids[place * step : place * step + window])
        joined = joined[: place * step] + list(pair.ids[4:-1])
    assert joined == list(all_ids[: len(joined)])
    assert found.truncated == (len(joined) < len(all_ids))
    assert not found.truncated or len(found.pairs) == most


def test_each_chunk_carries_the_title(tokeniser: Tokeniser) -> None:
    """T6: title and author stand whole before each chunk of the body, and the body's label too."""
    fields = (
        Field(label="title", text="cancel a flight"),
        Field(text="hotel", label="train"),
        Field(label="late", text="cat " * 150),
    )
    (found,) = tokeniser.chunks("refund", [fields], 64, LongTexts(overlap_tokens=0))
    head = "title : cancel a flight train : hotel late :"
    assert [said(pair.ids) for pair in found.pairs] == [
        f"{head} {'cat ' * count}".strip() for count in (46, 46, 46, 12)
    ]


def test_a_megabyte_is_read_as_far_as_its_chunks_reach(tokeniser: Tokeniser) -> None:
    """T8: what lies beyond the most chunks is told as truncated, and may be anything."""
    one, other = (
        tokeniser.chunks("cat", ["hotel " * 400 + rest], 64, LongTexts(most_chunks=4))[0]
        for rest in ("train " * 170_000, "zz! " * 250_000)
    )
    assert one == other
    assert (len(one.pairs), one.truncated) == (4, True)


def test_a_post_processor_of_its_own_reads_the_lines(tmp_path: Path) -> None:
    """Where no layout is known a text is one pair, cut at its end, and says so."""
    from tokenizers import processors

    from rescorer_sidecar.testing import write_tokeniser

    path = write_tokeniser(tmp_path) / "tokenizer.json"
    plain = Tokenizer.from_file(str(path))
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="$B:1 [SEP] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    plain.save(str(path))
    ours = Tokeniser(tmp_path)
    fields = (Field(label="title", text="hotel"), Field(text="late " * 100))
    (found,) = ours.chunks("cat", [fields], 32, CHUNKS)
    assert (len(found.pairs), found.truncated) == (1, True)
    assert list(found.pairs) == ours.pairs("cat", [lines(fields)], 32)


def asking(*texts: Text, how: LongTexts | None = CHUNKS, **more: object) -> ScoreRequest:
    """A request to read long texts so."""
    candidates = tuple(Candidate(id=f"c{index}", text=text) for index, text in enumerate(texts))
    return ScoreRequest(query="cat", candidates=candidates, long_texts=how, **more)  # type: ignore[arg-type]


def told(answer: ScoreAnswer) -> list[tuple[int, int, bool]]:
    """Chunks, best chunk and truncation of each scored candidate."""
    return [(entry.chunk_count, entry.best_chunk, entry.pair.truncated) for entry in answer.results]


def long(at: int, of: int = 200) -> str:
    """A text of so many letters, no stretch of which comes twice, with a mark at a place."""
    dice = random.Random(7)
    letters = [dice.choice(string.ascii_lowercase) for _ in range(of)]
    return " ".join("~" if place == at else letter for place, letter in enumerate(letters))


class Marks(FakeBackend):
    """A pair's logit is how many ``~`` it holds, and a little more for each token."""

    def forward(self, batch: Sequence[Tokens]) -> Floats:
        """One logit for each pair."""
        super().forward(batch)
        return np.array([row.ids.count(KNOWN["~"]) + len(row) / 1000 for row in batch], np.float32)


@pytest.fixture
def backend() -> FakeBackend:
    """A model that looks for a mark."""
    return Marks()


@pytest.mark.parametrize(("at", "best"), [(0, 0), (70, 1), (199, 3)])
async def test_the_best_chunk_decides_and_is_told(open_service: OpenService, at: int, best: int) -> None:
    """T1: wherever the answer stands, its chunk gives the logit; without chunks only the first is read."""
    answer = await open_service().score(asking(long(at), "hotel"))
    assert told(answer) == [(4, best, False), (1, 0, False)]
    assert answer.results[0].pair.logit >= 1
    cut = await open_service().score(asking(long(at), how=None))
    assert told(cut) == [(1, 0, True)]
    assert (cut.results[0].pair.logit >= 1) == (at == 0)


async def test_the_mean_of_the_best_is_the_logit(open_service: OpenService) -> None:
    """Of chunks with one, one and no marks the best two mean 1, and all three two thirds."""
    text = f"~ {'a ' * 59}~ {'a ' * 100}"
    logits = {}
    for top in (1, 2, 3):
        how = LongTexts(overlap_tokens=0, top=top, most_chunks=3)
        logits[top] = (await open_service().score(asking(text, how=how))).results[0].pair.logit
    assert logits[1] == pytest.approx(1.064, abs=1e-6)
    assert logits[2] == pytest.approx(1.064, abs=1e-6)
    assert logits[3] == pytest.approx((1.064 + 1.064 + 0.045) / 3, abs=1e-6)


async def test_work_is_bounded_whatever_arrives(open_service: OpenService, backend: FakeBackend) -> None:
    """T8: a text of a hundred thousand words is as many pairs as were allowed, and says that it is longer."""
    answer = await open_service().score(asking(long(-1, 100_000), "hotel", how=LongTexts(most_chunks=5)))
    assert told(answer) == [(5, 0, True), (1, 0, False)]
    assert sum(map(len, backend.batches)) == 6
    assert answer.results[0].pair.token_count == 5 * 64


async def test_each_chunk_is_known_by_itself(open_service: OpenService, backend: FakeBackend) -> None:
    """A longer text of the same beginning runs its new chunks alone; the same request again runs none."""
    service, how = open_service(), LongTexts(overlap_tokens=0)
    await service.score(asking(long(-1, 120), how=how))
    backend.batches.clear()
    longer = await service.score(asking(long(-1, 180), how=how))
    assert sum(map(len, backend.batches)) == 1
    assert not longer.results[0].cached
    assert (await service.score(asking(long(-1, 180), how=how))).results[0].cached
    assert sum(map(len, backend.batches)) == 1


async def test_a_short_text_has_one_score_with_chunks_and_without(
    open_service: OpenService, backend: FakeBackend
) -> None:
    """One chunk is the pair itself: it is computed once, whichever way comes first."""
    service = open_service()
    texts: list[Text] = ["hotel late", (Field(label="title", text="train"), Field(text="late"))]
    first = await service.score(asking(*texts))
    again = await service.score(asking(*texts, how=None))
    assert [entry.pair for entry in first.results] == [entry.pair for entry in again.results]
    assert [entry.cached for entry in again.results] == [True, True]
    assert sum(map(len, backend.batches)) == 2


async def test_a_cut_text_is_another_pair_than_its_only_chunk(open_service: OpenService) -> None:
    """A chunk ends at a token and a cut field at a word, so one is not taken for the other from the cache."""
    text = (Field(label="cat", text="wxyz " * 30), Field(text="hotel"))
    fresh = await open_service().score(asking(text, how=None))
    service = open_service()
    only = await service.score(asking(text, how=LongTexts(most_chunks=1)))
    assert told(only) == [(1, 0, True)]
    again = await service.score(asking(text, how=None))
    assert again.results == fresh.results != only.results


async def test_identical_chunks_in_flight_run_once(open_service: OpenService, backend: FakeBackend) -> None:
    """P11: callers of the same long text share the forwards of its chunks."""
    service = open_service()
    answers = await asyncio.gather(*(service.score(asking(long(70))) for _ in range(20)))
    assert len({answer.results[0].pair for answer in answers}) == 1  # one that comes late may find it cached
    assert sum(map(len, backend.batches)) == 4


async def test_a_chunk_that_breaks_the_model_takes_its_candidate_alone(open_service: OpenService) -> None:
    """A candidate counts as scored with all its chunks or not at all; its neighbours are scored."""
    service = open_service()
    answer = await service.score(asking(f"{'a ' * 100}{POISON_WORD}", long(0), "hotel"))
    assert ([entry.id for entry in answer.results], answer.is_complete) == (["c1", "c2"], False)
    with pytest.raises(BackendFailed):
        await service.score(asking(f"{'a ' * 100}{POISON_WORD}"))


async def test_at_the_deadline_only_whole_candidates_are_scored(
    open_service: OpenService, tokeniser_folder: Path, clock: FakeClock
) -> None:
    """What was ready of a candidate that was not ready does not count: its score would depend on the time of day."""

    class Late(Marks):
        """Time is up while the fifth forward runs."""

        def forward(self, batch: Sequence[Tokens]) -> Floats:
            if len(self.batches) == 4:
                clock.advance(10)
            return super().forward(batch)

    backend = Late()
    service = open_service(fake_model(tokeniser_folder, backend=backend), budget_tokens=64)
    answer = await service.score(asking("hotel", long(0), f"cat {long(0)}", deadline_s=clock.now_s() + 5))
    assert ([entry.id for entry in answer.results], answer.is_complete) == (["c0", "c1"], False)
    assert told(answer) == [(1, 0, False), (4, 0, False)]
    assert sum(map(len, backend.batches)) < 9


@pytest.mark.parametrize(("text", "count"), [("hotel", 32), (long(0, 150_000), 1)])
async def test_reading_stops_when_half_of_the_time_is_gone(
    open_service: OpenService, tokeniser_folder: Path, backend: FakeBackend, clock: FakeClock, text: str, count: int
) -> None:
    """T8: what can't be read in time has no score, a part of 32 texts or of one huge text at a time."""

    class Slow(Tokeniser):
        """Takes three seconds for a part."""

        def chunks(
            self, query: str, texts: Sequence[Text], limit: int, how: LongTexts, known: TokenCache | None = None
        ) -> list[Chunks]:
            """The chunks, late."""
            clock.advance(3)
            return super().chunks(query, texts, limit, how, known)

    model = fake_model(tokeniser_folder, backend=backend)
    service = open_service(type(model)(card=model.card, tokeniser=Slow(tokeniser_folder), backend=backend))
    answer = await service.score(asking(*[text] * 100, deadline_s=clock.now_s() + 5))
    assert ([entry.index for entry in answer.results], answer.is_complete) == (list(range(count)), False)


@pytest.mark.parametrize(
    ("how", "field", "value"),
    [
        (LongTexts(chunk_tokens=7), "chunk_tokens", "is 7 and must be 8 or more, or 0"),
        (LongTexts(chunk_tokens=64, overlap_tokens=33), "overlap_tokens", "is 33 and may be 32, half of a chunk"),
        (LongTexts(most_chunks=65), "most_chunks", f"is 65 and may be {MOST_CHUNKS}"),
        (LongTexts(most_chunks=3, top=4), "top", "is 4 and may be 3, the most chunks"),
    ],
)
async def test_each_wrong_number_is_refused_with_its_field(
    open_service: OpenService, how: LongTexts, field: str, value: str
) -> None:
    """The path, the value and what it may be."""
    with pytest.raises(InvalidRequest) as refused:
        await open_service().score(asking("hotel", how=how))
    assert refused.value.violations == ((f"options.long_texts.{field}", value),)


async def test_a_request_may_become_as_many_pairs_as_it_may_hold(open_service: OpenService) -> None:
    """M21: the most candidates are told, so that the client sends the window in parts; one candidate always passes."""
    service = open_service(max_candidates=40)
    with pytest.raises(TooMany) as refused:
        await service.score(asking("hotel", "late", "train"))
    assert refused.value.most == 2
    assert (await service.score(asking("hotel", "late"))).is_complete
    assert (await service.score(asking(long(0), how=LongTexts(most_chunks=64)))).is_complete
    with pytest.raises(TooMany):
        await service.score_many([asking("hotel"), asking("hotel", "late")])


async def test_no_candidates_in_chunks_are_a_complete_empty_answer(open_service: OpenService) -> None:
    """As without chunks."""
    answer = await open_service().score(asking())
    assert (answer.results, answer.is_complete) == ((), True)


async def test_the_wire_carries_the_way_to_cut_and_what_came_of_it(served: Served) -> None:
    """Mode, numbers and field bounds arrive; chunks and the best one return; unset numbers are the defaults."""
    title = wire.LabelledField(label="title", text="late " * 9, max_tokens=1)
    body = wire.LabelledField(label="cat", text=long(70))
    fields = wire.LabelledFields(fields=[title, body])
    plain = wire.ScoreRequest(query="cat", candidates=[wire.Candidate(id="a", fields=fields)])
    cut = await served.calls.Score(plain, timeout=20)
    assert (cut.results[0].chunk_count, cut.results[0].truncated, cut.results[0].token_count) == (1, True, 64)
    plain.options.long_texts.mode = wire.LONG_TEXT_MODE_CHUNKS
    (found,) = (await served.calls.Score(plain, timeout=20)).results
    assert (found.chunk_count, found.best_chunk, found.truncated) == (5, 1, True)
    plain.options.long_texts.chunk_tokens = 20
    plain.options.long_texts.overlap_tokens = 0
    plain.options.long_texts.most_chunks = 7
    (found,) = (await served.calls.Score(plain, timeout=20)).results
    assert (found.chunk_count, found.best_chunk, found.truncated) == (7, 3, True)


async def test_an_overloaded_sidecar_refuses_before_it_reads(open_service: OpenService, backend: FakeBackend) -> None:
    """F5: where too many pairs wait, long texts are not cut first."""
    service = open_service(max_waiting_pairs=2)
    backend.door.clear()
    held = [asyncio.create_task(service.score(asking("hotel", how=None)))]
    assert await asyncio.to_thread(backend.entered.wait, 20)
    held += [asyncio.create_task(service.score(asking("late", "train", how=None)))]
    await until(lambda: service.waiting == 2)
    with pytest.raises(Overloaded):
        await service.score(asking("refund", "flight"))
    backend.door.set()
    await asyncio.gather(*held)
