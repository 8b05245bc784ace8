"""The gRPC door over a real server on loopback: the wire in, the wire out, each error with its code and details."""

from __future__ import annotations

import asyncio
import math
import re
import struct
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from rescorer_proto.v1 import rescorer_pb2 as wire
from rescorer_sidecar import grpc_server
from rescorer_sidecar.backends.fake import FakeBackend
from rescorer_sidecar.clock import MonotonicClock
from rescorer_sidecar.config import Settings
from rescorer_sidecar.domain import Field
from rescorer_sidecar.errors import ConfigError
from rescorer_sidecar.fields import lines
from rescorer_sidecar.testing import POISON_WORD, fake_model, until, vocabulary
from shape.source import ROOT
from unit.sidecar.door import Serve, Served, asking, refusal

KNOWN = vocabulary()
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_score_answers_with_all_that_the_wire_promises(served: Served) -> None:
    """Ids, places, logits, token counts, flags, model and status, as the service has them."""
    answer = await served.calls.Score(asking("hotel", "hotel " * 100), timeout=20)
    first, second = answer.results
    assert (first.id, first.index, first.token_count, first.truncated, first.cached) == ("c0", 0, 5, False, False)
    assert (second.id, second.index, second.token_count, second.truncated) == ("c1", 1, 64, True)
    expected = sum(KNOWN[name] for name in ("[CLS]", "cat", "[SEP]", "hotel", "[SEP]")) % 1000 - 500
    assert first.logit == first.score == expected
    assert answer.model == wire.ModelRef(name="fake", digest="d1")
    assert answer.status == wire.SCORE_STATUS_COMPLETE
    assert answer.timings.total_ms >= answer.timings.forward_ms > 0
    assert (await served.calls.Score(asking("hotel"))).results[0].cached


async def test_embed_answers_with_unit_vectors(served: Served) -> None:
    """One vector per text, of the model's dimension and of length one; a query gets the prefix, a document does not."""
    asked = wire.EmbedRequest(texts=["hotel", "late train"], kind=wire.EMBED_KIND_DOCUMENT)
    answer = await served.calls.Embed(asked, timeout=20)
    assert [len(entry.values) for entry in answer.embeddings] == [8, 8]
    assert [math.hypot(*entry.values) for entry in answer.embeddings] == pytest.approx([1, 1])
    assert [entry.token_count for entry in answer.embeddings] == [3, 4]
    query = await served.calls.Embed(wire.EmbedRequest(texts=["hotel"], kind=wire.EMBED_KIND_QUERY))
    assert query.embeddings[0].token_count == 4
    assert answer.model.name == "vectors"


async def test_list_models_tells_what_is_served(serve: Serve, tokeniser_folder: Path) -> None:
    """Kind, default, limit, dimension, backend, device and precision of each model; one default of each kind."""
    served = await serve(
        fake_model(tokeniser_folder, name="one"),
        fake_model(tokeniser_folder, name="two", max_tokens=32),
        fake_model(tokeniser_folder, name="vectors", kind="embedder"),
    )
    listed = (await served.calls.ListModels(wire.ListModelsRequest(), timeout=20)).models
    assert [(entry.model.name, entry.is_default, entry.max_tokens, entry.dimension) for entry in listed] == [
        ("one", True, 64, 0),
        ("two", False, 32, 0),
        ("vectors", True, 64, 8),
    ]
    assert [entry.kind for entry in listed] == [wire.MODEL_KIND_CROSS_ENCODER] * 2 + [wire.MODEL_KIND_EMBEDDER]
    assert {(entry.backend, entry.device, entry.precision) for entry in listed} == {("fake", "cpu", "fp32")}


def fields(*pairs: tuple[str, str]) -> wire.Candidate:
    """A candidate of labelled fields."""
    return wire.Candidate(
        id="c0",
        fields=wire.LabelledFields(fields=[wire.LabelledField(label=label, text=text) for label, text in pairs]),
    )


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (wire.Candidate(id="c0", text="as it is\nwith lines"), "as it is\nwith lines"),
        (fields(("title", "Hotel"), ("body", "Late")), "title: Hotel\nbody: Late"),
        (fields(("", "Hotel"), ("body", "Late")), "Hotel\nbody: Late"),
        (fields(("title", "")), "title: "),
        (fields(), ""),
        (wire.Candidate(id="c0"), ""),
    ],
)
def test_fields_become_lines(candidate: wire.Candidate, text: str) -> None:
    """One field a line, behind its label if it has one; a plain text stays as it is; nothing is an empty text."""
    assert lines(grpc_server.text_of(candidate)) == text


