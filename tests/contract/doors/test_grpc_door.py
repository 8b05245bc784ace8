"""TLS, mutual TLS and tokens at the gRPC door, with all four clients of ours before it."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from contract.doors.house import House, Sidecar, serving
from rescorer.credentials import Credentials
from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_proto.v1 import rescorer_pb2_grpc
from unit.client import fake_clients
from unit.client.fake_clients import KINDS, plain
from unit.client.fake_engine import FakeEngine
from unit.sidecar.door import asking, refusal

BODY = {
    "query": {"match": {"body": "cancel a flight"}},
    "rescore": {"cross_encoder": {"document_fields": ["title"], "window_size": 10}},
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each class of ours in turn."""
    return str(request.param)


async def outcome(kind: str, sidecar: Sidecar, given: Any) -> dict[str, Any]:
    """What a search says of its rescoring."""
    client = fake_clients.made(kind, FakeEngine(), sidecar.address, rescorer_credentials=given)
    try:
        answer = await asyncio.to_thread(client.search, index="articles", body=BODY)
        found = plain(await answer if inspect.isawaitable(answer) else answer)["rescore"]
    finally:
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
    return dict(found)


async def test_a_client_with_root_certificate_and_token_is_served(house: House, kind: str) -> None:
    """F12: everything set on both sides: the search is rescored, under the token's name."""
    certificate, key = house.issued("shop", house.authority, "shop.example")
    settings = house.settings(mutual=True, tokens_file=str(house.tokens))
    given = house.trusting(certificate=certificate, key=key, token=house.token("shop"))
    async with serving(settings, house.folder) as sidecar:
        assert (await outcome(kind, sidecar, given))["status"] == "reranked"


