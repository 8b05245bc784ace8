"""An OpenAI-compatible endpoint that is asked many things at once; each answer is kept on disk, and asked for once.

## Decisions
2026-11: aiohttp, which the engines' clients bring, instead of the openai package: one POST is all that is needed, and
Ctrl-C ends what is in flight at once. SQLite keeps the answers: each is whole or not there, whatever ends the process.
2026-11: the key of an answer is model, settings and messages, not the address: a model may move, and nobody pays twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from rescorer_lab.errors import LabError

Messages = Sequence[Mapping[str, str]]

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
ONE_ALONE = {400, 413, 422}
"""The endpoint refuses this prompt; it may take others."""
MOST_REFUSED = 5
"""Refusals in a row from the first on after which nothing more is asked."""
MOST_WAIT_S = 60.0
SHOWN = 200


class EndpointError(LabError):
    """The endpoint does not answer, or refuses what it is asked."""


class _Again(Exception):
    """A failure that may pass; ``after_s`` is when the endpoint wants to be asked again, if it says so."""

    def __init__(self, said: str, after_s: float | None = None) -> None:
        self.said = said
        self.after_s = after_s
        super().__init__(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to ask, and how. ``url`` ends before ``/chat/completions``; ``settings`` go into each request's body.

    tries: how often one thing is asked before the endpoint counts as down. pause_s: the first wait between two tries;
    each further one is twice as long at most, by lot.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    settings: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0})
    at_once: int = 8
    tries: int = 5
    pause_s: float = 1.0
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the endpoint says, and the tokens that took, 0 where it does not tell. ``refused``: why it says nothing."""

    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: str = ""


class Kept:
    """Answers on disk; a context manager. LabError where the file is none or can't be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def get(self, key: str) -> Reply | None:
        """The answer, if it is there."""
        with self._told():
            row = self._file.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else Reply(**json.loads(row[0]))

    def put(self, key: str, reply: Reply) -> None:
        """Keep an answer; it is on disk when this returns."""
        told = {name: getattr(reply, name) for name in ("text", "prompt_tokens", "completion_tokens")}
        with self._told():
            self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(told)))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise LabError(f"{self._path} can't keep answers: {error}", "name another file with --kept") from error


def ask(endpoint: Endpoint, prompts: Sequence[Messages], kept: Kept, advance: Callable[[int], None]) -> list[Reply]:
    """A reply for each prompt, in their order; ``advance`` is told how many came. Equal prompts are asked once.

    A prompt that the endpoint refuses alone has a reply that says why. Raises EndpointError where it fails for good,
    with how many answers are kept; whatever ends this, what was answered is kept.
    """
    keys = [key_of(endpoint, prompt) for prompt in prompts]
    asking = _Asking(endpoint, dict(zip(keys, prompts, strict=True)), kept, advance)
    asyncio.run(asking.all())
    advance(len(keys) - len(asking.replies))
    return [asking.replies[key] for key in keys]


def key_of(endpoint: Endpoint, messages: Messages) -> str:
    """Under which an answer is kept."""
    asked = json.dumps([endpoint.model, endpoint.settings, list(messages)], sort_keys=True)
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()


class _Asking:
    """Workers of one loop, each of which takes the next prompt that is left, until none is or the endpoint fails."""

    def __init__(
        self, endpoint: Endpoint, prompts: Mapping[str, Messages], kept: Kept, advance: Callable[[int], None]
    ) -> None:
        self._endpoint, self._prompts, self._kept, self._advance = endpoint, prompts, kept, advance
        self._failed: EndpointError | None = None
        self.replies: dict[str, Reply] = {}

    async def all(self) -> None:
        """Fill ``replies``, by the prompts' keys; EndpointError where the endpoint fails for good."""
        for key in self._prompts:
            reply = self._kept.get(key)
            if reply is not None:
                self._note(key, reply)
        left = iter([key for key in self._prompts if key not in self.replies])
        headers = {"Authorization": f"Bearer {self._endpoint.key}"} if self._endpoint.key else {}
        limit = aiohttp.ClientTimeout(total=self._endpoint.timeout_s)
        async with aiohttp.ClientSession(headers=headers, timeout=limit, trust_env=True) as session:
            await asyncio.gather(*(self._work(session, left) for _ in range(self._endpoint.at_once)))
        if self._failed is not None:
            answered = sum(not reply.refused for reply in self.replies.values())
            have = f"{answered:,} of {len(self._prompts):,} answers are kept"
            mend = f"{have}: mend it and run the same again, and only the rest is asked"
            raise EndpointError(self._failed.what, mend) from self._failed

    async def _work(self, session: aiohttp.ClientSession, left: Iterator[str]) -> None:
        while self._failed is None and (key := next(left, None)) is not None:
            try:
                reply = await _persistent(session, self._endpoint, self._prompts[key])
            except EndpointError as error:
                self._failed = self._failed or error
                return
            if not reply.refused:
                self._kept.put(key, reply)
            self._note(key, reply)
            if len(self.replies) == MOST_REFUSED and all(one.refused for one in self.replies.values()):
                self._failed = EndpointError(f"{self._endpoint.url} refuses all it is asked: {reply.refused}")

    def _note(self, key: str, reply: Reply) -> None:
        self.replies[key] = reply
        self._advance(1)


