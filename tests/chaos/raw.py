"""Bytes for a sidecar's doors that no client sends: HTTP/2 frames by hand, and connections without an end."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 0x1, 0x4
LARGEST = 2**24 - 1


def frame(kind: int, payload: bytes = b"", *, stream: int = 0, flags: int = 0, claims: int | None = None) -> bytes:
    """One frame of RFC 9113, section 4.1; ``claims`` is the length that it says it has, if not its own."""
    length = len(payload) if claims is None else claims
    return length.to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def call(stream: int, path: str = "/rescorer.v1.Rescorer/Score", flags: int = END_HEADERS) -> bytes:
    """The HEADERS that begin a gRPC call, in HPACK (RFC 7541) without Huffman codes or new table entries."""
    named = b"\x04" + _text(path) + b"\x01" + _text("localhost") + b"\x0f\x10" + _text("application/grpc")
    return frame(HEADERS, b"\x83\x86" + named + b"\x00" + _text("te") + _text("trailers"), stream=stream, flags=flags)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


OPENED = PREFACE + frame(SETTINGS)
MALFORMED: dict[str, bytes] = {
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "HTTP/1.1": b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "noise": bytes(range(255, -1, -1)) * 16,
    "a frame of no kind": OPENED + frame(0xFF, b"x" * 100, stream=1),
    "headers of stream 0": OPENED + frame(HEADERS, b"\x83", flags=END_HEADERS),
    "headers that are no HPACK": OPENED + frame(HEADERS, b"\xff" * 200, stream=1, flags=END_HEADERS),
    "data of a stream that is not open": OPENED + frame(DATA, b"x" * 100, stream=3),
    "a window that does not grow": OPENED + frame(WINDOW_UPDATE, bytes(4)),
    "a window that overflows": OPENED + frame(WINDOW_UPDATE, b"\x7f\xff\xff\xff") * 3,
    "settings of five bytes": OPENED + frame(SETTINGS, b"12345"),
    "a ping of seven bytes": OPENED + frame(PING, b"1234567"),
    "a continuation of nothing": OPENED + frame(CONTINUATION, b"\x83", stream=1),
    "a stream that depends on itself": OPENED + frame(PRIORITY, struct.pack(">IB", 1, 0), stream=1),
    "the end of a stream that never began": OPENED + frame(RST_STREAM, bytes(4), stream=5),
    "a promise from a client": OPENED + frame(PUSH, struct.pack(">I", 2) + b"\x83", stream=1, flags=END_HEADERS),
    "a message that is no request": OPENED + call(1) + frame(DATA, b"\0\0\0\0\x04\xff\xff\xff\xff", stream=1, flags=1),
    "a message with a flag of no kind": OPENED + call(1) + frame(DATA, b"\x07\0\0\0\x01x", stream=1, flags=1),
    "a method that there is none": OPENED + call(1, "/no/Such") + frame(DATA, bytes(5), stream=1, flags=1),
    "5,000 settings": OPENED + frame(SETTINGS) * 5000,
    "5,000 pings": OPENED + frame(PING, bytes(8)) * 5000,
    "2,000 calls, each ended at once": OPENED
    + b"".join(call(stream) + frame(RST_STREAM, struct.pack(">I", 8), stream=stream) for stream in range(1, 4000, 2)),
    "headers of 4 MB": OPENED
    + call(1, flags=0)
    + frame(CONTINUATION, b"\x00" + _text("x" * 100) * 2, stream=1) * 20_000,
}
OVERSIZED: dict[str, bytes] = {
    "a frame of 16 MB": OPENED + call(1) + frame(DATA, bytes(LARGEST), stream=1),
    "a frame that says so": OPENED + call(1) + frame(DATA, bytes(100), stream=1, claims=LARGEST),
    "a message that says it has 4 GB": OPENED + call(1) + frame(DATA, b"\0\xff\xff\xff\xff" + bytes(1000), stream=1),
    "settings of 1 MB": OPENED + frame(SETTINGS, struct.pack(">HI", 0x99, 1) * 170_000),
}


@dataclass(frozen=True, slots=True)
class Reaction:
    """How a server took it: the kinds of frames that it answered, and whether it ended the connection."""

    frames: tuple[int, ...]
    has_ended: bool


def sent(address: str, content: bytes, patience_s: float = 1.0) -> Reaction:
    """Send it on a connection of its own, and read what comes until nothing comes for a while."""
    host, _, port = address.rpartition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=patience_s) as connection:
        try:
            with suppress(TimeoutError):
                connection.sendall(content)
            while piece := connection.recv(65_536):
                received += piece
        except TimeoutError:
            return Reaction(_kinds(received), has_ended=False)
        except OSError:
            return Reaction(_kinds(received), has_ended=True)
    return Reaction(_kinds(received), has_ended=True)


def _kinds(received: bytes) -> tuple[int, ...]:
    found, place = [], 0
    while place + 9 <= len(received):
        found.append(received[place + 3])
        place += 9 + int.from_bytes(received[place : place + 3], "big")
    return tuple(found)


class Lorises:
    """Connections that send one byte of the same beginning after the other, slowly, all of them."""

    def __init__(self, address: str, count: int, beginning: bytes) -> None:
        host, _, port = address.rpartition(":")
        self._beginning = beginning
        self._end = threading.Event()
        self.open = [socket.create_connection((host, int(port)), timeout=5) for _ in range(count)]
        self.sent_bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for byte in itertools.chain(self._beginning, itertools.repeat(ord("x"))):
            self.open = self._fed(bytes([byte]))
            if self._end.wait(0.25):
                return

    def _fed(self, byte: bytes) -> Sequence[socket.socket] | list[socket.socket]:
        alive = []
        for one in self.open:
            try:
                one.sendall(byte)
            except OSError:
                one.close()
            else:
                self.sent_bytes += 1
                alive.append(one)
        return alive

    def close(self) -> None:
        """They go."""
        self._end.set()
        self._thread.join()
        for one in self.open:
            one.close()


@contextmanager
def lorises(address: str, count: int, beginning: bytes) -> Iterator[Lorises]:
    """So many slow connections, for as long as the block runs."""
    made = Lorises(address, count, beginning)
    try:
        yield made
    finally:
        made.close()
