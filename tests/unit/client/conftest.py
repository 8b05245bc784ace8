"""What the client's tests share: each class of ours in turn, with a fake scorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rescorer.testing import FakeScorer
from unit.client import fake_clients
from unit.client.fake_engine import FakeEngine, reversing


@pytest.fixture
def scorer() -> FakeScorer:
    """Turns the first stage round."""
    return FakeScorer(reversing)


@pytest.fixture(params=fake_clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each class of ours in turn."""
    return str(request.param)


@pytest.fixture
def made(kind: str, scorer: FakeScorer) -> Callable[..., Any]:
    """Makes a client of the kind around an engine in memory."""

    def make(engine: FakeEngine, **kwargs: Any) -> Any:
        return fake_clients.made(kind, engine, **{"scorer": scorer, **kwargs})

    return make
