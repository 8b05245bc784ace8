"""Measured costs: what is written comes back for the same model on the same machine, and for no other."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescorer_sidecar import costs
from rescorer_sidecar.costs import Costs
from rescorer_sidecar.domain import ModelCard
from rescorer_sidecar.errors import ConfigError

CARD = ModelCard(
    name="tiny",
    digest="d1",
    kind="cross-encoder",
    max_tokens=64,
    dimension=0,
    backend="native",
    device="cpu",
    precision="bf16",
)
FIGURES = st.floats(0, 1e9)


def measured(**other: object) -> Costs:
    """A measurement of ``CARD`` on this machine."""
    given_here = {
        "digest": "d1",
        "machine": costs.machine(),
        "backend": "native",
        "device": "cpu",
        "precision": "bf16",
        "fixed_ms": 2.0,
        "us_per_token": 100.0,
        "load_ms": 900.0,
    }
    return Costs(**{**given_here, **other})  # type: ignore[arg-type]  # as named above


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("RESCORER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@given(fixed_ms=FIGURES, us_per_token=FIGURES, load_ms=FIGURES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again(tmp_path: Path, fixed_ms: float, us_per_token: float, load_ms: float) -> None:
    """Every measurement comes back as it was, and the later one of two of the same kind."""
    costs.write(tmp_path, measured(fixed_ms=7.0))
    given_here = measured(fixed_ms=fixed_ms, us_per_token=us_per_token, load_ms=load_ms)
    assert costs.write(tmp_path, given_here) == tmp_path / costs.FILE
    assert costs.read(tmp_path, CARD) == given_here
    assert len(json.loads((tmp_path / costs.FILE).read_text())["costs"]) == 1


@pytest.mark.parametrize("part", ["digest", "machine", "backend", "device", "precision"])
def test_a_cost_of_another_model_machine_or_precision_is_not_taken(tmp_path: Path, part: str) -> None:
    """What was measured otherwise stays in the file and answers nobody else."""
    costs.write(tmp_path, measured(**{part: "other"}))
    assert costs.read(tmp_path, CARD) is None
    costs.write(tmp_path, measured())
    assert costs.read(tmp_path, CARD) == measured()
    assert len(json.loads((tmp_path / costs.FILE).read_text())["costs"]) == 2


def test_a_folder_that_cannot_be_written_keeps_its_costs_in_the_cache(tmp_path: Path, cache: Path) -> None:
    """A model that can't be written to is measured all the same, and found again: a file in its place stands for it."""
    blocked = tmp_path / "model"
    blocked.write_text("no folder")
    path = costs.write(blocked, measured())
    assert path.is_relative_to(cache)
    assert costs.read(tmp_path / "elsewhere", CARD) == measured()


def test_where_nothing_can_be_written_the_error_names_file_and_way_out(tmp_path: Path, cache: Path) -> None:
    """Neither the folder nor the cache: one line with the file and the variable that moves it."""
    cache.write_text("no folder")
    blocked = tmp_path / "model"
    blocked.write_text("no folder")
    with pytest.raises(ConfigError, match=r"d1\.json can't be written.*RESCORER_CACHE"):
        costs.write(blocked, measured())


@pytest.mark.parametrize(
    "content",
    ["{ not json", "[]", "{}", '{"costs": [1]}', '{"costs": [{"digest": "d1"}]}', b"\xff\xfe".decode("latin-1")],
)
def test_a_broken_file_is_told_and_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """Whatever the file holds, the model is served; the log names the file and the command that mends it."""
    (tmp_path / costs.FILE).write_text(content, encoding="latin-1")
    with caplog.at_level(logging.WARNING):
        assert costs.read(tmp_path, CARD) is None
    assert f"{tmp_path / costs.FILE} holds no costs" in caplog.text
    assert "rescorer models bench" in caplog.text


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "2", None, True])
@pytest.mark.parametrize("figure", ["fixed_ms", "us_per_token", "load_ms"])
def test_a_figure_that_is_no_cost_is_refused(figure: str, value: object) -> None:
    """No negative, infinite or missing figure becomes a cost."""
    with pytest.raises(ValueError, match=figure):
        measured(**{figure: value})


@given(tokens=st.integers(0, 10**6), more=st.integers(0, 10**6))
def test_more_tokens_never_cost_less(tokens: int, more: int) -> None:
    """The expected time grows with the tokens and begins at the fixed part."""
    assert measured().request_ms(0) == 2.0
    assert measured().request_ms(tokens) <= measured().request_ms(tokens + more)


def test_the_machine_is_named_with_its_cores() -> None:
    """Another processor, or fewer cores of it, is another machine."""
    assert costs.machine().endswith((f"{len(os.sched_getaffinity(0))} cores", "1 core"))
    assert dataclasses.replace(measured(), machine="another") != measured()
