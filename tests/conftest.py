"""What the groups of tests share: a real node of each engine, started when the first test asks for it.

Properties are tried on the same inputs every time, and are not judged by the time that a busy machine takes;
``--hypothesis-profile=explore`` tries others. No library reports a test to its maker.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

FIXTURES = {"opensearch_url", "elasticsearch_url", "own_elasticsearch_url"}
ENGINES = Path(__file__).parent / "engines"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker ``engine`` known."""
    config.addinivalue_line("markers", "engine: asks for a real engine; set by itself, see tests/conftest.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses an engine's fixture, itself or through another, and all of ``tests/engines``: ``-m engine``."""
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())) or item.path.is_relative_to(ENGINES):
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """The base URL of a running OpenSearch node, which all tests of one run share; gone with its data after them."""
    yield from _node("opensearch", "tests")


@pytest.fixture(scope="session")
def elasticsearch_url() -> Iterator[str]:
    """The base URL of a running Elasticsearch node, which all tests of one run share; gone with its data after them."""
    yield from _node("elasticsearch", "tests-elasticsearch")


@pytest.fixture
def own_elasticsearch_url() -> Iterator[str]:
    """A node for one test, which may do to it what no other test could bear."""
    if os.environ.get("RESCORER_TEST_ELASTICSEARCH", "").startswith("http"):
        pytest.skip("somebody else looks after this node")
    yield from _node("elasticsearch", "tests-own-elasticsearch")


def _node(engine: str, name: str) -> Iterator[str]:
    """RESCORER_TEST_<ENGINE> may name another version, or the address of a node that somebody else looks after.

    Elasticsearch needs a JDK that no package index has; without one its tests are skipped, and say what to install.
    """
    from rescorer_lab import engines
    from rescorer_lab.errors import NoJavaError

    wanted = os.environ.get(f"RESCORER_TEST_{engine.upper()}")
    if wanted and wanted.startswith("http"):
        yield wanted
        return
    if wanted:
        name = f"{name}-{wanted.replace('.', '-')}"
    left = engines.find(name)
    if left is not None and not left.is_alive:
        shutil.rmtree(left.folder)  # of a run that was killed
    try:
        node = engines.up(engine, version=wanted, name=name, port=0, say=_quiet)
    except NoJavaError as error:
        pytest.skip(str(error))
    yield node.url
    engines.down(name, say=_quiet)
    shutil.rmtree(node.folder)


def _quiet(_: str) -> None:
    """Steps are told by the command, not by tests."""
