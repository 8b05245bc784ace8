"""One house for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.doors.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Certificates of an authority of its own."""
    return House(tmp_path)
