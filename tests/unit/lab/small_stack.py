"""A whole stack on loopback for ``rescorer doctor`` and ``plan``: an engine and a sidecar, on real wires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from contract.scorers.fake_sidecar import FakeService
from rescorer import templates
from rescorer.domain import Engine
from rescorer_lab import cli
from rescorer_proto.v1 import rescorer_pb2, rescorer_pb2_grpc
from unit.templates.fake_node import FakeNode, listening

INDEX = "rescorer-articles"
DOCUMENTS = [
    {"title": "Cancel a flight", "body": "Cancel it a day before it leaves."},
    {"title": "Change a seat", "body": "Change it any time before boarding."},
]
VERSIONS: dict[Engine, str] = {"opensearch": "3.6.0", "elasticsearch": "9.4.3"}
_NOT_FOUND = {"error": {"type": "index_not_found_exception", "reason": "no such index"}}


def profile_of(engine: Engine) -> dict[str, Any]:
    """The shipped profile."""
    (found,) = [entry for entry in templates.shipped(engine) if entry.name == "rescorer-profile"]
    return json.loads(json.dumps(found.body["template"]["mappings"]["_meta"]["rescorer"]))  # type: ignore[no-any-return]


def index_of(engine: Engine) -> dict[str, Any]:
    """Mapping and settings of an index made from the shipped templates."""
    vector = {
        "opensearch": {"type": "knn_vector", "dimension": 8},
        "elasticsearch": {"type": "dense_vector", "dims": 8},
    }
    fields = {"title": {"type": "text"}, "body": {"type": "text"}, "embedding": vector[engine]}
    return {"mappings": {"properties": fields, "_meta": {"rescorer": profile_of(engine)}}, "settings": {}}


@dataclass
class SmallEngine(FakeNode):
    """A node that stores templates, and has indices of a few documents.

    refusals: (status, reason) by what a path holds; "/" is the root alone. gives_profile: whether its
    templates give an index a profile.
    """

    engine: Engine = "opensearch"
    version: str = ""
    licence: Any = None
    indices: dict[str, Any] = field(default_factory=dict)
    documents: list[dict[str, Any]] = field(default_factory=lambda: list(DOCUMENTS))
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    gives_profile: bool = False

    def healthy(self) -> SmallEngine:
        """With the shipped templates, one index, and a basic licence."""
        for template in templates.shipped(self.engine):
            self.answer("PUT", template.endpoint, dict(template.body))
        self.indices[INDEX] = index_of(self.engine)
        self.licence = self.licence or {"type": "basic", "status": "active"}
        return self

    @property
    def profile(self) -> dict[str, Any]:
        """The index's, to change."""
        return self.indices[INDEX]["mappings"]["_meta"]["rescorer"]  # type: ignore[no-any-return]

    def answer(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, body) of one request."""
        for part, (status, said) in self.refusals.items():
            if part in path if part != "/" else path == "/":
                return status, {"error": {"type": "refused", "reason": said}, "status": status}
        if path == "/":
            return 200, {"version": {"number": self.version or VERSIONS[self.engine]}}
        if path == "/_license":
            return (200, {"license": self.licence}) if self.licence else (404, {})
        if path.startswith("/_index_template/_simulate_index/"):
            meta = {"_meta": {"rescorer": {}}} if self.gives_profile else {}
            return 200, {"template": {"mappings": meta}}
        ending = path.rpartition("/")[2]
        if ending in ("_mapping", "_settings", "_count", "_search", "_msearch"):
            return self._of_index(ending, unquote(path.split("/")[1]), body)
        return super().answer(method, path, body)

    def _of_index(self, ending: str, name: str, body: Any) -> tuple[int, Any]:
        if ending == "_msearch":
            found = {"status": 200, **self._found({})}
            return 200, {"took": 1, "responses": [found] * 3}
        named = self.indices if name == "_mapping" else {key: self.indices[key] for key in self._named(name)}
        if not named and name != "_mapping":
            return 404, _NOT_FOUND
        if ending == "_mapping":
            return 200, {
                key: {"mappings": index["mappings"]} for key, index in named.items() if _has_profile(index, name)
            }
        if ending == "_settings":
            return 200, {key: {"settings": index["settings"]} for key, index in named.items()}
        return 200, {"count": len(self.documents)} if ending == "_count" else self._found(body)

    def _named(self, name: str) -> list[str]:
        return [key for key in self.indices if key in name.split(",")]

    def _found(self, body: Any) -> dict[str, Any]:
        hits = [
            {"_index": INDEX, "_id": str(place), "_score": 2.0 - place, "_source": document}
            for place, document in enumerate(self.documents)
        ]
        inner = {"total": {"value": len(hits), "relation": "eq"}, "max_score": 2.0, "hits": hits}
        return {"took": 1, "timed_out": False, "_shards": {"total": 1}, "hits": inner}

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address on loopback, for as long as the block runs."""
        node = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(raw) if raw and b"\n" not in raw.strip() else None
                status, answer = node.answer(self.command, urlsplit(self.path).path, body)
                said = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if node.engine == "elasticsearch":
                    self.send_header("X-Elastic-Product", "Elasticsearch")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_PUT = do_POST = _answer  # noqa: N815 - the names that http.server calls

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives
                """Say nothing."""

        with listening(Handler) as url:
            yield url


