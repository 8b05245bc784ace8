"""The proxy does to connections what it says, seen from a plain socket before and a plain server behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from chaos.wire import Harm, proxied, reset, swallowed


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        while piece := connection.recv(1024):
                            connection.sendall(piece)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def to(address: str) -> socket.socket:
    """A connection to it that does not wait for ever."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_an_unharmed_connection_is_as_without_a_proxy(echo: str) -> None:
    """Bytes go there and back, and the end of one side is the end of the other."""
    with proxied(echo) as proxy, to(proxy.address) as client:
        client.sendall(b"there and back")
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: client.recv(4), b"")) == b"there and back"


def test_a_reset_is_a_reset(echo: str) -> None:
    """The client sees RST, not the quiet end of a stream, and the proxy counts it."""
    with proxied(echo, reset) as proxy, to(proxy.address) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert proxy.counts["connections reset"] == 1


def test_connections_can_be_cut_from_outside(echo: str) -> None:
    """Both sides of an idle connection are reset at once."""
    with proxied(echo) as proxy, to(proxy.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.parametrize(("harm", "counted"), [(swallowed, "pieces swallowed")])
def test_what_is_swallowed_never_arrives(echo: str, harm: Harm, counted: str) -> None:
    """The connection stays, and nothing comes through it any more."""
    with proxied(echo) as proxy, to(proxy.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        proxy.harm = harm
        client.sendall(b"y")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert proxy.counts[counted] == 1


def test_where_nobody_listens_the_client_is_told() -> None:
    """A proxy before a closed port takes a connection and resets it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with proxied(address) as proxy, to(proxy.address) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
