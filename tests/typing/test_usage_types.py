"""The types that users see: mypy --strict over a small application."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

pytestmark = pytest.mark.slow

APPLICATION = """
import opensearchpy

from rescorer.config import RescoreSettings
from rescorer.opensearch import AsyncOpenSearch, OpenSearch
from rescorer.testing import FakeScorer

client = OpenSearch(hosts=["http://localhost:9200"], rescorer=FakeScorer())
plain: opensearchpy.OpenSearch = client
asynchronous: opensearchpy.AsyncOpenSearch = AsyncOpenSearch(rescorer="localhost:50051")
vectors: list[list[float]] = client.embed(["a", "b"])
size: int = RescoreSettings().window_size
"""


def _findings(folder: Path, text: str) -> str:
    path = folder / "application.py"
    path.write_text(text)
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(folder / "cache"), str(path)]
    return api.run(options)[0]


def test_an_application_with_our_classes_is_typed(tmp_path: Path) -> None:
    """Our classes pass for the official ones under mypy --strict, with no cast and no ignore."""
    assert _findings(tmp_path, APPLICATION).startswith("Success")


def test_a_wrong_use_is_found(tmp_path: Path) -> None:
    """mypy sees a wrong argument, so the typing marker is really in force."""
    assert "arg-type" in _findings(tmp_path, APPLICATION + "\nclient.embed(3)\n")