def _has_profile(index: Any, name: str) -> bool:
    """A request for all mappings is filtered to those with a profile."""
    return name != "_mapping" or "rescorer" in index["mappings"].get("_meta", {})


def model(name: str, kind: Any, *, dimension: int = 0, is_default: bool = True) -> Any:
    """One entry of ListModels."""
    return rescorer_pb2.ModelInfo(
        model=rescorer_pb2.ModelRef(name=name, digest="ab" * 32),
        kind=kind,
        is_default=is_default,
        max_tokens=512,
        dimension=dimension,
        backend="onnx",
        device="cpu",
        precision="int8",
    )


CROSS_ENCODER = model("minilm", rescorer_pb2.MODEL_KIND_CROSS_ENCODER)
EMBEDDER = model("bge", rescorer_pb2.MODEL_KIND_EMBEDDER, dimension=8)


class SmallSidecar(FakeService):
    """Scores by shared words; serves ``models``, and is ready unless told otherwise. has_health: as it has."""

    def __init__(self) -> None:
        super().__init__()
        self.models = [CROSS_ENCODER, EMBEDDER]
        self.is_ready = True
        self.has_health = True

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the wire
        """Both models."""
        return rescorer_pb2.ListModelsResponse(models=self.models)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address on loopback, for as long as the block runs."""
        server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
        rescorer_pb2_grpc.add_RescorerServicer_to_server(self, server)
        if self.has_health:
            check = health.HealthServicer()
            states = health_pb2.HealthCheckResponse
            check.set("", states.SERVING if self.is_ready else states.NOT_SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(check, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(grace=None).wait()


class Stack:
    """An engine, a sidecar, and the doctor who looks at them."""

    def __init__(self, engine: Engine, capture: pytest.CaptureFixture[str]) -> None:
        self.engine = SmallEngine(engine=engine).healthy()
        self.sidecar = SmallSidecar()
        self._capture = capture

    def examined(self, *words: str) -> tuple[int, list[str]]:
        """Exit code and lines for engine and sidecar as they are now."""
        with self.engine.serving() as url, self.sidecar.serving() as address:
            return self.run("--engine-url", url, "--sidecar", address, *words)

    def run(self, *words: str) -> tuple[int, list[str]]:
        """Exit code and lines of one command."""
        code = cli.run(["doctor", *words])
        said = self._capture.readouterr()
        assert "Traceback" not in said.err
        return code, [" ".join(line.split()) for line in (said.out + said.err).splitlines()]

    def line(self, name: str, *words: str) -> str:
        """The last line about this."""
        _, lines = self.examined(*words)
        return [line for line in lines if line[2:].startswith(f"{name} ")][-1]
