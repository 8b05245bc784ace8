"""What the tests of the shipped files on real nodes share: the files under names of their own, and plain requests.

All names are made for one run and removed after it, so that a node stays as it was for other tests.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from opensearchpy import OpenSearch

from rescorer import templates
from rescorer.domain import Engine
from rescorer.templates import Change, Template

LOOPBACK = build_opener(ProxyHandler({}))


def asked(url: str, method: str, path: str, body: bytes | None = None) -> Any:
    """The node's JSON answer to a plain HTTP request; raises HTTPError where it refuses."""
    headers = {"Content-Type": "application/json"}
    with LOOPBACK.open(Request(url + path, data=body, headers=headers, method=method), timeout=60) as answer:  # noqa: S310 - loopback
        return json.load(answer)


class Renamed:
    """A copy of an engine's shipped files in which every name begins with a prefix of this test, and a client.

    The prefix keeps its index pattern apart from ``rescorer-*``, which other tests may have applied.
    """

    def __init__(self, folder: Path, engine: Engine, client: OpenSearch) -> None:
        self.folder = folder
        self.engine = engine
        self.client = client
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.index = f"{self.prefix}-articles"
        for entry in templates.shipped(engine):
            path = folder / Path(entry.source).parent / f"{self.named(entry.name)}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._body(templates.shipped_folder(engine).joinpath(entry.source).read_text()))

    def named(self, name: str) -> str:
        """The name under which a shipped file goes here."""
        return f"{self.prefix}-{name}"

    def _body(self, text: str) -> str:
        names = "|".join(re.escape(entry.name) for entry in templates.shipped(self.engine) if "-" in entry.name)
        text = re.sub(rf'"({names})"', lambda found: f'"{self.named(found[1])}"', text)
        return text.replace('"rescorer-*"', f'"{self.prefix}-*"')

    def read(self) -> list[Template]:
        """The files as they are now."""
        return templates.read(self.folder)

    def path(self, name: str) -> Path:
        """The file of a shipped name."""
        (found,) = self.folder.rglob(f"{self.named(name)}.json")
        return found

    def apply(self) -> list[templates.Difference]:
        """Send what differs."""
        return templates.apply(self.client, self.read(), self.engine)

    def changed(self) -> list[Change]:
        """Every single change that an ``apply`` would make."""
        return [change for difference in templates.diff(self.client, self.read()) for change in difference.changes]

    def mappings(self) -> dict[str, Any]:
        """Those of the index."""
        found: dict[str, Any] = self.client.indices.get_mapping(index=self.index)[self.index]["mappings"]
        return found

    def make_index(self) -> None:
        """A new index that the templates are for, with three documents."""
        self.apply()
        self.client.indices.create(index=self.index)
        for place, title in enumerate(["Cancelling flights", "The airport's cafés", "Booking a hotel"]):
            vector = [0.0] * 384
            vector[place] = 1.0
            self.client.index(
                index=self.index, id=str(place), body={"title": title, "body": "text", "embedding": vector}
            )
        self.client.indices.refresh(index=self.index)


@contextmanager
def on_node(url: str, engine: Engine, folder: Path) -> Iterator[Renamed]:
    """The files under names that are gone from the node afterwards; opensearch-py's client talks to both engines."""
    with OpenSearch(hosts=[url], timeout=60) as client:
        made = Renamed(folder / "templates", engine, client)
        yield made
        for name in client.indices.get_alias(index=f"{made.prefix}-*"):  # Elasticsearch wants each by its name
            client.indices.delete(index=name)
        for entry in reversed(made.read()):
            client.transport.perform_request("DELETE", entry.endpoint, params={"ignore": 404})
