"""A sidecar process behind locked doors, with real weights, real engines and the clients of both."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.doors.house import House
from rescorer.credentials import Credentials
from rescorer.elasticsearch import Elasticsearch
from rescorer.opensearch import OpenSearch
from rescorer.scorers.channels import Target
from rescorer_lab import cli, handshake
from rescorer_lab import sidecar as process

pytestmark = pytest.mark.slow
TEXTS = (
    "Trains to the airport leave every ten minutes.",
    "You may cancel your flight within a day.",
    "Hotels by the sea",
)
BODY = {
    "query": {"match_all": {}},
    "rescore": {"cross_encoder": {"query_text": "cancel a flight", "document_fields": ["text"]}},
}
CLIENTS: dict[str, Any] = {"opensearch": OpenSearch, "elasticsearch": Elasticsearch}


@dataclass(frozen=True)
class Locked:
    """A process with every lock on, and what opens it."""

    house: House
    address: str
    http_port: int
    certificate: tuple[str, str]
    shop: str
    scraper: str

    def credentials(self, token: str) -> Credentials:
        """A client's, with this token."""
        certificate, key = self.certificate
        return self.house.trusting(certificate=certificate, key=key, token=token)


@pytest.fixture(scope="module")
def locked(cross_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """TLS, certificates of callers, tokens, a quota, and JSON lines in the log."""
    folder = tmp_path_factory.mktemp("locked")
    house = House(folder)
    shop, scraper = house.token("shop"), house.token("prometheus", "metrics")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    files = {"tls-cert": "server.pem", "tls-key": "server.key", "tls-client-ca": "ca.pem", "tokens-file": "tokens.toml"}
    options = [f"--{name}={folder / file}" for name, file in files.items()]
    options += ["--backend=onnx", f"--model={cross_encoder}", f"--http-port={port}", "--quota-pairs-per-s=100000"]
    started = process.start(options, folder / "sidecar.log")
    certificate = house.issued("client", house.authority, "shop.example")
    yield Locked(house, started.address, port, certificate, shop, scraper)
    started.stop()
    said = (folder / "sidecar.log").read_text()
    assert shop not in said
    assert "cancel your flight" not in said


@pytest.fixture(params=CLIENTS)
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Each engine in turn with three documents: its kind and address."""
    kind = str(request.param)
    url = str(request.getfixturevalue(f"{kind}_url"))
    with CLIENTS[kind](hosts=[url]) as client:
        client.indices.delete(index="locked", ignore_unavailable=True)
        for place, text in enumerate(TEXTS):
            document = {"document": {"text": text}} if kind == "elasticsearch" else {"body": {"text": text}}
            client.index(index="locked", id=str(place), refresh=True, **document)
        yield kind, url
        client.indices.delete(index="locked")


def client_of(engine: tuple[str, str], locked: Locked, token: str) -> Any:
    """A client of this engine that asks the locked sidecar with this token."""
    kind, url = engine
    return CLIENTS[kind](hosts=[url], rescorer=locked.address, rescorer_credentials=locked.credentials(token))


def test_strangers_at_the_port_write_no_log(locked: Locked) -> None:
    """Plain text, rubbish, and TLS without a certificate end without a line: nobody fills a disk by knocking."""
    host, port = locked.address.rsplit(":", 1)
    for said in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00rubbish"):
        with socket.create_connection((host, int(port)), timeout=20) as stranger:
            stranger.sendall(said)
    trouble = handshake.trouble(Target(address=locked.address), locked.house.trusting(), 20.0)
    assert trouble is not None
    assert "asks for a certificate of this client" in trouble.says
    lines = (locked.house.folder / "sidecar.log").read_text().splitlines()
    assert "rescorer-sidecar is serving on" in lines[-1]


def test_both_engines_clients_are_let_in_with_what_fits(locked: Locked, engine: tuple[str, str]) -> None:
    """TLS, a certificate and a token: the answer is rescored by the real model; a stranger's token falls back."""
    with client_of(engine, locked, locked.shop) as client:
        answer = client.search(index="locked", body=BODY)
        assert answer["rescore"]["status"] == "reranked"
        assert answer["hits"]["hits"][0]["_id"] == "1"
    with client_of(engine, locked, "rescorer_a-strangers") as client:
        answer = client.search(index="locked", body=BODY)
        assert (answer["rescore"]["status"], len(answer["hits"]["hits"])) == ("fallback", 3)
        assert "not one that this sidecar knows" in answer["rescore"]["detail"]


def test_metrics_tell_the_tokens_name_and_take_a_token(locked: Locked, engine: tuple[str, str]) -> None:
    """Over HTTPS with a certificate and a token for metrics: the shop's requests are counted as the shop's."""
    with client_of(engine, locked, locked.shop) as client:
        client.search(index="locked", body=BODY)
    context = ssl.create_default_context(cafile=str(locked.house.roots))
    context.load_cert_chain(*locked.certificate)
    request = urllib.request.Request(f"https://127.0.0.1:{locked.http_port}/metrics")
    request.add_header("authorization", f"Bearer {locked.scraper}")
    with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310  # our own
        assert 'rescorer_caller_requests_total{caller="shop",outcome="complete"}' in answer.read().decode()


def test_doctor_tries_a_search_through_all_of_it(
    locked: Locked, engine: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the variables set the sidecar is in order, over TLS and with a token; without the token that is said."""
    _, url = engine
    certificate, key = locked.certificate
    for name, value in (("ROOTS", str(locked.house.roots)), ("CERTIFICATE", certificate), ("KEY", key)):
        monkeypatch.setenv(f"RESCORER_TLS_{name}", value)
    asked = ["doctor", "--engine-url", url, "--sidecar", locked.address, "--index", "locked"]
    monkeypatch.setenv("RESCORER_TOKEN", locked.shop)
    cli.run(asked)
    assert f"ready at {locked.address}, with TLS and a token" in capsys.readouterr().out
    monkeypatch.delenv("RESCORER_TOKEN")
    assert cli.run(asked) == 1
    assert "asks for a token; RESCORER_TOKEN sends one" in capsys.readouterr().out


def test_a_process_on_a_network_without_locks_does_not_start() -> None:
    """One line that says each way out, exit code 2, and nothing was loaded or opened."""
    command = [*process.COMMAND, "--model=nowhere", "--port=0", "--host=0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "host 0.0.0.0: everybody there could ask this sidecar; set --tokens-file" in line
    assert sys.executable not in line
