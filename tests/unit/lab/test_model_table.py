"""The tables of docs/models.md: made by their command, from what this version runs and from what was measured."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from rescorer_lab import cli, model_table
from rescorer_sidecar.backends import encoder
from shape.source import ROOT

PAGE = ROOT / "docs" / "models.md"
MEASURED = ROOT / "docs" / "models.measured.json"
KNOWN = tomllib.loads(model_table.FACTS.read_text(encoding="utf-8"))["model"]


def test_the_page_is_what_the_command_makes() -> None:
    """No figure or family of the page was written by hand: the command would change nothing."""
    page = PAGE.read_text(encoding="utf-8")
    assert model_table.renewed(page, model_table.read(MEASURED)) == page


def test_every_family_of_this_version_is_named() -> None:
    """A family that is added to the sidecar is in the table without anybody's doing."""
    told = model_table.tables([])
    assert all(f"`{name}`" in told for name in encoder.FAMILIES)


@pytest.mark.parametrize("model", KNOWN, ids=lambda model: model["name"])
def test_each_known_model_says_what_a_reader_needs(model: dict[str, object]) -> None:
    """Name of the hub, languages, limit, licence and size; and no well-known encoder falls back to padding."""
    assert {"name", "languages", "limit", "licence", "millions", "config"} <= set(model)
    assert str(model["name"]).count("/") == 1
    how = model_table.how(model["config"], own_code=bool(model.get("own_code")))  # type: ignore[arg-type]
    assert how.startswith(("packed", "decoder", "not:"))


def test_a_model_of_no_described_family_is_padded() -> None:
    """What is not described runs through transformers, and its work is not known."""
    config = {"model_type": "mpnet", "hidden_size": 8}
    assert (model_table.how(config), model_table.work(config)) == ("padded, transformers", None)


def test_work_is_told_beside_minilm() -> None:
    """MiniLM-L12 is 1, and half of its layers are half of its work."""
    assert model_table.work(model_table.MINILM) == 1
    assert model_table.work({**model_table.MINILM, "num_hidden_layers": 6}) == 0.5


def test_figures_of_the_same_measurement_take_the_place_of_older_ones(tmp_path: Path) -> None:
    """Speed and parity of one model meet in one row; another precision has a row of its own."""
    path = tmp_path / "measured.json"
    own = {"machine": "m", "date": "2026-11-26"}
    model_table.record(path, own | {"model": "a", "backend": "native", "precision": "bf16", "pairs_per_s": 10.0})
    model_table.record(path, own | {"model": "a", "backend": "native", "precision": "bf16", "worst": 0.05})
    model_table.record(path, own | {"model": "a", "backend": "native", "precision": "int8", "share": 0.8})
    first, second = model_table.read(path)
    assert (first["pairs_per_s"], first["worst"], second["share"]) == (10.0, 0.05, 0.8)
    told = model_table.tables([first, second])
    assert "| `a` | native bf16 | 10.0 | not measured |" in told
    assert "80%" in told


def test_the_command_renews_a_page_and_nothing_around_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text before and behind the marks stays; a page without marks is one line."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{model_table.BEGIN}\nSTALE\n{model_table.END}\nbehind\n")
    (tmp_path / "none.json").write_text(json.dumps([]))
    assert cli.run(["models", "table", "--page", str(page), "--measured", str(tmp_path / "none.json")]) == 0
    made = page.read_text()
    assert made.startswith(f"before\n{model_table.BEGIN}\n\n### Families")
    assert made.endswith(f"{model_table.END}\nbehind\n")
    assert "STALE" not in made
    page.write_text("no marks")
    assert cli.run(["models", "table", "--page", str(page)]) == 2
    assert "put both lines where the tables belong" in capsys.readouterr().err
