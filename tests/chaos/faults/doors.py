"""Whoever else comes to a sidecar's doors: slow, malformed, oversized, compressed, and gone before the answer."""

from __future__ import annotations

import http.client
import threading
from typing import Any

import grpc

from chaos import raw
from chaos.harm import memory_mb, request_of, until
from chaos.raw import Lorises
from chaos.scene import ENDLESS, Scene, fault
from end_to_end.redis_server import free_port
from rescorer_lab.sidecar import Sidecar
from rescorer_proto.v1 import rescorer_pb2_grpc
from unit.sidecar.scrape import Scrape

MOST_GROWTH_MB = 300.0
"""More memory than this no unwanted visitor may cost: four messages of the largest size that is let in, and some."""

SCORE = "/rescorer.v1.Rescorer/Score"
CANCELLED, AT_A_TIME = 10_000, 500
TEXT = "late trains to the hotel near the airport " * 8


@fault(
    "slow-loris-grpc",
    "300 connections to the gRPC door send HTTP/2's first bytes one by one, four a second.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def loris_grpc(scene: Scene) -> None:
    """Whoever has something to say is served beside them."""
    victim = scene.sidecar()
    slow: Lorises = scene.hold(raw.lorises(victim.address, 300, raw.PREFACE + raw.frame(raw.SETTINGS, claims=16_380)))
    scene.searches([victim.address], searches=20, budget_ms=5000.0)
    still = len(slow.open)
    scene.proves(still > 200, f"{still} of 300 connections were open to the end, and had sent {slow.sent_bytes} bytes")


@fault(
    "slow-loris-http",
    "150 connections to the HTTP door send a request's first bytes one by one, and never its end.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def loris_http(scene: Scene) -> None:
    """Searches don't notice; probes are answered again when the slow ones have been let go."""
    port = free_port()
    victim = scene.sidecar("--http-port", str(port))
    slow: Lorises = scene.hold(raw.lorises(f"127.0.0.1:{port}", 150, b"GET /healthz HTTP/1.1\r\nx: "))
    scene.searches([victim.address], searches=20, budget_ms=5000.0)
    scene.proves(slow.sent_bytes > 1000, f"150 connections have sent {slow.sent_bytes} bytes, one by one")
    let_go = until(lambda: not slow.open)
    scene.demand(let_go, "all of them are let go within 30 s")
    scene.demand(_asked(port, "/healthz") == (200, "alive\n"), "/healthz answers 200 afterwards")


@fault(
    "malformed-frames",
    "The gRPC door gets noise, other protocols, forbidden frames, floods, and messages that are none.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def malformed(scene: Scene) -> None:
    """Each costs its own connection."""
    _visited(scene, raw.MALFORMED)


@fault(
    "oversized-frames",
    "The gRPC door gets frames and messages far above its limits, and some that only say so.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def oversized(scene: Scene) -> None:
    """A real client that sends too much is told so."""
    victim = _visited(scene, raw.OVERSIZED)
    code = _code(victim, bytes(80 * 2**20), compression=None)
    scene.demand(code is grpc.StatusCode.RESOURCE_EXHAUSTED, f"80 MB are refused as too much; {code.name}")


@fault(
    "compression-bomb",
    "A message of 1 MB in gzip that is 1 GB when it is unpacked, three times.",
    may=("reranked", "partial"),
    must=("reranked",),
)
def bomb(scene: Scene) -> None:
    """It is refused before it is whole."""
    victim = scene.sidecar()
    crowd = scene.begin([victim.address], searches=ENDLESS, budget_ms=8000.0)
    crowd.after(4)
    before_mb = memory_mb(victim, "VmHWM")
    zeros = bytes(2**30)
    codes = {_code(victim, zeros, compression=grpc.Compression.Gzip) for _ in range(3)}
    crowd.after_more(4)
    crowd.enough()
    scene.counted(crowd)
    scene.proves(codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}, "each is refused with RESOURCE_EXHAUSTED")
    _bounded(scene, victim, before_mb)


@fault(
    "10000-cancelled-calls",
    "10,000 calls are sent, five hundred at a time, and cancelled when the first of these is answered.",
    must=("reranked",),
)
def cancelled(scene: Scene) -> None:
    """None of them is worked for; those who still wait are served."""
    port = free_port()
    victim = scene.sidecar("--http-port", str(port))
    crowd = scene.begin([victim.address], searches=ENDLESS, at_a_time=1, pause_s=0.2, budget_ms=8000.0)
    crowd.after(4)
    before_mb = memory_mb(victim, "VmHWM")
    with grpc.insecure_channel(victim.address) as channel:
        stub = rescorer_pb2_grpc.RescorerStub(channel)
        for first in range(0, CANCELLED, AT_A_TIME):
            _cancelled(stub, first)
    crowd.after_more(8)
    crowd.enough()
    scene.counted(crowd)
    found = Scrape(_asked(port, "/metrics")[1])("rescorer_requests_total", outcome="cancelled")
    scene.proves(found > CANCELLED / 10, f"the sidecar counts {found:.0f} requests that were there and were cancelled")
    _bounded(scene, victim, before_mb)
    after = scene.searches([victim.address], searches=8, budget_ms=5000.0)
    scene.demand(all(one.status == "reranked" for one in after), "every search after them is reranked")


def _cancelled(stub: rescorer_pb2_grpc.RescorerStub, first: int) -> None:
    one_is_done = threading.Event()
    texts = [f"{number} {TEXT}" for number in range(first, first + AT_A_TIME)]
    calls = [stub.Score.future(request_of([text]), timeout=60) for text in texts]
    for call in calls:
        call.add_done_callback(lambda _: one_is_done.set())
    one_is_done.wait(60)
    for call in calls:
        call.cancel()


def _visited(scene: Scene, visits: dict[str, bytes]) -> Sidecar:
    """Each visit on a connection of its own, while searches run."""
    victim = scene.sidecar()
    crowd = scene.begin([victim.address], searches=ENDLESS, budget_ms=8000.0)
    crowd.after(4)
    before_mb = memory_mb(victim, "VmHWM")
    reactions = {name: raw.sent(victim.address, content) for name, content in visits.items()}
    crowd.after_more(8)
    crowd.enough()
    scene.counted(crowd)
    answered = [name for name, reaction in reactions.items() if reaction.frames or reaction.has_ended]
    ended = [name for name, reaction in reactions.items() if reaction.has_ended]
    told = f"of {len(visits)} kinds of visit {len(answered)} were answered, and {len(ended)} cost their connection"
    scene.proves(len(answered) == len(visits) and bool(ended), told)
    _bounded(scene, victim, before_mb)
    return victim


def _bounded(scene: Scene, victim: Sidecar, before_mb: float) -> None:
    """The same process still runs, and never took much more memory than before."""
    scene.demand(victim.process.poll() is None, "the process still runs")
    grown_mb = memory_mb(victim, "VmHWM") - before_mb
    scene.demand(grown_mb < MOST_GROWTH_MB, f"its memory grows by less than {MOST_GROWTH_MB:.0f} MB; by {grown_mb:.0f}")


def _code(victim: Sidecar, message: bytes, compression: grpc.Compression | None) -> grpc.StatusCode:
    """How a call with these bytes ends."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(victim.address, options=options) as channel:
        score: Any = channel.unary_unary(SCORE, request_serializer=lambda content: content)
        return score.future(message, timeout=60, compression=compression).exception().code()  # type: ignore[no-any-return]


def _asked(port: int, path: str) -> tuple[int, str]:
    """Status and text of what the HTTP door answers."""
    door = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    door.request("GET", path)
    answer = door.getresponse()
    found = answer.status, answer.read().decode()
    door.close()
    return found
