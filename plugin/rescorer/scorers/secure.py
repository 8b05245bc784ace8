"""Credentials as gRPC takes them: a channel's, and a token in the metadata of each call."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import grpc

from rescorer.credentials import SYSTEM, Credentials, content
from rescorer.errors import InvalidCredentials
from rescorer.scorers import channels
from rescorer.scorers.channels import Target

_log = logging.getLogger(__name__)
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
    plain = channels.targets(named, spoken(given), metadata)
    shows_one = any(key == AUTHORIZATION for key, _ in metadata)  # by itself; a second one would be refused
    shown = tuple if shows_one else Shown(given)
    if shown() and not given.roots and not given.insecure:
        for target in plain:
            if not target.is_here:
                mend = "give roots, or say insecure=True where the network itself is safe"
                raise InvalidCredentials(
                    "rescorer_credentials.token", f"would travel to {target.address} in plain text; {mend}"
                )
    return tuple(replace(target, server_name=given.server_name, shown=shown) for target in plain)


class Shown:
    """The metadata that show a token, none where there is none. A file of it is read again when it changes.

    InvalidCredentials when it is made and its file can't be used; later on the token before is sent, with a log line.
    """

    def __init__(self, given: Credentials) -> None:
        self._given = given
        self._looks = self._look()
        self._headers = self._read()

    def __call__(self) -> Metadata:
        """As the file is now."""
        looks = self._look()
        if looks != self._looks:
            self._looks = looks
            try:
                self._headers = self._read()
            except InvalidCredentials as error:
                _log.warning("%s; the token before is sent on", error)
        return self._headers

    def _read(self) -> Metadata:
        token = self._given.bearer()
        return ((AUTHORIZATION, f"Bearer {token}"),) if token else ()

    def _look(self) -> object:
        if not self._given.token_file:
            return None
        try:
            found = Path(self._given.token_file).stat()
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_size, found.st_ino


def spoken(given: Credentials) -> grpc.ChannelCredentials | None:
    """The channel's credentials, the same object for the same files, so that clients share channels; None is plain."""
    if not given.roots:
        return None
    roots = None if given.roots == SYSTEM else content("roots", given.roots)
    key = content("key", given.key) if given.key else None
    return _spoken(roots, key, content("certificate", given.certificate) if given.certificate else None)


@lru_cache(maxsize=32)
def _spoken(roots: bytes | None, key: bytes | None, certificate: bytes | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(roots, key, certificate)
