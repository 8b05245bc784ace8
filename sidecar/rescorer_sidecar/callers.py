"""Who asks: what fair shares and quotas go by, and what metrics may name.

## Decisions
2026-11: a name that was authenticated is believed before one that is only said, and both before the address. Behind a
load balancer every caller has one address, so that a name that is said is better than none; it is no protection against
callers who lie, which tokens are.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol
from urllib.parse import unquote

AUTHENTICATED: ContextVar[str] = ContextVar("authenticated caller", default="")
"""The name that a token or a certificate proved for this call; empty where nothing did."""

CALLER_KEY = "rescorer-caller"
"""The metadata of a call in which it says who asks."""

MOST_CHARACTERS = 64


class Call(Protocol):
    """What is read of a gRPC call."""

    def invocation_metadata(self) -> object:
        """Pairs of key and value, or None."""
        ...

    def peer(self) -> str:
        """Where the call comes from, such as ``ipv4:127.0.0.1:40000``."""
        ...


def caller_of(call: Call) -> str:
    """A call's caller in at most 64 printable characters: as authenticated, else as it says, else its address."""
    name = AUTHENTICATED.get() or _said(call)
    return _bounded(name) or _bounded(address_of(call.peer())) or "unknown"


def address_of(peer: str) -> str:
    """A peer's address without its port, which every connection has another of; ``unix`` for a socket of this machine.

    An address of version 6 comes with its brackets escaped.
    """
    kind, _, where = peer.partition(":")
    return unquote(where).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind


def _said(call: Call) -> str:
    pairs = call.invocation_metadata()
    values = [value for key, value in pairs if key == CALLER_KEY] if isinstance(pairs, tuple | list) else []
    return next((value for value in values if isinstance(value, str)), "")


def _bounded(name: str) -> str:
    return "".join(filter(str.isprintable, name)).strip()[:MOST_CHARACTERS]
