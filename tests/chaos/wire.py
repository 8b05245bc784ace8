"""A small TCP proxy that does to a connection what networks do, and counts how often it did.

It knows no protocol, so it stands before a sidecar as well as before an engine. :attr:`Proxy.harm` may be changed at
any time; each piece of bytes that passes asks it anew.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PIECE = 65_536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 s: closing sends RST."""


class Cut(Exception):
    """The harm ends this connection; the proxy resets both sides."""


Pair = tuple[socket.socket, socket.socket]
"""A connection's two ends: the client's and the server's."""

Harm = Callable[["Proxy", bytes, str], Iterator[bytes]]
"""What becomes of a piece on its way ``up`` to the server or ``down`` to the client; raises Cut."""


def unharmed(proxy: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
    """Every byte, at once."""
    yield piece


def swallowed(proxy: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
    """Nothing arrives any more, and nobody hears of it: a cable that was pulled, a half-open connection."""
    proxy.count("pieces swallowed")
    return iter(())


def reset(proxy: Proxy, piece: bytes, way: str) -> Iterator[bytes]:
    """The connection is reset as soon as something is sent."""
    proxy.count("connections reset")
    raise Cut


class Proxy:
    """Listens at ``address`` and passes on to ``target``, in threads of its own."""

    def __init__(self, target: str, harm: Harm = unharmed) -> None:
        self.harm = harm
        self.counts: Counter[str] = Counter()
        self.closing = threading.Event()
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[Pair] = set()
        self._torn: set[Pair] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listening = threading.Thread(target=self._accept, daemon=True)
        self._listening.start()

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def count(self, what: str) -> None:
        """Once more."""
        with self._lock:
            self.counts[what] += 1

    def wait(self, seconds: float) -> None:
        """Let time pass on the line, until the proxy is closed."""
        self.closing.wait(seconds)

    def cut(self) -> None:
        """Reset every connection that is open now."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._tear(pair)

    def close(self) -> None:
        """Let go of everything."""
        self.closing.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._listening.join()
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.count("connections")
            self._threads.append(threading.Thread(target=self._connect, args=(client,), daemon=True))
            self._threads[-1].start()

    def _connect(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            with server:
                self._pass_both((client, server))

    def _pass_both(self, pair: Pair) -> None:
        for end in pair:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add(pair)
        down = threading.Thread(target=self._pass_on, args=(pair, "down"), daemon=True)
        down.start()
        self._pass_on(pair, "up")
        down.join()
        with self._lock:
            self._pairs.discard(pair)

    def _pass_on(self, pair: Pair, way: str) -> None:
        source, sink = pair if way == "up" else pair[::-1]
        try:
            while piece := source.recv(PIECE):
                for part in self.harm(self, piece, way):
                    sink.sendall(part)
            if pair not in self._torn:
                sink.shutdown(socket.SHUT_WR)
        except (OSError, Cut):
            self._tear(pair)

    def _tear(self, pair: Pair) -> None:
        """Wake the readers of both ends without a word to the other sides; when they are closed, RST is sent."""
        self._torn.add(pair)
        for end in pair:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RDWR if self.closing.is_set() else socket.SHUT_RD)


@contextmanager
def proxied(target: str, harm: Harm = unharmed) -> Iterator[Proxy]:
    """A proxy before ``host:port``, for as long as the block runs."""
    proxy = Proxy(target, harm)
    try:
        yield proxy
    finally:
        proxy.close()
