"""What the groups of tests share: a real node of each engine, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """The base URL of a running OpenSearch node, which all tests of one run share; stopped at their end."""
    yield from _node("opensearch", "tests")


@pytest.fixture(scope="session")
def elasticsearch_url() -> Iterator[str]:
    """The base URL of a running Elasticsearch node, which all tests of one run share; stopped at their end."""
    yield from _node("elasticsearch", "tests-elasticsearch")


def _node(engine: str, name: str) -> Iterator[str]:
    from rescorer_lab import engines

    yield engines.up(engine, name=name, port=0, say=lambda line: None).url
    engines.down(name, say=lambda line: None)