async def test_the_environment_says_it_as_well(house: House, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RESCORER_TLS_ROOTS and RESCORER_TOKEN do without a line of code."""
    monkeypatch.setenv("RESCORER_TLS_ROOTS", str(house.roots))
    monkeypatch.setenv("RESCORER_TOKEN", house.token("shop"))
    async with serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar:
        assert (await outcome(kind, sidecar, None))["status"] == "reranked"


async def test_who_proves_nothing_is_told_so_in_the_outcome(house: House, kind: str) -> None:
    """Without a token, or with a stranger's, the search falls back, and its outcome says what is missing."""
    house.token("shop")
    async with serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar:
        found = await outcome(kind, sidecar, house.trusting())
        assert (found["status"], found["reason"]) == ("fallback", "scorer_refused")
        assert "asks for a token, and the call has none" in found["detail"]
        found = await outcome(kind, sidecar, house.trusting(token="rescorer_a-strangers"))
        assert "not one that this sidecar knows" in found["detail"]
        assert "strangers" not in str(found)


async def test_who_does_not_fit_the_certificates_is_not_connected(house: House, kind: str) -> None:
    """Plain text, another authority, or no certificate of one's own: no byte of a text goes over the wire."""
    stranger = House(house.folder / "stranger") if (house.folder / "stranger").mkdir() is None else house
    certificate, key = stranger.issued("me", stranger.authority, "shop.example")
    async with serving(house.settings(mutual=True), house.folder) as sidecar:
        first = Credentials(roots=str(stranger.roots))
        for given in (
            first,
            house.trusting(),
            house.trusting(certificate=certificate, key=key),
            None,
        ):
            found = await outcome(kind, sidecar, given)
            assert (found["status"], found["reason"]) == ("fallback", "scorer_unavailable")
            assert "rescorer doctor says which does not" in found["detail"] or given is not first


@pytest.fixture
def shop_channel(house: House) -> Any:
    """Opens channels that trust the house."""

    def opened(sidecar: Sidecar, *own: str) -> grpc.aio.Channel:
        certificate, key = (Path(path).read_bytes() for path in own) if own else (None, None)
        credentials = grpc.ssl_channel_credentials(house.roots.read_bytes(), key, certificate)
        return grpc.aio.secure_channel(sidecar.address, credentials)

    return opened


def bearer(token: str, scheme: str = "Bearer") -> grpc.aio.Metadata:
    """The metadata that show a token."""
    return grpc.aio.Metadata(("authorization", f"{scheme} {token}"))


async def test_every_way_to_show_no_token_is_unauthenticated(house: House, shop_channel: Any) -> None:
    """None, another scheme, an empty or cut one, and two at once; a method that is not there tells nothing either."""
    token = house.token("shop")
    async with (
        serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar,
        shop_channel(sidecar) as channel,
    ):
        calls = rescorer_pb2_grpc.RescorerStub(channel)
        two = grpc.aio.Metadata(*bearer(token), *bearer(token))
        for metadata in (None, bearer(token, "Basic"), bearer(""), bearer(token[:-1]), bearer(token + "x"), two):
            code, said, _ = await refusal(calls.Score(asking("hotel"), metadata=metadata, timeout=20))
            assert code == grpc.StatusCode.UNAUTHENTICATED
            assert token[:-1] not in said
        missing = channel.unary_unary("/rescorer.v1.Rescorer/Missing")
        assert (await refusal(missing(b"", timeout=20)))[0] == grpc.StatusCode.UNAUTHENTICATED
        answer = await calls.Score(asking("hotel"), metadata=bearer(token, "bearer"), timeout=20)
        assert len(answer.results) == 1
        refused = sidecar.service.metrics.exposed()[0].decode()
        assert 'rescorer_door_refusals_total{door="grpc",reason="unknown_token"} 2.0' in refused


async def test_a_refusal_comes_before_the_message_is_read(house: House, shop_channel: Any) -> None:
    """Bytes that are no message are refused for the missing token, not for what they are; the request id is told."""
    house.token("shop")
    async with (
        serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar,
        shop_channel(sidecar) as channel,
    ):
        score = channel.unary_unary("/rescorer.v1.Rescorer/Score")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await score(b"\xff\xff no message", metadata=grpc.aio.Metadata(("x-request-id", "r-1")), timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert dict(refused.value.trailing_metadata())["x-request-id"] == "r-1"


async def test_a_token_opens_only_its_doors(house: House, shop_channel: Any) -> None:
    """A token for metrics alone is known, and scores nothing."""
    token = house.token("prometheus", "metrics")
    async with (
        serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar,
        shop_channel(sidecar) as channel,
    ):
        score = rescorer_pb2_grpc.RescorerStub(channel).Score
        code, said, _ = await refusal(score(asking("hotel"), metadata=bearer(token), timeout=20))
        assert (code, "token of prometheus" in said) == (grpc.StatusCode.PERMISSION_DENIED, True)


async def test_health_answers_without_a_token(house: House, shop_channel: Any) -> None:
    """Probes have none, and hear only whether it serves."""
    house.token("shop")
    async with (
        serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar,
        shop_channel(sidecar) as channel,
    ):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("is_on", [True, False])
async def test_reflection_is_there_if_it_is_wanted(house: House, shop_channel: Any, is_on: bool) -> None:
    """reflection = false leaves nothing that lists methods, and with tokens it takes one."""
    token = house.token("shop")
    settings = house.settings(tokens_file=str(house.tokens), reflection=is_on)
    async with serving(settings, house.folder) as sidecar, shop_channel(sidecar) as channel:
        method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        for metadata, code in (
            (None, grpc.StatusCode.UNAUTHENTICATED),
            (bearer(token), None if is_on else grpc.StatusCode.UNIMPLEMENTED),
        ):
            call = channel.stream_stream(method)(iter([b"\x3a\x00"]), metadata=metadata, timeout=20)
            if code is None:
                assert b"rescorer.v1.Rescorer" in await call.read()
            else:
                assert (await refusal(call.read()))[0] == code


async def test_who_asks_is_whom_the_token_or_the_certificate_names(house: House, shop_channel: Any) -> None:
    """A name that is proved stands before one that is said; the token's stands before the certificate's."""
    own = house.issued("desk", house.authority, "desk.example", common_name="desk")
    said = ("rescorer-caller", "help desk")
    async with serving(house.settings(mutual=True), house.folder) as sidecar, shop_channel(sidecar, *own) as channel:
        score = rescorer_pb2_grpc.RescorerStub(channel).Score
        await score(asking("hotel"), metadata=grpc.aio.Metadata(said), timeout=20)
        assert 'caller="desk.example"' in sidecar.service.metrics.exposed()[0].decode()
    token = house.token("shop")
    settings = house.settings(mutual=True, tokens_file=str(house.tokens))
    async with serving(settings, house.folder) as sidecar, shop_channel(sidecar, *own) as channel:
        score = rescorer_pb2_grpc.RescorerStub(channel).Score
        await score(asking("hotel"), metadata=grpc.aio.Metadata(said, *bearer(token)), timeout=20)
        metrics = sidecar.service.metrics.exposed()[0].decode()
        assert 'caller="shop"' in metrics
        assert "help desk" not in metrics


async def test_a_certificate_is_renewed_without_a_restart(house: House) -> None:
    """F12: the next connection gets the new certificate, one that is running goes on, and rubbish is not used."""
    other = trustme.CA()
    async with serving(house.settings(), house.folder) as sidecar:

        async def asked(authority: trustme.CA) -> wire.ScoreResponse:
            credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
            options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
            async with grpc.aio.secure_channel(sidecar.address, credentials, options) as channel:
                return await rescorer_pb2_grpc.RescorerStub(channel).Score(asking("hotel"), timeout=20)

        credentials = grpc.ssl_channel_credentials(house.authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(sidecar.address, credentials) as running:
            stub = rescorer_pb2_grpc.RescorerStub(running)
            await stub.Score(asking("hotel"), timeout=20)
            house.show(other)
            assert len((await asked(other)).results) == 1
            assert (await refusal(asked(house.authority)))[0] == grpc.StatusCode.UNAVAILABLE
            (house.folder / "server.pem").write_text("half a certific")
            assert len((await asked(other)).results) == 1
            assert len((await stub.Score(asking("hotel"), timeout=20)).results) == 1


async def test_tokens_come_and_go_without_a_restart(house: House, shop_channel: Any) -> None:
    """A token that is written into the file opens at the next call, and one that is taken out no longer does."""
    first = house.token("shop")
    async with (
        serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar,
        shop_channel(sidecar) as channel,
    ):
        score = rescorer_pb2_grpc.RescorerStub(channel).Score
        second = house.token("shop")
        for token in (first, second):
            await score(asking("hotel"), metadata=bearer(token), timeout=20)
        head, one, two = house.tokens.read_text().split("\n[[token]]")
        house.tokens.write_text(f"{head}\n[[token]]{two}")
        assert (await refusal(score(asking("a"), metadata=bearer(first), timeout=20)))[0] == (
            grpc.StatusCode.UNAUTHENTICATED
        )
        house.tokens.write_text("no = tokens")
        assert len((await score(asking("b"), metadata=bearer(second), timeout=20)).results) == 1
        assert one != two


async def test_a_caller_above_his_quota_waits_and_others_do_not(house: House, shop_channel: Any) -> None:
    """RESOURCE_EXHAUSTED with the time in RetryInfo, by the token's name, and counted; lists and others go on."""
    shop, desk = house.token("shop"), house.token("desk")
    with house.tokens.open("a") as file:
        file.write("[quota.shop]\npairs_per_s = 2\n")
    async with (
        serving(house.settings(tokens_file=str(house.tokens)), house.folder) as sidecar,
        shop_channel(sidecar) as channel,
    ):
        calls = rescorer_pb2_grpc.RescorerStub(channel)
        await calls.Score(asking(*["hotel"] * 2_000), metadata=bearer(shop), timeout=20)
        many = wire.ScoreManyRequest(requests=[asking("hotel")])
        for call in (
            calls.Score(asking("a"), metadata=bearer(shop), timeout=20),
            calls.ScoreMany(many, metadata=bearer(shop)),
        ):
            code, said, (retry,) = await refusal(call)
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "shop has used up its quota of 2 pairs a second" in said
            assert 900 < retry.retry_delay.seconds < 1000
        assert (await calls.ListModels(wire.ListModelsRequest(), metadata=bearer(shop), timeout=20)).models
        assert len((await calls.Score(asking("a"), metadata=bearer(desk), timeout=20)).results) == 1
        metrics = sidecar.service.metrics.exposed()[0].decode()
        assert 'rescorer_door_refusals_total{door="grpc",reason="over_quota"} 2.0' in metrics
