"""The sidecar as a process with the real models: started, asked over the wire, stopped, and started wrongly."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import grpc
import numpy as np
import onnxruntime
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tokenizers import Tokenizer

from contract.backends.tiny_models import write_onnx
from rescorer_lab import models
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from rescorer_sidecar.config import Settings

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "rescorer_sidecar")
QUERY = "does vitamin D protect against respiratory infection?"
TEXTS = (
    "Vitamin D supplementation was safe and protected against acute respiratory tract infection overall.",
    "The train to the airport leaves every ten minutes from platform two.",
    "",
    "Vitamin C and the common cold: a review of the trials.",
    "  \t spaces \n\n around   and   between  ",
    "Größe, naïveté, 東京 and an emoji \N{SLIGHTLY SMILING FACE}",
    "Respiratory infections in the winter months. " * 80,
    "vitamin " * 5_000,
)


@dataclass
class Running:
    """A sidecar process, what it said until it served, and the address that it named."""

    process: subprocess.Popen[str]
    said: list[str]
    target: str
    rest: Queue[str | None]

    def stop(self) -> tuple[int, list[str]]:
        """SIGTERM, then the exit code and what it said from there on."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        return code, list(iter(lambda: self.rest.get(timeout=60), None))


@contextlib.contextmanager
def running(*arguments: str | Path) -> Iterator[Running]:
    """A sidecar on a free port, from its serving line on; ended at the latest when the block ends."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: Queue[str | None] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip())
        lines.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        said: list[str] = []
        while not said or " is serving on " not in said[-1]:
            line = lines.get(timeout=120)
            assert line is not None, "\n".join(said)
            said.append(line)
        yield Running(process, said, said[-1].rsplit(" ", 1)[-1], lines)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def folder() -> Path:
    """The real cross-encoder."""
    return models.fetch(models.CROSS_ENCODER)


@pytest.fixture(scope="module")
def sidecar(folder: Path) -> Iterator[Running]:
    """One process with both real models, for the tests that leave it as it is."""
    with running("--model", folder, "--embedder", models.fetch(models.EMBEDDER)) as started:
        yield started


@pytest.fixture(scope="module")
def calls(sidecar: Running) -> Iterator[rescorer_pb2_grpc.RescorerStub]:
    """A client of that process."""
    with grpc.insecure_channel(sidecar.target) as channel:
        yield rescorer_pb2_grpc.RescorerStub(channel)


def asking(*texts: str, query: str = QUERY) -> wire.ScoreRequest:
    """A request whose candidates are called c0, c1, …"""
    return wire.ScoreRequest(
        query=query, candidates=[wire.Candidate(id=f"c{index}", text=text) for index, text in enumerate(texts)]
    )


def plain_logits(folder: Path, query: str, texts: tuple[str, ...]) -> list[float]:
    """The same pairs through plain tokenizers and plain onnxruntime, one by one."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(512, strategy="only_second")
    tokenizer.no_padding()
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    found = []
    for text in texts:
        pair = tokenizer.encode(query, text)
        fed = {"input_ids": pair.ids, "attention_mask": pair.attention_mask, "token_type_ids": pair.type_ids}
        (logits,) = session.run(None, {name: np.array([values], dtype=np.int64) for name, values in fed.items()})
        found.append(float(logits[0, 0]))
    return found


def test_it_says_its_settings_once_its_models_and_where_it_serves(sidecar: Running) -> None:
    """One line of settings, one for each model, then the address; nothing else."""
    settings, first, second, serving = sidecar.said
    assert re.findall(r" (\w+)=", settings) == list(Settings.__slots__)
    assert first.startswith(f"model {models.CROSS_ENCODER}: cross-encoder, onnx int8 on cpu, 512 tokens, digest ")
    assert second.startswith(f"model {models.EMBEDDER}: embedder, onnx int8 on cpu, 512 tokens, digest ")
    assert re.fullmatch(r"rescorer-sidecar is serving on 127\.0\.0\.1:\d+", serving)


def test_scores_equal_plain_onnxruntime(folder: Path, calls: rescorer_pb2_grpc.RescorerStub) -> None:
    """T4: short, empty, spaced, Unicode and far too long texts score as plain onnxruntime does one by one."""
    answer = calls.Score(asking(*TEXTS), timeout=60)
    assert [entry.logit for entry in answer.results] == pytest.approx(plain_logits(folder, QUERY, TEXTS), abs=1e-5)
    assert [entry.truncated for entry in answer.results] == [False] * 6 + [True] * 2
    assert answer.results[0].logit > answer.results[3].logit > answer.results[1].logit


