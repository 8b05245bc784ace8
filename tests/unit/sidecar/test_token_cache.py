"""Known texts: bounded in bytes, and as good as reading the text again."""

from __future__ import annotations

import tracemalloc
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from rescorer_sidecar.testing import write_tokeniser
from rescorer_sidecar.token_cache import ENTRY_BYTES, TOKEN_BYTES, Beginning, TokenCache
from rescorer_sidecar.tokenise import Tokeniser

QUERIES = st.sampled_from(["cat", "", "late flight to a hotel", "i'll", "\ud800"])
TEXTS = st.sampled_from(
    ["", "cat", "hotel " * 40, "z" * 3_000, " " * 3_000 + "cat", "x\x00\x07y", "a\ud800b", "it's " * 500]
)


class Counting(Tokeniser):
    """Counts the texts that it reads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read: list[str] = []

    def _encoded(self, texts: list[str]) -> list[object]:
        self.read += texts
        return super()._encoded(texts)


@pytest.fixture(scope="session")
def tokeniser(tokeniser_folder: Path) -> Tokeniser:
    """The BERT-like one."""
    return Tokeniser(tokeniser_folder)


@settings(max_examples=100, deadline=None)
@given(asked=st.lists(st.tuples(QUERIES, st.lists(TEXTS, max_size=4), st.integers(24, 60)), max_size=6))
def test_a_known_text_gives_the_tokens_that_it_gave(
    tokeniser: Tokeniser, asked: list[tuple[str, list[str], int]]
) -> None:
    """T4: whatever queries and limits came before, pairs are those of a tokeniser that knows nothing."""
    known = TokenCache(1_000_000)
    for query, texts, limit in asked:
        assert tokeniser.pairs(query, texts, limit, known) == tokeniser.pairs(query, texts, limit)


def test_a_known_text_behind_a_new_query_is_not_read_again(tokeniser_folder: Path) -> None:
    """Only the query is read the second time, short text or long."""
    counting, known = Counting(tokeniser_folder), TokenCache(1_000_000)
    texts = ["hotel", "train " * 5_000, ""]
    counting.pairs("cat", texts, 32, known)
    counting.read.clear()
    counting.pairs("late flight", texts, 32, known)
    assert counting.read == ["late flight"]


def test_a_post_processor_that_does_more_joins_the_pairs_itself(tmp_path: Path) -> None:
    """Where the text stands before the query no layout is derived, and pairs are the library's own."""
    path = write_tokeniser(tmp_path) / "tokenizer.json"
    plain = Tokenizer.from_file(str(path))
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="$B:1 [SEP] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    plain.save(str(path))
    ours = Tokeniser(tmp_path)
    (found,) = ours.pairs("cat", ["hotel late"], 32, TokenCache(1_000))
    assert not ours.keeps_texts
    assert list(found.ids) == plain.encode("cat", "hotel late").ids


def test_the_usual_post_processors_have_a_layout(tokeniser: Tokeniser) -> None:
    """A pair of fixed tokens around query and text is laid out here."""
    assert tokeniser.keeps_texts


def test_the_longest_unused_text_gives_way() -> None:
    """With room for two texts of ten tokens, the one that was asked for stays, and the bytes are counted."""
    cache = TokenCache(2 * (ENTRY_BYTES + 10 * TOKEN_BYTES))
    ten = Beginning(array("i", range(10)), is_whole=True)
    for digest in (b"a", b"b"):
        cache.put(digest, ten)
    cache.get(b"a")
    cache.put(b"c", ten)
    assert [cache.get(digest) is not None for digest in (b"a", b"b", b"c")] == [True, False, True]
    cache.put(b"d", Beginning(array("i", range(200)), is_whole=True))
    assert len(cache) <= 1


def test_a_cache_without_room_keeps_nothing() -> None:
    """Nothing is kept in no bytes, and nothing breaks."""
    cache = TokenCache(0)
    cache.put(b"a", Beginning(array("i"), is_whole=True))
    assert (cache.get(b"a"), len(cache)) == (None, 0)


@pytest.mark.parametrize("tokens", [0, 120, 512])
def test_memory_stays_within_what_was_given(tokens: int) -> None:
    """P7: a full cache that turned over holds at most the bytes it was given, and at least half of them."""
    most_bytes = 5_000 * (ENTRY_BYTES + TOKEN_BYTES * tokens)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cache = TokenCache(most_bytes)
    for index in range(8_000):
        ids = list(range(index, index + tokens))
        cache.put(index.to_bytes(16, "little"), Beginning(array("i", ids), is_whole=True))
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(cache) == 5_000
    assert most_bytes / 2 < held <= most_bytes
