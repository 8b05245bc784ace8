"""Who asks: proved before said before the address, bounded whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_sidecar.callers import AUTHENTICATED, MOST_CHARACTERS, address_of, caller_of
from rescorer_sidecar.domain import EmbedAnswer, EmbedRequest, ScoreAnswer, ScoreRequest
from rescorer_sidecar.service import Service
from rescorer_sidecar.testing import fake_model
from unit.sidecar.door import Serve, asking


class Call:
    """A call from an address, with metadata."""

    def __init__(self, *metadata: tuple[str, str | bytes], peer: str = "ipv4:10.1.2.3:40000") -> None:
        self._metadata = metadata
        self._peer = peer

    def invocation_metadata(self) -> object:
        """As given; gRPC has None where there are none."""
        return self._metadata or None

    def peer(self) -> str:
        """As given."""
        return self._peer


@pytest.fixture
def proved() -> Iterator[None]:
    """A call whose token was that of the shop."""
    token = AUTHENTICATED.set("shop")
    yield
    AUTHENTICATED.reset(token)


def test_who_says_nothing_is_known_by_the_address() -> None:
    """Without a name the address counts, its port left out."""
    assert caller_of(Call()) == "10.1.2.3"


def test_who_says_a_name_is_known_by_it() -> None:
    """Behind one load balancer callers are told apart by what they say."""
    assert caller_of(Call(("user-agent", "x"), ("rescorer-caller", "help desk"))) == "help desk"


def test_a_proved_name_is_believed_before_one_that_is_said(proved: None) -> None:
    """Nobody takes another one's share by saying that one's name."""
    assert caller_of(Call(("rescorer-caller", "help desk"))) == "shop"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:40000", "10.1.2.3"),
        ("ipv6:%5B::1%5D:40000", "::1"),
        ("ipv6:[2001:db8::7]:40000", "2001:db8::7"),
        ("unix:", "unix"),
        ("unix:/run/rescorer.sock", "unix"),
    ],
)
def test_an_address_has_no_port(peer: str, address: str) -> None:
    """A caller stays one however many connections it opens."""
    assert address_of(peer) == address


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("", "10.1.2.3"),
        (" \t\n", "10.1.2.3"),
        ("a\x00b\x1b[31m\u202ec", "ab[31mc"),
        ("n" * 1_000_000, "n" * MOST_CHARACTERS),
        (b"\xff\x00", "10.1.2.3"),
    ],
    ids=["empty", "blank", "controls", "a million", "bytes"],
)
def test_whatever_is_said_makes_a_short_printable_name(said: str | bytes, name: str) -> None:
    """A name fits into a label and a log line, or the address takes its place."""
    assert caller_of(Call(("rescorer-caller", said))) == name


def test_an_unknown_peer_has_a_name_too() -> None:
    """Where gRPC tells no peer, callers share one name instead of failing."""
    assert caller_of(Call(peer="")) == "unknown"


class Heard(Service):
    """A service that remembers who asked."""

    callers: list[str]

    async def score(self, request: ScoreRequest) -> ScoreAnswer:
        """As asked."""
        self.callers.append(request.caller)
        return await super().score(request)

    async def embed(self, request: EmbedRequest) -> EmbedAnswer:
        """As asked."""
        self.callers.append(request.caller)
        return await super().embed(request)


async def test_every_method_of_the_door_tells_the_service_who_asks(serve: Serve, tokeniser_folder: Path) -> None:
    """Score, ScoreMany and Embed carry the name that the call's metadata say, and the address where they say none."""
    vectors = fake_model(tokeniser_folder, kind="embedder", name="vectors")
    served = await serve(fake_model(tokeniser_folder), vectors, service=Heard)
    heard = served.service
    assert isinstance(heard, Heard)
    heard.callers = []
    for metadata in (grpc.aio.Metadata(("rescorer-caller", "shop")), grpc.aio.Metadata()):
        await served.calls.Score(asking("hotel"), metadata=metadata, timeout=20)
        many = wire.ScoreManyRequest(requests=[asking("hotel"), asking("train")])
        await served.calls.ScoreMany(many, metadata=metadata, timeout=20)
        await served.calls.Embed(wire.EmbedRequest(texts=["cat"]), metadata=metadata, timeout=20)
    assert heard.callers == ["shop"] * 4 + ["127.0.0.1"] * 4
