"""The text that every peer scores: SciFact, 20 queries of the train split, what BM25 finds for them.

Everything here is deterministic: the same collection gives the same requests on every machine.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rescorer_lab import collections
from rescorer_lab.collections import Collection, Document

QUERIES = 20
WINDOW_WORDS = 60
LIMIT_TOKENS = 512
_WORD = re.compile(r"\w+")

Lengths = Callable[[str, Sequence[str]], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One query and the texts to score; ``tokens[i]`` is the length of pair i, special tokens counted, as it is cut."""

    query: str
    texts: tuple[str, ...]
    tokens: tuple[int, ...]

    def first(self, count: int) -> Request:
        """The same query with its first ``count`` texts."""
        return Request(query=self.query, texts=self.texts[:count], tokens=self.tokens[:count])


class Bm25:
    """BM25 as Lucene counts it (idf = ln(1 + (N - df + 0.5) / (df + 0.5))) over lower-cased words, no stemming."""

    def __init__(self, texts: Sequence[str], k1: float = 0.9, b: float = 0.4) -> None:
        counts = [Counter(_words(text)) for text in texts]
        lengths = [sum(count.values()) for count in counts]
        mean = sum(lengths) / len(lengths)
        self._found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, count in enumerate(counts):
            norm = k1 * (1 - b + b * lengths[place] / mean)
            for word, times in count.items():
                self._found[word].append((place, times / (times + norm)))
        self._count = len(texts)

    def top(self, query: str, count: int) -> list[int]:
        """Places of the best ``count`` texts; equal scores stand in the order of the texts."""
        scores: dict[int, float] = defaultdict(float)
        for word in _words(query):
            found = self._found.get(word, [])
            idf = math.log(1 + (self._count - len(found) + 0.5) / (len(found) + 0.5))
            for place, weight in found:
                scores[place] += idf * weight
        return sorted(scores, key=lambda place: (-scores[place], place))[:count]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def window(document: Document, chance: random.Random) -> str:
    """60 words of title and abstract in a row, from a place that ``chance`` picks; all words where there are fewer."""
    words = _whole(document).split()
    begin = chance.randrange(max(1, len(words) - WINDOW_WORDS + 1))
    return " ".join(words[begin : begin + WINDOW_WORDS])


def _whole(document: Document) -> str:
    return f"{document.title} {document.body}"


class Texts:
    """The workloads' requests. ``tokenizer`` is a ``tokenizers.Tokenizer`` without padding or truncation."""

    def __init__(self, collection: Collection, tokenizer: Any) -> None:
        self._documents = collection.documents
        self._tokenizer = tokenizer
        names = random.Random(0).sample(sorted(collection.qrels), QUERIES)
        self.queries = tuple(collection.queries[name] for name in names)
        self._bm25 = Bm25([_whole(document) for document in self._documents])

    def long(self) -> list[Request]:
        """W1: per query 100 times title and abstract, cut at 512 tokens."""
        return [
            self._request(query, [_whole(found) for found in self._top(query, 100)], LIMIT_TOKENS)
            for query in self.queries
        ]

    def short(self, count: int = 100) -> list[Request]:
        """W2: one 60-word window of each of the ``count`` best documents, per query."""
        chance = random.Random(0)
        return [
            self._request(query, [window(found, chance) for found in self._top(query, count)], LIMIT_TOKENS)
            for query in self.queries
        ]

    def many(self, count: int) -> Request:
        """``count`` different windows for one query, best documents first, then any."""
        query = self.queries[0]
        listed = self._top(query, count)
        known = {document.id for document in listed}
        listed += [document for document in self._documents if document.id not in known][: count - len(listed)]
        chance = random.Random(1)
        return self._request(query, [window(document, chance) for document in listed], LIMIT_TOKENS)

    def exact(self, tokens: int, count: int) -> Request:
        """``count`` pairs of ``tokens`` tokens each, give or take a few where a cut goes through a word."""
        query = min(self.queries, key=lambda each: self.lengths(each, [""])[0])
        left = tokens - self.lengths(query, [""])[0]
        if left < 1:
            raise ValueError(f"the shortest query leaves no room for a text in {tokens} tokens")
        pool = " ".join(_whole(document) for document in self._top(query, 4 * count))
        spans = self._tokenizer.encode(pool, add_special_tokens=False).offsets
        if len(spans) < left * count:
            raise ValueError(f"{len(spans)} tokens of text don't make {count} texts of {left}")
        parts = [spans[place * left : (place + 1) * left] for place in range(count)]
        return self._request(query, [pool[part[0][0] : part[-1][1]] for part in parts], LIMIT_TOKENS)

    def lengths(self, query: str, texts: Sequence[str]) -> list[int]:
        """Tokens of each pair, uncut."""
        return [len(one.ids) for one in self._tokenizer.encode_batch([(query, text) for text in texts])]

    def _top(self, query: str, count: int) -> list[Document]:
        return [self._documents[place] for place in self._bm25.top(query, count)]

    def _request(self, query: str, texts: Sequence[str], limit: int) -> Request:
        tokens = tuple(min(limit, length) for length in self.lengths(query, texts))
        return Request(query=query, texts=tuple(texts), tokens=tokens)


def load(tokenizer_file: str, say: Callable[[str], object]) -> Texts:
    """SciFact with the model's tokenizer; DownloadError where the collection can't be had."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Texts(collections.scifact(say), tokenizer)
