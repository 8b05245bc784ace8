"""Known scores: bounded in bytes, and never found under anything but what decided them."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.cache import ENTRY_BYTES, ScoreCache, pair_keys
from rescorer_sidecar.domain import ModelCard, PairScore


def score(logit: float = 1.0, token_count: int = 3) -> PairScore:
    """A known score."""
    return PairScore(logit=logit, token_count=token_count, truncated=False)


def pair_key(digest: str, limit: int, query: str, text: str) -> bytes:
    """The key of one pair."""
    (key,) = pair_keys(digest, limit, query, [text])
    return key


def got(cache: ScoreCache, key: bytes) -> PairScore | None:
    """The score of one pair, if it is known."""
    (found,) = cache.known([key])
    return found


PARTS = st.tuples(st.text(max_size=6), st.integers(0, 3), st.text(max_size=6), st.text(max_size=6))


@given(one=PARTS, other=PARTS)
def test_keys_are_equal_only_for_equal_parts(one: tuple[str, int, str, str], other: tuple[str, int, str, str]) -> None:
    """S5: two pairs share a key only if model, limit, query and text are all the same."""
    assert (pair_key(*one) == pair_key(*other)) == (one == other)


@pytest.mark.parametrize(
    "other",
    [("d2", 64, "query", "text"), ("d1", 63, "query", "text"), ("d1", 64, "quer", "ytext"), ("d1", 64, "query", "")],
)
def test_each_part_of_the_key_counts(other: tuple[str, int, str, str]) -> None:
    """S5: another model, another limit, or the same letters cut elsewhere between query and text: another key."""
    assert pair_key(*other) != pair_key("d1", 64, "query", "text")


CARD = ModelCard(
    name="m",
    digest="d",
    kind="cross-encoder",
    max_tokens=64,
    dimension=0,
    backend="torch",
    device="cuda:0",
    precision="fp16",
)


@pytest.mark.parametrize("other", [{"digest": "e"}, {"backend": "onnx"}, {"device": "cpu"}, {"precision": "fp32"}])
def test_another_arithmetic_is_another_model(other: dict[str, str]) -> None:
    """S5: scores of other files, another backend, kind of device or precision are known under another name."""
    assert replace(CARD, **other).scored_by != CARD.scored_by
    assert replace(CARD, device="cuda:1", name="n").scored_by == CARD.scored_by


def test_a_key_takes_any_text() -> None:
    """Lone surrogates, NUL and a megabyte all make 32 bytes."""
    assert {len(pair_key("d", 1, "q", text)) for text in ("\ud800", "\0", "x" * 1_000_000)} == {32}


def test_a_score_is_found_again() -> None:
    """What was put is what is got; what was not put is not there."""
    cache = ScoreCache(10 * ENTRY_BYTES)
    cache.put(b"a", score(2.5))
    assert got(cache, b"a") == score(2.5)
    assert got(cache, b"b") is None


def test_a_score_of_zero_is_a_score() -> None:
    """A logit of 0.0 is known, not absent."""
    cache = ScoreCache(10 * ENTRY_BYTES)
    cache.put(b"a", score(0.0))
    assert got(cache, b"a") == score(0.0)


def test_the_longest_unused_gives_way() -> None:
    """With room for two, the one that was asked for stays and the other goes."""
    cache = ScoreCache(2 * ENTRY_BYTES)
    cache.put(b"a", score(1.0))
    cache.put(b"b", score(2.0))
    got(cache, b"a")
    cache.put(b"c", score(3.0))
    assert got(cache, b"b") is None
    assert got(cache, b"a") == score(1.0)
    assert len(cache) == 2


@pytest.mark.parametrize("most_bytes", [0, ENTRY_BYTES - 1, -1])
def test_a_cache_without_room_keeps_nothing(most_bytes: int) -> None:
    """With room for less than one entry nothing is kept, and nothing breaks."""
    cache = ScoreCache(most_bytes)
    cache.put(b"a", score())
    assert got(cache, b"a") is None
    assert len(cache) == 0


def test_memory_stays_within_what_was_given() -> None:
    """P7: a full cache that turned over holds at most the bytes it was given, and at least half of them."""
    most_bytes = 20_000 * ENTRY_BYTES
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cache = ScoreCache(most_bytes)
    for index in range(30_000):
        cache.put(pair_key("d", 512, "q", str(index)), score(logit=index + 0.5, token_count=300 + index))
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(cache) == 20_000
    assert most_bytes / 2 < held <= most_bytes


def test_keys_of_a_request_stand_in_the_order_of_its_texts() -> None:
    """Each text has the key that it would have alone, and equal texts have equal keys."""
    texts = ["hotel", "", "hotel", "train"]
    keys = pair_keys("d1", 64, "cat", texts)
    assert keys == [pair_key("d1", 64, "cat", text) for text in texts]
    assert len(set(keys)) == 3
