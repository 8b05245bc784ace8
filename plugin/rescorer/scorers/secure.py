"""Credentials as gRPC takes them: a channel's, and a token in the metadata of each call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import grpc

from rescorer.credentials import SYSTEM, Credentials, content
from rescorer.errors import InvalidCredentials
from rescorer.scorers import channels
from rescorer.scorers.channels import Target

AUTHORIZATION = "authorization"
Given: TypeAlias = Credentials | grpc.ChannelCredentials | None
Metadata: TypeAlias = tuple[tuple[str, str], ...]


def targets(
    named: str | Sequence[str], given: Given = None, metadata: Sequence[tuple[str, str]] = ()
) -> tuple[Target, ...]:
    """A target for each address, as :func:`rescorer.scorers.channels.targets`, with these credentials.

    InvalidCredentials where a file can't be read, or where a token would travel in plain text to another machine.
    """
    if not isinstance(given, Credentials):
        return channels.targets(named, given, metadata)
    shows_one = any(key == AUTHORIZATION for key, _ in metadata)  # by itself; a second one would be refused
    together = (*metadata, *(() if shows_one else bearer(given)))
    found = channels.targets(named, spoken(given), together, given.server_name)
    if together != tuple(metadata) and not given.roots and not given.insecure:
        for target in found:
            if not target.is_here:
                mend = "give roots, or say insecure=True where the network itself is safe"
                raise InvalidCredentials(
                    "rescorer_credentials.token", f"would travel to {target.address} in plain text; {mend}"
                )
    return found


def spoken(given: Credentials) -> grpc.ChannelCredentials | None:
    """The channel's credentials, the same object for the same files, so that clients share channels; None is plain."""
    if not given.roots:
        return None
    roots = None if given.roots == SYSTEM else content("roots", given.roots)
    key = content("key", given.key) if given.key else None
    return _spoken(roots, key, content("certificate", given.certificate) if given.certificate else None)


def bearer(given: Credentials) -> Metadata:
    """The metadata that show the token; none where there is none."""
    token = given.bearer()
    return ((AUTHORIZATION, f"Bearer {token}"),) if token else ()


@lru_cache(maxsize=32)
def _spoken(roots: bytes | None, key: bytes | None, certificate: bytes | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(roots, key, certificate)
