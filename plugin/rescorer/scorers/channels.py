"""gRPC channels, one per address and process, shared by every client that asks for the same one.

## Decisions
2026-11: the key holds the process id, so that a forked worker opens a channel of its own instead of waiting on its
parent's, and an asyncio channel also its loop. The short reconnect back-off makes a restarted sidecar be found
again within two seconds, where gRPC's own default grows to two minutes.
2026-11: a connection on which nothing comes back is given up: what was sent and not acknowledged within five seconds,
or a ping every ten seconds that is not answered in five. A search does not wait for that, it has its own deadline; the
next one finds a connection that works. A sidecar has a second to complete a connection, not gRPC's twenty.
2026-11: behind a name gRPC asks all addresses in turn, leaves one whose health check says that it is not serving, and
looks the name up again when a connection is lost, at most every second.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio

from rescorer.errors import InvalidSetting

OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # in truth the least time that a connection has to come about
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),  # retries are ours: by code, inside the deadline, counted
)
_ROUND_ROBIN = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "rescorer.v1.Rescorer"},
}
OPTIONS_OF_A_NAME = (
    *OPTIONS,
    ("grpc.service_config", json.dumps(_ROUND_ROBIN)),
    ("grpc.service_config_disable_resolution", 1),  # nobody else's TXT record says how we ask
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)
_HOST = re.compile(r"[^\s/:,;\[\]]+|\[[^\s/\[\]]+\]")
_PORT = re.compile(r"0*[1-9][0-9]{0,4}")
_NAMES = ("dns:", "ipv4:", "ipv6:")
_SCHEMES = (*_NAMES, "unix:")
CALLER_KEY = "rescorer-caller"
MOST_CALLER = 64
"""The sidecar reads no more of a caller's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a sidecar is and how to prove who is asking.

    address: ``host:port``, or a gRPC name such as ``unix:/run/rescorer.sock``.
    credentials: None speaks plain text, which is meant for loopback and trusted networks.
    metadata: sent with each call, such as ``(("authorization", "Bearer …"),)``; never shown.
    server_name: what its certificate calls it, where that is not the host of the address.
    shown: asked at each call for more of such metadata, which may change meanwhile.
    speaks: asked at each call for the credentials, where these may change.
    """

    address: str
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    server_name: str = ""
    shown: Callable[[], tuple[tuple[str, str], ...]] = field(default=tuple, repr=False)
    speaks: Callable[[], grpc.ChannelCredentials | None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.address.startswith(_SCHEMES):
            host, _, port = self.address.rpartition(":")
            if not _HOST.fullmatch(host) or not _PORT.fullmatch(port) or int(port) > 65535:
                raise InvalidSetting("rescorer", self.address, "must be host:port, such as 'localhost:50051'")

    @property
    def is_name(self) -> bool:
        """Whether several sidecars may stand behind it, among which gRPC chooses."""
        return self.address.startswith(_NAMES)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that is made now."""
        return (*self.metadata, *self.shown())

    def now(self) -> Target:
        """With the credentials of a call that is made now."""
        credentials = self.credentials if self.speaks is None else self.speaks()
        return self if credentials is self.credentials else replace(self, credentials=credentials)

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """gRPC's arguments for its channel."""
        named = (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()
        return (*(OPTIONS_OF_A_NAME if self.is_name else OPTIONS), *named)

    @property
    def is_here(self) -> bool:
        """Whether what is sent there stays on this machine; a name other than localhost may lead anywhere."""
        if self.address.startswith("unix:"):
            return True
        places = self.address.removeprefix(next(filter(self.address.startswith, _NAMES), "")).rpartition("/")[2]
        hosts = [place.rpartition(":")[0].strip("[]") for place in places.split(",")]
        return all(host in ("localhost", "::1") or host.startswith("127.") for host in hosts)


def targets(
    named: str | Sequence[str],
    credentials: grpc.ChannelCredentials | None = None,
    metadata: Sequence[tuple[str, str]] = (),
) -> tuple[Target, ...]:
    """A target for each address: of a list, or of one string with commas between ``host:port`` and ``host:port``."""
    if isinstance(named, str):
        named = [named] if named.startswith(_SCHEMES) else [address.strip() for address in named.split(",")]
    if not named or not all(isinstance(address, str) for address in named):
        raise InvalidSetting("rescorer", named, "must be host:port, or a list of such addresses")
    return tuple(Target(address=address, credentials=credentials, metadata=tuple(metadata)) for address in named)


def said_by(caller: Any) -> tuple[tuple[str, str], ...]:
    """The metadata that say who asks, none for an empty name; InvalidSetting where the wire can't hold it."""
    is_text = isinstance(caller, str)
    if not (
        is_text
        and caller.isascii()
        and caller.isprintable()
        and caller == caller.strip()
        and len(caller) <= MOST_CALLER
    ):
        mend = f"must be at most {MOST_CALLER} printable ASCII characters without spaces around them"
        raise InvalidSetting("rescorer_caller", caller, mend)
    return ((CALLER_KEY, caller),) if caller else ()


class Channels:
    """Counted channels: the last one to let go closes. ``open`` makes one from a target."""

    def __init__(self, open_channel: Callable[[Target], Any]) -> None:
        self._open = open_channel
        self._lock = threading.Lock()  # around the table only; opening does no I/O
        self._held: dict[Any, tuple[Any, int, Target]] = {}

    def __len__(self) -> int:
        """How many are open."""
        return len(self._held)

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


def opened(target: Target) -> grpc.Channel:
    """A channel of one's own, to be closed by whoever opens it."""
    if target.credentials is None:
        return grpc.insecure_channel(target.address, target.options)
    return grpc.secure_channel(target.address, target.credentials, target.options)


def _open_async(target: Target) -> grpc.aio.Channel:
    if target.credentials is None:
        return grpc.aio.insecure_channel(target.address, target.options)
    return grpc.aio.secure_channel(target.address, target.credentials, target.options)


SYNC = Channels(opened)
ASYNC = Channels(_open_async)


def sync_key(target: Target) -> tuple[Any, ...]:
    """What two clients must have in common to share a channel."""
    return (os.getpid(), target.address, id(target.credentials), target.server_name)


def async_key(target: Target) -> tuple[Any, ...]:
    """The same for asyncio, whose channels belong to one loop."""
    return (*sync_key(target), asyncio.get_running_loop())


def outlived(held: Iterable[tuple[Any, ...]], key: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Those of the keys whose credentials came before the last ones: what was under way then has ended.

    held: oldest first, ``key``, the newest, among them.
    """
    place = [*key[:2], *key[3:]]
    return [other for other in held if [*other[:2], *other[3:]] == place][:-2]


def is_of_this_process(key: tuple[Any, ...]) -> bool:
    """Whether a channel under this key was opened here, and not before a fork."""
    return bool(key[0] == os.getpid())


def is_of_this_loop(key: tuple[Any, ...]) -> bool:
    """The same for asyncio, whose loops each close their own."""
    return is_of_this_process(key) and key[-1] is asyncio.get_running_loop()
