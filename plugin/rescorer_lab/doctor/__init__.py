"""Whether a stack is in order: engine, sidecar, templates, one index, and a search through all of it.

Each room yields findings, in the order in which they are worth reading, and says so where another finding makes a thing
impossible to look at. Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rescorer.errors import RescorerError
from rescorer_lab import connect
from rescorer_lab.connect import Address, Forbidden
from rescorer_lab.doctor import engine, index, sidecar, stored, trial
from rescorer_lab.doctor.findings import Finding, unknown, wrong
from rescorer_lab.doctor.trial import Way
from rescorer_lab.errors import EngineError

__all__ = ["Finding", "Wishes", "examined"]

PATIENCE_S = 4.0
"""How long one silent host may cost."""

RIGHTS = {
    "index": "let the application's user read the index and its mapping: "
    "read and view_index_metadata on Elasticsearch, read and indices:admin/mappings/get on OpenSearch",
    "search": "let this user search the index",
}
"""What mends a refusal to this user. Templates are the business of another."""

ODD = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an answer of another shape ends in. Proxies and half an engine give such; each gets its line."""

T = TypeVar("T")
_Room = Callable[[Any], Generator[Finding, None, T]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What to look at. index None: the one index that has a profile. folder None: the templates that come along."""

    engine: Address
    sidecar: str
    index: str | None = None
    folder: Path | None = None


def examined(wishes: Wishes) -> Iterator[Finding]:
    """Every finding, each as soon as it is known."""
    there = yield from _guarded("engine", wishes, lambda client: engine.examined(client, wishes.engine))
    served = yield from sidecar.examined(wishes.sidecar, PATIENCE_S)
    if there is None:
        yield unknown("index", "neither templates nor an index can be looked at without the engine")
        return
    meant = stored.Meant(wishes.folder, wishes.index, wishes.engine)
    yield from _guarded("templates", wishes, lambda client: stored.examined(client, there, meant))
    found = yield from _guarded("index", wishes, lambda client: index.examined(client, there, wishes.index, served))
    if found is None:
        return
    if not there.has_client:
        yield unknown("search", "can't be tried without the official client")
        return
    way = Way(there.engine, wishes.engine, wishes.sidecar, served)
    yield from _guarded("search", wishes, lambda client: trial.examined(client, found, way))


def _guarded(name: str, wishes: Wishes, room: _Room[T]) -> Generator[Finding, None, T | None]:
    """What a room finds, and in one line what the engine has against being asked."""
    address = wishes.engine
    try:
        with connect.plain(address, PATIENCE_S) as client:
            return (yield from room(client))
    except Forbidden as error:
        if name == "templates":
            yield unknown(
                name, f"can't be compared: {address.masked(error.what)}", "ask with a user that may read them"
            )
        else:
            yield wrong(name, address.masked(error.what), RIGHTS.get(name, ""))
        return None
    except EngineError as error:
        yield wrong(name, address.masked(error.what), error.mend)
        return None
    except RescorerError as error:
        yield wrong(name, address.masked(str(error)))
        return None
    except ODD as error:
        says = f"{address.shown} answers in a form that no engine has ({type(error).__name__}: {error})"
        yield wrong(name, address.masked(says), f"name the engine with {address.option}")
        return None
