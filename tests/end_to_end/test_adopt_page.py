"""docs/adopt.md, followed word for word: every command and every Python block, in the order of the page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rescorer_sidecar.config import Settings
from unit.lab.small_stack import DOCUMENTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adopt.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FOR_ELASTICSEARCH = {
    "opensearchpy.OpenSearch": "elasticsearch.Elasticsearch",
    "import opensearchpy": "import elasticsearch",
    "rescorer.opensearch": "rescorer.elasticsearch",
    "OpenSearch": "Elasticsearch",
}
"""What the page tells its reader to put for the other engine, the longest first."""


@pytest.fixture(params=["opensearch", "elasticsearch"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A node that holds the index of the page, and nothing of it afterwards."""
    from opensearchpy import OpenSearch

    address: str = request.getfixturevalue(f"{request.param}_url")
    with OpenSearch(hosts=[address]) as plain:
        ask = plain.transport.perform_request
        fields = {"title": {"type": "text"}, "body": {"type": "text"}}
        ask("PUT", "/articles", body={"mappings": {"properties": fields}})
        flights = [{"title": f"Flight {place}", "body": f"cancel flight {place}, a day before"} for place in range(5)]
        for place, document in enumerate([*DOCUMENTS, *flights]):
            ask("PUT", f"/articles/_doc/{place}", params={"refresh": "true"}, body=document)
        yield address
        ask("DELETE", "/articles")
        for path in ("/_index_template/articles", "/_component_template/articles-rescorer"):
            ask("DELETE", path, params={"ignore": 404})


def _replaced(text: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def _run(command: str) -> None:
    """One line of the page, with the ``rescorer`` of this environment first on the path."""
    kept = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # where another client may stand
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nonexistent", **kept}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


class Reader:
    """Does what the page says, on one engine."""

    def __init__(self, url: str, sidecar: str, exchanged: dict[str, str]) -> None:
        self.namespace: dict[str, Any] = {}
        self._addresses = {"http://localhost:9200": url, "localhost:50051": sidecar}
        self._exchanged = exchanged

    def follow(self, blocks: list[tuple[str, str]]) -> None:
        """Each block in its turn."""
        for language, body in blocks:
            code = _replaced(body, self._addresses)
            if language == "python":
                code = _replaced(code, self._exchanged)
                exec(compile(code, "docs/adopt.md", "exec"), self.namespace)  # noqa: S102 - the page is ours
            for command in code.splitlines() if language == "sh" else ():
                if command.startswith(("rescorer ", "echo ")):
                    _run(command)


@pytest.mark.engine
def test_the_page_holds_true_from_top_to_bottom(request: pytest.FixtureRequest, url: str, sidecar: str) -> None:
    """On either engine with a real sidecar: each command ends with 0, each block runs, each of its tests passes."""
    is_elasticsearch = "elasticsearch" in request.node.name
    reader = Reader(url, sidecar, FOR_ELASTICSEARCH if is_elasticsearch else {})
    reader.follow(BLOCKS[:-1])
    assert reader.namespace["outcome"]["status"] == "reranked"
    assert reader.namespace["told"]["reason"] == "no_query_text"
    tests = [value for name, value in reader.namespace.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
    reader.follow(BLOCKS[-1:])  # the way back; its last line is its own test


def test_what_the_page_installs_and_starts_is_there() -> None:
    """The extras that it names are those of the distribution, and the sidecar's option is a setting."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line.split(" #")[0].strip() for language, body in BLOCKS if language == "sh" for line in body.splitlines()]
    named = {
        extra for line in lines for extras in re.findall(r"rescorer\[(.*?)\]", line) for extra in extras.split(",")
    }
    assert named <= project["optional-dependencies"].keys()
    options = [word for line in lines if line.startswith("rescorer-sidecar ") for word in shlex.split(line)[1:]]
    known = Settings.__dataclass_fields__.keys()
    assert {word[2:].replace("-", "_") for word in options if word.startswith("--")} <= known
    assert [line for line in lines if line and not line.startswith(("pip install ", "rescorer", "echo "))] == []