def test_a_field_that_says_no_more_than_a_text_is_one() -> None:
    """The same text has one score, and one place in the cache, whichever way it is sent; a bound makes a difference."""
    bounded = wire.LabelledField(text="Late", max_tokens=3)
    assert grpc_server.text_of(fields(("", "Late"))) == "Late"
    assert grpc_server.text_of(wire.Candidate(fields=wire.LabelledFields(fields=[bounded]))) == (
        Field(text="Late", max_tokens=3),
    )


async def test_fields_never_run_into_each_other(served: Served, backend: FakeBackend) -> None:
    """M25: title "cat" and body "alog" never make the model read "catalog"."""
    await served.calls.Score(
        wire.ScoreRequest(query="hotel", candidates=[fields(("", "cat"), ("", "alog"))]), timeout=20
    )
    read = backend.batches[0][0].ids
    assert KNOWN["catalog"] not in read
    assert [KNOWN["cat"], KNOWN["alog"]] == [number for number in read if number in (KNOWN["cat"], KNOWN["alog"])]


class Told(FakeBackend):
    """Gives the logits it was told, in order."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self._logits = logits

    def forward(self, batch: Any) -> Any:
        """The told logits."""
        return super().forward(batch) * 0 + list(self._logits)


async def test_strong_logits_stay_apart(serve: Serve, tokeniser_folder: Path) -> None:
    """S1: logits that tie after a bf16 sigmoid keep their order, as logits and as float64 scores."""
    served = await serve(fake_model(tokeniser_folder, backend=Told(9.25, 11.5, 9.0, 30.0, 31.0)))
    sigmoid = wire.ScoreOptions(activation=wire.ACTIVATION_SIGMOID)
    answer = await served.calls.Score(asking("a", "b", "c", "d", "e", options=sigmoid), timeout=20)
    assert [entry.logit for entry in answer.results] == [9.25, 11.5, 9.0, 30.0, 31.0]
    scores = [entry.score for entry in answer.results]
    assert len(set(scores)) == 5
    assert scores == pytest.approx([1 / (1 + math.exp(-logit)) for logit in (9.25, 11.5, 9.0, 30.0, 31.0)], rel=1e-15)


async def test_a_sigmoid_never_overflows(serve: Serve, tokeniser_folder: Path) -> None:
    """The largest logits of either sign make 1 and 0, not an error; a small score keeps all its digits."""
    served = await serve(fake_model(tokeniser_folder, backend=Told(-3e38, -40.0, 0.0, 1000.0, 3e38)))
    sigmoid = wire.ScoreOptions(activation=wire.ACTIVATION_SIGMOID)
    answer = await served.calls.Score(asking("a", "b", "c", "d", "e", options=sigmoid), timeout=20)
    assert [entry.score for entry in answer.results] == pytest.approx(
        [0.0, math.exp(-40), 0.5, 1.0, 1.0], abs=0, rel=1e-12
    )


async def test_without_an_activation_the_score_is_the_logit(serve: Serve, tokeniser_folder: Path) -> None:
    """S3: nothing is applied that was not asked for."""
    served = await serve(fake_model(tokeniser_folder, backend=Told(-7.5, 0.25)))
    answer = await served.calls.Score(asking("a", "b"), timeout=20)
    assert [entry.score for entry in answer.results] == [-7.5, 0.25]


async def test_bad_fields_come_back_by_path(served: Served) -> None:
    """INVALID_ARGUMENT carries a BadRequest with one violation per bad field."""
    request = wire.ScoreRequest(
        query=" ", candidates=[wire.Candidate(id="a"), wire.Candidate(id="a"), wire.Candidate()]
    )
    code, message, (detail,) = await refusal(served.calls.Score(request, timeout=20))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert [entry.field for entry in detail.field_violations] == ["query", "candidates[1].id", "candidates[2].id"]
    assert detail.field_violations[1].description == "repeats the id of candidates[0]"
    assert "candidates[1].id" in message


async def test_embedding_nothing_names_the_field(served: Served) -> None:
    """INVALID_ARGUMENT for an empty list of texts, with the field."""
    code, _, (detail,) = await refusal(served.calls.Embed(wire.EmbedRequest(), timeout=20))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert [entry.field for entry in detail.field_violations] == ["texts"]


@pytest.mark.parametrize("name", ["nowhere", "m" * 1_000_000])
async def test_an_unknown_model_comes_with_the_known_ones(served: Served, name: str) -> None:
    """NOT_FOUND carries a ResourceInfo with what was asked and what is served, however long the asked name is."""
    code, message, (detail,) = await refusal(served.calls.Score(asking("a", model=name), timeout=20))
    assert code == grpc.StatusCode.NOT_FOUND
    assert (detail.resource_type, detail.description) == ("model", "served: fake")
    assert detail.resource_name.startswith(name[:100])
    assert "served: fake" in message


async def test_ids_of_any_length_keep_the_error_small_enough_to_arrive(served: Served) -> None:
    """A doubled id of a megabyte is INVALID_ARGUMENT with its path, not an error that no trailer can hold."""
    request = wire.ScoreRequest(query="cat", candidates=[wire.Candidate(id="i" * 1_000_000)] * 20)
    code, _, (detail,) = await refusal(served.calls.Score(request, timeout=20))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert detail.field_violations[0].field == "candidates[1].id"


async def test_overload_says_when_to_come_back(serve: Serve, tokeniser_folder: Path, backend: FakeBackend) -> None:
    """F6: RESOURCE_EXHAUSTED carries a RetryInfo with a delay above zero."""
    served = await serve(fake_model(tokeniser_folder, backend=backend), max_waiting_pairs=2, budget_tokens=5)
    backend.door.clear()
    held = asyncio.ensure_future(served.calls.Score(asking("a", "b", "c"), timeout=20))
    await until(lambda: served.service.waiting == 2)
    code, _, (detail,) = await refusal(served.calls.Score(asking("d"), timeout=20))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert detail.retry_delay.ToTimedelta().total_seconds() == 0.5
    backend.door.set()
    await held


async def test_a_model_that_fails_is_internal_and_the_next_call_is_answered(served: Served) -> None:
    """F11: INTERNAL for the request that broke the model, an answer for the next."""
    code, message, details = await refusal(served.calls.Score(asking(POISON_WORD), timeout=20))
    assert (code, details) == (grpc.StatusCode.INTERNAL, [])
    assert "the model failed on 1 of 1 rows" in message
    assert len((await served.calls.Score(asking("hotel"), timeout=20)).results) == 1


async def test_calls_before_the_models_are_ready_are_unavailable(serve: Serve) -> None:
    """P3: while loading, Score and Embed are UNAVAILABLE with the reason, and health answers NOT_SERVING."""
    served = await serve()
    for call in (served.calls.Score(asking("a")), served.calls.Embed(wire.EmbedRequest(texts=["a"]))):
        code, message, _ = await refusal(call)
        assert code == grpc.StatusCode.UNAVAILABLE
        assert "not loaded and warm yet" in message
    assert await served.health_of() == NOT_SERVING


@pytest.mark.parametrize("name", ["", "rescorer.v1.Rescorer"])
async def test_health_follows_readiness(serve: Serve, name: str) -> None:
    """NOT_SERVING until told, SERVING, and NOT_SERVING again, for the server and for the service by name."""
    served = await serve()
    seen = [await served.health_of(name)]
    for serving in (True, False):
        await grpc_server.tell_health(served.health, serving=serving)
        seen.append(await served.health_of(name))
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]


async def test_health_is_answered_while_the_model_runs(served: Served, backend: FakeBackend) -> None:
    """P6: a forward that is held open blocks neither a health check nor the list of models."""
    backend.door.clear()
    held = asyncio.ensure_future(served.calls.Score(asking("hotel"), timeout=30))
    assert await asyncio.to_thread(backend.entered.wait, 20)
    assert await served.health_of() == SERVING
    assert len((await served.calls.ListModels(wire.ListModelsRequest(), timeout=20)).models) == 2
    assert not held.done()
    backend.door.set()
    await held


async def test_reflection_lists_the_service(served: Served) -> None:
    """A generic client finds the service by asking the server."""
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = [entry async for entry in stub.ServerReflectionInfo(asked, timeout=20)]
    names = {entry.name for entry in answer.list_services_response.service}
    assert {"rescorer.v1.Rescorer", "grpc.health.v1.Health"} <= names


async def test_a_cancelled_call_drops_its_pairs(served: Served, backend: FakeBackend) -> None:
    """F4: when the client hangs up, its pairs leave the queue and never reach the model."""
    backend.door.clear()
    held = asyncio.ensure_future(served.calls.Score(asking("hotel"), timeout=30))
    assert await asyncio.to_thread(backend.entered.wait, 20)
    call = served.calls.Score(asking("train", "flight"), timeout=30)
    await until(lambda: served.service.waiting == 2)
    call.cancel()
    await until(lambda: served.service.waiting == 0)
    backend.door.set()
    await held
    assert sum(map(len, backend.batches)) == 1


async def test_the_calls_deadline_is_kept(served: Served, backend: FakeBackend) -> None:
    """A call whose model is too slow ends at its deadline with DEADLINE_EXCEEDED, and its rest is never run."""
    backend.door.clear()
    code, *_ = await refusal(served.calls.Score(asking("hotel"), timeout=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: served.service.waiting == 0)


async def test_just_before_the_deadline_the_known_scores_arrive(served: Served, backend: FakeBackend) -> None:
    """A partial answer leaves early enough to arrive: status PARTIAL with what was known."""
    await served.calls.Score(asking("hotel"), timeout=20)
    backend.door.clear()
    answer = await served.calls.Score(asking("train", "hotel"), timeout=1.0)
    assert answer.status == wire.SCORE_STATUS_PARTIAL
    assert [entry.index for entry in answer.results] == [1]


async def test_a_message_over_the_limit_is_refused_with_the_limit(serve: Serve, tokeniser_folder: Path) -> None:
    """Larger than max_message_mb is RESOURCE_EXHAUSTED and names both sizes; just under it is scored."""
    served = await serve(fake_model(tokeniser_folder), max_message_mb=1)
    code, message, _ = await refusal(served.calls.Score(asking("x " * 600_000), timeout=20))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(1024 * 1024) in message
    assert len((await served.calls.Score(asking("x " * 500_000), timeout=20)).results) == 1


async def test_a_text_of_a_megabyte_is_cut_and_counted(served: Served) -> None:
    """F7: it is truncated, says so, and its neighbour scores as without it."""
    alone = (await served.calls.Score(asking("hotel", query="late"), timeout=20)).results[0]
    answer = await served.calls.Score(asking("word " * 200_000, "hotel", query="late"), timeout=20)
    assert (answer.results[0].truncated, answer.results[0].token_count) == (True, 64)
    assert answer.results[1].logit == alone.logit


async def test_text_that_is_not_utf_8_never_reaches_the_model(served: Served, backend: FakeBackend) -> None:
    """Bytes that are no UTF-8 in a text field fail the call, in words; nothing is scored, the next call is answered."""
    bad = struct.pack("BB", 0x0A, 2) + b"\xff\xfe"
    raw = served.channel.unary_unary("/rescorer.v1.Rescorer/Score", request_serializer=lambda message: message)
    code, message, _ = await refusal(raw(bad, timeout=20))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("the 4 bytes of this call are no request of Score; ")
    assert backend.batches == []
    assert len((await served.calls.Score(asking("hotel"), timeout=20)).results) == 1


@pytest.mark.parametrize("count", [1, 33, 1_000, 10_000])
async def test_any_number_of_candidates_up_to_the_limit_works(served: Served, count: int) -> None:
    """P9: 33, 1,000 and 10,000 candidates all come back scored, once each, in their order."""
    answer = await served.calls.Score(asking(*[f"hotel {index}" for index in range(count)]), timeout=60)
    assert [entry.index for entry in answer.results] == list(range(count))
    assert answer.status == wire.SCORE_STATUS_COMPLETE


async def test_one_candidate_too_many_is_refused(served: Served) -> None:
    """10,001 candidates name the field and the limit, for a reader and for a program."""
    code, _, (detail, info) = await refusal(served.calls.Score(asking(*["a"] * 10_001), timeout=60))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert detail.field_violations[0].field == "candidates"
    assert "10000" in detail.field_violations[0].description
    assert (info.reason, info.metadata["most"]) == ("TOO_MANY", "10000")


async def test_an_empty_list_is_a_complete_empty_answer(served: Served) -> None:
    """No candidates, no error: COMPLETE with nothing in it."""
    answer = await served.calls.Score(asking(), timeout=20)
    assert (len(answer.results), answer.status) == (0, wire.SCORE_STATUS_COMPLETE)


async def test_a_port_in_use_is_one_line(served: Served) -> None:
    """The error names the address and the flag that mends it."""
    taken = Settings(model="fake", port=served.port)
    with pytest.raises(ConfigError) as refused:
        grpc_server.build(grpc_server.Door(served.service, MonotonicClock()), taken)
    assert f"can't listen on 127.0.0.1:{served.port}: Address already in use" in str(refused.value)
    assert "--port" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
async def test_a_host_that_is_not_ours_is_one_line(served: Served, host: str) -> None:
    """An address of another machine names the address and the flag."""
    with pytest.raises(ConfigError) as refused:
        grpc_server.build(grpc_server.Door(served.service, MonotonicClock()), Settings(model="fake", host=host))
    assert f"{host}" in str(refused.value)
    assert "--host" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
async def test_addresses_can_be_given_as_people_write_them(served: Served, host: str) -> None:
    """IPv6 needs no brackets in the settings and may have them; a name will do."""
    door = grpc_server.Door(served.service, MonotonicClock())
    server, _, port = grpc_server.build(door, Settings(model="fake", host=host, port=0))
    assert port > 0
    await server.stop(None)


def test_every_error_that_a_call_can_meet_has_a_code() -> None:
    """The table from errors to codes names every error of the package but those of starting up."""
    from rescorer_sidecar import errors

    leaves = {kind for kind in errors.SidecarError.__subclasses__() if kind is not errors.ConfigError}
    assert leaves == {kind for kind, _ in grpc_server.CODES}


def test_the_page_lists_every_code_that_a_call_can_meet() -> None:
    """docs/sidecar.md has one row for each code of the table, and no other."""
    listed = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "sidecar.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(code.name for _, code in grpc_server.CODES)
