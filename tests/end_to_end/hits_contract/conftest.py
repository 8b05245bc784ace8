"""Four ways to the same documents: see four_ways.py and corpus.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import elasticsearch
import opensearchpy
import pytest

from end_to_end.hits_contract import corpus
from end_to_end.hits_contract.four_ways import NAMES, Way
from rescorer.testing import FakeScorer


@pytest.fixture(scope="session")
def indices(opensearch_url: str, elasticsearch_url: str) -> dict[str, str]:
    """The address of each engine, with the contract's indices in it."""
    urls = {"opensearch": opensearch_url, "elasticsearch": elasticsearch_url}
    clients: dict[str, Any] = {
        "opensearch": opensearchpy.OpenSearch(opensearch_url, timeout=60),
        "elasticsearch": elasticsearch.Elasticsearch(elasticsearch_url, request_timeout=60),
    }
    for engine, client in clients.items():
        corpus.Indices(engine, client).make()
        client.close()
    return urls


@pytest.fixture(scope="session")
def open_ways(indices: dict[str, str]) -> Iterator[Callable[[str], Way]]:
    """A way by its name, with two clients that are opened once."""
    opened: dict[str, Way] = {}

    def way_of(name: str) -> Way:
        if name not in opened:
            opened[name] = Way(name, indices[name.partition("-")[0]], FakeScorer(corpus.logit))
        return _as_new(opened[name])

    yield way_of
    for way in opened.values():
        way.close()


def _as_new(way: Way) -> Way:
    way.scorer.__init__(corpus.logit)  # type: ignore[misc]  # what earlier tests asked and told is forgotten
    way.recording.sent.clear()
    return way


@pytest.fixture(params=NAMES)
def way(request: pytest.FixtureRequest, open_ways: Callable[[str], Way]) -> Way:
    """Each of the four ways."""
    return open_ways(request.param)


@pytest.fixture(params=["opensearch-sync", "opensearch-async"])
def opensearch(request: pytest.FixtureRequest, open_ways: Callable[[str], Way]) -> Way:
    """Both ways to OpenSearch, for what only OpenSearch has."""
    return open_ways(request.param)


@pytest.fixture(params=["elasticsearch-sync", "elasticsearch-async"])
def elastic(request: pytest.FixtureRequest, open_ways: Callable[[str], Way]) -> Way:
    """Both ways to Elasticsearch, for what only Elasticsearch has."""
    return open_ways(request.param)


@pytest.fixture
def engines(open_ways: Callable[[str], Way]) -> tuple[Way, Way]:
    """A way to OpenSearch and one to Elasticsearch, to be compared."""
    return open_ways("opensearch-sync"), open_ways("elasticsearch-sync")
