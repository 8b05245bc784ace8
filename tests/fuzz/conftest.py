"""What a run of the fuzz tests begins and ends with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from fuzz import counts, doors, readers


@pytest.fixture(scope="session", autouse=True)
def nothing_stays() -> Iterator[None]:
    """The sidecar's doors are shut when the last test is over, and the files are gone."""
    yield
    doors.shut()
    if readers.folder.cache_info().currsize:
        shutil.rmtree(readers.folder())
        readers.folder.cache_clear()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many inputs each target saw."""
    if counts.SEEN:
        told = ", ".join(f"{name} {count}" for name, count in counts.SEEN.items())
        terminalreporter.write_line(f"fuzz: {counts.SEEN.total():,} inputs: {told}")
