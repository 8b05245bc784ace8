"""Connections to a Redis or Valkey server: made in the background, one command list at a time on each.

Nothing here is retried and nothing has a time-out of its own but making a connection; who asks says how long he waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rescorer_sidecar import masking
from rescorer_sidecar.errors import ConfigError, MissingExtra

CONNECT_S = 1.0
SCHEMES = ("redis", "rediss", "unix")
OPTIONS = ("db",)
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

Command = tuple[bytes | str | int, ...]


def checked(address: str) -> str:
    """The address, if it is one; ConfigError says what is wrong with it and repeats no password."""
    told = masking.url(address)
    try:
        parts = urlsplit(address)
        port, options = parts.port, parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ConfigError(f"shared_cache: {told} is no address; write redis://host:6379/0") from error
    place = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in SCHEMES or not place or port == 0:
        raise ConfigError(
            f"shared_cache: {told} is no address; write redis://user:password@host:6379/0, rediss:// for TLS, or "
            "unix:///path/to.sock; in a password write %3A for a colon, %40 for @ and %2F for a slash"
        )
    _check_options(told, parts.scheme, options)
    database = options.get("db", [""])[0] or (parts.path.strip("/") if parts.scheme != "unix" else "")
    if database and not (database.isascii() and database.isdecimal()):
        raise ConfigError(f"shared_cache: {told}: the database must be a whole number")
    return address


def _check_options(told: str, scheme: str, options: Mapping[str, Sequence[str]]) -> None:
    known = (*OPTIONS, *FILES) if scheme == "rediss" else OPTIONS
    for name, values in options.items():
        if name not in known:
            raise ConfigError(f"shared_cache: {told}: an option is not known; known here: {', '.join(known)}")
        if name in FILES and not Path(values[0]).is_file():
            raise ConfigError(f"shared_cache: {name}={values[0]}: no such file")


class Link:
    """One connection, which belongs to whoever asks until all answers are read."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ask(self, *commands: Command) -> list[Any]:
        """The answer to each command; a refusal of the server stands in its place as the error it is."""
        from redis.exceptions import ResponseError

        await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await self._connection.read_response())
            except ResponseError as refused:
                answers.append(refused)
        return answers

    async def close(self) -> None:
        """Let go of the socket without a word to the server."""
        await self._connection.disconnect(nowait=True)


class Links:
    """So many connections at most, ready or in use; owned by the event loop."""

    def __init__(self, address: str, most: int) -> None:
        try:
            from redis.asyncio import ConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ModuleNotFoundError as error:
            raise MissingExtra("redis", "redis") from error
        self._made_by = ConnectionPool.from_url(
            checked(address),
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=CONNECT_S,
        )
        self._most = most
        self._count = 0
        self._ready: asyncio.LifoQueue[Link] = asyncio.LifoQueue()

    @property
    def count(self) -> int:
        """Connections that were made and not lost since."""
        return self._count

    async def greet(self) -> None:
        """Make what is missing, and hear from the server on each; raises what redis raises, or TimeoutError."""
        while self._count < self._most:
            connection = self._made_by.make_connection()  # type: ignore[no-untyped-call]
            link = Link(connection)
            try:
                async with asyncio.timeout(CONNECT_S):
                    await connection.connect()
                    _check_greeting(*await link.ask(("PING",)))
            except BaseException:
                await link.close()
                raise
            self._count += 1
            self._ready.put_nowait(link)

    async def take(self) -> Link:
        """A connection, as soon as one is free; give it back, or lose it."""
        return await self._ready.get()

    def give_back(self, link: Link) -> None:
        """It has no answer outstanding."""
        self._ready.put_nowait(link)

    async def lose(self, link: Link) -> None:
        """It failed, or an answer on it is not waited for."""
        self._count -= 1
        await link.close()

    async def lose_all(self) -> None:
        """Close what is not in use."""
        while not self._ready.empty():
            await self.lose(self._ready.get_nowait())


def _check_greeting(answer: object) -> None:
    if isinstance(answer, Exception):
        raise answer
    if answer != b"PONG":
        raise ConnectionError("what listens there is neither Redis nor Valkey")
