"""A real OpenSearch node: what answers, who runs it, where it listens, and that its data outlive it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rescorer_lab import cli, engines
from rescorer_lab.engines import Node

pytestmark = pytest.mark.slow
NAME = "test-engine-node"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node of this module's own, gone with its data at the end."""
    engines.down(NAME)
    made = engines.up("opensearch", port=0, name=NAME)
    yield made
    engines.down(NAME)
    shutil.rmtree(made.folder)


def _asked(node: Node, path: str, body: Any = None, method: str = "GET") -> Any:
    request = urllib.request.Request(  # noqa: S310  # loopback
        f"{node.url}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method=method,
    )
    with engines.LOOPBACK.open(request, timeout=30) as reply:
        return json.load(reply)


def test_the_node_is_the_release_that_was_asked_for(node: Node) -> None:
    """It names its version, and it is healthy."""
    assert _asked(node, "/")["version"]["number"] == "3.6.0"
    assert engines.health(node) in {"yellow", "green"}


def test_the_plugins_of_hybrid_search_are_loaded(node: Node) -> None:
    """k-NN and neural-search answer under their own names."""
    found = {plugin["component"] for plugin in _asked(node, "/_cat/plugins?format=json")}
    assert {"opensearch-knn", "opensearch-neural-search"} <= found


def test_an_index_with_text_and_vectors_can_be_made_and_searched(node: Node) -> None:
    """Analyzers and the lucene vector field work on the Java that comes with the node."""
    vector = {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "lucene"}}
    mappings = {"properties": {"body": {"type": "text", "analyzer": "english"}, "vector": vector}}
    _asked(node, "/both", {"settings": {"index.knn": True}, "mappings": mappings}, "PUT")
    _asked(node, "/both/_doc/1?refresh=true", {"body": "cancelled flights", "vector": [1.0, 0.0]}, "PUT")
    for query in ({"match": {"body": "flight"}}, {"knn": {"vector": {"vector": [1.0, 0.1], "k": 1}}}):
        assert [hit["_id"] for hit in _asked(node, "/both/_search", {"query": query}, "POST")["hits"]["hits"]] == ["1"]


def test_the_node_does_not_run_as_root(node: Node) -> None:
    """Root's node runs as nobody, everybody else's as the user."""
    owner = Path(f"/proc/{node.identity.pid}").stat().st_uid
    assert owner == (os.geteuid() or pwd.getpwnam("nobody").pw_uid) != 0


def test_the_node_listens_on_loopback_only(node: Node) -> None:
    """No socket of the process listens on an address that another machine can reach."""
    of_process = {str(entry.readlink()) for entry in Path(f"/proc/{node.identity.pid}/fd").iterdir()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in of_process:
                listening.append(fields[1].split(":"))
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert {address for address, _ in listening} <= loopback
    assert f"{node.port:04X}" in {port for _, port in listening}


def test_up_again_is_the_same_process(node: Node) -> None:
    """A node that runs is returned as it is."""
    assert engines.up("opensearch", port=0, name=NAME) == node


def test_status_and_logs_show_the_node(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands name the node and what it printed."""
    assert cli.run(["engine", "status"]) == 0
    assert f"{NAME}: opensearch 3.6.0, " in capsys.readouterr().out
    assert cli.run(["engine", "logs", "--name", NAME, "--lines", "1000"]) == 0
    assert f"[{NAME}] started" in capsys.readouterr().out


def test_down_ends_the_process_and_the_data_survive_a_restart(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """After down nothing answers; after the next up the document is there."""
    _asked(node, "/kept/_doc/1?refresh=true", {"body": "still here"}, "PUT")
    assert cli.run(["engine", "down", "--name", NAME]) == 0
    assert capsys.readouterr().out.startswith(f"opensearch 3.6.0 (node {NAME}) has stopped after ")
    assert not node.is_alive
    again = engines.up("opensearch", port=0, name=NAME)
    assert again.identity != node.identity
    assert _asked(again, "/kept/_doc/1")["_source"] == {"body": "still here"}
