"""Everything that scores in the benchmark, behind one method: ``score(request)`` → logits; the clock is the caller's.

Our sidecar and other servers are reached as their users reach them, over the network; libraries run in a process of
their own (``worker.py``) and hand back logits through a pipe.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc

HERE = Path(__file__).parent
START_S = 120.0
OURS = "rescorer "


class Unavailable(Exception):
    """What was asked for can't be had here; the message says why."""


class Caller(Protocol):
    """One that scores. ``detail`` says what really runs."""

    name: str
    detail: str

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits in the order of the texts."""
        ...

    def close(self) -> None:
        """End its process."""
        ...


class Sidecar:
    """A ``rescorer-sidecar`` of its own, over gRPC. ``spec`` is ``backend:precision``."""

    def __init__(self, spec: str, model: Path, cache_mb: int = 0, device: str = "auto") -> None:
        backend, _, precision = spec.partition(":")
        self.name = f"{OURS}{spec}"
        command = [sys.executable, "-m", "rescorer_sidecar", "--model", str(model), "--port", "0", "--device", device]
        command += ["--cache-mb", str(cache_mb)]
        command += ["--token-cache-mb", str(cache_mb), "--backend", backend, "--precision", precision or "auto"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.detail = ""
        address = ""
        for line in self._process.stdout:
            if line.startswith("model "):
                self.detail = line.split(": ", 1)[1].split(", digest")[0]
            if "serving on" in line:
                address = line.split()[-1]
                break
        if not address:
            said = self._process.stderr.read() if self._process.stderr else ""
            raise Unavailable((said.strip().splitlines() or ["it did not start"])[-1])
        self._channel = grpc.insecure_channel(address)
        self._stub = rescorer_pb2_grpc.RescorerStub(self._channel)
        self.inside_ms = 0.0

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits; ``inside_ms`` is then what the sidecar says it took itself."""
        candidates = [wire.Candidate(id=str(place), text=text) for place, text in enumerate(texts)]
        answer = self._stub.Score(wire.ScoreRequest(query=query, candidates=candidates), timeout=600)
        self.inside_ms = answer.timings.total_ms
        found = {entry.index: entry.logit for entry in answer.results}
        return [found[place] for place in range(len(texts))]

    def close(self) -> None:
        """Stop the process."""
        self._channel.close()
        _end(self._process)


class Library:
    """A library in a process of its own, by its name in ``libraries.MAKERS``."""

    def __init__(self, name: str, python: Path, settings: dict[str, Any]) -> None:
        self.name = name
        if not python.is_file():
            raise Unavailable(f"{python.parent.parent.name} is not there; run: make bench-setup")
        command = [str(python), str(HERE / "worker.py"), name, json.dumps(settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        first = self._process.stdout.readline() if self._process.stdout else ""
        if not first:
            said = self._process.stderr.read() if self._process.stderr else ""
            raise Unavailable((said.strip().splitlines() or ["it did not start"])[-1])
        self.detail = str(json.loads(first)["detail"])

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"query": query, "texts": list(texts)}) + "\n")
        self._process.stdin.flush()
        return [float(one) for one in json.loads(self._process.stdout.readline())["logits"]]

    def close(self) -> None:
        """Stop the process."""
        _end(self._process)


class Infinity:
    """infinity-emb's own server, in bf16, over HTTP."""

    name = "infinity-bf16"
    detail = "bfloat16, over HTTP"

    def __init__(self, program: Path, model: Path) -> None:
        if not program.is_file():
            raise Unavailable(f"{program.parent.parent.name} is not there; run: make bench-setup")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        command = [str(program), "v2", "--model-id", str(model), "--port", str(port), "--host", "127.0.0.1"]
        command += ["--dtype", "bfloat16", "--device", "cpu", "--engine", "torch", "--no-bettertransformer"]
        quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
        self._process = subprocess.Popen(
            command, env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.url, self.pid = f"http://127.0.0.1:{port}", self._process.pid
        until_s = time.monotonic() + START_S
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > until_s:
                self.close()
                raise Unavailable("the server did not start")
            time.sleep(0.5)
        models = json.loads(urllib.request.urlopen(f"{self.url}/models", timeout=10).read())
        self.model = models["data"][0]["id"]

    def _is_up(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"{self.url}/health", timeout=2).status == 200)
        except OSError:
            return False

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Logits."""
        body = {"query": query, "documents": list(texts), "model": self.model, "raw_scores": True}
        asked = urllib.request.Request(
            f"{self.url}/rerank", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        found = json.loads(urllib.request.urlopen(asked, timeout=600).read())["results"]
        return [one["relevance_score"] for one in sorted(found, key=lambda one: int(one["index"]))]

    def close(self) -> None:
        """Stop the process."""
        _end(self._process)


def correlation(found: Sequence[float], expected: Sequence[float]) -> float:
    """Pearson's."""
    mean_x, mean_y = sum(found) / len(found), sum(expected) / len(expected)
    pairs = [(x - mean_x, y - mean_y) for x, y in zip(found, expected, strict=True)]
    return sum(x * y for x, y in pairs) / math.sqrt(sum(x * x for x, _ in pairs) * sum(y * y for _, y in pairs))


def _end(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