def test_a_score_does_not_depend_on_company(calls: rescorer_pb2_grpc.RescorerStub) -> None:
    """The same pair has exactly the same logit alone and among others, though the file is quantised dynamically."""
    query = "a query that no other test has asked"
    alone = [calls.Score(asking(text, query=f"{query} "), timeout=60).results[0].logit for text in TEXTS]
    together = [entry.logit for entry in calls.Score(asking(*TEXTS, query=query), timeout=60).results]
    assert together == alone


def test_the_second_time_is_cached_and_the_same(calls: rescorer_pb2_grpc.RescorerStub) -> None:
    """Asked again, each score comes from the cache and is the same to the last bit."""
    first, second = (calls.Score(asking(*TEXTS[:4]), timeout=60) for _ in range(2))
    assert [entry.logit for entry in first.results] == [entry.logit for entry in second.results]
    assert all(entry.cached for entry in second.results)


def test_embeddings_find_the_text_that_answers(calls: rescorer_pb2_grpc.RescorerStub) -> None:
    """A query's unit vector is nearest to the text that answers it."""
    asked = wire.EmbedRequest(texts=[QUERY], kind=wire.EMBED_KIND_QUERY)
    query = np.array(calls.Embed(asked, timeout=60).embeddings[0].values)
    told = wire.EmbedRequest(texts=TEXTS[:2], kind=wire.EMBED_KIND_DOCUMENT)
    vectors = np.array([entry.values for entry in calls.Embed(told, timeout=60).embeddings])
    assert vectors.shape == (2, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    near, far = vectors @ query
    assert near > far + 0.2


def test_a_partial_answer_arrives_before_the_deadline(calls: rescorer_pb2_grpc.RescorerStub) -> None:
    """More full-length pairs than fit into 2 s on any core: the first ones that were done come back, as partial."""
    cores = len(os.sched_getaffinity(0))
    texts = [f"{index} " + "late train to the hotel " * 120 for index in range(150 * cores)]
    answer = calls.Score(asking(*texts, query="partial or nothing"), timeout=2.0)
    assert answer.status == wire.SCORE_STATUS_PARTIAL
    scored = [entry.index for entry in answer.results]
    assert scored[0] == 0
    assert len(scored) < len(texts)
    still_running = scored[-1] + 1 - len(scored)
    assert still_running < cores  # one pair a worker, and one worker had just ended


def test_sigterm_lets_running_calls_finish(folder: Path) -> None:
    """A call that runs when SIGTERM comes is answered in full; then the process says that it stopped, and exits 0."""
    with running("--model", folder) as sidecar, grpc.insecure_channel(sidecar.target) as channel:
        stub = rescorer_pb2_grpc.RescorerStub(channel)
        call = stub.Score.future(asking(*[f"{index} {TEXTS[0]}" for index in range(200)]), timeout=60)
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        sidecar.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not call.done()
        assert len(call.result(timeout=60).results) == 200
        watch.cancel()
        assert sidecar.process.wait(timeout=60) == 0
        assert list(iter(lambda: sidecar.rest.get(timeout=60), None)) == ["rescorer-sidecar has stopped"]


def test_while_a_model_loads_the_door_answers_and_sigterm_ends_it(tmp_path: Path) -> None:
    """P3: with a hub that never answers, health says NOT_SERVING, a call says why, SIGTERM ends it at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent_hub, socket.create_server(("127.0.0.1", 0)) as free:
        hub, port = silent_hub.getsockname()[1], free.getsockname()[1]
        free.close()
        process = subprocess.Popen(
            [*COMMAND, "--port", str(port), "--model", "owner/name", "--drain-s", "0"],
            env={**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub}", "HF_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        asks_the_hub, _ = silent_hub.accept()
        with asks_the_hub, process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
            with pytest.raises(grpc.RpcError) as failed:
                rescorer_pb2_grpc.RescorerStub(channel).Score(asking("text"), timeout=20)
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "not loaded and warm yet" in failed.value.details()
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(timeout=5) == 0
            finally:
                process.kill()
            assert process.stdout is not None
            assert process.stdout.read().splitlines()[1:] == ["rescorer-sidecar has stopped"]


def test_metrics_and_probes_are_answered_over_http(tmp_path: Path) -> None:
    """With a port for HTTP it is ready once it serves, a scrape counts what was asked, and SIGTERM ends it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running("--model", write_onnx(tmp_path / "tiny"), "--http-port", str(port)) as sidecar:
        assert f"metrics and health are on http://127.0.0.1:{port}" in sidecar.said
        with grpc.insecure_channel(sidecar.target) as channel:
            rescorer_pb2_grpc.RescorerStub(channel).Score(asking("cat hotel"), timeout=60)
        for path, said in (
            ("/readyz", "ready"),
            ("/metrics", 'rescorer_requests_total{method="score",model="tiny",outcome="complete"} 1.0'),
        ):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                assert said in answer.read().decode().splitlines()
        assert sidecar.stop() == (0, ["rescorer-sidecar has stopped"])


def test_sigterm_on_an_idle_sidecar_ends_it_at_once(tmp_path: Path) -> None:
    """With nothing running there is nothing to wait for: exit 0 and the last word, long before drain_s."""
    with running("--model", write_onnx(tmp_path / "tiny"), "--drain-s", "3600") as sidecar:
        assert sidecar.stop() == (0, ["rescorer-sidecar has stopped"])


def test_the_environment_and_the_file_reach_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings from a file and a variable are in force, and shown."""
    file = tmp_path / "sidecar.toml"
    file.write_text(f'model = "{write_onnx(tmp_path / "tiny")}"\nmax_tokens = 32\n')
    monkeypatch.setenv("RESCORER_SIDECAR_BUDGET_TOKENS", "99")
    with running("--config", file) as sidecar:
        assert " max_tokens=32 " in sidecar.said[0]
        assert " budget_tokens=99 " in sidecar.said[0]
        assert " 32 tokens, " in sidecar.said[1]


def refused(*arguments: str | Path, **environment: str) -> str:
    """The one line of a sidecar that must end with code 2."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("rescorer-sidecar: ")
    return line


def test_a_wrong_model_path_is_one_line() -> None:
    """Exit code 2, and the line repeats the path."""
    assert "/nowhere/at/all: no such folder" in refused("--model", "/nowhere/at/all", "--port", "0")


def test_an_empty_model_folder_is_one_line(tmp_path: Path) -> None:
    """Exit code 2, and the line says which file is missing."""
    assert "holds neither *.safetensors nor model.onnx" in refused("--model", tmp_path, "--port", "0")


def test_a_broken_model_is_one_line(tmp_path: Path) -> None:
    """Exit code 2 for a file that onnxruntime can't read."""
    (write_onnx(tmp_path) / "model.onnx").write_bytes(b"half a download")
    assert "model.onnx can't be loaded by onnxruntime" in refused("--model", tmp_path, "--port", "0")


def test_several_models_are_served_and_each_is_called_by_its_name(tmp_path: Path) -> None:
    """One process, two cross-encoders: listed in order, each scores as it does alone, the first where none is named."""
    small, large = write_onnx(tmp_path / "small"), write_onnx(tmp_path / "large", seed=1)
    with running("--model", f"{small},{large}") as sidecar, grpc.insecure_channel(sidecar.target) as channel:
        stub = rescorer_pb2_grpc.RescorerStub(channel)
        listed = stub.ListModels(wire.ListModelsRequest()).models
        assert [(info.model.name, info.is_default) for info in listed] == [("small", True), ("large", False)]
        for name, folder in (("", small), ("small", small), ("large", large), (str(large), large)):
            request = asking("cat hotel", query="late train")
            request.model = name
            (result,) = stub.Score(request).results
            assert result.logit == pytest.approx(plain_logits(folder, "late train", ("cat hotel",))[0], abs=1e-5)


def test_one_bad_model_of_several_keeps_the_sidecar_from_starting(tmp_path: Path) -> None:
    """Served in part it would answer NOT_FOUND to some; the one line names every model that can't be had."""
    sound = write_onnx(tmp_path / "sound")
    line = refused("--model", f"{sound},/nowhere/one", "--embedder", "/nowhere/two", "--port", "0")
    assert "2 models can't be loaded: model /nowhere/one: no such folder" in line
    assert "/nowhere/two: no such folder" in line


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Exit code 2, and the line names the address and the flag."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("--model", write_onnx(tmp_path), "--port", str(port))
    assert f"can't listen on 127.0.0.1:{port}" in line
    assert "--port" in line


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("--modle", "x"), {}, "modle is no setting; did you mean model?"),
        (("--model", "x", "--port", "many"), {}, "--port: 'many' must be a whole number"),
        (("--model", "x"), {"RESCORER_SIDECAR_CACHE": "1"}, "cache is no setting; did you mean cache_mb?"),
        (("--config", "/nowhere.toml"), {}, "--config /nowhere.toml: no such file"),
        ((), {}, "no model is named"),
    ],
)
def test_a_wrong_setting_is_one_line(arguments: tuple[str, ...], environment: dict[str, str], said: str) -> None:
    """Exit code 2 and one line for a wrong flag, value, variable, file, or none at all."""
    assert said in refused(*arguments, **environment)
