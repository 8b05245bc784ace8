"""How a text that is too long is cut: every token in its place, labels kept, and no chunk longer than it may be."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rescorer_sidecar.chunks import WORD_TOKENS, Cut, LongTexts, Part, cut, pooled, shares, shortened, spans

SIZES = st.tuples(st.integers(0, 300), st.integers(1, 60), st.integers(0, 40), st.integers(1, 12))
LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=20)


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Tokens, window, overlap and most chunks, as a cut asks for them."""
    count, window, overlap, most = draw(SIZES)
    return count, window, min(overlap, window // 2), most


@given(windows())
def test_every_token_is_covered_up_to_the_bound(asked: tuple[int, int, int, int]) -> None:
    """From the first token on there is no gap, and the end is reached unless there are ``most`` chunks."""
    count, window, overlap, most = asked
    found = spans(count, window, overlap, most)
    covered = {place for begin, end in found for place in range(begin, end)}
    assert covered == set(range(found[-1][1]))
    assert found[-1][1] == count or len(found) == most


@given(windows())
def test_chunks_overlap_as_asked_and_are_no_longer_than_they_may_be(asked: tuple[int, int, int, int]) -> None:
    """Each chunk begins ``overlap`` tokens before the end of the last one; all but the last are full; none is idle."""
    count, window, overlap, most = asked
    found = spans(count, window, overlap, most)
    assert all(end - later == overlap for (_, end), (later, _) in pairwise(found))
    assert all(end - begin == window for begin, end in found[:-1])
    assert 1 <= len(found) <= most
    assert all(later > end for (_, end), (_, later) in pairwise(found))


@given(windows())
def test_a_text_that_fits_is_one_chunk(asked: tuple[int, int, int, int]) -> None:
    """One chunk exactly where the window holds all tokens, whatever the overlap, or where one is the most."""
    count, window, overlap, most = asked
    assert (len(spans(count, window, overlap, most)) == 1) == (count <= window or most == 1)


@given(LOGITS)
def test_the_best_chunk_alone_is_the_maximum(logits: list[float]) -> None:
    """``top`` 1 is the highest logit itself, bit for bit."""
    assert pooled(logits, 1) == max(logits)


@given(LOGITS, st.integers(1, 25))
def test_the_mean_of_the_best_lies_between_mean_and_maximum(logits: list[float], top: int) -> None:
    """Never above the best, never below the mean of all, which it is where ``top`` takes all."""
    mean = sum(logits) / len(logits)
    assert mean - 1e-6 <= pooled(logits, top) <= max(logits) + 1e-6
    assert pooled(logits, len(logits)) == pytest.approx(mean, abs=1e-6)


@given(LOGITS, st.integers(1, 25), st.randoms())
def test_the_order_of_chunks_is_nothing_to_their_logit(logits: list[float], top: int, dice: object) -> None:
    """The same chunks in any order give the same bits."""
    shuffled = list(logits)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pooled(shuffled, top) == pooled(logits, top)


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[Part], bytes]:
    """Parts that lie one behind the other, and where their words begin; each label and each text begins one."""
    parts, starts = [], bytearray()
    for _ in range(draw(st.integers(1, 4))):
        label, length = draw(st.integers(0, 4)), draw(st.sampled_from([0, 1, 5, 30, 120]))
        begin = len(starts)
        for size in (label, length):
            words = draw(st.lists(st.booleans(), min_size=size, max_size=size))
            starts += bytes([1, *words[1:]]) if size else b""
        parts.append(Part(begin, begin + label, begin + label + length, draw(st.sampled_from([0, 0, 3, 20]))))
    return parts, bytes(starts)


def tokens(*spans_: tuple[int, int]) -> list[int]:
    """The places that spans name."""
    return [place for begin, end in spans_ for place in range(begin, end)]


def allowed(parts: list[Part]) -> int:
    """How many tokens the parts' own bounds let through."""
    return sum(part.text - part.begin + min(part.length, part.most or part.length) for part in parts)


@given(texts(), st.integers(8, 200))
def test_a_shortened_text_keeps_its_labels_and_its_bounds(text: tuple[list[Part], bytes], room: int) -> None:
    """All labels stand whole in their order, no field passes its bound, and the room is not passed."""
    parts, starts = text
    found = tokens(*shortened(parts, starts, room).chunks[0])
    assert len(found) <= room
    assert found == sorted(found)
    assume(sum(part.text - part.begin for part in parts) <= room)
    for part in parts:
        assert set(range(part.begin, part.text)) <= set(found)
        own = [place for place in found if part.text <= place < part.end]
        assert own == list(range(part.text, part.text + len(own)))
        assert not part.most or len(own) <= part.most


