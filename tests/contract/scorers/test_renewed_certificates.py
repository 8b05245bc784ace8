"""A client's own certificate is renewed while it searches: the next call shows the new one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme

from contract.scorers.conftest import Driven
from contract.scorers.fake_sidecar import FakeService, served
from rescorer.credentials import Credentials
from rescorer.domain import Candidate, ScoreRequest
from rescorer.errors import InvalidCredentials, ScorerUnavailable
from rescorer.scorers import channels, secure
from rescorer.scorers.grpc import AsyncGrpcScorer, GrpcScorer

REQUEST = ScoreRequest(query="cat", candidates=[Candidate("0", (("body", "hotel"),))])
OF = {"sync": GrpcScorer, "async": AsyncGrpcScorer}


class Files:
    """The files of a client, as somebody renews them."""

    def __init__(self, folder: Path, roots: trustme.CA) -> None:
        self._named = {name: str(folder / f"{name}.pem") for name in ("roots", "certificate", "key")}
        roots.cert_pem.write_to_path(self._named["roots"])

    def credentials(self) -> Credentials:
        """As a client is given them."""
        return Credentials(**self._named)

    def renew(self, by: trustme.CA, *, without_key: bool = False) -> None:
        """A new certificate, and its key."""
        issued = by.issue_cert("shop")
        issued.cert_chain_pems[0].write_to_path(self._named["certificate"])
        if not without_key:
            issued.private_key_pem.write_to_path(self._named["key"])


@pytest.fixture(scope="module")
def known() -> trustme.CA:
    """Whose certificates the sidecar lets in."""
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, known: trustme.CA) -> Files:
    """A client that is let in."""
    made = Files(tmp_path, known)
    made.renew(known)
    return made


@pytest.fixture
def address(known: trustme.CA) -> Iterator[str]:
    """A sidecar under mutual TLS."""
    own = known.issue_cert("127.0.0.1")
    pair = own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes()
    credentials = grpc.ssl_server_credentials([pair], known.cert_pem.bytes(), require_client_auth=True)
    with served(FakeService(), credentials=credentials) as bound:
        yield bound


@pytest.mark.parametrize("kind", OF)
async def test_the_next_call_shows_the_renewed_certificate(kind: str, files: Files, address: str) -> None:
    """A certificate of strangers is shown as soon as it is there, and refused; the next good one is let in again."""
    scorer = Driven(OF[kind](secure.targets(address, files.credentials())))
    assert len((await scorer.score(REQUEST)).results) == 1
    files.renew(trustme.CA())
    with pytest.raises(ScorerUnavailable):
        await scorer.score(REQUEST, timeout_s=5.0)
    await scorer.close()


@pytest.mark.parametrize("kind", OF)
async def test_channels_of_old_certificates_are_let_go(
    kind: str, files: Files, address: str, known: trustme.CA
) -> None:
    """However often it is renewed, no more than the last two are open: calls may be under way on the one before."""
    table = channels.SYNC if kind == "sync" else channels.ASYNC
    before = len(table)
    scorer = Driven(OF[kind](secure.targets(address, files.credentials())))
    counts = []
    for _ in range(4):
        files.renew(known)
        assert len((await scorer.score(REQUEST)).results) == 1
        counts.append(len(table) - before)
    assert counts == [1, 2, 2, 2]
    await scorer.close()
    assert len(table) == before


async def test_a_certificate_without_its_key_is_not_shown_yet(
    files: Files, address: str, known: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """Who renews writes one file after the other; between the two the pair before is shown, and the log says so."""
    scorer = Driven(GrpcScorer(secure.targets(address, files.credentials())))
    files.renew(known, without_key=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert len((await scorer.score(REQUEST)).results) == 1
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("rescorer")]
    assert "is not the key of" in said
    assert said.endswith("what was read before stays in use")
    await scorer.close()
    with pytest.raises(InvalidCredentials, match=r"^rescorer_credentials.key: .*key.pem is not the key of"):
        secure.targets(address, files.credentials())
