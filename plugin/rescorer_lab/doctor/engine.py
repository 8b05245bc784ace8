"""The engine: which it is, its licence, and whether its official Python client fits it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from rescorer.domain import Engine
from rescorer.errors import MissingExtra
from rescorer_lab import connect
from rescorer_lab.connect import Address
from rescorer_lab.doctor.findings import Finding, ok, unknown, wrong
from rescorer_lab.engines import releases
from rescorer_lab.errors import EngineError

PACKAGE: Mapping[Engine, str] = {"opensearch": "opensearch-py", "elasticsearch": "elasticsearch"}
NAME: Mapping[Engine, str] = {"opensearch": "OpenSearch", "elasticsearch": "Elasticsearch"}
OLDEST_OPENSEARCH_CLIENT = 3
PAID = ("enterprise", "trial")
"""Licences that have Elasticsearch's own RRF, linear and reranking retrievers."""

LACKS = 'no RRF, linear or reranking retrievers of the engine\'s own: the client fuses ("fusion": "rrf") and rescores'


@dataclass(frozen=True, slots=True)
class There:
    """What answers, and whether the Python client for it can be used."""

    engine: Engine
    version: str
    has_client: bool
    address: Address


def examined(client: Any, address: Address) -> Generator[Finding, None, There]:
    """Three findings at most; raises EngineError where nothing answers or it refuses."""
    kind = connect.detected(client)
    said = client.transport.perform_request("GET", "/", params={"ignore": connect.FORBIDDEN})
    version = _version(said, address)
    yield _named(kind, version, address)
    if kind == "elasticsearch":
        yield from _licence(client)
    of_client = _client(kind, _major(version))
    yield of_client
    return There(kind, version, of_client.status != "wrong", address)


def _version(said: Any, address: Address) -> str:
    """The number; empty where it is refused to this user. Raises EngineError where no engine says such a thing."""
    found = said if isinstance(said, Mapping) else {}
    if found.get("status") == connect.FORBIDDEN:
        return ""
    number = found["version"].get("number") if isinstance(found.get("version"), Mapping) else None
    if not isinstance(number, str):
        mend = f"name the engine with {address.option}"
        raise EngineError(f"{address.shown} does not answer like an engine", mend)
    return number


def _named(kind: Engine, version: str, address: Address) -> Finding:
    if not version:
        return unknown("engine", f"{NAME[kind]} at {address.shown}, which does not tell this user its version")
    says = f"{NAME[kind]} {version} at {address.shown}"
    tried = [release.version for release in releases.RELEASES if release.engine == kind]
    if _major(version) in map(_major, tried):
        return ok("engine", says)
    return unknown("engine", says, f"rescorer is tested with {', '.join(tried)}: try it before you rely on it")


def _licence(client: Any) -> Iterator[Finding]:
    answer = client.transport.perform_request("GET", "/_license", params={"ignore": [400, 403, 404, 405]})
    licence = answer.get("license") if isinstance(answer, Mapping) else None
    if not isinstance(licence, Mapping):
        yield unknown("licence", "this node does not tell this user its licence")
        return
    kind, status = str(licence.get("type")), licence.get("status")
    if status != "active":
        yield wrong(
            "licence", f"{kind}, and it is {status}", "renew it, or go back to basic, which rescorer needs no more"
        )
    elif kind in PAID:
        until = str(licence.get("expiry_date", ""))[:10]
        yield ok("licence", f"{kind}: every retriever" + (f" until {until}, then {LACKS}" if kind == "trial" else ""))
    else:
        yield ok("licence", f"{kind}: {LACKS}")


def _client(kind: Engine, server: int) -> Finding:
    package = PACKAGE[kind]
    try:
        _imported(kind)
    except MissingExtra as error:
        return wrong(
            "client", f"{package} (or its asyncio part) is not installed", f"pip install 'rescorer[{error.extra}]'"
        )
    version = metadata.version(package)
    have = _major(version)
    if kind == "opensearch":
        if have < OLDEST_OPENSEARCH_CLIENT:
            return wrong("client", f"{package} {version} is too old", "pip install 'opensearch-py[async]>=3'")
        return ok("client", f"{package} {version}")
    if not server:
        return unknown("client", f"{package} {version}", "see that it is of the server's major version")
    if have == server:
        return ok("client", f"{package} {version}")
    if have == server - 1:
        return ok("client", f"{package} {version}, in compatibility mode with {server}.x")
    mend = f"pip install 'elasticsearch[async]>={server},<{server + 1}'"
    return wrong("client", f"{package} {version} does not fit Elasticsearch {server}.x", mend)


def _imported(kind: Engine) -> None:
    if kind == "elasticsearch":
        import rescorer.elasticsearch
    else:
        import rescorer.opensearch  # noqa: F401


def _major(version: str) -> int:
    first = version.split(".", maxsplit=1)[0]
    return int(first) if first.isdecimal() else 0