@given(texts(), st.integers(8, 200))
def test_a_shortened_text_ends_with_whole_words(text: tuple[list[Part], bytes], room: int) -> None:
    """A field that is cut ends before a word's beginning, or gave up as many tokens as it may without meeting one."""
    parts, starts = text
    assume(sum(part.text - part.begin for part in parts) <= room)
    found = set(tokens(*shortened(parts, starts, room).chunks[0]))
    for part, share in zip(parts, shares(parts, room), strict=True):
        kept = len(found & set(range(part.text, part.end)))
        if kept < part.length and kept:
            is_word = starts[part.text + kept] == 1
            assert is_word or not any(
                starts[max(part.text + 1, part.text + share - WORD_TOKENS + 1) : part.text + share + 1]
            )


def test_what_one_field_leaves_goes_to_the_others() -> None:
    """A title of 3 tokens under a bound of 20 leaves the body all but 3; a bounded field behind a long one is kept."""
    title, body, author = Part(0, 2, 5, most=20), Part(5, 7, 207), Part(207, 209, 219, most=4)
    assert shares([title, body, author], 100) == [3, 100 - 6 - 3 - 4, 4]
    assert shares([body], 100) == [98]
    assert shares([title, body], 4) == [0, 0]


@given(texts(), st.integers(8, 200))
def test_a_text_that_fits_loses_nothing(text: tuple[list[Part], bytes], room: int) -> None:
    """Shortened or cut into chunks, it is all there, in one piece, and says so."""
    parts, starts = text
    assume(parts[-1].end <= room and all(part.length <= (part.most or part.length) for part in parts))
    for found in (shortened(parts, starts, room), cut(parts, starts, room, LongTexts())):
        assert found.is_whole
        assert tokens(*found.head, *found.chunks[0]) == list(range(parts[-1].end))
        assert len(found.chunks) == 1


HOW = st.builds(
    LongTexts,
    chunk_tokens=st.sampled_from([0, 1, 10, 64, 1_000]),
    overlap_tokens=st.none() | st.integers(0, 70),
    most_chunks=st.integers(1, 40),
)


@given(texts(), st.integers(8, 200), HOW)
def test_chunks_cover_what_bounds_let_through_each_behind_the_head(
    text: tuple[list[Part], bytes], room: int, how: LongTexts
) -> None:
    """No chunk passes the room; the head stands before each; head and chunks cover the text up to the most chunks."""
    parts, starts = text
    found = cut(parts, starts, room, how)
    head = tokens(*found.head)
    chunks = [tokens(*chunk) for chunk in found.chunks]
    assert all(len(head) + len(chunk) <= room for chunk in chunks)
    assert all(len(chunk) <= (how.chunk_tokens or room) for chunk in chunks)
    assert len(head) <= room // 2
    assert 1 <= len(chunks) <= how.most_chunks
    covered = {*head, *(place for chunk in chunks for place in chunk)}
    assert found.is_whole == (covered == set(range(parts[-1].end)))
    if len(chunks) < how.most_chunks:
        assert len(covered) >= allowed(parts) - WORD_TOKENS * sum(0 < part.most < part.length for part in parts)


def test_short_fields_before_the_long_one_stand_before_each_chunk() -> None:
    """T6: title and author whole, then the long field's label; what follows the long field stands at the end."""
    title, author, body, tags = Part(0, 2, 10), Part(10, 12, 15), Part(15, 17, 317), Part(317, 319, 322)
    found = cut([title, author, body, tags], b"", 117, LongTexts(overlap_tokens=20))
    assert tokens(*found.head) == list(range(17))
    assert [tokens(*chunk) for chunk in found.chunks] == [
        list(range(17 + begin, min(17 + begin + 100, 322))) for begin in (0, 80, 160, 240)
    ]


def test_a_text_without_fields_has_no_head() -> None:
    """A plain text is one part without a label: all the room is its own."""
    found = cut([Part(0, 0, 250)], b"", 100, LongTexts(overlap_tokens=0))
    assert found == Cut((), (((0, 100),), ((100, 200),), ((200, 250),)), is_whole=True)


def test_chunks_overlap_by_an_eighth_unless_asked_otherwise_and_by_half_at_most() -> None:
    """So each token is in two chunks at most, or nearly, and the work is bounded by twice the text."""
    part = [Part(0, 0, 400)]
    by_default, by_half = (cut(part, b"", 80, LongTexts(overlap_tokens=asked)) for asked in (None, 79))
    assert by_default.chunks[1][0][0] == 70
    assert by_half.chunks[1][0][0] == 40