async def _persistent(session: aiohttp.ClientSession, endpoint: Endpoint, prompt: Messages) -> Reply:
    """The answer to one prompt, asked again where that may help."""
    lengthening = wait_random_exponential(multiplier=endpoint.pause_s, max=MOST_WAIT_S)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        said = error.after_s if isinstance(error, _Again) else None
        return lengthening(state) if said is None else min(said, MOST_WAIT_S)

    try:
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(endpoint.tries), wait=wait, retry=retry_if_exception_type(_Again), reraise=True
        ):
            with attempt:
                return await _once(session, endpoint, prompt)
    except _Again as error:
        raise EndpointError(f"{endpoint.url} {error.said}, {endpoint.tries} times") from error
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _once(session: aiohttp.ClientSession, endpoint: Endpoint, prompt: Messages) -> Reply:
    body = {"model": endpoint.model, "messages": list(prompt), **endpoint.settings}
    try:
        async with session.post(f"{endpoint.url.rstrip('/')}/chat/completions", json=body) as response:
            text = await response.text(errors="replace")
    except TimeoutError as error:
        raise _Again(f"does not answer in {endpoint.timeout_s:g} s") from error
    except aiohttp.InvalidURL as error:
        raise EndpointError(f"{endpoint.url!r} is no address", "write it as http://localhost:8000/v1") from error
    except aiohttp.ClientError as error:
        raise _Again(f"can't be reached ({type(error).__name__})") from error
    if response.ok:
        return _reply(endpoint, text)
    said = f"answers {response.status} ({_message(endpoint, text)})"
    if response.status in AGAIN:
        raise _Again(said, _seconds(response.headers.get("Retry-After")))
    if response.status in ONE_ALONE:
        return Reply(refused=said)
    raise EndpointError(f"{endpoint.url} {said}")


def _reply(endpoint: Endpoint, text: str) -> Reply:
    try:
        found = json.loads(text)
        content = found["choices"][0]["message"]["content"] or ""
        usage = found.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        said = f"{endpoint.url} does not answer like an OpenAI-compatible endpoint"
        raise EndpointError(said, "name the address that ends before /chat/completions") from error
    return Reply(text=str(content), prompt_tokens=tokens[0], completion_tokens=tokens[1])


def _message(endpoint: Endpoint, text: str) -> str:
    """The endpoint's own words on one line, without the key."""
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        text = str(json.loads(text)["error"]["message"])
    line = " ".join(text.split())[:SHOWN]
    return line.replace(endpoint.key, "***") if endpoint.key else line


def _seconds(said: str | None) -> float | None:
    """The header Retry-After in seconds; None where it is missing or a date."""
    return float(said) if said is not None and said.isdecimal() else None
