"""A real node of each engine: what answers, who runs it, where it listens, and that its data outlive it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rescorer_lab import cli, engines
from rescorer_lab.engines import Node, releases
from rescorer_lab.errors import NoJavaError

pytestmark = pytest.mark.slow
opensearch_only = pytest.mark.parametrize("node", ["opensearch"], indirect=True)
elasticsearch_only = pytest.mark.parametrize("node", ["elasticsearch"], indirect=True)


def _version(engine: str) -> str:
    wanted = os.environ.get(f"RESCORER_TEST_{engine.upper()}", "")
    return releases.find(engine, None if wanted.startswith("http") else wanted or None).version


@pytest.fixture(scope="module", params=["opensearch", "elasticsearch"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node of this module's own, gone with its data at the end."""
    name = f"test-engine-node-{request.param}"
    engines.down(name)
    try:
        made = engines.up(request.param, version=_version(request.param), port=0, name=name)
    except NoJavaError as error:
        pytest.skip(str(error))
    yield made
    engines.down(name)
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


def _refused(node: Node, path: str, body: Any) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        _asked(node, path, body, "POST")
    caught.value.close()
    return caught.value.code


def test_the_node_is_the_release_that_was_asked_for(node: Node) -> None:
    """It names its version, and it is healthy."""
    assert _asked(node, "/")["version"]["number"] == _version(node.engine)
    assert engines.health(node) in {"yellow", "green"}


@opensearch_only
def test_the_plugins_of_hybrid_search_are_loaded(node: Node) -> None:
    """k-NN and neural-search answer under their own names."""
    found = {plugin["component"] for plugin in _asked(node, "/_cat/plugins?format=json")}
    assert {"opensearch-knn", "opensearch-neural-search"} <= found


def test_an_index_with_text_and_vectors_can_be_made_and_searched(node: Node) -> None:
    """Analyzers and vector fields work on the Java that the node runs on."""
    vector, knn, settings = {
        "opensearch": (
            {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "lucene"}},
            {"vector": {"vector": [1.0, 0.1], "k": 1}},
            {"index.knn": True},
        ),
        "elasticsearch": (
            {"type": "dense_vector", "dims": 2},
            {"field": "vector", "query_vector": [1.0, 0.1], "k": 1},
            {},
        ),
    }[node.engine]
    mappings = {"properties": {"body": {"type": "text", "analyzer": "english"}, "vector": vector}}
    _asked(node, "/both", {"settings": settings, "mappings": mappings}, "PUT")
    _asked(node, "/both/_doc/1?refresh=true", {"body": "cancelled flights", "vector": [1.0, 0.0]}, "PUT")
    for query in ({"match": {"body": "flight"}}, {"knn": knn}):
        assert [hit["_id"] for hit in _asked(node, "/both/_search", {"query": query}, "POST")["hits"]["hits"]] == ["1"]


def test_scripts_run(node: Node) -> None:
    """Painless is there, which function and script queries are written in."""
    _asked(node, "/scripted/_doc/1?refresh=true", {"weight": 3}, "PUT")
    script = {"source": "doc['weight'].value * 2"}
    query = {"script_score": {"query": {"match_all": {}}, "script": script}}
    assert _asked(node, "/scripted/_search", {"query": query}, "POST")["hits"]["max_score"] == 6.0


def _processes(node: Node) -> list[Path]:
    """All processes of the node: Elasticsearch's launcher has the engine for a child."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):  # one that ended meanwhile
            if os.getsid(int(process.name)) == node.identity.pid:
                found.append(process)
    return found


def test_the_node_does_not_run_as_root(node: Node) -> None:
    """Root's node runs as nobody, everybody else's as the user."""
    expected = os.geteuid() or pwd.getpwnam("nobody").pw_uid
    assert {process.stat().st_uid for process in _processes(node)} == {expected}
    assert expected != 0


def test_the_node_listens_on_loopback_only(node: Node) -> None:
    """No socket of its processes listens on an address that another machine can reach."""
    sockets = set()
    for entry in [entry for process in _processes(node) for entry in (process / "fd").iterdir()]:
        with contextlib.suppress(FileNotFoundError):  # a file that the node has closed meanwhile
            sockets.add(str(entry.readlink()))
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                listening.append(fields[1].split(":"))
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert {address for address, _ in listening} <= loopback
    assert f"{node.port:04X}" in {port for _, port in listening}


def test_up_again_is_the_same_process(node: Node) -> None:
    """A node that runs is returned as it is."""
    assert engines.up(node.engine, version=node.version, port=0, name=node.name) == node


def test_status_and_logs_show_the_node(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands name the node and what it printed."""
    assert cli.run(["engine", "status"]) == 0
    assert f"{node.name}: {node.engine} {node.version}, " in capsys.readouterr().out
    assert cli.run(["engine", "logs", "--name", node.name, "--lines", "1000"]) == 0
    assert f"[{node.name}] started" in capsys.readouterr().out


@elasticsearch_only
def test_the_licence_knows_the_engine_s_own_reranker_until_the_free_one_is_started(node: Node) -> None:
    """With the trial, ``text_similarity_reranker`` wants an inference endpoint; with basic, a licence."""
    inner = {"standard": {"query": {"match_all": {}}}}
    reranker = {"retriever": inner, "field": "body", "inference_text": "x", "inference_id": "none"}
    body = {"retriever": {"text_similarity_reranker": reranker}}
    assert _refused(node, "/both/_search", body) == 404
    _asked(node, "/_license/start_basic?acknowledge=true", method="POST")
    assert _refused(node, "/both/_search", body) == 403


def test_down_ends_every_process_and_the_data_survive_a_restart(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """After down nothing of it runs; after the next up the document is there."""
    _asked(node, "/kept/_doc/1?refresh=true", {"body": "still here"}, "PUT")
    assert cli.run(["engine", "down", "--name", node.name]) == 0
    assert capsys.readouterr().out.startswith(f"{node.engine} {node.version} (node {node.name}) has stopped after ")
    assert not node.is_alive
    assert _processes(node) == []
    again = engines.up(node.engine, version=node.version, port=0, name=node.name)
    assert again.identity != node.identity
    assert _asked(again, "/kept/_doc/1")["_source"] == {"body": "still here"}
