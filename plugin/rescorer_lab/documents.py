"""What documents say: out of a file or an index, only those that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rescorer import text
from rescorer.config import DocumentField
from rescorer_lab.inputs.lines import BadLine, objects

IDS = ("_id", "id", "doc_id", "docid", "docno")
FIELDS = ("title", "text", "body", "contents", "content", "abstract")
PAGE = 200

Search = Callable[[dict[str, Any]], Any]
"""Sends the body of a search and returns the engine's answer."""


def of_file(path: Path, wanted: Collection[str]) -> dict[str, str]:
    """The texts of these documents out of a JSONL file such as BEIR's ``corpus.jsonl``, title first; others may lack.

    BadLine for a line without an id, and for a wanted one without a text.
    """
    found: dict[str, str] = {}
    for number, document in objects(path):
        identity = next((str(document[name]) for name in IDS if name in document), None)
        if identity is None:
            raise BadLine(path, number, f"has none of the fields {', '.join(IDS)}", "give each document an id")
        if identity in wanted:
            parts = [document[name] for name in FIELDS if isinstance(document.get(name), str)]
            if not parts:
                raise BadLine(path, number, f"has none of the fields {', '.join(FIELDS)}", "give each document a text")
            found[identity] = "\n".join(filter(None, parts))
    return found


def of_index(search: Search, wanted: Collection[str], fields: Sequence[DocumentField]) -> dict[str, str]:
    """The texts of these documents out of an index, a line for each field; those without a text lack."""
    ids, found = list(wanted), dict[str, str]()
    names = [entry.field for entry in fields]
    for begin in range(0, len(ids), PAGE):
        page = ids[begin : begin + PAGE]
        body = {"query": {"ids": {"values": page}}, "size": len(page), "_source": names}
        for hit in search(body)["hits"]["hits"]:
            values = [value for _, value in text.document_texts(hit, fields, source_is_whole=True)]
            if any(values):
                found[hit["_id"]] = "\n".join(values)
    return found
