"""Texts to tokens: the query whole, the specials in place, the text cut at its end and nowhere else."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rescorer_sidecar.errors import ConfigError, InvalidRequest
from rescorer_sidecar.testing import SPECIALS, vocabulary, write_tokeniser
from rescorer_sidecar.tokenise import CHARACTERS_PER_TOKEN, LEAST_TEXT_TOKENS, Tokeniser
from unit.sidecar.tokenisers import KINDS, whole

KNOWN = vocabulary()
CLS, SEP = KNOWN["[CLS]"], KNOWN["[SEP]"]


@pytest.fixture(scope="session")
def tokeniser(tokenisers: dict[str, tuple[Tokeniser, Tokenizer]]) -> Tokeniser:
    """The BERT-like one."""
    return tokenisers["wordpiece"][0]


WORDS = st.sampled_from(["cat", "catalog", "a", "i'll", "x" * 40, "!?", "é", "e\u0301", "ﬁ", "日本", "[SEP]", "9.5"])
GAPS = st.sampled_from([" ", "  ", "\n", " \t ", " " * 30, "\u00a0", "\u3000", ""])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Words, gaps of whitespace and giant words, repeated until most are longer than a head."""
    parts = draw(st.lists(st.tuples(WORDS, GAPS), max_size=12))
    once = "".join(word + gap for word, gap in parts)
    return once * draw(st.integers(1, 20)) + draw(st.sampled_from(["", "z" * 700, " " * 700])) + once


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=texts(), limit=st.integers(20, 40))
def test_a_long_text_gives_the_tokens_of_the_whole_text(
    tokenisers: dict[str, tuple[Tokeniser, Tokenizer]], kind: str, text: str, limit: int
) -> None:
    """T4: encoding only the head changes no token and no count, whatever stands where the head ends."""
    ours, plain = tokenisers[kind]
    (found,) = ours.pairs("cat", [text], limit)
    assert (list(found.ids), found.truncated) == whole(plain, "cat", text, limit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    ["z" * 1_000_000, " " * 1_000_000, " " * 999_999 + "cat", "\u00a0" * 5_000 + "cat " * 100, "a" + "\u0301" * 9_000],
    ids=["one word", "spaces", "a word behind spaces", "hard spaces", "accents"],
)
def test_texts_of_one_stretch_are_read_as_far_as_needed(
    tokenisers: dict[str, tuple[Tokeniser, Tokenizer]], kind: str, text: str
) -> None:
    """F7: a head that can't be told apart from the whole grows until it can, up to a megabyte of one word."""
    ours, plain = tokenisers[kind]
    text = text if kind == "wordpiece" else text[-50_000:]  # the others take a second for a megabyte
    (found,) = ours.pairs("cat", [text], 40)
    assert (list(found.ids), found.truncated) == whole(plain, "cat", text, 40)


def test_a_word_that_the_head_cuts_is_not_mistaken_for_a_short_one(
    tokenisers: dict[str, tuple[Tokeniser, Tokenizer]],
) -> None:
    """F7: a word of 150 letters is unknown as a whole; its first 86, where the head ends, would have been 86 tokens."""
    ours, plain = tokenisers["wordpiece"]
    text = " " * (36 * CHARACTERS_PER_TOKEN - 86) + "z" * 150
    (found,) = ours.pairs("cat", [text], 40)
    assert (list(found.ids), found.truncated) == whole(plain, "cat", text, 40)
    assert found.ids[3] == KNOWN["[UNK]"]


@settings(max_examples=60, deadline=None)
@given(query=st.lists(st.sampled_from(["cat", "hotel", "xyz"]), min_size=1, max_size=6), text=texts())
def test_the_query_is_never_cut(tokeniser: Tokeniser, query: list[str], text: str) -> None:
    """T2: however long the text, the pair begins with the query's tokens, all of them."""
    asked = " ".join(query)
    (alone,), (pair,) = tokeniser.pairs(asked, [""], 40), tokeniser.pairs(asked, [text], 40)
    assert pair.ids[: len(alone) - 1] == alone.ids[:-1]


@pytest.mark.parametrize("limit", range(16, 72))
def test_specials_stand_in_every_pair_at_every_limit(tokeniser: Tokeniser, limit: int) -> None:
    """T3: [CLS] query [SEP] text [SEP], and never more than the limit, at each limit."""
    short, long = tokeniser.pairs("cat", ["hotel", "hotel " * 100], limit)
    for pair in (short, long):
        assert pair.ids[0] == CLS
        assert pair.ids[2] == SEP
        assert pair.ids[-1] == SEP
        assert pair.ids.count(SEP) == 2
    assert len(short) == 5
    assert len(long) == limit


def test_segments_tell_query_from_text(tokeniser: Tokeniser) -> None:
    """Type 0 up to the query's [SEP], type 1 behind it, one for each id."""
    (pair,) = tokeniser.pairs("cat hotel", ["late train"], 40)
    assert pair.type_ids == (0, 0, 0, 0, 1, 1, 1)
    assert len(pair) == len(pair.ids) == 7


