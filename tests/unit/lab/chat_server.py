"""A real HTTP server on loopback that answers like an OpenAI-compatible endpoint, and fails when it is told to."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str], str]
"""What the model says to the last message."""
Fault = tuple[int, dict[str, str], str] | str
"""Status, headers and body instead of an answer; or ``drop``, which closes the connection, or ``hold``."""


@dataclass
class Server:
    """asked: the last messages of the requests that were answered. faults: number of a request, from 1 → its fault.

    A request that is held answers when ``go_on`` is set; ``is_held`` tells that one came.
    """

    answer: Answer
    faults: dict[int, Fault] = field(default_factory=dict)
    always: Fault | None = None
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    requests: int = 0
    url: str = ""
    is_held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self) -> Fault | None:
        """Count a request and say how it fails, if it does."""
        with self.lock:
            self.requests += 1
            return self.faults.get(self.requests, self.always)


@contextmanager
def running(answer: Answer) -> Iterator[Server]:
    """The server, on a port that the system gives."""
    made = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fault = made.fault()
            if fault == "hold":
                made.is_held.set()
                made.go_on.wait(60)
            if fault == "drop":
                self.close_connection = True
                return
            if isinstance(fault, tuple):
                self._send(*fault)
                return
            text = body["messages"][-1]["content"]
            with made.lock:
                made.asked.append(text)
                made.bodies.append(body)
                made.keys.add(self.headers["Authorization"])
            choice = {"message": {"role": "assistant", "content": made.answer(text)}}
            self._send(
                200, {}, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 1}})
            )

        def _send(self, status: int, headers: dict[str, str], text: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # whoever asked may be gone
                self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
