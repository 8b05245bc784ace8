"""An engine by its address: what answers there, a client for plain JSON, our client, errors as one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from rescorer.domain import Engine
from rescorer.errors import MissingExtra
from rescorer.scorers import Scorer
from rescorer_lab.errors import EngineError

HERE = "http://localhost:9200"
UNAUTHORIZED = 401
FORBIDDEN = 403
LONG_PASSWORD = 5
"""Characters from which on a password is taken out of words, too: ``http`` is no less readable without ``p``."""

ANY_STATUS = tuple(range(400, 600))
"""A node that refuses to say what it is says so in a header all the same."""


class Forbidden(EngineError):
    """The engine knows who asks, and does not let this user."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine answers, as an option of a command says it; raises EngineError where it is no address.

    url: with ``http://`` or without, with user and password or without, which are never shown.
    """

    url: str
    option: str = "--url"

    def __post_init__(self) -> None:
        mend = f"write it as {HERE}"
        try:
            parts = urlsplit(self.full)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise EngineError(f"{self.option} is no address: {error}", mend) from error
        if parts.scheme not in ("http", "https") or not host:
            raise EngineError(f"{self.option} is no http address", mend)

    @property
    def full(self) -> str:
        """The address with its scheme, as a client takes it."""
        return self.url if "://" in self.url else f"http://{self.url}"

    @property
    def shown(self) -> str:
        """The address as it may be shown, and as a command takes it: without user, password and query string."""
        parts = urlsplit(self.full)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    def masked(self, text: str) -> str:
        """A text on one line, without the address's password; a short one is masked where it is a word of its own."""
        secret = urlsplit(self.full).password
        found = " ".join(text.split())
        for hidden in {secret, unquote(secret)} if secret else ():
            edges = ("", "") if len(hidden) >= LONG_PASSWORD else (r"(?<!\w)", r"(?!\w)")
            found = re.sub(re.escape(hidden).join(edges), "***", found)
        return found


@contextmanager
def plain(address: Address, timeout_s: float = 30.0) -> Iterator[Any]:
    """A client that sends plain JSON to either engine; what goes wrong with its node becomes an EngineError."""
    try:
        from opensearchpy import ConnectionError as NoConnection
        from opensearchpy import OpenSearch, OpenSearchException, SSLError, TransportError
    except ImportError as error:
        raise MissingExtra("opensearch-py", "opensearch") from error
    shown = address.shown
    try:
        with OpenSearch(hosts=[address.full], timeout=timeout_s, max_retries=0) as client:
            yield client
    except SSLError as error:
        raise _not_trusted(shown, str(error)) from error
    except NoConnection as error:
        raise _unreachable(address, str(error)) from error
    except TransportError as error:
        file = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
        says = f"{shown} refuses{file}: {error.status_code} {reason(error)}"
        if error.status_code == FORBIDDEN:
            raise Forbidden(says) from error
        mend = "write user and password into the address: https://user:password@host:9200"
        raise EngineError(says, mend if error.status_code == UNAUTHORIZED else "") from error
    except OpenSearchException as error:
        raise EngineError(
            f"{shown} does not answer like an engine", f"name the engine with {address.option}"
        ) from error


def _not_trusted(shown: str, said: str) -> EngineError:
    if "WRONG_VERSION_NUMBER" in said or "record layer failure" in said:
        return EngineError(f"what answers at {shown} does not speak TLS", "write http:// in place of https://")
    mend = "name its authority's file with the variable SSL_CERT_FILE"
    return EngineError(f"the certificate of {shown} is not trusted", mend)


def _unreachable(address: Address, said: str) -> EngineError:
    if address.full.startswith("http:") and "Connection aborted" in said:
        mend = "where it speaks TLS, write https:// in place of http://"
        return EngineError(f"what answers at {address.shown} hangs up", mend)
    mend = f"name it with {address.option}, or start one: rescorer engine up opensearch"
    return EngineError(f"no engine answers at {address.shown}", mend)


def detected(client: Any) -> Engine:
    """Elasticsearch says in a header of each answer what it is, whatever the answer; all else is OpenSearch."""
    _, headers, _ = client.transport.get_connection().perform_request("GET", "/", ignore=ANY_STATUS)
    said = {name.lower(): value for name, value in headers.items()}
    return "elasticsearch" if said.get("x-elastic-product") == "Elasticsearch" else "opensearch"


def reason(error: Any) -> str:
    """The engine's own words on one line."""
    inner = error.info.get("error") if isinstance(error.info, dict) else None
    said = inner.get("reason") if isinstance(inner, dict) else inner
    return " ".join(str(said or error.error).split())


@contextmanager
def searching(
    address: Address, engine: Engine, scorer: str | Scorer, timeout_s: float = 10.0, lanes: int = 1
) -> Iterator[Any]:
    """Our own client for this engine, with a sidecar by its address or another scorer; the engine's errors, ours.

    lanes: searches at a time, each with a connection of its own.
    Raises MissingExtra where the engine's official client is not installed.
    """
    made, errors = _dropin(engine)
    names = ("timeout", "pool_maxsize") if engine == "opensearch" else ("request_timeout", "connections_per_node")
    more: dict[str, Any] = dict(zip(names, (timeout_s, lanes), strict=True))
    authority = os.environ.get("SSL_CERT_FILE")
    if authority and address.full.startswith("https"):
        more["ca_certs"] = authority  # opensearch-py reads the variable by itself, elasticsearch-py does not
    client = made(hosts=[address.full], rescorer=scorer, max_retries=0, **more)
    try:
        yield client
    except errors as error:
        raise EngineError(f"{address.shown} answers: {address.masked(str(error))}") from error
    finally:
        client.close()


def _dropin(engine: Engine) -> tuple[Any, tuple[type[Exception], ...]]:
    """Our class first, since it names the extra that may be missing; then what the official client raises."""
    if engine == "elasticsearch":
        from rescorer.elasticsearch import Elasticsearch

        return Elasticsearch, _errors_of_elasticsearch()
    from rescorer.opensearch import OpenSearch

    return OpenSearch, _errors_of_opensearch()


def _errors_of_elasticsearch() -> tuple[type[Exception], ...]:
    from elasticsearch import ApiError, TransportError

    return ApiError, TransportError


def _errors_of_opensearch() -> tuple[type[Exception], ...]:
    from opensearchpy import OpenSearchException

    return (OpenSearchException,)
