"""An HTTP door before the engine. It hands everything on, and harms half of the searches: always the same ones."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from chaos.wire import RESET

SAID = ("content-type", "x-elastic-product")
Harm = Callable[["Visit", bytes], None]
"""What is done with a search that is to be harmed; it gets the engine's answer."""


class Visit(BaseHTTPRequestHandler):
    """One request on its way to the engine and back."""

    protocol_version = "HTTP/1.1"
    server: Door

    def do_GET(self) -> None:
        """Hand it on."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, answer = self._of_engine(body)
        if "_search" in self.path and is_harmed(body):
            self.server.counts["searches harmed"] += 1
            self.server.harm(self, answer)
        else:
            self.reply(status, answer)

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815 - named by http.server

    def reply(self, status: int, answer: bytes, cut: int | None = None) -> None:
        """Answer with this under the engine's headers; ``cut`` sends so many bytes of it only."""
        self.send_response(status)
        for name, value in self._said:
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[:cut])
        self.wfile.flush()

    def reset(self) -> None:
        """End the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close_connection = True
        self.server.resets.add(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Say nothing."""

    def _of_engine(self, body: bytes) -> tuple[int, bytes]:
        engine = http.client.HTTPConnection(self.server.engine, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        engine.request(self.command, self.path, body, {**kept, "accept-encoding": "identity"})
        answer = engine.getresponse()
        self._said = [(name, value) for name, value in answer.getheaders() if name.lower() in SAID]
        found = answer.status, answer.read()
        engine.close()
        return found


class Door(ThreadingHTTPServer):
    """Where the engine seems to be."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, engine: str, harm: Harm) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.engine = urlsplit(engine).netloc
        self.harm = harm
        self.counts: Counter[str] = Counter()
        self.closing = threading.Event()
        self.resets: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Close a connection; one that is to be reset gets no orderly end."""
        if request in self.resets:
            self.resets.discard(request)
            with suppress(OSError):
                request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever does not wait for an answer is no trouble."""


def is_harmed(body: bytes) -> bool:
    """Whether this search is one of those; by its query, so that a second try meets the same fate."""
    with suppress(ValueError, KeyError, TypeError):
        return zlib.crc32(json.loads(body)["query"]["match"]["body"].encode()) % 2 == 0
    return False


@contextmanager
def before(engine: str, harm: Harm) -> Iterator[Door]:
    """A door before this engine, for as long as the block runs."""
    door = Door(engine, harm)
    thread = threading.Thread(target=door.serve_forever, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        door.closing.set()
        door.shutdown()
        door.server_close()
        thread.join()