@pytest.mark.parametrize(("words", "truncated"), [(0, False), (11, False), (12, False), (13, True), (1_000, True)])
def test_truncation_is_counted_exactly(tokeniser: Tokeniser, words: int, truncated: bool) -> None:
    """T1: a text that just fits is whole, one token more is truncated and says so."""
    (pair,) = tokeniser.pairs("cat", ["hotel " * words], 16)
    assert pair.truncated is truncated
    assert len(pair) == min(16, words + 4)


def test_trailing_space_is_no_truncation(tokeniser: Tokeniser) -> None:
    """A text that fits is whole even if a page of spaces follows it."""
    (pair,) = tokeniser.pairs("cat", ["hotel" + " " * 10_000], 16)
    assert (pair.ids[3], pair.truncated) == (KNOWN["hotel"], False)


def test_a_query_without_room_for_text_is_refused_with_both_numbers(tokeniser: Tokeniser) -> None:
    """The message names the query's length and the longest it may be."""
    with pytest.raises(InvalidRequest) as refused:
        tokeniser.pairs("cat " * 40, ["hotel"], 32)
    assert refused.value.violations == (("query", "is 40 tokens long and may be 21 under a limit of 32"),)


def test_the_longest_query_that_is_allowed_is_scored(tokeniser: Tokeniser) -> None:
    """At the length that the message names there are exactly the promised tokens left for the text."""
    (pair,) = tokeniser.pairs("cat " * 21, ["hotel " * 50], 32)
    assert len(pair) == 32
    assert pair.ids.count(KNOWN["hotel"]) == LEAST_TEXT_TOKENS


def test_no_texts_no_pairs(tokeniser: Tokeniser) -> None:
    """An empty list of texts gives an empty list, and the query is looked at all the same."""
    assert tokeniser.pairs("cat", [], 32) == []
    with pytest.raises(InvalidRequest):
        tokeniser.pairs("cat " * 40, [], 32)


def test_single_texts_keep_their_specials(tokeniser: Tokeniser) -> None:
    """For embedding: [CLS] text [SEP], cut at its end, at most the limit, counted."""
    short, long, empty = tokeniser.texts(["cat hotel", "cat " * 100, ""], 16)
    assert short.ids == (CLS, KNOWN["cat"], KNOWN["hotel"], SEP)
    assert (len(long), long.ids[0], long.ids[-1], long.truncated) == (16, CLS, SEP, True)
    assert (empty.ids, empty.truncated) == ((CLS, SEP), False)


def test_a_head_is_shorter_than_a_long_text(tokeniser: Tokeniser) -> None:
    """F7: of a text of a million words only the first few hundred characters decide, and the rest may be anything."""
    head = "cat hotel " * 200
    (one,), (other,) = (tokeniser.pairs("cat", [head + rest], 32) for rest in ("train " * 100_000, "zz!" * 200_000))
    assert one == other
    assert len(head) > 32 * CHARACTERS_PER_TOKEN


def test_sixteen_threads_get_what_one_gets(tokeniser: Tokeniser) -> None:
    """P5: mixed lengths and limits from 16 threads at once equal the serial results."""
    dice = random.Random(7)
    asked = [
        (" ".join(dice.choices(["cat", "hotel", "zebra"], k=dice.randint(1, 90))), 16 + n % 48) for n in range(800)
    ]

    def tokens(entry: tuple[str, int]) -> object:
        return tokeniser.pairs("late flight", [entry[0]] * 3, entry[1])

    serial = [tokens(entry) for entry in asked]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(tokens, asked)) == serial


def test_a_file_that_truncates_and_pads_by_itself_is_told_not_to(tmp_path: Path) -> None:
    """Truncation and padding saved in tokenizer.json don't reach the pairs."""
    plain = Tokenizer.from_file(str(write_tokeniser(tmp_path) / "tokenizer.json"))
    plain.enable_truncation(6)
    plain.enable_padding(length=50)
    plain.save(str(tmp_path / "tokenizer.json"))
    short, long = Tokeniser(tmp_path).pairs("cat", ["hotel", "hotel " * 30], 32)
    assert (len(short), len(long)) == (5, 32)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    """The error says which file is missing, where, and what makes one."""
    with pytest.raises(ConfigError, match=r"holds no tokenizer\.json; save the model with a fast tokenizer"):
        Tokeniser(tmp_path)


def test_a_broken_tokenizer_file_is_one_line(tmp_path: Path) -> None:
    """A tokenizer.json that can't be read is an error of ours that names it, not a stack trace."""
    (tmp_path / "tokenizer.json").write_text("{ not json")
    with pytest.raises(ConfigError, match=r"tokenizer\.json can't be read") as refused:
        Tokeniser(tmp_path)
    assert "\n" not in str(refused.value)


def test_the_vocabulary_begins_with_the_specials() -> None:
    """The tiny tokenizer's padding id is 0, as BERT's."""
    assert [KNOWN[name] for name in SPECIALS] == [0, 1, 2, 3]
