"""What the groups of tests share: one real engine node, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """The base URL of a running OpenSearch node, which all tests of one run share; stopped at their end."""
    from rescorer_lab import engines

    name = "tests"
    node = engines.up("opensearch", name=name, port=0, say=lambda line: None)
    yield node.url
    engines.down(name, say=lambda line: None)
