"""Shared entries: what was packed is what is found, and nothing else is a score."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescorer_sidecar.domain import PairScore
from rescorer_sidecar.shared_entries import ENTRY_BYTES, PREFIX, Sealer

KEY = b"k" * 32
SCORES = st.builds(
    PairScore,
    logit=st.floats(width=32, allow_nan=False, allow_infinity=False),
    token_count=st.integers(0, 2**32 - 1),
    truncated=st.booleans(),
)


def packed(sealer: Sealer, score: PairScore, key: bytes = KEY) -> bytes:
    """An entry that must be one."""
    entry = sealer.packed(key, score)
    assert entry is not None
    return entry


@given(score=SCORES, secret=st.text(max_size=80))
def test_a_score_is_found_again_to_the_last_bit(score: PairScore, secret: str) -> None:
    """Any finite float32, count and flag come back as they were, in so few bytes."""
    sealer = Sealer(secret)
    entry = packed(sealer, score)
    assert len(entry) == ENTRY_BYTES == 18
    assert sealer.unpacked(KEY, entry) == score


@given(score=SCORES, place=st.integers(0, ENTRY_BYTES - 1), change=st.integers(1, 255))
def test_a_changed_byte_is_a_miss(score: PairScore, place: int, change: int) -> None:
    """Whatever byte is changed, the entry is no score."""
    sealer = Sealer("")
    entry = bytearray(packed(sealer, score))
    entry[place] ^= change
    assert sealer.unpacked(KEY, bytes(entry)) is None


@given(score=SCORES, length=st.integers(0, ENTRY_BYTES - 1), more=st.binary(min_size=1, max_size=9))
def test_a_cut_or_lengthened_entry_is_a_miss(score: PairScore, length: int, more: bytes) -> None:
    """A part of an entry is none, nor is one with something behind it."""
    sealer = Sealer("")
    entry = packed(sealer, score)
    assert sealer.unpacked(KEY, entry[:length]) is None
    assert sealer.unpacked(KEY, entry + more) is None


@pytest.mark.parametrize("entry", [None, b"", 7, "text", [b"1"], b"\x01" * ENTRY_BYTES, b"\0" * ENTRY_BYTES])
def test_what_something_else_wrote_is_a_miss(entry: object) -> None:
    """Whatever lies under a name, only an entry is a score."""
    assert Sealer("").unpacked(KEY, entry) is None


def test_an_entry_under_another_name_is_a_miss() -> None:
    """An entry that was copied from one pair to another is no score of the other one."""
    sealer = Sealer("")
    entry = packed(sealer, PairScore(logit=1.0, token_count=3, truncated=False))
    assert sealer.unpacked(b"j" * 32, entry) is None


def test_without_the_secret_nobody_makes_an_entry_or_guesses_a_name() -> None:
    """Another secret, or none: other names, and no entry of one is one of the other."""
    score = PairScore(logit=1.0, token_count=3, truncated=False)
    sealers = [Sealer(""), Sealer("one"), Sealer("two")]
    assert len({sealer.name(KEY) for sealer in sealers}) == 3
    for own in sealers:
        found = [sealer.unpacked(KEY, packed(own, score)) for sealer in sealers]
        assert found == [score if sealer is own else None for sealer in sealers]


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf, 1e39])
def test_a_logit_that_is_no_finite_float32_is_not_stored(logit: float) -> None:
    """Not-a-number and what float32 can't hold are never written."""
    assert Sealer("").packed(KEY, PairScore(logit=logit, token_count=1, truncated=False)) is None


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
def test_not_a_number_with_a_sound_checksum_is_a_miss(logit: float) -> None:
    """An entry that is sealed as it should be, but holds no number, is no score."""
    sealer = Sealer("")
    body = struct.pack("<BfIB", 1, logit, 3, 0)
    assert sealer.unpacked(KEY, body + sealer._sum(KEY, body)) is None


def test_names_carry_the_version_and_nothing_of_the_text() -> None:
    """A name is the versioned prefix and 16 bytes of digest, whatever the key."""
    name = Sealer("").name(KEY)
    assert name.startswith(PREFIX)
    assert len(name) == len(PREFIX) + 16
    assert KEY[:4] not in name
