"""Credentials as gRPC takes them: a channel's, and a token in the metadata of each call.

## Decisions
2026-11: :class:`Renewed` is the twin of the sidecar's ``Watched``: neither package imports the other, and both are
small. Files are looked at with each call, which costs some microseconds. A certificate that is renewed every hour, or
a token, is in force with the next search.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import grpc

from rescorer.credentials import SYSTEM, Credentials, content
from rescorer.errors import InvalidCredentials
from rescorer.scorers import channels
from rescorer.scorers.channels import Target

_log = logging.getLogger(__name__)
AUTHORIZATION = "authorization"
Given: TypeAlias = Credentials | grpc.ChannelCredentials | None
Metadata: TypeAlias = tuple[tuple[str, str], ...]
T = TypeVar("T")


def targets(
    named: str | Sequence[str], given: Given = None, metadata: Sequence[tuple[str, str]] = ()
) -> tuple[Target, ...]:
    """A target for each address, as :func:`rescorer.scorers.channels.targets`, with these credentials.

    InvalidCredentials where a file can't be read, or where a token would travel in plain text to another machine.
    """
    if not isinstance(given, Credentials):
        return channels.targets(named, given, metadata)
    speaks = Renewed([given.roots, given.certificate, given.key], partial(spoken, given))
    plain = channels.targets(named, speaks(), metadata)
    shows_one = any(key == AUTHORIZATION for key, _ in metadata)  # by itself; a second one would be refused
    shown = tuple if shows_one else Renewed([given.token_file], partial(_headers, given))
    if shown() and not given.roots and not given.insecure:
        for target in plain:
            if not target.is_here:
                mend = "give roots, or say insecure=True where the network itself is safe"
                raise InvalidCredentials(
                    "rescorer_credentials.token", f"would travel to {target.address} in plain text; {mend}"
                )
    return tuple(replace(target, server_name=given.server_name, shown=shown, speaks=speaks) for target in plain)


class Renewed(Generic[T]):
    """What ``read`` makes of some files, and makes again when one of them changes; an empty name is no file.

    InvalidCredentials when it is made and a file can't be used; later on what was read before stays, with a log line.
    """

    def __init__(self, files: Sequence[str], read: Callable[[], T]) -> None:
        self._files = [Path(name) for name in files if name not in ("", SYSTEM)]
        self._read = read
        self._looks = self._look()
        self._value = read()

    def __call__(self) -> T:
        """As the files are now."""
        looks = self._look()
        if looks != self._looks:
            self._looks = looks
            try:
                self._value = self._read()
            except InvalidCredentials as error:
                _log.warning("%s; what was read before stays in use", error)
        return self._value

    def _look(self) -> list[object]:
        return [_look(path) for path in self._files]


def _look(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def _headers(given: Credentials) -> Metadata:
    token = given.bearer()
    return ((AUTHORIZATION, f"Bearer {token}"),) if token else ()


def spoken(given: Credentials) -> grpc.ChannelCredentials | None:
    """The channel's credentials, the same object for the same files, so that clients share channels; None is plain.

    InvalidCredentials where a file can't be read, or key and certificate are no pair: one was renewed before the other.
    """
    if not given.roots:
        return None
    roots = None if given.roots == SYSTEM else content("roots", given.roots)
    key = content("key", given.key) if given.key else None
    certificate = content("certificate", given.certificate) if given.certificate else None
    if certificate:
        _check_pair(given)
    return _spoken(roots, key, certificate)


def _check_pair(given: Credentials) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(given.certificate, given.key, password="")
    except (ssl.SSLError, OSError) as error:
        why = f"{given.key} is not the key of {given.certificate}: {error.strerror or error}"
        raise InvalidCredentials("rescorer_credentials.key", why) from error


@lru_cache(maxsize=32)
def _spoken(roots: bytes | None, key: bytes | None, certificate: bytes | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(roots, key, certificate)
