"""What networks do between client and sidecar."""

from __future__ import annotations

import random
from collections.abc import Iterator

from chaos.scene import ENDLESS, Scene, fault
from chaos.wire import Harm, Proxy, proxied, reset, swallowed
from end_to_end.redis_server import free_port

LEAST_ANSWER_BYTES = 200
"""An answer with scores is longer, and what HTTP/2 says about itself is shorter."""


def trickled(proxy: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
    """Byte by byte."""
    for place in range(len(piece)):
        proxy.count("bytes sent alone")
        yield piece[place : place + 1]


def delayed(proxy: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
    """Each piece 400 ms later, in both directions: more than a budget for a call and its answer."""
    proxy.count("pieces delayed")
    proxy.wait(0.4)
    yield piece


def garbled(proxy: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
    """Answers are turned into noise."""
    if way == "down":
        proxy.count("pieces garbled")
        yield bytes(byte ^ 0x5A for byte in piece)
    else:
        yield piece


def _through(scene: Scene) -> Proxy:
    proxy: Proxy = scene.hold(proxied(scene.stack.steady_addresses[0]))
    return proxy


@fault(
    "half-open",
    "The connection to the only sidecar is there, and no byte arrives any more in either direction.",
    must=("reranked", "fallback"),
    is_short=True,
)
def half_open(scene: Scene) -> None:
    """Pulled in the middle of the load."""
    proxy = _through(scene)
    crowd = scene.begin([proxy.address])
    crowd.after(20)
    proxy.harm = swallowed
    scene.counted(crowd)
    swallowed_pieces = proxy.counts["pieces swallowed"]
    scene.proves(swallowed_pieces > 0, f"{swallowed_pieces} pieces of bytes were swallowed")


@fault(
    "slow-line",
    "Every piece of bytes between client and sidecar takes 400 ms each way.",
    must=("fallback",),
)
def slow(scene: Scene) -> None:
    """Too slow for the budget."""
    proxy = _through(scene)
    proxy.harm = delayed
    scene.searches([proxy.address])
    scene.proves(proxy.counts["pieces delayed"] > 0, f"{proxy.counts['pieces delayed']} pieces were delayed")


@fault(
    "garbage-answers",
    "What the sidecar answers is turned into noise on its way.",
    may=("fallback",),
    must=("fallback",),
    is_short=True,
)
def garbage(scene: Scene) -> None:
    """Nothing of it is HTTP/2."""
    proxy = _through(scene)
    proxy.harm = garbled
    scene.searches([proxy.address])
    scene.proves(proxy.counts["pieces garbled"] > 0, f"{proxy.counts['pieces garbled']} pieces were garbled")


@fault(
    "byte-by-byte",
    "A proxy hands on one byte at a time, in both directions.",
    must=("reranked",),
)
def byte_by_byte(scene: Scene) -> None:
    """Slow, and whole all the same."""
    proxy = _through(scene)
    proxy.harm = trickled
    scene.searches([proxy.address], searches=20, budget_ms=3000.0)
    scene.proves(proxy.counts["bytes sent alone"] > 1000, f"{proxy.counts['bytes sent alone']} bytes were sent alone")


@fault(
    "reset-on-request",
    "The connection is reset whenever the client sends something.",
    may=("fallback",),
    must=("fallback",),
)
def reset_on_request(scene: Scene) -> None:
    """Before the sidecar has seen a byte."""
    proxy = _through(scene)
    proxy.harm = lambda self, piece, way: reset(self, piece, way) if way == "up" else iter((piece,))
    scene.searches([proxy.address])
    scene.proves(proxy.counts["connections reset"] > 0, f"{proxy.counts['connections reset']} connections were reset")


@fault("reset-on-connect", "Each connection is reset as soon as it is there.", may=("fallback",), must=("fallback",))
def reset_on_connect(scene: Scene) -> None:
    """By a proxy that reaches nobody behind it."""
    proxy: Proxy = scene.hold(proxied(f"127.0.0.1:{free_port()}"))
    scene.searches([proxy.address])
    scene.proves(proxy.counts["connections"] > 0, f"{proxy.counts['connections']} connections were taken and reset")


@fault("reset-before-answer", "The connection is reset when the sidecar answers a search.", may=("fallback",))
def reset_before_answer(scene: Scene) -> None:
    """The scores were computed, and never arrive."""
    proxy = _through(scene)
    proxy.harm = _on_answers(0)
    scene.searches([proxy.address])
    scene.proves(proxy.counts["connections reset"] > 0, f"{proxy.counts['connections reset']} connections were reset")


@fault("reset-in-mid-answer", "The connection is reset after a hundred bytes of an answer.", may=("fallback",))
def reset_in_mid_answer(scene: Scene) -> None:
    """Half an answer is none."""
    proxy = _through(scene)
    proxy.harm = _on_answers(100)
    scene.searches([proxy.address])
    scene.proves(proxy.counts["connections reset"] > 0, f"{proxy.counts['connections reset']} connections were reset")


@fault(
    "cut-again-and-again",
    "All connections to the only sidecar are reset after every tenth search.",
    must=("reranked",),
)
def cut(scene: Scene) -> None:
    """Those on their way are tried again, and the next ones connect anew."""
    proxy = _through(scene)
    crowd = scene.begin([proxy.address], searches=ENDLESS, budget_ms=3000.0)
    for _ in range(5):
        crowd.after_more(10)
        proxy.cut()
    crowd.after_more(10)
    crowd.enough()
    scene.counted(crowd)
    scene.proves(proxy.counts["connections"] >= 5, f"{proxy.counts['connections']} connections were made")


@fault(
    "dropped-packets",
    "One piece of bytes in ten is held up for 200 ms, as TCP does where a packet is lost and sent again.",
    must=("reranked",),
)
def dropped(scene: Scene) -> None:
    """Slower, and all the same."""
    proxy, lots = _through(scene), random.Random(11)

    def lossy(self: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
        if lots.random() < 0.1:
            self.count("packets lost")
            self.wait(0.2)
        yield piece

    proxy.harm = lossy
    scene.searches([proxy.address], budget_ms=3000.0)
    scene.proves(proxy.counts["packets lost"] > 0, f"{proxy.counts['packets lost']} packets were lost and sent again")


def _on_answers(passing: int) -> Harm:
    """Let so many bytes of an answer pass, then reset; what is shorter than any answer passes."""

    def harm(proxy: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
        if way == "up" or len(piece) < LEAST_ANSWER_BYTES:
            yield piece
            return
        yield piece[:passing]
        yield from reset(proxy, piece, way)

    return harm
