"""gRPC channels, one per address and process, shared by every client that asks for the same one.

## Decisions
2026-11: the key holds the process id, so that a forked worker opens a channel of its own instead of waiting on its
parent's, and an asyncio channel also its loop. The short reconnect back-off makes a restarted sidecar be found
again within two seconds, where gRPC's own default grows to two minutes.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from rescorer.errors import InvalidSetting

OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_retries", 0),  # retries are ours: by code, inside the deadline, counted
)
_SCHEMES = ("dns:", "unix:", "ipv4:", "ipv6:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a sidecar is and how to prove who is asking.

    address: ``host:port``, or a gRPC name such as ``unix:/run/rescorer.sock``.
    credentials: None speaks plain text, which is meant for loopback and trusted networks.
    metadata: sent with each call, such as ``(("authorization", "Bearer …"),)``; never shown.
    """

    address: str
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.address.startswith(_SCHEMES):
            host, _, port = self.address.rpartition(":")
            if not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
                raise InvalidSetting("rescorer", self.address, "must be host:port, such as 'localhost:50051'")


class Channels:
    """Counted channels: the last one to let go closes. ``open`` makes one from a target."""

    def __init__(self, open_channel: Callable[[Target], Any]) -> None:
        self._open = open_channel
        self._lock = threading.Lock()  # around the table only; opening does no I/O
        self._held: dict[Any, tuple[Any, int, Target]] = {}

    def hold(self, key: Any, target: Target) -> Any:
        """The channel under this key, opened if need be; each call needs one :meth:`let_go`."""
        with self._lock:
            channel, holders, kept = self._held.get(key) or (self._open(target), 0, target)
            self._held[key] = (channel, holders + 1, kept)
            return channel

    def let_go(self, key: Any) -> Any:
        """The channel to close, if this was its last holder; else None."""
        with self._lock:
            channel, holders, target = self._held.get(key, (None, 0, None))
            if holders > 1 and target is not None:
                self._held[key] = (channel, holders - 1, target)
                return None
            self._held.pop(key, None)
            return channel


def _open_sync(target: Target) -> grpc.Channel:
    if target.credentials is None:
        return grpc.insecure_channel(target.address, OPTIONS)
    return grpc.secure_channel(target.address, target.credentials, OPTIONS)


def _open_async(target: Target) -> grpc.aio.Channel:
    if target.credentials is None:
        return grpc.aio.insecure_channel(target.address, OPTIONS)
    return grpc.aio.secure_channel(target.address, target.credentials, OPTIONS)


SYNC = Channels(_open_sync)
ASYNC = Channels(_open_async)


def sync_key(target: Target) -> tuple[Any, ...]:
    """What two clients must have in common to share a channel."""
    return (os.getpid(), target.address, id(target.credentials))


def async_key(target: Target) -> tuple[Any, ...]:
    """The same for asyncio, whose channels belong to one loop."""
    return (*sync_key(target), asyncio.get_running_loop())
