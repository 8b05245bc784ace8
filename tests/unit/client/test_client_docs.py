"""docs/client.md names everything that an answer can say and everything that can be set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rescorer.config import RescoreSettings
from rescorer.domain import Outcome
from rescorer.errors import Reason

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "client.md").read_text(encoding="utf-8")


def test_every_reason_is_explained() -> None:
    """Each reason that an outcome can hold stands on the page."""
    assert [reason for reason in Reason if f"`{reason}`" not in PAGE] == []


def test_every_setting_is_explained() -> None:
    """Each key of the settings stands on the page."""
    assert [field.name for field in dataclasses.fields(RescoreSettings) if f"`{field.name}`" not in PAGE] == []


def test_every_key_of_the_outcome_is_explained() -> None:
    """Each key of ``response["rescore"]`` stands on the page."""
    assert [key for key in Outcome(status="reranked").as_dict() if f"`{key}`" not in PAGE] == []
